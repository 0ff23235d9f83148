//! The one place where a status, phase or outcome is written: decided by `domain::lifecycle`, guarded by the lease,
//! together with the event, the attempt's row, the hold, the callback and the notices that follow from it, and with what becomes of
//! the jobs that waited for it.

use std::collections::VecDeque;

use rusqlite::{Connection, params};

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::{Change, Left, Store};
use super::disk::Bounds;
use super::waits::Waiter;
use super::{attempts, deaths, deliveries, events, holds, inward, jobs, logins, turns, visits, waits};
use crate::domain::attempt::{AttemptEnd, Lease};
use crate::domain::delivery::RenderedCallback;
use crate::domain::id::JobNumber;
use crate::domain::job::{Job, JobView, Outcome, Phase, Status};
use crate::domain::lifecycle::{Cause, Situation, Transition, transition};
use crate::domain::limit::Limit;
use crate::domain::options::EffectiveOptions;
use crate::domain::reason::ReasonCode;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;
use crate::metrics;
use crate::wire::event::JobMoved;

/// Makes a callback's bytes, for every job that is over in the transaction.
pub(super) type Render<'a> = dyn Fn(&JobView) -> Option<RenderedCallback> + 'a;

/// What a cause has brought about.
pub(super) struct Applied {
    pub(super) view: JobView,
    /// Others that failed with it, or wait for one job less.
    pub(super) followers: Vec<JobNumber>,
}

impl Store {
    /// The worker has come to `phase`: written before the phase's first side effect.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn reach_phase(&self, lease: Lease, phase: Phase) -> Result<(), StoreError> {
        self.come_to(lease, phase, false).await.map(drop)
    }

    /// As [`Self::reach_phase`]. With `leaves_agent` the job stays where it is if somebody has said something to the agent that
    /// it has not heard, or waits to take the job over.
    pub(super) async fn come_to(
        &self,
        lease: Lease,
        phase: Phase,
        leaves_agent: bool,
    ) -> Result<Left, StoreError> {
        let (now, bounds) = (self.moment(), self.bounds());
        let reached = self
            .database
            .write(Edge::ReachPhase, move |connection| {
                attempts::check(connection, lease)?;
                if leaves_agent && visits::is_awaited(connection, now, lease.job)? {
                    return Ok(Left::Awaited);
                }
                if leaves_agent && inward::has_unheard(connection, lease)? {
                    return Ok(Left::Unheard);
                }
                apply(connection, now, &bounds, lease.job, Cause::PhaseReached(phase), &|_| None)?;
                let judges = matches!(phase, Phase::Committing | Phase::Pushing | Phase::OpeningPr);
                deaths::note_judging(connection, lease, judges)?;
                deaths::came_forward(connection, lease)?;
                Ok(Left::Yes)
            })
            .await?;
        if reached == Left::Yes {
            self.tell(Change::JobMoved(lease.job));
        }
        Ok(reached)
    }

    /// Ends the attempt and decides what becomes of the job. When the job is over, so are those that depended on its success;
    /// `render` makes the bytes of the callback of each.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn finish(
        &self,
        lease: Lease,
        end: AttemptEnd,
        render: impl Fn(&JobView) -> Option<RenderedCallback> + Send + 'static,
    ) -> Result<JobView, StoreError> {
        let (now, bounds) = (self.moment(), self.bounds());
        let applied = self
            .database
            .write(Edge::Finish, move |connection| {
                attempts::check(connection, lease)?;
                apply(connection, now, &bounds, lease.job, Cause::AttemptEnded(end), &render)
            })
            .await?;
        count(&applied.view.job);
        self.tell(Change::JobMoved(lease.job));
        self.tell_moved(&applied.followers);
        self.tell(Change::Queue);
        self.tell(Change::Deliveries);
        Ok(applied.view)
    }

    pub(super) fn tell_moved(&self, jobs: &[JobNumber]) {
        for job in jobs {
            self.tell(Change::JobMoved(*job));
        }
    }
}

/// After the commit, so that nothing is counted that was taken back.
fn count(job: &Job) {
    let code = job.reason.as_ref().map(|reason| reason.code);
    metrics::ATTEMPTS.increment([code.map_or("none", ReasonCode::as_str)]);
    if let Some(limit) = code.and_then(Limit::of_reason) {
        metrics::LIMITS.increment([limit.as_str()]);
    }
}

/// What `cause` would do to the job, without doing it.
pub(super) fn decide(
    connection: &Connection,
    now: Timestamp,
    number: JobNumber,
    cause: Cause,
) -> Result<Transition, StoreError> {
    let job = jobs::get(connection, number)?;
    let merged =
        attempts::options(connection, number, job.attempt)?.unwrap_or_else(|| job.request.own_options());
    let situation = Situation {
        status: job.status,
        phase: job.phase,
        attempts_counted: job.attempts_counted,
        attempts_max: EffectiveOptions::resolve(merged, false).max_attempts,
        backoff_tries: job.backoff_tries,
        cancel_requested: job.cancel_requested_at.is_some(),
        server_died_each_time: deaths::in_each_attempt(connection, number, job.attempt)?,
        stops: attempts::stops(connection, number)?,
    };
    Ok(transition(now, &situation, cause)?)
}

