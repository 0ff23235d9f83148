//! Facts of the history, and the payload that is stored with each.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::time::UtcTime;
use super::words::{DeliveryState, EventKind, Outcome, Phase, ReasonCode, Status};
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
    pub attempt: Option<u32>,
    pub at: UtcTime,
    /// What belongs to this type of event.
    pub data: Value,
}

impl From<domain::event::Event> for Event {
    fn from(event: domain::event::Event) -> Self {
        Self {
            seq: event.seq,
            type_: event.kind.into(),
            job: event.job.0,
            attempt: event.attempt,
            at: event.at.into(),
            data: serde_json::from_str(&event.payload).unwrap_or(Value::Null),
        }
    }
}

/// The payload of every `job.*` and `attempt.*` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobMoved {
    pub status: Status,
    pub phase: Phase,
    pub outcome: Option<Outcome>,
    pub reason: Option<ReasonCode>,
    pub message: Option<String>,
    /// When it is tried again, where that is known.
    pub until: Option<UtcTime>,
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
        }
    }
}

/// The payload of every `delivery.*` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryMoved {
    pub delivery: String,
    pub state: DeliveryState,
    pub tries: u32,
    pub last_status: Option<u16>,
}

impl DeliveryMoved {
    /// The stored text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain members with text keys always serialise")
    }
}
