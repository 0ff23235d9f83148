//! What an agent wrote, byte for byte, for those who want to read it themselves.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::timeout;

use crate::domain::id::JobNumber;
use crate::process::{self, LogPosition, ProcessError, StepDir, StepName, Tail, Tailed};
use crate::store::Store;

/// A record that is there is given out at once; what takes longer is not there yet.
const NOTHING_MORE: Duration = Duration::from_millis(200);

/// The step whose output is asked for.
pub struct AgentStep<'a> {
    pub store: &'a Store,
    pub run_dir: &'a Path,
    pub job: JobNumber,
    pub attempt: u32,
    /// Within the attempt: `agent-1`.
    pub name: &'a str,
}

/// The agent's standard output so far, in pieces as they were read.
///
/// # Errors
/// When the step's name or place is unusable, which would be a fault of ours.
pub fn agent_output(
    step: &AgentStep<'_>,
) -> Result<impl Stream<Item = io::Result<Vec<u8>>> + Send + use<>, ProcessError> {
    let tail = agent_tail(step, LogPosition::default())?;
    Ok(stream::unfold(tail, |mut tail| async move {
        loop {
            match timeout(NOTHING_MORE, tail.next()).await {
                Ok(Ok(Some(Tailed::Record(record)))) if record.stream == process::Stream::Stdout => {
                    return Some((Ok(record.payload), tail));
                }
                Ok(Ok(Some(Tailed::Record(_) | Tailed::Skipped { .. } | Tailed::Torn))) => {}
                Ok(Err(error)) => return Some((Err(io::Error::other(error)), tail)),
                Ok(Ok(Some(Tailed::Ended(_)) | None)) | Err(_) => return None,
            }
        }
    }))
}

/// Everything that the step writes from `from` on.
///
/// # Errors
/// As [`agent_output`].
pub fn agent_tail(step: &AgentStep<'_>, from: LogPosition) -> Result<Tail, ProcessError> {
    let number = u64::try_from(step.job.0).unwrap_or(0);
    let name = StepName::new(step.store.instance(), number, step.attempt, step.name)?;
    let dir = step.store.logs().step_dir(step.job, step.attempt, step.name);
    Ok(Tail::open(&StepDir::new(dir, step.run_dir, name)?, from))
}
