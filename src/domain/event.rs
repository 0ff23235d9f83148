//! The append-only history: what happened, in the order in which it was stored.

use super::id::JobNumber;
use super::named::named_enum;
use super::time::Timestamp;

named_enum! {
    /// What happened. Dotted, past tense, the same in the store, in streams and in callbacks.
    EventKind {
        JobQueued = "job.queued",
        AttemptStarted = "attempt.started",
        JobPhase = "job.phase",
        JobHeld = "job.held",
        JobCompleted = "job.completed",
        JobFailed = "job.failed",
        JobCancelled = "job.cancelled",
        DeliveryDelivered = "delivery.delivered",
        DeliveryDead = "delivery.dead",
    }
}

/// A fact of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Numbered per installation, growing.
    pub seq: i64,
    pub job: JobNumber,
    pub attempt: Option<u32>,
    pub kind: EventKind,
    /// A JSON object as text; its shape belongs to `wire`.
    pub payload: String,
    pub at: Timestamp,
}

named_enum! {
    /// Who speaks in a message of a job.
    MessageKind {
        Stdout = "stdout",
        Stderr = "stderr",
        System = "system",
    }
}

/// A line (or block) of a job's story, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Counts per job, from 1.
    pub seq: i64,
    pub kind: MessageKind,
    pub content: String,
    pub at: Timestamp,
}
