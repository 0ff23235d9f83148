//! Registering, reading and changing clients.

use serde_json::Value;

use super::caller::Caller;
use super::error::AppError;
use super::patches::until_unchanged;
use super::rules;
use super::{App, Created};
use crate::domain::client::{Client, ClientPatch, NewClient};
use crate::domain::id::ClientId;
use crate::domain::options::Layer;
use crate::domain::token::Scope;
use crate::git::{Remote, Repository};
use crate::store::{AnswerKey, KeyedAnswer};
use crate::wire;
use crate::wire::client::{ClientChanged, ClientCreated, ClientDetail, ClientList};
use crate::wire::fields::Reading;
use crate::wire::request::{ClientChange, Registration};
use crate::worker::RemovalError;

/// Clients on one page.
const CLIENTS_PAGE: usize = 50;

impl App {
    /// # Errors
    /// What the store said.
    pub async fn list_clients(&self, caller: &Caller) -> Result<ClientList, AppError> {
        let clients = self.0.store.list_clients().await?;
        let within = clients.iter().filter(|client| caller.reach.has(&client.id));
        let shown = within.map(|client| wire::client::Client::of(client, self.repo_exists(client)));
        Ok(ClientList { clients: shown.collect() })
    }

    /// A page of them with their numbers, from the one with this number (counted from 0) on, and how many there are. The size of
    /// a clone is measured for one at a time only.
    ///
    /// # Errors
    /// What the store said.
    pub async fn client_page(
        &self,
        caller: &Caller,
        first: usize,
    ) -> Result<(Vec<ClientDetail>, usize), AppError> {
        let clients = self.0.store.list_clients().await?;
        let seen: Vec<_> = clients.iter().filter(|client| caller.reach.has(&client.id)).collect();
        let mut page = Vec::new();
        for client in seen.iter().skip(first).take(CLIENTS_PAGE) {
            page.push(self.numbered(client, self.repo_exists(client), None).await?);
        }
        Ok((page, seen.len()))
    }

    async fn numbered(
        &self,
        client: &Client,
        exists: bool,
        disk_bytes: Option<u64>,
    ) -> Result<ClientDetail, AppError> {
        let counts = self.0.store.client_counts(&client.id).await?;
        Ok(ClientDetail {
            client: wire::client::Client::of(client, exists),
            active_jobs: i64::try_from(counts.active).unwrap_or(i64::MAX),
            total_jobs: i64::try_from(counts.total).unwrap_or(i64::MAX),
            disk_bytes,
            last_fetched_at: client.last_fetched_at.map(Into::into),
        })
    }

    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn get_client(&self, caller: &Caller, id: &str) -> Result<ClientDetail, AppError> {
        let client = self.client(id).await?;
        caller.sees(&client.id, "client")?;
        let repository = self.repository(&client.repository)?;
        let disk_bytes = match repository.exists() && client.deleted_at.is_none() {
            true => repository.disk_usage().await.ok(),
            false => None,
        };
        self.numbered(&client, disk_bytes.is_some(), disk_bytes).await
    }

    /// Registers a repository. The clone comes first, so that a failure leaves nothing; with `at_once` it comes after.
    ///
    /// # Errors
    /// [`AppError::Invalid`], [`AppError::Conflict`] for a repository or `osClientId` that is registered,
    /// [`AppError::Remote`] with git's reason.
    pub async fn create_client(
        &self,
        caller: &Caller,
        body: &Value,
        at_once: bool,
        key: Option<AnswerKey>,
    ) -> Result<Created<ClientCreated>, AppError> {
        caller.needs(Scope::Admin)?;
        self.refuse_while_draining()?;
        let mut reading = Reading::default();
        let new = self.check_registration(Registration::read(body, &mut reading), &mut reading)?;
        let repository = self.repository(&new.repository)?;
        let place = repository.path().to_string_lossy().into_owned();
        let known = self.refuse_registered(&new, &repository).await?;
        let registration =
            Registering { app: self.clone(), new, known, repository, warnings: reading.warnings, key };
        let warnings = registration.warnings.clone();
        let client = if at_once {
            let client = registration.write().await?;
            let clone = Registering { known: Some(client.clone()), key: None, ..registration };
            self.0.operations.begin_clone(&place, || clone.fetch());
            client
        } else {
            self.0.operations.clone_once(&place, || registration.clone_then_write()).await?
        };
        Ok(self.created(&client, !at_once, warnings))
    }

    /// # Errors
    /// [`AppError::NotFound`] (also for a deleted one), [`AppError::Invalid`], [`AppError::Conflict`].
    pub async fn update_client(
        &self,
        caller: &Caller,
        id: &str,
        body: &Value,
    ) -> Result<ClientChanged, AppError> {
        caller.needs(Scope::Admin)?;
        until_unchanged(|| self.try_update_client(id, body)).await
    }

