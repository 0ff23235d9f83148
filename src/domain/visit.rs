//! A visit: somebody takes a job over for a while, works in its worktree by hand, and hands it back.

use std::time::Duration;

use super::job::{Job, Phase, Status};
use super::named::named_enum;

/// A visit that is not prolonged is over after so long: whoever closes his laptop does not park a job for ever, and a
/// restart of the server or a lost connection is bridged.
pub const VISIT_LASTS: Duration = Duration::from_secs(120);
/// A visitor shows so often that he is there: several tries may be lost.
pub const VISIT_PROLONGED_EVERY: Duration = Duration::from_secs(20);

named_enum! {
    /// What the job goes on with when it is handed back.
    GoesOn {
        /// What lies in the worktree: the owner's commands look at it, then it is published.
        Publish = "publish",
        /// The agent, in its conversation, with what lies in the worktree.
        Agent = "agent",
    }
}

/// Who takes a job over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Made up by the visitor: who has it may stay longer and hand back.
    pub key: String,
    /// The name of the token.
    pub by: String,
}

/// That a job was handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedBack {
    /// The newest attempt when the visit began.
    pub after: u32,
    pub to: GoesOn,
    /// The attempt in which the agent has had its first turn since.
    pub turn: Option<u32>,
}

/// Why a job cannot be taken over, kept or handed back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unvisitable {
    #[error(
        "the job is over: go on with it (offshoot follow-up JOB TEXT), or take its files (offshoot rescue JOB)"
    )]
    Over,
    #[error(
        "the work is being published: when it is, go on with it (offshoot follow-up JOB TEXT), or check its branch out"
    )]
    Publishing,
    #[error(
        "its agent has not begun, so there is nothing to take over yet: ask again when it works (offshoot logs -f JOB)"
    )]
    NotBegun,
    #[error("{by} has taken it over: wait until it is handed back, or end it (offshoot cancel JOB)")]
    Taken { by: String },
    #[error("the visit is over, or there was none: look how the job stands (offshoot show JOB)")]
    NoVisit,
    #[error("the job is making way, and nobody has seen its work yet: ask again, or leave it to its agent")]
    MakingWay,
    #[error("its worktree is gone, so there is nothing to publish: hand it to its agent")]
    Gone,
    #[error("in the worktree there is {what}: finish it or give it up, or hand the job to its agent")]
    Unfinished { what: String },
}

impl Unvisitable {
    /// For programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Over => "job_over",
            Self::Publishing => "job_publishing",
            Self::NotBegun => "agent_not_begun",
            Self::Taken { .. } => "job_attached",
            Self::NoVisit => "not_attached",
            Self::MakingWay => "job_making_way",
            Self::Gone => "worktree_gone",
            Self::Unfinished { .. } => "work_unfinished",
        }
    }
}

/// Whether somebody may take the job over: from when its agent has begun until its work is accepted.
///
/// # Errors
/// Why not.
pub fn may_be_visited(job: &Job) -> Result<(), Unvisitable> {
    if !job.status.is_live() || job.cancel_requested_at.is_some() {
        return Err(Unvisitable::Over);
    }
    if !job.needs_agent() {
        return Err(Unvisitable::Publishing);
    }
    match (job.status, job.phase) {
        (Status::Running, Phase::Agent | Phase::Verifying) => Ok(()),
        (Status::Running, Phase::Committing | Phase::Pushing | Phase::OpeningPr) => {
            Err(Unvisitable::Publishing)
        }
        // its worktree waits for the next attempt
        (Status::Queued, _) if job.was_given_a_worktree() && job.effects.worktree_path.is_some() => Ok(()),
        _ => Err(Unvisitable::NotBegun),
    }
}
