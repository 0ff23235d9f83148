//! One lock per repository for changes of its administration, and the memory of its last fetch.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// The locks of all clones of this server, kept for its life: one entry per registered repository.
#[derive(Clone, Debug, Default)]
pub struct RepositoryLocks(Arc<Mutex<HashMap<PathBuf, Arc<RepositoryLock>>>>);

/// What one clone's users share.
#[derive(Debug, Default)]
pub(super) struct RepositoryLock {
    /// Held while refs of ours, worktree registrations or the clone itself are made or removed; never while files
    /// are written or the network is waited for, except by the first clone.
    pub(super) administration: tokio::sync::Mutex<()>,
    /// When the last successful fetch began. Held while one runs, so that those who wait share it.
    pub(super) fetch: tokio::sync::Mutex<Option<Instant>>,
}

impl RepositoryLocks {
    pub(super) fn of(&self, clone: &Path) -> Arc<RepositoryLock> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(clone.to_owned()).or_default())
    }
}
