//! What the files of the attempts know and the rows do not: a database that was put back is older than the files.
//!
//! Numbers must not be given a second time: a new job under an old number, or a new attempt under one that ran, would
//! meet the exit record of the other and take it for its own.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::logs::Logs;
use super::place::Place;
use crate::domain::id::JobNumber;

/// Raises the numbers of jobs, and of the attempts of live jobs, beyond those that have files. A queued job begins after
/// them; a running one gets a new attempt, which first ends what is left of the last one.
pub(super) fn reconcile(connection: &mut Connection, logs: &Logs, now_ms: i64) -> Result<(), StoreError> {
    let changes = connection.transaction()?;
    if let Some(JobNumber(highest)) = logs.highest_job()
        && raise(&changes, "jobs", highest)?
    {
        tracing::warn!(highest, "jobs have run here that the database does not know: it is an older one");
    }
    let live: Vec<(i64, u32, bool)> = changes
        .prepare(
            "SELECT number, attempt, status = 'running' FROM jobs WHERE status IN ('queued', 'running')",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (number, attempt, is_running) in live {
        let Some(newest) = logs.newest_attempt(JobNumber(number)).filter(|newest| *newest > attempt) else {
            continue;
        };
        tracing::warn!(
            job.number = number,
            attempt,
            newest,
            "the job had come further than the database knows"
        );
        let next = if is_running { newest + 1 } else { newest };
        changes.execute("UPDATE jobs SET attempt = ?2 WHERE number = ?1", params![number, next])?;
        if is_running {
            changes.execute(
                "INSERT INTO attempts (job, number, started_at) VALUES (?1, ?2, ?3)",
                params![number, next, now_ms],
            )?;
        }
    }
    Ok(changes.commit()?)
}

/// The counters of a database, for one that takes its place. Of one that cannot be read: none.
pub(crate) fn sequences(place: &Place) -> Vec<(String, i64)> {
    let read = || -> Result<Vec<_>, StoreError> {
        let connection = place.open_to_read()?;
        let mut statement = connection.prepare("SELECT name, seq FROM sqlite_sequence")?;
        let found =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        Ok(found)
    };
    read().unwrap_or_default()
}

/// True: it was lower.
pub(super) fn raise(connection: &Connection, table: &str, least: i64) -> Result<bool, StoreError> {
    let known: Option<i64> =
        connection
            .query_row("SELECT max(seq) FROM sqlite_sequence WHERE name = ?1", [table], |row| row.get(0))?;
    match known {
        Some(known) if known >= least => return Ok(false),
        Some(_) => connection
            .execute("UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1", params![table, least])?,
        None => connection
            .execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", params![table, least])?,
    };
    Ok(true)
}

impl Store {
    /// Jobs that have files of attempts and no row. After a restored backup their agents may still run.
    ///
    /// # Errors
    /// What the database said.
    pub async fn unknown_jobs(&self) -> Result<Vec<JobNumber>, StoreError> {
        let with_files = self.logs.jobs();
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare("SELECT number FROM jobs")?;
                let known =
                    statement.query_map([], |row| row.get(0))?.collect::<Result<HashSet<i64>, _>>()?;
                Ok(with_files.into_iter().filter(|job| !known.contains(&job.0)).collect())
            })
            .await
    }
}
