//! Jobs that somebody takes over: while there is a row, nothing of the job starts. A visit that is over leaves its row until
//! nothing lives that it has started; only then the job goes on, or is cancelled.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::Visit;
use super::super::{Change, Store};
use super::{events, finish, inward, jobs, messages, rows};
use crate::domain::attempt::Lease;
use crate::domain::delivery::RenderedCallback;
use crate::domain::event::EventKind;
use crate::domain::id::{JobNumber, JobRef};
use crate::domain::job::{Job, JobView, Status};
use crate::domain::lifecycle::Cause;
use crate::domain::visit::{GoesOn, Unvisitable, VISIT_LASTS, Visitor, may_be_visited};
use crate::failpoint::Edge;
use crate::wire::event::JobMoved;
use crate::wire::time::UtcTime;

impl Store {
    /// Has a job wait for a visitor: a queued one at once, a running one as soon as its worker has made way. One who is there
    /// already stays longer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Unvisitable`].
    pub async fn attach(&self, job: &JobRef, visitor: Visitor) -> Result<JobNumber, StoreError> {
        let (now, job) = (self.moment(), job.clone());
        let number = self
            .database
            .write(Edge::Attach, move |connection| {
                let number = jobs::resolve(connection, &job)?;
                attach(connection, now, number, &visitor)?;
                Ok(number)
            })
            .await?;
        self.tell(Change::Said(number));
        self.tell(Change::JobMoved(number));
        self.tell(Change::Messages(number));
        // its end has to be waited for
        self.tell(Change::Queue);
        Ok(number)
    }

    /// The visitor is still there; gives until when he need not say so again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Unvisitable`] when the visit is over.
    pub async fn prolong_visit(&self, job: &JobRef, key: &str) -> Result<Visit, StoreError> {
        let (now, job, key) = (self.moment(), job.clone(), key.to_owned());
        let prolonged = self.database.write(Edge::ProlongVisit, move |connection| {
            let number = jobs::resolve(connection, &job)?;
            if !find(connection, now, number)?.is_some_and(|visit| visit.key == key && !visit.is_over) {
                return Err(Unvisitable::NoVisit.into());
            }
            prolong(connection, now, number)?;
            find(connection, now, number)?.ok_or(StoreError::Unvisitable(Unvisitable::NoVisit))
        });
        prolonged.await
    }

    /// Ends a visit: the job goes on with this.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Unvisitable`] when there is none of that key.
    pub async fn hand_back(&self, job: &JobRef, key: &str, to: GoesOn) -> Result<JobNumber, StoreError> {
        let (now, job, key) = (self.moment(), job.clone(), key.to_owned());
        let number = self
            .database
            .write(Edge::HandBack, move |connection| {
                let number = jobs::resolve(connection, &job)?;
                hand_back(connection, now, number, &key, to)?;
                Ok(number)
            })
            .await?;
        self.tell(Change::JobMoved(number));
        self.tell(Change::Messages(number));
        self.tell(Change::Queue);
        Ok(number)
    }

    /// Whether somebody waits for the job's worker to make way.
    ///
    /// # Errors
    /// What the database said.
    pub async fn is_awaited(&self, job: JobNumber) -> Result<bool, StoreError> {
        let now = self.moment();
        self.database.read(move |connection| is_awaited(connection, now, job)).await
    }

    /// Who has the job, or waits for it.
    ///
    /// # Errors
    /// What the database said.
    pub async fn find_visit(&self, job: JobNumber) -> Result<Option<Visit>, StoreError> {
        let now = self.moment();
        self.database.read(move |connection| find(connection, now, job)).await
    }

