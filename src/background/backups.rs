//! A backup a day.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::store::{BackupKind, Store, StoreError};

/// How late a backup may come: what it is due by is a day.
const PERIOD: Duration = Duration::from_secs(600);

/// Makes a backup when the newest is a day old.
pub struct Backups {
    store: Store,
    shutdown: CancellationToken,
}

impl Backups {
    #[must_use]
    pub fn new(store: Store, shutdown: CancellationToken) -> Self {
        Self { store, shutdown }
    }

    /// Runs until told to shut down. A backup that is being written then is given up.
    pub async fn run(self) {
        loop {
            let round = async {
                if let Err(error) = self.tick().await {
                    tracing::error!(%error, "the daily backup failed; it is tried again in ten minutes");
                }
                sleep(PERIOD).await;
            };
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = round => {}
            }
        }
    }

    async fn tick(&self) -> Result<(), StoreError> {
        if !self.store.is_backup_due() {
            return Ok(());
        }
        let made = self.store.back_up(BackupKind::Daily, None).await?;
        tracing::info!(bytes = made.bytes, ms = made.took.as_millis(), "daily backup made");
        Ok(())
    }
}
