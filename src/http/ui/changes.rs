//! `/ui/jobs/:id/changes`.

use axum::extract::{Path, State};
use axum::response::Html;

use super::super::problem::ApiError;
use super::super::query::Query;
use super::looks::Looks;
use crate::app::{App, ChangesQuery};
use crate::web::{self, ChangesSheet};

pub(super) async fn show(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    Path(id): Path<String>,
    query: Query,
) -> Result<Html<String>, ApiError> {
    let wanted =
        ChangesQuery { path: query.text("path"), file: query.integer("file")?, line: query.integer("line")? };
    let job = app.get_job(&caller, &id, false).await?;
    let changes = app.job_changes(&caller, &id, &wanted).await?;
    Ok(Html(web::job_changes(&viewer, &ChangesSheet { job, changes })))
}
