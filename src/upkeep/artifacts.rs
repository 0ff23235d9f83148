//! Files that jobs have kept and that are past their time, and half copies that no job names.

use std::path::PathBuf;
use std::time::Duration;

use super::history::ASKED_MAX;
use super::report::{Kind, Report};
use super::{Inner, Order};
use crate::domain::id::JobNumber;
use crate::failpoint::{self, Edge};
use crate::git::{bytes_on_disk, remove_any};
use crate::store::StoreError;

impl Inner {
    pub(super) async fn forget_artifacts(&self, order: Order, report: &mut Report) -> Result<(), StoreError> {
        let kept = &self.settings.artifacts;
        let before = kept.cutoffs(self.now(), |_| Duration::ZERO);
        for asked in self.store.artifacts().jobs().chunks(ASKED_MAX) {
            for (job, status) in self.store.ended_before(asked.to_vec(), before).await? {
                let bytes = self.remove_artifacts(job, order.dry_run).await?;
                let why = format!("older than {}", kept.rule(status));
                report.add(Kind::Artifacts, &format!("#{job}"), &why, bytes);
            }
        }
        Ok(())
    }

    /// What a killed server had not copied whole, or not removed any more. What a live job names it may be just making.
    pub(super) async fn sweep_artifacts(&self, order: Order, report: &mut Report) -> Result<(), StoreError> {
        let files = self.store.artifacts();
        for asked in files.jobs().chunks(ASKED_MAX) {
            for (job, kept) in self.store.ended_with_artifacts(asked.to_vec()).await? {
                let others = files.attempts(job).into_iter().filter(|attempt| Some(*attempt) != kept);
                for attempt in others {
                    let bytes = remove(files.attempt_dir(job, attempt), order.dry_run).await;
                    report.add(Kind::Artifacts, &format!("#{job}"), "no job names it", bytes);
                }
            }
        }
        Ok(())
    }

    /// The row first: a job must not name what is gone.
    pub(super) async fn remove_artifacts(
        &self,
        job: JobNumber,
        dry_run: bool,
    ) -> Result<Option<u64>, StoreError> {
        let dir = self.store.artifacts().job_dir(job);
        if !dry_run && tokio::fs::symlink_metadata(&dir).await.is_ok() {
            self.store.forget_artifacts(job).await?;
        }
        Ok(remove(dir, dry_run).await)
    }
}

async fn remove(dir: PathBuf, dry_run: bool) -> Option<u64> {
    let removed = tokio::task::spawn_blocking(move || {
        let bytes = bytes_on_disk(&dir);
        if dry_run {
            return bytes;
        }
        if let Err(error) = failpoint::at(Edge::DeleteArtifacts, || remove_any(&dir)) {
            tracing::warn!(%error, "kept files could not be removed yet");
        }
        bytes
    });
    removed.await.ok()
}
