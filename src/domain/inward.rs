//! What people say to the agent of a job.

use super::job::{Job, Phase, Status};
use super::named::named_enum;

/// Messages and interruptions of one job: each may cost a turn of its agent.
pub const SAID_MAX: u32 = 100;
/// Text of all messages to one job, in bytes: it is said again with each new attempt, beside the prompt.
pub const SAID_BYTES_MAX: u64 = 1024 * 1024;

named_enum! {
    /// When agents of a kind hear what is said to them.
    #[derive(Default)]
    Hears {
        #[default]
        Never = "never",
        BetweenTurns = "between_turns",
    }
}

impl Hears {
    /// What that means, in one sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Never => "Messages and interruptions are refused: it has no conversation that could go on.",
            Self::BetweenTurns => {
                "A message is given to it when its running turn has ended, in the same conversation, before anybody looks \
                 at its work; an interruption ends the running turn."
            }
        }
    }
}

/// What a caller has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Something for the agent to know or to do.
    Message { name: Option<String>, text: String },
    /// Its running turn is to end; the conversation goes on.
    Interrupt,
}

/// Something that was said, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Grows with each.
    pub seq: i64,
    /// `None`: it only interrupts.
    pub text: Option<String>,
    /// The attempt and the step that it was given to last.
    pub given_to: Option<(u32, String)>,
}

/// Why nobody would hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    #[error("the job is over: follow it up, or retry it")]
    Over,
    #[error("the agent's work is being published, and no turn of it follows: follow the job up")]
    Publishing,
    #[error("no agent runs that could be interrupted")]
    NothingRuns,
    #[error("the job has been told {SAID_MAX} things, which is the most")]
    TooMany,
    #[error("the messages to the job would have more than {SAID_BYTES_MAX} bytes together")]
    TooLong,
    #[error("another message of this job has that id")]
    NameTaken,
}

impl Unheard {
    /// For programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Over => "job_over",
            Self::Publishing => "job_publishing",
            Self::NothingRuns => "agent_not_running",
            Self::TooMany | Self::TooLong => "too_many_messages",
            Self::NameTaken => "message_id_taken",
        }
    }
}

/// Whether an agent will hear the word: with its next turn, or in the one that runs.
///
/// # Errors
/// Why not.
pub fn may_be_said(job: &Job, word: &Word) -> Result<(), Unheard> {
    if !job.status.is_live() || job.cancel_requested_at.is_some() {
        return Err(Unheard::Over);
    }
    if !job.needs_agent() || matches!(job.phase, Phase::Committing | Phase::Pushing | Phase::OpeningPr) {
        return Err(Unheard::Publishing);
    }
    let runs = job.status == Status::Running && job.phase == Phase::Agent;
    if matches!(word, Word::Interrupt) && !runs {
        return Err(Unheard::NothingRuns);
    }
    Ok(())
}
