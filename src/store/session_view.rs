//! Conversations of agents, as the store tells of them.

use crate::domain::branch::BranchName;
use crate::domain::client::RepositoryName;
use crate::domain::id::{ClientId, JobId, JobNumber};
use crate::domain::job::Status;
use crate::domain::time::Timestamp;
use crate::domain::token::Reach;

/// Jobs that are named with a conversation: more than a person looks at.
pub(super) const SESSION_JOBS_MAX: u32 = 100;

/// Which conversations are wanted.
#[derive(Clone, Debug)]
pub struct SessionFilter {
    pub client: Option<ClientId>,
    /// Whose conversations.
    pub reach: Reach,
    /// Only those whose newest job has a smaller number: the cursor of the page before.
    pub after: Option<i64>,
    /// 1 to 200.
    pub limit: i64,
}

/// Which conversation is meant, of those that somebody sees. Several may bear one id.
#[derive(Clone, Debug)]
pub struct SessionName {
    /// As the agent calls it.
    pub id: String,
    /// The chain whose conversation it is, where that is told.
    pub root: Option<JobId>,
    /// The `[agents.<name>]` entry that holds it, where that is told.
    pub agent: Option<String>,
    /// Whose conversations.
    pub reach: Reach,
}

/// A conversation of an agent, as far as jobs know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionView {
    /// As the agent calls it.
    pub id: String,
    /// The `[agents.<name>]` entry that holds it.
    pub agent: String,
    pub client_id: ClientId,
    pub client_name: String,
    pub repository: RepositoryName,
    /// Where its newest job works.
    pub branch: BranchName,
    /// The chain.
    pub root: JobId,
    /// The newest first, at most 100.
    pub jobs: Vec<SessionJob>,
    pub jobs_total: u64,
    pub began_at: Timestamp,
    pub used_at: Timestamp,
}

/// A job that has held a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionJob {
    pub id: JobId,
    pub number: JobNumber,
    pub status: Status,
}

/// What became of the wish to forget a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// So many jobs had held it.
    All { jobs: u64 },
    /// These hold it, or are going to.
    Not { live: Vec<JobNumber> },
    /// Several conversations bear the id: some of the chains with the entries that hold them.
    NotOne { holders: Vec<(JobId, String)> },
}
