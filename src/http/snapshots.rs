//! `/jobs/:id/snapshots`: work that is kept.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::auth::Token;
use super::openapi::FileBytes;
use super::problem::ApiError;
use crate::app::App;
use crate::wire::snapshot::SnapshotList;

/// The work of a job that is kept in the local clone, newest first.
#[utoipa::path(get, path = "/jobs/{id}/snapshots", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = SnapshotList)))]
pub(super) async fn list_snapshots(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
) -> Result<Json<SnapshotList>, ApiError> {
    Ok(Json(app.list_snapshots(&caller, &id).await?))
}

/// The files of a snapshot as a tar archive.
#[utoipa::path(get, path = "/jobs/{id}/snapshots/{name}", tag = "jobs",
    params(("id" = String, Path), ("name" = String, Path, description = "As listed: `1-end`, `head`")),
    responses((status = 200, body = FileBytes, content_type = "application/x-tar")))]
pub(super) async fn get_snapshot(
    State(app): State<App>,
    Token(caller): Token,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let files = app.snapshot_files(&caller, &id, &name).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(files)).into_response())
}
