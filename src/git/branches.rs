//! Local branches of a clone, which all of its worktrees share: each may have the only copy of what an agent has committed.

use std::collections::BTreeSet;
use std::path::Path;

use git2::{Oid, Repository as Library};

use super::commit_id::CommitId;
use super::error::GitError;
use super::refs;
use super::repository::{Repository, descends};
use super::snapshot::{KEPT_REFS, check_name, name_for, point_at_kept};
use super::worktree::{Place, others};

/// What has the commits of a branch too.
#[derive(Clone, Debug, Default)]
pub struct KeptBy {
    /// Commits that are kept anyhow, or that were there before.
    pub commits: Vec<CommitId>,
    /// Whose refs below `refs/offshoot/<name>/` count.
    pub names: BTreeSet<String>,
}

impl Repository {
    /// Keeps the commits of a local branch that nothing of `kept_by` has under `name` (below `refs/offshoot/`), to which a number is
    /// added where that is taken. Gives the ref; `None`: there is nothing to keep.
    ///
    /// # Errors
    /// [`GitError::InvalidArgument`], [`GitError::Tampered`], [`GitError::Library`], [`GitError::Io`].
    pub async fn keep_branch(
        &self,
        branch: &str,
        kept_by: KeptBy,
        name: &str,
    ) -> Result<Option<String>, GitError> {
        check_name(name)?;
        let (branch, name) = (format!("refs/heads/{branch}"), name.to_owned());
        let _held = self.lock.administer().await;
        self.verified(move |clone| {
            let library = refs::open(&clone)?;
            let Some(tip) = refs::find(&library, &branch)? else { return Ok(None) };
            if library.find_commit(tip).is_err() || is_kept(&library, tip, &kept_by)? {
                return Ok(None);
            }
            let name = name_for(&library, &name, tip)?;
            point_at_kept(&clone, &name, tip)?;
            Ok(Some(name))
        })
        .await
    }

    /// Deletes a local branch, unless it has what nothing of `kept_by` has or another worktree than that at `worktree` is on it.
    /// Absence is success. True if it is gone.
    ///
    /// # Errors
    /// As [`Self::delete_ref`].
    pub async fn drop_branch(
        &self,
        branch: &str,
        worktree: &Path,
        kept_by: KeptBy,
    ) -> Result<bool, GitError> {
        let place = Place::new(&self.path, worktree)?;
        let branch = format!("refs/heads/{branch}");
        let _held = self.lock.administer().await;
        let wanted = branch.clone();
        let may_go = self.verified(move |clone| {
            let library = refs::open(&clone)?;
            if others(&place)?.iter().any(|other| other.is_on(&wanted)) {
                return Ok(false);
            }
            match refs::find(&library, &wanted)? {
                Some(tip) if library.find_commit(tip).is_ok() => is_kept(&library, tip, &kept_by),
                // what leads nowhere keeps nothing
                _ => Ok(true),
            }
        });
        if !may_go.await? {
            return Ok(false);
        }
        self.delete_ref_held(&branch).await?;
        Ok(true)
    }

    /// Whether another worktree than that at `worktree` is on a local branch, or was made for it.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::InvalidArgument`].
    pub async fn is_of_another(&self, branch: &str, worktree: &Path) -> Result<bool, GitError> {
        let place = Place::new(&self.path, worktree)?;
        let branch = format!("refs/heads/{branch}");
        self.verified(move |_| {
            Ok(others(&place)?.iter().any(|other| other.is_on(&branch) || other.is_for(&branch)))
        })
        .await
    }
}

fn is_kept(library: &Library, tip: Oid, kept_by: &KeptBy) -> Result<bool, GitError> {
    for commit in &kept_by.commits {
        if descends(library, commit.oid()?, tip)? {
            return Ok(true);
        }
    }
    let failed = GitError::library("list the snapshots");
    for reference in library.references_glob(&format!("{KEPT_REFS}*")).map_err(&failed)? {
        let reference = reference.map_err(&failed)?;
        let (Ok(name), Some(kept)) = (reference.name(), reference.target()) else { continue };
        let whose = name.strip_prefix(KEPT_REFS).and_then(|rest| rest.split('/').next());
        if whose.is_some_and(|whose| kept_by.names.contains(whose)) && descends(library, kept, tip)? {
            return Ok(true);
        }
    }
    Ok(false)
}
