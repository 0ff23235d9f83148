//! Deleting a client, and its clone without losing work.

use std::collections::BTreeSet;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::client::Client;
use crate::domain::id::{JobNumber, JobRef};
use crate::domain::job::Job;
use crate::domain::token::Scope;
use crate::git::{Repository, Snapshot};
use crate::store::StoreError;
use crate::wire::client::ClientDeleted;
use crate::worker::{RemovalError, bundle_unpublished, unpublished_work};

/// Looks at the jobs of a client that is deleted by force. Each but the first is for jobs that came while those before them
/// were ended; whoever sends so many more is told that the client is busy.
const ROUNDS_MAX: u32 = 10;

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
        let repository = self.repository(&client.repository)?;
        let (mut bundled, mut rounds) = (Vec::new(), 1);
        let remove_repo = loop {
            let tried = self.delete_idle(&client, &repository, remove_repo, force, &mut bundled).await;
            let error = match tried {
                Ok(has_clone) => break has_clone,
                Err(error) => error,
            };
            // a job that came while those before it were ended is ended too
            let may_go_on = force && rounds < ROUNDS_MAX && matches!(error, AppError::Conflict { .. });
            if !may_go_on || self.0.store.live_jobs_of(&client.id).await?.is_empty() {
                return Err(error);
            }
            rounds += 1;
        };
        let removed = remove_repo && self.remove_clone(&client, &repository, &bundled).await?;
        tracing::info!(client.id = %client.id, repo_removed = removed, "client deleted");
        Ok(ClientDeleted { deleted: true, repo_removed: removed })
    }

    /// Deletes the client once its jobs are over, which `force` sees to; `bundled` is what was saved from its clone by then.
    /// Whether there is a clone to remove.
    async fn delete_idle(
        &self,
        client: &Client,
        repository: &Repository,
        remove_repo: bool,
        force: bool,
        bundled: &mut Vec<Snapshot>,
    ) -> Result<bool, AppError> {
        let live = self.0.store.live_jobs_of(&client.id).await?;
        if !live.is_empty() && !force {
            return Err(StoreError::ClientBusy { jobs: live }.into());
        }
        self.end_jobs(&live).await?;
        // not before: each of them may have made it
        let remove_repo = remove_repo && repository.is_there_to_stay().await;
        if remove_repo {
            *bundled = self.save_unpublished(client, repository, force, bundled).await?;
        }
        self.0.store.delete_client(&client.id, remove_repo).await?;
        Ok(remove_repo)
    }

    /// Takes a clone away that this call has made and that nobody has a right to by now: its client was deleted meanwhile.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the client, once it is gone.
    pub(super) async fn give_up_clone_of_deleted(
        &self,
        client: &Client,
        repository: &Repository,
    ) -> Result<(), AppError> {
        if self.0.store.get_client(&client.id).await?.deleted_at.is_none() {
            return Ok(());
        }
        let is_same = |other: &Client| other.repository.key() == client.repository.key();
        let has_no_owner = async {
            let clients = self.0.store.list_clients().await?;
            Ok::<_, RemovalError>(!clients.iter().any(is_same))
        };
        let removed = repository.remove_if(has_no_owner).await.map_err(stays)?;
        tracing::info!(client.id = %client.id, removed, "a clone is given up: its client was deleted meanwhile");
        Err(AppError::NotFound("client"))
    }

    /// Of a deleted client. A job that was accepted behind the first look may have left more work: no other can come any
    /// more. False if the repository is registered again, whose clone it is then. What fails is tried again at start.
    async fn remove_clone(
        &self,
        client: &Client,
        repository: &Repository,
        bundled: &[Snapshot],
    ) -> Result<bool, AppError> {
        if let Some(upkeep) = self.0.upkeep.get() {
            upkeep.release_worktrees(client).await.map_err(stays)?;
        }
        let store = &self.0.store;
        let data_dir = &self.0.settings.data_dir;
        bundle_unpublished(store, client, repository, data_dir, bundled).await.map_err(stays)?;
        let still_goes = async {
            let going = store.clones_to_remove().await?;
            Ok::<_, RemovalError>(going.iter().any(|going| going.id == client.id))
        };
        let removed = repository.remove_if(still_goes).await.map_err(stays)?;
        if removed {
            store.forget_clone(&client.id).await?;
        }
        Ok(removed)
    }

    async fn end_jobs(&self, jobs: &[JobNumber]) -> Result<(), AppError> {
        for job in jobs {
            match self.request_cancel(&JobRef::Number(*job)).await {
                // it has come to its end meanwhile
                Ok(_) | Err(AppError::AlreadyOver(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for job in jobs {
            self.wait_until_over(*job).await?;
        }
        Ok(())
    }

    /// Work that no remote has, in snapshots, in worktrees that were kept and in refs that agents made: refused, or with `force` bundled first, unless
    /// all of it was `bundled` before. Gives what is in bundles then.
    async fn save_unpublished(
        &self,
        client: &Client,
        repository: &Repository,
        force: bool,
        bundled: &[Snapshot],
    ) -> Result<Vec<Snapshot>, AppError> {
        let (store, upkeep) = (&self.0.store, self.0.upkeep.get());
        let work = unpublished_work(store, repository).await.map_err(stays)?;
        let mut jobs: BTreeSet<_> = work.into_iter().map(|(whose, _)| whose).collect();
        for root in upkeep.map(|upkeep| upkeep.chains_with_worktree(client)).unwrap_or_default() {
            let chain = store.chain_of(&root).await?;
            // each of them worked in it; one that is not listed any more counts as unpublished
            if chain.is_empty() || !chain.iter().all(Job::is_published) {
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
        if let Some(upkeep) = upkeep {
            upkeep.release_worktrees(client).await.map_err(stays)?;
        }
        bundle_unpublished(store, client, repository, &self.0.settings.data_dir, bundled).await.map_err(stays)
    }
}

fn stays(error: RemovalError) -> AppError {
    match error {
        RemovalError::Store(error) => error.into(),
        RemovalError::Git(error) => AppError::git(error),
        RemovalError::Worktree(_) => {
            AppError::conflict("unpublished_work", format!("{error}. Without removeRepo=true it stays"))
        }
    }
}
