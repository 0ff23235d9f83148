//! Bringing kept work back into a worktree.

use std::ffi::OsString;
use std::path::Path;

use super::commit_id::CommitId;
use super::copied;
use super::error::GitError;
use super::lfs;
use super::program::Call;
use super::refs;
use super::repository::Repository;
use super::worktree::{BranchStart, Place};
use crate::failpoint::{self, Edge};

impl Repository {
    /// Makes the worktree at `path` anew as it was when `snapshot` was taken: `branch` and HEAD where they were, and what
    /// was not committed then lies there uncommitted again. Copied files in its history are those of this one. Gives the commit of HEAD.
    ///
    /// # Errors
    /// As [`Repository::ensure_worktree`]; [`GitError::CommitMissing`] for a snapshot that is not there.
    pub async fn restore_work(
        &self,
        snapshot: &CommitId,
        path: &Path,
        branch: &str,
    ) -> Result<CommitId, GitError> {
        let oid = snapshot.oid()?;
        let missing = snapshot.clone();
        let parent = self
            .verified(move |clone| {
                let found = refs::open(&clone)?.find_commit(oid).and_then(|commit| commit.parent_id(0)).ok();
                found.map(CommitId::from).ok_or(GitError::CommitMissing(missing))
            })
            .await?;
        self.ensure_worktree(path, branch, &parent, BranchStart::Reset).await?;
        let place = Place::new(&self.path, path)?;
        self.verified(move |clone| copied::take_over(&place, &refs::open(&clone)?, oid)).await?;
        // the files of the snapshot first, then an index that knows nothing of them
        let args = ["--reset", "-u", snapshot.as_str()];
        let (filled, scratch) = (Place::new(&self.path, path)?, self.git.scratch_path());
        let files = async {
            self.read_tree(path, &args).await?;
            self.verified(move |_| lfs::check_out(&filled, scratch, oid)).await
        };
        failpoint::around(Edge::RestoreFiles, files).await?;
        self.read_tree(path, &["--reset", parent.as_str()]).await?;
        Ok(parent)
    }

    async fn read_tree(&self, path: &Path, args: &[&str]) -> Result<(), GitError> {
        let place = Place::new(&self.path, path)?;
        let step = "restore the worktree";
        let args = std::iter::once("read-tree").chain(args.iter().copied()).map(OsString::from).collect();
        let deadline = self.git.settings().checkout_deadline;
        let (git_dir, work_tree) = (Some(place.admin.as_path()), Some(place.path.as_path()));
        self.git.run_local(Call { step, git_dir, work_tree, args, config: Vec::new(), deadline }).await
    }
}
