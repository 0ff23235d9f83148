//! Tells the service manager that the queue moves, and only then.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::background::Pulse;
use crate::metrics;
use crate::store::Store;

/// How often it looks where no service manager asks.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks whether the scheduler moves and the database answers. A ping for less would keep a server alive that does
/// nothing; the manager kills one without pings and starts the next, which adopts what runs.
pub(super) struct Watchdog {
    pub(super) pulse: Pulse,
    pub(super) store: Store,
    /// The manager kills after this time without a ping.
    pub(super) patience: Option<Duration>,
    /// No job is started any more, so the scheduler need not move.
    pub(super) drain: CancellationToken,
    pub(super) stop: CancellationToken,
}

impl Watchdog {
    /// Looks until told to stop, and tells what it found. Sorts the measurements of metrics on the way.
    pub(super) async fn run(self, tell: impl Fn(&[NotifyState<'_>])) {
        // three looks within the manager's patience: one may be late
        let period = self.patience.map_or(PERIOD, |patience| (patience / 3).min(PERIOD));
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            metrics::upkeep();
            if self.drain.is_cancelled() {
                continue;
            }
            match self.look(period).await {
                Ok(status) => tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]),
                Err(_) if self.drain.is_cancelled() => {}
                Err(stuck) => {
                    tracing::error!(seconds = period.as_secs_f32(), "the watchdog is not fed: {stuck}");
                    tell(&[NotifyState::Status(stuck)]);
                }
            }
        }
    }

    /// One line on how the queue is, or what does not move.
    async fn look(&self, limit: Duration) -> Result<String, &'static str> {
        if !self.pulse.is_felt(limit).await {
            return Err("the scheduler does not move, or gets no answer from the database");
        }
        match timeout(limit, self.store.accounts()).await {
            Ok(Ok(accounts)) => {
                let holds = if accounts.holds.is_empty() { "" } else { ", a login is held" };
                Ok(format!("{} running, {} queued{holds}", accounts.running, accounts.queued))
            }
            Ok(Err(_)) | Err(_) => Err("the database does not answer"),
        }
    }
}

/// Pings for a server that only reads: nothing moves in it, and started anew it would find the same.
pub(super) async fn ping_reading(
    patience: Option<Duration>,
    stop: CancellationToken,
    tell: impl Fn(&[NotifyState<'_>]),
) {
    let period = patience.map_or(PERIOD, |patience| (patience / 3).min(PERIOD));
    let mut ticks = interval(period);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        metrics::upkeep();
        let status = NotifyState::Status("read-only: the database is damaged, see the log or /health");
        tell(&[NotifyState::Watchdog, status]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::Clock;
    use crate::store::Limits;

    const LIMITS: Limits =
        Limits { running_max: 1, running_per_client_max: None, queued_max: 1, disk_free_bytes_min: 0 };

    /// What the manager is told in a while in which a scheduler beats, or none does.
    async fn told(beats: bool) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let pulse = Pulse::default();
        let stop = CancellationToken::new();
        let watchdog = Watchdog {
            pulse: pulse.clone(),
            store: Store::open(dir.path(), Clock::system(), LIMITS).unwrap(),
            // the real disk answers in between, also on a busy machine
            patience: Some(Duration::from_secs(1)),
            drain: CancellationToken::new(),
            stop: stop.clone(),
        };
        let said = Mutex::new(Vec::new());
        let tell = |states: &[NotifyState<'_>]| {
            let mut said = said.lock().unwrap();
            said.extend(states.iter().map(ToString::to_string));
            if said.len() >= 6 {
                stop.cancel();
            }
        };
        let scheduler = async {
            loop {
                pulse.asked().await;
                if beats {
                    pulse.beat();
                }
            }
        };
        tokio::select! {
            () = watchdog.run(tell) => {}
            () = scheduler => {}
        }
        said.into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_scheduler_that_moves_is_told_of() {
        let told = told(true).await;
        assert_eq!(told.iter().filter(|line| *line == "WATCHDOG=1").count(), 3, "{told:?}");
        assert!(told.contains(&"STATUS=0 running, 0 queued".to_owned()), "{told:?}");
    }

    #[tokio::test]
    async fn a_scheduler_that_hangs_gets_no_ping_though_the_database_answers() {
        let told = told(false).await;
        assert!(told.iter().all(|line| line.starts_with("STATUS=the scheduler")), "{told:?}");
    }
}