    async fn try_update_client(&self, id: &str, body: &Value) -> Result<ClientChanged, AppError> {
        let client = self.client(id).await?;
        if client.deleted_at.is_some() {
            return Err(AppError::NotFound("client"));
        }
        let mut reading = Reading::default();
        let change = ClientChange::read(body, &client.options, &mut reading);
        let text = |member: &Option<Option<String>>| member.clone().flatten();
        if let Some(name) = &change.name {
            rules::client_name(name, &mut reading);
        }
        rules::foreign_id("/osClientId", text(&change.os_client_id).as_deref(), &mut reading);
        rules::branch("/defaultBranch", text(&change.default_branch).as_deref(), &mut reading);
        rules::clone_url(text(&change.clone_url).as_deref(), &mut reading);
        if let Some(options) = &change.options {
            rules::options(options, Layer::Client, &self.0.settings, &mut reading);
        }
        AppError::of_reading(&reading)?;
        if change.paused == Some(false) && client.paused {
            self.lift_tampering(&client).await?;
        }
        let patch = ClientPatch {
            name: change.name,
            os_client_id: change.os_client_id,
            default_branch: change.default_branch,
            clone_url: change.clone_url,
            paused: change.paused,
            options_seen: change.options.is_some().then(|| client.options.clone()),
            options: change.options,
        };
        let client = self.0.store.update_client(&client.id, patch).await?;
        let exists = self.repo_exists(&client);
        Ok(ClientChanged { client: wire::client::Client::of(&client, exists), warnings: reading.warnings })
    }

    pub(super) async fn client(&self, id: &str) -> Result<Client, AppError> {
        let id = ClientId::parse(id).map_err(|_| AppError::NotFound("client"))?;
        Ok(self.0.store.get_client(&id).await?)
    }

    fn created(&self, client: &Client, cloned: bool, warnings: Vec<String>) -> Created<ClientCreated> {
        let path = self.clone_path(&client.repository);
        Created {
            location: format!("/clients/{}", client.id),
            body: ClientCreated {
                client: wire::client::Client::of(client, cloned || self.repo_exists(client)),
                repo_cloned: cloned,
                bare_repo_path: path.to_string_lossy().into_owned(),
                warnings,
            },
        }
    }

    fn check_registration(&self, asked: Registration, reading: &mut Reading) -> Result<NewClient, AppError> {
        let (org, repo) = (asked.github_org.as_deref(), asked.github_repo.as_deref());
        let repository = rules::repository(org, repo, &self.0.settings, reading);
        let is_named = |reading: &Reading| reading.faults.iter().any(|fault| fault.pointer != "/name");
        if org.is_none() && repo.is_none() && !is_named(reading) {
            reading.fault("/githubOrg", "is required, and githubRepo with it");
        }
        match &asked.name {
            Some(name) => rules::client_name(name, reading),
            // a wrong type was reported when it was read
            None if reading.faults.iter().any(|fault| fault.pointer == "/name") => {}
            None => reading.fault("/name", "is required"),
        }
        rules::foreign_id("/osClientId", asked.os_client_id.as_deref(), reading);
        rules::branch("/defaultBranch", asked.default_branch.as_deref(), reading);
        rules::clone_url(asked.clone_url.as_deref(), reading);
        rules::options(&asked.options, Layer::Client, &self.0.settings, reading);
        AppError::of_reading(reading)?;
        let repository = repository.ok_or_else(|| AppError::invalid("/githubOrg", "is required"))?;
        Ok(NewClient {
            os_client_id: asked.os_client_id,
            name: asked.name.unwrap_or_default(),
            repository,
            default_branch: asked.default_branch,
            clone_url: asked.clone_url,
            options: asked.options,
        })
    }

    /// Gives the client that is registered but never was cloned: it does not block, it is completed.
    async fn refuse_registered(
        &self,
        new: &NewClient,
        repository: &Repository,
    ) -> Result<Option<Client>, AppError> {
        let clients = self.0.store.list_clients().await?;
        let same_repository = clients.iter().find(|client| client.repository == new.repository);
        if let Some(client) =
            same_repository.filter(|client| client.cloned_at.is_some() && repository.exists())
        {
            return Err(duplicate("the repository", &client.id));
        }
        let same_name = clients.iter().find(|client| {
            new.os_client_id.is_some()
                && client.os_client_id == new.os_client_id
                && client.repository != new.repository
        });
        match same_name {
            Some(client) => Err(duplicate("osClientId", &client.id)),
            None => Ok(same_repository.cloned()),
        }
    }

