//! Clones that go with their client, and the worktrees that hang on them.

use std::path::PathBuf;

use super::Worker;
use super::cleanup::{sweep_one, worktrees_below};
use crate::domain::client::Client;
use crate::domain::id::JobId;
use crate::store::StoreError;

/// Removes the clones of deleted clients that an earlier server was about to remove. For start, when nothing is claimed.
///
/// # Errors
/// What the store said; a clone that cannot be removed is logged, and tried again at the next start.
pub async fn finish_clone_removals(worker: &Worker) -> Result<(), StoreError> {
    let tools = &*worker.0;
    for client in tools.store.clones_to_remove().await? {
        let removed = match tools.repository(&client) {
            Ok(repository) => repository.remove().await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => tools.store.forget_clone(&client.id).await?,
            Err(error) => tracing::warn!(%error, client.id = %client.id, "a clone could not be removed yet"),
        }
    }
    Ok(())
}

/// Chains whose worktrees hang on the clone of this client.
#[must_use]
pub fn chains_with_worktree(worker: &Worker, client: &Client) -> Vec<JobId> {
    worktrees_of(worker, client).into_iter().map(|(_, root)| root).collect()
}

/// Takes the worktrees of a client away, kept ones too, each snapshotted before: without its clone nobody could do that any
/// more. Gives the chains of those that stay, because they are in use or no snapshot could be taken.
///
/// # Errors
/// What the store said.
pub async fn release_worktrees(worker: &Worker, client: &Client) -> Result<Vec<JobId>, StoreError> {
    let tools = &*worker.0;
    let mut staying = Vec::new();
    for (path, root) in worktrees_of(worker, client) {
        let _alone = tools.chains.hold(&root).await;
        let chain = tools.store.chain_of(&root).await?;
        let Some(last) = chain.last() else { continue };
        if chain.iter().any(|job| job.status.is_live()) {
            staying.push(root);
            continue;
        }
        match sweep_one(worker, &path, &chain).await {
            Ok(()) => tools.store.forget_worktrees_of(&root).await?,
            Err(error) => {
                tracing::warn!(%error, job.id = %last.id, "a worktree could not be released: it stays");
                staying.push(root);
            }
        }
    }
    Ok(staying)
}

fn worktrees_of(worker: &Worker, client: &Client) -> Vec<(PathBuf, JobId)> {
    let (org, repo) = client.repository.key();
    let own = worker.0.settings.worktrees_dir.join(org).join(repo);
    let all = worktrees_below(&worker.0.settings.worktrees_dir).into_iter();
    all.filter(|(path, _)| path.starts_with(&own)).collect()
}
