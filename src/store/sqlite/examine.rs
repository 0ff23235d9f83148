//! Looks for damage before anything is built on it, with a connection that cannot make it worse.

use tokio::time::Instant;

use rusqlite::Connection;

use super::super::backup;
use super::super::error::StoreError;
use super::super::logs::Logs;
use super::place::Place;
use super::{RUNNING, SCHEMA_VERSION, holes, meta, migrate};

/// After an orderly stop the structure of every page is looked at (0.1 s for 100 MB in the page cache); after any
/// other end also the log, every index entry and every reference (several times that).
///
/// # Errors
/// [`StoreError::Corrupt`]; [`StoreError::NewerSchema`] before anything else is read of such a file.
pub(super) fn examine(place: &Place, logs: &Logs) -> Result<(), StoreError> {
    let bytes = |path: &std::path::Path| path.metadata().map_or(0, |found| found.len());
    if bytes(place.file()) == 0 {
        let has_backups = !backup::list(place.dir()).is_empty();
        return refuse_lost_history(bytes(&place.log()) > 0, has_backups, logs);
    }
    let began = Instant::now();
    holes::examine(place)?;
    // a journal is left by a power cut before the database had its log: only a writer may roll that back
    let connection = if place.beside("-journal").exists() { place.open()? } else { place.open_to_read()? };
    let version = migrate::stored_version(&connection)?;
    if version > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { found: version, known: SCHEMA_VERSION });
    }
    let orderly = version > 0 && meta(&connection, RUNNING)?.is_none();
    if orderly {
        check(&connection, "quick_check")?;
    } else {
        check(&connection, "integrity_check")?;
        check_references(&connection)?;
    }
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if orderly {
        tracing::info!(ms, "the database was looked through: the last stop was in order");
    } else {
        tracing::warn!(
            ms,
            "the server did not stop in order the last time: the whole database was checked, and is good"
        );
    }
    Ok(())
}

/// One fault is enough.
pub(super) fn check(connection: &Connection, pragma: &str) -> Result<(), StoreError> {
    let found: String = connection.query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt(found.replace('\n', " "))) }
}

fn check_references(connection: &Connection) -> Result<(), StoreError> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let dangling = statement.query_map([], |row| row.get::<_, String>(0))?.next().transpose()?;
    match dangling {
        None => Ok(()),
        Some(table) => Err(StoreError::Corrupt(format!("a row of {table} refers to one that is not there"))),
    }
}

/// An empty or missing database beside a log, backups or files of attempts is a loss, not a first start: its numbers would begin
/// again at 1, and the first jobs would meet the exit records of others.
fn refuse_lost_history(has_log: bool, has_backups: bool, logs: &Logs) -> Result<(), StoreError> {
    if has_log || has_backups || logs.highest_job().is_some() {
        return Err(StoreError::Corrupt("it is empty or missing, though jobs have run here".to_owned()));
    }
    Ok(())
}
