//! The turns of the agent within an attempt: the first one, those in which it is told what people have said meanwhile, and
//! those in which it repairs what the owner's commands do not accept.
//!
//! Turns are named by the round whose verification follows them: `agent-1`, `agent-1-2`, …, then `agent-2`. Which turn comes
//! next is decided by what the steps on disk and the store say, so that a later server decides the same.

use std::path::Path;

use super::attempt::{AgentWork, Line};
use super::halt::{Halt, Step};
use super::inward::unheard;
use super::steps::FIRST_TURN;
use super::verify::{Refused, refused_for_good};
use super::visit::VISITED;
use crate::agent::{AgentOutcome, Capabilities, Session, ToolUses};
use crate::domain::inward::Said;
use crate::domain::job::Phase;
use crate::domain::reason::ReasonCode;
use crate::domain::visit::GoesOn;
use crate::store::Left;

/// What an agent is told whose work was not accepted.
const REPAIR: &str = "Your work is not accepted yet. Repair what is wrong, and leave the check itself as it is: it runs again when \
    you have finished.";

/// Before what people have said while it worked.
const SAID: &str = "A message about this work, from the one it is done for. What was asked for before holds, unless the message says \
    otherwise:";

/// After it was interrupted.
const INTERRUPTED: &str = "You were interrupted in what you did, on purpose. The files are as you left them. Leave what you were just \
    doing, look at what is there, and bring the work to its end.";

/// Before any of them, for an agent that does not know the conversation in which the work was done.
const AFRESH: &str = "Somebody has worked on this before you, and the files are as they were left. Look at what is there. This was \
    asked for:";

/// What a turn of the agent is for.
pub(super) enum Ask<'a> {
    /// What the job asks for.
    Work,
    GoOn(GoOn<'a>),
}

/// Why it goes on.
#[derive(Clone, Default)]
pub(super) struct GoOn<'a> {
    pub(super) refused: Option<&'a Refused>,
    /// The turns right before that were interrupted: what they were told may not have reached the agent.
    pub(super) interrupted: Vec<String>,
    /// The conversation is lost.
    pub(super) afresh: bool,
}

