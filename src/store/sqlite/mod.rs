//! The SQLite side of the store: one writer thread with group commit, a pool of readers, one file per table group.
//!
//! Promises: every write runs alone in a savepoint of a shared transaction, and is answered only when that transaction is
//! durable. A failing write takes nothing but itself back. Reads see a consistent snapshot.
//!
//! Must not know: what a status means (it asks `domain::lifecycle`), HTTP, time (the clock comes from the facade).
//!
//! Fails: see [`super::StoreError`]. After a failed `fsync` the writer stops for good: SQLite's and the kernel's view of
//! the file may differ then, and only a fresh start finds out (PostgreSQL learned this in 2018). Damage that shows while
//! it runs stops it too, and the next start looks at the whole file.
//! Tested: on real databases; writer, migrations and query plans beside the code, the rest through the router in
//! `http`; failing disks and power cuts by a file system of the tests' own in `tests/it/storage_*.rs`.

mod answers;
mod artifacts;
mod attachments;
mod attempts;
mod audit;
mod backup;
mod chains;
mod checkpoint;
mod claim;
mod client_removal;
mod clients;
mod conflicts;
mod deaths;
mod deliveries;
mod delivery_lists;
mod disk;
mod events;
mod examine;
mod finish;
mod forget;
mod holds;
mod holes;
mod inward;
mod jobs;
mod listing;
mod logins;
mod messages;
mod migrate;
mod notices;
mod place;
mod profiles;
mod queue;
mod queue_size;
mod reach;
mod readings;
mod reconcile;
mod retention;
mod rotation;
mod rows;
mod sessions;
mod tokens;
mod turns;
mod usage;
mod visits;
mod waits;
mod wal;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::watch;

use super::Store;
use super::artifacts::ArtifactFiles;
use super::audit::Call;
use super::error::StoreError;
use super::logs::Logs;
use super::steady::{Note, Steady};
use crate::clock::Clock;
use crate::domain::limit::Limit;
use crate::failpoint::{self, Edge};
use crate::metrics;

pub use backup::Verified;
pub(super) use backup::{Counters, copy_verified, succeed, verify};
pub(super) use disk::Bounds;
pub use migrate::SCHEMA_VERSION;
pub(super) use notices::Notices;
pub(super) use place::Place;
pub use reconcile::Stray;
pub use retention::Forgettable;

/// Reads that may run at once. They are short; more connections only cost page caches (2 MiB each).
const READERS_MAX: u32 = 4;
/// A reader that waits longer than this for a connection meets a stuck disk, not a queue.
const READER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The key in `meta` that is there from a start to the orderly stop after it.
const RUNNING: &str = "running";

pub(crate) struct Database {
    place: Place,
    /// None: not even a connection can be made. Dropped before the writer, whose connection is then the last one and folds the
    /// log in: of two that close at the same moment neither gets the lock for that, and the log stays.
    readers: Option<r2d2::Pool<SqliteConnectionManager>>,
    /// Or what to say: the file is damaged and nothing is written to it.
    writer: Result<writer::Writer, Arc<str>>,
    failed: watch::Sender<bool>,
}

/// What opening found out.
pub(super) struct Opened {
    pub(super) database: Database,
    /// Name of this installation.
    pub(super) instance: String,
    /// Number of this start.
    pub(super) epoch: i64,
    pub(super) steady: Steady,
}

impl Database {
    /// Looks for damage, takes a backup before a migration, migrates, takes what the attempts' files know and the rows
    /// do not, and begins an epoch.
    pub(super) fn open(
        place: Place,
        clock: &Clock,
        logs: &Logs,
        artifacts: &ArtifactFiles,
    ) -> Result<Opened, StoreError> {
        migrate::check_library(rusqlite::version_number(), rusqlite::version())?;
        examine::examine(&place, logs)?;
        let mut connection = place.open()?;
        prepare(&connection)?;
        // the name of a new file; and a journal that is gone must not come back: it would take the database back with it.
        // SQLite does this too, with the first sync of the log, but goes on when it fails
        place.sync_dir()?;
        if migrate::is_due(&connection)? {
            super::backup::before_migration(&place, clock)?;
        }
        failpoint::at(Edge::Migrate, || migrate::run(&mut connection))?;
        reconcile::reconcile(&mut connection, logs, artifacts)?;
        let (instance, epoch) = failpoint::at(Edge::TakeEpoch, || begin_epoch(&connection, clock))?;
        let steady = resume_steady(&connection, clock)?;
        queue_size::keep(&connection)?;
        let readers = readers(&place)?;
        let (failed, _) = watch::channel(false);
        let writer = Ok(writer::Writer::start(connection, failed.clone())?);
        let database = Self { place, writer, readers: Some(readers), failed };
        Ok(Opened { database, instance, epoch, steady })
    }

