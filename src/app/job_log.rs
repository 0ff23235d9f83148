//! The output of an attempt: as people read it, or as the agent wrote it.

use std::path::PathBuf;

use futures_util::Stream;

use super::App;
use super::error::AppError;
use crate::domain::id::JobNumber;
use crate::worker::{AgentStep, agent_output};

impl App {
    /// The file with the readable output of an attempt; of the newest when none is named.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job, the attempt, or when there is no output yet.
    pub async fn job_log(&self, job: &str, attempt: Option<i64>) -> Result<PathBuf, AppError> {
        let (job, attempt) = self.attempt(job, attempt).await?;
        let path = self.0.store.logs().attempt_dir(job, attempt).join("transcript");
        match tokio::fs::try_exists(&path).await {
            Ok(true) => Ok(path),
            _ => Err(AppError::NotFound("output of this attempt")),
        }
    }

    /// What the agent of an attempt has written to its standard output so far, byte for byte.
    ///
    /// # Errors
    /// As [`Self::job_log`].
    pub async fn raw_job_log(
        &self,
        job: &str,
        attempt: Option<i64>,
    ) -> Result<impl Stream<Item = std::io::Result<Vec<u8>>> + Send + use<>, AppError> {
        let (job, attempt) = self.attempt(job, attempt).await?;
        let steps = self.0.store.list_steps(job, attempt).await?;
        let agent = steps.into_iter().rfind(|step| step.name.starts_with("agent-"));
        let step = agent.ok_or(AppError::NotFound("output of this attempt"))?.name;
        let step =
            AgentStep { store: &self.0.store, run_dir: &self.0.settings.run_dir, job, attempt, name: &step };
        agent_output(&step).map_err(|error| AppError::Internal(error.to_string()))
    }

    async fn attempt(&self, job: &str, attempt: Option<i64>) -> Result<(JobNumber, u32), AppError> {
        let job = self.view(job).await?.job;
        let attempt = attempt.map_or(job.attempt, |attempt| u32::try_from(attempt).unwrap_or(0));
        if attempt == 0 || attempt > job.attempt {
            return Err(AppError::NotFound("attempt"));
        }
        Ok((job.number, attempt))
    }
}
