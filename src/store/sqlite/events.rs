//! The append-only history.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::logs::{Logs, Transcripts};
use super::super::view::{EventPage, Over, ToldEvent, TranscriptState};
use super::retention;
use crate::domain::attempt::Lease;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ClientId, JobNumber};
use crate::domain::job::{Outcome, Status};
use crate::domain::time::Timestamp;
use crate::domain::token::Reach;

/// Events in one page, and the bytes of their texts: what a stream holds in memory beside what the connection holds.
/// A page is at least one event, and the longest text is a message of 32 KiB.
const PAGE_EVENTS: u32 = 128;
const PAGE_BYTES: u64 = 64 * 1_024;
/// Steps of a job's life: an attempt has about eight, and few jobs have more than three that are counted.
const LIFE_EVENTS: u32 = 500;

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

    /// The next piece of the history of one job, or of all within `reach`, behind `after`. It may hold nothing and not be
    /// whole yet: what lies between is of others.
    ///
    /// # Errors
    /// What the database or the file system said.
    pub async fn event_page(
        &self,
        job: Option<JobNumber>,
        reach: &Reach,
        after: i64,
    ) -> Result<EventPage, StoreError> {
        let (logs, reach) = (self.logs.clone(), reach.clone());
        self.database.read(move |connection| page(connection, &logs, job, &reach, after)).await
    }

    /// The events that moved a job, the oldest first; of very many the newest.
    ///
    /// # Errors
    /// What the database said.
    pub async fn life_of(&self, job: JobNumber) -> Result<Vec<Event>, StoreError> {
        self.database.read(move |connection| life(connection, job)).await
    }

    /// The number behind which the last `count` events of a job stand, of those before the number `before`; 0 when there
    /// are no more than that.
    ///
    /// # Errors
    /// What the database said.
    pub async fn event_before(&self, job: JobNumber, before: i64, count: u32) -> Result<i64, StoreError> {
        self.database
            .read(move |connection| {
                let found = connection
                    .prepare_cached(
                        "SELECT seq FROM events WHERE job = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1 OFFSET ?3",
                    )?
                    .query_row(params![job.0, before, count], |row| row.get(0))
                    .optional()?;
                Ok(found.unwrap_or(0))
            })
            .await
    }

    /// The number of the newest event there ever was.
    ///
    /// # Errors
    /// What the database said.
    pub async fn newest_event(&self) -> Result<i64, StoreError> {
        self.database.read(newest).await
    }

    /// What there is to read of an attempt's transcript.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn transcript_state(
        &self,
        job: JobNumber,
        attempt: u32,
    ) -> Result<TranscriptState, StoreError> {
        self.database
            .read(move |connection| {
                let (newest, status): (u32, String) = connection
                    .prepare_cached("SELECT attempt, status FROM jobs WHERE number = ?1")?
                    .query_row([job.0], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?
                    .ok_or(StoreError::NotFound("job"))?;
                let bytes = connection
                    .prepare_cached("SELECT transcript_bytes FROM attempts WHERE job = ?1 AND number = ?2")?
                    .query_row(params![job.0, attempt], |row| row.get(0))
                    .optional()?;
                let is_live = Status::parse(&status).is_some_and(Status::is_live);
                Ok(TranscriptState { bytes: bytes.unwrap_or(0), newest, is_live })
            })
            .await
    }
}

/// Two texts: one for both could not use the index by job.
macro_rules! of_job_or_all {
    ($columns:literal, $tables:literal) => {
        (
            concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $tables,
                " WHERE e.job = ?1 AND e.seq > ?2 ORDER BY e.seq LIMIT ?3"
            ),
            concat!("SELECT ", $columns, " FROM ", $tables, " WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2"),
        )
    };
}

pub(super) fn list(
    connection: &Connection,
    job: Option<JobNumber>,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let texts = of_job_or_all!("e.seq, e.job, e.attempt, e.kind, e.payload, e.at, e.message", "events e");
    select(connection, texts, job, after, limit, event)
}

