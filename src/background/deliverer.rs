//! Brings callbacks and notices out of the outbox to their receivers.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::next_change;
use crate::clock::Clock;
use crate::domain::delivery::{Delivery, DeliveryState, TryRecord};
use crate::domain::id::DeliveryId;
use crate::domain::limit::Limit;
use crate::domain::time::Timestamp;
use crate::failpoint::{self, Edge};
use crate::metrics;
use crate::notify::{Targets, Tried};
use crate::store::{Change, Occupied, Store, StoreError};
use crate::webhook::schedule::Schedule;
use crate::webhook::{Carrier, FailureKind, SendRequest, SendResult, Sender, SigningSecrets};

/// Tries under way at once. A try holds a socket, a callback's body and 64 KiB of the answer: some megabytes for all.
const TRIES_MAX: usize = 32;
/// Of them to one receiver: one that hangs takes an eighth, and the others are served meanwhile.
const TRIES_PER_ORIGIN_MAX: usize = 4;

/// What a deliverer signs with and may dial.
pub struct DelivererSettings<C = Sender> {
    pub sender: C,
    /// `None`: callbacks go out unsigned.
    pub secrets: Option<SigningSecrets>,
}

/// Owns the tries under way.
pub struct Deliverer<C = Sender> {
    store: Store,
    clock: Clock,
    settings: std::sync::Arc<DelivererSettings<C>>,
    targets: Targets,
    schedule: Schedule,
    tries: JoinSet<SendOutcome>,
    under_way: HashMap<Id, Delivery>,
    /// Tries that were made but could not be stored. They stay under way, so that nothing is sent again and again to the
    /// receiver while the disk is full.
    unstored: Vec<(DeliveryId, TryRecord)>,
    shutdown: CancellationToken,
}

