//! One go at a job, the lease under which it runs, and how it ends.

use super::hold::LimitWindow;
use super::id::JobNumber;
use super::job::{Job, Outcome, Usage};
use super::options::RunOptions;
use super::reason::Reason;
use super::time::Timestamp;

/// The right to act for one attempt, and proof of it in the signature of every call that does.
///
/// There is one server per data directory (it holds a lock), so a lease needs no time limit: a new server takes a new
/// `epoch`, and whatever an older one still tries to write is refused. The attempt number fences in the same way
/// against a worker that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub job: JobNumber,
    pub attempt: u32,
    /// The number of this start of the server, from 1.
    pub epoch: i64,
}

/// A claimed job, handed to a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub lease: Lease,
    pub job: Job,
    /// The attempt was begun by an earlier server: its steps on disk are looked at before anything new is started.
    pub adopted: bool,
}

/// How an attempt ended, as the worker saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The line was walked to its end.
    Completed { outcome: Outcome },
    /// Something on the way did not work.
    Faulted {
        reason: Reason,
        /// When the peer or login said that it will work again.
        until: Option<Timestamp>,
        /// Of a usage limit: which, where the agent has named it.
        window: Option<LimitWindow>,
        /// Nothing was spent (the agent was never released): not counted whatever the reason says.
        spent: bool,
    },
    /// The caller's request to cancel was carried out: no process of the job is left.
    Cancelled,
    /// Its login is held, and it is not the one that is sent to look: no turn of its agent has begun.
    Held,
    /// It made way for somebody who takes the job over: no process of it is left, its worktree is.
    Attached,
}

/// A past or present attempt, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub number: u32,
    pub counted: bool,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub reason: Option<Reason>,
    pub exit_code: Option<i64>,
    /// The conversation that its agent held; `None` also for one that is forgotten.
    pub session_id: Option<String>,
    pub usage: Usage,
    /// Where its agent said that its credential comes from, in the agent's own word; `None`: it said nothing.
    pub authentication: Option<String>,
    /// The isolation that was in force (`none`, `sandbox`).
    pub isolation: String,
    /// The effective options it ran with.
    pub options: RunOptions,
}
