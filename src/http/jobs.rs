//! What changes jobs: submit, cancel, retry.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::JsonBody;
use super::idempotency::{AnswerKept, Key};
use super::problem::ApiError;
use crate::app::{App, Caller, Created};
use crate::wire::job::Job;
use crate::wire::request::{RetryRequest, SubmitRequest};
use crate::wire::words::Status;

/// A cancelled job.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cancelled {
    id: String,
    status: Status,
    /// Whether an agent was at work.
    was_running: bool,
}

/// Submits a job. The answer is sent when the job is on disk.
#[utoipa::path(post, path = "/jobs", tag = "jobs", request_body = SubmitRequest,
    responses((status = 201, body = Job, headers(("Location" = String)))))]
pub(super) async fn submit_job(
    State(app): State<App>,
    caller: Caller,
    Key(key): Key,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    Ok(created(app.submit_job(&caller, &body, key).await?))
}

/// Cancels a job; answers when no process of it is left.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Cancelled)))]
pub(super) async fn cancel_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Cancelled>, ApiError> {
    let cancelled = app.cancel_job(&caller, &id).await?;
    let status = crate::domain::job::Status::Cancelled.into();
    Ok(Json(Cancelled { id: cancelled.id, status, was_running: cancelled.was_running }))
}

/// Retries a job in the same chain; only what failed is repeated.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", request_body(content = RetryRequest),
    params(("id" = String, Path)),
    responses((status = 201, body = Job, headers(("Location" = String)))))]
pub(super) async fn retry_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Key(key): Key,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    Ok(created(app.retry_job(&caller, &id, &body, key).await?))
}

fn created(job: Created<Job>) -> Response {
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, job.location)], Json(job.body)).into_response();
    response.extensions_mut().insert(AnswerKept);
    response
}
