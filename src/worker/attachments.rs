//! The files that came with a job, where its agent can read them: beside its logs, never in the worktree.

use std::path::PathBuf;

use super::attempt::Line;
use super::halt::{Halt, Step};
use crate::domain::reason::ReasonCode;
use crate::git::{is_disk_full, remove_any};

impl Line<'_> {
    /// Lays out what came with the job and tells where. Each turn of the agent gets its files anew: an earlier one may have
    /// changed them.
    pub(super) async fn lay_out_attachments(&self) -> Step<Vec<PathBuf>> {
        if self.job.request.attachments.is_empty() {
            return Ok(Vec::new());
        }
        let files = self.tools.store.attached_files(self.lease.job).await?;
        if files.len() != self.job.request.attachments.len() {
            return Err(Halt::fault(
                ReasonCode::Internal,
                "Files that came with it are not in the database.",
            ));
        }
        let (logs, job) = (self.tools.store.logs().clone(), self.lease.job);
        let lay_out = move || {
            // whatever an agent has made of the directory, be it a link, a file or closed to us
            remove_any(&logs.attachments_dir(job))?;
            logs.lay_out_attachments(job, &files)
        };
        match tokio::task::spawn_blocking(lay_out).await {
            Ok(Ok(paths)) => Ok(paths),
            Ok(Err(error)) if is_disk_full(&error) => Err(Halt::fault(ReasonCode::DiskFull, "")),
            Ok(Err(error)) => Err(Halt::internal("the attachments cannot be written", error)),
            Err(error) => Err(Halt::internal("the attachments cannot be written", error)),
        }
    }
}
