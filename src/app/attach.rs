//! Taking a job over by hand: the wish is durable at once, the answer waits until no process of the job is left.

use serde_json::Value;
use tokio::time::Instant;

use super::App;
use super::caller::Caller;
use super::cancel::WAIT_MAX;
use super::error::AppError;
use crate::domain::id::JobRef;
use crate::domain::job::{Job, Status, WaitingFor};
use crate::domain::token::Scope;
use crate::domain::visit::{GoesOn, Unvisitable, VISIT_PROLONGED_EVERY, Visitor};
use crate::store::{StoreError, Visit};
use crate::wire::fields::Reading;
use crate::wire::visit::{Attached, Detach, Detached, Prolonged};
use crate::worker::{PutOut, is_tampered_with, put_out, unpublishable};

impl App {
    /// Has a job make way for somebody who works on it by hand, and says what he may run in its worktree. Repeatable.
    ///
    /// # Errors
    /// [`AppError::Forbidden`], [`AppError::NotFound`], [`AppError::Invalid`]; [`AppError::Conflict`] when there is nothing to
    /// take over, or somebody else has it; [`AppError::TakesLonger`] when the job has not made way in time: the wish stands.
    pub async fn attach_job(&self, caller: &Caller, job: &str, body: &Value) -> Result<Attached, AppError> {
        caller.needs(Scope::Operate)?;
        self.refuse_while_draining()?;
        let (job, (key, warnings)) = (self.seen(caller, job).await?, key_of(body)?);
        let visitor = Visitor { key: key.clone(), by: caller.name.clone() };
        let number = self.0.store.attach(&job, visitor).await?;
        let deadline = Instant::now() + WAIT_MAX;
        let view = self.wait_for_job(number, deadline, |view| view.job.status != Status::Running).await?;
        if view.job.status == Status::Running {
            return Err(AppError::TakesLonger(format!(
                "job #{number} is making way and still has processes; ask again"
            )));
        }
        // it has come to its end by itself meanwhile
        let is_parked = view.waiting.is_some_and(|waiting| waiting.for_ == WaitingFor::Attached);
        let visit = self.0.store.find_visit(number).await?;
        // he may have been sent away meanwhile, and another have come
        let visit = visit.filter(|visit| is_parked && !visit.is_over && visit.key == key);
        let Some(visit) = visit else {
            let why = if view.job.status.is_live() { Unvisitable::NoVisit } else { Unvisitable::Over };
            return Err(StoreError::from(why).into());
        };
        let worker = self.0.worker.get().ok_or(AppError::Draining)?;
        if is_tampered_with(worker, &view.job).await? {
            self.0.store.hand_back(&JobRef::Number(number), &key, GoesOn::Agent).await?;
            let detail = "the clone of its repository was changed, so git is not to be run there, and its client is paused";
            return Err(AppError::conflict("repo_tampered", detail));
        }
        match put_out(worker, &view.job).await? {
            Some(put_out) => Ok(attached(&view.job, put_out, &visit, warnings)),
            None => {
                self.0.store.hand_back(&JobRef::Number(number), &key, GoesOn::Agent).await?;
                let detail = "its worktree is gone: the job goes on without it";
                Err(AppError::conflict("worktree_gone", detail))
            }
        }
    }

    /// The visitor is still there.
    ///
    /// # Errors
    /// [`AppError::Conflict`] when the visit is over.
    pub async fn prolong_visit(
        &self,
        caller: &Caller,
        job: &str,
        body: &Value,
    ) -> Result<Prolonged, AppError> {
        caller.needs(Scope::Operate)?;
        let (job, (key, warnings)) = (self.seen(caller, job).await?, key_of(body)?);
        let visit = self.0.store.prolong_visit(&job, &key).await?;
        Ok(Prolonged { until: visit.until.into(), warnings })
    }

    /// Hands a job back. What the visitor has left running is ended before anything of the job starts.
    ///
    /// # Errors
    /// [`AppError::Conflict`] when the visit is over, or what is there cannot be published; [`AppError::TakesLonger`] when the job
    /// has not made way.
    pub async fn detach_job(&self, caller: &Caller, job: &str, body: &Value) -> Result<Detached, AppError> {
        caller.needs(Scope::Operate)?;
        let job = self.seen(caller, job).await?;
        let mut reading = Reading::default();
        let asked = Detach::read(body, &mut reading);
        AppError::of_reading(&reading)?;
        if asked.goes_on == GoesOn::Publish {
            self.refuse_unpublishable(&job, &asked.key).await?;
        }
        let number = self.0.store.hand_back(&job, &asked.key, asked.goes_on).await?;
        let view = self.0.store.get_job(&JobRef::Number(number)).await?;
        let (id, goes_on, warnings) = (view.job.id.to_string(), asked.goes_on.into(), reading.warnings);
        Ok(Detached { id, number: number.0, goes_on, warnings })
    }

    /// Of a visit that is not over: a merge that is under way, or a worktree that is gone, is no result.
    async fn refuse_unpublishable(&self, job: &JobRef, key: &str) -> Result<(), AppError> {
        let view = self.0.store.get_job(job).await?;
        let visit = self.0.store.find_visit(view.job.number).await?;
        let is_his = visit.is_some_and(|visit| visit.key == key && !visit.is_over);
        if !is_his || view.job.status != Status::Queued {
            return Ok(());
        }
        let worker = self.0.worker.get().ok_or(AppError::Draining)?;
        match unpublishable(worker, &view.job).await? {
            Some(why) => Err(StoreError::from(why).into()),
            None => Ok(()),
        }
    }
}

fn attached(job: &Job, put_out: PutOut, visit: &Visit, warnings: Vec<String>) -> Attached {
    Attached {
        id: job.id.to_string(),
        number: job.number.0,
        branch_name: job.request.branch.to_string(),
        worktree_path: put_out.worktree,
        agent: put_out.agent,
        session_id: put_out.session_id,
        command: put_out.command,
        env: put_out.env,
        pass_env: put_out.pass_env.into_iter().collect(),
        set_env: put_out.set_env,
        until: visit.until.into(),
        prolong_every_seconds: VISIT_PROLONGED_EVERY.as_secs(),
        warnings,
    }
}

/// The key, and what is to be said of the rest.
fn key_of(body: &Value) -> Result<(String, Vec<String>), AppError> {
    let mut reading = Reading::default();
    let key = Detach::read_key(body, &mut reading);
    AppError::of_reading(&reading)?;
    Ok((key, reading.warnings))
}
