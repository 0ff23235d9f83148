//! The queue as people see it: who runs, who waits, at which place and why; pause and resume; holds.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::{Accounts, QueuePage, QueuePlace, QueueState, QueuedJob, RunningJob};
use super::super::{Change, Store};
use super::disk::Bounds;
use super::jobs::queued_view;
use super::{clear_meta, meta, queue_size, rows, set_meta, usage};
use crate::domain::hold::Hold;
use crate::domain::id::ClientId;
use crate::domain::job::{Job, Phase, Waiting, WaitingFor};
use crate::domain::reason::ReasonCode;
use crate::domain::time::{Day, Timestamp};
use crate::domain::token::Reach;
use crate::failpoint::Edge;

/// Queued jobs on one page.
const PAGE: usize = 200;
/// Jobs that are counted from the end of the queue before it is tried from its beginning.
const NEAR: i64 = 500;
/// No limit in SQL: jobs of others are passed over one by one, and `server.queue_max` bounds their number.
const WHOLE_QUEUE: i64 = -1;

impl Store {
    /// Who runs and who waits, from behind `after` or from the beginning.
    ///
    /// # Errors
    /// What the database said.
    pub async fn queue_page(&self, after: Option<QueuePlace>) -> Result<QueuePage, StoreError> {
        self.queue_page_within(after, &Reach::WHOLE).await
    }

    /// As [`Self::queue_page`], for somebody who sees some clients only. Positions are those of the whole queue all the same.
    ///
    /// # Errors
    /// What the database said.
    pub async fn queue_page_within(
        &self,
        after: Option<QueuePlace>,
        reach: &Reach,
    ) -> Result<QueuePage, StoreError> {
        let (now, bounds, reach) = (self.moment(), self.bounds(), reach.clone());
        self.database.read(move |connection| page(connection, now, &bounds, &reach, after, PAGE)).await
    }

    /// Who runs, and the first `count` of those who wait: for a look that shows no more.
    ///
    /// # Errors
    /// What the database said.
    pub async fn queue_head(&self, count: usize) -> Result<QueuePage, StoreError> {
        let (now, bounds) = (self.moment(), self.bounds());
        let read = move |connection: &Connection| {
            page(connection, now, &bounds, &Reach::WHOLE, None, count.min(PAGE))
        };
        self.database.read(read).await
    }

    /// Starts nothing new until [`Self::resume_queue`]; survives a restart. What runs goes on.
    ///
    /// # Errors
    /// What the database said.
    pub async fn pause_queue(&self, reason: Option<&str>) -> Result<(), StoreError> {
        let (now, reason) = (self.now(), reason.map(str::to_owned));
        self.database
            .write(Edge::PauseQueue, move |connection| pause(connection, now, reason.as_deref()))
            .await?;
        self.tell(Change::Queue);
        Ok(())
    }

    /// # Errors
    /// What the database said.
    pub async fn resume_queue(&self) -> Result<(), StoreError> {
        self.database
            .write(Edge::ResumeQueue, |connection| {
                clear_meta(connection, "paused")?;
                clear_meta(connection, "paused_reason")
            })
            .await?;
        self.tell(Change::Queue);
        Ok(())
    }

