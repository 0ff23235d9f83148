//! What people read of a job: places in the transcript file, and short system messages.

use rusqlite::{Connection, Row, params};

use super::super::error::StoreError;
use super::super::logs::{Logs, separator};
use super::super::view::{Ingest, MessagePage};
use super::super::{Change, Store};
use super::{attempts, deaths, events};
use crate::domain::attempt::Lease;
use crate::domain::event::{EventKind, Message, MessageKind};
use crate::domain::id::JobNumber;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

/// Messages in one answer; contract of the newest page.
pub(crate) const MESSAGES_MAX: u32 = 5_000;
/// Text in one answer, bytes.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 4 * 1_024 * 1_024;

impl Store {
    /// Adds a message of our own to a job's story.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn add_system_message(&self, lease: Lease, text: &str) -> Result<(), StoreError> {
        let (now, text) = (self.now(), text.to_owned());
        self.database
            .write(Edge::AddMessage, move |connection| {
                attempts::check(connection, lease)?;
                if was_said_last(connection, lease, &text)? {
                    return Ok(());
                }
                let message = insert_own(connection, lease, &text, now)?;
                events::append_told(connection, now, lease, EventKind::JobNote, "{}", Some(message))
            })
            .await?;
        self.tell(Change::Messages(lease.job));
        Ok(())
    }

    /// Takes what one look at a step's log brought: text goes to the transcript, places and the count of its records to the
    /// database. After a crash in between, the text beyond the stored length is cut off and taken again.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], or what the file system said.
    pub async fn ingest(&self, lease: Lease, step: &str, ingest: Ingest) -> Result<(), StoreError> {
        let (now, logs, step) = (self.now(), self.logs.clone(), step.to_owned());
        let any = !ingest.messages.is_empty();
        self.database
            .write(Edge::Ingest, move |connection| {
                attempts::check(connection, lease)?;
                write_ingest(connection, &logs, now, lease, &step, &ingest)
            })
            .await?;
        if any {
            self.tell(Change::Messages(lease.job));
        }
        Ok(())
    }

    /// Messages behind `after`, oldest first, at most `limit` of them and 4 MiB.
    ///
    /// # Errors
    /// What the database or the file system said.
    pub async fn messages(&self, job: JobNumber, after: i64, limit: u32) -> Result<MessagePage, StoreError> {
        let logs = self.logs.clone();
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT * FROM messages WHERE job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
                )?;
                let places = statement
                    .query_map(params![job.0, after, limit.min(MESSAGES_MAX)], place)?
                    .collect::<Result<Vec<_>, _>>()?;
                let (kept, truncated) = within_bytes(places);
                Ok(MessagePage { messages: read(&logs, job, kept)?, truncated })
            })
            .await
    }

    /// What was said last of a job, if anything was.
    ///
    /// # Errors
    /// What the database or the file system said.
    pub async fn last_message(&self, job: JobNumber) -> Result<Option<Message>, StoreError> {
        let logs = self.logs.clone();
        self.database
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT * FROM messages WHERE job = ?1 ORDER BY seq DESC LIMIT 1")?;
                let places = statement.query_map([job.0], place)?.collect::<Result<Vec<_>, _>>()?;
                Ok(read(&logs, job, places)?.pop())
            })
            .await
    }

    /// The newest messages: at most 5,000 and 4 MiB.
    ///
    /// # Errors
    /// What the database or the file system said.
    pub async fn newest_messages(&self, job: JobNumber) -> Result<MessagePage, StoreError> {
        let logs = self.logs.clone();
        self.database
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT * FROM messages WHERE job = ?1 ORDER BY seq DESC LIMIT ?2")?;
                let places =
                    statement
                        .query_map(params![job.0, MESSAGES_MAX + 1], place)?
                        .collect::<Result<Vec<_>, _>>()?;
                let more = places.len() > MESSAGES_MAX as usize;
                let (mut kept, cut) = within_bytes(places);
                kept.truncate(MESSAGES_MAX as usize);
                kept.reverse();
                Ok(MessagePage { messages: read(&logs, job, kept)?, truncated: more || cut })
            })
            .await
    }
}

struct Place {
    seq: i64,
    kind: MessageKind,
    attempt: u32,
    content: Option<String>,
    offset: Option<u64>,
    bytes: u64,
    at: Timestamp,
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    let kind: String = row.get("kind")?;
    Ok(Place {
        seq: row.get("seq")?,
        kind: MessageKind::parse(&kind).ok_or(rusqlite::Error::InvalidQuery)?,
        attempt: row.get("attempt")?,
        content: row.get("content")?,
        offset: row.get("offset")?,
        bytes: row.get("bytes")?,
        at: Timestamp::from_ms(row.get("at")?),
    })
}