impl<C: Carrier> Deliverer<C> {
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        settings: DelivererSettings<C>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            store,
            clock,
            settings: settings.into(),
            targets: Targets::default(),
            schedule: Schedule::default(),
            tries: JoinSet::new(),
            under_way: HashMap::new(),
            unstored: Vec::new(),
            shutdown,
        }
    }

    /// Tries by another schedule than the usual one.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Brings notices to these targets.
    #[must_use]
    pub fn with_targets(mut self, targets: Targets) -> Self {
        self.targets = targets;
        self
    }

    /// Runs until told to shut down. A try that is cut off then has no record and is made again: receivers drop repeats
    /// by the event's id.
    pub async fn run(mut self) {
        let mut changes = self.store.watch();
        while !self.shutdown.is_cancelled() {
            self.store_again().await;
            let due = match self.tick().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "callbacks could not be read");
                    None
                }
            };
            let matters = |change| change == Change::Deliveries;
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => {}
                Some(tried) = self.tries.join_next_with_id() => self.tried(tried).await,
                _ = next_change(&mut changes, due, matters) => {}
            }
        }
        self.tries.shutdown().await;
    }

    /// Starts the tries that are due, as many as may be under way; says when the next one comes due.
    async fn tick(&mut self) -> Result<Option<Duration>, StoreError> {
        loop {
            let free = TRIES_MAX.saturating_sub(self.tries.len() + self.unstored.len());
            let limit = u32::try_from(free).unwrap_or(u32::MAX);
            let (due, next) = self.store.due_deliveries(limit, self.occupied()).await?;
            if due.is_empty() {
                return Ok(next);
            }
            // the first of them always has room, so that this comes to an end
            for delivery in due {
                if self.tries_to(delivery.origin()) < TRIES_PER_ORIGIN_MAX {
                    self.start(delivery);
                } else {
                    metrics::LIMITS.increment([Limit::DeliveryTries.as_str()]);
                }
            }
        }
    }

    fn occupied(&self) -> Occupied {
        let under_way = self.under_way.values().map(|delivery| &delivery.id);
        let unstored = self.unstored.iter().map(|(id, _)| id);
        let origins: BTreeSet<_> = self.under_way.values().map(Delivery::origin).collect();
        let is_full = |origin: &&str| self.tries_to(origin) >= TRIES_PER_ORIGIN_MAX;
        Occupied {
            deliveries: under_way.chain(unstored).cloned().collect(),
            origins: origins.into_iter().filter(is_full).map(str::to_owned).collect(),
        }
    }

    fn tries_to(&self, origin: &str) -> usize {
        self.under_way.values().filter(|delivery| delivery.origin() == origin).count()
    }

    fn start(&mut self, delivery: Delivery) {
        let (settings, clock, sent) = (self.settings.clone(), self.clock.clone(), delivery.clone());
        let secrets = settings.secrets.as_ref().map(|secrets| secrets.at(self.store.steady_ms()));
        let targets = self.targets.clone();
        let handle = self.tries.spawn(async move {
            let began_at = tokio::time::Instant::now();
            let _under_way = metrics::DELIVERIES_UNDER_WAY.hold();
            let sending = async {
                match sent.target() {
                    Some(name) => targets.tell(name, &sent.body, clock.now_ms() / 1_000).await,
                    None => Tried::Answered(send(&settings.sender, secrets.as_ref(), &clock, &sent).await),
                }
            };
            let tried = failpoint::around(Edge::SendCallback, sending).await;
            SendOutcome::counted(tried, began_at)
        });
        self.under_way.insert(handle.id(), delivery);
    }

    async fn tried(&mut self, tried: Result<(Id, SendOutcome), JoinError>) {
        let (id, outcome) = match tried {
            Ok(tried) => tried,
            Err(error) => {
                tracing::error!(%error, "a callback's try panicked");
                let text = "the try failed by a fault of the server".to_owned();
                (error.id(), SendOutcome { tried: Tried::Failed(text), duration_ms: 0 })
            }
        };
        let Some(delivery) = self.under_way.remove(&id) else { return };
        let now = Timestamp::from_ms(self.clock.now_ms());
        let record = judge(&self.schedule, &delivery, &outcome, now, jitter(&self.clock));
        tracing::info!(delivery.id = %delivery.id, state = %record.state, status = record.status, "callback tried");
        self.record(delivery.id, record).await;
    }

    async fn record(&mut self, id: DeliveryId, record: TryRecord) {
        match self.store.record_try(&id, record.clone()).await {
            Ok(()) | Err(StoreError::NotFound(_)) => {}
            Err(error) => {
                tracing::error!(%error, delivery.id = %id, "a callback's try could not be stored yet");
                self.unstored.push((id, record));
            }
        }
    }

    async fn store_again(&mut self) {
        for (id, record) in std::mem::take(&mut self.unstored) {
            self.record(id, record).await;
        }
    }
}

/// What a try came to and how long it took.
struct SendOutcome {
    tried: Tried,
    duration_ms: u64,
}

impl SendOutcome {
    fn counted(tried: Tried, began_at: tokio::time::Instant) -> Self {
        metrics::DELIVERY_TRIES.increment([counted_as(&tried)]);
        metrics::DELIVERY_SECONDS.observe(began_at.elapsed(), []);
        let duration_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self { tried, duration_ms }
    }
}

async fn send<C: Carrier>(
    sender: &C,
    secrets: Option<&SigningSecrets>,
    clock: &Clock,
    delivery: &Delivery,
) -> SendResult {
    let request = SendRequest {
        url: &delivery.url,
        event_id: delivery.event_id.as_str(),
        body: &delivery.body,
        secrets,
        timestamp_s: clock.now_ms() / 1_000,
    };
    sender.send(&request).await
}

fn counted_as(tried: &Tried) -> &'static str {
    let result = match tried {
        Tried::Ran => return "accepted",
        Tried::Failed(_) => return "refused",
        Tried::Answered(result) => result,
    };
    match result {
        SendResult::Accepted { .. } => "accepted",
        SendResult::Refused { .. } => "refused",
        SendResult::Gone => "gone",
        SendResult::Failed { kind, .. } => match kind {
            FailureKind::Address => "address",
            FailureKind::Resolve => "resolve",
            FailureKind::Connect => "connect",
            FailureKind::Timeout => "timeout",
            FailureKind::Transport => "transport",
        },
    }
}

