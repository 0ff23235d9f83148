//! A retry that continues the agent's conversation: in the same place, with the work that was there.

use std::path::Path;

use super::attempt::Line;
use super::halt::{Halt, Step};
use crate::agent::{Capabilities, Fault, Session};
use crate::domain::id::JobId;
use crate::domain::job::{Job, Start};
use crate::domain::reason::ReasonCode;
use crate::git::{BranchStart, CommitId, Repository};

/// What an agent is told that goes on where it was cut off, before what was asked for.
const GO_ON: &str = "Your work on this was cut off before it was finished. The files are as you left them. \
    Look at what is there, go on, and finish it. This was asked for:";

/// Kept work that an agent goes on with.
pub(super) struct Kept {
    /// Where its HEAD was.
    pub(super) head: CommitId,
    /// The commit that the work began at.
    pub(super) base: CommitId,
    /// A snapshot of files on top of it; `None`: the head is all there is.
    snapshot: Option<CommitId>,
}

impl Line<'_> {
    /// Makes up its mind whether the conversation can be continued, before anything is prepared.
    pub(super) async fn settle_session(&mut self, capabilities: Capabilities) -> Step<()> {
        let Start::Resume { session_id } = &self.job.start else { return Ok(()) };
        let why = match session_id {
            _ if !capabilities.resume => "this kind of agent cannot continue a conversation",
            Some(_) => return Ok(()),
            None => "there is none, or the agent does not know it any more",
        };
        self.warn(&format!("The agent's conversation is not continued ({why}): it starts afresh.")).await?;
        self.job.start = Start::Resume { session_id: None };
        Ok(())
    }

    /// The conversation that the agent holds.
    pub(super) fn session(&self) -> Session {
        match &self.job.start {
            Start::Resume { session_id: Some(id) } => Session::Resume { id: id.clone() },
            _ => Session::New { id: self.tools.clock.random_uuid() },
        }
    }

    /// What the agent is asked. `original` is the prompt of the job that is retried.
    pub(super) async fn prompt(&self) -> Step<String> {
        let own = &self.job.request.prompt;
        let Start::Resume { session_id } = &self.job.start else { return Ok(own.clone()) };
        let original = self.original().await?.map(|job| job.request.prompt).unwrap_or_default();
        Ok(match session_id {
            Some(_) if *own == original => format!("{GO_ON}\n\n{own}"),
            Some(_) => own.clone(),
            // who starts afresh knows nothing of what was said before
            None if *own == original || original.is_empty() => own.clone(),
            None => format!("{original}\n\n{own}"),
        })
    }

    /// The agent does not know the conversation: the next attempt does without.
    pub(super) async fn forget_session(&self, fault: Fault) -> Step<()> {
        let asked_for = match &self.job.start {
            Start::Resume { session_id: Some(_) } => true,
            // forgotten by a server that was killed before it stored the end of the attempt
            Start::Resume { session_id: None } => self.adopted,
            _ => false,
        };
        if fault == Fault::SessionUnknown && asked_for {
            self.tools.store.forget_session(self.lease).await?;
            let detail = "The agent does not know its conversation any more.";
            return Err(Halt::unspent(ReasonCode::Interrupted, detail));
        }
        Ok(())
    }

    /// The newest work of this job or of the one that it retries, if the conversation goes on.
    pub(super) async fn kept_work(&self, repository: &Repository) -> Step<Option<Kept>> {
        if !matches!(self.job.start, Start::Resume { session_id: Some(_) }) {
            return Ok(None);
        }
        let original = self.original().await?;
        let effects = original.as_ref().map(|job| job.effects.clone()).unwrap_or_default();
        let base = self.job.effects.base_sha.clone().or(effects.base_sha);
        let Some(base) = base.map(|base| Self::commit_id(&base)).transpose()? else { return Ok(None) };
        for job in [Some(&self.job.id), original.as_ref().map(|job| &job.id)].into_iter().flatten() {
            if let Some(kept) = newest(repository, job, &base).await? {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    /// Lays the kept work out in the worktree.
    pub(super) async fn lay_out(&self, repository: &Repository, path: &Path, kept: &Kept) -> Step<()> {
        let branch = self.job.request.branch.as_str();
        match &kept.snapshot {
            Some(snapshot) => repository.restore_work(snapshot, path, branch).await.map(|_| ())?,
            None => {
                repository.ensure_worktree(path, branch, &kept.head, BranchStart::Reset).await?;
            }
        }
        Ok(())
    }

    async fn original(&self) -> Step<Option<Job>> {
        let Some(original) = &self.job.chain.original else { return Ok(None) };
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        Ok(chain.into_iter().find(|job| job.id == *original))
    }
}

/// The newest snapshot of a job whose history builds on `base`, or its result.
async fn newest(repository: &Repository, job: &JobId, base: &CommitId) -> Step<Option<Kept>> {
    let mut found = repository.find_snapshots(&format!("refs/offshoot/{job}/")).await?;
    found.sort_by_key(|one| std::cmp::Reverse((!one.name.ends_with("/head"), one.taken_at)));
    for one in found {
        let is_result = one.name.ends_with("/head");
        let head =
            if is_result { Some(one.commit.clone()) } else { repository.parent_of(&one.commit).await? };
        let Some(head) = head else { continue };
        if repository.descends_from(&head, base).await? {
            let snapshot = (!is_result).then_some(one.commit);
            return Ok(Some(Kept { head, base: base.clone(), snapshot }));
        }
    }
    Ok(None)
}
