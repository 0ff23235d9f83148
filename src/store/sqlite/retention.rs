//! Forgetting what is past its time, in batches that hold up nobody.

use rusqlite::{Connection, params};

use super::super::error::StoreError;
use super::super::{Change, Store};
use super::{attempts, meta, rows, set_meta};
use crate::domain::attempt::Lease;
use crate::domain::client::Client;
use crate::domain::id::{JobId, JobNumber};
use crate::domain::job::{Outcome, Status};
use crate::domain::retention::Cutoffs;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

/// Rows of one write: a few milliseconds of the one writer.
pub(super) const ROWS_MAX: u32 = 2_000;
/// Jobs of one write; the rows below them are bounded by [`ROWS_MAX`] each.
pub(super) const JOBS_MAX: u32 = 100;

/// Events of a time that has not come which are looked past at once: a busy day of a clock that was ahead.
const AHEAD_MAX: u32 = 20_000;

/// Where the newest forgotten event is remembered: who asks for older ones is told to begin anew.
const EVENTS_FORGOTTEN: &str = "events_forgotten_to";

impl Store {
    /// The worktree of the leased job is gone.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn forget_worktree(&self, lease: Lease) -> Result<(), StoreError> {
        self.database
            .write(Edge::ForgetWorktree, move |connection| {
                attempts::check(connection, lease)?;
                connection
                    .prepare_cached("UPDATE jobs SET worktree_path = NULL WHERE number = ?1")?
                    .execute([lease.job.0])?;
                Ok(())
            })
            .await?;
        self.tell(Change::JobMoved(lease.job));
        Ok(())
    }

    /// The jobs of the chain that are over have no worktree any more: it is gone, or another job has its place.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forget_worktrees_of(&self, root: &JobId) -> Result<(), StoreError> {
        let root = root.clone();
        self.database
            .write(Edge::ForgetWorktrees, move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE jobs SET worktree_path = NULL
                         WHERE root_id = ?1 AND worktree_path IS NOT NULL AND status NOT IN ('queued', 'running')",
                    )?
                    .execute([root.as_str()])?;
                Ok(())
            })
            .await
    }

    /// The chains of ended jobs that name a worktree, and where that is.
    ///
    /// # Errors
    /// What the database said.
    pub async fn ended_worktrees(&self) -> Result<Vec<(JobId, String)>, StoreError> {
        self.database
            .read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT root_id, worktree_path FROM jobs INDEXED BY jobs_with_worktree
                     WHERE worktree_path IS NOT NULL AND status NOT IN ('queued', 'running')",
                )?;
                let found = statement
                    .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?
                    .collect::<Result<Vec<_>, _>>()?;
                let readable = |(root, path): (String, String)| Some((JobId::parse(&root).ok()?, path));
                Ok(found.into_iter().filter_map(readable).collect())
            })
            .await
    }

    /// All clients there ever were, oldest first: the clone of a deleted one may be there still.
    ///
    /// # Errors
    /// What the database said.
    pub async fn list_clients_ever(&self) -> Result<Vec<Client>, StoreError> {
        self.database
            .read(|connection| {
                let mut statement = connection.prepare_cached("SELECT * FROM clients ORDER BY number")?;
                let clients = statement.query_map([], rows::client)?.collect::<Result<_, _>>()?;
                Ok(clients)
            })
            .await
    }

    /// Of these jobs those that ended before `before`, with how they ended. Files of a job that has no row are nobody's to remove: a restored
    /// backup may be older than they are.
    ///
    /// # Errors
    /// What the database said.
    pub async fn ended_before(
        &self,
        jobs: Vec<JobNumber>,
        before: Cutoffs,
    ) -> Result<Vec<(JobNumber, Status)>, StoreError> {
        let numbers = numbers(&jobs);
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(ENDED_BEFORE)?;
                let [completed, dry_run, failed, cancelled] = as_ms(before);
                let found = statement
                    .query_map(params![completed, dry_run, failed, cancelled, numbers], |row| {
                        Ok((JobNumber(row.get(0)?), row.get::<_, String>(1)?))
                    })?
                    .collect::<Result<Vec<_>, _>>()?;
                let readable =
                    |(number, status): (JobNumber, String)| Some((number, Status::parse(&status)?));
                Ok(found.into_iter().filter_map(readable).collect())
            })
            .await
    }

    /// Forgets what points into the output of an ended job, whose files are about to go. What the server itself has said
    /// stays readable.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forget_output(&self, job: JobNumber) -> Result<(), StoreError> {
        let mut left = true;
        while left {
            left = self
                .database
                .write(Edge::ForgetOutput, move |connection| {
                    let gone = connection
                        .prepare_cached(
                            "DELETE FROM messages WHERE job = ?1 AND seq IN
                                 (SELECT seq FROM messages WHERE job = ?1 AND content IS NULL LIMIT ?2)",
                        )?
                        .execute(params![job.0, ROWS_MAX])?;
                    Ok(gone > 0)
                })
                .await?;
        }
        Ok(())
    }

    /// Jobs that may be forgotten: the whole chain ended before `before`, its worktree is gone, and every callback has
    /// come to its end. At most 100, those that ended first.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forgettable_jobs(&self, before: Cutoffs) -> Result<Vec<Forgettable>, StoreError> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(FORGETTABLE)?;
                let [completed, dry_run, failed, cancelled] = as_ms(before);
                let found = statement
                    .query_map(params![completed, dry_run, failed, cancelled, JOBS_MAX, "[]"], |row| {
                        let text = |at: usize| row.get::<_, String>(at);
                        Ok((JobNumber(row.get(0)?), text(1)?, text(2)?, text(3)?))
                    })?
                    .collect::<Result<Vec<_>, _>>()?;
                let readable = |(number, id, status, outcome): (JobNumber, String, String, String)| {
                    let (status, outcome) = (Status::parse(&status)?, Outcome::parse(&outcome)?);
                    Some(Forgettable { number, id: JobId::parse(&id).ok()?, status, outcome })
                };
                Ok(found.into_iter().filter_map(readable).collect())
            })
            .await
    }

    /// How many events at the beginning of the history are older than `before`; counts to `most` at most.
    ///
    /// # Errors
    /// What the database said.
    pub async fn count_old_events(&self, before: Timestamp, most: u32) -> Result<u64, StoreError> {
        let span = (before, self.cautious_now());
        self.database
            .read(move |connection| Ok(old_events(connection, span, most)?.map_or(0, |(count, _)| count)))
            .await
    }

    /// Forgets events from the beginning of the history on, as long as they are older than `before`; at most 2,000. Gives
    /// their number.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forget_events(&self, before: Timestamp) -> Result<u64, StoreError> {
        let span = (before, self.cautious_now());
        self.database
            .write(Edge::ForgetEvents, move |connection| {
                let Some((count, last)) = old_events(connection, span, ROWS_MAX)? else { return Ok(0) };
                connection.prepare_cached("DELETE FROM events WHERE seq <= ?1")?.execute([last])?;
                set_meta(connection, EVENTS_FORGOTTEN, &last.to_string())?;
                Ok(count)
            })
            .await
    }

    /// The sequence number of the newest event that was forgotten; 0 when the history is whole.
    ///
    /// # Errors
    /// What the database said.
    pub async fn events_forgotten_to(&self) -> Result<i64, StoreError> {
        self.database.read(events_forgotten_to).await
    }
}

