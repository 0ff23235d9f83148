//! Errors as answers. A handler's error travels as a value in the response; the outermost layer writes it out, because
//! only that one knows the request id.

use std::any::Any;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::AppError;
use crate::domain::limit::Limit;
use crate::metrics;
use crate::wire::problem::Problem;

/// Seconds after which a caller may ask again: a slot is free, a drain is over, a process is gone.
const RETRY_AFTER_SECONDS: u64 = 5;

/// A restart takes seconds, putting a backup back a minute.
const MENDED_AFTER_SECONDS: u64 = 60;

/// An error on its way out.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    /// Boxed, because results carry it everywhere.
    pub(super) problem: Box<Problem>,
    retry_after_seconds: Option<u64>,
    challenge: bool,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            problem: Box::new(Problem::new(status.as_u16(), code, title, detail)),
            retry_after_seconds: None,
            challenge: false,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// 401 has to name the scheme (RFC 9110, section 11.6.1).
    pub(super) fn challenge(mut self) -> Self {
        self.challenge = true;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(*self.problem);
        response
    }
}

impl From<AppError> for ApiError {
    fn from(error: AppError) -> Self {
        Self::from(&error)
    }
}

impl From<&AppError> for ApiError {
    fn from(error: &AppError) -> Self {
        let detail = error.to_string();
        let plain = |status, code| Self::new(status, code, &detail);
        match error {
            AppError::Shared(error) => Self::from(&**error),
            AppError::Malformed(_) => plain(StatusCode::BAD_REQUEST, "malformed"),
            AppError::AlreadyOver(_) => plain(StatusCode::BAD_REQUEST, "job_over"),
            AppError::Invalid(faults) => {
                let mut answer = plain(StatusCode::UNPROCESSABLE_ENTITY, "invalid");
                answer.problem.errors.clone_from(faults);
                answer
            }
            AppError::NotSupported(faults) => {
                let mut answer = plain(StatusCode::UNPROCESSABLE_ENTITY, "not_supported");
                answer.problem.errors.clone_from(faults);
                answer
            }
            AppError::Forbidden(_) => plain(StatusCode::FORBIDDEN, "forbidden"),
            AppError::NotFound(_) => plain(StatusCode::NOT_FOUND, "not_found"),
            AppError::Conflict { code, existing, jobs, .. } => {
                let mut answer = plain(StatusCode::CONFLICT, code);
                answer.problem.existing_id.clone_from(existing);
                answer.problem.jobs.clone_from(jobs);
                answer
            }
            AppError::QueueFull { .. } => {
                metrics::LIMITS.increment([Limit::QueueFull.as_str()]);
                plain(StatusCode::TOO_MANY_REQUESTS, "queue_full").retry_after(RETRY_AFTER_SECONDS)
            }
            AppError::TooManyStreams { .. } => {
                metrics::LIMITS.increment([Limit::Streams.as_str()]);
                plain(StatusCode::TOO_MANY_REQUESTS, "too_many_streams").retry_after(RETRY_AFTER_SECONDS)
            }
            AppError::Remote(_) => plain(StatusCode::BAD_GATEWAY, "remote_refused"),
            AppError::TakesLonger(_) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "takes_longer").retry_after(RETRY_AFTER_SECONDS)
            }
            AppError::Draining => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "draining").retry_after(RETRY_AFTER_SECONDS)
            }
            AppError::ReadOnly(_) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "read_only").retry_after(MENDED_AFTER_SECONDS)
            }
            AppError::DiskFull => plain(StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            AppError::Internal(text) => {
                tracing::error!(error = text, "a request failed inside");
                internal()
            }
        }
    }
}

/// What is said about our own faults: the log knows more, under the request id.
pub(super) fn internal() -> ApiError {
    let detail = "something went wrong inside the server; its log has the details under this request id";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

pub(super) fn of_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    internal().into_response()
}

pub(super) async fn no_such_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path; see /openapi.json")
}

pub(super) async fn method_not_allowed() -> ApiError {
    let detail = "this path does not take this method; see the Allow header";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// Errors that axum itself answers with: the same shape.
pub(super) fn of_status(status: StatusCode) -> Problem {
    let title = status.canonical_reason().unwrap_or("Error");
    let code = title.to_ascii_lowercase().replace(' ', "_");
    Problem::new(status.as_u16(), &code, title, title)
}
