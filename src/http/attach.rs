//! Taking a job over by hand, and handing it back.

use axum::Json;
use axum::extract::{Path, State};

use super::auth::Token;
use super::body::JsonBody;
use super::problem::ApiError;
use crate::app::App;
use crate::wire::visit::{AttachRequest, Attached, DetachRequest, Detached, Prolonged};

/// Takes a job over: what runs of it ends and is not counted, its worktree and its conversation wait. Answers when no process
/// of it is left, with what to run in the worktree.
#[utoipa::path(post, path = "/jobs/{id}/attach", tag = "jobs", request_body = AttachRequest,
    params(("id" = String, Path)), responses((status = 200, body = Attached)))]
pub(super) async fn attach_job(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Attached>, ApiError> {
    Ok(Json(app.attach_job(&caller, &id, &body).await?))
}

/// Says that whoever has taken a job over is still there: without that the job is handed back to its agent after two minutes.
#[utoipa::path(post, path = "/jobs/{id}/attach/prolong", tag = "jobs", request_body = AttachRequest,
    params(("id" = String, Path)), responses((status = 200, body = Prolonged)))]
pub(super) async fn prolong_visit(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Prolonged>, ApiError> {
    Ok(Json(app.prolong_visit(&caller, &id, &body).await?))
}

/// Hands a job back that was taken over. It goes on with what lies in its worktree: to the owner's commands and the
/// publication, or to the agent.
#[utoipa::path(post, path = "/jobs/{id}/detach", tag = "jobs", request_body = DetachRequest,
    params(("id" = String, Path)), responses((status = 200, body = Detached)))]
pub(super) async fn detach_job(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Detached>, ApiError> {
    Ok(Json(app.detach_job(&caller, &id, &body).await?))
}