fn life(connection: &Connection, job: JobNumber) -> Result<Vec<Event>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, job, attempt, kind, payload, at, message FROM events
         WHERE job = ?1 AND kind IN ('job.queued', 'attempt.started', 'job.phase', 'job.held', 'job.completed',
             'job.failed', 'job.cancelled')
         ORDER BY seq DESC LIMIT ?2",
    )?;
    let mut found =
        statement.query_map(params![job.0, LIFE_EVENTS], event)?.collect::<Result<Vec<_>, _>>()?;
    found.reverse();
    Ok(found)
}

pub(super) fn page(
    connection: &Connection,
    logs: &Logs,
    job: Option<JobNumber>,
    reach: &Reach,
    after: i64,
) -> Result<EventPage, StoreError> {
    let newest = newest(connection)?;
    // a number from before the history began anew: there is nothing to go on from
    let (after, ahead) = if after > newest { (0, true) } else { (after, false) };
    let lost_to = match lost_to(connection, job, after)? {
        None if ahead => Some(0),
        found => found,
    };
    let after = after.max(lost_to.unwrap_or(0));
    let texts = of_job_or_all!(
        "e.seq, e.job, e.attempt, e.kind, e.payload, e.at, e.message, j.id AS job_id, c.id AS client_id,
         m.attempt AS told_in, m.content, m.offset, m.bytes",
        "events e LEFT JOIN jobs j ON j.number = e.job LEFT JOIN clients c ON c.number = j.client
         LEFT JOIN messages m ON m.job = e.job AND m.seq = e.message"
    );
    let mut found = select(connection, texts, job, after, PAGE_EVENTS, place)?;
    let (count, looked_to) = (found.len(), found.last().map_or(after, |place| place.event.seq));
    // of a job that is forgotten nobody knows any more whose it was
    found.retain(|place| reach.is_whole() || place.client.as_ref().is_some_and(|client| reach.has(client)));
    let within = found.len();
    let mut bytes = 0;
    found.truncate(
        found
            .iter()
            .position(|place| {
                let is_first = bytes == 0;
                bytes += place.bytes;
                !is_first && bytes > PAGE_BYTES
            })
            .unwrap_or(within),
    );
    let is_cut = found.len() < within;
    let is_whole = !is_cut && count < PAGE_EVENTS as usize;
    let last = found.last().filter(|_| is_cut).map_or(looked_to, |place| place.event.seq);
    let upto = if is_whole { last.max(newest) } else { last };
    let over = job.map(|job| over(connection, job)).transpose()?.flatten();
    Ok(EventPage { events: read(logs, found)?, upto, is_whole, lost_to, over })
}

/// Up to which number events behind `after` are forgotten, if any of them may have been of this job.
fn lost_to(connection: &Connection, job: Option<JobNumber>, after: i64) -> Result<Option<i64>, StoreError> {
    let forgotten = retention::events_forgotten_to(connection)?;
    if after >= forgotten {
        return Ok(None);
    }
    let Some(job) = job else { return Ok(Some(forgotten)) };
    let first: Option<String> = connection
        .prepare_cached("SELECT kind FROM events WHERE job = ?1 ORDER BY seq LIMIT 1")?
        .query_row([job.0], |row| row.get(0))
        .optional()?;
    // a history that has its beginning has the rest too
    let is_whole = first.as_deref() == Some(EventKind::JobQueued.as_str());
    Ok((!is_whole).then_some(forgotten))
}

fn newest(connection: &Connection) -> Result<i64, StoreError> {
    let newest = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(newest.unwrap_or(0))
}

