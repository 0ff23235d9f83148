//! The calls about clients, the registered repositories.

use std::time::Duration;

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::client::{Client, ClientCreated, ClientDetail, ClientList};
use crate::wire::request::ClientRequest;

/// The first clone of a large repository over a slow line. It goes on when nobody waits for it any more.
const CLONE_LIMIT: Duration = Duration::from_secs(60 * 60);

impl ApiClient {
    /// All registered repositories.
    ///
    /// # Errors
    /// When they cannot be asked for.
    pub async fn list_clients(&self) -> Result<Vec<Client>, ApiError> {
        let list: ClientList = self.call(Method::GET, &["clients"], &[]).answer().await?;
        Ok(list.clients)
    }

    /// One registered repository, by its id.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn get_client(&self, id: &str) -> Result<ClientDetail, ApiError> {
        self.call(Method::GET, &["clients", id], &[]).answer().await
    }

    /// Registers a repository, and returns when it is cloned.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when it is registered already, [`ApiError::Server`] with git's reason when it cannot be
    /// cloned; then nothing is left of it.
    pub async fn create_client(&self, request: &ClientRequest, key: &str) -> Result<ClientCreated, ApiError> {
        let call = self.call(Method::POST, &["clients"], &[]).patience(CLONE_LIMIT);
        call.json(request).idempotency_key(key).answer().await
    }
}
