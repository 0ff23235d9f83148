//! Taking a worktree away: renamed at once, deleted afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk;
use super::error::GitError;
use super::repository::{Repository, blocking};
use super::worktree::Place;
use crate::failpoint::{self, Edge};

/// Beside the worktrees, hence on their file system, where a rename is one step whatever their size.
const TRASH: &str = ".trash";

impl Repository {
    /// Removes a worktree and its registration; its branch stays. Absence is success. The path is free as soon as
    /// the rename is done; deleting happens outside of the lock and is finished by [`sweep_trash`] after a crash.
    ///
    /// # Errors
    /// [`GitError::InvalidArgument`], [`GitError::Io`].
    pub async fn remove_worktree(&self, path: &Path) -> Result<(), GitError> {
        let place = Place::new(&self.path, path)?;
        let unique = self.git.unique("old");
        let trash = {
            let _held = self.lock.administer().await;
            let detached =
                blocking(move || detach(&place, &unique).map_err(GitError::io("rename the worktree away")));
            failpoint::around(Edge::RenameWorktree, detached).await?
        };
        let deleted = blocking(move || {
            trash
                .iter()
                .try_for_each(|old| disk::remove_any(old))
                .map_err(GitError::io("delete a removed worktree"))
        });
        failpoint::around(Edge::DeleteWorktree, deleted).await
    }
}

/// Deletes what removals left in the trash of a directory of worktrees: all of it, for start, when nothing is removed,
/// or only what was last touched before `before` (Unix milliseconds). Gives back the bytes; a `dry_run` only counts them.
///
/// # Errors
/// [`GitError::Io`].
pub async fn sweep_trash(worktrees: &Path, before: Option<i64>, dry_run: bool) -> Result<u64, GitError> {
    use std::os::unix::fs::MetadataExt as _;
    let trash = worktrees.join(TRASH);
    blocking(move || {
        let failed = GitError::io("sweep the trash");
        if !disk::is_real_dir(&trash) {
            return Ok(0);
        }
        let mut swept = 0;
        for entry in fs::read_dir(&trash).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            // a rename into the trash touches the entry, whatever its content's age
            let touched = entry.metadata().map_or(0, |meta| meta.ctime() * 1_000);
            if before.is_some_and(|before| touched >= before) {
                continue;
            }
            swept += disk::usage(&entry.path());
            if !dry_run {
                disk::remove_any(&entry.path()).map_err(&failed)?;
            }
        }
        Ok(swept)
    })
    .await
}

/// The bytes that a tree occupies, following nothing. Reads the whole tree.
#[must_use]
pub fn bytes_on_disk(path: &Path) -> u64 {
    disk::usage(path)
}

pub(super) fn detach(place: &Place, unique: &str) -> io::Result<Vec<PathBuf>> {
    let mut trash = Vec::new();
    trash.extend(rename_to_trash(&place.path, unique)?);
    // Small: HEAD, index, logs. Renamed first, so that no reader meets a half-deleted registration.
    for (old, name) in [(&place.admin, "admin"), (&place.record, "record")] {
        let away = place.clone.join("offshoot").join(format!("{unique}.{name}"));
        if old.symlink_metadata().is_ok() {
            fs::create_dir_all(place.clone.join("offshoot"))?;
            fs::rename(old, &away)?;
            trash.push(away);
        }
    }
    Ok(trash)
}

/// Renames a tree into the trash beside it; `None` if there is nothing.
pub(super) fn rename_to_trash(path: &Path, unique: &str) -> io::Result<Option<PathBuf>> {
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let trash = path.with_file_name(TRASH);
    fs::create_dir_all(&trash)?;
    let away = trash.join(unique);
    fs::rename(path, &away)?;
    Ok(Some(away))
}

/// Makes way for a file: removes whatever is there unless a rename can replace it.
pub(super) fn discard_unless_file(path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) { disk::remove_any(path) } else { Ok(()) }
}
