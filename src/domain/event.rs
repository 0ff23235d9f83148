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
        JobNote = "job.note",
        AgentMessage = "agent.message",
        AgentThinking = "agent.thinking",
        AgentToolUse = "agent.tool_use",
        AgentToolResult = "agent.tool_result",
        AgentProgress = "agent.progress",
        AgentOutput = "agent.output",
        MessageStored = "message.stored",
        MessageDelivered = "message.delivered",
        JobInterrupted = "job.interrupted",
        JobHeld = "job.held",
        JobCompleted = "job.completed",
        JobFailed = "job.failed",
        JobCancelled = "job.cancelled",
        DeliveryDelivered = "delivery.delivered",
        DeliveryDead = "delivery.dead",
    }
}

impl EventKind {
    /// What the event tells, in one sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::JobQueued => "The job was accepted.",
            Self::AttemptStarted => "A worker has taken the job up.",
            Self::JobPhase => "The job has come to another phase.",
            Self::JobNote => "The server says what it does or what it met.",
            Self::AgentMessage => "The agent says something.",
            Self::AgentThinking => "The agent thinks aloud.",
            Self::AgentToolUse => "The agent begins to use a tool.",
            Self::AgentToolResult => "What came of the use of a tool.",
            Self::AgentProgress => {
                "How the agent gets on: what there is to know besides its words and tools."
            }
            Self::AgentOutput => {
                "Output that is no event of the agent's own protocol: plain lines, many in one event."
            }
            Self::MessageStored => "Somebody has said something to the agent; it is kept for its next turn.",
            Self::MessageDelivered => "A turn of the agent is told what was said to it.",
            Self::JobInterrupted => {
                "Somebody wants the running turn of the agent to end, and the job to go on."
            }
            Self::JobHeld => "The attempt is over, or somebody takes the job over: it waits.",
            Self::JobCompleted => "The job is over: it did what it could.",
            Self::JobFailed => "The job is over: it failed.",
            Self::JobCancelled => "The job is over: it was cancelled.",
            Self::DeliveryDelivered => "The callback was accepted.",
            Self::DeliveryDead => "The callback is given up.",
        }
    }

    /// Whether it has words, lines or signs rather than being a step of a job's life.
    #[must_use]
    pub const fn is_told(self) -> bool {
        matches!(
            self,
            Self::JobNote
                | Self::MessageStored
                | Self::JobInterrupted
                | Self::AgentMessage
                | Self::AgentThinking
                | Self::AgentToolUse
                | Self::AgentToolResult
                | Self::AgentProgress
                | Self::AgentOutput
        )
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
    /// The message of the job that holds its words, if it has any.
    pub message: Option<i64>,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams, the store and callbacks have had them under these names since the first version.
    #[test]
    fn names_never_change() {
        let names: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let expected = "job.queued attempt.started job.phase job.note agent.message agent.thinking agent.tool_use \
            agent.tool_result agent.progress agent.output message.stored message.delivered job.interrupted job.held \
            job.completed job.failed job.cancelled delivery.delivered delivery.dead";
        assert_eq!(names, expected.split(' ').collect::<Vec<_>>());
        let kinds: Vec<_> = MessageKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(kinds, ["stdout", "stderr", "system"]);
    }
}
