//! Accepting jobs, and reading one.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::{CancelRequest, KeyedAnswer};
use super::super::{Change, Store};
use super::disk::Bounds;
use super::queue::QueueContext;
use super::waits::Dependencies;
use super::{
    answers, attachments, audit, chains, clients, conflicts, events, finish, forget, inward, logins,
    profiles, queue_size, rows, turns, visits,
};
use crate::domain::branch::BranchName;
use crate::domain::delivery::{CallbackSummary, DeliveryState, RenderedCallback};
use crate::domain::event::EventKind;
use crate::domain::id::{JobId, JobNumber, JobRef, RANDOM_LENGTH};
use crate::domain::job::{Chain, Job, JobView, NewJob, Start, Status};
use crate::domain::lifecycle::{Cause, Refusal};
use crate::domain::notice::TARGET_PREFIX;
use crate::domain::reason::Reason;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;
use crate::wire::event::JobMoved;

/// What a view of a job is read from.
pub(super) const JOB_VIEW: &str = "SELECT j.*, c.id AS client_id, c.name AS client_name, c.org, c.repo,
        c.paused AS client_paused
    FROM jobs j JOIN clients c ON c.number = j.client";

/// [`JOB_VIEW`] along the queue's own index. Partial indexes are named in the statements that need them: without
/// statistics SQLite takes an index over the whole history instead.
pub(super) fn queued_view() -> String {
    JOB_VIEW.replacen("jobs j", "jobs j INDEXED BY jobs_queued", 1)
}

impl Store {
    /// Accepts a job. When this resolves, the job is on disk. One that depends on a failed job has failed already then;
    /// `render` makes the bytes of its callback.
    ///
    /// # Errors
    /// [`StoreError::BranchBusy`] names the live job on that branch (or on one that cannot exist beside it);
    /// [`StoreError::QueueFull`]; [`StoreError::NotFound`] for a job that it depends on or whose chain is being forgotten;
    /// [`StoreError::Published`] for a retry.
    pub async fn submit_job(
        &self,
        new: NewJob,
        answer: Option<KeyedAnswer<JobView>>,
        render: impl Fn(&JobView) -> Option<RenderedCallback> + Send + 'static,
    ) -> Result<JobView, StoreError> {
        let id = JobId::from_random(&self.clock.random_text(RANDOM_LENGTH));
        let (now, bounds) = (self.moment(), self.bounds());
        let (view, is_over) = self
            .database
            .write(Edge::Submit, move |connection| {
                let (number, failed) = insert(connection, now.wall, &id, new, &bounds)?;
                // the answer is the job as it was inserted, whatever becomes of it at once
                let view = view(connection, now, &bounds, number)?;
                let is_over = failed.is_some();
                if let Some(reason) = failed {
                    let cause = Cause::DependencyFailed(reason);
                    finish::apply(connection, now, &bounds, number, cause, &render)?;
                }
                answers::keep(connection, now, answer, &view)?;
                audit::made(format!("/jobs/{}", view.job.id));
                Ok((view, is_over))
            })
            .await?;
        self.tell(Change::JobMoved(view.job.number));
        self.tell(Change::Queue);
        if is_over {
            self.tell(Change::Deliveries);
        }
        Ok(view)
    }

    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Ambiguous`] for a prefix of several ids.
    pub async fn get_job(&self, job: &JobRef) -> Result<JobView, StoreError> {
        let (job, now, bounds) = (job.clone(), self.moment(), self.bounds());
        self.database
            .read(move |connection| {
                let number = resolve(connection, &job)?;
                view(connection, now, &bounds, number)
            })
            .await
    }

    /// Records that somebody wants the job to end. A queued one is cancelled at once, or when nothing lives any more of a visit
    /// ([`Self::end_visit`]); a running one is ended by its worker, which hears of it through [`Change::CancelRequested`] or
    /// finds it in the row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Refused`] for a completed or failed job.
    pub async fn request_cancel(
        &self,
        job: &JobRef,
        render: impl Fn(&JobView) -> Option<RenderedCallback> + Send + 'static,
    ) -> Result<CancelRequest, StoreError> {
        let (job, now, bounds) = (job.clone(), self.moment(), self.bounds());
        let (request, followers) = self
            .database
            .write(Edge::RequestCancel, move |connection| {
                let number = resolve(connection, &job)?;
                cancel(connection, now, &bounds, number, &render)
            })
            .await?;
        if request.was_running {
            self.tell(Change::CancelRequested(request.number));
        } else {
            self.tell(Change::JobMoved(request.number));
            self.tell_moved(&followers);
            self.tell(Change::Abandoned(request.number));
            self.tell(Change::Queue);
            self.tell(Change::Deliveries);
        }
        Ok(request)
    }

    /// Whether somebody asked for the job's end.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn is_cancel_requested(&self, job: JobNumber) -> Result<bool, StoreError> {
        self.database.read(move |connection| Ok(get(connection, job)?.cancel_requested_at.is_some())).await
    }
}