    /// Makes holds due, so that one job of each goes out as a probe; `None`: of every login. Gives their logins. A hold whose
    /// probe is out stays as it is: two would show no more than one.
    ///
    /// # Errors
    /// What the database said.
    pub async fn try_now(&self, login: Option<&str>) -> Result<Vec<String>, StoreError> {
        let (now, login) = (self.moment(), login.map(str::to_owned));
        self.make_due(move |connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE holds SET until = ?1, due_at = ?3
                 WHERE probe IS NULL AND (?2 IS NULL OR login = ?2) RETURNING login",
            )?;
            let logins = statement
                .query_map(params![now.wall.as_ms(), login, now.steady_ms()], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            Ok(logins)
        })
        .await
    }

    /// A look from outside says that the login works: its hold is due, if that has no end of its own and nobody is out as its
    /// probe. A look is no probe, and one that is out says more. Whether there was such a hold.
    ///
    /// # Errors
    /// What the database said.
    pub async fn try_what_looks_mended(&self, login: &str) -> Result<bool, StoreError> {
        let (now, login) = (self.moment(), login.to_owned());
        let due = self.make_due(move |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE holds SET until = ?1, due_at = ?3
                     WHERE login = ?2 AND until IS NULL AND probe IS NULL",
                )?
                .execute(params![now.wall.as_ms(), login, now.steady_ms()])?;
            Ok(if changed > 0 { vec![login] } else { Vec::new() })
        });
        Ok(!due.await?.is_empty())
    }

    /// Writes holds that are due from now on; gives their logins.
    async fn make_due<F>(&self, operation: F) -> Result<Vec<String>, StoreError>
    where
        F: FnOnce(&Connection) -> Result<Vec<String>, StoreError> + Send + 'static,
    {
        let due = self.database.write(Edge::TryNow, operation).await?;
        if !due.is_empty() {
            self.tell(Change::Queue);
        }
        Ok(due)
    }

    /// When the next queued job or hold comes due by time alone; `None` when none does.
    ///
    /// # Errors
    /// What the database said.
    pub async fn next_due_in(&self) -> Result<Option<Duration>, StoreError> {
        let now = self.moment();
        self.database
            .read(move |connection| {
                let next: Option<u64> = connection
                    .prepare_cached(
                        "SELECT min(wait) FROM (
                             SELECT min(not_before) - ?2 AS wait FROM jobs INDEXED BY jobs_not_before
                             WHERE status = 'queued' AND not_before > ?2
                             UNION ALL
                             SELECT min(run_at) - ?1 FROM jobs INDEXED BY jobs_run_at
                             WHERE status = 'queued' AND run_at > ?1
                             UNION ALL
                             SELECT min(min(until - ?1, due_at - ?2)) FROM holds
                             WHERE probe IS NULL AND until > ?1 AND due_at > ?2
                             UNION ALL
                             SELECT min(until) - ?2 FROM visits WHERE is_over = 0 AND until > ?2)",
                    )?
                    .query_row([now.wall.as_ms(), now.steady_ms()], |row| row.get(0))?;
                let next = next.map(Duration::from_millis);
                if usage::spent_clients(connection, now.wall)?.is_empty() {
                    return Ok(next);
                }
                let tomorrow = Day::of(now.wall).end().since(now.wall);
                Ok(Some(next.map_or(tomorrow, |next| next.min(tomorrow))))
            })
            .await
    }

    /// Counts for `/health`.
    ///
    /// # Errors
    /// What the database said.
    pub async fn accounts(&self) -> Result<Accounts, StoreError> {
        let now = self.moment();
        self.database
            .read(move |connection| {
                let count = |sql: &str| -> Result<u64, StoreError> {
                    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
                };
                Ok(Accounts {
                    running: count("SELECT count(*) FROM jobs WHERE status = 'running'")?,
                    queued: count("SELECT count(*) FROM jobs WHERE status = 'queued'")?,
                    deliveries_pending: count("SELECT count(*) FROM deliveries WHERE state = 'pending'")?,
                    deliveries_dead: count("SELECT count(*) FROM deliveries WHERE state = 'dead'")?,
                    holds: holds(connection, now)?,
                })
            })
            .await
    }

    /// Whether new jobs are started.
    ///
    /// # Errors
    /// What the database said.
    pub async fn queue_state(&self) -> Result<QueueState, StoreError> {
        self.database.read(state).await
    }
}

/// What decides, apart from the job itself, whether it may start.
pub(super) struct QueueContext {
    now: Moment,
    paused: bool,
    disk_low: bool,
    holds: HashMap<String, Hold>,
    per_client_max: Option<u32>,
    running: HashMap<i64, u32>,
    /// Clients that have spent their money for the day.
    spent: HashSet<i64>,
    /// Jobs that somebody has, and until when in steady time.
    visits: HashMap<i64, i64>,
}

impl QueueContext {
    pub(super) fn load(connection: &Connection, now: Moment, bounds: &Bounds) -> Result<Self, StoreError> {
        let mut running = HashMap::new();
        if bounds.limits.running_per_client_max.is_some() {
            let mut statement = connection.prepare_cached(
                "SELECT client, count(*) FROM jobs WHERE status = 'running' GROUP BY client",
            )?;
            running =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        }
        Ok(Self {
            now,
            paused: state(connection)?.paused,
            disk_low: bounds.is_low(connection),
            holds: holds(connection, now)?
                .into_iter()
                .filter(|hold| !hold.is_over(now.wall))
                .map(|hold| (hold.login.clone(), hold))
                .collect(),
            per_client_max: bounds.limits.running_per_client_max,
            running,
            spent: usage::spent_clients(connection, now.wall)?,
            visits: connection
                .prepare_cached("SELECT job, until FROM visits")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?,
        })
    }

