//! What the users of one clone share: a lock for changes of its administration, the memory of its last fetch, and who
//! uses it at all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{MutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The locks of all clones of this server, kept for its life: one entry per registered repository.
#[derive(Clone, Debug, Default)]
pub struct RepositoryLocks(Arc<Mutex<HashMap<PathBuf, Arc<RepositoryLock>>>>);

/// What one clone's users share.
#[derive(Debug, Default)]
pub(super) struct RepositoryLock {
    /// Held while refs of ours, worktree registrations or the clone itself are made or removed; never while files
    /// are written or the network is waited for, except by the first clone.
    administration: tokio::sync::Mutex<()>,
    /// When the last successful fetch began. Held while one runs, so that those who wait share it.
    pub(super) fetch: tokio::sync::Mutex<Option<Instant>>,
    /// Shared by whoever uses the clone. Maintenance has it alone, and never waits for it.
    users: Arc<RwLock<()>>,
    /// Of whoever has the clone alone, or had it last.
    give_way: Mutex<CancellationToken>,
    /// After maintenance that did not end well, or that was asked for where it gains little.
    rests_until: Mutex<Option<Instant>>,
}

/// Somebody uses the clone; maintenance waits.
#[derive(Debug)]
pub struct InUse(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>);

/// Nobody else uses the clone.
#[derive(Debug)]
pub(super) struct Alone {
    _held: OwnedRwLockWriteGuard<()>,
    give_way: CancellationToken,
}

impl Alone {
    /// Waits until somebody wants to use the clone.
    pub(super) async fn is_wanted(&self) {
        self.give_way.cancelled().await;
    }

    /// `None` if somebody wants the clone before `work` is done. For work that may be left alone at any point.
    pub(super) async fn unless_wanted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.is_wanted() => None,
        }
    }
}

impl RepositoryLocks {
    pub(super) fn of(&self, clone: &Path) -> Arc<RepositoryLock> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(clone.to_owned()).or_default())
    }
}

impl RepositoryLock {
    /// Has maintenance give way, and waits the moment that it takes. May be held by one user several times.
    pub(super) async fn enter(&self) -> InUse {
        if let Ok(held) = Arc::clone(&self.users).try_read_owned() {
            return InUse(held);
        }
        self.give_way.lock().unwrap_or_else(PoisonError::into_inner).cancel();
        InUse(Arc::clone(&self.users).read_owned().await)
    }

    /// The administration lock, taken by a user.
    pub(super) async fn administer(&self) -> (InUse, MutexGuard<'_, ()>) {
        let used = self.enter().await;
        (used, self.administration.lock().await)
    }

    /// `None` while anybody uses the clone. Whoever holds the administration lock does.
    pub(super) fn alone(&self) -> Option<Alone> {
        let mut slot = self.give_way.lock().unwrap_or_else(PoisonError::into_inner);
        let held = Arc::clone(&self.users).try_write_owned().ok()?;
        let give_way = CancellationToken::new();
        *slot = give_way.clone();
        Some(Alone { _held: held, give_way })
    }

    pub(super) fn rests(&self) -> bool {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn rest_until(&self, until: Instant) {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_a_clone_alone_is_told_when_somebody_wants_it() {
        let lock = RepositoryLock::default();
        let used = (lock.enter().await, lock.administer().await);
        assert!(lock.alone().is_none());
        drop(used);
        let alone = lock.alone().unwrap();
        assert!(lock.alone().is_none());
        let mut wanted = Box::pin(alone.is_wanted());
        assert!(futures_util::poll!(&mut wanted).is_pending());
        let mut enters = Box::pin(lock.enter());
        assert!(futures_util::poll!(&mut enters).is_pending());
        assert!(futures_util::poll!(&mut wanted).is_ready());
        drop(wanted);
        drop(alone);
        let used = enters.await;
        assert!(lock.alone().is_none());
        drop(used);
        let next = lock.alone().unwrap();
        assert!(
            futures_util::poll!(Box::pin(next.is_wanted())).is_pending(),
            "what was wanted before is over"
        );
    }
}