/// A number from 0 to 1.
fn jitter(clock: &Clock) -> f64 {
    let mut bytes = [0_u8; 2];
    clock.fill_random(&mut bytes);
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

/// What becomes of the delivery after this try.
fn judge(
    schedule: &Schedule,
    delivery: &Delivery,
    outcome: &SendOutcome,
    now: Timestamp,
    jitter: f64,
) -> TryRecord {
    let SendOutcome { tried, duration_ms } = outcome;
    let retry_after = match tried {
        Tried::Answered(SendResult::Refused { retry_after, .. }) => *retry_after,
        _ => None,
    };
    let next = schedule.next_delay(delivery.tries + 1, retry_after, jitter);
    let (state, next_try_at) = match (tried, next) {
        (Tried::Answered(SendResult::Accepted { .. }) | Tried::Ran, _) => (DeliveryState::Delivered, None),
        (Tried::Answered(SendResult::Gone), _) => (DeliveryState::Suspended, None),
        (_, Some(delay)) => (DeliveryState::Pending, Some(now + delay)),
        (_, None) => (DeliveryState::Dead, None),
    };
    let (status, error) = tried.told();
    TryRecord { order: delivery.order, at: now, status, error, duration_ms: *duration_ms, state, next_try_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{EventId, JobNumber};

    fn delivery(tries: u32) -> Delivery {
        Delivery {
            id: DeliveryId::from_random("aaaa2222"),
            job: JobNumber(1),
            event_id: EventId::from_random("bbbb3333"),
            kind: "job.completed".to_owned(),
            url: "https://example.org/".to_owned(),
            body: Vec::new(),
            state: DeliveryState::Pending,
            tries,
            next_try_at: None,
            order: 0,
            last_status: None,
            last_error: None,
            created_at: Timestamp::from_ms(0),
            delivered_at: None,
        }
    }

    #[test]
    fn what_becomes_of_a_delivery() {
        let refused = |status| SendResult::Refused { status, retry_after: None };
        let asks =
            |seconds| SendResult::Refused { status: 429, retry_after: Some(Duration::from_secs(seconds)) };
        let table = [
            (0, SendResult::Accepted { status: 204 }, DeliveryState::Delivered, None),
            (0, SendResult::Gone, DeliveryState::Suspended, None),
            (0, refused(500), DeliveryState::Pending, Some(5_000)),
            (0, asks(0), DeliveryState::Pending, Some(5_000)),
            (0, asks(7), DeliveryState::Pending, Some(7_000)),
            (0, asks(u64::MAX), DeliveryState::Pending, Some(10_000)),
            (1, refused(500), DeliveryState::Pending, Some(300_000)),
            (8, refused(500), DeliveryState::Pending, Some(86_400_000)),
            (9, refused(500), DeliveryState::Dead, None),
            (9, asks(7), DeliveryState::Dead, None),
        ];
        let programs = [
            (0, Tried::Ran, DeliveryState::Delivered, None),
            (0, Tried::Failed("it ended with 1".to_owned()), DeliveryState::Pending, Some(5_000)),
            (9, Tried::Failed("it ended with 1".to_owned()), DeliveryState::Dead, None),
        ];
        let table = table.map(|(tries, result, state, wait)| (tries, Tried::Answered(result), state, wait));
        for (tries, tried, state, wait) in table.into_iter().chain(programs) {
            let outcome = SendOutcome { tried, duration_ms: 1 };
            let record = judge(&Schedule::default(), &delivery(tries), &outcome, Timestamp::from_ms(0), 0.5);
            assert_eq!((record.state, record.next_try_at.map(Timestamp::as_ms)), (state, wait), "{tries}");
        }
    }
}