    /// Why this queued job has not started, the weightiest reason first. `row` also has `client_paused`, `blocked_by`, `not_before`.
    pub(super) fn waiting(&self, job: &Job, client: i64, row: &Row<'_>) -> rusqlite::Result<Waiting> {
        let plain = |for_| Waiting::plain(for_, None);
        if let Some(until) = self.visits.get(&job.number.0) {
            return Ok(Waiting::plain(WaitingFor::Attached, Some(self.now.to_wall(*until))));
        }
        if self.paused || row.get::<_, bool>("client_paused")? {
            return Ok(plain(WaitingFor::Paused));
        }
        if self.disk_low {
            return Ok(plain(WaitingFor::Disk));
        }
        if row.get::<_, i64>("blocked_by")? > 0 {
            let for_branch = job.chain.follows_up() && job.request.depends_on.is_empty();
            return Ok(plain(if for_branch { WaitingFor::Branch } else { WaitingFor::Dependency }));
        }
        if let Some(until) = job.request.run_at.filter(|until| *until > self.now.wall) {
            return Ok(Waiting::plain(WaitingFor::RunAt, Some(until)));
        }
        let needs_agent = job.needs_agent() && !job.is_done_by_hand();
        let hold = self.holds.get(&job.login).filter(|hold| hold.probe != Some(job.number));
        if let Some(hold) = hold.filter(|_| needs_agent) {
            let for_ = match hold.reason.code {
                ReasonCode::UsageLimit => WaitingFor::UsageLimit,
                _ => WaitingFor::Login,
            };
            return Ok(Waiting { for_, until: hold.until, window: hold.window });
        }
        if needs_agent && self.spent.contains(&client) {
            let until = Some(Day::of(self.now.wall).end());
            return Ok(Waiting::plain(WaitingFor::ClientLimit, until));
        }
        let not_before: Option<i64> = row.get("not_before")?;
        if let Some(until) = not_before.filter(|until| *until > self.now.steady_ms()) {
            return Ok(Waiting::plain(WaitingFor::Backoff, Some(self.now.to_wall(until))));
        }
        let of_client = self.running.get(&client).copied().unwrap_or(0);
        if self.per_client_max.is_some_and(|max| of_client >= max) {
            return Ok(plain(WaitingFor::ClientLimit));
        }
        Ok(plain(WaitingFor::Slot))
    }
}

/// 1 + the queued jobs before the one of `row`. Where the size of the queue is known they are counted from the end if that is
/// near, as it is for most new jobs.
pub(super) fn position(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<i64> {
    let QueuePlace { rank, turn, number } = place(row)?;
    if let Some(size) = queue_size::kept(connection)? {
        let behind: i64 = connection
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_queued
                 WHERE status = 'queued' AND (rank, turn, number) > (?1, ?2, ?3) LIMIT ?4)",
            )?
            .query_row([rank, turn, number, NEAR], |found| found.get(0))?;
        if behind < NEAR {
            return Ok(size - behind);
        }
    }
    connection
        .prepare_cached(
            "SELECT 1 + count(*) FROM jobs INDEXED BY jobs_queued
             WHERE status = 'queued' AND (rank, turn, number) < (?1, ?2, ?3)",
        )?
        .query_row([rank, turn, number], |found| found.get(0))
}

pub(super) fn pause(connection: &Connection, now: Timestamp, reason: Option<&str>) -> Result<(), StoreError> {
    set_meta(connection, "paused", &now.as_ms().to_string())?;
    match reason {
        Some(reason) => set_meta(connection, "paused_reason", reason),
        None => clear_meta(connection, "paused_reason"),
    }
}

pub(super) fn state(connection: &Connection) -> Result<QueueState, StoreError> {
    let since = meta(connection, "paused")?.and_then(|text| text.parse().ok()).map(Timestamp::from_ms);
    Ok(QueueState { paused: since.is_some(), reason: meta(connection, "paused_reason")?, since })
}

pub(super) fn holds(connection: &Connection, now: Moment) -> Result<Vec<Hold>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM holds ORDER BY login")?;
    let holds = statement.query_map([], |row| rows::hold(row, now))?.collect::<Result<_, _>>()?;
    Ok(holds)
}

