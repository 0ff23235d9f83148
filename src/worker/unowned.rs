//! Clones without a client: a server was killed between the clone and the row of a registration, or a restored database is older
//! than the client.

use std::path::PathBuf;

use super::Worker;
use crate::git::{GitError, Repository, bytes_on_disk, unowned_clones};
use crate::store::StoreError;

/// Clones that are told of: a person looks at them one by one.
const TOLD_MAX: usize = 1_000;

/// A clone without a client that may hold what nobody else has, or that another installation made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownClone {
    /// Below the directory of all clones.
    pub name: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Removes the clones without a client that are as this installation made them: a registration that was cut off leaves nothing.
/// For start, while nobody registers.
///
/// # Errors
/// What the store said; a clone that cannot be removed is logged, and tried again at the next start.
pub async fn remove_unowned_clones(worker: &Worker) -> Result<(), StoreError> {
    for repository in unowned(worker).await? {
        let name = repository.path().display().to_string();
        match remove_as_cloned(&repository).await {
            Ok(true) => {
                tracing::info!(clone = name, "the clone of a registration that was cut off was removed");
            }
            Ok(false) => tracing::warn!(
                clone = name,
                "a clone that is no client's may hold work, or be another server's: it stays"
            ),
            Err(error) => tracing::warn!(%error, clone = name, "a clone that is no client's stays for now"),
        }
    }
    Ok(())
}

async fn remove_as_cloned(repository: &Repository) -> Result<bool, GitError> {
    let removes = repository.is_as_we_cloned().await?;
    if removes {
        repository.remove().await?;
    }
    Ok(removes)
}

/// The clones without a client that stay, a thousand at most. One that is being registered is not among them.
///
/// # Errors
/// What the store said.
pub async fn unknown_clones(worker: &Worker) -> Result<Vec<UnknownClone>, StoreError> {
    let mut unknown = Vec::new();
    for repository in unowned(worker).await?.into_iter().take(TOLD_MAX) {
        if repository.is_as_we_cloned().await.unwrap_or(false) {
            continue;
        }
        let path = repository.path().to_owned();
        let name = path.strip_prefix(&worker.0.settings.repos_dir).unwrap_or(&path).to_owned();
        let bytes = tokio::task::spawn_blocking(move || bytes_on_disk(&path)).await.unwrap_or_default();
        unknown.push(UnknownClone { name, bytes });
    }
    Ok(unknown)
}

/// The clones of deleted clients have an owner: they stay for their history.
async fn unowned(worker: &Worker) -> Result<Vec<Repository>, StoreError> {
    let tools = &*worker.0;
    let clients = tools.store.list_clients_ever().await?;
    let known = clients.iter().filter_map(|client| tools.repository(client).ok());
    let known = known.map(|repository| repository.path().to_owned()).collect();
    let found = match unowned_clones(&tools.settings.repos_dir, known).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "the clones could not be looked through");
            Vec::new()
        }
    };
    let repository = |path| Repository::new(tools.git.clone(), path, &tools.locks).ok();
    Ok(found.into_iter().filter_map(repository).collect())
}
