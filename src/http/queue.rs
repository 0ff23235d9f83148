//! `/queue`.

use axum::Json;
use axum::extract::State;

use super::auth::Token;
use super::body::JsonBody;
use super::problem::ApiError;
use super::query::Query;
use crate::app::App;
use crate::wire::queue::Queue;
use crate::wire::request::{PauseRequest, TryNowRequest};

/// What runs and what waits, in the order in which it will start.
#[utoipa::path(get, path = "/queue", tag = "queue", params(("after" = Option<String>, Query)),
    responses((status = 200, body = Queue)))]
pub(super) async fn get_queue(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
) -> Result<Json<Queue>, ApiError> {
    Ok(Json(app.queue(&caller, query.text("after").as_deref()).await?))
}

/// Starts nothing new until it is resumed, also after a restart.
#[utoipa::path(post, path = "/queue/pause", tag = "queue", request_body(content = PauseRequest),
    responses((status = 200, body = Queue)))]
pub(super) async fn pause_queue(
    State(app): State<App>,
    Token(caller): Token,
    JsonBody(body): JsonBody,
) -> Result<Json<Queue>, ApiError> {
    Ok(Json(app.pause_queue(&caller, &body).await?))
}

/// Starts jobs again.
#[utoipa::path(post, path = "/queue/resume", tag = "queue", responses((status = 200, body = Queue)))]
pub(super) async fn resume_queue(
    State(app): State<App>,
    Token(caller): Token,
    JsonBody(body): JsonBody,
) -> Result<Json<Queue>, ApiError> {
    Ok(Json(app.resume_queue(&caller, &body).await?))
}

/// Sends one job of each held login out as a probe, without waiting for the hold's end.
#[utoipa::path(post, path = "/queue/try-now", tag = "queue", request_body(content = TryNowRequest),
    responses((status = 200, body = Queue)))]
pub(super) async fn try_now(
    State(app): State<App>,
    Token(caller): Token,
    JsonBody(body): JsonBody,
) -> Result<Json<Queue>, ApiError> {
    Ok(Json(app.try_now(&caller, &body).await?))
}
