//! Facts of the history, and the payload that is stored with each. What an agent says is in `told`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Object, ObjectBuilder, Ref};

use super::inward::{MessageStored, MessagesGiven};
use super::time::UtcTime;
use super::told::{Output, Progress, ToolResult, ToolUse, Words, told};
use super::words::{DeliveryState, EventKind, LimitWindow, Outcome, Phase, ReasonCode, Status};
use crate::domain;
use crate::domain::lifecycle::Transition;

/// A fact of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Numbered per installation, growing.
    pub seq: i64,
    #[serde(rename = "type")]
    pub type_: EventKind,
    /// The job's number.
    pub job: i64,
    /// `null` once the job is past its time and forgotten.
    pub job_id: Option<String>,
    pub attempt: Option<u32>,
    pub at: UtcTime,
    /// What belongs to this type of event; [`EventData`] names the shape of each.
    #[schema(value_type = EventData)]
    pub data: Value,
}

/// The data of events, by their type; a type that is not named has the first shape.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EventData {
    /// `job.queued`, `attempt.started`, `job.phase`, `job.held`, `job.completed`, `job.failed`, `job.cancelled`.
    Job(JobMoved),
    /// `delivery.delivered`, `delivery.dead`.
    Delivery(DeliveryMoved),
    /// `agent.message`, `agent.thinking`, `job.note`, `job.interrupted`.
    Words(Words),
    /// `message.stored`
    MessageStored(MessageStored),
    /// `message.delivered`
    MessagesGiven(MessagesGiven),
    /// `agent.tool_use`
    ToolUse(ToolUse),
    /// `agent.tool_result`
    ToolResult(ToolResult),
    /// `agent.progress`
    Progress(Progress),
    /// `agent.output`
    Output(Output),
}

impl Event {
    /// An event with the id of its job and its words, as far as they are still there.
    #[must_use]
    pub fn new(event: domain::event::Event, job_id: Option<String>, words: Option<&str>) -> Self {
        let data = match told(event.kind, &event.payload, event.message, words) {
            Some(data) => serde_json::to_value(data).unwrap_or(Value::Null),
            None => serde_json::from_str(&event.payload).unwrap_or(Value::Null),
        };
        Self {
            seq: event.seq,
            type_: event.kind.into(),
            job: event.job.0,
            job_id,
            attempt: event.attempt,
            at: event.at.into(),
            data,
        }
    }
}

/// The name of the schema that the data of this kind has.
#[must_use]
pub const fn schema_of(kind: domain::event::EventKind) -> &'static str {
    use domain::event::EventKind as Kind;
    match kind {
        Kind::JobQueued
        | Kind::AttemptStarted
        | Kind::JobPhase
        | Kind::JobHeld
        | Kind::JobCompleted
        | Kind::JobFailed
        | Kind::JobCancelled => "JobMoved",
        Kind::DeliveryDelivered | Kind::DeliveryDead => "DeliveryMoved",
        Kind::JobNote | Kind::JobInterrupted | Kind::AgentMessage | Kind::AgentThinking => "Words",
        Kind::MessageStored => "MessageStored",
        Kind::MessageDelivered => "MessagesGiven",
        Kind::AgentToolUse => "ToolUse",
        Kind::AgentToolResult => "ToolResult",
        Kind::AgentProgress => "Progress",
        Kind::AgentOutput => "Output",
    }
}

/// The last event of a stream: the job is over, and everything of it has been told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamDone {
    /// The job's number.
    pub job: i64,
    /// `null`: the job is past its time and forgotten.
    #[schema(required)]
    pub status: Option<Status>,
    #[schema(required)]
    pub outcome: Option<Outcome>,
}

/// Events that a stream was to begin with are past their time and gone: what was built from earlier ones has to be read
/// anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamReset {
    /// The stream goes on behind this number.
    pub after: i64,
}

/// One item of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum StreamItem {
    Event(Box<Event>),
    Reset(StreamReset),
    Done(StreamDone),
}

/// `reset` and `done` as frames of a WebSocket, where there is no other place for their names; an event has its own.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamFrame {
    /// `reset` or `done`
    #[serde(rename = "type")]
    pub type_: String,
    pub data: Value,
}

/// One server-sent event of a stream; `data` is the JSON of a `StreamItem`, in one line.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written by another's hand")]
pub struct ServerSentEvent {
    /// The number of an event, to go on behind it by `Last-Event-ID`; `done` has none.
    id: Option<String>,
    /// The kind of an event, `reset` or `done`.
    event: String,
    #[schema(schema_with = one_item)]
    data: String,
}

fn one_item() -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String).content_media_type("application/json");
    text.content_schema(Some(Ref::from_schema_name("StreamItem"))).build()
}

impl StreamItem {
    /// Its name: the kind of an event, `reset` or `done`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Event(event) => event.type_.0.as_str(),
            Self::Reset(_) => "reset",
            Self::Done(_) => "done",
        }
    }

    /// What to send as `Last-Event-ID` to go on behind it.
    #[must_use]
    pub fn id(&self) -> Option<i64> {
        match self {
            Self::Event(event) => Some(event.seq),
            Self::Reset(reset) => Some(reset.after),
            Self::Done(_) => None,
        }
    }

    /// The data of a server-sent event: one line of JSON.
    #[must_use]
    pub fn data(&self) -> String {
        serde_json::to_string(self).expect("plain members with text keys always serialise")
    }

    /// A frame of a WebSocket.
    #[must_use]
    pub fn frame(&self) -> String {
        let data = match self {
            Self::Event(_) => return self.data(),
            Self::Reset(reset) => serde_json::to_value(reset),
            Self::Done(done) => serde_json::to_value(done),
        };
        let frame =
            data.and_then(|data| serde_json::to_string(&StreamFrame { type_: self.name().to_owned(), data }));
        frame.expect("plain members with text keys always serialise")
    }
}

/// Data of `attempt.started` and of every `job.*` but `job.note` and `job.interrupted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobMoved {
    pub status: Status,
    pub phase: Phase,
    pub outcome: Option<Outcome>,
    /// A code of `docs/reasons.md`.
    pub reason: Option<ReasonCode>,
    /// Why, in words.
    pub message: Option<String>,
    /// When it is tried again, where that is known.
    pub until: Option<UtcTime>,
    /// Of a `job.held` by `usage_limit`: which limit, where the agent has named it.
    #[serde(default)]
    pub window: Option<LimitWindow>,
}

impl JobMoved {
    /// The payload of the event `job.queued`.
    #[must_use]
    pub fn queued() -> Self {
        Self {
            status: domain::job::Status::Queued.into(),
            phase: domain::job::Phase::Queued.into(),
            outcome: None,
            reason: None,
            message: None,
            until: None,
            window: None,
        }
    }

    /// The stored text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain members with text keys always serialise")
    }
}

impl From<&Transition> for JobMoved {
    fn from(to: &Transition) -> Self {
        Self {
            status: to.status.into(),
            phase: to.phase.into(),
            outcome: to.outcome.map(Outcome),
            reason: to.reason.as_ref().map(|reason| reason.code.into()),
            message: to.reason.as_ref().map(|reason| reason.message.clone()),
            until: to.hold.flatten().or(to.not_before).map(UtcTime),
            window: to.window.map(LimitWindow),
        }
    }
}

/// Data of every `delivery.*` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryMoved {
    /// The id of the delivery.
    pub delivery: String,
    pub state: DeliveryState,
    pub tries: u32,
    /// Of the last answer; `null` when there was none.
    pub last_status: Option<u16>,
}

impl DeliveryMoved {
    /// The stored text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain members with text keys always serialise")
    }
}
