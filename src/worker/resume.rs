//! Going on with the agent's conversation: in the next attempt, in a retry, in the next turn of the same attempt, each with
//! the work that was there. Where that cannot be, the agent starts afresh, and the job says so.

use std::path::Path;

use super::attempt::Line;
use super::halt::{Halt, Step};
use super::steps::FIRST_TURN;
use crate::agent::{Capabilities, Fault, Session, Usage};
use crate::domain::id::JobId;
use crate::domain::job::{Job, Start};
use crate::domain::reason::ReasonCode;
use crate::git::{BranchStart, CommitId, Repository};
use crate::process::{ExitCause, StepState, inspect};

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
        let why = match &self.job.start {
            Start::Publish { .. } => return Ok(()),
            Start::Agent if !self.ran_before()? => return Ok(()),
            _ if !capabilities.resume => "this kind of agent cannot continue a conversation",
            // its conversation is that of another program
            Start::Resume { session_id: Some(_) } if self.options.agent != self.job.login => {
                "another agent held it"
            }
            Start::Resume { session_id: Some(_) } => return Ok(()),
            Start::Agent | Start::Resume { session_id: None } => {
                "there is none that the agent knows and can go on with"
            }
        };
        let text =
            format!("The agent's conversation is not continued ({why}): it starts afresh, and is paid anew.");
        self.warn(&text).await?;
        if matches!(self.job.start, Start::Resume { .. }) {
            self.job.start = Start::Resume { session_id: None };
        }
        Ok(())
    }

    /// Whether the agent worked in an earlier attempt of this very job.
    fn ran_before(&self) -> Step<bool> {
        for attempt in (1..self.lease.attempt).rev() {
            match inspect(&self.tools.any_step(self.lease.job, attempt, FIRST_TURN)?)? {
                StepState::NotStarted | StepState::NotReleased => {}
                StepState::Exited(record) if record.cause == ExitCause::SpawnFailed => {}
                StepState::Exited(_) | StepState::Running(_) | StepState::Lost(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The conversation that the agent holds.
    pub(super) fn session(&self) -> Session {
        match &self.job.start {
            Start::Resume { session_id: Some(id) } => Session::Resume { id: id.clone() },
            _ => Session::New { id: self.tools.clock.random_uuid() },
        }
    }

    /// What the agent is asked.
    pub(super) async fn prompt(&self) -> Step<String> {
        let own = &self.job.request.prompt;
        let Start::Resume { session_id } = &self.job.start else { return Ok(own.clone()) };
        let original = self.original().await?.map(|job| job.request.prompt).unwrap_or_default();
        Ok(match session_id {
            Some(id) if *own == original || self.was_asked(id).await? => format!("{GO_ON}\n\n{own}"),
            Some(_) => own.clone(),
            // who starts afresh knows nothing of what was said before
            None if *own == original || original.is_empty() => own.clone(),
            None => format!("{original}\n\n{own}"),
        })
    }

    /// Whether an earlier attempt of this job asked the conversation for it.
    async fn was_asked(&self, session_id: &str) -> Step<bool> {
        let attempts = self.tools.store.list_attempts(self.lease.job).await?;
        Ok(attempts.iter().any(|attempt| {
            attempt.number < self.lease.attempt && attempt.session_id.as_deref() == Some(session_id)
        }))
    }

    /// Another turn of the agent within this attempt: the conversation that it has just held, and what it is told there. One
    /// that cannot go on with it is told everything.
    #[expect(dead_code, reason = "for rounds of repair")]
    pub(super) async fn next_turn(&self, capabilities: Capabilities, text: &str) -> Step<(Session, String)> {
        match &self.job.effects.session_id {
            Some(id) if capabilities.resume => Ok((Session::Resume { id: id.clone() }, text.to_owned())),
            _ => {
                let session = Session::New { id: self.tools.clock.random_uuid() };
                Ok((session, format!("{}\n\n{text}", self.prompt().await?)))
            }
        }
    }

    /// After a failure: whether the conversation was at fault, by the agent's own words, or may be. Then the next attempt does
    /// without, and one in which nothing was spent does not count.
    pub(super) async fn judge_conversation(&self, fault: Fault, message: &str, usage: &Usage) -> Step<()> {
        let resumed = match &self.job.start {
            Start::Resume { session_id: Some(_) } => true,
            // forgotten by a server that was killed before it stored the end of the attempt
            Start::Resume { session_id: None } => self.adopted,
            _ => false,
        };
        match fault {
            Fault::SessionUnknown | Fault::SessionInUse | Fault::ContextFull if resumed => {
                self.warn(&format!("The agent's conversation cannot be continued: {message}")).await?;
                self.tools.store.forget_session(self.lease).await?;
                let detail = "Its conversation could not be continued.";
                let spent = usage.output_tokens > 0;
                Err(if spent {
                    Halt::fault(ReasonCode::Interrupted, detail)
                } else {
                    Halt::unspent(ReasonCode::Interrupted, detail)
                })
            }
            // an id that was taken is not tried a second time
            Fault::SessionUnknown | Fault::SessionInUse => {
                Ok(self.tools.store.forget_session(self.lease).await?)
            }
            Fault::Crashed => self.leave_conversation("the agent failed in it again").await,
            _ => Ok(()),
        }
    }

    /// Whatever ended an attempt that went on with a conversation may be in the conversation: the next one does without.
    pub(super) async fn leave_conversation(&self, why: &str) -> Step<()> {
        if !matches!(self.job.start, Start::Resume { session_id: Some(_) }) {
            return Ok(());
        }
        self.warn(&format!("The agent's conversation is left, for {why}.")).await?;
        Ok(self.tools.store.forget_session(self.lease).await?)
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

    /// Whether what lies in the path was made by an earlier walk of this attempt: no agent has been at it since, and what was
    /// there before is kept already. A half made one must not pass for the newest work.
    pub(super) async fn is_own_making(&self, repository: &Repository) -> Step<bool> {
        if !self.adopted {
            return Ok(false);
        }
        if self.lease.attempt == 1 {
            return Ok(self.job.effects.base_sha.is_some());
        }
        let taken = format!("refs/offshoot/{}/{}-before", self.job.id, self.lease.attempt);
        Ok(!repository.find_snapshots(&taken).await?.is_empty())
    }

    async fn original(&self) -> Step<Option<Job>> {
        let Some(original) = &self.job.chain.original else { return Ok(None) };
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        Ok(chain.into_iter().find(|job| job.id == *original))
    }
}

/// The newest snapshot of a job whose history builds on `base`, or its result.
async fn newest(repository: &Repository, job: &JobId, base: &CommitId) -> Step<Option<Kept>> {
    let prefix = format!("refs/offshoot/{job}/");
    let mut found = repository.find_snapshots(&prefix).await?;
    // times are whole seconds, within which attempts can follow each other
    let attempt = |name: &str| {
        let digits = name.strip_prefix(&prefix)?.split_once('-')?.0;
        digits.parse::<u32>().ok()
    };
    found.sort_by_key(|one| std::cmp::Reverse((attempt(&one.name), one.taken_at)));
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
