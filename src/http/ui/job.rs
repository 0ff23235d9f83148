//! `/ui/jobs/:id`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Html;

use super::super::problem::ApiError;
use super::super::query::Query;
use super::looks::Looks;
use crate::app::{App, AppError, Caller, Piece, Story};
use crate::domain::job::Status;
use crate::web::{self, JobSheet};
use crate::wire::job::JobSummary;

/// Each costs a question to the database; who waits for more sees their ids.
const NAMED_MAX: usize = 10;

pub(super) async fn show(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    Path(id): Path<String>,
    query: Query,
) -> Result<Html<String>, ApiError> {
    let before = query.integer("before")?;
    let job = app.get_job(&caller, &id, false).await?;
    let status = job.summary.status.0;
    let piece = before.map_or(Piece::Last, Piece::Before);
    // the changing part has no log, and only a failure shows its end
    let story = match viewer.part_only && status != Status::Failed {
        true => Story { events: Vec::new(), older: None, upto: 0, is_whole: true },
        false => app.job_story(&caller, &id, piece).await?,
    };
    let sheet = JobSheet {
        life: app.job_life(&caller, &id).await?,
        deliveries: app.list_deliveries(&caller, &id).await?.deliveries,
        numbers: numbers(&app, &caller, &job.summary).await?,
        job,
        told: story.events,
        older: story.older,
        upto: story.upto,
        is_earlier: before.is_some(),
    };
    Ok(Html(web::job(&viewer, &sheet)))
}

/// Of the jobs that it retries, follows or waits for. One that is forgotten, or none of the caller's, keeps its id.
async fn numbers(app: &App, caller: &Caller, job: &JobSummary) -> Result<BTreeMap<String, i64>, ApiError> {
    let mut numbers = BTreeMap::new();
    let others = [&job.original_job_id, &job.parent_job_id].into_iter().flatten();
    for id in others.chain(&job.depends_on).take(NAMED_MAX) {
        match app.get_job(caller, id, false).await {
            Ok(other) => drop(numbers.insert(id.clone(), other.summary.number)),
            Err(AppError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(numbers)
}

/// What was told behind an event, for the log that is open.
pub(super) async fn lines(
    State(app): State<App>,
    Looks { caller, .. }: Looks,
    Path(id): Path<String>,
    query: Query,
) -> Result<Html<String>, ApiError> {
    let piece = match (query.integer("behind")?, query.integer("before")?) {
        (Some(event), _) => Piece::Behind(event),
        (None, Some(event)) => Piece::Before(event),
        (None, None) => Piece::Last,
    };
    let story = app.job_story(&caller, &id, piece).await?;
    Ok(Html(web::log_lines(&story.events, story.upto, story.is_whole)))
}
