//! Fetching every client's repository.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::client::Client;
use crate::domain::token::Scope;
use crate::wire::sync::{Sync, Synced};

/// Fetches side by side: more only make each slower on one line.
const PARALLEL: usize = 4;

impl App {
    /// Clones what is missing and fetches the rest, of one client or of all.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for an unknown client; a repository that fails is part of the answer.
    pub async fn sync_clients(&self, caller: &Caller, client: Option<&str>) -> Result<Sync, AppError> {
        caller.needs(Scope::Operate)?;
        let clients = match client {
            Some(id) => vec![self.client(id).await?],
            None => {
                let clients = self.0.store.list_clients().await?.into_iter();
                clients.filter(|client| caller.reach.has(&client.id)).collect()
            }
        };
        for client in &clients {
            caller.sees(&client.id, "client")?;
        }
        if clients.iter().any(|client| client.deleted_at.is_some()) {
            return Err(AppError::NotFound("client"));
        }
        let synced = futures_util::stream::iter(clients)
            .map(|client| async move {
                let result = self.sync_client(&client).await;
                Synced {
                    repo: client.repository.to_string(),
                    success: result.is_ok(),
                    error: result.err().map(|error| match error {
                        AppError::Internal(_) => "an internal error; the server's log has it".to_owned(),
                        other => other.to_string(),
                    }),
                }
            })
            .buffered(PARALLEL)
            .collect()
            .await;
        Ok(Sync { synced })
    }

    async fn sync_client(&self, client: &Client) -> Result<(), AppError> {
        let repository = self.repository(&client.repository)?;
        let remote = self.0.remotes.of_client(client).await.map_err(AppError::forge)?;
        let made = repository.ensure_clone(&remote).await.map_err(AppError::git)?;
        if made {
            self.give_up_clone_of_deleted(client, &repository).await?;
        } else {
            // asked for by hand: an older answer will not do
            repository.fetch(&remote, Duration::ZERO).await.map_err(AppError::git)?;
        }
        let default_branch = match client.default_branch {
            Some(_) => None,
            None => self.0.git.default_branch(&remote).await.map_err(AppError::git)?,
        };
        self.0.store.record_fetch(&client.id, default_branch.as_deref(), None).await?;
        Ok(())
    }
}
