//! The limits that the server can run into, by the names under which it counts that.

use super::named::named_enum;
use super::reason::ReasonCode;

named_enum! {
    /// What was too much.
    Limit {
        QueueFull = "queue_max",
        Connections = "connections",
        PeerConnections = "connections_per_peer",
        Streams = "streams",
        TokenRate = "token_requests_per_minute",
        WrongTokens = "wrong_tokens",
        SlowReader = "slow_reader",
        Hints = "hints",
        WritesWaiting = "writes_waiting",
        Readers = "readers",
        WalBytes = "wal_bytes",
        DeliveryTries = "delivery_tries",
        LogFiles = "log_files_max",
        Timeout = "timeout",
        IdleTimeout = "idle_timeout",
        Output = "output_limit",
        MaxBudget = "max_budget",
        ClientBudget = "client_budget",
        Memory = "out_of_memory",
        Processes = "processes",
        WorktreeBytes = "worktree_bytes",
        WorktreeFiles = "worktree_files",
        Disk = "disk_full",
    }
}

impl Limit {
    /// What it means that the limit was met, in one sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::QueueFull => "A job was refused because `server.queue_max` jobs wait.",
            Self::Connections => {
                "As many connections as allowed were open: one gave way, or the next one waited."
            }
            Self::PeerConnections => {
                "A network had as many connections as one may have: one of them gave way, or the new one was closed."
            }
            Self::Streams => {
                "A stream was refused because 128 are open, or as many as its token or all named tokens may have."
            }
            Self::TokenRate => {
                "A request was refused because its token met `server.token_requests_per_minute`."
            }
            Self::WrongTokens => {
                "A wrong token was not looked at further because its peer had sent ten within a minute."
            }
            Self::SlowReader => "A connection was closed because its reader took nothing for half a minute.",
            Self::Hints => "A loop was behind with hints about changes and looked at all rows instead.",
            Self::WritesWaiting => "A write waited before it could queue for the writer.",
            Self::Readers => "A read found every connection to the database in use.",
            Self::WalBytes => "The write-ahead log was over its bound because of readers, and was cut.",
            Self::DeliveryTries => {
                "Callbacks that were due waited for the tries under way, of their host or of all."
            }
            Self::LogFiles => "The log file was full and the oldest one was dropped.",
            Self::Timeout => "An attempt met `timeoutSeconds`.",
            Self::IdleTimeout => "An attempt met `idleTimeoutSeconds`.",
            Self::Output => "An attempt met `limits.step_output_bytes_end`.",
            Self::MaxBudget => "A job met `maxBudgetUsd`.",
            Self::ClientBudget => "An attempt met `maxBudgetUsdPerDay` of its client.",
            Self::Memory => {
                "An attempt met `limits.step_memory_bytes_max`, or the kernel killed it for want of memory."
            }
            Self::Processes => "An attempt met `limits.step_processes_max`.",
            Self::WorktreeBytes => "An attempt met `limits.worktree_bytes_max`.",
            Self::WorktreeFiles => "An attempt met `limits.worktree_files_max`.",
            Self::Disk => "A disk below its floor kept jobs from starting, or ended one.",
        }
    }

    /// The limit behind the end of an attempt, if it was one and the code alone tells which.
    #[must_use]
    pub const fn of_reason(code: ReasonCode) -> Option<Self> {
        match code {
            ReasonCode::Timeout => Some(Self::Timeout),
            ReasonCode::IdleTimeout => Some(Self::IdleTimeout),
            ReasonCode::OutputLimit => Some(Self::Output),
            ReasonCode::MaxBudget => Some(Self::MaxBudget),
            ReasonCode::ClientBudget => Some(Self::ClientBudget),
            ReasonCode::OutOfMemory => Some(Self::Memory),
            ReasonCode::DiskFull => Some(Self::Disk),
            _ => None,
        }
    }
}
