//! Forgets what is past its time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};

/// Answers to repeated requests are kept for a day; an hour more or less is nothing to them.
const PERIOD: Duration = Duration::from_secs(3_600);

/// Tidies up once an hour.
pub struct Janitor {
    store: Store,
    shutdown: CancellationToken,
}

impl Janitor {
    #[must_use]
    pub fn new(store: Store, shutdown: CancellationToken) -> Self {
        Self { store, shutdown }
    }

    /// Runs until told to shut down.
    pub async fn run(self) {
        loop {
            if let Err(error) = self.tick().await {
                tracing::warn!(%error, "tidying up failed");
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn tick(&self) -> Result<(), StoreError> {
        let forgotten = self.store.forget_old_answers().await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "old answers forgotten");
        }
        Ok(())
    }
}
