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
use crate::worker::{PutOut, put_out};

impl App {
    /// Has a job make way for somebody who works on it by hand, and says what he may run in its worktree. Repeatable.
    ///
    /// # Errors
    /// [`AppError::Forbidden`], [`AppError::NotFound`], [`AppError::Invalid`]; [`AppError::Conflict`] when there is nothing to
    /// take over, or somebody else has it; [`AppError::TakesLonger`] when the job has not made way in time: the wish stands.
    pub async fn attach_job(&self, caller: &Caller, job: &str, body: &Value) -> Result<Attached, AppError> {
        caller.needs(Scope::Operate)?;
        self.refuse_while_draining()?;
        let (job, key) = (self.seen(caller, job).await?, key_of(body)?);
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
        let visit = self.0.store.find_visit(number).await?.filter(|visit| is_parked && !visit.is_over);
        let Some(visit) = visit else { return Err(StoreError::from(Unvisitable::Over).into()) };
        let worker = self.0.worker.get().ok_or(AppError::Draining)?;
        match put_out(worker, &view.job).await? {
            Some(put_out) => Ok(attached(&view.job, put_out, &visit)),
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
        let (job, key) = (self.seen(caller, job).await?, key_of(body)?);
        let visit = self.0.store.prolong_visit(&job, &key).await?;
        Ok(Prolonged { until: visit.until.into() })
    }

    /// Hands a job back. What the visitor has left running is ended before anything of the job starts.
    ///
    /// # Errors
    /// [`AppError::Conflict`] when the visit is over.
    pub async fn detach_job(&self, caller: &Caller, job: &str, body: &Value) -> Result<Detached, AppError> {
        caller.needs(Scope::Operate)?;
        let job = self.seen(caller, job).await?;
        let mut reading = Reading::default();
        let asked = Detach::read(body, &mut reading);
        AppError::of_reading(&reading)?;
        let number = self.0.store.hand_back(&job, &asked.key, asked.goes_on).await?;
        let view = self.0.store.get_job(&JobRef::Number(number)).await?;
        Ok(Detached { id: view.job.id.to_string(), number: number.0, goes_on: asked.goes_on.into() })
    }
}

fn attached(job: &Job, put_out: PutOut, visit: &Visit) -> Attached {
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
    }
}

fn key_of(body: &Value) -> Result<String, AppError> {
    let mut reading = Reading::default();
    let key = Detach::read_key(body, &mut reading);
    AppError::of_reading(&reading)?;
    Ok(key)
}