    /// Jobs whose visit is over, by word or by time, that have made way, and of which something may still live.
    ///
    /// # Errors
    /// What the database said.
    pub async fn visits_to_end(&self) -> Result<Vec<JobNumber>, StoreError> {
        let now = self.moment().steady_ms();
        // of a job that is still making way nothing has been started yet
        let due = "SELECT EXISTS (SELECT 1 FROM visits WHERE (is_over = 0 AND until <= ?1)
             OR (is_over = 1 AND job NOT IN (SELECT number FROM jobs WHERE status = 'running')))";
        let any = self.database.read(move |connection| {
            Ok(connection.prepare_cached(due)?.query_row([now], |row| row.get::<_, bool>(0))?)
        });
        if !any.await? {
            return Ok(Vec::new());
        }
        let over = self.database.write(Edge::EndVisits, move |connection| {
            connection.prepare_cached("UPDATE visits SET is_over = 1 WHERE until <= ?1")?.execute([now])?;
            let mut statement = connection.prepare_cached(
                "SELECT job FROM visits WHERE is_over = 1
                     AND job NOT IN (SELECT number FROM jobs WHERE status = 'running') ORDER BY job",
            )?;
            let jobs = statement.query_map([], |row| row.get(0).map(JobNumber))?.collect::<Result<_, _>>()?;
            Ok(jobs)
        });
        over.await
    }

    /// Nothing lives any more that a visit has started which is over: the job goes on, with a `warning` if there is one, or is
    /// cancelled if that was asked for.
    ///
    /// # Errors
    /// What the database said.
    pub async fn end_visit(
        &self,
        job: JobNumber,
        warning: Option<String>,
        render: impl Fn(&JobView) -> Option<RenderedCallback> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (now, bounds) = (self.moment(), self.bounds());
        let followers = self
            .database
            .write(Edge::EndVisit, move |connection| {
                let ended = connection
                    .prepare_cached("DELETE FROM visits WHERE job = ?1 AND is_over = 1")?
                    .execute([job.0])?;
                if let Some(warning) = &warning {
                    jobs::add_warning(connection, job, warning)?;
                }
                let at = jobs::get(connection, job)?;
                if ended > 0 && at.status == Status::Queued {
                    // it was about what lay there before
                    connection
                        .prepare_cached("UPDATE jobs SET verify = ?2 WHERE number = ?1")?
                        .execute(params![job.0, rows::verify_text(Vec::new())])?;
                }
                if ended == 0 || at.cancel_requested_at.is_none() || at.status != Status::Queued {
                    return Ok(None);
                }
                let cause = Cause::CancelRequested;
                Ok(Some(finish::apply(connection, now, &bounds, job, cause, &render)?.followers))
            })
            .await?;
        self.tell(Change::JobMoved(job));
        if let Some(followers) = followers {
            self.tell_moved(&followers);
            self.tell(Change::Abandoned(job));
            self.tell(Change::Deliveries);
        }
        self.tell(Change::Queue);
        Ok(())
    }
}

fn attach(
    connection: &Connection,
    now: Moment,
    number: JobNumber,
    visitor: &Visitor,
) -> Result<(), StoreError> {
    let job = jobs::get(connection, number)?;
    match find(connection, now, number)? {
        Some(known) if known.key == visitor.key && !known.is_over => return prolong(connection, now, number),
        // who was there before has left before the job made way
        Some(known) if known.is_over && job.status == Status::Running => {
            may_be_visited(&job)?;
            forget(connection, number)?;
        }
        Some(known) => return Err(Unvisitable::Taken { by: known.by }.into()),
        None => may_be_visited(&job)?,
    }
    connection
        .prepare_cached("INSERT INTO visits (job, key, visitor, since, until) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![number.0, visitor.key, visitor.by, now.wall.as_ms(), ends_at(now)])?;
    note(connection, now, &job, &format!("{} takes the job over: it waits to be handed back", visitor.by))?;
    if job.status == Status::Queued {
        park(connection, number, job.attempt)?;
        let mut moved = JobMoved::queued();
        tell(connection, now, number, &mut moved)?;
        let attempt = Some(job.attempt);
        events::append(connection, now.wall, number, attempt, EventKind::JobHeld, &moved.to_text())?;
    }
    Ok(())
}

/// The job is queued, and somebody has it: whatever goes on with it goes on with what is there. Until he says otherwise that is
/// the agent, for nobody has called the work done.
pub(super) fn park(connection: &Connection, number: JobNumber, attempt: u32) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE jobs SET handed_after = ?2, handed_to = 'agent', handed_turn = NULL WHERE number = ?1",
        )?
        .execute(params![number.0, attempt])?;
    inward::take_back(connection, number, attempt)
}

/// A retry goes on with what a person has called done.
pub(super) fn take_over(connection: &Connection, number: JobNumber) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE jobs SET handed_after = 0, handed_to = 'publish' WHERE number = ?1")?
        .execute([number.0])?;
    Ok(())
}

/// What the history says of a job that waits for its visitor.
pub(super) fn tell(
    connection: &Connection,
    now: Moment,
    number: JobNumber,
    moved: &mut JobMoved,
) -> Result<(), StoreError> {
    if let Some(visit) = find(connection, now, number)? {
        moved.message = Some(format!("{} works on it by hand.", visit.by));
        moved.until = Some(UtcTime(visit.until));
    }
    Ok(())
}