pub(super) fn page(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    reach: &Reach,
    after: Option<QueuePlace>,
    size: usize,
) -> Result<QueuePage, StoreError> {
    let context = QueueContext::load(connection, now, bounds)?;
    let mut statement = connection.prepare_cached(
        "SELECT j.id, j.number, c.name, j.branch, j.started_at, j.started_steady, j.phase, j.last_output_at,
                c.id AS client_id, j.title, j.prompt
         FROM jobs j JOIN clients c ON c.number = j.client WHERE j.status = 'running' ORDER BY j.number",
    )?;
    let running = statement
        .query_map([], |row| Ok((is_within(reach, row)?, running_job(now, row)?)))?
        .filter_map(within)
        .collect::<Result<Vec<_>, _>>()?;
    let QueuePlace { rank, turn, number } =
        after.unwrap_or(QueuePlace { rank: i64::MIN, turn: i64::MIN, number: i64::MIN });
    let mut position: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM jobs INDEXED BY jobs_queued
             WHERE status = 'queued' AND (rank, turn, number) <= (?1, ?2, ?3)",
        )?
        .query_row([rank, turn, number], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(&format!(
        "{} WHERE j.status = 'queued' AND (j.rank, j.turn, j.number) > (?1, ?2, ?3)
         ORDER BY j.rank, j.turn, j.number LIMIT ?4",
        queued_view()
    ))?;
    // one more than a page tells whether there is a next one
    let most = if reach.is_whole() {
        i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1)
    } else {
        WHOLE_QUEUE
    };
    let mut queued = statement
        .query_map([rank, turn, number, most], |row| {
            position += 1;
            Ok((is_within(reach, row)?, (queued_job(&context, position, row)?, place(row)?)))
        })?
        .filter_map(within)
        .take(size + 1)
        .collect::<Result<Vec<_>, _>>()?;
    let more = queued.len() > size;
    queued.truncate(size);
    let next = queued.last().filter(|_| more).map(|(_, place)| *place);
    let queued = queued.into_iter().map(|(job, _)| job).collect();
    Ok(QueuePage { running, queued, state: state(connection)?, next })
}

fn is_within(reach: &Reach, row: &Row<'_>) -> rusqlite::Result<bool> {
    Ok(reach.is_whole() || reach.has(&rows::parsed(row, "client_id", |text| ClientId::parse(text).ok())?))
}

/// What is left of a row that may be of others; a fault stays.
fn within<T>(found: rusqlite::Result<(bool, T)>) -> Option<rusqlite::Result<T>> {
    match found {
        Ok((is_within, row)) => is_within.then_some(Ok(row)),
        Err(error) => Some(Err(error)),
    }
}

fn place(row: &Row<'_>) -> rusqlite::Result<QueuePlace> {
    Ok(QueuePlace { rank: row.get("rank")?, turn: row.get("turn")?, number: row.get("number")? })
}

fn running_job(now: Moment, row: &Row<'_>) -> rusqlite::Result<RunningJob> {
    let (id, phase): (String, String) = (row.get(0)?, row.get(6)?);
    let started_at = row.get::<_, Option<i64>>(4)?.map(Timestamp::from_ms);
    let started_steady: Option<i64> = row.get(5)?;
    // a job that was started by an older version knows only what the wall clock showed then
    let since = started_steady.map(|ms| now.to_wall(ms)).or(started_at);
    Ok(RunningJob {
        id: crate::domain::id::JobId::parse(&id).map_err(|_| rusqlite::Error::InvalidQuery)?,
        number: crate::domain::id::JobNumber(row.get(1)?),
        client_name: row.get(2)?,
        branch: row.get(3)?,
        title: row.get("title")?,
        prompt: row.get("prompt")?,
        started_at,
        running_for: since.map_or(Duration::ZERO, |since| now.wall.since(since)),
        phase: Phase::parse(&phase).unwrap_or(Phase::Preparing),
        last_output_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_ms),
    })
}

fn queued_job(context: &QueueContext, position: i64, row: &Row<'_>) -> rusqlite::Result<QueuedJob> {
    let job = rows::job(row)?;
    let waiting = context.waiting(&job, row.get("client")?, row)?;
    Ok(QueuedJob {
        id: job.id,
        number: job.number,
        client_name: row.get("client_name")?,
        branch: job.request.branch.as_str().to_owned(),
        title: job.request.title,
        prompt: job.request.prompt,
        position,
        created_at: job.created_at,
        waiting,
    })
}
