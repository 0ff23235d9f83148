//! What holds for every step of an attempt, be it an agent or a command of the owner: it is started once, found again by a
//! later server, and buried (`burial.rs`) before anything else happens in its worktree.

use std::path::{Path, PathBuf};

use super::Tools;
use super::attempt::Line;
use super::halt::{Halt, Step};
use crate::domain::attempt::{AttemptEnd, Lease};
use crate::domain::id::{JobNumber, JobRef};
use crate::domain::reason::ReasonCode;
use crate::domain::step_limit::StepLimit;
use crate::metrics;
use crate::process::{
    CommandSpec, ExitCause, ExitRecord, Launched, ProcessError, ShimIdentity, StepDir, StepName, StepState,
    Survivor, inspect, survivors,
};

/// Deaths of servers over one attempt. Once is a coincidence; a service manager gives up after five starts.
const DEATHS_IN_A_ROW_MAX: u32 = 3;

/// The step that is the agent's first turn.
pub(super) const FIRST_TURN: &str = "agent-1";

impl Line<'_> {
    /// Whether this step of the attempt was ever released.
    pub(super) fn has_run(&self, name: &str) -> Step<bool> {
        let state = look(&self.step_dir(name)?)?;
        Ok(!matches!(state, StepState::NotStarted | StepState::NotReleased))
    }

    /// Whether a step of this very attempt was ever released: then its worktree is prepared, and somebody may work in it.
    pub(super) fn has_begun(&self) -> Step<bool> {
        let begun = |state: &StepState| !matches!(state, StepState::NotStarted | StepState::NotReleased);
        Ok(self.tools.states(self.lease)?.iter().any(|(_, state)| begun(state)))
    }

    /// Several servers in a row have died over how a step of this attempt ended, and none has brought it further: what its
    /// steps left is not touched once more. While one of them lives it goes on, whoever kills servers.
    pub(super) async fn end_if_deadly(&self) -> Step<()> {
        let deaths = self.tools.store.server_deaths_in_a_row(self.lease).await?;
        if deaths < DEATHS_IN_A_ROW_MAX || !self.tools.has_ended_step(self.lease) {
            return Ok(());
        }
        let detail = format!("{deaths} servers in a row died over what it left.");
        Err(Halt::fault(ReasonCode::Interrupted, &detail))
    }

    /// No attempt begins before all of those before it are proven dead.
    pub(super) async fn bury_earlier_attempts(&self) -> Step<()> {
        let (job, next) = (self.lease.job, self.lease.attempt);
        self.tools.bury_steps(job, next, &self.worktree_of_chain()).await
    }

    /// Nor before those of the jobs that had its worktree before it.
    pub(super) async fn bury_earlier_jobs(&self) -> Step<()> {
        let worktree = self.worktree_of_chain();
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        for job in chain.iter().filter(|job| job.number != self.job.number && !job.status.is_live()) {
            self.tools.bury_steps(job.number, u32::MAX, &worktree).await?;
        }
        Ok(())
    }

    fn worktree_of_chain(&self) -> PathBuf {
        self.tools.worktree_path(&self.client, &self.job.chain.root)
    }

    pub(super) fn step_dir(&self, name: &str) -> Step<StepDir> {
        Ok(self.tools.any_step(self.lease.job, self.lease.attempt, name)?)
    }

    /// Starts the shim of a step and holds it at its barrier, with its identity stored.
    pub(super) async fn launch(&self, step: &StepDir, name: &str, spec: &CommandSpec) -> Step<Launched> {
        self.tools.store.begin_step(self.lease, name).await?;
        self.hold(step, name, spec).await
    }

    /// The same for a turn of the agent, whose prompt has all that was said up to this number.
    pub(super) async fn launch_turn(
        &self,
        step: &StepDir,
        name: &str,
        spec: &CommandSpec,
        upto: i64,
    ) -> Step<Launched> {
        self.tools.store.begin_turn(self.lease, name, upto).await?;
        self.hold(step, name, spec).await
    }

    async fn hold(&self, step: &StepDir, name: &str, spec: &CommandSpec) -> Step<Launched> {
        let launched = self.tools.launcher.launch(step, spec).await?;
        let pid = i64::from(launched.identity().pid);
        let identity = identity_text(launched.identity());
        self.tools.store.record_shim(self.lease, name, identity, pid).await?;
        Ok(launched)
    }

    /// Ends that are not the command's own doing.
    pub(super) fn check_exit(&self, record: &ExitRecord, stopped_by_others: bool) -> Step<()> {
        match record.cause {
            ExitCause::Exited => Ok(()),
            ExitCause::Cancelled if self.signals.cancel.is_cancelled() => {
                Err(Halt::Ended(AttemptEnd::Cancelled))
            }
            ExitCause::Cancelled => {
                Err(Halt::fault(ReasonCode::Interrupted, "It was cancelled from outside."))
            }
            ExitCause::Stopped => Err(stopped(stopped_by_others)),
            ExitCause::WallLimit => Err(self.limited(StepLimit::Wall)),
            ExitCause::OutputLimit => Err(self.limited(StepLimit::Output)),
            ExitCause::Ended => {
                let word = record.text.clone().unwrap_or_default();
                Err(Halt::fault(ReasonCode::Interrupted, &format!("It was ended from outside ({word}).")))
            }
            ExitCause::SpawnFailed => Err(never_started(record)),
        }
    }

    /// The end for a limit, with its number.
    pub(super) fn limited(&self, limit: StepLimit) -> Halt {
        if limit.reason() == ReasonCode::ResourceLimit {
            // the others are known by their code where the attempt ends
            metrics::LIMITS.increment([limit.metric().as_str()]);
        }
        let text = self.limit_text(limit);
        Halt::fault(limit.reason(), &format!("The limit is {text}."))
    }

    /// The number of a limit and where it is set.
    pub(super) fn limit_text(&self, limit: StepLimit) -> String {
        let limits = &self.tools.settings.step_limits;
        let number = match limit {
            StepLimit::Wall => format!("{} s", self.options.timeout_seconds),
            StepLimit::Idle => format!("{} s", self.options.idle_timeout_seconds),
            StepLimit::Output => format!("{} bytes of output", limits.output_bytes_end),
            StepLimit::Budget => "the money".to_owned(),
            StepLimit::Memory => format!("{} bytes of memory", limits.memory_bytes_max.unwrap_or_default()),
            StepLimit::Processes => format!("{} processes and threads", limits.processes_max),
            StepLimit::WorktreeBytes => format!("{} bytes in the worktree", limits.worktree.bytes_max),
            StepLimit::WorktreeFiles => format!("{} files in the worktree", limits.worktree.files_max),
        };
        format!("{number} ({})", limit.set_by())
    }

    /// What the record of a step says besides how it ended.
    pub(super) async fn heed(&self, step: &StepDir, record: &ExitRecord, members: &[Survivor]) -> Step<()> {
        if !record.log_synced {
            let text = format!(
                "The log of step {} is perhaps not whole on the disk: after a power cut its end may be missing.",
                step.name()
            );
            // it is read again by a later server
            if !self.job.warnings.contains(&text) {
                self.warn(&text).await?;
            }
        }
        if record.survivors > 0 {
            self.tools.bury(step, self.worktree_of_chain().to_str(), members).await?;
        }
        Ok(())
    }

    /// The shim died without a record: what it left is killed before anything else happens in the worktree.
    pub(super) async fn lost(&self, step: &StepDir, members: &[Survivor], out_of_memory: bool) -> Halt {
        let out_of_memory = out_of_memory || self.tools.launcher.ran_out_of_memory(step).await;
        let worktree = self.job.effects.worktree_path.as_deref();
        if let Err(halt) = self.tools.bury(step, worktree, members).await {
            return halt;
        }
        if out_of_memory {
            return Halt::fault(ReasonCode::OutOfMemory, "The kernel killed its supervisor.");
        }
        Halt::fault(ReasonCode::Interrupted, "Its supervisor was killed, or the machine was restarted.")
    }
}

