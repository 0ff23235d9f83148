//! Folding the log into the database file, by the writer itself and between transactions.
//!
//! SQLite would do it inside of a commit and swallow what goes wrong there: a failed `fsync` of the database file must
//! stop the store like any other.

use rusqlite::Connection;

use super::super::error::StoreError;

/// Pages of 4 KiB in the log before it is folded in: SQLite's own default.
const PAGES_MAX: i64 = 1_000;

pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))
}

/// Folds the log in when it is long enough; a reader of an old state may keep a part of it, which is done the next time.
///
/// # Errors
/// What the disk said. Nothing is lost by it: the log keeps all.
pub(super) fn fold_in(connection: &Connection) -> rusqlite::Result<()> {
    if pages(connection, "NOOP")? >= PAGES_MAX {
        pages(connection, "PASSIVE")?;
    }
    Ok(())
}

/// Folds all of it in and empties the log, unless somebody still reads an old state: then it stays as it is, which is as
/// good.
///
/// # Errors
/// What the disk said.
pub(super) fn fold_all_in(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("PRAGMA busy_timeout = 1000; PRAGMA synchronous = FULL;")?;
    pages(connection, "TRUNCATE")?;
    Ok(())
}

/// Pages in the log; `NOOP` only looks.
fn pages(connection: &Connection, mode: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get("log"))
}