impl Line<'_> {
    /// The agent's work, after all that people had to say, accepted by the owner's commands, after as many repairs as it took
    /// and the owner allows. From here on nothing more is said to it.
    pub(super) async fn accepted_work(&mut self, worktree: &Path) -> Step<AgentWork> {
        let (mut repairs, mut round, mut interruptions) = (0, 1, 0);
        let mut work = match self.handed_to() {
            Some(GoesOn::Publish) => self.work_by_hand(worktree).await?,
            // to a plain command nobody can say what has happened
            Some(GoesOn::Agent) if self.agent()?.1.capabilities().resume => {
                // before the agent could be asked, for its login was held
                let refused = self.job.verify.last().and_then(Refused::of);
                let ask = Ask::GoOn(GoOn { refused: refused.as_ref(), ..GoOn::default() });
                self.turns_of(1, worktree, ask, &mut interruptions).await?
            }
            Some(GoesOn::Agent) | None => self.turns_of(1, worktree, Ask::Work, &mut interruptions).await?,
        };
        loop {
            let next = turn_name(round + 1, 1);
            let refused = match self.left_unfinished(round, &next, worktree).await? {
                None => self.verify(round, worktree).await?,
                unfinished => unfinished,
            };
            // a turn that has begun shows that it was decided so
            let goes_on = self.has_run(&next)? || self.has_unheard(&next).await?;
            if refused.is_none() && !goes_on && self.leave_agent(worktree).await? {
                return Ok(work);
            }
            if let Some(refused) = &refused {
                if repairs >= self.repairs_of(refused)? && !goes_on {
                    return Err(refused_for_good(refused, repairs));
                }
                repairs += 1;
            }
            round += 1;
            let ask = GoOn { refused: refused.as_ref(), ..GoOn::default() };
            let mut tools = std::mem::take(&mut work.verdict.tools);
            work = self.turns_of(round, worktree, Ask::GoOn(ask), &mut interruptions).await?;
            tools.append(work.verdict.tools);
            work.verdict.tools = tools;
        }
    }

    /// How many repairs there may be. The owner has said nothing of what the agent itself left unfinished: one who can go on has
    /// a turn for it.
    fn repairs_of(&self, refused: &Refused) -> Step<u32> {
        let rounds = self.options.verify_rounds;
        Ok(match (refused.is_unfinished, self.agent()?.1.capabilities().resume) {
            // to a plain command its input is no text: what is wrong cannot be said to it
            (_, false) => 0,
            (false, true) => rounds,
            (true, true) => rounds.max(1),
        })
    }

    /// The turns of a round, until nobody has anything more to say. Their number is bounded by that of what can be said.
    async fn turns_of(
        &mut self,
        round: u32,
        worktree: &Path,
        ask: Ask<'_>,
        interruptions: &mut u32,
    ) -> Step<AgentWork> {
        let mut ask = ask;
        let mut number = 1;
        let mut tools = ToolUses::default();
        let mut interrupted = Vec::new();
        loop {
            let name = turn_name(round, number);
            let mut work = self.run_agent(&name, worktree, &ask).await?;
            number += 1;
            let next = turn_name(round, number);
            if work.interrupted {
                *interruptions += 1;
                self.check_interruptions(*interruptions).await?;
                interrupted.push(name);
            } else {
                interrupted.clear();
            }
            let goes_on = GoOn { interrupted: interrupted.clone(), ..GoOn::default() };
            ask = match ask {
                Ask::GoOn(why) if !why.afresh && has_lost_it(&work) => {
                    Ask::GoOn(GoOn { afresh: true, ..why })
                }
                // what it was to repair it has not repaired
                Ask::GoOn(GoOn { refused, .. }) if work.interrupted => Ask::GoOn(GoOn { refused, ..goes_on }),
                Ask::Work if work.interrupted => Ask::GoOn(goes_on),
                _ => {
                    self.judge(&work).await?;
                    // what came behind a round that somebody has gone on from is told in the next one
                    let is_over = self.is_being_verified(round)? || self.has_run(&turn_name(round + 1, 1))?;
                    let is_said = !is_over && self.has_unheard(&next).await?;
                    if !is_said && !self.has_run(&next)? {
                        tools.append(work.verdict.tools);
                        work.verdict.tools = tools;
                        return Ok(work);
                    }
                    Ask::GoOn(goes_on)
                }
            };
            tools.append(work.verdict.tools);
        }
    }

    /// What runs in a step may write to its supervisor's socket as well: nobody interrupts more turns than somebody has asked for.
    async fn check_interruptions(&self, seen: u32) -> Step<()> {
        let said = self.tools.store.said_to_agent(self.lease.job).await?;
        let asked = said.iter().filter(|said| said.text.is_none()).count();
        if seen as usize <= asked {
            return Ok(());
        }
        let detail = "Its agent was interrupted, and nobody had asked for that.";
        Err(Halt::fault(ReasonCode::Interrupted, detail))
    }

    /// What the agent itself says of its turn.
    async fn judge(&self, work: &AgentWork) -> Step<()> {
        let AgentOutcome::Failed { fault, message } = &work.verdict.outcome else { return Ok(()) };
        self.judge_conversation(*fault, message, &work.verdict.usage).await?;
        Err(self.agent_halt(*fault, message))
    }

    /// Comes to the commit, unless somebody has said something by now.
    async fn leave_agent(&mut self, worktree: &Path) -> Step<bool> {
        self.check_signals()?;
        if self.job.phase == Phase::Committing {
            return Ok(true);
        }
        // what an earlier server, or nobody, has seen the end of may be too large
        if let Some(limit) = self.has_flooded(worktree).await {
            return Err(self.limited(limit));
        }
        match self.tools.store.leave_agent(self.lease).await? {
            Left::Yes => self.phase_reached(Phase::Committing),
            Left::Unheard => return Ok(false),
            Left::Awaited => return Err(self.given_way().await),
        }
        Ok(true)
    }

    /// The conversation and the words of a turn that goes on.
    pub(super) async fn ask_to_go_on(
        &self,
        why: &GoOn<'_>,
        turn: &str,
        said: &[Said],
        capabilities: Capabilities,
    ) -> Step<(Session, String)> {
        let is_visited = self.has_unheard_visit().await?;
        let lost = match self.conversation() {
            _ if !capabilities.resume => "this kind of agent cannot continue a conversation",
            // the job was given another one while somebody had it
            Some(id) if !why.afresh && !self.has_held(id).await? => "another agent held it",
            Some(id) if !why.afresh => {
                let new = unheard(said, self.lease.attempt, turn, &why.interrupted);
                return Ok((Session::Resume { id: id.clone() }, words(why, is_visited, new)));
            }
            _ => "there is none that the agent knows and can go on with",
        };
        self.warn(&format!(
            "The agent's conversation is not continued ({lost}): it goes on with its work afresh."
        ))
        .await?;
        let asked = self.prompt_afresh().await?;
        let all = said.iter().filter_map(|said| said.text.as_deref()).collect();
        let session = Session::New { id: self.tools.clock.random_uuid() };
        Ok((session, format!("{AFRESH}\n\n{asked}\n\n{}", words(why, is_visited, all))))
    }
}

/// The first one of the first round is [`FIRST_TURN`].
fn turn_name(round: u32, number: u32) -> String {
    match (round, number) {
        (1, 1) => FIRST_TURN.to_owned(),
        (_, 1) => format!("agent-{round}"),
        _ => format!("agent-{round}-{number}"),
    }
}

/// Whether the turn came to nothing because the agent does not know its conversation.
fn has_lost_it(work: &AgentWork) -> bool {
    matches!(&work.verdict.outcome, AgentOutcome::Failed { fault, .. } if fault.is_of_the_session())
}

fn words(why: &GoOn<'_>, is_visited: bool, said: Vec<&str>) -> String {
    let visited = is_visited.then(|| VISITED.to_owned());
    let interrupted = (!why.interrupted.is_empty()).then(|| INTERRUPTED.to_owned());
    let refused = why.refused.map(|refused| format!("{REPAIR}\n\n{}", refused.told()));
    let said = (!said.is_empty()).then(|| format!("{SAID}\n\n{}", said.join("\n\n")));
    let all: Vec<String> = [visited, interrupted, refused, said].into_iter().flatten().collect();
    all.join("\n\n")
}