/// The first places that fit into an answer, at least one, so that a reader of pages gets on; whether some had to be
/// left out.
fn within_bytes(places: Vec<Place>) -> (Vec<Place>, bool) {
    let count = places.len();
    let mut sum = 0;
    let kept: Vec<_> = places
        .into_iter()
        .enumerate()
        .take_while(|(index, place)| {
            sum += place.bytes;
            *index == 0 || sum <= MESSAGE_BYTES_MAX
        })
        .map(|(_, place)| place)
        .collect();
    let cut = kept.len() < count;
    (kept, cut)
}

fn read(logs: &Logs, job: JobNumber, places: Vec<Place>) -> Result<Vec<Message>, StoreError> {
    let mut reader = logs.transcripts(job);
    places
        .into_iter()
        .map(|place| {
            let content = match (place.content, place.offset) {
                (Some(content), _) => content,
                (None, Some(offset)) => reader.read(place.attempt, offset, place.bytes)?,
                (None, None) => String::new(),
            };
            Ok(Message { seq: place.seq, kind: place.kind, content, at: place.at })
        })
        .collect()
}

fn write_ingest(
    connection: &Connection,
    logs: &Logs,
    now: Timestamp,
    lease: Lease,
    step: &str,
    ingest: &Ingest,
) -> Result<(), StoreError> {
    let stored: u64 = connection
        .prepare_cached("SELECT transcript_bytes FROM attempts WHERE job = ?1 AND number = ?2")?
        .query_row(params![lease.job.0, lease.attempt], |row| row.get(0))?;
    deaths::came_forward(connection, lease)?;
    let mut offset = stored;
    if !ingest.messages.is_empty() {
        logs.append_transcript(lease.job, lease.attempt, stored, &ingest.messages)?;
        for message in &ingest.messages {
            let mut number = None;
            if message.is_listed {
                let bytes = u64::try_from(message.text.len()).unwrap_or(u64::MAX);
                let place = (Some(offset), None, bytes);
                number = Some(insert(connection, lease, message.kind, place, message.at)?);
                offset += bytes + separator(&message.text).len() as u64;
            }
            let facts = message.facts.to_text();
            events::append_told(connection, message.at, lease, message.event, &facts, number)?;
        }
        connection
            .prepare_cached("UPDATE jobs SET last_output_at = ?2 WHERE number = ?1")?
            .execute(params![lease.job.0, now.as_ms()])?;
    }
    connection
        .prepare_cached("UPDATE attempts SET transcript_bytes = ?3 WHERE job = ?1 AND number = ?2")?
        .execute(params![lease.job.0, lease.attempt, offset])?;
    connection
        .prepare_cached("UPDATE steps SET log_records = ?4 WHERE job = ?1 AND attempt = ?2 AND name = ?3")?
        .execute(params![lease.job.0, lease.attempt, step, ingest.log_records])?;
    Ok(())
}

/// A message of our own, with its text.
/// An attempt that waits for room comes by every half minute, and would say the same each time.
fn was_said_last(connection: &Connection, lease: Lease, text: &str) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM messages m JOIN jobs j ON j.number = m.job
                            WHERE j.number = ?1 AND m.seq = j.messages_last AND m.attempt = ?2 AND m.content = ?3)",
        )?
        .query_row(params![lease.job.0, lease.attempt, text], |row| row.get(0))?)
}

pub(super) fn insert_own(
    connection: &Connection,
    lease: Lease,
    text: &str,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
    insert(connection, lease, MessageKind::System, (None, Some(text), bytes), now)
}

fn insert(
    connection: &Connection,
    lease: Lease,
    kind: MessageKind,
    (offset, content, bytes): (Option<u64>, Option<&str>, u64),
    at: Timestamp,
) -> Result<i64, StoreError> {
    let seq: i64 = connection
        .prepare_cached(
            "UPDATE jobs SET messages_last = messages_last + 1 WHERE number = ?1 RETURNING messages_last",
        )?
        .query_row([lease.job.0], |row| row.get(0))?;
    connection
        .prepare_cached(
            "INSERT INTO messages (job, seq, kind, attempt, content, offset, bytes, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            lease.job.0,
            seq,
            kind.as_str(),
            lease.attempt,
            content,
            offset,
            bytes,
            at.as_ms()
        ])?;
    Ok(seq)
}
