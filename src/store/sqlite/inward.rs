//! What people say to agents: accepted while an agent will hear it, given to its next turn in the transaction that begins
//! that, and in the way of the commit until then.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::error::StoreError;
use super::super::{Change, Left, Store};
use super::{events, jobs, messages};
use crate::domain::attempt::Lease;
use crate::domain::event::EventKind;
use crate::domain::id::{JobNumber, JobRef};
use crate::domain::inward::{SAID_BYTES_MAX, SAID_MAX, Said, Unheard, Word, may_be_said};
use crate::domain::job::Phase;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;
use crate::wire::inward::MessagesGiven;
use crate::wire::told::{Facts, SAID_LEAD};

/// Of a long message in the job's story, in bytes: as much as any other line of it may have.
const SHOWN_BYTES_MAX: usize = 32 * 1024;

impl Store {
    /// Accepts a word for the agent of a job. One that has the name and text of an earlier one is that one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Unheard`].
    pub async fn say_to_agent(&self, job: &JobRef, word: Word, by: &str) -> Result<JobNumber, StoreError> {
        let (now, job, by) = (self.now(), job.clone(), by.to_owned());
        let number = self
            .database
            .write(Edge::SayToAgent, move |connection| {
                let number = jobs::resolve(connection, &job)?;
                say(connection, now, number, &word, &by)?;
                Ok(number)
            })
            .await?;
        self.tell(Change::Said(number));
        self.tell(Change::Messages(number));
        Ok(number)
    }

    /// All that was said to the agent of the job, in order.
    ///
    /// # Errors
    /// What the database said.
    pub async fn said_to_agent(&self, job: JobNumber) -> Result<Vec<Said>, StoreError> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT seq, text, attempt, step FROM inward WHERE job = ?1 ORDER BY seq",
                )?;
                let said = statement
                    .query_map([job.0], |row| {
                        let (attempt, step): (Option<u32>, Option<String>) = (row.get(2)?, row.get(3)?);
                        Ok(Said { seq: row.get(0)?, text: row.get(1)?, given_to: attempt.zip(step) })
                    })?
                    .collect::<Result<_, _>>()?;
                Ok(said)
            })
            .await
    }

    /// Whether somebody wants the turn that runs to end.
    ///
    /// # Errors
    /// What the database said.
    pub async fn is_interrupted(&self, lease: Lease) -> Result<bool, StoreError> {
        self.database
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM inward WHERE job = ?1 AND text IS NULL AND attempt IS NOT ?2)",
                    )?
                    .query_row(params![lease.job.0, lease.attempt], |row| row.get(0))?)
            })
            .await
    }

    /// The work of the agent is accepted: the job comes to its commit, no word is accepted any more, and nobody can take it over.
    /// It stays where it is if there is a word that no turn of this attempt had, or somebody who waits.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn leave_agent(&self, lease: Lease) -> Result<Left, StoreError> {
        self.come_to(lease, Phase::Committing, true).await
    }
}

/// Whether there is a message that no turn of the attempt had.
pub(super) fn has_unheard(connection: &Connection, lease: Lease) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM inward WHERE job = ?1 AND text IS NOT NULL AND attempt IS NOT ?2)",
        )?
        .query_row(params![lease.job.0, lease.attempt], |row| row.get(0))?)
}

/// Of a job that ends without success: what no turn was told is told to a retry, and the job says so.
pub(super) fn warn_of_unheard(connection: &Connection, number: JobNumber) -> Result<(), StoreError> {
    let count: u32 = connection
        .prepare_cached(
            "SELECT count(*) FROM inward WHERE job = ?1 AND text IS NOT NULL AND attempt IS NULL",
        )?
        .query_row([number.0], |row| row.get(0))?;
    let warning = match count {
        0 => return Ok(()),
        1 => "A message came too late for the agent; a retry is told it.".to_owned(),
        many => format!("{many} messages came too late for the agent; a retry is told them."),
    };
    jobs::add_warning(connection, number, &warning)
}

/// What turns of earlier attempts were told counts as told in this one.
pub(super) fn keep_told(connection: &Connection, lease: Lease) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE inward SET attempt = ?2, step = 'before' WHERE job = ?1 AND attempt IS NOT NULL",
        )?
        .execute(params![lease.job.0, lease.attempt])?;
    Ok(())
}

/// Words that were given to a turn which has said nothing by its end: whether its agent has read them nobody knows, so they are
/// given again. Told twice is better than not at all.
pub(super) fn take_back(connection: &Connection, number: JobNumber, attempt: u32) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE inward SET attempt = NULL, step = NULL
             WHERE job = ?1 AND attempt = ?2 AND text IS NOT NULL AND step IN
                 (SELECT name FROM steps WHERE job = ?1 AND attempt = ?2 AND log_records = 0)",
        )?
        .execute(params![number.0, attempt])?;
    Ok(())
}

