//! Registered repositories.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::error::StoreError;
use super::super::view::{ClientCounts, KeyedAnswer};
use super::super::{Change, Store};
use super::{answers, audit, client_removal, logins, rows};
use crate::domain::client::{Client, ClientPatch, NewClient, RepositoryName};
use crate::domain::id::{ClientId, JobNumber};
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

impl Store {
    /// Registers a repository.
    ///
    /// # Errors
    /// [`StoreError::DuplicateClient`] when the repository or the `osClientId` is taken.
    pub async fn create_client(
        &self,
        new: NewClient,
        answer: Option<KeyedAnswer<Client>>,
    ) -> Result<Client, StoreError> {
        let id = ClientId::from_random(&self.clock.random_text(crate::domain::id::RANDOM_LENGTH));
        let now = self.moment();
        self.database
            .write(Edge::CreateClient, move |connection| {
                let client = insert(connection, now.wall, &id, &new)?;
                answers::keep(connection, now, answer, &client)?;
                audit::made(format!("/clients/{}", client.id));
                Ok(client)
            })
            .await
    }

    /// The client of that id, deleted ones too.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn get_client(&self, id: &ClientId) -> Result<Client, StoreError> {
        let id = id.clone();
        self.database.read(move |connection| get(connection, &id)).await
    }

    /// The client of that repository that is not deleted.
    ///
    /// # Errors
    /// What the database said.
    pub async fn find_client_by_repository(
        &self,
        name: &RepositoryName,
    ) -> Result<Option<Client>, StoreError> {
        let name = name.clone();
        self.database.read(move |connection| by_repository(connection, &name)).await
    }

    /// All clients that are not deleted, oldest first.
    ///
    /// # Errors
    /// What the database said.
    pub async fn list_clients(&self) -> Result<Vec<Client>, StoreError> {
        self.database
            .read(|connection| {
                let mut statement = connection
                    .prepare_cached("SELECT * FROM clients WHERE deleted_at IS NULL ORDER BY number")?;
                let clients = statement.query_map([], rows::client)?.collect::<Result<_, _>>()?;
                Ok(clients)
            })
            .await
    }

    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Changed`]; [`StoreError::DuplicateClient`] for an `osClientId` that is taken.
    pub async fn update_client(&self, id: &ClientId, patch: ClientPatch) -> Result<Client, StoreError> {
        let (id, now) = (id.clone(), self.now());
        let unpaused = patch.paused == Some(false);
        let client = self
            .database
            .write(Edge::UpdateClient, move |connection| update(connection, now, &id, patch))
            .await?;
        self.tell(Change::Queue);
        if unpaused {
            self.tell(Change::Unpaused);
        }
        Ok(client)
    }

    /// Stops starting jobs of a client, and says why.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn pause_client(&self, id: &ClientId, why: &str) -> Result<(), StoreError> {
        let (id, why, now) = (id.clone(), why.to_owned(), self.now());
        self.database
            .write(Edge::PauseClient, move |connection| {
                let number = rows::client_number(connection, &id)?;
                connection
                    .prepare_cached(
                        "UPDATE clients SET paused = 1, paused_reason = ?2, updated_at = ?3 WHERE number = ?1",
                    )?
                    .execute(params![number, why, now.as_ms()])?;
                Ok(())
            })
            .await
    }

    /// What a clone or a fetch has found out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn record_fetch(
        &self,
        id: &ClientId,
        default_branch: Option<&str>,
        forge_id: Option<i64>,
    ) -> Result<(), StoreError> {
        let (id, now) = (id.clone(), self.now());
        let default_branch = default_branch.map(str::to_owned);
        self.database
            .write(Edge::RecordFetch, move |connection| {
                let number = rows::client_number(connection, &id)?;
                connection
                    .prepare_cached(
                        "UPDATE clients SET cloned_at = coalesce(cloned_at, ?2), last_fetched_at = ?2,
                             default_branch = coalesce(default_branch, ?3), forge_id = coalesce(forge_id, ?4)
                         WHERE number = ?1",
                    )?
                    .execute(params![number, now.as_ms(), default_branch, forge_id])?;
                Ok(())
            })
            .await
    }

    /// Numbers of the client's live jobs.
    ///
    /// # Errors
    /// What the database said.
    pub async fn live_jobs_of(&self, id: &ClientId) -> Result<Vec<JobNumber>, StoreError> {
        let id = id.clone();
        self.database.read(move |connection| live_jobs(connection, &id)).await
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn client_counts(&self, id: &ClientId) -> Result<ClientCounts, StoreError> {
        let id = id.clone();
        self.database
            .read(move |connection| {
                let number = rows::client_number(connection, &id)?;
                let mut statement = connection.prepare_cached(
                    "SELECT (SELECT count(*) FROM jobs INDEXED BY jobs_live_branch
                             WHERE client = ?1 AND status IN ('queued', 'running')) AS active,
                            (SELECT count(*) FROM jobs WHERE client = ?1) AS total",
                )?;
                Ok(statement.query_row([number], |row| {
                    Ok(ClientCounts { active: row.get("active")?, total: row.get("total")? })
                })?)
            })
            .await
    }
}

pub(super) fn get(connection: &Connection, id: &ClientId) -> Result<Client, StoreError> {
    connection
        .prepare_cached("SELECT * FROM clients WHERE id = ?1")?
        .query_row([id.as_str()], rows::client)
        .optional()?
        .ok_or(StoreError::NotFound("client"))
}

fn by_repository(connection: &Connection, name: &RepositoryName) -> Result<Option<Client>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT * FROM clients WHERE repository_key = ?1 AND deleted_at IS NULL")?
        .query_row([repository_key(name)], rows::client)
        .optional()?)
}

fn repository_key(name: &RepositoryName) -> String {
    let (org, repo) = name.key();
    format!("{org}/{repo}")
}

fn by_os_client_id(connection: &Connection, os_client_id: &str) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT id FROM clients WHERE os_client_id = ?1 AND deleted_at IS NULL")?
        .query_row([os_client_id], |row| row.get(0))
        .optional()?)
}

fn insert(
    connection: &Connection,
    now: Timestamp,
    id: &ClientId,
    new: &NewClient,
) -> Result<Client, StoreError> {
    if let Some(existing) = by_repository(connection, &new.repository)? {
        let existing = existing.id.as_str().to_owned();
        return Err(StoreError::DuplicateClient { what: "the repository", existing });
    }
    if let Some(os_client_id) = &new.os_client_id
        && let Some(existing) = by_os_client_id(connection, os_client_id)?
    {
        return Err(StoreError::DuplicateClient { what: "osClientId", existing });
    }
    client_removal::keep_clone(connection, &repository_key(&new.repository))?;
    connection
        .prepare_cached(
            "INSERT INTO clients (id, os_client_id, name, org, repo, repository_key, default_branch, clone_url,
                 options, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)",
        )?
        .execute(params![
            id.as_str(),
            new.os_client_id,
            new.name,
            new.repository.org(),
            new.repository.repo(),
            repository_key(&new.repository),
            new.default_branch,
            new.clone_url,
            crate::wire::options::to_text(&new.options),
            now.as_ms(),
        ])?;
    get(connection, id)
}

fn update(
    connection: &Connection,
    now: Timestamp,
    id: &ClientId,
    patch: ClientPatch,
) -> Result<Client, StoreError> {
    let mut client = get(connection, id)?;
    if client.deleted_at.is_some() {
        return Err(StoreError::NotFound("client"));
    }
    if patch.options_seen.as_ref().is_some_and(|seen| *seen != client.options) {
        return Err(StoreError::Changed);
    }
    if let Some(Some(wanted)) = &patch.os_client_id
        && let Some(existing) =
            by_os_client_id(connection, wanted)?.filter(|existing| existing != id.as_str())
    {
        return Err(StoreError::DuplicateClient { what: "osClientId", existing });
    }
    client.name = patch.name.unwrap_or(client.name);
    client.os_client_id = patch.os_client_id.unwrap_or(client.os_client_id);
    client.default_branch = patch.default_branch.unwrap_or(client.default_branch);
    client.clone_url = patch.clone_url.unwrap_or(client.clone_url);
    let agent = client.options.agent.clone();
    client.options = patch.options.unwrap_or(client.options);
    if let Some(paused) = patch.paused {
        client.paused = paused;
        client.paused_reason = None;
    }
    connection
        .prepare_cached(
            "UPDATE clients SET name = ?2, os_client_id = ?3, default_branch = ?4, clone_url = ?5, options = ?6,
                 paused = ?7, paused_reason = ?8, updated_at = ?9 WHERE id = ?1",
        )?
        .execute(params![
            id.as_str(),
            client.name,
            client.os_client_id,
            client.default_branch,
            client.clone_url,
            crate::wire::options::to_text(&client.options),
            client.paused,
            client.paused_reason,
            now.as_ms(),
        ])?;
    if client.options.agent != agent {
        logins::settle_of_client(connection, rows::client_number(connection, id)?)?;
    }
    get(connection, id)
}

pub(super) fn live_jobs(connection: &Connection, id: &ClientId) -> Result<Vec<JobNumber>, StoreError> {
    let number = rows::client_number(connection, id)?;
    let mut statement = connection.prepare_cached(
        "SELECT number FROM jobs INDEXED BY jobs_live_branch
         WHERE client = ?1 AND status IN ('queued', 'running') ORDER BY number",
    )?;
    let jobs = statement.query_map([number], |row| row.get(0).map(JobNumber))?.collect::<Result<_, _>>()?;
    Ok(jobs)
}