impl Tools {
    /// Ends every step of the attempt, and comes back when none of them lives.
    pub(super) async fn end_steps(&self, lease: Lease) -> Step<()> {
        let job = self.store.get_job(&JobRef::Number(lease.job)).await?.job;
        for (step, _) in self.states(lease)? {
            self.end_step(&step, job.effects.worktree_path.as_deref()).await?;
        }
        Ok(())
    }

    /// Ends what lives of a job's steps in the attempts before `next`, all of which worked in `worktree`.
    async fn bury_steps(&self, job: JobNumber, next: u32, worktree: &Path) -> Step<()> {
        for (attempt, name) in self.store.logs().steps_of(job) {
            let step = self.any_step(job, attempt, &name)?;
            if attempt < next && may_have_left_somebody(&step, attempt + 1 == next) {
                self.end_step(&step, worktree.to_str()).await?;
            }
        }
        Ok(())
    }

    /// Whether any program of the job lives, or part of a tree whose supervisor died.
    pub(super) fn may_live(&self, job: JobNumber) -> bool {
        self.store.logs().steps_of(job).into_iter().any(|(attempt, name)| {
            let found = self.any_step(job, attempt, &name).and_then(|step| inspect(&step));
            !matches!(found, Ok(StepState::NotStarted | StepState::NotReleased | StepState::Exited(_)))
        })
    }

