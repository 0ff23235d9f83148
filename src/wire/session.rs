//! Conversations of agents.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::JobClient;
use super::time::UtcTime;
use super::words;

/// A conversation that an agent has held, and that a later job can go on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// As the agent calls it.
    pub id: String,
    /// The `[agents.<name>]` entry that holds it.
    pub agent: String,
    pub client_id: String,
    pub client_name: String,
    pub client: JobClient,
    /// Of its newest job.
    pub branch_name: String,
    pub root_job_id: String,
    /// The newest first, at most 100.
    pub jobs: Vec<SessionJob>,
    pub jobs_total: u64,
    pub created_at: UtcTime,
    /// When its newest job ended, or was heard of.
    pub last_used_at: UtcTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionJob {
    pub id: String,
    pub number: i64,
    pub status: words::Status,
}

/// The one with the newest job first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionPage {
    pub sessions: Vec<Session>,
    /// What to send as `after` for the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// A conversation that no job names any more. The agent's own files of it are the agent's, and stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDeleted {
    pub deleted: String,
    /// Jobs that had held it.
    pub jobs: u64,
}