    /// Unpausing is the owner's word that he has looked: what the server writes into the clone is written anew.
    async fn lift_tampering(&self, client: &Client) -> Result<(), AppError> {
        let repository = self.repository(&client.repository)?;
        if repository.exists() && repository.verify_untampered().await.is_err() {
            repository.repair().await.map_err(AppError::git)?;
        }
        Ok(())
    }
}

fn duplicate(what: &str, existing: &ClientId) -> AppError {
    AppError::Conflict {
        code: "duplicate_client",
        detail: format!("{what} is registered already as client {existing}"),
        existing: Some(existing.to_string()),
        jobs: Vec::new(),
    }
}

/// A registration on its way.
struct Registering {
    app: App,
    new: NewClient,
    /// Registered before, never cloned.
    known: Option<Client>,
    repository: Repository,
    warnings: Vec<String>,
    key: Option<AnswerKey>,
}

impl Registering {
    async fn clone_then_write(mut self) -> Result<Client, AppError> {
        let (made, remote) = self.clone_repository().await?;
        let written = self.write_as_cloned(&remote).await;
        if made && written.is_err() {
            self.take_clone_back().await;
        }
        let (client, default_branch) = written?;
        self.app.0.store.record_fetch(&client.id, default_branch.as_deref(), None).await?;
        Ok(self.app.0.store.get_client(&client.id).await?)
    }

    async fn write_as_cloned(&mut self, remote: &Remote) -> Result<(Client, Option<String>), AppError> {
        let default_branch = self.app.0.git.default_branch(remote).await.map_err(AppError::git)?;
        if self.new.default_branch.is_none() {
            self.new.default_branch.clone_from(&default_branch);
        }
        Ok((self.write().await?, default_branch))
    }

    /// Nothing of a registration that failed may stay, unless the clone has an owner by now.
    async fn take_clone_back(&self) {
        let is_same = |client: &Client| client.repository == self.new.repository;
        let has_no_owner = async {
            let clients = self.app.0.store.list_clients().await?;
            Ok::<_, RemovalError>(!clients.iter().any(is_same))
        };
        if let Err(error) = self.repository.remove_if(has_no_owner).await {
            tracing::warn!(%error, "the clone of a failed registration could not be removed");
        }
    }

    /// The clone of a client that is written already.
    async fn fetch(self) -> Result<Client, AppError> {
        let client =
            self.known.clone().ok_or_else(|| AppError::Internal("nothing to clone for".to_owned()))?;
        let cloned = async {
            let (made, remote) = self.clone_repository().await?;
            if made {
                self.app.give_up_clone_of_deleted(&client, &self.repository).await?;
            }
            self.app.0.git.default_branch(&remote).await.map_err(AppError::git)
        };
        let cloned = cloned.await;
        if let Err(error) = &cloned {
            tracing::warn!(client.id = %client.id, %error, "could not clone in the background");
        }
        let default_branch = cloned?;
        self.app.0.store.record_fetch(&client.id, default_branch.as_deref(), None).await?;
        Ok(self.app.0.store.get_client(&client.id).await?)
    }

    /// Whether this call made the clone, and of what.
    async fn clone_repository(&self) -> Result<(bool, Remote), AppError> {
        let remotes = &self.app.0.remotes;
        let remote =
            remotes.of(&self.new.repository, self.new.clone_url.as_deref()).await.map_err(AppError::forge)?;
        let made = self.repository.ensure_clone(&remote).await.map_err(AppError::git)?;
        Ok((made, remote))
    }

    async fn write(&self) -> Result<Client, AppError> {
        let (app, warnings) = (self.app.clone(), self.warnings.clone());
        let render = move |client: &Client, app: &App, cloned: bool| {
            let created = app.created(client, cloned, warnings);
            let body = serde_json::to_vec(&created.body).unwrap_or_default();
            (201, Some(created.location), body)
        };
        let Some(known) = &self.known else {
            let cloned = self.repository.exists();
            let answer = self.key.clone().map(|key| KeyedAnswer {
                key,
                render: Box::new(move |client: &Client| render(client, &app, cloned)),
            });
            return Ok(self.app.0.store.create_client(self.new.clone(), answer).await?);
        };
        let patch = ClientPatch {
            name: Some(self.new.name.clone()),
            os_client_id: Some(self.new.os_client_id.clone()),
            default_branch: self.new.default_branch.clone().map(Some),
            clone_url: Some(self.new.clone_url.clone()),
            paused: None,
            options: Some(self.new.options.clone()),
            options_seen: None,
        };
        let client = self.app.0.store.update_client(&known.id, patch).await?;
        if let Some(key) = self.key.clone() {
            let (shown, cloned) = (client.clone(), self.repository.exists());
            let render = Box::new(move |(): &()| render(&shown, &app, cloned));
            self.app.0.store.keep_answer(KeyedAnswer { key, render }).await?;
        }
        Ok(client)
    }
}
