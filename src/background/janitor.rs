//! Forgets what is past its time, and takes away what jobs without a worker have left.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Woken, next_change};
use crate::store::{Change, Store, StoreError};
use crate::worker::{Runner, Worker};

/// Answers to repeated requests are kept for a day; an hour more or less is nothing to them.
const PERIOD: Duration = Duration::from_secs(3_600);

/// Tidies up once an hour, and when it hears that a job was abandoned.
pub struct Janitor<R = Worker> {
    store: Store,
    runner: R,
    shutdown: CancellationToken,
}

impl<R: Runner> Janitor<R> {
    #[must_use]
    pub fn new(store: Store, runner: R, shutdown: CancellationToken) -> Self {
        Self { store, runner, shutdown }
    }

    /// Runs until told to shut down.
    pub async fn run(self) {
        let mut changes = self.store.watch();
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                next = Instant::now() + PERIOD;
                report(self.tick().await);
            }
            let abandoned = |change| matches!(change, Change::Abandoned(_));
            let woken = tokio::select! {
                () = self.shutdown.cancelled() => return,
                woken = next_change(&mut changes, None, abandoned) => woken,
            };
            match woken {
                Woken::By(Change::Abandoned(job)) => report(self.runner.sweep_of(job).await),
                Woken::HintsLost => report(self.runner.sweep().await),
                Woken::By(_) | Woken::ByTime => {}
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

fn report(done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(%error, "tidying up failed");
    }
}
