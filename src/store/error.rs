//! What can go wrong in the store.

use std::sync::Arc;

use crate::domain::id::{JobId, JobNumber};
use crate::domain::inward::Unheard;
use crate::domain::lifecycle::Refusal;
use crate::domain::profile::PROFILES_MAX;
use crate::domain::token::TOKENS_MAX;
use crate::domain::visit::Unvisitable;

/// The live job that stands in the way of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchConflict {
    pub job: JobId,
    pub number: JobNumber,
    pub branch: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Named after the noun: `job`, `client`, `delivery`.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A prefix that more than one job begins with.
    #[error("more than one job begins with that id: give more characters")]
    Ambiguous,
    #[error("branch \"{}\" is in use by live job #{} ({})", .0.branch, .0.number, .0.job)]
    BranchBusy(BranchConflict),
    /// Same repository or `osClientId` as a client that exists.
    #[error("{what} is registered already as client {existing}")]
    DuplicateClient { what: &'static str, existing: String },
    #[error("there is a profile \"{0}\" already")]
    DuplicateProfile(String),
    #[error("there are {PROFILES_MAX} profiles, which is the most")]
    TooManyProfiles,
    #[error("there is a token \"{0}\" already")]
    DuplicateToken(String),
    #[error("there are {TOKENS_MAX} tokens that are not revoked, which is the most")]
    TooManyTokens,
    #[error("the client has live jobs")]
    ClientBusy { jobs: Vec<JobNumber> },
    /// What a retry was to do, another one has done.
    #[error("the work was published by its retry, job #{number}")]
    Published { number: JobNumber },
    #[error("the queue is full: {max} jobs wait")]
    QueueFull { max: u32 },
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody would hear what is to be said to an agent.
    #[error(transparent)]
    Unheard(#[from] Unheard),
    /// Its receiver has refused all callbacks to it, and whoever asks does not speak for all of them.
    #[error("the URL is suspended: its receiver wants no more callbacks (410)")]
    UrlSuspended,
    /// Somebody else has changed it since it was read.
    #[error("it was changed by somebody else meanwhile")]
    Changed,
    /// The job cannot be taken over, or is not.
    #[error(transparent)]
    Unvisitable(#[from] Unvisitable),
    /// The lease is of an older epoch or attempt: whoever holds it has lost the job and must stop.
    #[error("the lease on job {0} is over")]
    LeaseLost(JobNumber),
    #[error("the database was written by a newer offshoot (schema {found}, this one knows {known})")]
    NewerSchema { found: i64, known: i64 },
    #[error("SQLite {0} has a known corruption bug; 3.51.3 or newer is needed")]
    OldSqlite(String),
    #[error("the database file is damaged: {0}")]
    Corrupt(String),
    #[error("the disk is full")]
    DiskFull,
    /// The database is damaged and only read: [`Damage`](super::Damage) says what helps.
    #[error("{0}")]
    ReadOnly(Arc<str>),
    /// A file that was to be made is there already.
    #[error("the file is there already")]
    Exists,
    /// Durability can no longer be promised.
    #[error("the store has stopped after a failed write")]
    Stopped,
    #[error("database: {0}")]
    Database(String),
    #[error("{0}")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}
