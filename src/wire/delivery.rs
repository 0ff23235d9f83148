//! Webhook deliveries as callers see them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::time::UtcTime;
use super::words::DeliveryState;
use crate::domain::delivery;
use crate::domain::id::JobId;
use crate::domain::time::Timestamp;

/// One webhook event on its way to one URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub id: String,
    /// Also the `webhook-id` of every try.
    pub event_id: String,
    #[serde(rename = "type")]
    pub type_: String,
    /// The callback URL; of a notice `notify.` and the name of its target.
    pub url: String,
    pub state: DeliveryState,
    /// Tries made so far.
    pub tries: u32,
    pub next_try_at: Option<UtcTime>,
    pub last_status: Option<u16>,
    pub last_error: Option<String>,
    pub created_at: UtcTime,
    pub delivered_at: Option<UtcTime>,
    /// Every try, oldest first.
    pub history: Vec<Try>,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Try {
    pub number: u32,
    pub at: UtcTime,
    /// `null` when there was no answer.
    pub status: Option<u16>,
    pub error: Option<String>,
    pub duration_ms: u64,
}

impl From<delivery::DeliveryTry> for Try {
    fn from(one: delivery::DeliveryTry) -> Self {
        Self {
            number: one.number,
            at: one.at.into(),
            status: one.status,
            error: one.error,
            duration_ms: one.duration_ms,
        }
    }
}

impl Delivery {
    #[must_use]
    pub fn of(delivery: delivery::Delivery, tries: Vec<delivery::DeliveryTry>) -> Self {
        Self {
            id: delivery.id.to_string(),
            event_id: delivery.event_id.to_string(),
            type_: delivery.kind,
            url: delivery.url,
            state: delivery.state.into(),
            tries: delivery.tries,
            next_try_at: delivery.next_try_at.map(UtcTime),
            last_status: delivery.last_status,
            last_error: delivery.last_error,
            created_at: delivery.created_at.into(),
            delivered_at: delivery.delivered_at.map(UtcTime),
            history: tries.into_iter().map(Try::from).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryList {
    pub deliveries: Vec<Delivery>,
}

/// A delivery in a list over all jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedDelivery {
    pub id: String,
    pub job_id: String,
    pub job_number: i64,
    pub event_id: String,
    #[serde(rename = "type")]
    pub type_: String,
    /// The callback URL; of a notice `notify.` and the name of its target.
    pub url: String,
    pub state: DeliveryState,
    pub tries: u32,
    pub next_try_at: Option<UtcTime>,
    pub last_status: Option<u16>,
    pub last_error: Option<String>,
    pub created_at: UtcTime,
    pub delivered_at: Option<UtcTime>,
}

impl ListedDelivery {
    #[must_use]
    pub fn of(job: &JobId, delivery: delivery::Delivery) -> Self {
        Self {
            job_id: job.to_string(),
            job_number: delivery.job.0,
            id: delivery.id.to_string(),
            event_id: delivery.event_id.to_string(),
            type_: delivery.kind,
            url: delivery.url,
            state: delivery.state.into(),
            tries: delivery.tries,
            next_try_at: delivery.next_try_at.map(UtcTime),
            last_status: delivery.last_status,
            last_error: delivery.last_error,
            created_at: delivery.created_at.into(),
            delivered_at: delivery.delivered_at.map(UtcTime),
        }
    }
}

/// Newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryPage {
    pub deliveries: Vec<ListedDelivery>,
    /// What to send as `after` for the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// A delivery with all there is to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryView {
    pub job_id: String,
    pub job_number: i64,
    #[serde(flatten)]
    pub delivery: Delivery,
    /// What is sent.
    pub body: Value,
}

/// A callback URL that answered 410.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuspendedUrl {
    pub url: String,
    pub since: UtcTime,
    /// Callbacks that wait for it.
    pub waiting: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuspendedUrls {
    pub urls: Vec<SuspendedUrl>,
}

/// `POST /webhooks/resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"url": "https://hooks.example.com/offshoot"}))]
pub struct ResumeRequest {
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resumed {
    pub url: String,
    /// Callbacks that became due.
    pub resumed: u64,
    pub warnings: Vec<String>,
}

/// `POST /webhooks/test`: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"url": "https://hooks.example.com/offshoot"}))]
pub struct TestRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The job whose `osCallbackUrl` is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
}

/// The body of a call that tries a receiver out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestEvent {
    /// `webhook.test`, which no event of a job has.
    #[serde(rename = "type")]
    pub type_: String,
    pub event_id: String,
    pub timestamp: UtcTime,
}

impl TestEvent {
    #[must_use]
    pub fn new(event_id: String, now: Timestamp) -> Self {
        Self { type_: "webhook.test".to_owned(), event_id, timestamp: now.into() }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tested {
    pub url: String,
    pub event_id: String,
    pub accepted: bool,
    /// `null` when there was no answer.
    pub status: Option<u16>,
    pub error: Option<String>,
    pub duration_ms: u64,
    /// Whether there is a secret to sign with.
    pub signed: bool,
    pub warnings: Vec<String>,
}

impl From<delivery::SuspendedUrl> for SuspendedUrl {
    fn from(one: delivery::SuspendedUrl) -> Self {
        Self { url: one.url, since: one.since.into(), waiting: one.waiting }
    }
}