fn insert(
    connection: &Connection,
    now: Timestamp,
    id: &JobId,
    new: NewJob,
    bounds: &Bounds,
) -> Result<(JobNumber, Option<Reason>), StoreError> {
    let queued = queue_size::kept(connection)?.unwrap_or_default();
    if queued >= i64::from(bounds.limits.queued_max) {
        return Err(StoreError::QueueFull { max: bounds.limits.queued_max });
    }
    let client = rows::client_number(connection, &new.client_id)?;
    if clients::get(connection, &new.client_id)?.deleted_at.is_some() {
        return Err(StoreError::NotFound("client"));
    }
    if let Some(chain) = &new.chain {
        forget::refuse_forgotten(connection, &chain.root)?;
        chains::refuse_published(connection, chain)?;
    }
    let number = next_number(connection)?;
    let follows = new.chain.as_ref().filter(|chain| chain.follows_up());
    let branch = match (follows, new.request.branch.clone()) {
        // an earlier one of the chain may have had to take another name
        (Some(chain), _) => branch_of_chain(connection, &chain.root)?,
        (None, Some(branch)) => branch,
        (None, None) => {
            BranchName::for_job(number.0, new.request.title.as_deref().unwrap_or(&new.request.prompt))
        }
    };
    let root = new.chain.as_ref().map(|chain| &chain.root);
    let is_retry = new.chain.as_ref().is_some_and(|chain| chain.original.is_some());
    let mut dependencies = Dependencies::find(connection, &new.request.depends_on, is_retry)?;
    if follows.is_some() {
        dependencies.queue_behind(connection, client, &branch, root)?;
    }
    let before = dependencies.before(connection)?;
    if let Some(conflict) = conflicts::conflict(connection, client, &branch, root, &before)? {
        return Err(StoreError::BranchBusy(conflict));
    }
    let rank = -i64::from(new.request.priority);
    let place = (rank, turns::next(connection, client, rank)?);
    let chain = new.chain.clone().unwrap_or(Chain { root: id.clone(), original: None, parent: None });
    let blocked_by = dependencies.count();
    write_row(connection, now, id, number, client, &branch, place, blocked_by, &new, &chain)?;
    dependencies.write(connection, number)?;
    // its client may have been given another agent since the caller looked
    logins::settle(connection, number)?;
    attachments::write(connection, number, &new.files, chain.original.as_ref())?;
    take_up_session(connection, number)?;
    if let Some(original) = &chain.original {
        inward::take_over(connection, number, original.as_str(), new.done_by_hand)?;
    }
    if new.done_by_hand {
        visits::take_over(connection, number)?;
    }
    events::append(connection, now, number, None, EventKind::JobQueued, &JobMoved::queued().to_text())?;
    Ok((number, dependencies.failed))
}

