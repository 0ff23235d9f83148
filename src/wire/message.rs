//! What a job's story consists of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::UtcTime;
use super::words::MessageKind;
use crate::domain::event;

/// A line or block of text for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Counts per job, from 1.
    pub seq: i64,
    #[serde(rename = "type")]
    pub type_: MessageKind,
    pub content: String,
    pub created_at: UtcTime,
}

impl From<event::Message> for Message {
    fn from(message: event::Message) -> Self {
        Self {
            seq: message.seq,
            type_: message.kind.into(),
            content: message.content,
            created_at: message.at.into(),
        }
    }
}

/// A page of messages, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagePage {
    pub messages: Vec<Message>,
    /// What to send as `after` for the next page; `null` at the present end.
    pub next_cursor: Option<String>,
}
