//! One lock per chain: its worktree is made by one attempt, or swept, never both at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::domain::id::JobId;

/// The locks that somebody holds or waits for. One slow checkout holds up its own chain and nobody else.
#[derive(Debug, Default)]
pub(super) struct Chains(Mutex<HashMap<JobId, Arc<tokio::sync::Mutex<()>>>>);

impl Chains {
    /// Waits until nobody else has the chain's path.
    pub(super) async fn hold(&self, root: &JobId) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // as many stay as are in use: running jobs and one sweep
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(root.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_chain_waits_for_itself_alone_and_is_forgotten() {
        let chains = Chains::default();
        let (one, other) = (JobId::from_random("aaaabbbbccccdddd"), JobId::from_random("bbbbccccddddeeee"));
        let held = chains.hold(&one).await;
        let beside = chains.hold(&other).await;
        let mut again = Box::pin(chains.hold(&one));
        assert!(futures_util::poll!(&mut again).is_pending());
        drop(held);
        drop((again.await, beside));
        drop(chains.hold(&other).await);
        assert_eq!(chains.0.lock().unwrap().len(), 1);
    }
}