    /// Whether a step of the attempt is over, with a record of how, and none lives: what comes next is to judge that.
    pub(super) fn has_ended_step(&self, lease: Lease) -> bool {
        // one that cannot be looked at is met by whoever needs it
        let states = self.states(lease).unwrap_or_default();
        states.iter().any(|(_, state)| matches!(state, StepState::Exited(_)))
            && !states.iter().any(|(_, state)| matches!(state, StepState::Running(_)))
    }

    /// Every step of an attempt that has files.
    fn states(&self, lease: Lease) -> Step<Vec<(StepDir, StepState)>> {
        let names = self.store.logs().steps_of(lease.job);
        let of_attempt = names.into_iter().filter(|(number, _)| *number == lease.attempt);
        let state = |(attempt, name): (u32, String)| {
            let step = self.any_step(lease.job, attempt, &name)?;
            let state = look(&step)?;
            Ok((step, state))
        };
        of_attempt.map(state).collect()
    }

    pub(super) fn any_step(&self, job: JobNumber, attempt: u32, step: &str) -> Result<StepDir, ProcessError> {
        let name = StepName::new(self.store.instance(), u64::try_from(job.0).unwrap_or(0), attempt, step)?;
        StepDir::new(self.store.logs().step_dir(job, attempt, step), &self.settings.run_dir, name)
    }
}

/// A stop in order costs nothing. Whoever else signals the supervisor, such as what runs in its step, has killed the attempt: else
/// it would be paid for again and again.
pub(super) fn stopped(by_others: bool) -> Halt {
    if by_others {
        return Halt::fault(
            ReasonCode::Interrupted,
            "Its supervisor was told to stop, and not by the server.",
        );
    }
    Halt::fault(ReasonCode::Stopped, "")
}

/// A start that was refused. Only where the program itself is missing does nothing else start with this login before a person
/// has looked; anything else, a worktree that is gone between two looks or a machine without memory, is counted, so that it
/// ends.
pub(super) fn never_started(record: &ExitRecord) -> Halt {
    let text = record.text.as_deref().unwrap_or_default();
    if record.no_program {
        return Halt::unspent(ReasonCode::AgentMissing, text);
    }
    Halt::fault(ReasonCode::Interrupted, &format!("It was never started: {text}."))
}

/// Before anything is started in a worktree, and before it is judged: whoever works there may have taken it away. Counted, for
/// it was paid for.
pub(super) fn check_worktree(path: &Path) -> Step<()> {
    if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    Err(Halt::fault(ReasonCode::Interrupted, "Its worktree is gone."))
}

/// An attempt is not over while one of its steps lives, whatever keeps us from following it, such as a full disk: ended now,
/// its worktree would be taken from under it, and a retry would start beside it.
pub(super) fn unless_it_lives(step: &StepDir, halt: Halt) -> Halt {
    let lives = || match inspect(step) {
        Ok(state) => matches!(state, StepState::Running(_)),
        // damaged, or of a newer program: its files do not tell
        Err(_) => !survivors(step).is_empty(),
    };
    match halt {
        Halt::Ended(AttemptEnd::Faulted { reason, .. }) if lives() => Halt::Unfollowed(reason),
        halt => halt,
    }
}

/// How a step stands. One whose files cannot be read is not over while anybody of it lives.
pub(super) fn look(step: &StepDir) -> Step<StepState> {
    inspect(step).map_err(|error| unless_it_lives(step, error.into()))
}

/// Of a step of an earlier attempt. A record that says that nobody was left is believed, unless it is looked at `closely`: whoever
/// reads the whole process table does so for a few steps, not for all of a long chain.
fn may_have_left_somebody(step: &StepDir, closely: bool) -> bool {
    match inspect(step) {
        Ok(StepState::NotStarted | StepState::NotReleased) => false,
        Ok(StepState::Running(_) | StepState::Lost(_)) => true,
        Ok(StepState::Exited(record)) => record.survivors > 0 || closely && !survivors(step).is_empty(),
        Err(_) => !survivors(step).is_empty(),
    }
}

/// The identity as the store keeps it.
fn identity_text(identity: &ShimIdentity) -> String {
    serde_json::to_string(identity).unwrap_or_default()
}
