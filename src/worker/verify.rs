//! What the owner's commands say of the agent's work, and the rounds in which the agent repairs it.

use std::path::Path;

use super::attempt::{AgentWork, Line};
use super::command_step::{CommandEnd, Ran, shown};
use super::halt::{Halt, Step};
use super::steps::FIRST_TURN;
use crate::agent::{AgentOutcome, Capabilities, Session};
use crate::domain::job::{Phase, Verification};
use crate::domain::options::StepCommand;
use crate::domain::reason::ReasonCode;

/// How often a verification that was cut off is begun: it can be repeated, and the agent's work would be paid again if it
/// ended the attempt.
const CUT_OFF_MAX: u32 = 3;

/// What an agent is told whose work was not accepted.
const REPAIR: &str = "Your work is not accepted yet. Repair what is wrong, and leave the check itself as it is: it runs again when \
    you have finished.";

/// The same for one that does not know the conversation in which the work was done.
const REPAIR_AFRESH: &str = "Somebody has worked on this before you, and the files are as they were left. That work is not accepted \
    yet. Look at what is there and repair what is wrong, and leave the check itself as it is: it runs again when you have finished. \
    This was asked for:";

/// A command that did not accept the work.
pub(super) struct Refused {
    command: String,
    failure: String,
    tail: String,
}

/// What a turn of the agent is for.
pub(super) enum Ask<'a> {
    /// What the job asks for.
    Work,
    Repair {
        refused: &'a Refused,
        /// The conversation is lost.
        afresh: bool,
    },
}

impl Line<'_> {
    /// The agent's work, accepted by the owner's commands, after as many repairs as it took and the owner allows.
    pub(super) async fn accepted_work(&mut self, worktree: &Path) -> Step<AgentWork> {
        let rounds = self.options.verify_rounds;
        let mut work = self.run_agent(FIRST_TURN, worktree, &Ask::Work).await?;
        for round in 1..=rounds + 1 {
            self.judge(&work).await?;
            let Some(refused) = self.verify(round, worktree).await? else { return Ok(work) };
            if round > rounds {
                return Err(refused_for_good(&refused, rounds));
            }
            let denials = std::mem::take(&mut work.verdict.denials);
            work = self.repair(round + 1, worktree, &refused).await?;
            work.verdict.denials.splice(0..0, denials);
        }
        Ok(work)
    }

    /// What the agent itself says of its turn.
    async fn judge(&self, work: &AgentWork) -> Step<()> {
        let AgentOutcome::Failed { fault, message } = &work.verdict.outcome else { return Ok(()) };
        self.judge_conversation(*fault, message, &work.verdict.usage).await?;
        Err(self.agent_halt(*fault, message))
    }

    /// A further turn of the agent, in the same conversation where it knows that one.
    async fn repair(&mut self, turn: u32, worktree: &Path, refused: &Refused) -> Step<AgentWork> {
        let ask = Ask::Repair { refused, afresh: false };
        let work = self.run_agent(&format!("agent-{turn}"), worktree, &ask).await?;
        match &work.verdict.outcome {
            AgentOutcome::Failed { fault, .. } if fault.is_of_the_session() => {}
            _ => return Ok(work),
        }
        let ask = Ask::Repair { refused, afresh: true };
        self.run_agent(&format!("agent-{turn}-2"), worktree, &ask).await
    }

    /// The conversation and the words of a repair.
    pub(super) async fn ask_repair(
        &self,
        refused: &Refused,
        afresh: bool,
        capabilities: Capabilities,
    ) -> Step<(Session, String)> {
        let Refused { command, failure, tail } = refused;
        let what = format!("The check `{command}` {failure}. The end of its output:\n\n{tail}\n");
        let why = match &self.job.effects.session_id {
            _ if !capabilities.resume => "this kind of agent cannot continue a conversation",
            Some(id) if !afresh => {
                return Ok((Session::Resume { id: id.clone() }, format!("{REPAIR}\n\n{what}")));
            }
            _ => "there is none that the agent knows and can go on with",
        };
        self.warn(&format!("The agent's conversation is not continued ({why}): it repairs its work afresh."))
            .await?;
        let asked = self.prompt_afresh().await?;
        let session = Session::New { id: self.tools.clock.random_uuid() };
        Ok((session, format!("{REPAIR_AFRESH}\n\n{asked}\n\n{what}")))
    }

    /// Runs the commands of one round, from 1; the first that does not accept the work is the last. `None`: all accept it.
    async fn verify(&mut self, round: u32, worktree: &Path) -> Step<Option<Refused>> {
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
                return Ok(Some(Refused { command: shown(command), failure, tail: end.tail }));
            }
        }
        Ok(None)
    }

    /// One command, begun again where it was cut off.
    async fn check(
        &mut self,
        name: &str,
        title: &str,
        command: &StepCommand,
        worktree: &Path,
    ) -> Step<CommandEnd> {
        for time in 1..=CUT_OFF_MAX {
            let step = if time == 1 { name.to_owned() } else { format!("{name}-{time}") };
            match self.run_command(&step, title, command, worktree, Phase::Verifying).await? {
                Ran::Ended(end) => return Ok(end),
                // the next server begins it again
                Ran::CutOff(_) if self.signals.stop_agents.is_cancelled() => return Err(Halt::Shutdown),
                Ran::CutOff(halt) if time == CUT_OFF_MAX => return Err(halt),
                Ran::CutOff(halt) => tracing::warn!(?halt, step, "a verification was cut off"),
            }
        }
        Err(Halt::internal("a verification is never begun", name))
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

fn refused_for_good(refused: &Refused, repairs: u32) -> Halt {
    let after = match repairs {
        0 => String::new(),
        1 => ", also after a repair".to_owned(),
        many => format!(", also after {many} repairs"),
    };
    let last = refused.tail.lines().last().map(|line| format!(" Its last words: {line}"));
    let detail = format!("`{}` {}{after}.{}", refused.command, refused.failure, last.unwrap_or_default());
    Halt::fault(ReasonCode::VerifyFailed, &detail)
}
