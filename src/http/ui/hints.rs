//! That something has changed, for our script: it looks anew at the page that it shows. What has changed stands in the page, and
//! nowhere else.

use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use serde_json::json;

use super::super::auth::Token;
use super::super::connection::{Busy, Connection};
use super::super::events::{after, busy, opening, stream_of};
use super::super::problem::ApiError;
use super::super::query::Query;
use crate::app::{App, Follower};
use crate::wire::event::StreamItem;

/// Of all jobs that the caller sees.
pub(super) async fn all(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
    headers: HeaderMap,
    connection: Option<Extension<Connection>>,
) -> Result<Response, ApiError> {
    let follower = app.follow_all(&caller, after(&headers, &query)?).await?;
    Ok(answer(follower, busy(connection.as_ref())))
}

/// Of one job; the stream ends when that is over.
pub(super) async fn of_job(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    connection: Option<Extension<Connection>>,
) -> Result<Response, ApiError> {
    let follower = app.follow_job(&caller, &id, after(&headers, &query)?).await?;
    Ok(answer(follower, busy(connection.as_ref())))
}

fn answer(follower: Follower, busy: Option<Busy>) -> Response {
    let opening = opening(&follower);
    stream_of(follower, busy, Some(opening), hint)
}

/// Whether a job has moved or only told something, and whether it is over: one for all that came together, for the page is
/// looked at once.
fn hint(items: &[StreamItem]) -> Vec<Event> {
    let is_told = |item: &StreamItem| matches!(item, StreamItem::Event(event) if event.type_.0.is_told());
    let has_moved = !items.iter().all(is_told);
    let last = items.iter().filter_map(StreamItem::id).next_back();
    let data = json!({"moved": has_moved}).to_string();
    let event = Event::default().event("hint").data(data);
    let event = last.map_or(event.clone(), |last| event.id(last.to_string()));
    let done = items.iter().any(|item| matches!(item, StreamItem::Done(_)));
    let done = done.then(|| Event::default().event("done").data("{}"));
    [Some(event), done].into_iter().flatten().collect()
}
