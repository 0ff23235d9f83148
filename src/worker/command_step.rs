//! A command of the owner, in the prepared worktree: what `setup` and `verify` are made of.

use std::path::Path;
use std::time::Duration;

use super::attempt::Line;
use super::halt::{Halt, Step};
use super::step_end::{Exited, StepEnd};
use super::steps::{check_worktree, look, never_started, stopped, unless_it_lives};
use super::supervise::IDLE_IN_TOOL_MAX;
use crate::agent::{AgentOutcome, AgentReader, BASE_ENVIRONMENT_NAMES, command_output};
use crate::domain::attempt::AttemptEnd;
use crate::domain::job::Phase;
use crate::domain::options::StepCommand;
use crate::domain::reason::ReasonCode;
use crate::domain::step_limit::StepLimit;
use crate::process::{CommandSpec, ExitCause, Stdin, StepDir, StepState};

/// Of the command in a sentence, in characters: enough to know which one it was.
const SHOWN_CHARS_MAX: usize = 200;

/// How a command ended.
pub(super) struct CommandEnd {
    pub(super) exit_code: Option<i64>,
    /// Wall time.
    pub(super) duration_ms: u64,
    /// The end of what it wrote, for people.
    pub(super) tail: String,
    /// What went wrong, to be read after the command; `None`: it succeeded.
    pub(super) failure: Option<String>,
}

/// What became of a command that was started.
pub(super) enum Ran {
    Ended(CommandEnd),
    /// It or its supervisor was killed, or it was told to end together with the server. Nothing of it lives.
    CutOff(Halt),
}

impl Line<'_> {
    /// Runs the commands of `setup` one after the other. One that has ended is not run again by a later server, one that
    /// runs is followed.
    pub(super) async fn set_up(&mut self, worktree: &Path) -> Step<()> {
        let commands = self.options.setup.clone();
        for (index, command) in commands.iter().enumerate() {
            let name = format!("setup-{}", index + 1);
            let title = format!("setup {} of {}", index + 1, commands.len());
            let end = match self.run_command(&name, &title, command, worktree, Phase::Preparing).await? {
                Ran::Ended(end) => end,
                // what it has done by half is there: the next attempt begins with fresh files
                Ran::CutOff(halt) => return Err(halt),
            };
            let Some(failure) = end.failure else { continue };
            let last = end.tail.lines().last().map(|line| format!(" Its last words: {line}"));
            let detail = format!("`{}` {failure}.{}", shown(command), last.unwrap_or_default());
            return Err(Halt::fault(ReasonCode::SetupFailed, &detail));
        }
        Ok(())
    }

    /// Finds the command where an earlier server left it, or starts it; comes back at its end.
    pub(super) async fn run_command(
        &mut self,
        name: &str,
        title: &str,
        command: &StepCommand,
        worktree: &Path,
        phase: Phase,
    ) -> Step<Ran> {
        let step = self.step_dir(name)?;
        match look(&step)? {
            StepState::NotStarted | StepState::NotReleased => {}
            // it may have left at its barrier: its server died before it said go
            StepState::Running(_) | StepState::Exited(_) => {
                if let Some(ran) = self.watch_command(&step, name, worktree).await? {
                    return Ok(ran);
                }
            }
            StepState::Lost(_) => return cut_off(self.lost(&step, &[], false).await),
        }
        self.check_signals()?;
        if phase == Phase::Verifying {
            self.give_way().await?;
        }
        check_worktree(worktree)?;
        self.phase(phase).await?;
        self.say(&format!("{title}: {}", shown(command))).await?;
        let launched = self.launch(&step, name, &self.spec_of(command, worktree).await?).await?;
        self.check_signals()?;
        launched.release().await?;
        tracing::info!(step = name, "command started");
        match self.watch_command(&step, name, worktree).await? {
            Some(ran) => Ok(ran),
            None => Err(Halt::fault(ReasonCode::Interrupted, "Its supervisor was killed before it began.")),
        }
    }

    /// The allow-list without any agent's own variables: a command of the repository has no use for an agent's login. It has
    /// the secrets that the work is given.
    async fn spec_of(&self, command: &StepCommand, worktree: &Path) -> Step<CommandSpec> {
        let names = BASE_ENVIRONMENT_NAMES.iter().map(|name| (*name).to_owned());
        let mut env = self.base_environment(&names.chain(self.options.env.iter().cloned()).collect());
        self.add_secrets(&mut env)?;
        self.limited_spec(argv(command), worktree, env, Stdin::Null).await
    }

    /// Follows the command to its end; `None` when it was never released.
    async fn watch_command(&self, step: &StepDir, name: &str, worktree: &Path) -> Step<Option<Ran>> {
        let reader = AgentReader::new(command_output());
        let followed = self.supervise(step, worktree, reader, name, self.command_idle_max()).await;
        match followed.map_err(|halt| unless_it_lives(step, halt))? {
            StepEnd::NotReleased => Ok(None),
            StepEnd::Lost { members, out_of_memory, .. } => {
                cut_off(self.lost(step, &members, out_of_memory).await).map(Some)
            }
            StepEnd::Exited(end) => {
                self.heed(step, &end.record, &end.members).await?;
                if end.attached {
                    return Err(self.given_way().await);
                }
                self.judge_command(end).map(Some)
            }
        }
    }

    /// A command is silent like a tool of an agent.
    fn command_idle_max(&self) -> Duration {
        Duration::from_secs(self.options.idle_timeout_seconds).max(IDLE_IN_TOOL_MAX)
    }

    /// What uses up the machine ends the attempt as it does for an agent; time, silence and output are the command's own
    /// failure.
    fn judge_command(&self, end: Exited) -> Step<Ran> {
        let Exited { record, verdict, limit, stopped_by_others, .. } = end;
        let tail = match verdict.outcome {
            AgentOutcome::Succeeded { summary } => summary,
            AgentOutcome::Failed { message, .. } => message,
        };
        let failure = match (limit, record.cause) {
            (Some(StepLimit::Idle), _) => {
                Some(format!("was ended: it was silent for {} s", self.command_idle_max().as_secs()))
            }
            (Some(limit @ (StepLimit::Wall | StepLimit::Output)), _) => {
                Some(format!("was ended: {}", self.limit_text(limit)))
            }
            (Some(limit), _) => return Err(self.limited(limit)),
            (None, ExitCause::SpawnFailed) if !record.no_program => return cut_off(never_started(&record)),
            (None, ExitCause::SpawnFailed) => {
                Some(format!("cannot be run: {}", record.text.as_deref().unwrap_or_default()))
            }
            (None, _) => {
                if record.cause == ExitCause::Stopped {
                    return cut_off(stopped(stopped_by_others));
                }
                self.check_exit(&record, stopped_by_others)?;
                if record.out_of_memory {
                    return Err(Halt::fault(ReasonCode::OutOfMemory, "The kernel killed a command."));
                }
                match (record.code, record.signal) {
                    (Some(0), _) => None,
                    // nobody kills himself so: what it would have said of the work is not known
                    (None, Some(libc::SIGKILL)) => {
                        return cut_off(Halt::fault(ReasonCode::Interrupted, "A command was killed."));
                    }
                    (Some(code), _) => Some(format!("exited with {code}")),
                    (None, Some(signal)) => Some(format!("was killed by signal {signal}")),
                    (None, None) => Some("ended in an unknown way".to_owned()),
                }
            }
        };
        let duration_ms = record.ended_at_ms.saturating_sub(record.started_at_ms);
        Ok(Ran::Ended(CommandEnd {
            exit_code: record.code.map(i64::from),
            duration_ms: u64::try_from(duration_ms).unwrap_or(0),
            tail,
            failure,
        }))
    }
}

