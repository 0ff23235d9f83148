//! Going on with the agent's conversation: in the next attempt, in a retry, each with
//! the work that was there. Where that cannot be, the agent starts afresh, and the job says so.

use std::path::Path;

use super::Tools;
use super::attempt::Line;
use super::branches::is_branch;
use super::halt::{Halt, Step};
use super::steps::{FIRST_TURN, look};
use super::visit::VISITED;
use crate::agent::{Capabilities, Fault, Session, Usage};
use crate::domain::job::{Job, Start};
use crate::domain::reason::ReasonCode;
use crate::domain::retry::originals;
use crate::domain::visit::GoesOn;
use crate::git::{BranchStart, CommitId, Repository};
use crate::process::{ExitCause, StepState};
use crate::store::StoreError;

/// What an agent is told that goes on where it was cut off, before what was asked for.
const GO_ON: &str = "Your work on this was cut off before it was finished. The files are as you left them. \
    Look at what is there, go on, and finish it. This was asked for:";

/// The same where the files are not as it left them.
const ASKED: &str = "This was asked for:";

/// What an agent is told that follows up work of which it knows nothing, before what was asked for then.
const FOLLOWS: &str = "This follows up earlier work, the result of which is in the files and the history of this branch. \
    This was asked for at first:";
/// Before what is asked for now.
const NOW: &str = "That is done or was left. This is asked for now:";

/// Kept work that an agent goes on with.
pub(super) struct Kept {
    /// Where its HEAD was.
    pub(super) head: CommitId,
    /// The commit that the work began at.
    pub(super) base: CommitId,
    /// A snapshot of files on top of it; `None`: the head is all there is.
    snapshot: Option<CommitId>,
}

impl Kept {
    /// The commit whose files the worktree will have.
    pub(super) fn files(&self) -> &CommitId {
        self.snapshot.as_ref().unwrap_or(&self.head)
    }
}