#[expect(clippy::too_many_arguments, reason = "one argument per part of the row, called once")]
fn write_row(
    connection: &Connection,
    now: Timestamp,
    id: &JobId,
    number: JobNumber,
    client: i64,
    branch: &BranchName,
    (rank, turn): (i64, i64),
    blocked_by: i64,
    new: &NewJob,
    chain: &Chain,
) -> Result<(), StoreError> {
    let request = &new.request;
    let (start_base, start_head, or_agent) = match &new.start {
        Start::Agent | Start::Resume { .. } => (None, None, false),
        Start::Publish { base_sha, head_sha, or_agent } => (Some(base_sha), Some(head_sha), *or_agent),
    };
    let session = match &new.start {
        Start::Resume { session_id } => Some(session_id.as_deref().unwrap_or_default()),
        Start::Agent | Start::Publish { .. } => None,
    };
    let (profile, profile_options) = profiles::used_columns(request.profile.as_ref());
    connection
        .prepare_cached(
            "INSERT INTO jobs (number, id, client, prompt, branch, branch_key, title, body, os_feature_id,
                 callback_url, metadata, labels, base_branch, priority, options, submitted_by, login, root_id,
                 original_id, parent_id, start_base_sha, start_head_sha, rank, turn, status, phase, created_at,
                 updated_at, run_at, depends_on, blocked_by, start_or_agent, start_session_id, attachments,
                 profile, profile_options)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                 ?22, ?23, ?24, 'queued', 'queued', ?25, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)",
        )?
        .execute(params![
            number.0,
            id.as_str(),
            client,
            request.prompt,
            branch.as_str(),
            branch.as_str().to_ascii_lowercase(),
            request.title,
            request.body,
            request.os_feature_id,
            request.callback_url,
            request.metadata,
            serde_json::to_string(&request.labels).unwrap_or_else(|_| "[]".to_owned()),
            request.base_branch,
            request.priority,
            crate::wire::options::to_text(&request.options),
            request.submitted_by,
            new.login,
            chain.root.as_str(),
            chain.original.as_ref().map(JobId::as_str),
            chain.parent.as_ref().map(JobId::as_str),
            start_base,
            start_head,
            rank,
            turn,
            now.as_ms(),
            request.run_at.map(Timestamp::as_ms),
            ids_text(&request.depends_on),
            blocked_by,
            or_agent,
            session,
            attachments::to_text(&request.attachments),
            profile,
            profile_options,
        ])?;
    Ok(())
}

/// A job that follows up another goes on with the newest conversation of its chain that its agent has held: as of now, for
/// those before it may still be at it.
pub(super) fn take_up_session(connection: &Connection, number: JobNumber) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE jobs SET start_session_id = coalesce((SELECT e.session_id FROM jobs e
                 WHERE e.root_id = jobs.root_id AND e.number < jobs.number AND e.login = jobs.login
                     AND e.session_id IS NOT NULL AND coalesce(e.reason_code, '') <> 'poisoned'
                 ORDER BY e.number DESC LIMIT 1), '')
             WHERE number = ?1 AND parent_id IS NOT NULL AND original_id IS NULL",
        )?
        .execute([number.0])?;
    Ok(())
}

/// Adds a warning that people see with the job; the same text only once.
pub(super) fn add_warning(
    connection: &Connection,
    number: JobNumber,
    warning: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE jobs SET warnings = json_insert(warnings, '$[#]', ?2)
             WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM json_each(warnings) WHERE value = ?2)",
        )?
        .execute(params![number.0, warning])?;
    Ok(())
}

fn ids_text(ids: &[JobId]) -> String {
    let ids: Vec<_> = ids.iter().map(JobId::as_str).collect();
    serde_json::to_string(&ids).unwrap_or_else(|_| "[]".to_owned())
}

fn next_number(connection: &Connection) -> Result<JobNumber, StoreError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(JobNumber(last.unwrap_or(0) + 1))
}

fn branch_of_chain(connection: &Connection, root: &JobId) -> Result<BranchName, StoreError> {
    let newest: String = connection
        .prepare_cached("SELECT branch FROM jobs WHERE root_id = ?1 ORDER BY number DESC LIMIT 1")?
        .query_row([root.as_str()], |row| row.get(0))?;
    BranchName::parse(&newest).map_err(|_| StoreError::Corrupt("a branch is not readable".to_owned()))
}

