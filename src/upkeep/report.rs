//! What a pass has taken away, or would.

use crate::worker::{UnknownClone, UnknownWorktree};

/// Things that are named one by one; of more there are only sums.
const REMOVED_MAX: usize = 1_000;

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Worktree,
    Trash,
    Snapshot,
    /// What an interrupted git step or a vanished worktree has left in a clone.
    Leftover,
    /// Objects of a clone that nothing points at, and the room between others.
    Objects,
    Output,
    /// Files that a job had kept, or half copies of such.
    Artifacts,
    Job,
    Events,
    /// What was written down about calls.
    Audit,
}

impl Kind {
    /// As it stands in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worktree => "worktree",
            Self::Trash => "trash",
            Self::Snapshot => "snapshot",
            Self::Leftover => "leftover",
            Self::Objects => "objects",
            Self::Output => "output",
            Self::Artifacts => "artifacts",
            Self::Job => "job",
            Self::Events => "events",
            Self::Audit => "audit",
        }
    }
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub kind: Kind,
    /// Its name, without a path of this machine.
    pub what: String,
    pub why: String,
    /// On disk, where that is known.
    pub bytes: Option<u64>,
}

/// A damaged clone that lies beside the one that has taken its place. It is never removed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The repository, and the name of the directory.
    pub what: String,
    /// Refs that could not be brought over; `None`: not looked at yet.
    pub lost: Option<Vec<String>>,
    pub bytes: u64,
}

/// All of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub dry_run: bool,
    pub removed: Vec<Removed>,
    /// Further things that are not named.
    pub more: u64,
    pub set_aside: Vec<Aside>,
    /// Worktrees of jobs that the database does not know. They are not removed by themselves.
    pub unknown: Vec<UnknownWorktree>,
    /// Clones that are no client's and may hold work. They are not removed by themselves.
    pub unknown_clones: Vec<UnknownClone>,
    bytes: u64,
}

impl Report {
    pub(super) fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            removed: Vec::new(),
            more: 0,
            set_aside: Vec::new(),
            unknown: Vec::new(),
            unknown_clones: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn add(&mut self, kind: Kind, what: &str, why: &str, bytes: Option<u64>) {
        self.bytes += bytes.unwrap_or(0);
        if self.removed.len() == REMOVED_MAX {
            self.more += 1;
            return;
        }
        self.removed.push(Removed { kind, what: what.to_owned(), why: why.to_owned(), bytes });
    }

    /// Bytes of all things of which they are known.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
