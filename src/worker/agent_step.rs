//! Phase 2: the agent's step is found where an earlier server left it, or started.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use super::attempt::{AgentWork, Line};
use super::halt::{Halt, Step};
use super::supervise::StepEnd;
use super::{AgentEntry, Tools, native_command};
use crate::agent::registry::find_agent;
use crate::agent::{Agent, AgentCommand, AgentError, AgentOutcome, Fault, Invocation, Session};
use crate::domain::attempt::{AttemptEnd, Lease};
use crate::domain::id::JobNumber;
use crate::domain::job::Effects;
use crate::domain::options::RunOptions;
use crate::domain::reason::ReasonCode;
use crate::domain::step_limit::StepLimit;
use crate::domain::time::Timestamp;
use crate::failpoint::{self, Edge};
use crate::metrics;
use crate::process::{
    CommandSpec, Control, ExitCause, ExitRecord, ProcessError, ShimIdentity, Stdin, StepDir, StepName,
    StepState, Survivor, Tail, Tailed, end_lost_tree, inspect, survivors,
};

/// The one step of an attempt that is an agent's first turn.
const STEP: &str = "agent-1";

/// What a shim that was killed may leave is gone in milliseconds; a storm of 32,000 processes took 1.5 s.
const LOST_TREE_MAX: Duration = Duration::from_secs(30);

/// Deaths of servers over one attempt. Once is a coincidence; a service manager gives up after five starts.
const DEATHS_IN_A_ROW_MAX: u32 = 3;

/// A shim that was asked to end takes three graces of five seconds at most, and its log a moment to be read.
const EARLIER_MAX: Duration = Duration::from_secs(60);

