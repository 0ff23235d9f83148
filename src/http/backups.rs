//! `/backups`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::auth::Token;
use super::body::JsonBody;
use super::problem::ApiError;
use crate::app::App;
use crate::wire::backup::{Backup, BackupRequest, Backups};

/// Copies the database as it is now. The answer is sent when the copy is on disk and was looked through.
#[utoipa::path(post, path = "/backups", tag = "system", request_body(content = BackupRequest),
    responses((status = 201, body = Backup)))]
pub(super) async fn create_backup(
    State(app): State<App>,
    Token(caller): Token,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Backup>), ApiError> {
    Ok((StatusCode::CREATED, Json(app.back_up(&caller, &body).await?)))
}

/// The backups beside the database, the newest first.
#[utoipa::path(get, path = "/backups", tag = "system", responses((status = 200, body = Backups)))]
pub(super) async fn list_backups(
    State(app): State<App>,
    Token(caller): Token,
) -> Result<Json<Backups>, ApiError> {
    Ok(Json(app.backups(&caller)?))
}