    /// What can still be read of a damaged file; nothing is ever written to it, not even by folding its log in.
    pub(super) fn open_damaged(place: Place, clock: &Clock, guide: Arc<str>) -> Opened {
        // SQLite deletes the log of an empty database, also for a reader
        let is_empty = place.file().metadata().map_or(true, |found| found.len() == 0);
        let readable = match is_empty {
            true => Err(StoreError::Stopped),
            false => place.open_to_read().and_then(|connection| meta(&connection, "instance")),
        };
        let readers = match &readable {
            Ok(_) => readers(&place).ok(),
            Err(_) => None,
        };
        let instance = readable.ok().flatten().unwrap_or_default();
        let (failed, _) = watch::channel(false);
        let database = Self { place, writer: Err(guide), readers, failed };
        Opened { database, instance, epoch: 0, steady: Steady::resume(clock, None) }
    }

    /// Runs `operation` on the writer thread; resolves when its effect is durable. The first write of a call, and each one that
    /// makes something, writes the call down too.
    pub(super) async fn write<T, F>(&self, edge: Edge, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let writer = match &self.writer {
            Ok(writer) => writer,
            Err(guide) => return Err(StoreError::ReadOnly(guide.clone())),
        };
        let call = Call::current();
        let noted = call.clone();
        let result = writer.run(edge, move |connection| {
            audit::begin();
            let done = operation(connection)?;
            if let Some(call) = &noted {
                audit::append(connection, call)?;
            }
            Ok(done)
        });
        let done = result.await?;
        if let Some(call) = call
            && let Some(status) = call.succeeds_with
        {
            call.is_written_as(status);
        }
        Ok(done)
    }

    /// Runs `operation` on a read connection, inside one snapshot. Damage that shows here stops the store: the next
    /// start looks at the whole file.
    pub(super) async fn read<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let Some(readers) = self.readers.clone() else {
            return Err(self
                .writer
                .as_ref()
                .err()
                .map_or(StoreError::Stopped, |guide| StoreError::ReadOnly(guide.clone())));
        };
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
        let result = result.await.map_err(|error| StoreError::Database(error.to_string()))?;
        match (result, &self.writer) {
            (Err(StoreError::Corrupt(_)), Err(guide)) => Err(StoreError::ReadOnly(guide.clone())),
            (Err(StoreError::Corrupt(what)), Ok(_)) => {
                tracing::error!(
                    what,
                    "the database is damaged: the server ends, the next start looks at all of it"
                );
                self.failed.send_replace(true);
                Err(StoreError::Corrupt(what))
            }
            (result, _) => result,
        }
    }

    /// Writes that wait for the writer.
    pub(super) fn writes_waiting(&self) -> usize {
        self.writer.as_ref().map_or(0, writer::Writer::waiting)
    }

    pub(super) fn failure(&self) -> watch::Receiver<bool> {
        self.failed.subscribe()
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Notes that everything that was begun here has ended in order, and folds the whole log in: one file is left, which
    /// is all there is.
    pub(super) async fn note_orderly_stop(&self) -> Result<(), StoreError> {
        self.note_closed(deaths::note_leaving).await
    }

    /// As [`Self::note_orderly_stop`], of a server that has begun nothing: whether the one before it died stays to be found out.
    pub(super) async fn note_unused(&self) -> Result<(), StoreError> {
        self.note_closed(|_| Ok(())).await
    }

    async fn note_closed(
        &self,
        also: impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.write(Edge::NoteStop, |connection| {
            also(connection)?;
            clear_meta(connection, RUNNING)
        })
        .await?;
        let place = self.place.clone();
        let folded = tokio::task::spawn_blocking(move || checkpoint::fold_all_in(&place.open()?));
        folded.await.map_err(|error| StoreError::Database(error.to_string()))?
    }
}

fn readers(place: &Place) -> Result<r2d2::Pool<SqliteConnectionManager>, StoreError> {
    r2d2::Pool::builder()
        .max_size(READERS_MAX)
        .min_idle(Some(1))
        .connection_timeout(READER_WAIT_MAX)
        // the read itself finds damage and says so at once; a pool that finds it first drops the connection, makes another
        // and drops that, until the wait is over
        .test_on_check_out(false)
        .build(place.readers())
        .map_err(|error| StoreError::Database(error.to_string()))
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
    let epoch = (last + 1).to_string();
    set_meta(connection, RUNNING, &epoch)?;
    set_meta(connection, "epoch", &epoch)?;
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
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY;",
        )
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", wal::WAL_BYTES_MAX))
        .map_err(StoreError::from)?;
    checkpoint::prepare(connection)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
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

/// Only ever for want of room: https://www.sqlite.org/rescode.html#ioerr_shmsize
const INDEX_CANNOT_GROW: std::ffi::c_int = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::from_sqlite(&error)
    }
}

impl StoreError {
    fn from_sqlite(error: &rusqlite::Error) -> Self {
        use rusqlite::ffi::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            // the index of the log lies on the same disk, and growing it is a write like any other
            _ if error.sqlite_error().is_some_and(|inner| inner.extended_code == INDEX_CANNOT_GROW) => {
                Self::DiskFull
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(match error {
                // without the statement: callers read this
                rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
                other => other.to_string(),
            }),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::Io(std::io::ErrorKind::PermissionDenied.into())
            }
            _ => Self::Database(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "plans_tests.rs"]
mod tests;
