//! Phase 2: a turn of the agent is found where an earlier server left it, or started.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::attempt::{AgentWork, Line};
use super::halt::{Halt, Step};
use super::inward::with_said;
use super::step_end::{Exited, StepEnd};
use super::steps::{FIRST_TURN, check_worktree, look, unless_it_lives};
use super::turns::Ask;
use super::{AgentEntry, native_command, spoken_command};
use crate::agent::registry::find_agent;
use crate::agent::{Agent, AgentCommand, AgentError, AgentOutcome, AgentReader, Fault, Invocation, Session};
use crate::domain::attempt::AttemptEnd;
use crate::domain::job::{Effects, Phase};
use crate::domain::options::RunOptions;
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::step_limit::StepLimit;
use crate::domain::time::Timestamp;
use crate::failpoint::{self, Edge};
use crate::git::is_disk_full;
use crate::process::{CommandSpec, ExitCause, Stdin, StepDir, StepState, inspect};

impl Line<'_> {
    /// The agent's turn `name`, if it was ever released: it is watched, or its end is read. `None`: it has to be started.
    async fn find_turn(&mut self, name: &str, worktree: &Path) -> Step<Option<AgentWork>> {
        let step = self.step_dir(name)?;
        match look(&step)? {
            StepState::NotStarted | StepState::NotReleased => Ok(None),
            // it may have left at its barrier: its server died before it said go
            // Of one that is dead the rest is read too: it has been paid for, and may only say there
            // which conversation it held.
            StepState::Running(_) | StepState::Exited(_) | StepState::Lost(_) => {
                self.watch(&step, name, worktree).await
            }
        }
    }

    /// Finds the agent's turn where an earlier server left it, or starts it in the prepared worktree; comes back at its end.
    pub(super) async fn run_agent(&mut self, name: &str, worktree: &Path, ask: &Ask<'_>) -> Step<AgentWork> {
        if let Some(work) = self.find_turn(name, worktree).await? {
            return Ok(work);
        }
        self.check_signals()?;
        self.give_way().await?;
        if !self.tools.store.may_use_login(self.lease).await? {
            return Err(Halt::Ended(AttemptEnd::Held));
        }
        check_worktree(worktree)?;
        self.phase(Phase::Agent).await?;
        let (entry, agent) = self.agent()?;
        let is_first = matches!(ask, Ask::Work);
        if is_first {
            // further ones go on with the options that this has passed with
            self.refuse_unsupported(agent)?;
        }
        self.refuse_too_old(&entry, agent).await?;
        self.refuse_unpaid(!is_first).await?;
        let said = self.tools.store.said_to_agent(self.lease.job).await?;
        let (session, prompt) = match ask {
            Ask::Work => {
                // of the attempt before this one
                self.record_verification(&[]).await?;
                self.settle_session(agent.capabilities()).await?;
                (self.session(), with_said(self.prompt().await?, &said))
            }
            Ask::GoOn(why) => {
                if name == FIRST_TURN {
                    self.record_verification(&[]).await?;
                }
                self.ask_to_go_on(why, name, &said, agent.capabilities()).await?
            }
        };
        let command = agent
            .command(&self.invocation(&entry, agent, worktree, session.clone(), prompt).await?)
            .map_err(refused_start)?;
        let step = self.step_dir(name)?;
        let spec = self.command_spec(&entry, agent, &command, &step, worktree).await?;
        self.write_prompt(&step, name, &command.stdin).await?;
        let upto = said.last().map_or(0, |said| said.seq);
        let launched = self.launch_turn(&step, name, &spec, upto).await?;
        // who makes up the id of a new conversation tells it later
        if agent.capabilities().names_session || matches!(session, Session::Resume { .. }) {
            self.effects(Effects { session_id: Some(session.id().to_owned()), ..Effects::default() }).await?;
        }
        self.check_signals()?;
        launched.release().await?;
        tracing::info!(step = name, agent = agent.kind().as_str(), "agent started");
        match self.watch(&step, name, worktree).await? {
            Some(work) => Ok(work),
            None => Err(Halt::fault(ReasonCode::Interrupted, "Its supervisor was killed before it began.")),
        }
    }

    /// Follows the turn to its end and judges how it ended; `None` when it was never released.
    async fn watch(&mut self, step: &StepDir, name: &str, worktree: &Path) -> Step<Option<AgentWork>> {
        let (_, agent) = self.agent()?;
        let reader = AgentReader::new(agent.parser(worktree));
        let idle_max = Duration::from_secs(self.options.idle_timeout_seconds);
        let followed = self.supervise(step, worktree, reader, name, idle_max).await;
        let followed = match (followed, inspect(step)) {
            // it is dead, whatever is wrong with its log
            (Err(Halt::Ended(AttemptEnd::Faulted { .. })), Ok(StepState::Lost(_))) => {
                let (members, verdict) = (Vec::new(), None);
                Ok(StepEnd::Lost { members, out_of_memory: false, verdict, done: false, took_ms: 0 })
            }
            (followed, _) => followed,
        };
        match followed.map_err(|halt| unless_it_lives(step, halt))? {
            StepEnd::NotReleased => Ok(None),
            StepEnd::Lost { members, out_of_memory, verdict, done, took_ms } => {
                let halt = self.lost(step, &members, out_of_memory).await;
                let Some(verdict) = verdict else { return Err(halt) };
                self.account(name, agent.capabilities(), &verdict, took_ms).await?;
                // its own end may have been read, but whoever is left of it is not gone
                if !done || !matches!(halt, Halt::Ended(_)) {
                    return Err(halt);
                }
                // nobody has measured what it wrote last
                if let Some(limit) = self.has_flooded(worktree).await {
                    return Err(self.limited(limit));
                }
                self.was_done("its supervisor was killed").await?;
                Ok(Some(AgentWork { worktree: worktree.to_owned(), verdict: *verdict, interrupted: false }))
            }
            StepEnd::Exited(end) => self.judge_turn(step, name, worktree, agent, end).await.map(Some),
        }
    }

    async fn judge_turn(
        &mut self,
        step: &StepDir,
        name: &str,
        worktree: &Path,
        agent: &dyn Agent,
        end: Exited,
    ) -> Step<AgentWork> {
        let Exited {
            record,
            verdict,
            limit,
            interrupted,
            attached,
            in_vain,
            done,
            stopped_by_others,
            members,
        } = end;
        self.effects(Effects { exit_code: record.code.map(i64::from), ..Effects::default() }).await?;
        if record.cause != ExitCause::SpawnFailed {
            let took_ms = u64::try_from(record.ended_at_ms - record.started_at_ms).unwrap_or(0);
            self.account(name, agent.capabilities(), &verdict, took_ms).await?;
        }
        self.heed(step, &record, &members).await?;
        let work =
            AgentWork { worktree: worktree.to_owned(), verdict: *verdict, interrupted: interrupted && !done };
        if done {
            self.was_done(limit.map_or("it was ended from outside", |limit| limit.reason().as_str())).await?;
            return Ok(work);
        }
        match (limit, &work.verdict.outcome) {
            (Some(StepLimit::Budget), _) => return Err(self.budget_spent(true, "").await?),
            (Some(limit), _) => return Err(self.limited(limit)),
            (None, AgentOutcome::Failed { fault: Fault::MaxBudget, message }) => {
                return Err(self.budget_spent(true, message).await?);
            }
            (None, _) => {}
        }
        if attached {
            return Err(self.given_way().await);
        }
        if (interrupted || in_vain) && self.signals.cancel.is_cancelled() {
            return Err(Halt::Ended(AttemptEnd::Cancelled));
        }
        if !interrupted && !in_vain {
            self.check_exit(&record, stopped_by_others)?;
        }
        if record.out_of_memory && matches!(work.verdict.outcome, AgentOutcome::Failed { .. }) {
            self.leave_conversation("the memory ran out in it again").await?;
            return Err(Halt::fault(ReasonCode::OutOfMemory, "The kernel killed it."));
        }
        Ok(work)
    }

    /// The result counts, however the process came to its end; a later server reads it again.
    async fn was_done(&self, why: &str) -> Step<()> {
        let text =
            format!("The agent had told its result before its step was ended ({why}): the result counts.");
        if self.job.warnings.contains(&text) { Ok(()) } else { self.warn(&text).await }
    }

    /// What the agent's own verdict means for the job.
    pub(super) fn agent_halt(&self, fault: Fault, message: &str) -> Halt {
        let code = ReasonCode::parse(fault.code()).unwrap_or(ReasonCode::Crashed);
        let (resets_at, window) = match fault {
            Fault::UsageLimit { resets_at, window } => (resets_at, window),
            Fault::Overloaded { again_at } => (again_at, None),
            Fault::ProgramMissing => return Halt::unspent(code, message),
            _ => return Halt::fault(code, message),
        };
        let until = resets_at.map(|at| Timestamp::from_ms(at.saturating_mul(1_000)));
        let reason = Reason::new(code, message);
        Halt::Ended(AttemptEnd::Faulted { reason, until, window, spent: true })
    }

    pub(super) fn agent(&self) -> Step<(AgentEntry, &'static dyn Agent)> {
        let name = &self.options.agent;
        let Some(entry) = self.tools.settings.agents.get(name).cloned() else {
            return Err(Halt::unspent(ReasonCode::AgentMissing, &format!("There is no agent \"{name}\".")));
        };
        let agent = find_agent(entry.kind);
        Ok((entry, agent))
    }

    async fn invocation(
        &self,
        entry: &AgentEntry,
        agent: &dyn Agent,
        worktree: &Path,
        session: Session,
        prompt: String,
    ) -> Step<Invocation> {
        let options = &self.options;
        let max_budget_usd_micros = self.allowance().await?;
        let path = self.tools.settings.environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        Ok(Invocation {
            program: spoken_command(agent, native_command(agent, &entry.command, &path)),
            prompt,
            working_dir: worktree.to_owned(),
            attachments: self.lay_out_attachments().await?,
            model: options.model.clone(),
            effort: options.effort.map(|effort| effort.as_str().to_owned()),
            permission_mode: Some(options.permission_mode.as_str().to_owned()),
            allowed_tools: options.allowed_tools.clone(),
            disallowed_tools: options.disallowed_tools.clone(),
            max_turns: options.max_turns,
            max_budget_usd_micros,
            append_system_prompt: Some(options.append_system_prompt.clone()),
            session,
            sandboxed: self.walls.sandboxed,
            as_root: self.tools.settings.as_root,
        })
    }

    /// What the job, its client or the configuration asks for by now; a job that asks for the impossible was refused.
    fn refuse_unsupported(&self, agent: &dyn Agent) -> Step<()> {
        let own = self.job.request.own_options();
        let merged = RunOptions::merge(&[&own, &self.client.options, &self.tools.settings.defaults]);
        let refusals = agent.capabilities().refusals(&merged);
        let Some((option, rule)) = refusals.first() else { return Ok(()) };
        let (name, kind) = (&self.options.agent, agent.kind());
        let option = option.camel_case();
        let detail = format!("options.{option} {rule}: the agent \"{name}\" is of the kind {kind}.");
        Err(Halt::fault(ReasonCode::UnsupportedOption, &detail))
    }

    async fn command_spec(
        &self,
        entry: &AgentEntry,
        agent: &dyn Agent,
        command: &AgentCommand,
        step: &StepDir,
        worktree: &Path,
    ) -> Step<CommandSpec> {
        let env = self.environment(entry, agent, command)?;
        self.limited_spec(command.argv.clone(), worktree, env, Stdin::File(step.prompt())).await
    }

    /// A command under the limits of every step, inside of what its attempt runs in.
    pub(super) async fn limited_spec(
        &self,
        argv: Vec<String>,
        worktree: &Path,
        mut env: BTreeMap<String, String>,
        stdin: Stdin,
    ) -> Step<CommandSpec> {
        let wrapper = self.wrapper(worktree, &env, argv.first().map_or("", String::as_str)).await?;
        if !wrapper.is_empty() {
            // a sandbox has its own
            env.remove("TMPDIR");
        }
        let limits = &self.tools.settings.step_limits;
        Ok(CommandSpec {
            argv,
            wrapper,
            working_dir: worktree.to_owned(),
            env,
            redact: self.tools.settings.scanner.known().forms(),
            stdin,
            wall_limit: Duration::from_secs(self.options.timeout_seconds),
            output_bytes_max: limits.output_bytes_kept,
            output_bytes_end: Some(limits.output_bytes_end),
            open_files_max: Some(limits.open_files_max),
            memory_group: None,
            stop_grace: self.tools.settings.stop_grace,
        })
    }

    /// What of the server's environment is let through under these names, and who commits.
    pub(super) fn base_environment(&self, names: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut env = self.tools.passed_on(names);
        let author = &self.tools.settings.author;
        for (name, value) in [
            ("GIT_AUTHOR_NAME", &author.name),
            ("GIT_AUTHOR_EMAIL", &author.email),
            ("GIT_COMMITTER_NAME", &author.name),
            ("GIT_COMMITTER_EMAIL", &author.email),
        ] {
            env.insert(name.to_owned(), value.clone());
        }
        // PWD is the supervisor's to set
        env.remove("PWD");
        env
    }

    /// Weakest first: what its kind and the owner let through, who it commits as, what the owner sets for the agent, then for
    /// the work, what it needs.
    fn environment(
        &self,
        entry: &AgentEntry,
        agent: &dyn Agent,
        command: &AgentCommand,
    ) -> Step<BTreeMap<String, String>> {
        let mut env = self.own_environment(entry, agent);
        self.add_secrets(&mut env)?;
        env.extend(command.env.iter().cloned());
        // PWD is the supervisor's to set
        env.remove("PWD");
        Ok(env)
    }

    /// The same without the secrets of the work.
    pub(super) fn own_environment(&self, entry: &AgentEntry, agent: &dyn Agent) -> BTreeMap<String, String> {
        let names: BTreeSet<String> = agent
            .environment_names()
            .iter()
            .map(|name| (*name).to_owned())
            .chain(entry.env.iter().cloned())
            .chain(self.options.env.iter().cloned())
            .collect();
        let mut env = self.base_environment(&names);
        for (name, value) in &entry.set_env {
            env.insert(name.clone(), value.expose_secret().to_owned());
        }
        env
    }

    /// The prompt becomes the agent's standard input as a file: never an argument, never a pipe that could block.
    async fn write_prompt(&self, step: &StepDir, name: &str, prompt: &str) -> Step<()> {
        let (logs, lease) = (self.tools.store.logs().clone(), self.lease);
        let (file, name, prompt) = (step.prompt(), name.to_owned(), prompt.to_owned());
        let written = tokio::task::spawn_blocking(move || {
            use std::io::Write as _;
            use std::os::unix::fs::OpenOptionsExt as _;
            logs.make_step_dir(lease.job, lease.attempt, &name)?;
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
            file.write_all(prompt.as_bytes())
        });
        match failpoint::around(Edge::WritePrompt, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_disk_full(&error) => Err(Halt::fault(ReasonCode::DiskFull, "")),
            Ok(Err(error)) => Err(Halt::internal("the prompt cannot be written", error)),
            Err(error) => Err(Halt::internal("the prompt cannot be written", error)),
        }
    }
}

/// A start that the agent is known to refuse.
fn refused_start(error: AgentError) -> Halt {
    match error {
        AgentError::BypassAsRoot => {
            let message =
                "The agent refuses the permission mode bypassPermissions as root outside a sandbox.";
            Halt::told(ReasonCode::PermissionDenied, message)
        }
        other => Halt::internal("the agent's command cannot be built", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::AttemptEnd;

    #[test]
    fn a_mode_that_root_may_not_have_is_called_that() {
        let halt = refused_start(AgentError::BypassAsRoot);
        let Halt::Ended(AttemptEnd::Faulted { reason, .. }) = halt else { panic!("no fault") };
        assert_eq!(reason.code, ReasonCode::PermissionDenied);
        assert!(reason.message.starts_with("The agent refuses the permission mode"), "{}", reason.message);
    }
}
