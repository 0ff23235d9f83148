//! What reads jobs: one, many, messages, diff, log.

use std::fmt::Write as _;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::auth::Token;
use super::connection::{Busy, Connection};
use super::events::busy;
use super::problem::{self, ApiError};
use super::query::Query;
use crate::app::{App, AppError, DiffFormat, DiffQuery, JobQuery, Pieces};
use crate::wire::diff::Diff;
use crate::wire::job::{Job, JobPage, JobSummary};
use crate::wire::message::MessagePage;

/// With a text whose end is missing.
const TRUNCATED: HeaderName = HeaderName::from_static("x-truncated");

/// Jobs, newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs",
    params(("status" = Option<String>, Query, description = "Comma-separated"), ("clientId" = Option<String>, Query),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "50 when absent"),
        ("offset" = Option<i64>, Query, minimum = 0),
        ("q" = Option<String>, Query), ("label" = Option<String>, Query), ("branch" = Option<String>, Query),
        ("submittedBy" = Option<String>, Query), ("since" = Option<String>, Query),
        ("until" = Option<String>, Query), ("after" = Option<String>, Query)),
    responses((status = 200, body = JobPage)))]
pub(super) async fn list_jobs(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
) -> Result<Json<JobPage>, ApiError> {
    let query = JobQuery {
        status: query.text("status"),
        client_id: query.text("clientId"),
        limit: query.integer("limit")?,
        offset: query.integer("offset")?,
        q: query.text("q"),
        label: query.text("label"),
        branch: query.text("branch"),
        submitted_by: query.text("submittedBy"),
        since: query.text("since"),
        until: query.text("until"),
        after: query.text("after"),
    };
    Ok(Json(app.list_jobs(&caller, &query).await?))
}

/// One job. With `wait` and `If-None-Match` it answers when the job differs from that, or after the wait.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "Id, a unique beginning of it, or number"),
        ("includeMessages" = Option<bool>, Query), ("wait" = Option<i64>, Query, minimum = 0, maximum = 60, description = "Seconds"),
        ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = Job, headers(("ETag" = String))), (status = 304, description = "Not changed")))]
pub(super) async fn get_job(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let with_messages = query.flag("includeMessages")?;
    let wait = query.integer("wait")?;
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_seen = |job: &JobSummary| seen.is_some_and(|seen| seen == "*" || seen.contains(&etag(job)));
    let job = match wait {
        Some(seconds) => app.wait_job(&caller, &id, with_messages, seconds, is_seen).await?,
        None => app.get_job(&caller, &id, with_messages).await?,
    };
    let tag = HeaderValue::from_str(&etag(&job.summary)).map_err(|_| problem::internal())?;
    let answer = match is_seen(&job.summary) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Json(job).into_response(),
    };
    Ok(([(header::ETAG, tag)], answer).into_response())
}

/// Messages of a job, oldest first.
#[utoipa::path(get, path = "/jobs/{id}/messages", tag = "jobs",
    params(("id" = String, Path), ("after" = Option<i64>, Query, minimum = 0, description = "Only messages with a larger seq"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000)),
    responses((status = 200, body = MessagePage)))]
