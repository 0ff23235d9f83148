//! Cancelling: the wish is durable at once, the answer waits until no process of the job is left.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::delivery::RenderedCallback;
use crate::domain::id::{DeliveryId, EventId, JobNumber, JobRef, RANDOM_LENGTH};
use crate::domain::job::{JobView, Status};
use crate::domain::lifecycle::Refusal;
use crate::domain::token::Scope;
use crate::store::{CancelRequest, Change};
use crate::wire::callback::render_callback;
use crate::wire::job::Cancelled;

/// How long a request waits for the end of a job: above the shim's grace for stubborn processes (15 s).
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);
/// Hints may be lost; so often the row is looked at anyway.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl App {
    /// Cancels a job and waits until it is over. Repeatable.
    ///
    /// # Errors
    /// [`AppError::AlreadyOver`] for a completed or failed job; [`AppError::TakesLonger`] when the job is not over in
    /// time: the request stands.
    pub async fn cancel_job(&self, caller: &Caller, job: &str) -> Result<Cancelled, AppError> {
        caller.needs(Scope::Operate)?;
        let job = self.seen(caller, job).await?;
        let asked = self.request_cancel(&job).await?;
        let view = self.wait_until_over(asked.number).await?;
        match view.job.status {
            Status::Completed => return Err(AppError::AlreadyOver(Refusal::AlreadyCompleted)),
            Status::Failed => return Err(AppError::AlreadyOver(Refusal::AlreadyFailed)),
            Status::Queued | Status::Running | Status::Cancelled => {}
        }
        let was_running = match asked.was_cancelled {
            true => self.was_cancelled_while_running(&view).await?,
            false => asked.was_running,
        };
        Ok(Cancelled { id: asked.job.to_string(), status: Status::Cancelled.into(), was_running })
    }

    pub(super) async fn request_cancel(&self, job: &JobRef) -> Result<CancelRequest, AppError> {
        Ok(self.0.store.request_cancel(job, self.render_callbacks()).await?)
    }

    /// The callback's bytes of any job that ends by a request, with fresh ids for each.
    pub(super) fn render_callbacks(
        &self,
    ) -> impl Fn(&JobView) -> Option<RenderedCallback> + Send + use<> + 'static {
        let (clock, now) = (self.0.clock.clone(), self.now());
        move |view| {
            let event = EventId::from_random(&clock.random_text(RANDOM_LENGTH));
            let delivery = DeliveryId::from_random(&clock.random_text(RANDOM_LENGTH));
            render_callback(view, event, delivery, now)
        }
    }

    pub(super) async fn wait_until_over(&self, job: JobNumber) -> Result<JobView, AppError> {
        let deadline = Instant::now() + WAIT_MAX;
        let view = self.wait_for_job(job, deadline, |view| !view.job.status.is_live()).await?;
        if view.job.status.is_live() {
            return Err(AppError::TakesLonger(format!(
                "job #{job} is being cancelled and still has processes; ask again"
            )));
        }
        Ok(view)
    }

    /// The job as soon as `done` holds for it, or as it is at the deadline.
    pub(super) async fn wait_for_job(
        &self,
        job: JobNumber,
        deadline: Instant,
        done: impl Fn(&JobView) -> bool,
    ) -> Result<JobView, AppError> {
        // watched before the first look, so that nothing falls in between
        let mut changes = self.0.store.watch();
        loop {
            let view = self.0.store.get_job(&JobRef::Number(job)).await?;
            if done(&view) || Instant::now() >= deadline || self.is_draining() {
                return Ok(view);
            }
            let look_again = deadline.min(Instant::now() + LOOK_EVERY);
            loop {
                match timeout_at(look_again, changes.recv()).await {
                    Ok(Ok(Change::JobMoved(moved))) if moved == job => break,
                    Ok(Ok(_)) => {}
                    Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) | Err(_) => break,
                }
            }
        }
    }

    /// Its last attempt ended after the request, so there was one.
    async fn was_cancelled_while_running(&self, view: &JobView) -> Result<bool, AppError> {
        let attempts = self.0.store.list_attempts(view.job.number).await?;
        let ended_at = attempts.last().and_then(|attempt| attempt.ended_at);
        Ok(matches!((ended_at, view.job.cancel_requested_at), (Some(ended), Some(asked)) if ended >= asked))
    }
}
