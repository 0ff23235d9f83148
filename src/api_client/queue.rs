//! The calls about the queue and the server itself.

use std::time::Duration;

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::backup::{Backup, BackupRequest};
use crate::wire::gc::GcReport;
use crate::wire::health::Health;
use crate::wire::queue::Queue;
use crate::wire::request::{GcRequest, PauseRequest, TryNowRequest};

/// A pass over many clones with large worktrees; the server goes on when nobody waits any more.
const GC_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A gigabyte takes ten seconds; this is for ten of them on a slow disk.
const BACKUP_LIMIT: Duration = Duration::from_secs(600);

impl ApiClient {
    /// How the server is.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn health(&self) -> Result<Health, ApiError> {
        self.call(Method::GET, &["health"], &[]).answer().await
    }

    /// The description of the API, as the server gives it.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn openapi(&self) -> Result<String, ApiError> {
        self.call(Method::GET, &["openapi.json"], &[]).text().await
    }

    /// Copies the database as it is now, to this file of the server's machine or beside its other backups.
    ///
    /// # Errors
    /// When the token may not, the file is there already, or the disk is full.
    pub async fn back_up(&self, file: Option<String>) -> Result<Backup, ApiError> {
        let call = self.call(Method::POST, &["backups"], &[]).json(&BackupRequest { file });
        call.patience(BACKUP_LIMIT).answer().await
    }

    /// What runs, and the first 200 of what waits.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn queue(&self) -> Result<Queue, ApiError> {
        self.call(Method::GET, &["queue"], &[]).answer().await
    }

    /// Starts no further jobs. Doing it twice is fine.
    ///
    /// # Errors
    /// When the token may not.
    pub async fn pause_queue(&self, reason: Option<String>) -> Result<Queue, ApiError> {
        self.call(Method::POST, &["queue", "pause"], &[]).json(&PauseRequest { reason }).answer().await
    }

    /// Starts jobs again. Doing it twice is fine.
    ///
    /// # Errors
    /// When the token may not.
    pub async fn resume_queue(&self) -> Result<Queue, ApiError> {
        self.call(Method::POST, &["queue", "resume"], &[]).answer().await
    }

    /// Takes away what is past its time; a dry run only tells.
    ///
    /// # Errors
    /// When the token may not.
    pub async fn gc(&self, dry_run: bool) -> Result<GcReport, ApiError> {
        let call = self.call(Method::POST, &["gc"], &[]).json(&GcRequest { dry_run });
        call.patience(GC_LIMIT).answer().await
    }

    /// Sends a job of each held login, or of this one, out as a probe.
    ///
    /// # Errors
    /// When the token may not, or the login is not configured.
    pub async fn try_now(&self, login: Option<String>) -> Result<Queue, ApiError> {
        self.call(Method::POST, &["queue", "try-now"], &[]).json(&TryNowRequest { login }).answer().await
    }
}
