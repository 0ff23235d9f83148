//! Brings callbacks out of the outbox to their receivers.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::next_change;
use crate::clock::Clock;
use crate::domain::delivery::{Delivery, DeliveryState, TryRecord};
use crate::domain::id::DeliveryId;
use crate::domain::time::Timestamp;
use crate::failpoint::{self, Edge};
use crate::metrics;
use crate::store::{Change, Store, StoreError};
use crate::webhook::schedule::next_delay;
use crate::webhook::{Carrier, FailureKind, SendRequest, SendResult, Sender, SigningSecrets};

/// Tries under way at once: one slow receiver must not hold up the others, and a try holds a socket and 64 KiB.
const TRIES_MAX: usize = 16;
/// Deliveries read at once; those beyond it come with the next tick.
const BATCH: u32 = 64;

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
    tries: JoinSet<(DeliveryId, TryRecord)>,
    under_way: HashSet<DeliveryId>,
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
            tries: JoinSet::new(),
            under_way: HashSet::new(),
            unstored: Vec::new(),
            shutdown,
        }
    }

    /// Runs until told to shut down. A try that is cut off then has no record and is made again: receivers drop repeats
    /// by the event's id.
    pub async fn run(mut self) {
        let mut changes = self.store.watch();
        while !self.shutdown.is_cancelled() {
            let due = match self.tick().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "callbacks could not be read");
                    None
                }
            };
            let matters = |change| change == Change::Deliveries;
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                Some(tried) = self.tries.join_next() => self.tried(tried).await,
                _ = next_change(&mut changes, due, matters) => self.store_again().await,
            }
        }
        self.tries.shutdown().await;
    }

    /// Starts the tries that are due; says when the next one is.
    async fn tick(&mut self) -> Result<Option<Duration>, StoreError> {
        let (due, next) = self.store.due_deliveries(BATCH).await?;
        for delivery in due {
            if self.tries.len() >= TRIES_MAX {
                break;
            }
            if self.under_way.insert(delivery.id.clone()) {
                let (settings, clock) = (self.settings.clone(), self.clock.clone());
                self.tries.spawn(async move { attempt(&settings, &clock, delivery).await });
            }
        }
        Ok(next)
    }

    async fn tried(&mut self, tried: Result<(DeliveryId, TryRecord), tokio::task::JoinError>) {
        let (id, record) = match tried {
            Ok(tried) => tried,
            Err(error) => {
                tracing::error!(%error, "a callback's try was lost");
                // which one is not known: all that is due is looked at again
                self.under_way = self.unstored.iter().map(|(id, _)| id.clone()).collect();
                return;
            }
        };
        tracing::info!(delivery.id = %id, state = %record.state, status = record.status, "callback tried");
        self.record(id, record).await;
    }

    async fn record(&mut self, id: DeliveryId, record: TryRecord) {
        match self.store.record_try(&id, record.clone()).await {
            Ok(()) | Err(StoreError::NotFound(_)) => {
                self.under_way.remove(&id);
            }
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

async fn attempt<C: Carrier>(
    settings: &DelivererSettings<C>,
    clock: &Clock,
    delivery: Delivery,
) -> (DeliveryId, TryRecord) {
    let started = tokio::time::Instant::now();
    let _under_way = metrics::DELIVERIES_UNDER_WAY.hold();
    let request = SendRequest {
        url: &delivery.url,
        event_id: delivery.event_id.as_str(),
        body: &delivery.body,
        secrets: settings.secrets.as_ref(),
        timestamp_s: clock.now_ms() / 1_000,
    };
    let result = failpoint::around(Edge::SendCallback, settings.sender.send(&request)).await;
    metrics::DELIVERY_TRIES.increment([counted_as(&result)]);
    metrics::DELIVERY_SECONDS.observe(started.elapsed(), []);
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let now = Timestamp::from_ms(clock.now_ms());
    (delivery.id.clone(), judge(&delivery, &result, now, duration_ms, jitter(clock)))
}

fn counted_as(result: &SendResult) -> &'static str {
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
    delivery: &Delivery,
    result: &SendResult,
    now: Timestamp,
    duration_ms: u64,
    jitter: f64,
) -> TryRecord {
    let (status, error, retry_after) = match result {
        SendResult::Accepted { status } => (Some(*status), None, None),
        SendResult::Refused { status, retry_after } => {
            (Some(*status), Some(format!("the receiver answered {status}")), *retry_after)
        }
        SendResult::Gone => (Some(410), Some("the receiver wants no more callbacks (410)".to_owned()), None),
        SendResult::Failed { text, .. } => (None, Some(text.clone()), None),
    };
    let next = next_delay(delivery.tries + 1, retry_after, jitter);
    let (state, next_try_at) = match (result, next) {
        (SendResult::Accepted { .. }, _) => (DeliveryState::Delivered, None),
        (SendResult::Gone, _) => (DeliveryState::Suspended, None),
        (_, Some(delay)) => (DeliveryState::Pending, Some(now + delay)),
        (_, None) => (DeliveryState::Dead, None),
    };
    TryRecord { at: now, status, error, duration_ms, state, next_try_at }
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
            last_status: None,
            last_error: None,
            created_at: Timestamp::from_ms(0),
            delivered_at: None,
        }
    }

    #[test]
    fn what_becomes_of_a_delivery() {
        let refused = |status| SendResult::Refused { status, retry_after: None };
        let table = [
            (0, SendResult::Accepted { status: 204 }, DeliveryState::Delivered, None),
            (0, SendResult::Gone, DeliveryState::Suspended, None),
            (0, refused(500), DeliveryState::Pending, Some(5_000)),
            (1, refused(500), DeliveryState::Pending, Some(300_000)),
            (8, refused(500), DeliveryState::Pending, Some(86_400_000)),
            (9, refused(500), DeliveryState::Dead, None),
        ];
        for (tries, result, state, wait) in table {
            let record = judge(&delivery(tries), &result, Timestamp::from_ms(0), 1, 0.5);
            assert_eq!((record.state, record.next_try_at.map(Timestamp::as_ms)), (state, wait), "{tries}");
        }
    }
}
