//! How the server is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::backup::BackupEntry;
use super::time::UtcTime;
use super::words::{Hears, LimitWindow, ReasonCode};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok, degraded` or `draining`.
    pub status: String,
    pub version: String,
    pub uptime_seconds: u64,
    pub queue: QueueHealth,
    pub paused: bool,
    /// The agent entry `claude`.
    pub claude: ClaudeHealth,
    pub agents: Vec<AgentHealth>,
    pub holds: Vec<Hold>,
    pub disk: Disk,
    pub callbacks: CallbackHealth,
    /// What the programs of a job are kept in that says nothing about it: `sandbox` or `none`.
    pub isolation: String,
    /// Which sandbox that is, or why there is none.
    #[serde(default)]
    pub isolation_detail: String,
    /// `ok` or `read_only`.
    pub database: String,
    /// What is wrong with the database and what to type; `null` when nothing is.
    #[serde(default)]
    pub database_guide: Option<String>,
    /// Of those beside the database.
    #[serde(default)]
    pub newest_backup: Option<BackupEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueHealth {
    pub running: i64,
    pub queued: i64,
    pub max_concurrent: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaudeHealth {
    pub authenticated: bool,
    pub version: Option<String>,
}

/// What the last look at an agent found; looks are cached, this never starts a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentHealth {
    pub name: String,
    pub kind: String,
    /// The program is there and not older than `versionMin`.
    pub installed: bool,
    pub version: Option<String>,
    /// The oldest version that is known to work; `null` for programs that have no version to ask for.
    #[serde(default)]
    pub version_min: Option<String>,
    /// `null` when it cannot be known without spending.
    pub authenticated: Option<bool>,
    /// `null` before the first look.
    pub checked_at: Option<UtcTime>,
    /// What agents of its kind can do.
    #[serde(default)]
    pub can: AgentAbilities,
}

/// What a kind of agent can do; what it cannot is refused when a job asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentAbilities {
    /// Go on with a conversation.
    pub resume: bool,
    /// Say what a run cost.
    pub cost: bool,
    /// When it hears a message or an interruption.
    pub hears: Hears,
    /// Tell what it does as it does it.
    pub structured_events: bool,
    /// Say which tool uses were not permitted.
    pub tells_denials: bool,
    /// The run options that it carries out, of those that are the agent's to carry out.
    pub options: Vec<String>,
    /// The values of `permissionMode` that it takes.
    pub permission_modes: Vec<String>,
    /// The values of `effort` that it takes.
    pub efforts: Vec<String>,
}

/// Why all work of one login waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    pub login: String,
    pub code: ReasonCode,
    pub message: String,
    pub since: UtcTime,
    /// `null`: until somebody mends it.
    pub until: Option<UtcTime>,
    /// Of `usage_limit`: which, where the agent has named it.
    #[serde(default)]
    pub window: Option<LimitWindow>,
    /// The number of the job that is out as a probe; `null` also where the token does not see that job.
    pub probe: Option<i64>,
}

impl From<crate::domain::hold::Hold> for Hold {
    fn from(hold: crate::domain::hold::Hold) -> Self {
        Self {
            login: hold.login,
            code: hold.reason.code.into(),
            message: hold.reason.message,
            since: hold.since.into(),
            until: hold.until.map(UtcTime),
            window: hold.window.map(LimitWindow),
            probe: hold.probe.map(|job| job.0),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Where there is the least: on the disk of the data directory, the clones or the worktrees. `null` when it could not be
    /// asked.
    pub free_bytes: Option<u64>,
    /// No job starts below this.
    pub floor_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallbackHealth {
    pub pending: i64,
    pub dead: i64,
}