fn hand_back(
    connection: &Connection,
    now: Moment,
    number: JobNumber,
    key: &str,
    to: GoesOn,
) -> Result<(), StoreError> {
    let job = jobs::get(connection, number)?;
    let Some(visit) = find(connection, now, number)?.filter(|visit| visit.key == key) else {
        return Err(Unvisitable::NoVisit.into());
    };
    if visit.is_over {
        // by time: what he wanted is not done any more. By word: an answer that was lost is asked for again.
        let is_so = job.handed_back.is_some_and(|handed| handed.to == to);
        return if is_so && job.cancel_requested_at.is_none() {
            Ok(())
        } else {
            Err(Unvisitable::NoVisit.into())
        };
    }
    if job.status == Status::Running && to == GoesOn::Publish {
        return Err(Unvisitable::MakingWay.into());
    }
    // a job that is making way keeps the row until then: whom it made way for is known by it
    let end = "UPDATE visits SET is_over = 1 WHERE job = ?1";
    connection.prepare_cached(end)?.execute([number.0])?;
    if job.status == Status::Queued {
        connection
            // whatever was to be waited for, somebody has looked
            .prepare_cached("UPDATE jobs SET handed_to = ?2, not_before = NULL WHERE number = ?1")?
            .execute(params![number.0, to.as_str()])?;
    }
    let what = match to {
        GoesOn::Publish => "what is there is published",
        GoesOn::Agent => "the agent goes on",
    };
    note(connection, now, &job, &format!("handed back by {}: {what}", visit.by))
}

/// A turn of the agent begins: from the next attempt on it is as before the visit.
pub(super) fn note_turn(connection: &Connection, lease: Lease) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE jobs SET handed_turn = ?2
             WHERE number = ?1 AND handed_after IS NOT NULL AND handed_turn IS NULL",
        )?
        .execute(params![lease.job.0, lease.attempt])?;
    Ok(())
}

/// Whether the worker is to make way.
pub(super) fn is_awaited(connection: &Connection, now: Moment, job: JobNumber) -> Result<bool, StoreError> {
    let visit = find(connection, now, job)?;
    Ok(visit.is_some_and(|visit| !visit.is_over && visit.until > now.wall))
}

/// A queued job that somebody has: his visit is over now. False for any other.
pub(super) fn send_away(connection: &Connection, number: JobNumber) -> Result<bool, StoreError> {
    let sql = "UPDATE visits SET is_over = 1
         WHERE job = ?1 AND job IN (SELECT number FROM jobs WHERE status = 'queued')";
    Ok(connection.prepare_cached(sql)?.execute([number.0])? > 0)
}

/// The job is over: nobody waits for it any more.
pub(super) fn forget(connection: &Connection, number: JobNumber) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM visits WHERE job = ?1")?.execute([number.0])?;
    Ok(())
}

/// Nobody could say that he is still there while there was no server.
pub(super) fn prolong_all(connection: &Connection, now: Moment) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE visits SET until = max(until, ?1) WHERE is_over = 0")?
        .execute([ends_at(now)])?;
    Ok(())
}

fn prolong(connection: &Connection, now: Moment, number: JobNumber) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE visits SET until = ?2 WHERE job = ?1")?
        .execute(params![number.0, ends_at(now)])?;
    Ok(())
}

fn ends_at(now: Moment) -> i64 {
    now.steady_ms() + i64::try_from(VISIT_LASTS.as_millis()).unwrap_or(i64::MAX)
}

fn find(connection: &Connection, now: Moment, job: JobNumber) -> Result<Option<Visit>, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(Visit { key: row.get(0)?, by: row.get(1)?, until: now.to_wall(row.get(2)?), is_over: row.get(3)? })
    };
    Ok(connection
        .prepare_cached("SELECT key, visitor, until, is_over FROM visits WHERE job = ?1")?
        .query_row([job.0], read)
        .optional()?)
}

fn note(connection: &Connection, now: Moment, job: &Job, text: &str) -> Result<(), StoreError> {
    let lease = Lease { job: job.number, attempt: job.attempt, epoch: 0 };
    let message = messages::insert_own(connection, lease, text, now.wall)?;
    events::append_told(connection, now.wall, lease, EventKind::JobNote, "{}", Some(message))
}
