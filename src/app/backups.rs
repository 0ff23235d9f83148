//! Backups of the database, and whether it can be written at all.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::token::Scope;
use crate::store::{self, BackupFile, BackupKind, StoreError};
use crate::wire::backup::{Backup, BackupEntry, Backups};
use crate::wire::fields::Reading;
use crate::wire::request::read_only_text;

/// `PATH_MAX` of Linux.
const PATH_BYTES_MAX: usize = 4_096;

impl App {
    /// Copies the database as it is now; writes go on meanwhile.
    ///
    /// # Errors
    /// [`AppError::Invalid`] for a file that cannot be written, [`AppError::DiskFull`] also when too little room would be
    /// left for jobs.
    pub async fn back_up(&self, caller: &Caller, body: &Value) -> Result<Backup, AppError> {
        caller.needs(Scope::Admin)?;
        let mut reading = Reading::default();
        let file = read_only_text(body, "file", &mut reading);
        if !file.as_deref().is_none_or(is_plain) {
            let rule = "must be the absolute path of a file, without `..`, of at most 4096 bytes";
            reading.fault("/file", rule.to_owned());
        }
        AppError::of_reading(&reading)?;
        let file = file.map(PathBuf::from);
        let made = self.0.store.back_up(BackupKind::Manual, file.clone()).await;
        let made = made.map_err(|error| refused(error, file.as_deref()))?;
        tracing::info!(by = caller.name, bytes = made.bytes, ms = made.took.as_millis(), "backup made");
        Ok(shown(&made, reading.warnings))
    }

    /// # Errors
    /// [`AppError::Forbidden`].
    pub fn backups(&self, caller: &Caller) -> Result<Backups, AppError> {
        caller.needs(Scope::Admin)?;
        Ok(Backups { backups: self.0.store.backups().into_iter().map(entry).collect() })
    }

    /// # Errors
    /// [`AppError::ReadOnly`] with the guide, when the database is damaged.
    pub fn accepts_changes(&self) -> Result<(), AppError> {
        match self.0.store.damage() {
            Some(damage) => Err(AppError::ReadOnly(damage.guide.clone())),
            None => Ok(()),
        }
    }
}

fn is_plain(path: &str) -> bool {
    let path = Path::new(path);
    let parts = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let ends_in_name = !path.as_os_str().as_encoded_bytes().ends_with(b"/") && path.file_name().is_some();
    path.is_absolute() && parts && ends_in_name && path.as_os_str().len() <= PATH_BYTES_MAX
}

fn refused(error: StoreError, file: Option<&Path>) -> AppError {
    match (error, file) {
        (StoreError::Exists, Some(_)) => {
            AppError::conflict("file_exists", "the file is there already: name another")
        }
        (StoreError::Io(error), Some(file)) => {
            let absent = file.parent().filter(|dir| !dir.exists());
            let why = match absent {
                Some(dir) => format!("the directory {} does not exist", dir.display()),
                None => error.kind().to_string(),
            };
            AppError::invalid("/file", format!("cannot be written by the server: {why}"))
        }
        (other, _) => other.into(),
    }
}

fn shown(made: &store::Backup, warnings: Vec<String>) -> Backup {
    Backup {
        name: made.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        file: made.path.to_string_lossy().into_owned(),
        bytes: made.bytes,
        duration_ms: u64::try_from(made.took.as_millis()).unwrap_or(u64::MAX),
        created_at: made.taken_at.into(),
        warnings,
    }
}

pub(super) fn entry(file: BackupFile) -> BackupEntry {
    BackupEntry {
        name: file.name,
        kind: file.kind.as_str().to_owned(),
        bytes: file.bytes,
        created_at: file.taken_at.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_goes_to_an_absolute_file() {
        assert!(is_plain("/mnt/usb/offshoot.db"));
        for bad in
            ["", "offshoot.db", "/", "/mnt/../etc/passwd", "/mnt/", "./x", &format!("/{}", "x".repeat(5_000))]
        {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
