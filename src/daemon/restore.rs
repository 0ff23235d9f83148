//! Putting a backup in the place of the database, while no server runs.

use std::path::{Path, PathBuf};

use super::StartError;
use super::lock::InstanceLock;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::{self, Restored, StoreError};

/// Names that are shown of what there is.
const SHOWN_MAX: usize = 8;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Another server, or a data directory that cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("there is no backup {name}; {there_are}")]
    Absent { name: String, there_are: String },
    #[error("the backup cannot be used, and nothing was changed: {0}")]
    Unfit(#[from] StoreError),
}

impl RestoreError {
    /// As of a server that does not start; 1 for a backup that is absent or damaged.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(error) => error.exit_code(),
            Self::Unfit(StoreError::NewerSchema { .. }) => super::EXIT_CONFIG,
            Self::Absent { .. } | Self::Unfit(_) => 1,
        }
    }

    /// What to do about it, and the command for that.
    #[must_use]
    pub fn hint(&self) -> (&'static str, String) {
        match self {
            Self::Start(StartError::Locked { .. }) => {
                ("stop the server first", "systemctl --user stop offshoot".to_owned())
            }
            Self::Unfit(StoreError::NewerSchema { .. }) => {
                ("use the offshoot that wrote it, or a newer one", "offshoot version".to_owned())
            }
            _ => ("see where backups lie", "offshoot config show --origin".to_owned()),
        }
    }
}

/// Replaces the database by the backup of this name, or by this file. What was there is set aside.
///
/// # Errors
/// Nothing was changed then, unless the disk failed half-way; repeating it is safe.
pub fn restore(config: &Config, backup: &Path) -> Result<Restored, RestoreError> {
    let data_dir = &config.paths.data_dir;
    config.paths.ensure().map_err(StartError::from)?;
    let _lock = InstanceLock::take(data_dir)?;
    let file = find(data_dir, backup).ok_or_else(|| absent(data_dir, backup))?;
    Ok(store::restore(data_dir, &file, &Clock::system())?)
}

/// A bare name is looked for among the backups first.
fn find(data_dir: &Path, backup: &Path) -> Option<PathBuf> {
    let is_bare = backup.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    let named = is_bare.then(|| store::backup::dir(data_dir).join(backup));
    named.into_iter().chain([backup.to_owned()]).find(|path| path.is_file())
}

fn absent(data_dir: &Path, backup: &Path) -> RestoreError {
    let known: Vec<_> =
        store::backup::list(data_dir).into_iter().take(SHOWN_MAX).map(|backup| backup.name).collect();
    let there_are = match known.len() {
        0 => "there are none beside the database".to_owned(),
        _ => format!("the newest are: {}", known.join(", ")),
    };
    RestoreError::Absent { name: backup.display().to_string(), there_are }
}
