//! What changes jobs: submit, cancel, retry, follow up.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::auth::Token;
use super::body::JsonBody;
use super::idempotency::{AnswerKept, Key};
use super::problem::ApiError;
use crate::app::{App, Created};
use crate::wire::job::{Cancelled, Job};
use crate::wire::request::{FollowUpRequest, RetryRequest, SubmitRequest};

/// Submits a job. The answer is sent when the job is on disk.
#[utoipa::path(post, path = "/jobs", tag = "jobs", request_body = SubmitRequest,
    responses((status = 201, body = Job, headers(("Location" = String)))))]
pub(super) async fn submit_job(
    State(app): State<App>,
    Token(caller): Token,
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
    Token(caller): Token,
    Path(id): Path<String>,
    // nothing is read from it, but what is no JSON was meant otherwise
    _body: JsonBody,
) -> Result<Json<Cancelled>, ApiError> {
    Ok(Json(app.cancel_job(&caller, &id).await?))
}

/// Retries a job in the same chain; only what failed is repeated.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", request_body(content = RetryRequest),
    params(("id" = String, Path)),
    responses((status = 201, body = Job, headers(("Location" = String)))))]
pub(super) async fn retry_job(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    Key(key): Key,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    Ok(created(app.retry_job(&caller, &id, &body, key).await?))
}

/// Goes on with something new where a job has ended: the same branch, conversation and pull request. Waits while a job is live
/// on the branch.
#[utoipa::path(post, path = "/jobs/{id}/follow-up", tag = "jobs", request_body = FollowUpRequest,
    params(("id" = String, Path)),
    responses((status = 201, body = Job, headers(("Location" = String)))))]
pub(super) async fn follow_up_job(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    Key(key): Key,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    Ok(created(app.follow_up_job(&caller, &id, &body, key).await?))
}

fn created(job: Created<Job>) -> Response {
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, job.location)], Json(job.body)).into_response();
    response.extensions_mut().insert(AnswerKept);
    response
}
