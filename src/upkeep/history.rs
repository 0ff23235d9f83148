//! Output, events and jobs that are past their time.

use std::time::Duration;

use super::report::{Kind, Report};
use super::{Inner, Order};
use crate::domain::id::JobNumber;
use crate::domain::job::{Outcome, Status};
use crate::failpoint::{self, Edge};
use crate::git::{bytes_on_disk, remove_any};
use crate::store::{Forgettable, StoreError};

/// Jobs that are asked about at once.
pub(super) const ASKED_MAX: usize = 500;
/// Events that a dry run counts: enough to see that there are many.
const EVENTS_COUNTED: u32 = 100_000;
/// Batches of one pass, of 100 jobs or 2,000 events: the next pass goes on. An hour of the busiest queue makes fewer.
const BATCHES_MAX: u32 = 200;

impl Inner {
    pub(super) async fn forget_history(&self, order: Order, report: &mut Report) -> Result<(), StoreError> {
        self.forget_output(order, report).await?;
        self.forget_artifacts(order, report).await?;
        self.sweep_artifacts(order, report).await?;
        self.forget_events(order, report).await?;
        self.forget_audit(order, report).await?;
        self.forget_jobs(order, report).await
    }

    async fn forget_output(&self, order: Order, report: &mut Report) -> Result<(), StoreError> {
        let kept = &self.settings.logs;
        let before = kept.cutoffs(self.now(), |_| Duration::ZERO);
        for asked in self.store.logs().jobs().chunks(ASKED_MAX) {
            for (job, status) in self.store.ended_before(asked.to_vec(), before).await? {
                let bytes = self.remove_output(job, order.dry_run).await?;
                let why = format!("older than {}", kept.rule(status));
                report.add(Kind::Output, &format!("#{job}"), &why, bytes);
            }
        }
        Ok(())
    }

    /// The rows first: a message that points nowhere would say that its text was lost.
    async fn remove_output(&self, job: JobNumber, dry_run: bool) -> Result<Option<u64>, StoreError> {
        if !dry_run {
            self.store.forget_output(job).await?;
        }
        let dir = self.store.logs().job_dir(job);
        let removed = tokio::task::spawn_blocking(move || {
            let bytes = bytes_on_disk(&dir);
            if dry_run {
                return bytes;
            }
            if let Err(error) = failpoint::at(Edge::DeleteOutput, || remove_any(&dir)) {
                tracing::warn!(%error, job.number = job.0, "old output could not be removed yet");
            }
            bytes
        });
        Ok(removed.await.ok())
    }

    async fn forget_events(&self, order: Order, report: &mut Report) -> Result<(), StoreError> {
        let before = self.now() - self.settings.events;
        let mut count = 0;
        if order.dry_run {
            count = self.store.count_old_events(before, EVENTS_COUNTED).await?;
        } else {
            for _ in 0..BATCHES_MAX {
                let gone = self.store.forget_events(before).await?;
                count += gone;
                if gone == 0 {
                    break;
                }
            }
        }
        if count > 0 {
            report.add(Kind::Events, &format!("{count} events"), "older than retention.event_days", None);
        }
        Ok(())
    }

    /// So long may work that is published nowhere be in a worktree, and then in its snapshot, which is asked for by the job.
    fn kept_unpublished(&self, status: Status) -> Duration {
        self.settings.worktrees.after(status) + self.settings.snapshots
    }

    fn why_forgotten(&self, job: &Forgettable) -> String {
        let Forgettable { status, outcome, .. } = *job;
        let may_be_unpublished = matches!(outcome, Outcome::DryRun | Outcome::Failed | Outcome::Cancelled);
        if may_be_unpublished && self.kept_unpublished(status) > self.settings.jobs.after(status) {
            let worktree = self.settings.worktrees.rule(status);
            return format!("older than {worktree} and git.snapshot_days together");
        }
        format!("older than {}", self.settings.jobs.rule(status))
    }

    async fn forget_audit(&self, order: Order, report: &mut Report) -> Result<(), StoreError> {
        let before = self.now() - self.settings.audit;
        let mut count = 0;
        if order.dry_run {
            count = self.store.count_forgettable_audit(before, EVENTS_COUNTED.into()).await?;
        } else {
            for _ in 0..BATCHES_MAX {
                let gone = self.store.forget_audit(before).await?;
                count += gone;
                if gone == 0 {
                    break;
                }
            }
        }
        if count > 0 {
            report.add(
                Kind::Audit,
                &format!("{count} calls"),
                "older than retention.audit_days, or too many",
                None,
            );
        }
        Ok(())
    }

    async fn forget_jobs(&self, order: Order, report: &mut Report) -> Result<(), StoreError> {
        let before = self.settings.jobs.cutoffs(self.now(), |status| self.kept_unpublished(status));
        if !order.dry_run {
            // what an earlier server was about to forget
            let begun = self.store.being_forgotten().await?;
            if !begun.is_empty() {
                self.forget_begun(begun).await?;
            }
        }
        for _ in 0..BATCHES_MAX {
            let jobs = self.store.forgettable_jobs(before).await?;
            if jobs.is_empty() {
                break;
            }
            let mut going: Vec<_> = jobs.iter().map(|job| job.number).collect();
            if !order.dry_run {
                going = self.store.begin_to_forget(going, before).await?;
                self.forget_begun(going.clone()).await?;
            }
            for job in jobs.iter().filter(|job| going.contains(&job.number)) {
                let what = format!("#{} ({})", job.number, job.id);
                report.add(Kind::Job, &what, &self.why_forgotten(job), None);
            }
            if order.dry_run {
                break;
            }
        }
        Ok(())
    }

    /// The files before the rows: what has neither would be nobody's.
    async fn forget_begun(&self, jobs: Vec<JobNumber>) -> Result<(), StoreError> {
        for job in jobs {
            self.remove_output(job, false).await?;
            self.remove_artifacts(job, false).await?;
        }
        self.store.forget_jobs().await?;
        Ok(())
    }
}
