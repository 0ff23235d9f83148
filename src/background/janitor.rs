//! Forgets what is past its time, and takes away what jobs without a worker have left.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Woken, next_change};
use crate::store::{Change, Store, StoreError};
use crate::upkeep::{Order, Upkeep};
use crate::worker::{Runner, Worker};

/// Answers to repeated requests are kept for a day; an hour more or less is nothing to them.
const PERIOD: Duration = Duration::from_secs(3_600);

/// Where clearing up did not help, it does not help half a minute later.
const ROOM_PERIOD: Duration = Duration::from_secs(5 * 60);

/// Tidies up once an hour, and when it hears that a job was abandoned.
pub struct Janitor<R = Worker> {
    store: Store,
    runner: R,
    upkeep: Option<Upkeep>,
    /// When room was made last.
    room_at: Option<Instant>,
    shutdown: CancellationToken,
}

impl<R: Runner> Janitor<R> {
    #[must_use]
    pub fn new(store: Store, runner: R, shutdown: CancellationToken) -> Self {
        Self { store, runner, upkeep: None, room_at: None, shutdown }
    }

    /// Has it clear up what is past its time, too.
    #[must_use]
    pub fn with_upkeep(self, upkeep: Upkeep) -> Self {
        Self { upkeep: Some(upkeep), ..self }
    }

    /// Runs until told to shut down.
    pub async fn run(mut self) {
        let mut changes = self.store.watch();
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                next = Instant::now() + PERIOD;
                let ticked = self.tick();
                tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    done = ticked => report(done),
                }
            }
            let abandoned = |change| matches!(change, Change::Abandoned(_) | Change::Unpaused);
            let woken = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                woken = next_change(&mut changes, None, abandoned) => woken,
            };
            match woken {
                Woken::By(Change::Abandoned(job)) => report(self.runner.sweep_of(job).await),
                Woken::By(Change::Unpaused) | Woken::HintsLost => report(self.runner.sweep().await),
                Woken::ByTime => report(self.look_for_room().await),
                Woken::By(_) => {}
            }
        }
    }

    async fn tick(&self) -> Result<(), StoreError> {
        let forgotten = self.store.forget_old_answers().await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "old answers forgotten");
        }
        if let Some(upkeep) = &self.upkeep {
            upkeep.pass(Order::default()).await?;
        }
        Ok(())
    }

    /// A disk that fills up is cleared before it holds jobs, not an hour later.
    async fn look_for_room(&mut self) -> Result<(), StoreError> {
        let is_early = self.room_at.is_some_and(|at| at.elapsed() < ROOM_PERIOD);
        if let (Some(upkeep), false) = (&self.upkeep, is_early)
            && upkeep.make_room().await?.is_some()
        {
            self.room_at = Some(Instant::now());
        }
        Ok(())
    }
}

fn report(done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(%error, "tidying up failed");
    }
}
