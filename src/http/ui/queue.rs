//! `/ui/`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Html;

use super::super::problem::ApiError;
use super::looks::{self, Looks};
use crate::app::{App, AppError, Caller, JobQuery};
use crate::web::{self, QUEUED_SHOWN, QueueSheet};
use crate::wire::job::JobSummary;

/// Jobs that ended and are shown: a screen.
const ENDED_SHOWN: u32 = 12;
/// The most that the API gives at once, and many more than run.
const RUNNING_MAX: i64 = 200;

pub(super) async fn show(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    headers: HeaderMap,
) -> Result<Html<String>, ApiError> {
    let mut queue = app.queue_head(&caller, QUEUED_SHOWN).await?;
    let mut running = Vec::new();
    for job in running_jobs(&app, &caller).await?.into_iter().rev() {
        let words = match app.last_words(&caller, &job.id).await {
            // forgotten meanwhile
            Err(AppError::NotFound(_)) => None,
            words => words?,
        };
        running.push((job, words));
    }
    let ended = app.ended_lately(&caller, ENDED_SHOWN).await?;
    // each list was read a moment after the one before: what has moved on meanwhile stands where it was seen last
    running.retain(|(job, _)| !ended.iter().any(|over| over.number == job.number));
    queue.queued.retain(|waits| {
        let has_moved = |job: &JobSummary| job.number == waits.number;
        !running.iter().any(|(job, _)| has_moved(job)) && !ended.iter().any(has_moved)
    });
    let health = app.health(&caller).await?;
    let url = looks::address(&headers)?;
    let sheet = QueueSheet {
        waiting: viewer.sees_all.then_some(health.queue.queued),
        queue,
        running,
        ended,
        holds: health.holds,
        disk: health.disk,
        database_guide: health.database_guide,
        url,
    };
    Ok(Html(web::queue(&viewer, &sheet)))
}

async fn running_jobs(app: &App, caller: &Caller) -> Result<Vec<JobSummary>, AppError> {
    let query =
        JobQuery { status: Some("running".to_owned()), limit: Some(RUNNING_MAX), ..JobQuery::default() };
    Ok(app.list_jobs(caller, &query).await?.jobs)
}
