//! Webhook deliveries of a job: their history, and sending one again.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::id::DeliveryId;
use crate::domain::token::Scope;
use crate::wire::delivery::{Delivery, DeliveryList};

impl App {
    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn list_deliveries(&self, caller: &Caller, job: &str) -> Result<DeliveryList, AppError> {
        let number = self.view(caller, job).await?.job.number;
        let deliveries = self.0.store.list_deliveries(number).await?;
        Ok(DeliveryList {
            deliveries: deliveries.into_iter().map(|one| Delivery::of(one.delivery, one.tries)).collect(),
        })
    }

    /// Makes a delivery due again, whatever became of it, and lifts the suspension of its URL.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job or the delivery.
    pub async fn redeliver(&self, caller: &Caller, job: &str, delivery: &str) -> Result<Delivery, AppError> {
        caller.needs(Scope::Operate)?;
        let number = self.view(caller, job).await?.job.number;
        let delivery = delivery_id(delivery)?;
        let detail = self.0.store.redeliver(number, &delivery).await?;
        tracing::info!(job.number = number.0, delivery.id = %delivery, by = caller.name, "delivery made due again");
        Ok(Delivery::of(detail.delivery, detail.tries))
    }
}

pub(super) fn delivery_id(text: &str) -> Result<DeliveryId, AppError> {
    DeliveryId::parse(text).map_err(|_| AppError::NotFound("delivery"))
}
