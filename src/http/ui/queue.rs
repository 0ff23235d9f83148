//! `/ui/`.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Html;

use super::super::badges::is_secure;
use super::super::guard::single;
use super::super::problem::ApiError;
use super::looks::Looks;
use crate::app::{App, AppError, Caller, JobQuery};
use crate::web::{self, QueueSheet};
use crate::wire::job::JobSummary;

/// Jobs that ended and are shown: a screen.
const ENDED_SHOWN: usize = 12;
/// Looked at for those: newer ones may have ended before older ones.
const ENDED_LOOKED_AT: i64 = 50;
/// The most that the API gives at once, and many more than run.
const RUNNING_MAX: i64 = 200;

pub(super) async fn show(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    headers: HeaderMap,
) -> Result<Html<String>, ApiError> {
    let queue = app.queue(&caller, None).await?;
    let mut running = Vec::new();
    for job in jobs(&app, &caller, "running", RUNNING_MAX).await?.into_iter().rev() {
        let words = match app.last_words(&caller, &job.id).await {
            // forgotten meanwhile
            Err(AppError::NotFound(_)) => None,
            words => words?,
        };
        running.push((job, words));
    }
    let mut ended = jobs(&app, &caller, "completed,failed,cancelled", ENDED_LOOKED_AT).await?;
    ended.sort_by_key(|job| std::cmp::Reverse(job.completed_at.map(|at| at.0)));
    ended.truncate(ENDED_SHOWN);
    let health = app.health(&caller).await?;
    let scheme = if is_secure(&headers) { "https" } else { "http" };
    let url = format!("{scheme}://{}", single(&headers, header::HOST)?.unwrap_or("127.0.0.1:3456"));
    let sheet = QueueSheet {
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

async fn jobs(app: &App, caller: &Caller, status: &str, limit: i64) -> Result<Vec<JobSummary>, AppError> {
    let query = JobQuery { status: Some(status.to_owned()), limit: Some(limit), ..JobQuery::default() };
    Ok(app.list_jobs(caller, &query).await?.jobs)
}
