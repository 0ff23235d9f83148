//! Refs with their history as one file, and beside it the large files that no file of git's has.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::GitError;
use super::program::Call;
use super::repository::{Repository, blocking};
use super::{disk, lfs, refs};
use crate::failpoint::{self, Edge};

/// In the place of the bundle's ending: a directory with `lfs/objects` as a repository has it.
const LARGE_FILES: &str = "large-files";

impl Repository {
    /// Writes the named refs with their history to `file`, as git-bundle(1) defines it, and every large file of the clone beside
    /// it: those of a clone are in no bundle, and go with it. Its directory is made when it is
    /// not there; the directory above that has to be.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::InvalidArgument`] for no or an invalid ref name, [`GitError::Program`],
    /// [`GitError::Io`].
    pub async fn bundle(&self, names: &[String], file: &Path) -> Result<(), GitError> {
        if names.is_empty() || !names.iter().all(|name| refs::is_safe_name(name)) || !file.is_absolute() {
            return Err(GitError::InvalidArgument("a bundle takes full ref names and an absolute file"));
        }
        let _used = self.enter().await;
        self.verify_untampered().await?;
        failpoint::around(Edge::Bundle, self.write_bundle(names, file)).await
    }

    async fn write_bundle(&self, names: &[String], file: &Path) -> Result<(), GitError> {
        let dir = file.parent().unwrap_or(file).to_owned();
        let large = file.with_extension(LARGE_FILES);
        self.blocking(move |clone| {
            disk::make_dir(&dir).map_err(GitError::io("make the directory of the bundle"))?;
            lay_large_files(&clone, large).map_err(GitError::io("put the large files beside the bundle"))
        })
        .await?;
        let mut args: Vec<OsString> = vec!["bundle".into(), "create".into(), "-q".into(), file.into()];
        args.extend(names.iter().map(Into::into));
        let deadline = self.git.settings().fetch_deadline;
        let step = "write the bundle";
        let call =
            Call { step, git_dir: Some(&self.path), work_tree: None, args, config: Vec::new(), deadline };
        self.git.run_local(call).await?;
        // git leaves it to the kernel when it reaches the disk, and the clone is deleted next
        let file = file.to_owned();
        blocking(move || {
            let synced = std::fs::File::open(&file).and_then(|bundle| bundle.sync_all());
            synced.and_then(|()| disk::sync_parent(&file)).map_err(GitError::io("sync the bundle"))
        })
        .await
    }
}

/// Durable before the bundle is there. Nothing is made where there are none.
fn lay_large_files(clone: &Path, to: PathBuf) -> std::io::Result<()> {
    if lfs::lend_all(clone, &to, |_| false)? > 0 { disk::sync_file_system(&to) } else { Ok(()) }
}
