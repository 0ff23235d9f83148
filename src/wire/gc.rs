//! Clearing up: what has gone, or would.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer to `POST /gc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcReport {
    /// Nothing has been changed.
    pub dry_run: bool,
    /// At most 1,000 things.
    pub removed: Vec<GcRemoved>,
    /// Further things, not named.
    pub more: u64,
    /// Of all things of which the size is known.
    pub bytes: u64,
    /// Damaged clones, each beside the one that has taken its place. They are never removed by themselves, for they may
    /// hold work that nobody else has: when nothing in one is needed any more, remove its directory below
    /// `paths.repos_dir`.
    #[serde(default)]
    pub set_aside: Vec<GcSetAside>,
    /// Worktrees of jobs that the database does not know, as after a restored backup, at most 1,000. They are never removed by
    /// themselves: when nothing in one is needed any more, remove its directory below `paths.worktrees_dir`.
    #[serde(default)]
    pub unknown_worktrees: Vec<GcUnknownWorktree>,
    /// Clones of repositories that no client has or ever had, and in which somebody may have worked, or which this installation
    /// has not made, at most 1,000. They are never removed by themselves: register the repository, or, where no other server
    /// uses it, remove the directory below `paths.repos_dir`.
    #[serde(default)]
    pub unknown_clones: Vec<GcUnknownClone>,
}

/// A clone that is no client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcUnknownClone {
    /// Organisation and repository.
    pub what: String,
    pub bytes: u64,
}

/// A worktree of a job that is in no list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcUnknownWorktree {
    /// Organisation, repository and the first job of the chain.
    pub what: String,
    pub bytes: u64,
}

/// A damaged clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcSetAside {
    /// The repository, and the name of the directory.
    pub what: String,
    /// What could not be brought over into the new clone; `null`: not looked at yet.
    pub lost: Option<Vec<String>>,
    pub bytes: u64,
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcRemoved {
    /// `worktree, trash, snapshot, leftover, objects, output, artifacts, job` or `events`.
    pub kind: String,
    pub what: String,
    pub why: String,
    /// `null` where it is not known.
    pub bytes: Option<u64>,
}