/// Whether the end of a step is none of its own doing.
fn cut_off(halt: Halt) -> Step<Ran> {
    match &halt {
        Halt::Ended(AttemptEnd::Faulted { reason, .. })
            if matches!(reason.code, ReasonCode::Interrupted | ReasonCode::Stopped) =>
        {
            Ok(Ran::CutOff(halt))
        }
        _ => Err(halt),
    }
}

/// A line is the owner's own, and nothing is put into it: what the server knows never becomes a part of a command.
fn argv(command: &StepCommand) -> Vec<String> {
    match command {
        StepCommand::Argv(argv) => argv.clone(),
        StepCommand::Shell(line) => ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
    }
}

/// The command on one line, for people.
pub(super) fn shown(command: &StepCommand) -> String {
    let text = match command {
        StepCommand::Argv(argv) => argv.join(" "),
        StepCommand::Shell(line) => line.clone(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain: String =
        line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(SHOWN_CHARS_MAX).collect();
    if line.chars().count() > SHOWN_CHARS_MAX { plain + "…" } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_run_as_it_stands_and_a_line_by_the_shell() {
        let words = StepCommand::Argv(vec!["make".to_owned(), "$HOME; id".to_owned()]);
        assert_eq!(argv(&words), ["make", "$HOME; id"]);
        let line = StepCommand::Shell("make  deps\n&& true".to_owned());
        assert_eq!(argv(&line), ["/bin/sh", "-c", "make  deps\n&& true"]);
        assert_eq!((shown(&words).as_str(), shown(&line).as_str()), ("make $HOME; id", "make deps && true"));
        let long = shown(&StepCommand::Shell("x".repeat(300)));
        assert_eq!(long.chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