pub(super) fn resolve(connection: &Connection, job: &JobRef) -> Result<JobNumber, StoreError> {
    match job {
        JobRef::Number(number) => connection
            .prepare_cached("SELECT number FROM jobs WHERE number = ?1")?
            .query_row([number.0], |row| row.get(0).map(JobNumber))
            .optional()?
            .ok_or(StoreError::NotFound("job")),
        JobRef::IdPrefix(prefix) => {
            let mut statement = connection
                .prepare_cached("SELECT number FROM jobs WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 2")?;
            // '~' comes after every character of an id
            let found: Vec<i64> = statement
                .query_map([prefix.as_str(), &format!("{prefix}~")], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            match found[..] {
                [] => Err(StoreError::NotFound("job")),
                [number] => Ok(JobNumber(number)),
                _ => Err(StoreError::Ambiguous),
            }
        }
    }
}

pub(super) fn get(connection: &Connection, number: JobNumber) -> Result<Job, StoreError> {
    connection
        .prepare_cached(&format!("{JOB_VIEW} WHERE j.number = ?1"))?
        .query_row([number.0], rows::job)
        .optional()?
        .ok_or(StoreError::NotFound("job"))
}

pub(super) fn view(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    number: JobNumber,
) -> Result<JobView, StoreError> {
    let context = QueueContext::load(connection, now, bounds)?;
    connection
        .prepare_cached(&format!("{JOB_VIEW} WHERE j.number = ?1"))?
        .query_row([number.0], |row| view_of_row(connection, &context, row))
        .optional()?
        .ok_or(StoreError::NotFound("job"))
}

pub(super) fn view_of_row(
    connection: &Connection,
    context: &QueueContext,
    row: &rusqlite::Row<'_>,
) -> rusqlite::Result<JobView> {
    let job = rows::job(row)?;
    let facts = rows::client_facts(row)?;
    let queued = job.status == Status::Queued;
    Ok(JobView {
        waiting: queued.then(|| context.waiting(&job, row.get("client").unwrap_or(0), row)).transpose()?,
        position: queued.then(|| super::queue::position(connection, row)).transpose()?,
        retried_as: if queued { None } else { retried_as(connection, &job)? },
        callback: callback(connection, &job)?,
        client_name: facts.name,
        repository: facts.repository,
        job,
    })
}

fn retried_as(connection: &Connection, job: &Job) -> rusqlite::Result<Option<JobNumber>> {
    connection
        .prepare_cached(
            "SELECT number FROM jobs WHERE root_id = ?1 AND original_id = ?2 ORDER BY number DESC LIMIT 1",
        )?
        .query_row([job.chain.root.as_str(), job.id.as_str()], |row| row.get(0).map(JobNumber))
        .optional()
}

fn callback(connection: &Connection, job: &Job) -> rusqlite::Result<CallbackSummary> {
    let found = connection
        .prepare_cached(
            "SELECT state, tries, last_status FROM deliveries
             WHERE job = ?1 AND substr(url, 1, length(?2)) <> ?2 ORDER BY number DESC LIMIT 1",
        )?
        .query_row(params![job.number.0, TARGET_PREFIX], |row| {
            Ok(CallbackSummary {
                state: DeliveryState::parse(row.get_ref(0)?.as_str()?),
                tries: row.get(1)?,
                last_status: row.get(2)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or(CallbackSummary { state: None, tries: 0, last_status: None }))
}

fn cancel(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    number: JobNumber,
    render: &finish::Render<'_>,
) -> Result<(CancelRequest, Vec<JobNumber>), StoreError> {
    let job = get(connection, number)?;
    let answer = |was_running, was_cancelled| CancelRequest {
        job: job.id.clone(),
        number,
        was_running,
        was_cancelled,
    };
    if job.status == Status::Cancelled {
        return Ok((answer(false, true), Vec::new()));
    }
    if job.status.is_live() {
        connection
            .prepare_cached(
                "UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, ?2), updated_at = ?2
                 WHERE number = ?1",
            )?
            .execute(params![number.0, now.wall.as_ms()])?;
    }
    if visits::send_away(connection, number)? {
        return Ok((answer(false, false), Vec::new()));
    }
    match finish::apply(connection, now, bounds, number, Cause::CancelRequested, render) {
        Ok(applied) => Ok((answer(false, false), applied.followers)),
        Err(StoreError::Refused(Refusal::EndsWithItsWorker)) => Ok((answer(true, false), Vec::new())),
        Err(error) => Err(error),
    }
}
