//! The SQLite side of the store: one writer thread with group commit, a pool of readers, one file per table group.
//!
//! Promises: every write runs alone in a savepoint of a shared transaction, and is answered only when that transaction is
//! durable. A failing write takes nothing but itself back. Reads see a consistent snapshot.
//!
//! Must not know: what a status means (it asks `domain::lifecycle`), HTTP, time (the clock comes from the facade).
//!
//! Fails: see [`super::StoreError`]. After a failed commit by an I/O error the writer stops for good: SQLite's and the
//! kernel's view of the file may differ then, and only a fresh start finds out (PostgreSQL learned this in 2018).
//! Tested: on real databases; writer, migrations and query plans beside the code, the rest through the router in
//! `http`.

mod answers;
mod attempts;
mod claim;
mod clients;
mod deliveries;
mod disk;
mod events;
mod finish;
mod jobs;
mod listing;
mod messages;
mod migrate;
mod queue;
mod readings;
mod rows;
mod waits;
mod wal;
mod writer;

use std::path::Path;
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use tokio::sync::watch;

use super::Store;
use super::error::StoreError;
use super::steady::{Note, Steady};
use crate::clock::Clock;
use crate::domain::limit::Limit;
use crate::failpoint::{self, Edge};
use crate::metrics;

pub use migrate::SCHEMA_VERSION;

/// Reads that may run at once. They are short; more connections only cost page caches (2 MiB each).
const READERS_MAX: u32 = 4;
/// A reader that waits longer than this for a connection meets a stuck disk, not a queue.
const READER_WAIT_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Database {
    writer: writer::Writer,
    readers: r2d2::Pool<SqliteConnectionManager>,
}

impl Database {
    /// The database, the name of this installation, the number of this start, and the steady time.
    pub(super) fn open(file: &Path, clock: &Clock) -> Result<(Self, String, i64, Steady), StoreError> {
        let mut connection = Connection::open(file).map_err(StoreError::from)?;
        prepare(&connection)?;
        examine(&connection)?;
        failpoint::at(Edge::Migrate, || migrate::run(&mut connection))?;
        let (instance, epoch) = failpoint::at(Edge::TakeEpoch, || begin_epoch(&connection, clock))?;
        let steady = resume_steady(&connection, clock)?;
        let manager = SqliteConnectionManager::file(file)
            .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .with_init(|reader| {
                reader.execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000;")?;
                reader.set_prepared_statement_cache_capacity(64);
                Ok(())
            });
        let readers = r2d2::Pool::builder()
            .max_size(READERS_MAX)
            .min_idle(Some(1))
            .connection_timeout(READER_WAIT_MAX)
            .build(manager)
            .map_err(|error| StoreError::Database(error.to_string()))?;
        Ok((Self { writer: writer::Writer::start(connection)?, readers }, instance, epoch, steady))
    }

    /// Runs `operation` on the writer thread; resolves when its effect is durable.
    pub(super) async fn write<T, F>(&self, edge: Edge, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.run(edge, operation).await
    }

    /// Runs `operation` on a read connection, inside one snapshot.
    pub(super) async fn read<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = self.readers.clone();
        let result = tokio::task::spawn_blocking(move || {
            let mut connection = match readers.try_get() {
                Some(free) => free,
                None => {
                    metrics::LIMITS.increment([Limit::Readers.as_str()]);
                    readers.get().map_err(|error| StoreError::Database(error.to_string()))?
                }
            };
            let snapshot = connection.transaction().map_err(StoreError::from)?;
            operation(&snapshot)
        });
        result.await.map_err(|error| StoreError::Database(error.to_string()))?
    }

    /// Writes that wait for the writer.
    pub(super) fn writes_waiting(&self) -> usize {
        self.writer.waiting()
    }

    pub(super) fn failure(&self) -> watch::Receiver<bool> {
        self.writer.failure()
    }
}

/// Takes the next epoch; makes the instance name at the very first start.
fn begin_epoch(connection: &Connection, clock: &Clock) -> Result<(String, i64), StoreError> {
    let instance = match meta(connection, "instance")? {
        Some(name) => name,
        None => {
            let name = clock.random_text(6);
            set_meta(connection, "instance", &name)?;
            name
        }
    };
    let last: i64 = meta(connection, "epoch")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    set_meta(connection, "epoch", &(last + 1).to_string())?;
    Ok((instance, last + 1))
}

/// The row of `meta` that holds both clocks as they were seen together.
const STEADY: &str = "steady";

fn resume_steady(connection: &Connection, clock: &Clock) -> Result<Steady, StoreError> {
    let noted = meta(connection, STEADY)?.and_then(|text| Note::parse(&text));
    Ok(Steady::resume(clock, noted.as_ref()))
}

impl Store {
    /// Notes how the wall clock and the steady time stand to each other, when somebody has set the one or the last note
    /// has become old. To be called when a server begins, and at least every few minutes.
    ///
    /// # Errors
    /// What the database said.
    pub async fn note_time(&self) -> Result<(), StoreError> {
        let Some(note) = self.steady.due_note() else { return Ok(()) };
        self.database
            .write(Edge::NoteTime, move |connection| set_meta(connection, STEADY, &note.to_text()))
            .await
    }
}

/// The settings of a connection that writes. Each is a promise: see `synchronous` in SQLite's pragma documentation.
fn prepare(connection: &Connection) -> Result<(), StoreError> {
    migrate::check_library()?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY;",
        )
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", wal::WAL_BYTES_MAX))
        .map_err(StoreError::from)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// Looks for damage before anything is built on it. Reads the whole file once: 0.1 s for 100 MB in the page cache.
fn examine(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt(found.replace('\n', " "))) }
}

fn meta(connection: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

fn set_meta(connection: &Connection, key: &str, value: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
        )?
        .execute([key, value])?;
    Ok(())
}

fn clear_meta(connection: &Connection, key: &str) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key])?;
    Ok(())
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ffi::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            _ => Self::Database(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "plans_tests.rs"]
mod tests;
