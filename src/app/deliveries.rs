//! Webhook deliveries of a job: their history, and sending one again.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::id::{DeliveryId, JobNumber};
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
    /// [`AppError::NotFound`] for the job or the delivery; [`AppError::Forbidden`] for a token that is limited to some clients
    /// while the URL is suspended: it may be of others too.
    pub async fn redeliver(&self, caller: &Caller, job: &str, delivery: &str) -> Result<Delivery, AppError> {
        caller.needs(Scope::Operate)?;
        let number = self.view(caller, job).await?.job.number;
        self.send_again(caller, number, &delivery_id(delivery)?).await
    }

    /// Of a job that the caller sees.
    pub(super) async fn send_again(
        &self,
        caller: &Caller,
        number: JobNumber,
        delivery: &DeliveryId,
    ) -> Result<Delivery, AppError> {
        let detail = self.0.store.redeliver(number, delivery, &caller.reach).await?;
        tracing::info!(job.number = number.0, delivery.id = %delivery, by = caller.name, "delivery made due again");
        Ok(Delivery::of(detail.delivery, detail.tries))
    }
}

pub(super) fn delivery_id(text: &str) -> Result<DeliveryId, AppError> {
    DeliveryId::parse(text).map_err(|_| AppError::NotFound("delivery"))
}
