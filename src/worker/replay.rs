//! The beginning of a job that only publishes: the commit as it is, or brought onto where the branch is now.

use super::attempt::Line;
use super::halt::{Halt, Step};
use crate::domain::job::{Effects, Phase, Start};
use crate::domain::reason::ReasonCode;
use crate::domain::retry::originals;
use crate::git::{CommitId, GitError, Remote, Replayed, Repository};
use std::time::Duration;

/// The commit that is to be published, and the one below it.
struct Ready {
    base: CommitId,
    head: CommitId,
    /// Files, lines added, lines removed; `None`: as the job that made it has them.
    measure: Option<[u64; 3]>,
}

impl Line<'_> {
    /// Settles which commit is published, and takes it over; gives the commit that it builds on. `None`: it does not fit
    /// on the branch any more, and this job may run the agent instead.
    pub(super) async fn take_over_commit(
        &mut self,
        base: &str,
        head: &str,
        or_agent: bool,
    ) -> Step<Option<String>> {
        self.phase(Phase::Preparing).await?;
        let repository = self.tools.repository(&self.client)?;
        let remote = self.remote().await?;
        self.restore_clone(&repository, &remote).await?;
        let (base, head) = (Self::commit_id(base)?, Self::commit_id(head)?);
        let settled = match self.settle(&repository, &remote, base, head).await? {
            Ok(ready) => ready,
            Err(why) if or_agent => {
                self.warn(&format!("{why} The agent works on it again.")).await?;
                self.tools.store.start_over(self.lease).await?;
                self.job.start = Start::Agent;
                return Ok(None);
            }
            Err(why) => {
                let number = self.lease.job;
                let detail =
                    format!("{why} To have the agent work on it again: offshoot retry {number} --fresh");
                return Err(Halt::fault(ReasonCode::BranchMoved, &detail));
            }
        };
        let base = settled.base.as_str().to_owned();
        self.record_taken_over(settled).await?;
        Ok(Some(base))
    }

    async fn settle(
        &self,
        repository: &Repository,
        remote: &Remote,
        base: CommitId,
        head: CommitId,
    ) -> Step<Result<Ready, String>> {
        if !repository.exists() || !repository.descends_from(&head, &head).await? {
            return Ok(Err("The commit is not in the local clone any more.".to_owned()));
        }
        let branch = self.job.request.branch.as_str();
        let as_it_is = |base, head| Ok(Ok(Ready { base, head, measure: None }));
        let seen = match self.tools.git.remote_tip(remote, branch).await? {
            None => return as_it_is(base, head),
            Some(tip) if tip == head || tip == base => return as_it_is(base, head),
            Some(tip) => tip,
        };
        if repository.descends_from(&head, &seen).await? {
            return as_it_is(base, head);
        }
        repository.fetch(remote, Duration::ZERO).await?;
        let Some(onto) = repository.resolve_base(branch).await? else { return as_it_is(base, head) };
        match repository.replay(&base, &head, &onto).await {
            Ok(Replayed::Onto { head, commits, files_changed, insertions, deletions }) => {
                let ground = &onto.as_str()[..12];
                self.say(&format!("the branch had moved: {commits} commits replayed onto {ground}")).await?;
                Ok(Ok(Ready { base: onto, head, measure: Some([files_changed, insertions, deletions]) }))
            }
            Ok(Replayed::Conflict { path }) => Ok(Err(format!(
                "The branch was moved by somebody else, and both changed {}.",
                if path.is_empty() { "the same files" } else { &path }
            ))),
            Err(GitError::CommitMissing(_)) => {
                Ok(Err("A commit is not in the local clone any more.".to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn record_taken_over(&mut self, ready: Ready) -> Step<()> {
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        self.take_over_artifacts(&chain).await?;
        let original = originals(&self.job, &chain).next();
        if let (Some(original), None) = (original, ready.measure) {
            self.record_verification(&original.verify).await?;
        }
        let numbers = original.map(|job| job.effects.clone()).unwrap_or_default();
        let count = |at: usize, known: Option<i64>| match ready.measure {
            Some(measure) => Some(i64::try_from(measure[at]).unwrap_or(i64::MAX)),
            None => known,
        };
        self.effects(Effects {
            base_sha: Some(ready.base.as_str().to_owned()),
            head_sha: Some(ready.head.as_str().to_owned()),
            files_changed: count(0, numbers.files_changed),
            insertions: count(1, numbers.insertions),
            deletions: count(2, numbers.deletions),
            session_id: numbers.session_id,
            ..Effects::default()
        })
        .await
    }
}
