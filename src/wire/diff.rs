//! What a job changed, as numbers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    pub base_sha: String,
    pub head_sha: String,
    pub files_changed: u64,
    pub insertions: u64,
    pub deletions: u64,
    pub files: Vec<ChangedFile>,
    /// There are more files than are listed.
    pub truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangedFile {
    pub path: String,
    /// Where it was before, when it was renamed.
    pub old_path: Option<String>,
    /// `added, modified, deleted, renamed, copied` or `type_changed`.
    pub status: String,
    /// `null` for a binary file.
    pub insertions: Option<u64>,
    pub deletions: Option<u64>,
    pub binary: bool,
}
