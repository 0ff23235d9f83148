//! Taking the next job, and taking back what an earlier server began.

use rusqlite::{Connection, params};

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::{Change, Store};
use super::disk::Bounds;
use super::{attempts, deaths, events, finish, holds, inward, jobs, queue, reconcile, turns, usage, visits};
use crate::domain::attempt::{Assignment, AttemptEnd, Lease};
use crate::domain::event::EventKind;
use crate::domain::id::JobNumber;
use crate::domain::lifecycle::Cause;
use crate::domain::reason::{Reason, ReasonCode};
use crate::failpoint::Edge;
use crate::metrics;
use crate::wire::event::JobMoved;

impl Store {
    /// Takes the first queued job that may start, if a slot is free: by priority, then round-robin over clients, then by
    /// number.
    ///
    /// # Errors
    /// What the database said.
    pub async fn claim(&self) -> Result<Option<Assignment>, StoreError> {
        let (now, bounds, epoch) = (self.moment(), self.bounds(), self.epoch);
        let claimed = self
            .database
            .write(Edge::Claim, move |connection| claim(connection, now, &bounds, epoch))
            .await?;
        if let Some(assignment) = &claimed {
            if assignment.lease.attempt == 1 {
                let request = &assignment.job.request;
                let since =
                    request.run_at.map_or(assignment.job.created_at, |at| at.max(assignment.job.created_at));
                metrics::QUEUE_WAIT.observe(now.wall.since(since), []);
            }
            self.tell(Change::JobMoved(assignment.lease.job));
        }
        Ok(claimed)
    }

    /// Takes over every job that an earlier server left running, after counting for each whether that server died. `boot`
    /// names this start of the machine. A job that had come further than the database knows, for that is an older one, waits in
    /// the queue again. Called once, before anything is claimed.
    ///
    /// # Errors
    /// What the database said.
    pub async fn adopt_running(&self, boot: &str) -> Result<Vec<Assignment>, StoreError> {
        let (epoch, boot) = (self.epoch, boot.to_owned());
        let (now, bounds, logs) = (self.moment(), self.bounds(), self.logs.clone());
        self.database
            .write(Edge::AdoptRunning, move |connection| {
                deaths::count(connection, &boot)?;
                visits::prolong_all(connection, now)?;
                for (job, newest) in reconcile::overtaken(connection, &logs)? {
                    put_back(connection, now, &bounds, job, newest)?;
                }
                connection
                    .prepare_cached("UPDATE jobs SET lease_epoch = ?1 WHERE status = 'running'")?
                    .execute([epoch])?;
                let mut statement = connection.prepare_cached(&format!(
                    "{} WHERE j.status = 'running' ORDER BY j.number",
                    jobs::JOB_VIEW
                ))?;
                let running = statement.query_map([], super::rows::job)?.collect::<Result<Vec<_>, _>>()?;
                Ok(running
                    .into_iter()
                    .map(|job| Assignment {
                        lease: Lease { job: job.number, attempt: job.attempt, epoch },
                        job,
                        adopted: true,
                    })
                    .collect())
            })
            .await
    }

    /// The job of a lease that is still good, for a worker that takes it up after another one of this server.
    ///
    /// # Errors
    /// What the database said.
    pub async fn find_assignment(&self, lease: Lease) -> Result<Option<Assignment>, StoreError> {
        self.database
            .read(move |connection| match attempts::check(connection, lease) {
                Ok(()) => {
                    Ok(Some(Assignment { lease, job: jobs::get(connection, lease.job)?, adopted: true }))
                }
                Err(StoreError::LeaseLost(_)) => Ok(None),
                Err(error) => Err(error),
            })
            .await
    }
}

/// A running job whose attempts up to `newest` have run. Nobody knows how that one ended, so it is not gone on with: the job
/// is queued, behind a pause if there is one. One that is to be cancelled ends with its worker.
fn put_back(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    job: JobNumber,
    newest: u32,
) -> Result<(), StoreError> {
    if jobs::get(connection, job)?.cancel_requested_at.is_some() {
        connection
            .prepare_cached("INSERT INTO attempts (job, number, started_at) VALUES (?1, ?2, ?3)")?
            .execute(params![job.0, newest + 1, now.wall.as_ms()])?;
        return reconcile::set_attempt(connection, job, newest + 1);
    }
    let reason =
        Reason::new(ReasonCode::Interrupted, "It had come further than the restored database knows.");
    let end = AttemptEnd::Faulted { reason, until: None, window: None, spent: false };
    finish::apply(connection, now, bounds, job, Cause::AttemptEnded(end), &|_| None)?;
    reconcile::set_attempt(connection, job, newest)?;
    reconcile::warn(connection, job)
}

fn claim(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    epoch: i64,
) -> Result<Option<Assignment>, StoreError> {
    if queue::state(connection)?.paused || bounds.is_low(connection) {
        return Ok(None);
    }
    let running: u32 = connection
        .prepare_cached("SELECT count(*) FROM jobs WHERE status = 'running'")?
        .query_row([], |row| row.get(0))?;
    if running >= bounds.limits.running_max {
        return Ok(None);
    }
    let spent = usage::spent_clients(connection, now.wall)?;
    let Some(number) = turns::first(connection, now, bounds.limits, &spent)? else { return Ok(None) };
    turns::take(connection, number)?;
    let lease = begin_attempt(connection, now, epoch, number)?;
    let job = jobs::get(connection, number)?;
    if job.handed_back.is_some() {
        // its agent is not asked anew, so it is not told anew either
        inward::keep_told(connection, lease)?;
    }
    if job.needs_agent() && !job.is_done_by_hand() {
        holds::send_probe(connection, &job)?;
    }
    Ok(Some(Assignment { lease, job, adopted: false }))
}

fn begin_attempt(
    connection: &Connection,
    now: Moment,
    epoch: i64,
    number: JobNumber,
) -> Result<Lease, StoreError> {
    let (steady_ms, now) = (now.steady_ms(), now.wall);
    let transition = finish::decide(connection, now, number, Cause::Claimed)?;
    let attempt: u32 = connection
        .prepare_cached(
            "UPDATE jobs SET status = ?2, phase = ?3, attempt = attempt + 1, lease_epoch = ?4, not_before = NULL,
                 reason_code = NULL, reason_message = NULL, pid = NULL, started_at = coalesce(started_at, ?5),
                 started_steady = coalesce(started_steady, ?6), updated_at = ?5
             WHERE number = ?1 AND status = 'queued' RETURNING attempt",
        )?
        .query_row(
            params![number.0, transition.status.as_str(), transition.phase.as_str(), epoch, now.as_ms(), steady_ms],
            |row| row.get(0),
        )?;
    connection
        .prepare_cached("INSERT INTO attempts (job, number, started_at) VALUES (?1, ?2, ?3)")?
        .execute(params![number.0, attempt, now.as_ms()])?;
    let payload = JobMoved::from(&transition).to_text();
    events::append(connection, now, number, Some(attempt), EventKind::AttemptStarted, &payload)?;
    Ok(Lease { job: number, attempt, epoch })
}
