//! What the owner's commands say of the agent's work.

use std::path::Path;

use super::attempt::Line;
use super::command_step::{CommandEnd, Ran, shown};
use super::halt::{Halt, Step};
use crate::domain::job::{Phase, Verification};
use crate::domain::options::StepCommand;
use crate::domain::reason::ReasonCode;
use crate::domain::visit::GoesOn;

/// How often a verification that was cut off is begun: it can be repeated, and the agent's work would be paid again if it
/// ended the attempt.
const CUT_OFF_MAX: u32 = 3;
/// How often it is begun with all orderly stops of the server, which are nobody's fault and do not count: every ten minutes for
/// a working day.
const BEGUN_MAX: u32 = 50;

/// A command that did not accept the work.
pub(super) struct Refused {
    command: String,
    failure: String,
    tail: String,
    /// No command of the owner says so: something in the worktree is under way.
    pub(super) is_unfinished: bool,
}

impl Refused {
    /// Of a worktree that was left in the middle of something.
    fn unfinished(what: &str) -> Self {
        let failure = format!("shows {what}");
        Self { command: "git status".to_owned(), failure, tail: String::new(), is_unfinished: true }
    }

    /// As it is stored; `None` of a command that accepted the work.
    pub(super) fn of(result: &Verification) -> Option<Self> {
        let tail = result.output.clone()?;
        let failure = match result.exit_code {
            Some(code) => format!("exited with {code}"),
            None => "did not come to its end".to_owned(),
        };
        Some(Self { command: result.command.clone(), failure, tail, is_unfinished: false })
    }

    /// For the agent.
    pub(super) fn told(&self) -> String {
        let Self { command, failure, tail, is_unfinished } = self;
        if *is_unfinished {
            return format!("`{command}` {failure}. Finish it, or give it up.\n");
        }
        format!("The check `{command}` {failure}. The end of its output:\n\n{tail}\n")
    }
}

impl Line<'_> {
    /// Runs the commands of one round, from 1; the first that does not accept the work is the last. `None`: all accept it.
    pub(super) async fn verify(&mut self, round: u32, worktree: &Path) -> Step<Option<Refused>> {
        let commands = self.options.verify.clone();
        let mut results = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            let number = (round as usize - 1) * commands.len() + index + 1;
            let title = format!("verify {} of {}", index + 1, commands.len());
            let end = self.check(&format!("verify-{number}"), &title, command, worktree).await?;
            results.push(result_of(command, round, &end));
            if !self.is_known(round, results.len()) {
                self.record_verification(&results).await?;
            }
            if let Some(failure) = end.failure {
                let command = shown(command);
                return Ok(Some(Refused { command, failure, tail: end.tail, is_unfinished: false }));
            }
        }
        Ok(None)
    }

    /// Whether the round ends before the owner's commands look at it, because the agent is in the middle of a merge or the like.
    /// `next`: the first turn of the next round, which shows that it did.
    pub(super) async fn left_unfinished(
        &self,
        round: u32,
        next: &str,
        worktree: &Path,
    ) -> Step<Option<Refused>> {
        if self.job.phase == Phase::Committing || self.is_being_verified(round)? {
            return Ok(None);
        }
        if self.has_run(next)? {
            let ended_so = !self.options.verify.is_empty();
            return Ok(ended_so.then(|| Refused::unfinished("something that is not finished")));
        }
        let is_by_hand = round == 1 && self.handed_to() == Some(GoesOn::Publish);
        let inside = self.walls.sandboxed && !is_by_hand;
        let found = self.tools.repository(&self.client)?.unfinished(worktree, inside).await?;
        Ok(found.map(|what| Refused::unfinished(&what)))
    }

    /// One command, begun again where it was cut off.
    async fn check(
        &mut self,
        name: &str,
        title: &str,
        command: &StepCommand,
        worktree: &Path,
    ) -> Step<CommandEnd> {
        let mut cut_offs = 0;
        for time in 1..=BEGUN_MAX {
            let step = if time == 1 { name.to_owned() } else { format!("{name}-{time}") };
            match self.run_command(&step, title, command, worktree, Phase::Verifying).await? {
                Ran::Ended(end) => return Ok(end),
                // the next server begins it again
                Ran::CutOff(_) if self.signals.stop_agents.is_cancelled() => return Err(Halt::Shutdown),
                Ran::CutOff(halt) => {
                    cut_offs += u32::from(!halt.is_stop());
                    if cut_offs == CUT_OFF_MAX {
                        return Err(halt);
                    }
                    tracing::warn!(?halt, step, "a verification was cut off");
                }
            }
        }
        Err(Halt::fault(ReasonCode::Stopped, "The server was stopped again and again while it was verified."))
    }

    /// Whether a command has looked at the work of this round.
    pub(super) fn is_being_verified(&self, round: u32) -> Step<bool> {
        if self.options.verify.is_empty() {
            return Ok(false);
        }
        self.has_run(&format!("verify-{}", (round as usize - 1) * self.options.verify.len() + 1))
    }

    /// Stores the results in the place of those that are there.
    pub(super) async fn record_verification(&mut self, results: &[Verification]) -> Step<()> {
        if self.job.verify != results {
            self.tools.store.record_verification(self.lease, results.to_vec()).await?;
            self.job.verify = results.to_vec();
        }
        Ok(())
    }

    /// What a walk that was begun again reads a second time takes nothing back.
    fn is_known(&self, round: u32, results: usize) -> bool {
        self.job.verify.last().is_some_and(|last| (last.round, self.job.verify.len()) >= (round, results))
    }
}

fn result_of(command: &StepCommand, round: u32, end: &CommandEnd) -> Verification {
    Verification {
        command: shown(command),
        round,
        exit_code: end.exit_code,
        duration_ms: end.duration_ms,
        output: end.failure.is_some().then(|| end.tail.clone()),
    }
}

pub(super) fn refused_for_good(refused: &Refused, repairs: u32) -> Halt {
    let after = match repairs {
        0 => String::new(),
        1 => ", also after a repair".to_owned(),
        many => format!(", also after {many} repairs"),
    };
    let last = refused.tail.lines().last().map(|line| format!(" Its last words: {line}"));
    let detail = format!("`{}` {}{after}.{}", refused.command, refused.failure, last.unwrap_or_default());
    Halt::fault(ReasonCode::VerifyFailed, &detail)
}
