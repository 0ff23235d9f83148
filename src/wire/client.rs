//! Clients in answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::options::Options;
use super::time::UtcTime;
use crate::domain::client;

/// A registered repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    pub id: String,
    /// The caller's own name for it.
    pub os_client_id: Option<String>,
    pub name: String,
    pub github_org: String,
    pub github_repo: String,
    /// `null` until the first clone has asked the remote.
    pub default_branch: Option<String>,
    /// Whether its clone is on this machine.
    pub repo_exists: bool,
    pub clone_url: Option<String>,
    pub paused: bool,
    /// Why it is paused, when the server did that.
    pub paused_reason: Option<String>,
    pub options: Options,
    pub created_at: UtcTime,
    pub updated_at: UtcTime,
    pub deleted_at: Option<UtcTime>,
}

impl Client {
    /// `repo_exists` is read from disk by the caller.
    #[must_use]
    pub fn of(client: &client::Client, repo_exists: bool) -> Self {
        Self {
            id: client.id.to_string(),
            os_client_id: client.os_client_id.clone(),
            name: client.name.clone(),
            github_org: client.repository.org().to_owned(),
            github_repo: client.repository.repo().to_owned(),
            default_branch: client.default_branch.clone(),
            repo_exists,
            clone_url: client.clone_url.clone(),
            paused: client.paused,
            paused_reason: client.paused_reason.clone(),
            options: Options::from(&client.options),
            created_at: client.created_at.into(),
            updated_at: client.updated_at.into(),
            deleted_at: client.deleted_at.map(UtcTime),
        }
    }

    /// `org/repo`
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.github_org, self.github_repo)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClientList {
    pub clients: Vec<Client>,
}

/// One client with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientDetail {
    #[serde(flatten)]
    pub client: Client,
    /// Jobs that are queued or running.
    pub active_jobs: i64,
    pub total_jobs: i64,
    /// Size of the clone; `null` when there is none.
    pub disk_bytes: Option<u64>,
    pub last_fetched_at: Option<UtcTime>,
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCreated {
    #[serde(flatten)]
    pub client: Client,
    /// `false` when the clone is still under way (`Prefer: respond-async`).
    pub repo_cloned: bool,
    /// Where the bare clone is or will be, on the server.
    pub bare_repo_path: String,
    pub warnings: Vec<String>,
}

/// The answer to a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClientChanged {
    #[serde(flatten)]
    pub client: Client,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientDeleted {
    pub deleted: bool,
    pub repo_removed: bool,
}
