//! Clones that go with their client, the worktrees that hang on them, and the work in them that nobody else has.

use std::path::{Path, PathBuf};

use super::Worker;
use super::cleanup::{sweep_one, worktrees_below};
use super::strangers::release_unknown;
use crate::domain::client::Client;
use crate::domain::id::{JobId, JobRef};
use crate::domain::job::pushed_by;
use crate::git::{CommitId, GitError, KEPT_REFS, Repository, Snapshot};
use crate::store::{Store, StoreError};

/// Why a clone stays.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Git(#[from] GitError),
    /// It may have the only copy of something.
    #[error("no snapshot of the worktree of {0} could be taken; the log says why")]
    Worktree(JobId),
}

/// Removes the clones of deleted clients that an earlier server was about to remove, and bundles before what is published
/// nowhere: whether that server came to it is not known. For start, when nothing is claimed.
///
/// # Errors
/// What the store said; a clone that cannot be removed is logged, and tried again at the next start.
pub async fn finish_clone_removals(worker: &Worker) -> Result<(), StoreError> {
    let tools = &*worker.0;
    for client in tools.store.clones_to_remove().await? {
        match finish_clone_removal(worker, &client).await {
            Ok(()) => tools.store.forget_clone(&client.id).await?,
            Err(RemovalError::Store(error)) => return Err(error),
            Err(error) => tracing::warn!(%error, client.id = %client.id, "a clone could not be removed yet"),
        }
    }
    Ok(())
}

async fn finish_clone_removal(worker: &Worker, client: &Client) -> Result<(), RemovalError> {
    let tools = &*worker.0;
    let repository = tools.repository(client)?;
    if repository.exists() {
        release_worktrees(worker, client).await?;
        bundle_unpublished(&tools.store, client, &repository, &tools.settings.data_dir, &[]).await?;
    }
    Ok(repository.remove().await?)
}

/// Writes the work that no remote has, see [`unpublished_work`], to a bundle below `data_dir`, unless there are none but those `bundled`
/// before. Gives all that there are.
///
/// # Errors
/// What the store and git said.
pub async fn bundle_unpublished(
    store: &Store,
    client: &Client,
    repository: &Repository,
    data_dir: &Path,
    bundled: &[Snapshot],
) -> Result<Vec<Snapshot>, RemovalError> {
    let found = unpublished_work(store, repository).await?;
    let found: Vec<_> = found.into_iter().map(|(_, snapshot)| snapshot).collect();
    if found.iter().any(|snapshot| !bundled.contains(snapshot)) {
        for unnamed in found.iter().filter(|snapshot| snapshot.name.starts_with(KEPT_REFS)) {
            if repository.find_ref(&unnamed.name).await?.is_none() {
                repository.keep(&unnamed.name, &unnamed.commit).await?;
            }
        }
        // all of them: should it have the name of the one before, nothing is lost with that
        let names: Vec<_> = found.iter().map(|snapshot| snapshot.name.clone()).collect();
        let name = format!("{}-{}.bundle", client.id, store.cautious_now().as_ms());
        repository.bundle(&names, &data_dir.join("bundles").join(name)).await?;
    }
    Ok(found)
}

/// Work that no remote has, each with whose it is: snapshots with the job that they name, unknown jobs counting as unpublished, and what
/// agents have made beside the work of their jobs, with the ref.
///
/// # Errors
/// What the store and git said.
pub async fn unpublished_work(
    store: &Store,
    repository: &Repository,
) -> Result<Vec<(String, Snapshot)>, RemovalError> {
    let (mut found, mut kept) = (Vec::new(), Vec::new());
    for snapshot in repository.find_snapshots(KEPT_REFS).await? {
        let job = named_in(&snapshot.name).unwrap_or_default().to_owned();
        let pushed = pushed_beside(store, &job).await?;
        kept.push(snapshot.commit.clone());
        if !repository.is_held_by(&snapshot.commit, &pushed).await? {
            found.push((job, snapshot));
        }
    }
    // what a snapshot leads to is published with it, or found with it
    for local in repository.find_local_work(kept).await? {
        let whose = named_in(&local.name).unwrap_or(&local.name).to_owned();
        found.push((whose, local));
    }
    Ok(found)
}

/// Whose a ref below `refs/offshoot/` is.
fn named_in(name: &str) -> Option<&str> {
    name.strip_prefix(KEPT_REFS)?.split('/').next()
}

/// What the chain of a job has pushed; nothing of a job that is not known.
async fn pushed_beside(store: &Store, job: &str) -> Result<Vec<CommitId>, StoreError> {
    let Some(job) = JobRef::parse(job) else { return Ok(Vec::new()) };
    let root = match store.get_job(&job).await {
        Ok(view) => view.job.chain.root,
        Err(StoreError::NotFound(_) | StoreError::Ambiguous) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let chain = store.chain_of(&root).await?;
    Ok(pushed_by(&chain).filter_map(|commit| commit.parse().ok()).collect())
}

/// Chains whose worktrees hang on the clone of this client.
#[must_use]
pub fn chains_with_worktree(worker: &Worker, client: &Client) -> Vec<JobId> {
    worktrees_of(worker, client).into_iter().map(|(_, root)| root).collect()
}

/// Takes the worktrees of a client away, kept ones too, each snapshotted before: without its clone nobody could do that any
/// more.
///
/// # Errors
/// [`RemovalError::Worktree`] for one that stays, because it is in use or no snapshot could be taken; what the store said.
pub async fn release_worktrees(worker: &Worker, client: &Client) -> Result<(), RemovalError> {
    let tools = &*worker.0;
    let mut staying = None;
    for (path, root) in worktrees_of(worker, client) {
        let _alone = tools.chains.hold(&root).await;
        let chain = tools.store.chain_of(&root).await?;
        let Some(last) = chain.last() else {
            if let Err(error) = release_unknown(tools, client, &path, &root).await {
                tracing::warn!(%error, root = %root, "the worktree of an unknown job could not be released: it stays");
                staying = Some(root);
            }
            continue;
        };
        if chain.iter().any(|job| job.status.is_live()) {
            staying = Some(root);
            continue;
        }
        match sweep_one(worker, &path, &chain).await {
            Ok(()) => tools.store.forget_worktrees_of(&root).await?,
            Err(error) => {
                tracing::warn!(%error, job.id = %last.id, "a worktree could not be released: it stays");
                staying = Some(root);
            }
        }
    }
    staying.map_or(Ok(()), |root| Err(RemovalError::Worktree(root)))
}

fn worktrees_of(worker: &Worker, client: &Client) -> Vec<(PathBuf, JobId)> {
    let (org, repo) = client.repository.key();
    let own = worker.0.settings.worktrees_dir.join(org).join(repo);
    let all = worktrees_below(&worker.0.settings.worktrees_dir).into_iter();
    all.filter(|(path, _)| path.starts_with(&own)).collect()
}