impl Line<'_> {
    /// The agent of this very attempt, if it was ever released: it is watched, or its end is read. `None`: it has to
    /// be prepared and started.
    pub(super) async fn find_agent_work(&mut self) -> Step<Option<AgentWork>> {
        self.bury_earlier_attempt().await?;
        let step = self.step_dir(self.lease.attempt)?;
        match inspect(&step)? {
            StepState::NotStarted | StepState::NotReleased => return Ok(None),
            StepState::Running(_) | StepState::Exited(_) => {}
            StepState::Lost(_) => return Err(self.lost(&step, &[], false).await),
        }
        // removed and forgotten by now if a server was killed between that and the end
        let worktree = self.tools.worktree_path(&self.client, &self.job.chain.root);
        let told = self.say("the server came back and goes on with the agent that was started before").await;
        told.map_err(|halt| unless_it_lives(&step, halt))?;
        match self.watch(&step, &worktree).await? {
            Some(work) => Ok(Some(work)),
            // it left at its barrier: its server died before it said go
            None => Ok(None),
        }
    }

    /// Several servers in a row have died with this attempt, and none has brought it a step further: what its agent left
    /// is not touched once more. While the agent lives it goes on, whoever kills servers.
    pub(super) async fn end_if_deadly(&self) -> Step<()> {
        let deaths = self.tools.store.server_deaths_in_a_row(self.lease).await?;
        if deaths < DEATHS_IN_A_ROW_MAX {
            return Ok(());
        }
        match inspect(&self.step_dir(self.lease.attempt)?)? {
            StepState::Exited(_) => {
                let detail = format!("{deaths} servers in a row died over what it left.");
                Err(Halt::fault(ReasonCode::Interrupted, &detail))
            }
            _ => Ok(()),
        }
    }

    /// Starts the agent in the prepared worktree and watches it to its end.
    pub(super) async fn run_agent(&mut self, worktree: PathBuf) -> Step<AgentWork> {
        let (entry, agent) = self.agent()?;
        self.refuse_unsupported(agent)?;
        self.settle_session(agent.capabilities()).await?;
        let session = self.session();
        let prompt = self.prompt().await?;
        let command = agent
            .command(&self.invocation(&entry, agent, &worktree, session.clone(), prompt))
            .map_err(refused_start)?;
        let step = self.step_dir(self.lease.attempt)?;
        let spec = self.command_spec(&entry, agent, &command, &step, &worktree);
        self.write_prompt(&step, &command.stdin).await?;
        self.tools.store.begin_step(self.lease, STEP).await?;
        let launched = self.tools.launcher.launch(&step, &spec).await?;
        let identity = identity_text(launched.identity());
        let pid = i64::from(launched.identity().pid);
        self.tools.store.record_shim(self.lease, STEP, identity, pid).await?;
        // who makes up the id of a new conversation tells it later
        if agent.capabilities().names_session || matches!(session, Session::Resume { .. }) {
            self.effects(Effects { session_id: Some(session.id().to_owned()), ..Effects::default() }).await?;
        }
        self.check_signals()?;
        launched.release().await?;
        tracing::info!(pid, agent = agent.kind().as_str(), "agent started");
        match self.watch(&step, &worktree).await? {
            Some(work) => Ok(work),
            None => Err(Halt::fault(ReasonCode::Interrupted, "Its supervisor was killed before it began.")),
        }
    }

    /// Follows the step to its end and judges it; `None` when it was never released.
    async fn watch(&mut self, step: &StepDir, worktree: &Path) -> Step<Option<AgentWork>> {
        let (_, agent) = self.agent()?;
        let followed = self.supervise(step, worktree, agent, STEP).await;
        let (record, verdict, limit) = match followed.map_err(|halt| unless_it_lives(step, halt))? {
            StepEnd::NotReleased => return Ok(None),
            StepEnd::Lost { members, out_of_memory, session_id } => {
                let halt = self.lost(step, &members, out_of_memory).await;
                self.effects(Effects { session_id, ..Effects::default() }).await?;
                return Err(halt);
            }
            StepEnd::Exited { record, verdict, limit } => {
                self.effects(Effects { exit_code: record.code.map(i64::from), ..Effects::default() }).await?;
                self.account(agent.capabilities(), &verdict).await?;
                (record, verdict, limit)
            }
        };
        if let Some(limit) = limit {
            return Err(self.limited(limit));
        }
        self.check_exit(&record)?;
        if record.out_of_memory && matches!(verdict.outcome, AgentOutcome::Failed { .. }) {
            return Err(Halt::fault(ReasonCode::OutOfMemory, "The kernel killed it."));
        }
        Ok(Some(AgentWork { worktree: worktree.to_owned(), verdict: *verdict }))
    }

    /// Ends that are not the agent's own doing.
    fn check_exit(&self, record: &ExitRecord) -> Step<()> {
        match record.cause {
            ExitCause::Exited => Ok(()),
            ExitCause::Cancelled if self.signals.cancel.is_cancelled() => {
                Err(Halt::Ended(AttemptEnd::Cancelled))
            }
            ExitCause::Cancelled => {
                Err(Halt::fault(ReasonCode::Interrupted, "It was cancelled from outside."))
            }
            ExitCause::Stopped => Err(Halt::fault(ReasonCode::Stopped, "")),
            ExitCause::WallLimit => Err(self.limited(StepLimit::Wall)),
            ExitCause::OutputLimit => Err(self.limited(StepLimit::Output)),
            ExitCause::Ended => {
                let word = record.text.clone().unwrap_or_default();
                Err(Halt::fault(ReasonCode::Interrupted, &format!("It was ended from outside ({word}).")))
            }
            ExitCause::SpawnFailed => {
                let text = record.text.clone().unwrap_or_default();
                Err(Halt::unspent(ReasonCode::AgentMissing, &text))
            }
        }
    }

    /// The end for a limit, with its number.
    fn limited(&self, limit: StepLimit) -> Halt {
        let limits = &self.tools.settings.step_limits;
        let number = match limit {
            StepLimit::Wall => format!("{} s", self.options.timeout_seconds),
            StepLimit::Idle => format!("{} s", self.options.idle_timeout_seconds),
            StepLimit::Output => format!("{} bytes of output", limits.output_bytes_end),
            StepLimit::Memory => format!("{} bytes of memory", limits.memory_bytes_max.unwrap_or_default()),
            StepLimit::Processes => format!("{} processes and threads", limits.processes_max),
            StepLimit::WorktreeBytes => format!("{} bytes in the worktree", limits.worktree.bytes_max),
            StepLimit::WorktreeFiles => format!("{} files in the worktree", limits.worktree.files_max),
        };
        if limit.reason() == ReasonCode::ResourceLimit {
            // the others are known by their code where the attempt ends
            metrics::LIMITS.increment([limit.metric().as_str()]);
        }
        Halt::fault(limit.reason(), &format!("The limit is {number} ({}).", limit.set_by()))
    }

    /// What the agent's own verdict means for the job.
    pub(super) fn agent_halt(&self, fault: Fault, message: &str) -> Halt {
        let code = ReasonCode::parse(fault.code()).unwrap_or(ReasonCode::Crashed);
        let until = match fault {
            Fault::UsageLimit { resets_at } => {
                resets_at.map(|at| Timestamp::from_ms(at.saturating_mul(1_000)))
            }
            _ => None,
        };
        Halt::fault_until(code, message, until)
    }

    /// The shim died without a record: what it left is killed before anything else happens in the worktree.
    async fn lost(&self, step: &StepDir, members: &[Survivor], out_of_memory: bool) -> Halt {
        let out_of_memory = out_of_memory || self.tools.launcher.ran_out_of_memory(step).await;
        if let Err(halt) = self.bury(step, members).await {
            return halt;
        }
        if out_of_memory {
            return Halt::fault(ReasonCode::OutOfMemory, "The kernel killed its supervisor.");
        }
        Halt::fault(ReasonCode::Interrupted, "Its supervisor was killed, or the machine was restarted.")
    }

    /// Ends what a dead shim left.
    async fn bury(&self, step: &StepDir, members: &[Survivor]) -> Step<()> {
        self.tools.launcher.stop_scope(step).await;
        let worktree = self.job.effects.worktree_path.as_deref().map_or_else(|| step.dir(), Path::new);
        let left = end_lost_tree(step, worktree, members, LOST_TREE_MAX).await?;
        if left.is_empty() {
            return Ok(());
        }
        Err(Halt::internal("processes of a lost agent cannot be killed", format!("{left:?}")))
    }

    /// No attempt begins before the one before it is proven dead.
    async fn bury_earlier_attempt(&self) -> Step<()> {
        let Some(earlier) = self.lease.attempt.checked_sub(1).filter(|number| *number > 0) else {
            return Ok(());
        };
        let step = self.step_dir(earlier)?;
        match inspect(&step)? {
            StepState::NotStarted | StepState::NotReleased => return Ok(()),
            StepState::Running(_) => {
                match Control::new(&step).stop() {
                    // it has just ended by itself
                    Ok(()) | Err(ProcessError::Gone) => {}
                    Err(error) => return Err(error.into()),
                }
                let mut tail = Tail::open(&step, Default::default());
                let ended = async {
                    while !matches!(tail.next().await?, Some(Tailed::Ended(_)) | None) {}
                    Ok::<(), ProcessError>(())
                };
                let Ok(ended) = timeout(EARLIER_MAX, ended).await else {
                    let detail = "The supervisor of the attempt before it does not end.";
                    return Err(Halt::fault(ReasonCode::Interrupted, detail));
                };
                ended?;
            }
            StepState::Exited(_) | StepState::Lost(_) => {}
        }
        if survivors(&step).is_empty() {
            return Ok(());
        }
        self.bury(&step, &[]).await
    }

    fn step_dir(&self, attempt: u32) -> Step<StepDir> {
        Ok(self.tools.agent_step(self.lease.job, attempt)?)
    }

    pub(super) fn agent(&self) -> Step<(AgentEntry, &'static dyn Agent)> {
        let name = &self.options.agent;
        let Some(entry) = self.tools.settings.agents.get(name).cloned() else {
            return Err(Halt::unspent(ReasonCode::AgentMissing, &format!("There is no agent \"{name}\".")));
        };
        let agent = find_agent(entry.kind);
        Ok((entry, agent))
    }

    fn invocation(
        &self,
        entry: &AgentEntry,
        agent: &dyn Agent,
        worktree: &Path,
        session: Session,
        prompt: String,
    ) -> Invocation {
        let options = &self.options;
        let path = self.tools.settings.environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        Invocation {
            program: native_command(agent, &entry.command, &path),
            prompt,
            working_dir: worktree.to_owned(),
            model: options.model.clone(),
            effort: options.effort.map(|effort| effort.as_str().to_owned()),
            permission_mode: Some(options.permission_mode.as_str().to_owned()),
            allowed_tools: options.allowed_tools.clone(),
            disallowed_tools: options.disallowed_tools.clone(),
            max_turns: options.max_turns,
            max_budget_usd_micros: options.max_budget_usd_micros,
            append_system_prompt: Some(options.append_system_prompt.clone()),
            session,
            sandboxed: false,
            as_root: self.tools.settings.as_root,
        }
    }

    /// What the job, its client or the configuration asks for by now; a job that asks for the impossible was refused.
    fn refuse_unsupported(&self, agent: &dyn Agent) -> Step<()> {
        let layers = [&self.job.request.options, &self.client.options, &self.tools.settings.defaults];
        let refusals = agent.capabilities().refusals(&RunOptions::merge(&layers));
        let Some((option, rule)) = refusals.first() else { return Ok(()) };
        let (name, kind) = (&self.options.agent, agent.kind());
        let option = option.camel_case();
        let detail = format!(
            "options.{option} {rule}: the agent \"{name}\" is of the kind {kind}. It was set after the job was accepted."
        );
        Err(Halt::fault(ReasonCode::Internal, &detail))
    }

    fn command_spec(
        &self,
        entry: &AgentEntry,
        agent: &dyn Agent,
        command: &AgentCommand,
        step: &StepDir,
        worktree: &Path,
    ) -> CommandSpec {
        let limits = &self.tools.settings.step_limits;
        CommandSpec {
            argv: command.argv.clone(),
            working_dir: worktree.to_owned(),
            env: self.environment(entry, agent, command),
            stdin: Stdin::File(step.prompt()),
            wall_limit: Duration::from_secs(self.options.timeout_seconds),
            output_bytes_max: limits.output_bytes_kept,
            output_bytes_end: Some(limits.output_bytes_end),
            open_files_max: Some(limits.open_files_max),
            memory_group: None,
            stop_grace: self.tools.settings.stop_grace,
        }
    }

    /// Weakest first: what its kind and the owner let through, who it commits as, what the owner sets, what it needs.
    fn environment(
        &self,
        entry: &AgentEntry,
        agent: &dyn Agent,
        command: &AgentCommand,
    ) -> BTreeMap<String, String> {
        let names: BTreeSet<String> = agent
            .environment_names()
            .iter()
            .map(|name| (*name).to_owned())
            .chain(entry.env.iter().cloned())
            .chain(self.options.env.iter().cloned())
            .collect();
        let mut env = self.tools.passed_on(&names);
        let author = &self.tools.settings.author;
        for (name, value) in [
            ("GIT_AUTHOR_NAME", &author.name),
            ("GIT_AUTHOR_EMAIL", &author.email),
            ("GIT_COMMITTER_NAME", &author.name),
            ("GIT_COMMITTER_EMAIL", &author.email),
        ] {
            env.insert(name.to_owned(), value.clone());
        }
        for (name, value) in &entry.set_env {
            env.insert(name.clone(), value.expose_secret().to_owned());
        }
        env.extend(command.env.iter().cloned());
        // PWD is the supervisor's to set
        env.remove("PWD");
        env
    }

    /// The prompt becomes the agent's standard input as a file: never an argument, never a pipe that could block.
    async fn write_prompt(&self, step: &StepDir, prompt: &str) -> Step<()> {
        let (logs, lease) = (self.tools.store.logs().clone(), self.lease);
        let (file, prompt) = (step.prompt(), prompt.to_owned());
        let written = tokio::task::spawn_blocking(move || {
            use std::io::Write as _;
            use std::os::unix::fs::OpenOptionsExt as _;
            logs.make_step_dir(lease.job, lease.attempt, STEP)?;
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
            file.write_all(prompt.as_bytes())
        });
        match failpoint::around(Edge::WritePrompt, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOSPC) => {
                Err(Halt::fault(ReasonCode::DiskFull, ""))
            }
            Ok(Err(error)) => Err(Halt::internal("the prompt cannot be written", error)),
            Err(error) => Err(Halt::internal("the prompt cannot be written", error)),
        }
    }
}