pub(super) fn events_forgotten_to(connection: &Connection) -> Result<i64, StoreError> {
    Ok(meta(connection, EVENTS_FORGOTTEN)?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// A job that may be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgettable {
    pub number: JobNumber,
    pub id: JobId,
    pub status: Status,
    pub outcome: Outcome,
}

/// Whether a job of the table ended before its cutoff, the parameters 1 to 4 in the order of [`as_ms`]; not true of a live one.
macro_rules! past {
    ($table:literal) => {
        concat!(
            "(",
            $table,
            ".completed_at < CASE ",
            $table,
            ".status WHEN 'failed' THEN ?3 WHEN 'cancelled' THEN ?4 WHEN 'completed' THEN CASE ",
            $table,
            ".outcome WHEN 'dry_run' THEN ?2 ELSE ?1 END END) IS TRUE"
        )
    };
}

/// Parameters: the cutoffs, and a JSON array of numbers.
const ENDED_BEFORE: &str = concat!(
    "SELECT known.number, known.status FROM json_each(?5) asked
     CROSS JOIN jobs known ON known.number = asked.value WHERE ",
    past!("known")
);

/// Parameters: the cutoffs, at most so many, and a JSON array of numbers to which it is limited, empty for all.
pub(super) const FORGETTABLE: &str = concat!(
    "SELECT number, id, status, outcome FROM jobs j INDEXED BY jobs_by_end
    WHERE completed_at < max(?1, ?2, ?3, ?4) AND worktree_path IS NULL AND ",
    past!("j"),
    " AND (?6 = '[]' OR number IN (SELECT value FROM json_each(?6)))
      AND NOT EXISTS (SELECT 1 FROM jobs c WHERE c.root_id = j.root_id
                      AND (c.worktree_path IS NOT NULL OR NOT (",
    past!("c"),
    ")))
      AND NOT EXISTS (SELECT 1 FROM jobs c JOIN deliveries d ON d.job = c.number
                      WHERE c.root_id = j.root_id AND d.state = 'pending')
    ORDER BY completed_at LIMIT ?5"
);

pub(super) fn as_ms(before: Cutoffs) -> [i64; 4] {
    let Cutoffs { completed, dry_run, failed, cancelled } = before;
    [completed, dry_run, failed, cancelled].map(Timestamp::as_ms)
}

/// Number and last sequence number of the events that the history begins with and that are old, at most so many. One from
/// beyond the present was stamped by a clock that was ahead, and is as old as the next one that was not.
fn old_events(
    connection: &Connection,
    (before, now): (Timestamp, Timestamp),
    most: u32,
) -> Result<Option<(u64, i64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT seq, at FROM events ORDER BY seq LIMIT ?1")?;
    let mut rows = statement.query([most.saturating_add(AHEAD_MAX)])?;
    let (mut found, mut at_most) = (None, None);
    let mut read = 0;
    while let Some(row) = rows.next()? {
        let (seq, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        read += 1;
        if read == u64::from(most) {
            at_most = Some((read, seq));
        }
        if at > now.as_ms() {
            continue;
        }
        if at >= before.as_ms() {
            break;
        }
        if at_most.is_some() {
            return Ok(at_most);
        }
        found = Some((read, seq));
    }
    Ok(found)
}

pub(super) fn numbers(jobs: &[JobNumber]) -> String {
    let numbers: Vec<_> = jobs.iter().map(|job| job.0).collect();
    serde_json::to_string(&numbers).unwrap_or_else(|_| "[]".to_owned())
}
