//! What was written down about calls that changed something, or were refused.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::UtcTime;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its number; rows are only added.
    pub seq: i64,
    pub at: UtcTime,
    /// The id of the token, or `admin` for the built-in one.
    pub token_id: String,
    pub token_name: String,
    /// Method and route, for example `POST /jobs/{id}/cancel`.
    pub call: String,
    /// The path that was asked for, or that of what was made.
    pub target: String,
    pub request_id: String,
    /// The address at the other end of the connection; `null` when there was none.
    pub peer: Option<String>,
    /// The status of the answer. The second row of a call whose change was made and whose answer was another one has that.
    pub status: u16,
}

/// The newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// What to give as `after` for the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}
