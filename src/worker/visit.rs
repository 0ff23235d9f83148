//! Somebody takes a job over: its steps make way, its worktree waits, what he may run there is put out for him, and nothing
//! of that outlives his visit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::attempt::{AgentWork, Line, render};
use super::halt::{Halt, Step};
use super::steps::look;
use super::{Tools, Worker};
use crate::agent::registry::find_agent;
use crate::agent::{AgentVerdict, BASE_ENVIRONMENT_NAMES};
use crate::domain::attempt::AttemptEnd;
use crate::domain::id::{JobNumber, JobRef};
use crate::domain::job::{Job, Start};
use crate::domain::options::{EffectiveOptions, RunOptions};
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::visit::{GoesOn, Unvisitable};
use crate::git::GitError;
use crate::process::{ExitCause, MARKER_VARIABLE, StepDir, StepState, ask_to_end, end_lost_tree};
use crate::store::StoreError;

/// The word in the exit record of a step that made way.
pub(super) const ATTACH: &str = "attach";
/// What marks whatever a visitor starts, beside the steps of the attempt behind which he came.
const STEP: &str = "attached";
const SETTINGS_PUT_BACK: &str = "The settings of the clone were changed during the visit, and are put back: what git is to keep, set \
    with git config --global.";
/// Time for a program with a screen to put that right; a cancel waits for it.
const ASKED_MAX: Duration = Duration::from_secs(3);
/// What is killed is gone in milliseconds.
const LEFT_MAX: Duration = Duration::from_secs(10);

/// What an agent is told after somebody has had the job, until a turn of it has come to its end.
pub(super) const VISITED: &str = "Somebody took this work over from you for a while, and worked in its files by hand, perhaps with \
    you. Look at what is there now, leave what was changed on purpose as it is, and bring the work to its end. If a merge was left \
    unfinished, its marks are in the files: resolve them.";