impl Tools {
    /// Asks the shim of the attempt's agent to end, if there is one.
    pub(super) fn stop_agent(&self, lease: Lease) -> Result<(), ProcessError> {
        let step = self.agent_step(lease.job, lease.attempt)?;
        match inspect(&step)? {
            StepState::Running(_) => Control::new(&step).stop(),
            _ => Ok(()),
        }
    }

    fn agent_step(&self, job: JobNumber, attempt: u32) -> Result<StepDir, ProcessError> {
        self.any_step(job, attempt, STEP)
    }

    pub(super) fn any_step(&self, job: JobNumber, attempt: u32, step: &str) -> Result<StepDir, ProcessError> {
        let name = StepName::new(self.store.instance(), u64::try_from(job.0).unwrap_or(0), attempt, step)?;
        StepDir::new(self.store.logs().step_dir(job, attempt, step), &self.settings.run_dir, name)
    }
}

/// An attempt is not over while its agent lives, whatever keeps us from following it, such as a full disk: ended now,
/// its worktree would be taken from under the agent, and a retry would start beside it.
fn unless_it_lives(step: &StepDir, halt: Halt) -> Halt {
    match (halt, inspect(step)) {
        (Halt::Ended(AttemptEnd::Faulted { reason, .. }), Ok(StepState::Running(_))) => {
            Halt::Unfollowed(reason)
        }
        (halt, _) => halt,
    }
}

/// The identity as the store keeps it.
fn identity_text(identity: &ShimIdentity) -> String {
    serde_json::to_string(identity).unwrap_or_default()
}

/// A start that the agent is known to refuse.
fn refused_start(error: AgentError) -> Halt {
    match error {
        AgentError::BypassAsRoot => Halt::fault(ReasonCode::PermissionDenied, &error.to_string()),
        other => Halt::internal("the agent's command cannot be built", other),
    }
}
