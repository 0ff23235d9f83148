//! What runs and what waits.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::job::Waiting;
use super::time::UtcTime;
use super::words::Phase;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    pub running: Vec<RunningJob>,
    /// In the order in which they will start.
    pub queued: Vec<QueuedJob>,
    pub max_concurrent: u32,
    pub paused: bool,
    /// What whoever paused it said.
    #[serde(default)]
    pub paused_reason: Option<String>,
    /// What to send as `after` for the next page of queued jobs; `null` on the last one.
    pub next_cursor: Option<String>,
    /// About the request that this answers.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningJob {
    pub id: String,
    pub number: i64,
    pub client_name: String,
    pub branch_name: String,
    #[serde(default)]
    pub title: Option<String>,
    /// As of a job in lists.
    #[serde(default)]
    pub prompt_line: String,
    pub started_at: Option<UtcTime>,
    /// `5m 23s`.
    pub running_for: String,
    pub running_for_seconds: u64,
    pub phase: Phase,
    pub last_output_at: Option<UtcTime>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuedJob {
    pub id: String,
    pub number: i64,
    pub client_name: String,
    pub branch_name: String,
    #[serde(default)]
    pub title: Option<String>,
    /// As of a job in lists.
    #[serde(default)]
    pub prompt_line: String,
    pub position: Option<i64>,
    pub created_at: UtcTime,
    pub waiting: Option<Waiting>,
}

/// The two largest units: `23s`, `5m 23s`, `2h 5m`, `1d 2h`.
#[must_use]
pub fn running_for(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_for_people() {
        let table = [(0, "0s"), (59, "59s"), (323, "5m 23s"), (7_500, "2h 5m"), (93_600, "1d 2h")];
        for (seconds, text) in table {
            assert_eq!(running_for(seconds), text);
        }
    }
}
