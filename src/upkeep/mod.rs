//! What is past its time goes: snapshots, worktrees, trash, output, kept files, events, jobs. Clones are
//! packed while idle, and freed of what interrupted git steps have left in them.
//!
//! Promises: nothing goes that is the only copy of anybody's work before its time is over, and its job stays listed so long. A snapshot goes when the work is
//! proven on the remote or it was kept for its days; a worktree goes after it was snapshotted; a job goes with its whole
//! chain, and never while a callback of it is pending. Every pass may be cut off anywhere and is finished by the next; a
//! dry run changes nothing and names the same things. One pass runs at a time, in small writes and bounded steps.
//!
//! Must not know: HTTP, SQL, how an attempt is carried out.
//!
//! Fails: what cannot be handled is logged, told in the report, and left for the next pass; only the store's failure ends
//! one. Tested: the decision about a snapshot by a table beside the code, passes on whole servers in `tests/it/gc.rs`.

mod artifacts;
mod clones;
mod history;
mod report;
mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::domain::client::Client;
use crate::domain::id::JobId;
use crate::domain::retention::Kept;
use crate::domain::time::Timestamp;
use crate::git::{Git, GitError, Repository, RepositoryLocks};
use crate::store::{Store, StoreError};
use crate::worker::{
    RemovalError, Worker, chains_with_worktree, old_trash, release_worktrees, sweep_worktrees,
    unknown_clones, unknown_worktrees,
};

pub use report::{Aside, Kind, Removed, Report};

/// How long things are kept.
#[derive(Clone, Debug)]
pub struct UpkeepSettings {
    pub repos_dir: std::path::PathBuf,
    pub worktrees_dir: std::path::PathBuf,
    /// Finished jobs.
    pub jobs: Kept,
    /// The output of agents.
    pub logs: Kept,
    /// The files that jobs have kept.
    pub artifacts: Kept,
    /// As the worker has it.
    pub worktrees: Kept,
    pub events: Duration,
    pub audit: Duration,
    /// Snapshots of work that is published nowhere.
    pub snapshots: Duration,
    /// Below this much free room, in bytes, no job is started.
    pub disk_free_bytes_min: u64,
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Nothing is changed.
    pub dry_run: bool,
    /// Room is needed at once: every idle clone is packed, however little there is to gain.
    pub room: bool,
}

/// Carries out passes. Cheap to clone.
#[derive(Clone)]
pub struct Upkeep(Arc<Inner>);

struct Inner {
    store: Store,
    git: Git,
    locks: RepositoryLocks,
    worker: Worker,
    settings: UpkeepSettings,
    alone: Mutex<()>,
}

impl Upkeep {
    /// `locks` are those that the worker has.
    #[must_use]
    pub fn new(
        store: Store,
        git: Git,
        locks: RepositoryLocks,
        worker: Worker,
        settings: UpkeepSettings,
    ) -> Self {
        Self(Arc::new(Inner { store, git, locks, worker, settings, alone: Mutex::new(()) }))
    }

    /// One pass over everything; waits for one that is under way.
    ///
    /// # Errors
    /// What the store said.
    pub async fn pass(&self, order: Order) -> Result<Report, StoreError> {
        let it = &*self.0;
        let _alone = it.alone.lock().await;
        let mut report = Report::new(order.dry_run);
        for swept in sweep_worktrees(&it.worker, order.dry_run).await? {
            report.add(Kind::Worktree, swept.root.as_str(), &swept.why, Some(swept.bytes));
        }
        report.unknown = unknown_worktrees(&it.worker).await?;
        report.unknown_clones = unknown_clones(&it.worker).await?;
        let trash = old_trash(&it.worker, order.dry_run).await;
        if trash > 0 {
            report.add(Kind::Trash, "worktrees", "a removal was interrupted", Some(trash));
        }
        for client in it.clients().await? {
            it.tidy_clone(&client, order, &mut report).await?;
        }
        it.forget_history(order, &mut report).await?;
        if !report.removed.is_empty() {
            let (count, bytes) = (report.removed.len(), report.bytes());
            tracing::info!(count, bytes, dry_run = order.dry_run, "cleared up");
        }
        Ok(report)
    }

    /// Chains whose worktrees hang on the clone of this client.
    #[must_use]
    pub fn chains_with_worktree(&self, client: &Client) -> Vec<JobId> {
        chains_with_worktree(&self.0.worker, client)
    }

    /// Takes the worktrees of a client away, whose clone is about to go.
    ///
    /// # Errors
    /// [`RemovalError::Worktree`] for one that stays; what the store said.
    pub async fn release_worktrees(&self, client: &Client) -> Result<(), RemovalError> {
        release_worktrees(&self.0.worker, client).await
    }

    /// Makes room when the disk is about to be too full for jobs, before they are held: a quarter above that mark.
    /// `None`: there is room.
    ///
    /// # Errors
    /// What the store said.
    pub async fn make_room(&self) -> Result<Option<Report>, StoreError> {
        let floor = self.0.settings.disk_free_bytes_min;
        let mark = floor.saturating_add(floor / 4);
        match self.0.store.free_bytes().await? {
            Some(free) if free < mark => {
                tracing::warn!(free, floor, "the disk is filling up: clearing up");
                self.pass(Order { dry_run: false, room: true }).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.store.cautious_now()
    }

    /// One client per repository, the newest where one was deleted and registered again.
    async fn clients(&self) -> Result<Vec<Client>, StoreError> {
        let mut clients: Vec<Client> = Vec::new();
        for client in self.store.list_clients_ever().await?.into_iter().rev() {
            let is_new = clients.iter().all(|known| known.repository.key() != client.repository.key());
            if is_new {
                clients.push(client);
            }
        }
        clients.reverse();
        Ok(clients)
    }

    fn repository(&self, client: &Client) -> Result<Repository, GitError> {
        let (org, repo) = client.repository.key();
        let path = self.settings.repos_dir.join(org).join(format!("{repo}.git"));
        Repository::new(self.git.clone(), path, &self.locks)
    }
}
