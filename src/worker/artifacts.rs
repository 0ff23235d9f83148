//! `artifacts`: files of the worktree that are kept beyond it.
//!
//! They are kept when the agent's work is accepted, before it is committed: a job that changes nothing may have made a report
//! all the same. Whether one is missing is asked when there is a commit: the work is paid for, and somebody may want it
//! published without the report. What a job has failed with is kept too, as far as it goes.

use std::path::Path;

use super::attempt::Line;
use super::file_globs::FileGlobs;
use super::halt::{Halt, Step};
use super::steps::check_worktree;
use crate::domain::artifact::{Artifact, Artifacts};
use crate::domain::attempt::AttemptEnd;
use crate::domain::job::Job;
use crate::domain::reason::ReasonCode;
use crate::domain::retry::originals;
use crate::git::{GitError, is_disk_full, remove_any};

/// Globs that a reason names.
const MISSING_NAMED: usize = 10;

impl Line<'_> {
    /// Keeps what the globs name of work that was accepted; once in an attempt.
    pub(super) async fn keep_artifacts(&mut self, worktree: &Path) -> Step<()> {
        // what was found to be without a change has been through here, and its worktree may be gone by now
        if !self.has_to_keep() || self.job.effects.files_changed == Some(0) {
            return Ok(());
        }
        self.check_signals()?;
        check_worktree(worktree)?;
        self.keep(worktree).await
    }

    /// The same after a failure, which stays what it is: how the tests went is asked for most when they went wrong.
    pub(super) async fn keep_artifacts_of_failure(&mut self, end: &AttemptEnd) -> Step<()> {
        // what was cut off has no result, and servers may have died over what it left
        let cut_off =
            matches!(end, AttemptEnd::Faulted { reason, .. } if reason.code == ReasonCode::Interrupted);
        // before this attempt had begun, the worktree was another job's
        if cut_off || !self.has_to_keep() || !self.has_begun().unwrap_or(false) {
            return Ok(());
        }
        let worktree = self.tools.worktree_path(&self.client, &self.job.chain.root);
        if check_worktree(&worktree).is_err() {
            return Ok(());
        }
        match self.keep(&worktree).await {
            Err(Halt::Ended(AttemptEnd::Faulted { reason, .. })) => {
                self.warn(&format!("artifacts: nothing was kept: {}", reason.message)).await
            }
            // somebody who cancels it now does not wait for them
            Err(Halt::Ended(_)) => Ok(()),
            kept => kept,
        }
    }

    /// Refuses work without a file that was to be kept.
    pub(super) fn check_artifacts(&self) -> Step<()> {
        // a commit that is only published is published as it is
        let is_own = !self.job.only_publishes();
        let Some(kept) = self.job.artifacts.as_ref().filter(|_| is_own && self.has_kept()) else {
            return Ok(());
        };
        let missing = kept.missing(&self.options.artifacts);
        if missing.is_empty() {
            return Ok(());
        }
        let named: Vec<_> = missing.iter().take(MISSING_NAMED).map(|glob| format!("\"{glob}\"")).collect();
        let more = match missing.len().saturating_sub(MISSING_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let detail = format!("Nothing was kept for {}{more}.", named.join(", "));
        Err(Halt::fault(ReasonCode::ArtifactMissing, &detail))
    }

    /// Gives a job that only publishes what was kept with its commit.
    pub(super) async fn take_over_artifacts(&mut self, chain: &[Job]) -> Step<()> {
        let Some((from, mut kept)) = kept_before(&self.job, chain) else { return Ok(()) };
        let files = self.tools.store.artifacts().clone();
        let (of, to, count) =
            ((from.number, kept.attempt), (self.lease.job, self.lease.attempt), kept.files.len());
        let taken = tokio::task::spawn_blocking(move || files.take_over(of, to, count)).await;
        match taken {
            Ok(Ok(())) => {
                kept.attempt = self.lease.attempt;
                self.record_artifacts(kept).await
            }
            Ok(Err(error)) if is_disk_full(&error) => Err(Halt::fault(ReasonCode::DiskFull, "")),
            Ok(Err(error)) => {
                tracing::warn!(%error, "kept files could not be taken over");
                let text = format!(
                    "artifacts: those of job #{0} could not be taken over; while it has them: offshoot artifacts {0}",
                    from.number
                );
                self.warn(&text).await
            }
            Err(error) => Err(Halt::internal("kept files could not be taken over", error)),
        }
    }

    /// Whether there is anything to keep that this attempt has not kept yet.
    fn has_to_keep(&self) -> bool {
        !self.options.artifacts.is_empty() && !self.has_kept()
    }

    fn has_kept(&self) -> bool {
        self.job.artifacts.as_ref().is_some_and(|kept| kept.attempt == self.lease.attempt)
    }

    async fn keep(&mut self, worktree: &Path) -> Step<()> {
        let (files, job) = (self.tools.store.artifacts().clone(), self.lease.job);
        let into = files.attempt_dir(job, self.lease.attempt);
        match tokio::task::spawn_blocking(move || files.make_job_dir(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_disk_full(&error) => return Err(Halt::fault(ReasonCode::DiskFull, "")),
            Ok(Err(error)) => return Err(Halt::internal("there is no place for kept files", error)),
            Err(error) => return Err(Halt::internal("there is no place for kept files", error)),
        }
        let wishes = FileGlobs::new(&self.options.artifacts, self.signals);
        let caps = self.tools.settings.artifact_caps;
        let repository = self.tools.repository(&self.client)?;
        let copied = match repository.copy_out(worktree, &into, wishes, caps).await {
            // the server that goes on with it begins anew
            Err(GitError::GivenUp) => return Err(self.given_up()),
            copied => copied?,
        };
        // told before they are recorded: whoever finds them recorded does not look again
        for note in copied.notes {
            self.warn(&format!("artifacts: {}: {}", note.path, note.text)).await?;
        }
        let files: Vec<_> = copied.files.into_iter().map(|(path, bytes)| Artifact { path, bytes }).collect();
        if !files.is_empty() {
            let bytes: u64 = files.iter().map(|file| file.bytes).sum();
            let plural = if files.len() == 1 { "file" } else { "files" };
            self.say(&format!("kept {} {plural}, {bytes} bytes", files.len())).await?;
        }
        self.record_artifacts(Artifacts { attempt: self.lease.attempt, files }).await
    }

    async fn record_artifacts(&mut self, kept: Artifacts) -> Step<()> {
        self.tools.store.record_artifacts(self.lease, kept.clone()).await?;
        self.job.artifacts = Some(kept);
        // what earlier attempts had kept: named by nobody from here on
        let (files, job, newest) = (self.tools.store.artifacts().clone(), self.lease.job, self.lease.attempt);
        let removed = tokio::task::spawn_blocking(move || {
            let mut older = files.attempts(job).into_iter().filter(|attempt| *attempt != newest);
            older.try_for_each(|attempt| remove_any(&files.attempt_dir(job, attempt)))
        });
        if !matches!(removed.await, Ok(Ok(()))) {
            tracing::warn!("what earlier attempts had kept is removed later");
        }
        Ok(())
    }
}

/// What the job that made the commit has kept: the one that is retried, or the one whose commit that was to publish in turn.
fn kept_before<'c>(job: &Job, chain: &'c [Job]) -> Option<(&'c Job, Artifacts)> {
    let found = originals(job, chain).find(|other| other.artifacts.is_some() || !other.only_publishes())?;
    Some((found, found.artifacts.clone()?))
}
