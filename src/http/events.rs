//! The history as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, stream};

use super::auth::Token;
use super::connection::{Busy, Connection};
use super::guard::single;
use super::problem::ApiError;
use super::query::Query;
use crate::app::{After, App, Follower};
use crate::wire::event::{ServerSentEvent, StreamItem};

/// Shorter than the patience of proxies, and of this server with a connection that rests.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The events of a job as server-sent events: `id` is the number, `event` the type, `data` the event as JSON. `done` ends
/// the stream of a job that is over; `reset` says that older events are forgotten. docs/events.md describes each.
#[utoipa::path(get, path = "/jobs/{id}/events", tag = "events",
    params(("id" = String, Path),
        ("after" = Option<String>, Query, description = "Only events with a larger number; latest: from now on"),
        ("Last-Event-ID" = Option<String>, Header, description = "As after, and before it: sent by browsers")),
    responses((status = 200, body = ServerSentEvent, content_type = "text/event-stream")))]
pub(super) async fn job_events(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    connection: Option<Extension<Connection>>,
) -> Result<Response, ApiError> {
    let after = after(&headers, &query)?;
    let follower = app.follow_job(&caller, &id, after).await?;
    Ok(answer(follower, busy(connection.as_ref()), after))
}

/// The events of all jobs, as those of one.
#[utoipa::path(get, path = "/events", tag = "events",
    params(("after" = Option<String>, Query, description = "Only events with a larger number; latest: from now on"),
        ("Last-Event-ID" = Option<String>, Header, description = "As after, and before it: sent by browsers")),
    responses((status = 200, body = ServerSentEvent, content_type = "text/event-stream")))]
pub(super) async fn all_events(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
    headers: HeaderMap,
    connection: Option<Extension<Connection>>,
) -> Result<Response, ApiError> {
    let after = after(&headers, &query)?;
    let follower = app.follow_all(&caller, after).await?;
    Ok(answer(follower, busy(connection.as_ref()), after))
}

pub(super) fn after(headers: &HeaderMap, query: &Query) -> Result<After, ApiError> {
    let last = single(headers, LAST_EVENT_ID)?;
    Ok(After::parse(last, query.text("after").as_deref())?)
}

/// A stream may be silent for hours, which is no idleness of its reader.
pub(super) fn busy(connection: Option<&Extension<Connection>>) -> Option<Busy> {
    connection.map(|Extension(connection)| connection.enter())
}

fn answer(follower: Follower, busy: Option<Busy>, after: After) -> Response {
    // whoever begins now has no number of its own yet, and may be cut off before the first event
    let opening = (after == After::Latest).then(|| opening(&follower));
    stream_of(follower, busy, opening, |items| items.iter().map(event).collect())
}

/// Says from which number on a reader follows.
pub(super) fn opening(follower: &Follower) -> Event {
    Event::default().id(follower.after().to_string()).comment("")
}

/// What a follower finds, as `shown` has it, until its end or that of the connection.
pub(super) fn stream_of(
    follower: Follower,
    busy: Option<Busy>,
    opening: Option<Event>,
    shown: fn(&[StreamItem]) -> Vec<Event>,
) -> Response {
    let events =
        Sse::new(events(follower, busy, opening, shown)).keep_alive(KeepAlive::new().interval(ALIVE_EVERY));
    let mut response = events.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn events(
    follower: Follower,
    busy: Option<Busy>,
    opening: Option<Event>,
    shown: fn(&[StreamItem]) -> Vec<Event>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let waiting: VecDeque<_> = opening.into_iter().collect();
    stream::unfold((follower, waiting, busy), move |(mut follower, mut waiting, busy)| async move {
        if waiting.is_empty() {
            match follower.next().await {
                Ok(Some(items)) => waiting.extend(shown(&items)),
                Ok(None) => {}
                // the reader comes again with its last number and hears from the status what is wrong
                Err(error) => tracing::warn!(%error, "a stream of events broke off"),
            }
        }
        let next = waiting.pop_front()?;
        Some((Ok(next), (follower, waiting, busy)))
    })
}

fn event(item: &StreamItem) -> Event {
    let event = Event::default().event(item.name()).data(item.data());
    match item.id() {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}
