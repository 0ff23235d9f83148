//! Attempts that were under way when their server died: what a job is `poisoned` by.
//!
//! A server that leaves in order says so; one that does not, on a machine that was not restarted meanwhile, has died. That
//! is no proof of who killed it, so it alone ends no job: it gives the last failure of a job another name, and ends an
//! attempt whose agent is over and which several servers in a row have not brought one step further. For that only those
//! count which had begun to judge how its step ended: a result that no server has looked at is always used.

use rusqlite::{Connection, params};

use super::super::Store;
use super::super::error::StoreError;
use super::{meta, set_meta};
use crate::domain::attempt::Lease;
use crate::domain::id::JobNumber;

impl Store {
    /// How many servers in a row have died over the end of a step of this attempt since the attempt last came forward.
    ///
    /// # Errors
    /// What the database said.
    pub async fn server_deaths_in_a_row(&self, lease: Lease) -> Result<u32, StoreError> {
        self.database
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT server_deaths_in_a_row FROM attempts WHERE job = ?1 AND number = ?2",
                    )?
                    .query_row(params![lease.job.0, lease.attempt], |row| row.get(0))?)
            })
            .await
    }
}

/// This server leaves in order: what runs has not brought it down.
pub(super) fn note_leaving(connection: &Connection) -> Result<(), StoreError> {
    let epoch = meta(connection, "epoch")?.unwrap_or_default();
    set_meta(connection, "left_epoch", &epoch)
}

/// Counts the death of the server before this one for every attempt that it had, if it died. Before they are taken over.
pub(super) fn count(connection: &Connection, boot: &str) -> Result<(), StoreError> {
    let left: i64 = meta(connection, "left_epoch")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    if meta(connection, "boot")?.as_deref() == Some(boot) {
        connection
            .prepare_cached(
                "UPDATE attempts SET server_deaths = server_deaths + 1,
                     server_deaths_in_a_row = server_deaths_in_a_row + end_judged
                 WHERE (job, number) IN
                     (SELECT number, attempt FROM jobs WHERE status = 'running' AND lease_epoch <> ?1)",
            )?
            .execute([left])?;
    }
    set_meta(connection, "boot", boot)
}

/// Whether this server is about to judge how a step of the attempt ended, or has: if it dies now, that may be why.
pub(super) fn note_judging(connection: &Connection, lease: Lease, judges: bool) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE attempts SET end_judged = ?3 WHERE job = ?1 AND number = ?2 AND end_judged <> ?3",
        )?
        .execute(params![lease.job.0, lease.attempt, judges])?;
    Ok(())
}

/// The attempt has come forward under this server.
pub(super) fn came_forward(connection: &Connection, lease: Lease) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE attempts SET server_deaths_in_a_row = 0
             WHERE job = ?1 AND number = ?2 AND server_deaths_in_a_row > 0",
        )?
        .execute(params![lease.job.0, lease.attempt])?;
    Ok(())
}

/// Whether a server died in the present attempt and in every one that was counted before.
pub(super) fn in_each_attempt(
    connection: &Connection,
    job: JobNumber,
    attempt: u32,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM attempts
                 WHERE job = ?1 AND server_deaths = 0 AND (counted = 1 OR number = ?2))",
        )?
        .query_row(params![job.0, attempt], |row| row.get(0))?)
}
