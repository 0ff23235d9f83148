//! What the store knows about itself, for metrics: counts over indexes and sizes of files, nothing that grows with a scrape.

use std::path::PathBuf;

use rusqlite::Connection;

use super::super::Store;
use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::Readings;
use super::disk::Bounds;
use super::queue;
use crate::domain::delivery::DeliveryState;
use crate::domain::job::Status;
use crate::domain::time::Timestamp;

impl Store {
    /// # Errors
    /// What the database said.
    pub async fn readings(&self) -> Result<Readings, StoreError> {
        let (now, bounds, writes_waiting) = (self.moment(), self.bounds(), self.database.writes_waiting());
        self.database.read(move |connection| read(connection, now, &bounds, writes_waiting)).await
    }
}

fn read(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    writes_waiting: usize,
) -> Result<Readings, StoreError> {
    let jobs =
        counts(connection, "SELECT status, count(*) FROM jobs INDEXED BY jobs_by_status GROUP BY status")?;
    // delivered ones are the many, and nobody waits for them
    let deliveries = counts(
        connection,
        "SELECT state, count(*) FROM deliveries INDEXED BY deliveries_by_state
         WHERE state IN ('pending', 'suspended', 'dead') GROUP BY state",
    )?;
    // at most server.queue_max rows
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT min(created_at) FROM jobs WHERE status = 'queued'")?
        .query_row([], |row| row.get(0))?;
    let file = PathBuf::from(connection.path().unwrap_or_default());
    let mut wal = file.clone().into_os_string();
    wal.push("-wal");
    let bytes = |path: PathBuf| path.metadata().map_or(0, |found| found.len());
    Ok(Readings {
        jobs: jobs.into_iter().filter_map(|(name, count)| Some((Status::parse(&name)?, count))).collect(),
        oldest_queued_at: oldest.map(Timestamp::from_ms),
        paused: queue::state(connection)?.paused,
        deliveries: deliveries
            .into_iter()
            .filter_map(|(name, count)| Some((DeliveryState::parse(&name)?, count)))
            .collect(),
        holds: queue::holds(connection, now)?,
        database_bytes: bytes(file),
        wal_bytes: bytes(wal.into()),
        free_bytes: bounds.free_bytes(connection),
        writes_waiting,
    })
}

fn counts(connection: &Connection, sql: &str) -> Result<Vec<(String, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
