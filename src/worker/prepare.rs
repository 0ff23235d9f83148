//! Phase 1: the clone, the fresh base, the rules of the branch, the worktree.

use std::path::PathBuf;
use std::time::Duration;

use super::attempt::Line;
use super::cleanup::{base_for, last_at_work};
use super::halt::{Halt, Step, forge_halt};
use super::remotes::forge_name;
use super::resume::Kept;
use crate::domain::branch::BranchName;
use crate::domain::job::{Effects, Job};
use crate::domain::options::{OnBranchExists, Publish};
use crate::domain::reason::ReasonCode;
use crate::failpoint::{self, Edge};
use crate::forge::ForgeError;
use crate::git::{BranchStart, CommitId, GitError, Remote, Repository};
use crate::store::StoreError;

/// A fetch that began before this job asked is too old for it: the job may have been submitted because of a push, its
/// own chain's included. One that began while it waited for its turn serves it too.
const FETCH_AGE_MAX: Duration = Duration::ZERO;

/// How far `-2`, `-3` … is tried before the name itself is the problem.
const SUFFIX_MAX: u32 = 50;

/// Where the work begins and what the push will be pinned to.
struct Beginning {
    branch: BranchName,
    start: CommitId,
    /// The remote branch as it was seen; `None`: absent.
    tip: Option<CommitId>,
}

