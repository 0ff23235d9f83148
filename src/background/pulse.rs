//! Whether a loop still moves, as seen from outside of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Shared by a loop and whoever wants to know. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asked: Notify,
    rounds: watch::Sender<u64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new(Inner { asked: Notify::new(), rounds: watch::Sender::new(0) }))
    }
}

impl Pulse {
    /// Asks the loop for a round; whether one ended well within `limit`. An idle loop would not move by itself.
    pub async fn is_felt(&self, limit: Duration) -> bool {
        let mut rounds = self.0.rounds.subscribe();
        self.0.asked.notify_one();
        timeout(limit, rounds.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// For the loop: resolves when somebody wants a round.
    pub async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// For the loop: a round ended well.
    pub fn beat(&self) {
        self.0.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
    }
}
