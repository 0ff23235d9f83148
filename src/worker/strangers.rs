//! Agents of jobs that the database does not know: after a restored backup they go on for nobody.

use super::Worker;
use crate::process::{Control, ProcessError, StepState, inspect};
use crate::store::StoreError;

/// Asks every supervisor of an unknown job to end its tree. What it worked in and what it said stay on disk.
///
/// # Errors
/// What the store said; a step that cannot be looked at is logged.
pub async fn stop_strangers(worker: &Worker) -> Result<(), StoreError> {
    let tools = &*worker.0;
    for job in tools.store.unknown_jobs().await? {
        for (attempt, name) in tools.store.logs().steps_of(job) {
            let stop = || -> Result<bool, ProcessError> {
                let step = tools.any_step(job, attempt, &name)?;
                match inspect(&step)? {
                    StepState::Running(_) => Control::new(&step).stop().map(|()| true),
                    _ => Ok(false),
                }
            };
            match stop() {
                Ok(false) => {}
                Ok(true) => {
                    tracing::warn!(
                        job.number = job.0,
                        attempt,
                        step = name,
                        "the job is not in the database: its agent is stopped"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, job.number = job.0, attempt, step = name, "a step of an unknown job is left alone");
                }
            }
        }
    }
    Ok(())
}
