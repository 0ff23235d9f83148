//! What is known from outside at the end of a world: the caller's own log, the forge, the receiver, processes, disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::fake_github::FakePull;
use crate::jobs::{Hook, Kind};
use crate::stand::Callback;

/// A job that was answered with 201, as the caller wrote it down then.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) root: String,
    pub(crate) repo: String,
    pub(crate) kind: Kind,
    /// A job that only publishes what an earlier one of its chain made.
    pub(crate) publishes: bool,
    pub(crate) hook: Hook,
    /// Its worktree is to be kept.
    pub(crate) keeps: bool,
    /// The caller has asked for its end.
    pub(crate) cancelled: bool,
    /// What the API said of it when it was over and nobody did anything about it any more, of one that may grow old.
    pub(crate) over: Option<Value>,
    /// It was made as old as this.
    pub(crate) age: Option<Age>,
}

/// How long ago a job ended, beside what is kept for how long (the defaults of `[retention]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Its worktree goes, which was kept.
    Unkept,
    /// Its output goes, the job stays.
    Silent,
    /// The job goes.
    Forgotten,
}

/// A client that was deleted, as the caller remembers it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removed {
    pub(crate) id: String,
    pub(crate) repo: String,
    /// Its clone was to go too.
    pub(crate) with_clone: bool,
    /// Its live jobs were cancelled.
    pub(crate) forced: bool,
    /// Status and problem of each job that was refused meanwhile.
    pub(crate) refused: Vec<(u16, Value)>,
    /// Clients that have its repository now.
    pub(crate) heirs: Vec<String>,
    /// When it was deleted, as the API says.
    pub(crate) deleted_at: Option<Timestamp>,
    /// Its clone is still there.
    pub(crate) clone_is_there: bool,
    /// Commits that the refs of its bundles lead to, and those of its clone where that is there.
    pub(crate) kept: BTreeSet<String>,
    /// Names of the files in them.
    pub(crate) kept_files: BTreeSet<String>,
}

/// What the process table has shown while a world was under fire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// Most jobs that had living processes at one moment.
    pub(crate) most: usize,
    /// Jobs with processes of two attempts at one moment.
    pub(crate) twins: BTreeSet<String>,
    /// Processes that were shown a secret which is not theirs.
    pub(crate) leaks: BTreeSet<String>,
    /// How often it was looked.
    pub(crate) looks: usize,
}

/// Everything that a world left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// How many jobs may run at once.
    pub(crate) allowed: usize,
    pub(crate) accepted: Vec<Accepted>,
    /// What the API says of each of them in the end.
    pub(crate) told: BTreeMap<String, Value>,
    /// Jobs that the API does not know any more.
    pub(crate) forgotten: BTreeSet<String>,
    /// Numbers of jobs whose output is on disk.
    pub(crate) outputs: BTreeSet<i64>,
    /// Files that jobs have kept, as they are on disk, by the job's number: `<attempt>/<place>` and content.
    pub(crate) kept: BTreeMap<i64, Vec<(String, Vec<u8>)>>,
    /// Events that are older than any may be.
    pub(crate) old_events: u64,
    pub(crate) removed: Vec<Removed>,
    /// Names of the files that are in the snapshots of a job, by its id.
    pub(crate) snapshots: BTreeMap<String, BTreeSet<String>>,
    /// Commits that the snapshots of a job lead to and its remote's branches do not, by its id.
    pub(crate) kept_commits: BTreeMap<String, BTreeSet<String>>,
    /// Marker and commit of agents that have left their HEAD elsewhere.
    pub(crate) commits: Vec<(String, String)>,
    /// Names of the files in the worktrees that are there, by the chain's first job.
    pub(crate) worktrees: BTreeMap<String, BTreeSet<String>>,
    /// The callbacks of jobs whose receiver never works, or that never began, as the API tells them, by job.
    pub(crate) deliveries: BTreeMap<String, Value>,
    /// Jobs whose callback the API lists as dead.
    pub(crate) dead: BTreeSet<String>,
    /// The ids that the API lists.
    pub(crate) listed: Vec<String>,
    pub(crate) pulls: Vec<FakePull>,
    /// Commit by repository and branch, of the remotes.
    pub(crate) tips: BTreeMap<(String, String), String>,
    /// Branches that others have made.
    pub(crate) foreign: BTreeSet<(String, String)>,
    pub(crate) callbacks: Vec<Callback>,
    /// Requests at the receiver that were wrongly signed, or went elsewhere.
    pub(crate) unwanted: Vec<String>,
    /// Marker of every start of an agent, as the agents wrote them down.
    pub(crate) runs: Vec<String>,
    /// How often a supervisor or an agent of a job was killed, by number.
    pub(crate) hurt: BTreeMap<i64, u32>,
    pub(crate) watched: Watched,
    /// Processes of the installation after all was over, and after the server had ended.
    pub(crate) processes: Vec<String>,
    /// Trash, half clones, locks, and what clones know of worktrees that are gone.
    pub(crate) leftovers: Vec<String>,
    /// What SQLite says of its file.
    pub(crate) integrity: String,
    /// What git says of each repository that is not whole.
    pub(crate) broken: Vec<String>,
    /// Files, callbacks and pull requests with a secret.
    pub(crate) secrets: Vec<String>,
    /// From the last start until nothing of the times before was left.
    pub(crate) settled: Duration,
    /// What did not come to an end.
    pub(crate) unfinished: Vec<String>,
    /// Errors in the server's log, and ends of a server that nobody asked for.
    pub(crate) complaints: Vec<String>,
}

impl Evidence {
    /// The job of this id or number's marker.
    pub(crate) fn job_told(&self, id: &str) -> &Value {
        self.told.get(id).unwrap_or(&Value::Null)
    }

    /// The marker's job number and attempt: `<instance>-<number>-<attempt>-<step>`.
    pub(crate) fn marker(marker: &str) -> Option<(i64, u32)> {
        let mut parts = marker.splitn(4, '-').skip(1);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}
