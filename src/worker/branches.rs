//! The local branch of a job, which all worktrees of a clone share: it goes with the worktree, and what only it has is kept and told.
//! An agent that ends in the middle of a rebase, or with its HEAD elsewhere, leaves commits that its files do not lead to.

use std::path::Path;

use super::Tools;
use super::attempt::Line;
use super::cleanup::last_at_work;
use super::halt::Step;
use super::resume::Kept;
use crate::domain::job::{Job, pushed_by};
use crate::git::{CommitId, GitError, KeptBy, Repository, Snapshot};

impl Line<'_> {
    /// Keeps what the branch of the job has and nothing else that is kept of its chain, nor `beside`: as
    /// `refs/offshoot/<job>/<attempt>-branch`.
    pub(super) async fn keep_branch(
        &self,
        repository: &Repository,
        chain: &[Job],
        beside: Option<CommitId>,
    ) -> Result<(), GitError> {
        let branch = self.job.request.branch.as_str();
        let mut kept_by = kept_by(chain);
        kept_by.commits.extend(beside);
        let Some(kept) = repository.keep_branch(branch, kept_by, &self.branch_ref()).await? else {
            return Ok(());
        };
        tracing::warn!(branch, kept, "the branch has more than what the job ended with");
        let text = format!(
            "The branch \"{branch}\" has commits that are not in what the job ended with, because its agent left HEAD elsewhere. \
             They are kept as {kept}; to see what is kept: offshoot rescue {}",
            self.job.number
        );
        if let Err(halt) = self.warn(&text).await {
            // it is kept all the same, and what the store has lost shows in the next step
            tracing::warn!(?halt, kept, "what was kept of a branch could not be told");
        }
        Ok(())
    }

    /// As [`Self::keep_branch`], before the end of a job whose worktree is swept after it: nobody could be told then.
    pub(super) async fn keep_branch_before_sweep(&self) -> Step<()> {
        let repository = self.tools.repository(&self.client)?;
        let path = self.tools.worktree_path(&self.client, &self.job.chain.root);
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        let kept = async {
            // its snapshot will have it
            let head = repository.worktree_head(&path).await?;
            self.keep_branch(&repository, &chain, head).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "the branch could not be looked at: the sweep does it");
        }
        Ok(())
    }

    /// Before the branch is set to `start`. It may be that of a kept worktree of another chain, or of an attempt before, and all
    /// that has the commits of its agent.
    pub(super) async fn keep_old_branch(
        &self,
        repository: &Repository,
        start: &CommitId,
        goes_on_with: Option<&Kept>,
    ) -> Step<()> {
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        let branch = self.job.request.branch.as_str();
        let mut kept_by = kept_by(&chain);
        kept_by.commits.push(start.clone());
        repository.keep_branch(branch, kept_by, &self.branch_ref()).await?;
        match goes_on_with {
            Some(work) => self.tell_what_is_left_out(repository, &chain, work).await,
            None => Ok(()),
        }
    }

    /// Commits of the branch that are kept beside the work that the agent goes on with.
    async fn tell_what_is_left_out(&self, repository: &Repository, chain: &[Job], work: &Kept) -> Step<()> {
        let before =
            chain.iter().rev().find(|job| job.number < self.job.number && job.was_given_a_worktree());
        let mut found = Vec::new();
        if let Some(before) = before {
            found = repository.find_snapshots(&format!("refs/offshoot/{}/", before.id)).await?;
        }
        found.extend(repository.find_snapshots(&self.branch_ref()).await?);
        for kept in found.into_iter().filter(is_branch) {
            let is_of_this_work = repository.descends_from(&kept.commit, &work.base).await?;
            if is_of_this_work && !repository.descends_from(&work.head, &kept.commit).await? {
                let text = format!(
                    "The agent goes on without commits that the branch \"{}\" had here, because the work that it goes on with does not lead to them. \
                     They are kept as {}; to see what is kept: offshoot rescue {}",
                    self.job.request.branch,
                    kept.name,
                    kept.name.split('/').nth(2).unwrap_or_default()
                );
                self.warn(&text).await?;
            }
        }
        Ok(())
    }

    fn branch_ref(&self) -> String {
        branch_ref(&self.job, self.lease.attempt)
    }
}

impl Tools {
    /// As [`Line::keep_branch`], for the worktree at `path` of a chain without a live job, snapshotted before. Gives the branch, to
    /// be dropped when that is gone, unless another worktree has it.
    pub(super) async fn keep_branch_of<'c>(
        &self,
        repository: &Repository,
        path: &Path,
        chain: &'c [Job],
    ) -> Result<Option<&'c str>, GitError> {
        let Some(whose) = last_at_work(chain).or(chain.last()) else { return Ok(None) };
        let branch = whose.request.branch.as_str();
        if repository.is_of_another(branch, path).await? {
            return Ok(None);
        }
        let name = branch_ref(whose, whose.attempt);
        if let Some(kept) = repository.keep_branch(branch, kept_by(chain), &name).await? {
            // its job is over: only the log can still be told
            tracing::warn!(job.id = %whose.id, branch, kept, "the branch has more than what its job ended with: it is kept");
        }
        Ok(Some(branch))
    }

    /// Deletes the branch of a chain whose worktree at `path` is gone: an old `feat` would stand in the way of a new `feat/y`.
    /// Not before all of it is kept, and not while another worktree is on it.
    pub(super) async fn drop_branch(
        &self,
        repository: &Repository,
        path: &Path,
        branch: &str,
        chain: &[Job],
    ) {
        match repository.drop_branch(branch, path, kept_by(chain)).await {
            Ok(true) => {}
            Ok(false) => tracing::info!(branch, "the local branch stays: somebody needs it"),
            Err(error) => tracing::debug!(%error, "the local branch stays"),
        }
    }
}

/// What is kept of a chain anyhow: where its jobs began, what they pushed, and every ref of theirs.
fn kept_by(chain: &[Job]) -> KeptBy {
    let began_at = chain.iter().filter_map(|job| job.effects.base_sha.as_deref());
    let commits = began_at.chain(pushed_by(chain)).filter_map(|commit| commit.parse().ok());
    let names = chain.iter().map(|job| job.id.as_str().to_owned());
    KeptBy { commits: commits.collect(), names: names.collect() }
}

fn branch_ref(job: &Job, attempt: u32) -> String {
    format!("refs/offshoot/{}/{attempt}-branch", job.id)
}

/// Whether it has the commits of a branch, perhaps of another chain, rather than files.
pub(super) fn is_branch(kept: &Snapshot) -> bool {
    let name = kept.name.rsplit('/').next().unwrap_or_default();
    // `<attempt>-branch`, and a number where there is more than one
    name.split('-').nth(1) == Some("branch")
}
