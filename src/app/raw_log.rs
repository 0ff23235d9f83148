//! The output of an attempt as its agent wrote it, byte for byte: what is there, or on and on until the job is over.

use futures_util::{Stream, StreamExt as _, stream};

use super::App;
use super::caller::Caller;
use super::error::AppError;
use super::job_log::Pieces;
use super::streams::Ear;
use crate::domain::id::JobNumber;
use crate::process::{self, LogPosition, ProcessError, Tail, Tailed};
use crate::store::StoreError;
use crate::worker::{AgentStep, agent_output, agent_tail};

/// Reads what the agents of a job write on, record by record.
pub struct RawFollower {
    app: App,
    job: JobNumber,
    attempt: u32,
    is_only_one: bool,
    /// How many turns of the attempt are read to their end.
    turns_read: usize,
    /// Behind what was given out of the next one.
    at: LogPosition,
    tail: Option<Turn>,
    ear: Ear,
}

struct Turn {
    tail: Tail,
    /// So it was before it was opened: then its end is its end, and not only that of a program that is still to begin.
    is_over: bool,
}

impl Pieces for RawFollower {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, AppError> {
        loop {
            let Some(turn) = &mut self.tail else {
                if !self.opens().await? {
                    return Ok(None);
                }
                continue;
            };
            let told = tokio::select! {
                () = self.ear.closing.cancelled() => return Ok(None),
                told = turn.tail.next() => told.map_err(broken)?,
            };
            self.at = turn.tail.position();
            match told {
                Some(Tailed::Record(record)) if record.stream == process::Stream::Stdout => {
                    return Ok(Some(record.payload));
                }
                Some(Tailed::Record(_) | Tailed::Skipped { .. } | Tailed::Torn) => {}
                Some(Tailed::Ended(_)) | None => {
                    if turn.is_over {
                        (self.turns_read, self.at) = (self.turns_read + 1, LogPosition::default());
                    }
                    let was_over = turn.is_over;
                    self.tail = None;
                    if !was_over && self.turn().await?.is_some_and(|(_, is_over)| !is_over) {
                        self.ear.hears().await;
                    }
                }
            }
        }
    }
}

impl RawFollower {
    /// Opens the next turn as soon as there is one; whether there is.
    async fn opens(&mut self) -> Result<bool, AppError> {
        while !self.ear.closing.is_cancelled() {
            if let Some((name, is_over)) = self.turn().await? {
                let App(inner) = &self.app;
                let (job, attempt) = (self.job, self.attempt);
                let step = AgentStep {
                    store: &inner.store,
                    run_dir: &inner.settings.run_dir,
                    job,
                    attempt,
                    name: &name,
                };
                let tail = agent_tail(&step, self.at).map_err(broken)?;
                self.tail = Some(Turn { tail, is_over });
                return Ok(true);
            }
            let state = match self.app.0.store.transcript_state(self.job, self.attempt).await {
                // past its time and forgotten meanwhile
                Err(StoreError::NotFound(_)) => return Ok(false),
                state => state?,
            };
            if self.attempt < state.newest && !self.is_only_one {
                (self.attempt, self.turns_read, self.at) = (self.attempt + 1, 0, LogPosition::default());
            } else if !state.is_live || self.attempt < state.newest {
                // one that began between the two looks is there by now
                if self.turn().await?.is_none() {
                    return Ok(false);
                }
            } else {
                self.ear.hears().await;
            }
        }
        Ok(false)
    }

    /// The next turn of the attempt, and whether it is over: what it has written is whole then.
    async fn turn(&self) -> Result<Option<(String, bool)>, AppError> {
        let state = match self.app.0.store.transcript_state(self.job, self.attempt).await {
            Err(StoreError::NotFound(_)) => return Ok(None),
            state => state?,
        };
        let turns = self.app.turns(self.job, self.attempt).await?;
        let is_over = !state.is_live || self.attempt < state.newest || turns.len() > self.turns_read + 1;
        Ok(turns.into_iter().nth(self.turns_read).map(|name| (name, is_over)))
    }
}

impl App {
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
        let turns = self.turns(job, attempt).await?;
        if turns.is_empty() {
            return Err(AppError::NotFound("output of this attempt"));
        }
        let output = |name: &String| {
            let run_dir = &self.0.settings.run_dir;
            agent_output(&AgentStep { store: &self.0.store, run_dir, job, attempt, name })
        };
        let outputs = turns.iter().map(output).collect::<Result<Vec<_>, _>>();
        Ok(stream::iter(outputs.map_err(broken)?).flatten())
    }

    /// The same, and what is still to come: until the attempt is over, or, when none is named, the job.
    ///
    /// # Errors
    /// As [`Self::follow_job_log`].
    pub async fn follow_raw_job_log(
        &self,
        caller: &Caller,
        job: &str,
        attempt: Option<i64>,
    ) -> Result<RawFollower, AppError> {
        let (job, first) = self.followed_from(caller, job, attempt).await?;
        let ear = self.0.streams.enter(caller, &self.0.store, Some(job))?;
        Ok(RawFollower {
            app: self.clone(),
            job,
            attempt: first,
            is_only_one: attempt.is_some(),
            turns_read: 0,
            at: LogPosition::default(),
            tail: None,
            ear,
        })
    }

    /// The steps of an attempt in which its agent ran, in their order.
    async fn turns(&self, job: JobNumber, attempt: u32) -> Result<Vec<String>, AppError> {
        let steps = self.0.store.list_steps(job, attempt).await?;
        let mut turns: Vec<_> =
            steps.into_iter().map(|step| step.name).filter(|name| name.starts_with("agent-")).collect();
        turns.sort_by_key(|name| turn_number(name));
        Ok(turns)
    }
}

fn broken(error: ProcessError) -> AppError {
    AppError::Internal(error.to_string())
}

/// `agent-10` comes after `agent-2` and `agent-2-2`.
fn turn_number(name: &str) -> Vec<u32> {
    name.split('-').filter_map(|part| part.parse().ok()).collect()
}
