//! The repository of one transfer: made for it, and gone with it, however it ends.

use std::fs;
use std::path::{Path, PathBuf};

use crate::git::error::GitError;
use crate::git::repository::{Repository, blocking};
use crate::git::{disk, tamper};

/// Removed when it is dropped, for whoever waits for a transfer may give up: gigabytes may have come by then. What a killed server
/// leaves is swept.
pub(super) struct TransferPlace(Option<PathBuf>);

impl TransferPlace {
    /// Of a clone that was compared.
    pub(super) async fn make(repository: &Repository, path: PathBuf) -> Result<Self, GitError> {
        let place = Self(Some(path.clone()));
        repository
            .verified(move |_| {
                fs::create_dir_all(&path)
                    .and_then(|()| tamper::lay_out(&path))
                    .map_err(GitError::io("make the place of a transfer"))
            })
            .await?;
        Ok(place)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or_else(|| Path::new(""))
    }

    pub(super) async fn remove(mut self) -> Result<(), GitError> {
        let Some(path) = self.0.take() else { return Ok(()) };
        blocking(move || disk::remove_any(&path).map_err(GitError::io("remove the place of a transfer")))
            .await
    }
}

impl Drop for TransferPlace {
    fn drop(&mut self) {
        let Some(path) = self.0.take() else { return };
        let remove = move || {
            if let Err(error) = disk::remove_any(&path) {
                tracing::warn!(%error, "the place of a transfer stays until it is swept");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
