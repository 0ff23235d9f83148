//! The calls about clients, the registered repositories.

use std::time::Duration;

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::client::{Client, ClientChanged, ClientCreated, ClientDeleted, ClientDetail, ClientList};
use crate::wire::request::{ClientPatchRequest, ClientRequest};
use crate::wire::sync::Sync;

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

    /// Changes what is named of a registered repository.
    ///
    /// # Errors
    /// When there is none of that id, or a value is refused.
    pub async fn update_client(
        &self,
        id: &str,
        change: &ClientPatchRequest,
    ) -> Result<ClientChanged, ApiError> {
        self.call(Method::PATCH, &["clients", id], &[]).json(change).answer().await
    }

    /// Takes a repository out of the list, its clone from the disk when that is asked for.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] while jobs of it are live and `force` is not given.
    pub async fn delete_client(
        &self,
        id: &str,
        remove_repo: bool,
        force: bool,
    ) -> Result<ClientDeleted, ApiError> {
        let query = [("removeRepo", remove_repo.to_string()), ("force", force.to_string())];
        self.call(Method::DELETE, &["clients", id], &query).patience(CLONE_LIMIT).answer().await
    }

    /// Fetches what is new, of this client or of all.
    ///
    /// # Errors
    /// When the token may not, or there is no such client; what one remote refuses stands in the answer.
    pub async fn sync(&self, client_id: Option<String>) -> Result<Sync, ApiError> {
        let query: Vec<_> = client_id.into_iter().map(|id| ("clientId", id)).collect();
        self.call(Method::POST, &["sync"], &query).patience(CLONE_LIMIT).answer().await
    }
}