/// A retry is told what the job was told that it repeats; one with a prompt of its own is not, for that comes later. Work that was
/// `done_by_hand` was done with what had been told by then.
pub(super) fn take_over(
    connection: &Connection,
    number: JobNumber,
    original: &str,
    done_by_hand: bool,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO inward (job, name, text, said_by, said_at)
             SELECT ?1, i.name, i.text, i.said_by, i.said_at FROM jobs o JOIN inward i ON i.job = o.number
             WHERE o.id = ?2 AND i.text IS NOT NULL AND o.prompt = (SELECT prompt FROM jobs WHERE number = ?1)
                 AND (?3 = 0 OR i.attempt IS NULL)
             ORDER BY i.seq",
        )?
        .execute(params![number.0, original, done_by_hand])?;
    Ok(())
}

fn say(
    connection: &Connection,
    now: Timestamp,
    number: JobNumber,
    word: &Word,
    by: &str,
) -> Result<(), StoreError> {
    let job = jobs::get(connection, number)?;
    let (name, text) = match word {
        Word::Message { name, text } => (name.as_deref(), Some(text.as_str())),
        Word::Interrupt => (None, None),
    };
    // an answer that was lost on its way is asked for again, whatever has become of the job
    if is_repeated(connection, number, name, text)? {
        return Ok(());
    }
    may_be_said(&job, word)?;
    let (count, bytes): (u32, u64) = connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length(CAST(text AS BLOB))), 0) FROM inward WHERE job = ?1",
        )?
        .query_row([number.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if count >= SAID_MAX {
        return Err(Unheard::TooMany.into());
    }
    if text.is_some_and(|text| bytes + text.len() as u64 > SAID_BYTES_MAX) {
        return Err(Unheard::TooLong.into());
    }
    connection
        .prepare_cached("INSERT INTO inward (job, name, text, said_by, said_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![number.0, name, text, by, now.as_ms()])?;
    let lease = Lease { job: number, attempt: job.attempt, epoch: 0 };
    let (kind, shown) = match text {
        Some(text) => {
            let shown = &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)];
            (EventKind::MessageStored, format!("{SAID_LEAD}{shown}"))
        }
        None => (EventKind::JobInterrupted, format!("the agent is interrupted by {by}")),
    };
    let message = messages::insert_own(connection, lease, &shown, now)?;
    let facts = Facts { id: name.map(str::to_owned), name: Some(by.to_owned()), ..Facts::default() };
    events::append_told(connection, now, lease, kind, &facts.to_text(), Some(message))
}

/// Whether the very same was accepted already; of interruptions, one that has not come to its turn yet.
fn is_repeated(
    connection: &Connection,
    number: JobNumber,
    name: Option<&str>,
    text: Option<&str>,
) -> Result<bool, StoreError> {
    let known: Option<Option<String>> = match (name, text) {
        (Some(name), _) => connection
            .prepare_cached("SELECT text FROM inward WHERE job = ?1 AND name = ?2")?
            .query_row(params![number.0, name], |row| row.get(0))
            .optional()?,
        (None, Some(_)) => None,
        (None, None) => connection
            .prepare_cached(
                "SELECT i.text FROM inward i JOIN jobs j ON j.number = i.job
                 WHERE i.job = ?1 AND i.text IS NULL AND j.phase = 'agent' AND i.attempt IS NOT j.attempt",
            )?
            .query_row([number.0], |row| row.get(0))
            .optional()?,
    };
    match known {
        None => Ok(false),
        Some(known) if known.as_deref() == text => Ok(true),
        Some(_) => Err(Unheard::NameTaken.into()),
    }
}

/// A step begins: all words up to the number `upto` that no turn of the attempt had go to it.
pub(super) fn give(
    connection: &Connection,
    now: Timestamp,
    lease: Lease,
    step: &str,
    upto: i64,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE inward SET attempt = ?2, step = ?3 WHERE job = ?1 AND seq <= ?4 AND attempt IS NOT ?2
         RETURNING name, text IS NOT NULL",
    )?;
    let given = statement
        .query_map(params![lease.job.0, lease.attempt, step, upto], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(Option<String>, bool)>, _>>()?;
    let messages: Vec<_> = given.into_iter().filter(|(_, is_message)| *is_message).collect();
    if messages.is_empty() {
        return Ok(());
    }
    let data = MessagesGiven {
        turn: step.to_owned(),
        count: u32::try_from(messages.len()).unwrap_or(u32::MAX),
        ids: messages.into_iter().filter_map(|(name, _)| name).collect(),
    };
    let attempt = Some(lease.attempt);
    events::append(connection, now, lease.job, attempt, EventKind::MessageDelivered, &data.to_text())
}