impl Line<'_> {
    /// Makes the worktree, from the base or from where the branch is. Repeatable until the agent was released.
    pub(super) async fn prepare(&mut self) -> Step<PathBuf> {
        let remote = self.remote().await?;
        self.prepare_from(&remote).await.map_err(|halt| halt.naming(&remote))
    }

    async fn prepare_from(&mut self, remote: &Remote) -> Step<PathBuf> {
        let tools = self.tools;
        let repository = tools.repository(&self.client)?;
        self.ensure_clone(&repository, remote).await?;
        self.carry_over(&repository).await?;
        let base = self.base_branch(remote).await?;
        self.refuse_protected(&self.job.request.branch.clone(), &base)?;
        repository.fetch(remote, FETCH_AGE_MAX).await?;
        tools.store.record_fetch(&self.client.id, None, None).await?;
        let Some(base_tip) = repository.resolve_base(&base).await? else {
            return Err(Halt::fault(
                ReasonCode::BaseNotFound,
                &format!("The remote has no branch \"{base}\"."),
            ));
        };
        let (_, agent) = self.agent()?;
        self.settle_session(agent.capabilities()).await?;
        let mut beginning = self.beginning(&repository, base_tip).await?;
        self.refuse_protected(&beginning.branch, &base)?;
        if beginning.branch != self.job.request.branch {
            tools.store.record_branch(self.lease, &beginning.branch).await.map_err(branch_taken)?;
            self.job.request.branch = beginning.branch.clone();
        }
        let path = tools.worktree_path(&self.client, &self.job.chain.root);
        let _not_swept = tools.chains.hold(&self.job.chain.root).await;
        self.keep_what_is_there(&repository, &path).await?;
        // from here on the place is this job's
        tools.store.forget_worktrees_of(&self.job.chain.root).await?;
        let kept = self.kept_work(&repository).await?;
        if let Some(kept) = &kept {
            beginning.start = kept.base.clone();
        }
        self.effects(Effects {
            worktree_path: Some(path.to_string_lossy().into_owned()),
            base_sha: Some(beginning.start.as_str().to_owned()),
            branch_tip: Some(beginning.tip.as_ref().map_or_else(String::new, |tip| tip.as_str().to_owned())),
            ..Effects::default()
        })
        .await?;
        let branch = beginning.branch.as_str();
        let wanted = kept.as_ref().map_or(&beginning.start, Kept::files);
        let begins = self.say("fetching large files");
        let fetched = repository.fetch_large_files(remote, wanted, begins);
        for said in failpoint::around(Edge::FetchLargeFiles, fetched).await? {
            self.warn(&said).await?;
        }
        self.keep_old_branch(&repository, &beginning.start, kept.as_ref()).await?;
        if let Some(kept) = &kept {
            self.lay_out(&repository, &path, kept).await?;
            self.say(&format!("worktree ready: branch {branch}, with the work that was kept")).await?;
        } else {
            repository.ensure_worktree(&path, branch, &beginning.start, BranchStart::Reset).await?;
            self.say(&format!("worktree ready: branch {branch} from {}", short(&beginning.start))).await?;
        }
        self.copy_files(&repository, &path, &beginning.start).await?;
        Ok(path)
    }

    pub(super) async fn remote(&self) -> Step<Remote> {
        let now = self.now();
        self.tools.remotes.of_client(&self.client).await.map_err(|error| forge_halt(&error, now))
    }

    pub(super) async fn ensure_clone(&self, repository: &Repository, remote: &Remote) -> Step<()> {
        // one that a deleted client had before may be on its way out
        if repository.is_there_to_stay().await {
            return Ok(());
        }
        self.say("cloning the repository").await?;
        let facts = self.ask_forge().await?;
        repository.ensure_clone(remote).await?;
        self.tools.store.record_fetch(&self.client.id, None, facts).await?;
        Ok(())
    }

    /// Before a first clone the forge is asked what this repository is: it can say why better than git does.
    async fn ask_forge(&self) -> Step<Option<i64>> {
        let publishes = self.options.publish == Publish::PullRequest && self.client.clone_url.is_none();
        let (Some(forge), true) = (&self.tools.forge, publishes) else { return Ok(None) };
        match forge.repository(&forge_name(&self.client.repository)).await {
            Ok(facts) if facts.archived => Err(Halt::fault(ReasonCode::RepoArchived, "")),
            Ok(facts) => {
                let id = i64::try_from(facts.id).ok();
                match self.client.forge_id {
                    Some(known) if Some(known) != id => {
                        Err(Halt::fault(ReasonCode::RepoNotFound, "Another repository has that name now."))
                    }
                    _ => Ok(id),
                }
            }
            // the clone needs git's access only; whether the forge helps is seen again at the pull request
            Err(ForgeError::Forbidden { .. }) => Ok(None),
            Err(error) => Err(forge_halt(&error, self.now())),
        }
    }

    /// The branch that the result is meant for, asked from the remote when nobody named one.
    pub(super) async fn base_branch(&mut self, remote: &Remote) -> Step<String> {
        if let Some(default) = &self.client.default_branch {
            return Ok(self.job.request.base_branch.clone().unwrap_or_else(|| default.clone()));
        }
        let asked = self.tools.git.default_branch(remote).await?;
        if let Some(default) = &asked {
            self.tools.store.record_fetch(&self.client.id, Some(default), None).await?;
            self.client.default_branch = asked.clone();
        }
        self.job.request.base_branch.clone().or(asked).ok_or_else(|| {
            Halt::fault(ReasonCode::BaseNotFound, "The remote names no default branch; it may be empty.")
        })
    }

    fn refuse_protected(&self, branch: &BranchName, base: &str) -> Step<()> {
        let is_default = self.client.default_branch.as_deref() == Some(branch.as_str());
        let patterns = &self.tools.settings.protected_branches;
        if is_default || branch.as_str() == base || patterns.iter().any(|pattern| branch.matches(pattern)) {
            let detail = format!("\"{branch}\" is such a branch.");
            return Err(Halt::fault(ReasonCode::ProtectedBranch, &detail));
        }
        Ok(())
    }

    /// Decides by `onBranchExists`, once the remote's branches are known. A branch that this chain pushed is reused.
    async fn beginning(&self, repository: &Repository, base: CommitId) -> Step<Beginning> {
        let branch = self.job.request.branch.clone();
        let Some(tip) = repository.resolve_base(branch.as_str()).await? else {
            return Ok(Beginning { branch, start: base, tip: None });
        };
        let mode = if self.chain_has_pushed(&tip).await? {
            OnBranchExists::Continue
        } else {
            self.options.on_branch_exists
        };
        match mode {
            OnBranchExists::Continue => Ok(Beginning { branch, start: tip.clone(), tip: Some(tip) }),
            OnBranchExists::Reset => Ok(Beginning { branch, start: base, tip: Some(tip) }),
            OnBranchExists::Fail => {
                Err(Halt::fault(ReasonCode::BranchExists, &format!("Branch \"{branch}\".")))
            }
            OnBranchExists::Suffix => {
                let free = self.free_suffix(repository, &branch).await?;
                Ok(Beginning { branch: free, start: base, tip: None })
            }
        }
    }

    async fn free_suffix(&self, repository: &Repository, branch: &BranchName) -> Step<BranchName> {
        for number in 2..=SUFFIX_MAX {
            let candidate = branch.with_suffix(number);
            if repository.resolve_base(candidate.as_str()).await?.is_some() {
                continue;
            }
            match self.tools.store.record_branch(self.lease, &candidate).await {
                Ok(()) => return Ok(candidate),
                Err(StoreError::BranchBusy(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let message = format!(
            "The branch \"{branch}\" exists on the remote, and so do all of {branch}-2 to {branch}-{SUFFIX_MAX}."
        );
        Err(Halt::told(ReasonCode::BranchExists, &message))
    }

    /// Whether another job of the chain has pushed to this branch.
    pub(super) async fn chain_pushed_before(&self) -> Step<bool> {
        let mut on_branch = self.chain_on_this_branch().await?.into_iter();
        Ok(on_branch.any(|job| job.id != self.job.id && job.effects.pushed_sha.is_some()))
    }

    /// A push whose record was lost to a kill is known by what it left on the remote.
    async fn chain_has_pushed(&self, tip: &CommitId) -> Step<bool> {
        let mut on_branch = self.chain_on_this_branch().await?.into_iter();
        Ok(on_branch.any(|job| {
            job.effects.pushed_sha.is_some() || job.effects.head_sha.as_deref() == Some(tip.as_str())
        }))
    }

    async fn chain_on_this_branch(&self) -> Step<Vec<Job>> {
        let mut chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        chain.retain(|job| job.request.branch == self.job.request.branch);
        Ok(chain)
    }

    /// An earlier attempt of the chain may have left work in the path: it is snapshotted before the path is used anew.
    async fn keep_what_is_there(&self, repository: &Repository, path: &std::path::Path) -> Step<()> {
        if tokio::fs::symlink_metadata(path).await.is_err() || self.is_own_making(repository).await? {
            return Ok(());
        }
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        let base = base_for(repository, &self.client, path, &chain).await?;
        let taken = match last_at_work(&chain) {
            // found where its own work is looked for, and kept as long
            Some(other) if other.id != self.job.id => {
                let name = format!("refs/offshoot/{}/{}-left", other.id, other.attempt);
                self.snapshot_as(name, repository, path, &base).await
            }
            _ => self.snapshot(repository, path, &base, "before").await,
        };
        match taken {
            Ok(()) | Err(GitError::WorktreeBroken(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn branch_taken(error: StoreError) -> Halt {
    match error {
        StoreError::BranchBusy(conflict) => Halt::fault(
            ReasonCode::BranchExists,
            &format!("Branch \"{}\" is in use by job #{}.", conflict.branch, conflict.number),
        ),
        other => other.into(),
    }
}

fn short(commit: &CommitId) -> &str {
    &commit.as_str()[..12]
}
