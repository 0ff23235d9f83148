//! The output of an attempt, as people read it.

use std::path::PathBuf;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use super::streams::Ear;
use crate::domain::id::JobNumber;
use crate::store::{Store, StoreError};

/// Output in one piece, bytes: what a reader is behind by costs no more memory than this.
const PIECE_BYTES_MAX: u64 = 64 * 1_024;

/// What is read on and on, in pieces of a bounded size.
pub trait Pieces: Send {
    /// The next piece; `None` at the end. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// What the store or the file system said.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, AppError>> + Send;
}

/// Reads the output of a job on, piece by piece.
pub struct LogFollower {
    store: Store,
    job: JobNumber,
    attempt: u32,
    is_only_one: bool,
    offset: u64,
    ear: Ear,
}

impl Pieces for LogFollower {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, AppError> {
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
        let (job, first) = self.followed_from(caller, job, attempt).await?;
        let store = self.0.store.clone();
        let ear = self.0.streams.enter(caller, &store, Some(job))?;
        Ok(LogFollower { store, job, attempt: first, is_only_one: attempt.is_some(), offset: 0, ear })
    }

    /// The job and the attempt to begin at: the one that is named, else the newest, or the first that will be.
    pub(super) async fn followed_from(
        &self,
        caller: &Caller,
        job: &str,
        attempt: Option<i64>,
    ) -> Result<(JobNumber, u32), AppError> {
        if attempt.is_some() {
            return self.attempt(caller, job, attempt).await;
        }
        let job = self.view(caller, job).await?.job;
        Ok((job.number, job.attempt.max(1)))
    }

    pub(super) async fn attempt(
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