impl Line<'_> {
    /// Makes up its mind whether the conversation can be continued, before anything is prepared; it says so once.
    pub(super) async fn settle_session(&mut self, capabilities: Capabilities) -> Step<()> {
        match self.handed_to() {
            // it is not asked before somebody refuses the work, and is asked to go on then
            Some(GoesOn::Publish) => return Ok(()),
            // the same at once
            Some(GoesOn::Agent) if capabilities.resume => return Ok(()),
            Some(GoesOn::Agent) | None => {}
        }
        let why = match &self.job.start {
            Start::Publish { .. } => return Ok(()),
            Start::Agent if !self.ran_before()? => return Ok(()),
            _ if !capabilities.resume => "this kind of agent cannot continue a conversation",
            // its conversation is that of another program
            Start::Resume { session_id: Some(id) } if !self.has_held(id).await? => "another agent held it",
            Start::Resume { session_id: Some(_) } => return Ok(()),
            // said when this walk prepared its work
            Start::Resume { session_id: None } if self.left_conversation => return Ok(()),
            Start::Agent | Start::Resume { session_id: None } => {
                "there is none that the agent knows and can go on with"
            }
        };
        let text =
            format!("The agent's conversation is not continued ({why}): it starts afresh, and is paid anew.");
        self.warn(&text).await?;
        if matches!(self.job.start, Start::Resume { .. }) {
            self.job.start = Start::Resume { session_id: None };
            self.left_conversation = true;
        }
        Ok(())
    }

    /// Whether the conversation is the agent's own, as far as anybody knows.
    pub(super) async fn has_held(&self, session_id: &str) -> Step<bool> {
        Ok(self.tools.has_held(&self.options.agent, &self.job, session_id).await?)
    }

    /// Whether the agent worked in an earlier attempt of this very job.
    fn ran_before(&self) -> Step<bool> {
        for attempt in (1..self.lease.attempt).rev() {
            match look(&self.tools.any_step(self.lease.job, attempt, FIRST_TURN)?)? {
                StepState::NotStarted | StepState::NotReleased => {}
                StepState::Exited(record) if record.cause == ExitCause::SpawnFailed => {}
                StepState::Exited(_) | StepState::Running(_) | StepState::Lost(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// That of a turn that goes on: the newest one, or the one that the job began with.
    pub(super) fn conversation(&self) -> Option<&String> {
        let begun_with = match &self.job.start {
            Start::Resume { session_id } => session_id.as_ref(),
            Start::Agent | Start::Publish { .. } => None,
        };
        self.job.effects.session_id.as_ref().or(begun_with)
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
        if self.job.chain.follows_up() && !self.agent()?.1.capabilities().resume {
            // to a plain command the prompt is no text, and what went before is in the files
            return Ok(own.clone());
        }
        let original = self.original().await?.map(|job| job.request.prompt).unwrap_or_default();
        let is_visited = self.has_unheard_visit().await?;
        Ok(match session_id {
            Some(id) if *own == original || self.was_asked(id).await? => {
                let why = if is_visited { format!("{VISITED} {ASKED}") } else { GO_ON.to_owned() };
                format!("{why}\n\n{own}")
            }
            Some(_) if is_visited => format!("{VISITED}\n\n{own}"),
            Some(_) => own.clone(),
            None => self.prompt_afresh().await?,
        })
    }

    /// The same for an agent that knows nothing of what was said before.
    pub(super) async fn prompt_afresh(&self) -> Step<String> {
        let own = &self.job.request.prompt;
        if !matches!(self.job.start, Start::Resume { .. }) {
            return Ok(own.clone());
        }
        if self.job.chain.follows_up() {
            return Ok(match self.before().await? {
                Some(before) => format!("{FOLLOWS}\n\n{}\n\n{NOW}\n\n{own}", before.request.prompt),
                None => own.clone(),
            });
        }
        let original = self.original().await?.map(|job| job.request.prompt).unwrap_or_default();
        if *own == original || original.is_empty() {
            return Ok(own.clone());
        }
        Ok(format!("{original}\n\n{own}"))
    }

    /// Whether an earlier attempt of this job asked the conversation for it.
    async fn was_asked(&self, session_id: &str) -> Step<bool> {
        let attempts = self.tools.store.list_attempts(self.lease.job).await?;
        Ok(attempts.iter().any(|attempt| {
            attempt.number < self.lease.attempt && attempt.session_id.as_deref() == Some(session_id)
        }))
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
        let is_in_one = match &self.job.start {
            Start::Resume { session_id: Some(_) } => true,
            // left by a server that was killed before it stored the end of the attempt
            Start::Resume { session_id: None } => self.adopted,
            _ => false,
        };
        if !is_in_one {
            return Ok(());
        }
        self.warn(&format!("The agent's conversation is left, for {why}.")).await?;
        Ok(self.tools.store.forget_session(self.lease).await?)
    }

    /// The work that this attempt goes on with. What somebody has done by hand, and called done, is that or nothing.
    pub(super) async fn kept_work(&self, repository: &Repository) -> Step<Option<Kept>> {
        let kept = self.find_kept_work(repository).await?;
        if kept.is_none() && self.handed_to() == Some(GoesOn::Publish) {
            let detail = "The worktree in which work was done by hand is gone, and nothing of it is kept.";
            return Err(Halt::fault(ReasonCode::Interrupted, detail));
        }
        Ok(kept)
    }

    /// The newest work of this job or of the one that it retries, if the conversation goes on. Who follows up a job goes on
    /// with its work in any case: the branch has it, or it is kept.
    async fn find_kept_work(&self, repository: &Repository) -> Step<Option<Kept>> {
        // what somebody has done by hand is nowhere else
        let was_visited = self.job.handed_back.is_some();
        let goes_on = was_visited || matches!(self.job.start, Start::Resume { session_id: Some(_) });
        let follows_up = self.job.chain.follows_up();
        if !goes_on && !follows_up {
            return Ok(None);
        }
        let before = if follows_up { self.before().await? } else { self.repeated().await? };
        // what must not be published is in its history, and would be in that of this one
        let is_secret =
            |job: &Job| job.reason.as_ref().is_some_and(|it| it.code == ReasonCode::SecretDetected);
        if before.as_ref().is_some_and(is_secret) {
            self.warn("The work of the job before holds a secret: this one begins without it.").await?;
            return Ok(None);
        }
        let base_before = before.as_ref().and_then(|job| job.effects.base_sha.clone());
        let ran_before = was_visited || self.ran_before()?;
        let published = follows_up && before.as_ref().is_some_and(Job::is_published);
        if published && !(goes_on && ran_before) {
            return Ok(None);
        }
        if let Some(base) = self.job.effects.base_sha.as_ref().or(base_before.as_ref()) {
            // what lay in the path when this job began is of the one before
            let which = if goes_on && ran_before { "" } else { "1-before" };
            let prefix = format!("refs/offshoot/{}/{which}", self.job.id);
            // that of the agent before the visit was not looked at by anybody
            let after = self.job.handed_back.filter(|_| self.handed_to() == Some(GoesOn::Publish));
            let since = after.map_or(0, |handed| handed.after);
            let found = newest(repository, &prefix, &Self::commit_id(base)?, since).await?;
            if let Some(kept) = self.on_its_base(found).await? {
                return Ok(Some(kept));
            }
        }
        let (Some(before), Some(base)) = (before, base_before) else { return Ok(None) };
        // what an attempt before had left, the one that changed nothing had given up
        if published || (follows_up && before.effects.files_changed == Some(0)) {
            return Ok(None);
        }
        let prefix = format!("refs/offshoot/{}/", before.id);
        let found = newest(repository, &prefix, &Self::commit_id(&base)?, 0).await?;
        let kept = self.on_its_base(found).await?;
        if follows_up && kept.is_none() {
            let text = format!(
                "The work of job #{} is not kept any more: this one begins without it.",
                before.number
            );
            self.warn(&text).await?;
        }
        Ok(kept)
    }

    /// Newer work whose history was rewritten cannot become the result: what a person has called done, or gives to the agent, ends
    /// the job; anything else is told.
    async fn on_its_base(&self, found: Found) -> Step<Option<Kept>> {
        let Some(name) = found.rewritten else { return Ok(found.kept) };
        let is_by_hand = self.handed_to().is_some()
            && self.job.handed_back.is_some_and(|handed| attempt_of(&name) > Some(handed.after));
        if is_by_hand {
            let detail = format!("What was done by hand is kept as {name}.");
            return Err(Halt::fault(ReasonCode::HistoryRewritten, &detail));
        }
        self.warn(&format!(
            "Newer work is left out, because its history does not build on the commit that the work began at. It is kept as {name}; \
             to see what is kept: offshoot rescue {}",
            name.split('/').nth(2).unwrap_or_default()
        ))
        .await?;
        Ok(found.kept)
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

    /// The newest job of the chain before this one that came so far as to have a worktree.
    async fn before(&self) -> Step<Option<Job>> {
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        let mut earlier = chain.into_iter().rev().filter(|job| job.number < self.job.number);
        Ok(earlier.find(|job| job.effects.base_sha.is_some()))
    }

    /// The job that this one repeats, or that one does, which came so far as to have a worktree.
    async fn repeated(&self) -> Step<Option<Job>> {
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        Ok(originals(&self.job, &chain).find(|job| job.effects.base_sha.is_some()).cloned())
    }

    pub(super) async fn original(&self) -> Step<Option<Job>> {
        if self.job.chain.original.is_none() {
            return Ok(None);
        }
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        Ok(originals(&self.job, &chain).next().cloned())
    }
}

impl Tools {
    /// Whether the conversation is that of the `[agents.<name>]` entry, as far as anybody knows.
    pub(super) async fn has_held(
        &self,
        agent: &str,
        job: &Job,
        session_id: &str,
    ) -> Result<bool, StoreError> {
        let held = self.store.has_held_session(&job.chain.root, session_id, agent).await?;
        Ok(held.unwrap_or(true))
    }
}

/// The attempt that a snapshot is of, as its name says it.
fn attempt_of(name: &str) -> Option<u32> {
    name.rsplit('/').next()?.split_once('-')?.0.parse().ok()
}

/// What snapshots have.
#[derive(Default)]
struct Found {
    kept: Option<Kept>,
    /// The newest one, where its history does not build on the base.
    rewritten: Option<String>,
}

/// The newest snapshot below `prefix` whose history builds on `base`, or the result of its job. Of attempts after `since`.
async fn newest(repository: &Repository, prefix: &str, base: &CommitId, since: u32) -> Step<Found> {
    let mut found = repository.find_snapshots(prefix).await?;
    // times are whole seconds, within which attempts can follow each other
    found.retain(|one| since == 0 || attempt_of(&one.name) > Some(since));
    found.sort_by_key(|one| std::cmp::Reverse((attempt_of(&one.name), one.taken_at)));
    let mut rewritten = None;
    // of a branch that was in the way, perhaps another chain's
    for one in found.into_iter().filter(|one| !is_branch(one)) {
        let is_result = one.name.ends_with("/head");
        let head =
            if is_result { Some(one.commit.clone()) } else { repository.parent_of(&one.commit).await? };
        let Some(head) = head else { continue };
        if repository.descends_from(&head, base).await? {
            let snapshot = (!is_result).then_some(one.commit);
            let kept = Some(Kept { head, base: base.clone(), snapshot });
            return Ok(Found { kept, rewritten });
        }
        rewritten.get_or_insert(one.name);
    }
    Ok(Found { kept: None, rewritten })
}
