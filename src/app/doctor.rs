//! A look at the machine as the running server sees it. What looks is handed in: this folder lies below it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::token::Scope;
use crate::wire::client::Client;
use crate::wire::doctor::Report;
use crate::wire::health::Health;

/// Looks, in bounded time, given what the server says of itself.
pub type Examine = dyn Fn(Health, Vec<Client>) -> BoxFuture<'static, Report> + Send + Sync;

impl App {
    /// Has it looked at on demand; the first one counts.
    #[must_use]
    pub fn with_doctor(self, examine: Arc<Examine>) -> Self {
        // as of the upkeep
        let _ = self.0.doctor.set(examine);
        self
    }

    /// Starts programs and may take as long as what looks allows itself. One look at a time.
    ///
    /// # Errors
    /// [`AppError::Forbidden`], [`AppError::Conflict`] while it is being looked at.
    pub async fn examine(&self, caller: &Caller) -> Result<Report, AppError> {
        caller.needs(Scope::Admin)?;
        let examine = self.0.doctor.get().ok_or(AppError::NotFound("doctor"))?;
        let _alone = self.0.examining.try_lock().map_err(|_| {
            AppError::conflict("busy", "somebody has the machine looked at already; it takes some seconds")
        })?;
        let clients = self.list_clients(caller).await?.clients;
        Ok(examine(self.health(caller).await?, clients).await)
    }
}
