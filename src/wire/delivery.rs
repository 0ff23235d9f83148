//! Webhook deliveries as callers see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::UtcTime;
use super::words::DeliveryState;
use crate::domain::delivery;

/// One webhook event on its way to one URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub id: String,
    /// Also the `webhook-id` of every try.
    pub event_id: String,
    #[serde(rename = "type")]
    pub type_: String,
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
