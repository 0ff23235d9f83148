//! Deleting a client, and remembering that its clone goes too until it is gone.

use rusqlite::{Connection, params};

use super::super::Store;
use super::super::error::StoreError;
use super::{clients, rows};
use crate::domain::client::Client;
use crate::domain::id::ClientId;
use crate::failpoint::Edge;

impl Store {
    /// Marks a client deleted; its history stays. With `clone_goes` it is among [`Self::clones_to_remove`] from then on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] (also for one that is deleted already), [`StoreError::ClientBusy`] with live jobs.
    pub async fn delete_client(&self, id: &ClientId, clone_goes: bool) -> Result<Client, StoreError> {
        let (id, now) = (id.clone(), self.now());
        self.database
            .write(Edge::DeleteClient, move |connection| {
                let client = clients::get(connection, &id)?;
                if client.deleted_at.is_some() {
                    return Err(StoreError::NotFound("client"));
                }
                let jobs = clients::live_jobs(connection, &id)?;
                if !jobs.is_empty() {
                    return Err(StoreError::ClientBusy { jobs });
                }
                connection
                    .prepare_cached(
                        "UPDATE clients SET deleted_at = ?2, updated_at = ?2, clone_goes = ?3 WHERE id = ?1",
                    )?
                    .execute(params![id.as_str(), now.as_ms(), clone_goes])?;
                clients::get(connection, &id)
            })
            .await
    }

    /// Deleted clients whose clone was to go and may still be there. Not those whose repository was registered again since:
    /// the clone is the new one's from then on, also when that is deleted without it.
    ///
    /// # Errors
    /// What the database said.
    pub async fn clones_to_remove(&self) -> Result<Vec<Client>, StoreError> {
        self.database
            .read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT * FROM clients c WHERE clone_goes = 1 AND NOT EXISTS
                         (SELECT 1 FROM clients n WHERE n.repository_key = c.repository_key AND n.deleted_at IS NULL)",
                )?;
                let clients = statement.query_map([], rows::client)?.collect::<Result<_, _>>()?;
                Ok(clients)
            })
            .await
    }

    /// The clone of a deleted client is gone.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forget_clone(&self, id: &ClientId) -> Result<(), StoreError> {
        let id = id.clone();
        self.database
            .write(Edge::ForgetClone, move |connection| {
                connection
                    .prepare_cached("UPDATE clients SET clone_goes = 0 WHERE id = ?1")?
                    .execute([id.as_str()])?;
                Ok(())
            })
            .await
    }
}

/// The repository is registered again: its clone goes with no client that had it before.
pub(super) fn keep_clone(connection: &Connection, repository_key: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE clients SET clone_goes = 0 WHERE repository_key = ?1 AND clone_goes = 1")?
        .execute([repository_key])?;
    Ok(())
}
