//! Taking the next job, and taking back what an earlier server began.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::{Change, Limits, Store};
use super::{attempts, deaths, disk, events, finish, jobs, queue};
use crate::domain::attempt::{Assignment, Lease};
use crate::domain::event::EventKind;
use crate::domain::id::JobNumber;
use crate::domain::lifecycle::Cause;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;
use crate::metrics;
use crate::wire::event::JobMoved;

/// What holds a job `j` back apart from slots and its client; `?1` is the wall clock, `?2` the steady time.
const STARTABLE: &str = "status = 'queued' AND blocked_by = 0 AND (not_before IS NULL OR not_before <= ?2)
    AND (run_at IS NULL OR run_at <= ?1)
    AND (start_head_sha IS NOT NULL OR head_sha IS NOT NULL OR login NOT IN
         (SELECT login FROM holds WHERE probe IS NOT NULL OR until IS NULL OR (until > ?1 AND due_at > ?2)))";

impl Store {
    /// Takes the first queued job that may start, if a slot is free: by priority, then by turn (round-robin over
    /// clients), then by number.
    ///
    /// # Errors
    /// What the database said.
    pub async fn claim(&self) -> Result<Option<Assignment>, StoreError> {
        let (now, limits, epoch) = (self.moment(), self.limits, self.epoch);
        let claimed =
            self.database.write(Edge::Claim, move |connection| claim(connection, now, limits, epoch)).await?;
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
    /// names this start of the machine. Called once, before anything is claimed.
    ///
    /// # Errors
    /// What the database said.
    pub async fn adopt_running(&self, boot: &str) -> Result<Vec<Assignment>, StoreError> {
        let (epoch, boot) = (self.epoch, boot.to_owned());
        self.database
            .write(Edge::AdoptRunning, move |connection| {
                deaths::count(connection, &boot)?;
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

fn claim(
    connection: &Connection,
    now: Moment,
    limits: Limits,
    epoch: i64,
) -> Result<Option<Assignment>, StoreError> {
    if queue::state(connection)?.paused || disk::is_low(connection, limits) {
        return Ok(None);
    }
    let running: u32 = connection
        .prepare_cached("SELECT count(*) FROM jobs WHERE status = 'running'")?
        .query_row([], |row| row.get(0))?;
    if running >= limits.running_max {
        return Ok(None);
    }
    let next = connection
        .prepare_cached(&format!(
            "SELECT number, rank, turn, client FROM jobs j INDEXED BY jobs_queued
             WHERE {STARTABLE}
               AND client NOT IN (SELECT number FROM clients WHERE paused = 1)
               AND (?3 IS NULL
                    OR (SELECT count(*) FROM jobs r INDEXED BY jobs_running
                        WHERE r.client = j.client AND r.status = 'running') < ?3)
             ORDER BY rank, turn, number LIMIT 1"
        ))?
        .query_row(params![now.wall.as_ms(), now.steady_ms(), limits.running_per_client_max], |row| {
            Ok((JobNumber(row.get(0)?), row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        })
        .optional()?;
    let Some((number, rank, turn, client)) = next else { return Ok(None) };
    let served: i64 = connection
        .prepare_cached(
            "INSERT INTO turns (rank, turn) VALUES (?1, ?2)
             ON CONFLICT (rank) DO UPDATE SET turn = max(turn, excluded.turn) RETURNING turn",
        )?
        .query_row([rank, turn], |row| row.get(0))?;
    let lease = begin_attempt(connection, now.wall, epoch, number)?;
    deal_anew(connection, now, client, rank, served)?;
    let job = jobs::get(connection, number)?;
    if job.needs_agent() {
        connection
            .prepare_cached("UPDATE holds SET probe = ?2 WHERE login = ?1")?
            .execute(params![job.login, number.0])?;
    }
    Ok(Some(Assignment { lease, job, adopted: false }))
}

/// Jobs that were held for a while have turns that are long served: all together they would go before everybody else. So
/// the others of a client that has just been served take turns from here on, one each, in their order.
fn deal_anew(
    connection: &Connection,
    now: Moment,
    client: i64,
    rank: i64,
    served: i64,
) -> Result<(), StoreError> {
    const OF_CLIENT: &str = "FROM jobs j INDEXED BY jobs_queued_by_client WHERE client = ?3 AND rank = ?4";
    let (wall, steady) = (now.wall.as_ms(), now.steady_ms());
    let late: bool = connection
        .prepare_cached(&format!("SELECT EXISTS (SELECT 1 {OF_CLIENT} AND turn <= ?5 AND {STARTABLE})"))?
        .query_row([wall, steady, client, rank, served], |row| row.get(0))?;
    if late {
        connection
            .prepare_cached(&format!(
                "UPDATE jobs SET turn = dealt.turn FROM
                     (SELECT number, ?5 + row_number() OVER (ORDER BY turn, number) AS turn {OF_CLIENT} AND {STARTABLE}) dealt
                 WHERE jobs.number = dealt.number AND jobs.turn < dealt.turn"
            ))?
            .execute([wall, steady, client, rank, served])?;
    }
    Ok(())
}

fn begin_attempt(
    connection: &Connection,
    now: Timestamp,
    epoch: i64,
    number: JobNumber,
) -> Result<Lease, StoreError> {
    let transition = finish::decide(connection, now, number, Cause::Claimed)?;
    let attempt: u32 = connection
        .prepare_cached(
            "UPDATE jobs SET status = ?2, phase = ?3, attempt = attempt + 1, lease_epoch = ?4, not_before = NULL,
                 reason_code = NULL, reason_message = NULL, pid = NULL, started_at = coalesce(started_at, ?5), updated_at = ?5
             WHERE number = ?1 AND status = 'queued' RETURNING attempt",
        )?
        .query_row(
            params![number.0, transition.status.as_str(), transition.phase.as_str(), epoch, now.as_ms()],
            |row| row.get(0),
        )?;
    connection
        .prepare_cached("INSERT INTO attempts (job, number, started_at) VALUES (?1, ?2, ?3)")?
        .execute(params![number.0, attempt, now.as_ms()])?;
    let payload = JobMoved::from(&transition).to_text();
    events::append(connection, now, number, Some(attempt), EventKind::AttemptStarted, &payload)?;
    Ok(Lease { job: number, attempt, epoch })
}
