//! Kept work of a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::UtcTime;

/// What is kept of one job, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotList {
    pub snapshots: Vec<Snapshot>,
    /// The clone that the refs are in, for `git fetch` on the same machine.
    pub bare_repo_path: String,
}

/// The files of a worktree as they were, as a commit of the local clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Within the job: `1-end`; `head` is the result.
    pub name: String,
    #[serde(rename = "ref")]
    pub ref_: String,
    /// `null` for the result.
    pub attempt: Option<u32>,
    /// When it was taken, in words.
    pub why: String,
    pub taken_at: UtcTime,
    pub commit: String,
    /// Files that differ from the commit that the work began at; `null` when that is not there any more.
    pub files_changed: Option<u64>,
}
