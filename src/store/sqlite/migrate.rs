//! Bringing the schema up to date, forward only.

use rusqlite::{Connection, OptionalExtension as _};

use super::super::error::StoreError;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The newest schema this binary knows.
pub const SCHEMA_VERSION: i64 = 25;

/// SQLite before 3.51.3 can corrupt a database when a WAL is reset at the wrong moment.
const SQLITE_MIN: i32 = 3_051_003;

/// `number` and `name` say the version of the SQLite in use, as SQLite itself does.
///
/// # Errors
/// [`StoreError::OldSqlite`].
pub(super) fn check_library(number: i32, name: &str) -> Result<(), StoreError> {
    if number < SQLITE_MIN { Err(StoreError::OldSqlite(name.to_owned())) } else { Ok(()) }
}

/// Whether there are data that a migration would touch.
pub(super) fn is_due(connection: &Connection) -> Result<bool, StoreError> {
    Ok((1..SCHEMA_VERSION).contains(&stored_version(connection)?))
}

pub(super) fn run(connection: &mut Connection) -> Result<(), StoreError> {
    let found = stored_version(connection)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { found, known: SCHEMA_VERSION });
    }
    if found < SCHEMA_VERSION {
        // all or none: what is in between no program knows
        embedded::migrations::runner()
            .set_grouped(true)
            .run(connection)
            .map_err(|error| StoreError::Database(format!("migration: {error}")))?;
        // "ofss", for file(1)
        connection.execute_batch("PRAGMA application_id = 0x6f667373")?;
    }
    Ok(())
}

pub(super) fn stored_version(connection: &Connection) -> Result<i64, StoreError> {
    let table: Option<String> = connection
        .query_row("SELECT name FROM sqlite_schema WHERE name = 'refinery_schema_history'", [], |row| {
            row.get(0)
        })
        .optional()?;
    if table.is_none() {
        return Ok(0);
    }
    let version: Option<i64> =
        connection.query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))?;
    Ok(version.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_is_the_newest_file() {
        let newest =
            embedded::migrations::runner().get_migrations().iter().map(|m| i64::from(m.version())).max();
        assert_eq!(newest, Some(SCHEMA_VERSION));
    }

    #[test]
    fn an_sqlite_that_may_corrupt_a_database_is_refused() {
        assert!(
            matches!(check_library(3_051_002, "3.51.2"), Err(StoreError::OldSqlite(name)) if name == "3.51.2")
        );
        assert!(check_library(3_051_003, "3.51.3").is_ok());
        assert!(check_library(rusqlite::version_number(), rusqlite::version()).is_ok());
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection).unwrap();
        connection
            .execute(
                "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (99, 'x', '', '')",
                [],
            )
            .unwrap();
        assert!(matches!(
            run(&mut connection),
            Err(StoreError::NewerSchema { found: 99, known: SCHEMA_VERSION })
        ));
    }
}