/// Decides and writes, for the job and for all that depend on its end. Their chain can be as long as the queue, so it is
/// walked, not called.
pub(super) fn apply(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    number: JobNumber,
    cause: Cause,
    render: &Render<'_>,
) -> Result<Applied, StoreError> {
    let view = apply_to_one(connection, now, bounds, number, cause, render)?;
    let mut followers = Vec::new();
    let mut over = VecDeque::new();
    if !view.job.status.is_live() {
        over.push_back(view.job.clone());
    }
    while let Some(job) = over.pop_front() {
        let waiting = waits::take_waiting_for(connection, job.number)?;
        followers.extend(waiting.iter().map(|waiter| waiter.job));
        for Waiter { job: dependent, any_end } in waiting {
            if any_end || job.status == Status::Completed {
                waits::release(connection, now.wall, dependent)?;
                jobs::take_up_session(connection, dependent)?;
                continue;
            }
            let code = job.reason.as_ref().map(|reason| reason.code.as_str());
            let cause = Cause::DependencyFailed(waits::failure(job.number, &job.id, job.status, code));
            over.push_back(apply_to_one(connection, now, bounds, dependent, cause, render)?.job);
        }
    }
    Ok(Applied { view, followers })
}

fn apply_to_one(
    connection: &Connection,
    now: Moment,
    bounds: &Bounds,
    number: JobNumber,
    cause: Cause,
    render: &Render<'_>,
) -> Result<JobView, StoreError> {
    let ends_attempt = matches!(cause, Cause::AttemptEnded(_));
    let makes_way = matches!(cause, Cause::AttemptEnded(AttemptEnd::Attached));
    let before = jobs::get(connection, number)?;
    let decided = decide(connection, now.wall, number, cause)?;
    write_job(connection, now, number, before.status, &decided)?;
    match (before.status, decided.status) {
        (Status::Running, Status::Queued) => turns::give_back(connection, number)?,
        (Status::Queued, Status::Queued | Status::Running) => {}
        (Status::Queued, _) => turns::leave(connection, number)?,
        _ => {}
    }
    if ends_attempt {
        attempts::end(connection, now.wall, number, before.attempt, &decided)?;
        if decided.status == Status::Queued {
            attempts::carry_session_on(connection, number, before.attempt)?;
            if makes_way || visits::is_awaited(connection, now, number)? {
                visits::park(connection, number, before.attempt)?;
            }
        }
        if let Some(moved) = holds::update(connection, now, &before, &decided)? {
            bounds.notices.of_hold(connection, now, number, &moved)?;
        }
        logins::settle(connection, number)?;
    }
    let attempt = (before.attempt > 0).then_some(before.attempt);
    let mut moved = JobMoved::from(&decided);
    if makes_way {
        visits::tell(connection, now, number, &mut moved)?;
    }
    events::append(connection, now.wall, number, attempt, decided.event, &moved.to_text())?;
    if decided.ends_job() {
        visits::forget(connection, number)?;
        waits::forget(connection, number)?;
        // what is published needs no agent: whoever is told belongs to the job that it repeats
        if decided.status != Status::Completed && before.needs_agent() {
            inward::warn_of_unheard(connection, number)?;
        }
    }
    let view = jobs::view(connection, now, bounds, number)?;
    if decided.ends_job() {
        bounds.notices.of_end(connection, now, &view)?;
    }
    if decided.ends_job()
        && let Some(callback) = render(&view)
    {
        deliveries::insert(connection, now, number, &callback)?;
        return jobs::view(connection, now, bounds, number);
    }
    Ok(view)
}

fn write_job(
    connection: &Connection,
    now: Moment,
    number: JobNumber,
    expected: Status,
    to: &Transition,
) -> Result<(), StoreError> {
    let leaves_running = to.status != Status::Running;
    let changed = connection
        .prepare_cached(
            "UPDATE jobs SET status = ?3, phase = ?4, outcome = ?5,
                 reason_code = CASE WHEN ?6 IS NOT NULL THEN ?6 WHEN ?3 = 'completed' THEN NULL ELSE reason_code END,
                 reason_message = CASE WHEN ?6 IS NOT NULL THEN ?7 WHEN ?3 = 'completed' THEN NULL
                     ELSE reason_message END,
                 attempts_counted = attempts_counted + ?8, backoff_tries = ?9, not_before = ?10,
                 lease_epoch = CASE WHEN ?11 THEN NULL ELSE lease_epoch END,
                 pid = CASE WHEN ?11 THEN NULL ELSE pid END,
                 completed_at = CASE WHEN ?12 THEN ?13 ELSE completed_at END, updated_at = ?13
             WHERE number = ?1 AND status = ?2",
        )?
        .execute(params![
            number.0,
            expected.as_str(),
            to.status.as_str(),
            to.phase.as_str(),
            to.outcome.map(Outcome::as_str),
            to.reason.as_ref().map(|reason| reason.code.as_str()),
            to.reason.as_ref().map(|reason| &reason.message),
            to.counted,
            to.backoff_tries,
            to.not_before.map(|at| now.to_steady(at)),
            leaves_running,
            to.ends_job(),
            now.wall.as_ms(),
        ])?;
    if changed == 1 { Ok(()) } else { Err(StoreError::LeaseLost(number)) }
}
