//! A copy of the whole database, as it is at one moment, while it goes on being written.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::Connection;

use super::super::error::StoreError;
use super::place::Place;
use super::{RUNNING, SCHEMA_VERSION, disk, examine, meta, migrate, queue, reconcile, set_meta};
use crate::domain::id::JobNumber;
use crate::domain::time::Timestamp;

/// What is known of a database that was looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub schema: i64,
    /// The job that was submitted last; 0: none.
    pub last_job: JobNumber,
}

/// Copies `from` to the new file `to` and looks the copy through. `VACUUM INTO` reads one snapshot while others write,
/// and takes a file's log with it. The copy is on disk when this returns; its name is not.
///
/// # Errors
/// [`StoreError::DiskFull`] also beforehand, when less than `room_left` bytes would be left.
pub(crate) fn copy_verified(from: &Place, to: &Path, room_left: u64) -> Result<Verified, StoreError> {
    let connection = from.open_to_read()?;
    let bytes: u64 = connection.query_row(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        [],
        |row| row.get(0),
    )?;
    let dir = to.parent().unwrap_or(Path::new("/"));
    if disk::free_bytes_at(dir).is_some_and(|free| free < bytes.saturating_add(room_left)) {
        return Err(StoreError::DiskFull);
    }
    // empty, so that SQLite takes it, and for this user alone
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let Some(name) = to.to_str() else {
        return Err(StoreError::Database("the name of the copy is not UTF-8".to_owned()));
    };
    connection.execute("VACUUM INTO ?1", [name])?;
    drop(connection);
    File::open(to)?.sync_all()?;
    verify(&from.other(to.to_owned()))
}

/// Looks a database through that is not in use.
///
/// # Errors
/// [`StoreError::Corrupt`], also for a database of something else; [`StoreError::NewerSchema`].
pub(crate) fn verify(place: &Place) -> Result<Verified, StoreError> {
    let connection = place.open_to_read()?;
    let schema = migrate::stored_version(&connection)?;
    if schema > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { found: schema, known: SCHEMA_VERSION });
    }
    examine::check(&connection, "integrity_check")?;
    let last = connection.query_row("SELECT coalesce(max(number), 0) FROM jobs", [], |row| row.get(0));
    let (1.., Ok(last)) = (schema, last) else {
        return Err(StoreError::Corrupt("it is no database of offshoot".to_owned()));
    };
    Ok(Verified { schema, last_job: JobNumber(last) })
}

/// How far the numbers that are given out once have come in a database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    sequences: BTreeMap<String, i64>,
    epoch: i64,
}

impl Counters {
    /// Those of a database that cannot be read, or is not there, are at their beginning.
    pub(crate) fn of(place: &Place) -> Self {
        let epoch = place.open_to_read().and_then(|connection| epoch_of(&connection));
        Self { sequences: reconcile::sequences(place).into_iter().collect(), epoch: epoch.unwrap_or(0) }
    }

    /// To where the further one of both has come.
    pub(crate) fn raise(&mut self, other: Self) {
        self.epoch = self.epoch.max(other.epoch);
        for (table, seq) in other.sequences {
            let known = self.sequences.entry(table).or_insert(seq);
            *known = seq.max(*known);
        }
    }
}

fn epoch_of(connection: &Connection) -> Result<i64, StoreError> {
    Ok(meta(connection, "epoch")?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Prepares a copy to take the place of a database: its counters go on where those of that one have come to, the next start
/// looks through all of it, and nothing is started before somebody says so.
pub(crate) fn succeed(
    copy: &Place,
    before: Counters,
    now: Timestamp,
    pause_reason: &str,
) -> Result<(), StoreError> {
    let mut connection: Connection = copy.open()?;
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    let changes = connection.transaction()?;
    for (table, seq) in before.sequences {
        reconcile::raise(&changes, &table, seq)?;
    }
    let epoch = epoch_of(&changes)?.max(before.epoch);
    set_meta(&changes, "epoch", &epoch.to_string())?;
    set_meta(&changes, RUNNING, &epoch.to_string())?;
    queue::pause(&changes, now, Some(pause_reason))?;
    set_meta(&changes, reconcile::RESTORED, "1")?;
    changes.commit()?;
    Ok(())
}
