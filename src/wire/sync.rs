//! The answer of a sync of clones with their remotes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sync {
    pub synced: Vec<Synced>,
}

/// How it went for one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Synced {
    /// `org/repo`.
    pub repo: String,
    pub success: bool,
    pub error: Option<String>,
}