pub(super) async fn list_messages(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<MessagePage>, ApiError> {
    Ok(Json(app.list_messages(&caller, &id, query.integer("after")?, query.integer("limit")?).await?))
}

/// The agent's output as text.
#[utoipa::path(get, path = "/jobs/{id}/log", tag = "jobs",
    params(("id" = String, Path), ("attempt" = Option<i64>, Query, description = "The newest when absent"),
        ("raw" = Option<bool>, Query, description = "The agent's standard output, byte for byte"),
        ("follow" = Option<bool>, Query, description = "Go on until the job is over")),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn get_log(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
    connection: Option<Extension<Connection>>,
) -> Result<Response, ApiError> {
    let attempt = query.integer("attempt")?;
    let (follow, raw) = (query.flag("follow")?, query.flag("raw")?);
    let busy = || busy(connection.as_ref());
    if follow && raw {
        let follower = app.follow_raw_job_log(&caller, &id, attempt).await?;
        return Ok(text(Body::from_stream(followed(follower, busy()))));
    }
    if follow {
        let follower = app.follow_job_log(&caller, &id, attempt).await?;
        return Ok(text(Body::from_stream(followed(follower, busy()))));
    }
    if raw {
        return Ok(text(Body::from_stream(app.raw_job_log(&caller, &id, attempt).await?)));
    }
    let path = app.job_log(&caller, &id, attempt).await?;
    let unreadable = |error: std::io::Error| {
        tracing::error!(%error, "could not read a transcript");
        problem::internal()
    };
    let file = tokio::fs::File::open(&path).await.map_err(unreadable)?;
    // what is written from now on is for the next request
    let length = file.metadata().await.map_err(unreadable)?.len();
    Ok(text(Body::from_stream(ReaderStream::new(file.take(length)))))
}

/// The pieces as they come; one that cannot be read breaks the answer off, so that nobody takes it for whole.
fn followed(
    follower: impl Pieces,
    busy: Option<Busy>,
) -> impl Stream<Item = Result<Vec<u8>, std::io::Error>> {
    stream::unfold(Some((follower, busy)), |state| async move {
        let (mut follower, busy) = state?;
        match follower.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some((follower, busy)))),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "following an output broke off");
                Some((Err(std::io::Error::other("broke off")), None))
            }
        }
    })
}

/// What the job changed. A patch is as many bytes as its files say, in their encoding; where it was longer than 8 MiB it is cut, and
/// the header `X-Truncated: true` says so.
#[utoipa::path(get, path = "/jobs/{id}/diff", tag = "jobs",
    params(("id" = String, Path), ("format" = Option<String>, Query, description = "patch (default), stat or json"),
        ("path" = Option<String>, Query), ("context" = Option<i64>, Query, minimum = 0, maximum = 1000, description = "3 when absent")),
    responses((status = 200, content((Diff = "application/json"), (String = "text/plain")))))]
pub(super) async fn get_diff(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let format = match query.text("format").as_deref() {
        None | Some("patch") => DiffFormat::Patch,
        Some("stat") => DiffFormat::Stat,
        Some("json") => DiffFormat::Json,
        Some(_) => return Err(AppError::invalid("?format", "must be one of patch, stat, json").into()),
    };
    let context = query.integer("context")?.unwrap_or(3);
    let (diff, patch) =
        app.diff_job(&caller, &id, &DiffQuery { format, path: query.text("path"), context }).await?;
    Ok(match format {
        DiffFormat::Json => Json(diff).into_response(),
        DiffFormat::Patch if patch.is_cut => {
            ([(TRUNCATED, "true")], text(Body::from(patch.bytes))).into_response()
        }
        DiffFormat::Patch => text(Body::from(patch.bytes)),
        DiffFormat::Stat => text(Body::from(stat(&diff))),
    })
}

/// Changes whenever something in the job does.
fn etag(job: &JobSummary) -> String {
    let waiting = job.waiting.map(|waiting| waiting.for_.to_string()).unwrap_or_default();
    let position = job.position.unwrap_or(0);
    format!("\"{}-{}-{position}{waiting}\"", job.updated_at.0.as_ms(), job.phase)
}

fn text(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// One line per file and a last one with the sums, as git prints them.
fn stat(diff: &Diff) -> String {
    let mut lines = String::new();
    for file in &diff.files {
        let counts = match (file.insertions, file.deletions) {
            (Some(insertions), Some(deletions)) => format!("+{insertions} -{deletions}"),
            _ => "binary".to_owned(),
        };
        // writing to a string cannot fail
        let _ = writeln!(lines, " {} | {counts}", file.path);
    }
    if diff.truncated {
        lines.push_str(" … and more files\n");
    }
    let _ = writeln!(
        lines,
        " {} files changed, {} insertions(+), {} deletions(-)",
        diff.files_changed, diff.insertions, diff.deletions
    );
    lines
}
