//! What the files of the attempts know and the rows do not: a database that was put back is older than the files.
//!
//! Numbers must not be given a second time: a new job under an old number, or a new attempt under one that ran, would
//! meet the exit record of the other and take it for its own.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::super::Store;
use super::super::artifacts::ArtifactFiles;
use super::super::error::StoreError;
use super::super::logs::Logs;
use super::place::Place;
use super::{jobs, meta};
use crate::domain::id::JobNumber;

const FURTHER: &str = "It had come further than the restored database knows, and may be done: look at its branch and at what \
    offshoot rescue lists, and cancel it, or it runs again.";

/// In `meta` of a database that was put back and has not been served yet.
pub(super) const RESTORED: &str = "restored";

/// Raises the numbers of jobs, and of the attempts of queued jobs, beyond those that have files. Running ones are looked at
/// when they are adopted ([`overtaken`]).
pub(super) fn reconcile(
    connection: &mut Connection,
    logs: &Logs,
    artifacts: &ArtifactFiles,
) -> Result<(), StoreError> {
    let changes = connection.transaction()?;
    if let Some(JobNumber(highest)) = logs.highest_job().max(artifacts.highest_job())
        && raise(&changes, "jobs", highest)?
    {
        tracing::warn!(highest, "jobs have run here that the database does not know: it is an older one");
    }
    for (number, newest) in further(&changes, logs, "queued")? {
        set_attempt(&changes, number, newest)?;
        warn(&changes, number)?;
    }
    Ok(changes.commit()?)
}

/// Running jobs whose newest attempt with files the database does not know, with that.
/// In a database that has just been put back also those whose attempt has no files here: they ran on another machine, or
/// longer ago than output is kept.
pub(super) fn overtaken(connection: &Connection, logs: &Logs) -> Result<Vec<(JobNumber, u32)>, StoreError> {
    let mut overtaken = further(connection, logs, "running")?;
    if meta(connection, RESTORED)?.is_some() {
        let unknown: Vec<(i64, u32)> = connection
            .prepare("SELECT number, attempt FROM jobs WHERE status = 'running' AND head_sha IS NULL")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let unknown = unknown.into_iter().map(|(number, attempt)| (JobNumber(number), attempt));
        overtaken.extend(
            unknown.filter(|(job, attempt)| logs.newest_attempt(*job).is_none_or(|it| it < *attempt)),
        );
        connection.execute("DELETE FROM meta WHERE key = ?1", [RESTORED])?;
    }
    Ok(overtaken)
}

fn further(connection: &Connection, logs: &Logs, status: &str) -> Result<Vec<(JobNumber, u32)>, StoreError> {
    let known: Vec<(i64, u32)> = connection
        .prepare("SELECT number, attempt FROM jobs WHERE status = ?1 ORDER BY number")?
        .query_map([status], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let further = known.into_iter().filter_map(|(number, attempt)| {
        let newest = logs.newest_attempt(JobNumber(number)).filter(|newest| *newest > attempt)?;
        tracing::warn!(
            job.number = number,
            attempt,
            newest,
            "the job had come further than the database knows"
        );
        Some((JobNumber(number), newest))
    });
    Ok(further.collect())
}

/// The next attempt is the one behind `attempt`.
pub(super) fn set_attempt(connection: &Connection, job: JobNumber, attempt: u32) -> Result<(), StoreError> {
    connection.execute("UPDATE jobs SET attempt = ?2 WHERE number = ?1", params![job.0, attempt])?;
    Ok(())
}

/// Whoever decides whether a job that had come further runs again sees it in the job.
pub(super) fn warn(connection: &Connection, job: JobNumber) -> Result<(), StoreError> {
    jobs::add_warning(connection, job, FURTHER)
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

/// A job with files of attempts that the database does not have under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub job: JobNumber,
    /// Attempts up to this one are over, or run and are this server's to adopt.
    pub known: u32,
    /// Where the job worked, if it is known and has a worktree.
    pub worktree: Option<String>,
}

impl Store {
    /// Jobs of which agents may still run that nobody watches: every attempt of a job that has no row or waits in the queue, and
    /// of any other those behind the last one that the database knows. After a restored backup there are such.
    ///
    /// # Errors
    /// What the database said.
    pub async fn strays(&self) -> Result<Vec<Stray>, StoreError> {
        let logs = self.logs.clone();
        self.database
            .read(move |connection| {
                let mut statement = connection
                    .prepare("SELECT number, attempt, status = 'queued', worktree_path FROM jobs")?;
                let known = statement
                    .query_map([], |row| {
                        let is_queued: bool = row.get(2)?;
                        let known = if is_queued { 0 } else { row.get(1)? };
                        Ok((row.get(0)?, (known, row.get(3)?)))
                    })?
                    .collect::<Result<HashMap<i64, (u32, Option<String>)>, _>>()?;
                let strays = logs.jobs().into_iter().filter_map(|job| {
                    let (known, worktree) = known.get(&job.0).cloned().unwrap_or_default();
                    let is_further = logs.newest_attempt(job).is_some_and(|newest| newest > known);
                    is_further.then_some(Stray { job, known, worktree })
                });
                Ok(strays.collect())
            })
            .await
    }
}
