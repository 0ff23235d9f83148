//! The append-only history.

use rusqlite::{Connection, params};

use super::super::Store;
use super::super::error::StoreError;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::JobNumber;
use crate::domain::time::Timestamp;

impl Store {
    /// Events of one job, or of all, behind `after`; at most `limit`.
    ///
    /// # Errors
    /// What the database said.
    pub async fn list_events(
        &self,
        job: Option<JobNumber>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        self.database.read(move |connection| list(connection, job, after, limit)).await
    }
}

pub(super) fn list(
    connection: &Connection,
    job: Option<JobNumber>,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    const EVENTS: &str = "SELECT seq, job, attempt, kind, payload, at FROM events WHERE";
    // two statements: one for both could not use the index by job
    let events = match job {
        Some(job) => connection
            .prepare_cached(&format!("{EVENTS} job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"))?
            .query_map(params![job.0, after, limit], event)?
            .collect::<Result<_, _>>()?,
        None => connection
            .prepare_cached(&format!("{EVENTS} seq > ?1 ORDER BY seq LIMIT ?2"))?
            .query_map(params![after, limit], event)?
            .collect::<Result<_, _>>()?,
    };
    Ok(events)
}

pub(super) fn append(
    connection: &Connection,
    now: Timestamp,
    job: JobNumber,
    attempt: Option<u32>,
    kind: EventKind,
    payload: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO events (job, attempt, kind, payload, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![job.0, attempt, kind.as_str(), payload, now.as_ms()])?;
    Ok(())
}

fn event(row: &rusqlite::Row<'_>) -> rusqlite::Result<Event> {
    let kind: String = row.get("kind")?;
    Ok(Event {
        seq: row.get("seq")?,
        job: JobNumber(row.get("job")?),
        attempt: row.get("attempt")?,
        kind: EventKind::parse(&kind).ok_or(rusqlite::Error::InvalidQuery)?,
        payload: row.get("payload")?,
        at: Timestamp::from_ms(row.get("at")?),
    })
}