impl Line<'_> {
    /// Whether the agent has still to be told that somebody was there, in this job or in the one that it repeats.
    pub(super) async fn has_unheard_visit(&self) -> Step<bool> {
        // to a plain command nobody can say what has happened
        if !self.agent()?.1.capabilities().resume {
            return Ok(false);
        }
        if let Some(handed) = self.job.handed_back {
            return Ok(!self.has_ended_turn(self.lease.job, handed.after)?);
        }
        if !matches!(self.job.start, Start::Resume { session_id: Some(_) }) {
            return Ok(false);
        }
        let Some(original) = self.original().await? else { return Ok(false) };
        let Some(handed) = original.handed_back else { return Ok(false) };
        Ok(!self.has_ended_turn(original.number, handed.after)? && !self.has_ended_turn(self.lease.job, 0)?)
    }

    /// Whether a turn of the agent has come to its end by itself, and without a failure, in an attempt behind `after`.
    fn has_ended_turn(&self, job: JobNumber, after: u32) -> Step<bool> {
        for (attempt, name) in self.tools.store.logs().steps_of(job) {
            if attempt <= after || !name.starts_with("agent-") {
                continue;
            }
            if let StepState::Exited(record) = look(&self.tools.any_step(job, attempt, &name)?)?
                && record.cause == ExitCause::Exited
                && record.code == Some(0)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends the attempt if somebody waits to take the job over: before anything more is begun.
    pub(super) async fn give_way(&self) -> Step<()> {
        if self.tools.store.is_awaited(self.lease.job).await? {
            return Err(self.given_way().await);
        }
        Ok(())
    }

    /// How an attempt ends that has given way. What runs in a step may write to its supervisor's socket as well: nobody gets an
    /// attempt that does not count without a visitor.
    pub(super) async fn given_way(&self) -> Halt {
        if self.signals.cancel.is_cancelled() {
            return Halt::Ended(AttemptEnd::Cancelled);
        }
        match self.tools.store.find_visit(self.lease.job).await {
            Ok(Some(_)) => Halt::Ended(AttemptEnd::Attached),
            Ok(None) => Halt::fault(ReasonCode::Interrupted, "It gave way to a visitor, and there is none."),
            Err(error) => error.into(),
        }
    }

    /// With what this attempt goes on after a visit; `None`: there was none, or the agent has had its turn since.
    pub(super) fn handed_to(&self) -> Option<GoesOn> {
        let handed = self.job.handed_back?;
        let is_past = handed.turn.is_some_and(|attempt| attempt < self.lease.attempt);
        (!is_past).then_some(handed.to)
    }

    /// What lies in the worktree, in the place of the agent's work.
    pub(super) async fn work_by_hand(&mut self, worktree: &Path) -> Step<AgentWork> {
        // of the attempt before this one
        if !self.is_being_verified(1)? {
            self.record_verification(&[]).await?;
        }
        Ok(AgentWork { worktree: worktree.to_owned(), verdict: AgentVerdict::by_hand(), interrupted: false })
    }
}

/// What is put out for a visitor.
#[derive(Clone, Debug)]
pub struct PutOut {
    /// The `[agents.<name>]` entry.
    pub agent: String,
    /// The conversation that is opened, if one is.
    pub session_id: Option<String>,
    pub worktree: String,
    pub command: Vec<String>,
    /// What leads the agent to its home, its tools and its login, as the server has it, and the mark of what a visitor starts.
    pub env: BTreeMap<String, String>,
    /// What the owner lets through besides: it may be keys, so it is not told.
    pub pass_env: BTreeSet<String>,
    /// Variables with the names of their secrets.
    pub set_env: BTreeMap<String, String>,
}

/// What a visitor of the queued job runs: the agent as a person uses it, in the job's conversation, or a shell. Whatever carries
/// the mark is ended when the visit is over. `None`: the worktree is not there.
///
/// # Errors
/// What the store said.
pub async fn put_out(worker: &Worker, job: &Job) -> Result<Option<PutOut>, StoreError> {
    let tools = &*worker.0;
    let worktree = job.effects.worktree_path.clone().unwrap_or_default();
    if !Path::new(&worktree).is_dir() {
        return Ok(None);
    }
    let attempts = tools.store.list_attempts(job.number).await?;
    let client = tools.store.get_client(&job.client_id).await?;
    let ran_with = attempts.last().map(|attempt| attempt.options.clone()).unwrap_or_default();
    let layers = [&ran_with, &job.request.options, &client.options, &tools.settings.defaults];
    let options = EffectiveOptions::resolve(RunOptions::merge(&layers), false);
    let session = match &job.effects.session_id {
        Some(id) if tools.has_held(&options.agent, job, id).await? => Some(id.as_str()),
        _ => None,
    };
    let mut put_out = tools.put_out(session, &options, worktree);
    let mark = step_of(tools, job)?.name().as_str().to_owned();
    put_out.env.insert(MARKER_VARIABLE.to_owned(), mark);
    Ok(Some(put_out))
}

impl Tools {
    fn put_out(&self, session: Option<&str>, options: &EffectiveOptions, worktree: String) -> PutOut {
        let entry = self.settings.agents.get(&options.agent);
        let agent = entry.map(|entry| find_agent(entry.kind));
        // what an agent has made up does not become a flag
        let is_plain = |id: &&str| {
            !id.starts_with('-')
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let session = session.filter(is_plain);
        let opened = agent.zip(entry).zip(session).and_then(|((agent, entry), session)| {
            let arguments = agent.by_hand(session)?;
            Some(entry.command.iter().cloned().chain(arguments).collect::<Vec<_>>())
        });
        let names = agent.map_or(BASE_ENVIRONMENT_NAMES, |agent| agent.environment_names());
        let mut env = self.passed_on(&names.iter().map(|name| (*name).to_owned()).collect());
        // one of them takes it for the directory to work in
        env.insert("PWD".to_owned(), worktree.clone());
        let own = entry.iter().flat_map(|entry| &entry.env);
        let pass_env = own.chain(&options.env).filter(|name| !env.contains_key(*name)).cloned().collect();
        let session_id = session.filter(|_| opened.is_some()).map(str::to_owned);
        let shell = || vec![usable_shell(env.get("SHELL"))];
        let command = opened.unwrap_or_else(shell);
        let set_env = options.set_env.clone();
        PutOut { agent: options.agent.clone(), session_id, worktree, command, env, pass_env, set_env }
    }
}

/// Whether somebody has changed the clone of a job, so that a person who ran git there might run what he does not know. The client
/// is paused then, as at the end of a job: what is put back behind a visit excuses nothing.
///
/// # Errors
/// What the store said.
pub async fn is_tampered_with(worker: &Worker, job: &Job) -> Result<bool, StoreError> {
    let store = &worker.0.store;
    let client = store.get_client(&job.client_id).await?;
    let Ok(repository) = worker.0.repository(&client) else { return Ok(false) };
    let Err(error @ GitError::Tampered { .. }) = repository.verify_untampered().await else {
        return Ok(false);
    };
    let reason = Reason::new(ReasonCode::RepoTampered, &error.to_string());
    store.pause_client(&client.id, &reason.message).await?;
    Ok(true)
}

/// Why what lies in the worktree of a job that somebody has cannot be published as it is.
///
/// # Errors
/// What the store said.
pub async fn unpublishable(worker: &Worker, job: &Job) -> Result<Option<Unvisitable>, StoreError> {
    let tools = &*worker.0;
    let worktree = job.effects.worktree_path.clone().unwrap_or_default();
    if !Path::new(&worktree).is_dir() {
        return Ok(Some(Unvisitable::Gone));
    }
    let client = tools.store.get_client(&job.client_id).await?;
    let Ok(repository) = tools.repository(&client) else { return Ok(None) };
    // what an agent has under way in a sandbox a visitor can neither see nor end; a clone that cannot be read is met by the next
    // attempt
    let found = repository.unfinished(Path::new(&worktree), false).await.unwrap_or_default();
    Ok(found.map(|what| Unvisitable::Unfinished { what }))
}

/// The shell of the server's user, unless that is one that lets nobody in.
fn usable_shell(of_user: Option<&String>) -> String {
    let refuses = |shell: &&String| matches!(Path::new(shell).file_name(), Some(name) if name == "nologin" || name == "false");
    of_user.filter(|shell| !refuses(shell)).cloned().unwrap_or_else(|| "/bin/sh".to_owned())
}

fn step_of(tools: &Tools, job: &Job) -> Result<StepDir, StoreError> {
    let step = tools.any_step(job.number, job.attempt, STEP);
    step.map_err(|error| StoreError::Io(io::Error::other(error)))
}

/// Ends what a visit that is over has left running, by its marker, and lets the job go on. What cannot be ended is tried again.
pub async fn end_visit(worker: &Worker, job: JobNumber) {
    let tools = &*worker.0;
    if let Err(error) = tools.end_visit(job).await {
        tracing::error!(%error, job.number = job.0, "what a visitor left could not be ended; it is tried again");
    }
}

impl Tools {
    async fn end_visit(&self, number: JobNumber) -> Result<(), StoreError> {
        let job = self.store.get_job(&JobRef::Number(number)).await?.job;
        let step = step_of(self, &job)?;
        ask_to_end(&step, ASKED_MAX).await;
        // not by where it works: whoever looks at the worktree from another terminal keeps his shell
        let left = end_lost_tree(&step, step.dir(), &[], LEFT_MAX).await;
        let left = left.map_err(|error| StoreError::Io(io::Error::other(error)))?;
        if !left.is_empty() {
            return Err(StoreError::Io(io::Error::other(format!("{left:?} live on"))));
        }
        let warning = self.put_settings_back(&job).await?;
        let clock = self.clock.clone();
        self.store.end_visit(number, warning, move |view| render(&clock, view)).await
    }

    /// Worktrees have the settings of their clone, and a person who sets one means no harm. They were whole when he came.
    async fn put_settings_back(&self, job: &Job) -> Result<Option<String>, StoreError> {
        let client = self.store.get_client(&job.client_id).await?;
        let Ok(repository) = self.repository(&client) else { return Ok(None) };
        match repository.put_settings_back().await {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(SETTINGS_PUT_BACK.to_owned())),
            Err(error) => {
                // it counts as tampered with then, which the next attempt says
                tracing::warn!(%error, job.number = job.number.0, "the settings of a clone could not be put back");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_lets_nobody_in_is_passed_over() {
        for (shell, usable) in [
            (Some("/bin/bash"), "/bin/bash"),
            (Some("/usr/sbin/nologin"), "/bin/sh"),
            (Some("/bin/false"), "/bin/sh"),
            (None, "/bin/sh"),
        ] {
            assert_eq!(usable_shell(shell.map(str::to_owned).as_ref()), usable);
        }
    }
}
