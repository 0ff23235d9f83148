//! A job with its retries and follow-ups.

use rusqlite::Connection;

use super::super::Store;
use super::super::error::StoreError;
use super::jobs::JOB_VIEW;
use super::rows;
use crate::domain::id::JobId;
use crate::domain::job::{Chain, Job};
use crate::domain::retry;

impl Store {
    /// All jobs of the chain that begins with `root`, oldest first.
    ///
    /// # Errors
    /// What the database said.
    pub async fn chain_of(&self, root: &JobId) -> Result<Vec<Job>, StoreError> {
        let root = root.clone();
        self.database.read(move |connection| of(connection, &root)).await
    }
}

fn of(connection: &Connection, root: &JobId) -> Result<Vec<Job>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("{JOB_VIEW} WHERE j.root_id = ?1 ORDER BY j.number"))?;
    let jobs = statement.query_map([root.as_str()], rows::job)?.collect::<Result<_, _>>()?;
    Ok(jobs)
}

/// Refuses a retry of what another retry has published. Asked in the write that makes the job: the other one may have come to its
/// end a moment ago, and two pull requests or two pushes for one piece of work would be the answer.
pub(super) fn refuse_published(connection: &Connection, chain: &Chain) -> Result<(), StoreError> {
    let Some(original) = &chain.original else { return Ok(()) };
    let jobs = of(connection, &chain.root)?;
    let Some(original) = jobs.iter().find(|job| job.id == *original) else { return Ok(()) };
    match retry::published_by_a_retry(original, &jobs) {
        Some(published) => Err(StoreError::Published { number: published.number }),
        None => Ok(()),
    }
}
