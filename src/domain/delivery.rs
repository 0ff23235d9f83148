//! One webhook event on its way to one callback URL, or one notice on its way to one target.

use super::id::{DeliveryId, EventId, JobNumber};
use super::named::named_enum;
use super::notice::target_name;
use super::time::Timestamp;

named_enum! {
    /// How far a delivery is.
    DeliveryState {
        Pending = "pending",
        Delivered = "delivered",
        /// The receiver answered 410: its URL is left alone until somebody lifts that.
        Suspended = "suspended",
        /// Every try was used up; it can be redelivered by hand.
        Dead = "dead",
    }
}

/// A rendered webhook, waiting or done. Its bytes never change.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub id: DeliveryId,
    pub job: JobNumber,
    /// The same in every try; also the `webhook-id`.
    pub event_id: EventId,
    /// `job.completed`, `job.failed` or `job.cancelled`; of a notice that of [`super::notice::NoticeKind`].
    pub kind: String,
    /// The callback URL, or `notify.` and the name of a target.
    pub url: String,
    pub body: Vec<u8>,
    pub state: DeliveryState,
    /// Tries made so far.
    pub tries: u32,
    pub next_try_at: Option<Timestamp>,
    /// Tells one time at which it was made due from every other: a try answers the one that it began with.
    pub order: i64,
    pub last_status: Option<u16>,
    pub last_error: Option<String>,
    pub created_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
}

impl Delivery {
    /// The target that a notice is for; `None`: it is a callback.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        target_name(&self.url)
    }

    /// Scheme, host and port as they stand in the URL: the receiver that tries are counted for.
    #[must_use]
    pub fn origin(&self) -> &str {
        let begin = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[begin..].find(['/', '?', '#']).map_or(self.url.len(), |at| begin + at);
        &self.url[..end]
    }
}

/// One try, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryTry {
    pub number: u32,
    pub at: Timestamp,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub duration_ms: u64,
}

/// What a try came to, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TryRecord {
    /// [`Delivery::order`] when the try began.
    pub order: i64,
    pub at: Timestamp,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub duration_ms: u64,
    /// The state after it.
    pub state: DeliveryState,
    pub next_try_at: Option<Timestamp>,
}

/// Webhook bytes made inside the transaction that ends a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedCallback {
    pub event_id: EventId,
    pub delivery_id: DeliveryId,
    pub kind: String,
    pub url: String,
    pub body: Vec<u8>,
}

/// The callback of a job in one glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackSummary {
    /// `None`: the job has no callback URL, or has not ended.
    pub state: Option<DeliveryState>,
    pub tries: u32,
    pub last_status: Option<u16>,
}

/// A callback URL that answered 410.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspendedUrl {
    pub url: String,
    pub since: Timestamp,
    /// Callbacks that wait for it.
    pub waiting: u64,
}
