//! The output of an attempt: as people read it, or as the agent wrote it.

use std::path::PathBuf;

use futures_util::{Stream, StreamExt as _, stream};

use super::App;
use super::caller::Caller;
use super::error::AppError;
use super::streams::Ear;
use crate::domain::id::JobNumber;
use crate::store::{Store, StoreError};
use crate::worker::{AgentStep, agent_output};

/// Output in one piece, bytes: what a reader is behind by costs no more memory than this.
const PIECE_BYTES_MAX: u64 = 64 * 1_024;

/// Reads the output of a job on, piece by piece.
pub struct LogFollower {
    store: Store,
    job: JobNumber,
    attempt: u32,
    is_only_one: bool,
    offset: u64,
    ear: Ear,
}

impl LogFollower {
    /// The next piece; `None` at the end. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// What the store or the file system said.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, AppError> {
        loop {
            if self.ear.closing.is_cancelled() {
                return Ok(None);
            }
            let state = match self.store.transcript_state(self.job, self.attempt).await {
                // past its time and forgotten meanwhile
                Err(StoreError::NotFound(_)) => return Ok(None),
                state => state?,
            };
            if self.offset < state.bytes {
                let bytes = PIECE_BYTES_MAX.min(state.bytes - self.offset);
                let piece = self.store.logs().read_transcript(self.job, self.attempt, self.offset, bytes);
                let piece = piece.await.map_err(|error| AppError::Internal(error.to_string()))?;
                // what a power failure took, or retention, does not come any more
                self.offset = if piece.is_empty() { state.bytes } else { self.offset + piece.len() as u64 };
                if !piece.is_empty() {
                    return Ok(Some(piece));
                }
            } else if self.attempt < state.newest && !self.is_only_one {
                (self.attempt, self.offset) = (self.attempt + 1, 0);
            } else if !state.is_live || self.attempt < state.newest {
                return Ok(None);
            } else {
                self.ear.hears().await;
            }
        }
    }
}

impl App {
    /// The file with the readable output of an attempt; of the newest when none is named.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job, the attempt, or when there is no output yet.
    pub async fn job_log(
        &self,
        caller: &Caller,
        job: &str,
        attempt: Option<i64>,
    ) -> Result<PathBuf, AppError> {
        let (job, attempt) = self.attempt(caller, job, attempt).await?;
        let path = self.0.store.logs().attempt_dir(job, attempt).join("transcript");
        match tokio::fs::try_exists(&path).await {
            Ok(true) => Ok(path),
            _ => Err(AppError::NotFound("output of this attempt")),
        }
    }

    /// What the agent of an attempt has written to its standard output so far, byte for byte; the turns in which it repaired
    /// its work behind the first.
    ///
    /// # Errors
    /// As [`Self::job_log`].
    pub async fn raw_job_log(
        &self,
        caller: &Caller,
        job: &str,
        attempt: Option<i64>,
    ) -> Result<impl Stream<Item = std::io::Result<Vec<u8>>> + Send + use<>, AppError> {
        let (job, attempt) = self.attempt(caller, job, attempt).await?;
        let steps = self.0.store.list_steps(job, attempt).await?;
        let mut turns: Vec<_> =
            steps.into_iter().map(|step| step.name).filter(|name| name.starts_with("agent-")).collect();
        if turns.is_empty() {
            return Err(AppError::NotFound("output of this attempt"));
        }
        turns.sort_by_key(|name| turn_number(name));
        let output = |name: &String| {
            let run_dir = &self.0.settings.run_dir;
            agent_output(&AgentStep { store: &self.0.store, run_dir, job, attempt, name })
        };
        let outputs = turns.iter().map(output).collect::<Result<Vec<_>, _>>();
        Ok(stream::iter(outputs.map_err(|error| AppError::Internal(error.to_string()))?).flatten())
    }

    /// What an attempt said and says, until it is over; of the newest and of those after it when none is named, until the
    /// job is over.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job or the attempt; [`AppError::TooManyStreams`].
    pub async fn follow_job_log(
        &self,
        caller: &Caller,
        job: &str,
        attempt: Option<i64>,
    ) -> Result<LogFollower, AppError> {
        let (job, first) = match attempt {
            Some(_) => self.attempt(caller, job, attempt).await?,
            None => {
                let job = self.view(caller, job).await?.job;
                (job.number, job.attempt.max(1))
            }
        };
        let store = self.0.store.clone();
        let ear = self.0.streams.enter(caller, &store, Some(job))?;
        Ok(LogFollower { store, job, attempt: first, is_only_one: attempt.is_some(), offset: 0, ear })
    }

    async fn attempt(
        &self,
        caller: &Caller,
        job: &str,
        attempt: Option<i64>,
    ) -> Result<(JobNumber, u32), AppError> {
        let job = self.view(caller, job).await?.job;
        let attempt = attempt.map_or(job.attempt, |attempt| u32::try_from(attempt).unwrap_or(0));
        if attempt == 0 || attempt > job.attempt {
            return Err(AppError::NotFound("attempt"));
        }
        Ok((job.number, attempt))
    }
}

/// `agent-10` comes after `agent-2` and `agent-2-2`.
fn turn_number(name: &str) -> Vec<u32> {
    name.split('-').filter_map(|part| part.parse().ok()).collect()
}