/// How the job ended; one that is forgotten can tell nothing more either.
fn over(connection: &Connection, job: JobNumber) -> Result<Option<Over>, StoreError> {
    let found = connection
        .prepare_cached("SELECT status, outcome FROM jobs WHERE number = ?1")?
        .query_row([job.0], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))
        .optional()?;
    let Some((status, outcome)) = found else { return Ok(Some(Over { status: None, outcome: None })) };
    let status = Status::parse(&status).ok_or(rusqlite::Error::InvalidQuery)?;
    let outcome = outcome.as_deref().and_then(Outcome::parse);
    Ok((!status.is_live()).then_some(Over { status: Some(status), outcome }))
}

fn select<T>(
    connection: &Connection,
    (of_job, of_all): (&str, &str),
    job: Option<JobNumber>,
    after: i64,
    limit: u32,
    row: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let found = match job {
        Some(job) => connection
            .prepare_cached(of_job)?
            .query_map(params![job.0, after, limit], row)?
            .collect::<Result<_, _>>()?,
        None => connection
            .prepare_cached(of_all)?
            .query_map(params![after, limit], row)?
            .collect::<Result<_, _>>()?,
    };
    Ok(found)
}

pub(super) fn append(
    connection: &Connection,
    now: Timestamp,
    job: JobNumber,
    attempt: Option<u32>,
    kind: EventKind,
    payload: &str,
) -> Result<(), StoreError> {
    insert(connection, (job, attempt), now, kind, payload, None)
}

/// An event of the running attempt, with the message that holds its words.
pub(super) fn append_told(
    connection: &Connection,
    at: Timestamp,
    lease: Lease,
    kind: EventKind,
    facts: &str,
    message: Option<i64>,
) -> Result<(), StoreError> {
    insert(connection, (lease.job, Some(lease.attempt)), at, kind, facts, message)
}

fn insert(
    connection: &Connection,
    (job, attempt): (JobNumber, Option<u32>),
    at: Timestamp,
    kind: EventKind,
    payload: &str,
    message: Option<i64>,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO events (job, attempt, kind, payload, at, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![job.0, attempt, kind.as_str(), payload, at.as_ms(), message])?;
    Ok(())
}

/// An event and where its text is.
struct Place {
    event: Event,
    job_id: Option<String>,
    client: Option<ClientId>,
    told_in: Option<u32>,
    content: Option<String>,
    offset: Option<u64>,
    bytes: u64,
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place {
        event: event(row)?,
        job_id: row.get("job_id")?,
        client: row.get::<_, Option<String>>("client_id")?.and_then(|id| ClientId::parse(&id).ok()),
        told_in: row.get("told_in")?,
        content: row.get("content")?,
        offset: row.get("offset")?,
        bytes: row.get::<_, Option<u64>>("bytes")?.unwrap_or(0),
    })
}

/// Texts from the transcripts; one that is removed meanwhile is as one that was removed before.
fn read(logs: &Logs, places: Vec<Place>) -> Result<Vec<ToldEvent>, StoreError> {
    let mut reader: Option<(JobNumber, Transcripts)> = None;
    places
        .into_iter()
        .map(|place| {
            let job = place.event.job;
            let text = match (place.content, place.offset, place.told_in) {
                (Some(content), ..) => Some(content),
                (None, Some(offset), Some(attempt)) => {
                    if reader.as_ref().is_none_or(|(known, _)| *known != job) {
                        reader = Some((job, logs.transcripts(job)));
                    }
                    match &mut reader {
                        Some((_, reader)) => Some(reader.read(attempt, offset, place.bytes)?),
                        None => None,
                    }
                }
                _ => None,
            };
            Ok(ToldEvent { event: place.event, job_id: place.job_id, text })
        })
        .collect()
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let kind: String = row.get("kind")?;
    Ok(Event {
        seq: row.get("seq")?,
        job: JobNumber(row.get("job")?),
        attempt: row.get("attempt")?,
        kind: EventKind::parse(&kind).ok_or(rusqlite::Error::InvalidQuery)?,
        payload: row.get("payload")?,
        message: row.get("message")?,
        at: Timestamp::from_ms(row.get("at")?),
    })
}
