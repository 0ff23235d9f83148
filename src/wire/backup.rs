//! Backups of the database.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::UtcTime;

/// `POST /backups`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct BackupRequest {
    /// An absolute path on the server for a new file; without it the backup gets a name of its own beside the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A backup that was just made, whole and looked through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// What `offshoot restore` takes.
    pub name: String,
    /// Where it lies on the server.
    pub file: String,
    pub bytes: u64,
    pub duration_ms: u64,
    pub created_at: UtcTime,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `GET /backups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backups {
    /// The newest first.
    pub backups: Vec<BackupEntry>,
}

/// A backup beside the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupEntry {
    pub name: String,
    /// `daily`, `manual` or `before-migration`.
    pub kind: String,
    pub bytes: u64,
    pub created_at: UtcTime,
}
