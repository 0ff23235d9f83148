//! Deleting a client, and its clone without losing work.

use std::collections::BTreeSet;

use super::App;
use super::caller::{Caller, Scope};
use super::error::AppError;
use crate::domain::client::Client;
use crate::domain::id::{JobNumber, JobRef};
use crate::git::Repository;
use crate::store::StoreError;
use crate::wire::client::ClientDeleted;

impl App {
    /// Deletes a client; its history stays. `force` cancels its live jobs, and allows `remove_repo` to take snapshots
    /// that were never published, after they were written to a bundle in the data directory.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Conflict`] for what only `force` does; [`AppError::TakesLonger`] when a
    /// job does not end in time.
    pub async fn delete_client(
        &self,
        caller: &Caller,
        id: &str,
        remove_repo: bool,
        force: bool,
    ) -> Result<ClientDeleted, AppError> {
        caller.needs(Scope::Admin)?;
        self.refuse_while_draining()?;
        let client = self.client(id).await?;
        if client.deleted_at.is_some() {
            return Err(AppError::NotFound("client"));
        }
        let app = self.clone();
        self.0.operations.detached(async move { app.remove_client(client, remove_repo, force).await }).await
    }

    async fn remove_client(
        &self,
        client: Client,
        remove_repo: bool,
        force: bool,
    ) -> Result<ClientDeleted, AppError> {
        let live = self.0.store.live_jobs_of(&client.id).await?;
        if !live.is_empty() && !force {
            return Err(StoreError::ClientBusy { jobs: live }.into());
        }
        self.end_jobs(&live).await?;
        let repository = self.repository(&client.repository)?;
        let remove_repo = remove_repo && repository.exists();
        if remove_repo {
            self.save_unpublished(&client, &repository, force).await?;
        }
        self.0.store.delete_client(&client.id, remove_repo).await?;
        if remove_repo {
            repository.remove().await.map_err(AppError::git)?;
            self.0.store.forget_clone(&client.id).await?;
        }
        tracing::info!(client.id = %client.id, repo_removed = remove_repo, "client deleted");
        Ok(ClientDeleted { deleted: true, repo_removed: remove_repo })
    }

    async fn end_jobs(&self, jobs: &[JobNumber]) -> Result<(), AppError> {
        for job in jobs {
            self.request_cancel(&JobRef::Number(*job)).await?;
        }
        for job in jobs {
            self.wait_until_over(*job).await?;
        }
        Ok(())
    }

    /// Work that no remote has, in snapshots and in worktrees that were kept: refused, or with `force` bundled first.
    async fn save_unpublished(
        &self,
        client: &Client,
        repository: &Repository,
        force: bool,
    ) -> Result<(), AppError> {
        let upkeep = self.0.upkeep.get();
        let mut jobs: BTreeSet<_> =
            self.unpublished(repository).await?.into_iter().map(|(job, _)| job).collect();
        for root in upkeep.map(|upkeep| upkeep.chains_with_worktree(client)).unwrap_or_default() {
            if !self.is_published(root.as_str()).await? {
                jobs.insert(root.as_str().to_owned());
            }
        }
        if !jobs.is_empty() && !force {
            let jobs: Vec<_> = jobs.into_iter().take(20).collect();
            let detail = format!(
                "the clone keeps unpublished work of {}; with force=true it is written to a bundle in the data directory first",
                jobs.join(", ")
            );
            return Err(AppError::conflict("unpublished_work", detail));
        }
        if let Some(upkeep) = upkeep
            && let Some(root) = upkeep.release_worktrees(client).await?.first()
        {
            let detail = format!(
                "no snapshot of the worktree of {root} could be taken; the log says why. Without removeRepo=true it stays"
            );
            return Err(AppError::conflict("unpublished_work", detail));
        }
        let names: Vec<_> = self.unpublished(repository).await?.into_iter().map(|(_, name)| name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let dir = self.0.settings.data_dir.join("bundles");
        tokio::fs::create_dir_all(&dir).await.map_err(|error| AppError::Internal(error.to_string()))?;
        let file = dir.join(format!("{}-{}.bundle", client.id, self.now().as_ms()));
        repository.bundle(&names, &file).await.map_err(AppError::git)
    }

    /// Snapshots of work that no remote has, each with its job.
    async fn unpublished(&self, repository: &Repository) -> Result<Vec<(String, String)>, AppError> {
        let snapshots = repository.find_snapshots("refs/offshoot/").await.map_err(AppError::git)?;
        let mut found = Vec::new();
        for snapshot in snapshots {
            let job = snapshot.name.split('/').nth(2).unwrap_or_default().to_owned();
            if !self.is_published(&job).await? {
                found.push((job, snapshot.name));
            }
        }
        Ok(found)
    }

    /// Unknown jobs count as unpublished.
    async fn is_published(&self, job: &str) -> Result<bool, AppError> {
        let Some(job) = JobRef::parse(job) else { return Ok(false) };
        match self.0.store.get_job(&job).await {
            Ok(view) => Ok(view.job.effects.pushed_sha.is_some()),
            Err(StoreError::NotFound(_) | StoreError::Ambiguous) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
