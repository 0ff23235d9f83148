//! What the history tells of words for an agent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Data of `message.stored`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageStored {
    /// The caller's own id of it.
    pub id: Option<String>,
    /// The name of the token that said it.
    pub by: String,
    /// What was said, at most 32 KiB of it.
    pub text: Option<String>,
    /// As in `agent.message`.
    pub message_seq: Option<i64>,
}

/// Data of `message.delivered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagesGiven {
    /// The step whose prompt has them, `agent-1` for the first turn of an attempt.
    pub turn: String,
    /// How many they are.
    pub count: u32,
    /// The callers' own ids of those that have one.
    pub ids: Vec<String>,
}

impl MessagesGiven {
    /// The stored text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain members with text keys always serialise")
    }
}
