//! Request bodies: read whole before a handler runs, within bounds of size and time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::AppState;
use super::connection::Connection;
use super::guard::single;
use super::problem::{self, ApiError};
use crate::app::{Caller, Full, Rule, Share, Shares};
use crate::domain::attachment::ATTACHMENTS_BYTES_MAX;

/// Four times the longest prompt, so that its escapes in JSON fit too.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// With attachments: four bytes of base64 for three.
const LARGE_BODY_BYTES_MAX: usize = BODY_BYTES_MAX + ATTACHMENTS_BYTES_MAX.div_ceil(3) * 4;
/// Large bodies in memory at the same time: with what is made of them about 40 MiB each.
const LARGE_BODIES_MAX: usize = 4;
/// Of them those of one named token, and those that only the built-in one may have.
const LARGE_PER_TOKEN_MAX: usize = 2;
const LARGE_KEPT: usize = 1;
/// A megabyte over the slowest line that anybody works with.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Without a token: one, and the path of a page.
const OPEN_BYTES_MAX: usize = 16 * 1024;
/// They come with their head, on any line.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Of those that are awaited at once. People sign in one after the other.
const OPEN_BODIES_MAX: usize = 16;

/// The body of a request, as it came.
#[derive(Clone, Debug)]
pub(super) struct BodyBytes(pub(super) Bytes);

/// The body as JSON; an absent one is an empty object.
pub(super) struct JsonBody(pub(super) Value);

/// Places for large bodies.
#[derive(Clone, Debug)]
pub(super) struct LargeBodies(Arc<Shares>);

/// The place of a large body: taken for as long as somebody holds it. A caller who goes away ends no request that has begun, so
/// whoever carries that out holds it.
#[derive(Clone, Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held for its end")] Arc<Share>);

impl Default for LargeBodies {
    fn default() -> Self {
        let rule = Rule { places: LARGE_BODIES_MAX, per_token: LARGE_PER_TOKEN_MAX, kept: LARGE_KEPT };
        Self(Shares::new(rule))
    }
}

/// The bodies that are awaited of whoever has shown no token, the oldest first. They have few places, and a further one takes that of
/// the oldest: who fills them in order to lock others out has to be faster than a form that is sent whole.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenBodies(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    all: BTreeMap<u64, CancellationToken>,
}

struct OpenPlace {
    bodies: OpenBodies,
    number: u64,
    taken: CancellationToken,
}

impl OpenBodies {
    fn enter(&self) -> OpenPlace {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.all.len() >= OPEN_BODIES_MAX
            && let Some((_, oldest)) = waiting.all.pop_first()
        {
            oldest.cancel();
        }
        let (number, taken) = (waiting.next, CancellationToken::new());
        waiting.next += 1;
        waiting.all.insert(number, taken.clone());
        OpenPlace { bodies: self.clone(), number, taken }
    }
}

impl Drop for OpenPlace {
    fn drop(&mut self) {
        self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.number);
    }
}

/// How long is waited for a body, and how large it may be.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes: usize,
    within: Duration,
}

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    /// As browsers send it.
    Form,
}

pub(super) async fn read_body(State(state): State<AppState>, request: Request, next: Next) -> Response {
    read(state, request, next, Kind::Json).await
}

/// As [`read_body`], for the forms of the dashboard.
pub(super) async fn read_form(State(state): State<AppState>, request: Request, next: Next) -> Response {
    read(state, request, next, Kind::Form).await
}

/// As [`read_form`], where no token was asked for.
pub(super) async fn read_open_form(State(state): State<AppState>, request: Request, next: Next) -> Response {
    // a page that is only looked at takes nobody's place
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let bounds = Bounds { bytes: OPEN_BYTES_MAX, within: OPEN_WITHIN };
    let place = state.0.open_bodies.enter();
    let read = tokio::select! {
        // what is there is taken, whoever else comes
        biased;
        read = buffered(request, Kind::Form, &state.0.large_bodies, bounds) => read,
        () = place.taken.cancelled() => Err(busy(OPEN_WITHIN, "too many forms are being sent at once; try again")),
    };
    drop(place);
    match read {
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn read(state: AppState, request: Request, next: Next, kind: Kind) -> Response {
    let bounds = Bounds { bytes: BODY_BYTES_MAX, within: READ_WITHIN };
    match buffered(request, kind, &state.0.large_bodies, bounds).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

fn busy(again: Duration, detail: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(again.as_secs())
}

async fn buffered(
    request: Request,
    kind: Kind,
    large: &LargeBodies,
    Bounds { bytes: bytes_max, within }: Bounds,
) -> Result<Request, ApiError> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(request);
    }
    let announced =
        single(request.headers(), header::CONTENT_LENGTH)?.and_then(|text| text.parse::<u64>().ok());
    let is_large = announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64);
    let (bytes_max, also) = match (takes_files(request.uri().path()), is_large) {
        (true, true) => (LARGE_BODY_BYTES_MAX, ""),
        (true, false) => (bytes_max, " and does not say its length; with Content-Length it may have more"),
        (false, _) => (bytes_max, ""),
    };
    let too_large = || {
        let detail = format!("the body is larger than {bytes_max} bytes{also}");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &detail)
    };
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(too_large());
    }
    let (mut parts, body) = request.into_parts();
    let awaited = parts.extensions.get::<Connection>().map(Connection::awaits);
    if is_large {
        let place = large.take(parts.extensions.get(), within).await?;
        parts.extensions.insert(Place(Arc::new(place)));
    }
    let bytes = match timeout(within, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if is_limit(&error) => return Err(too_large()),
        Ok(Err(_)) => {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "malformed",
                "the body ended before it was whole",
            ));
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", within.as_secs());
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", &detail));
        }
    };
    if awaited.is_some_and(|awaited| !awaited.came()) {
        // nobody hears the answer: nothing is begun
        return Err(busy(within, "the connection had to give way to another one"));
    }
    if !bytes.is_empty() && !kind.is_of(&media_type(&parts)?) {
        let (code, detail) = match kind {
            Kind::Json => ("not_json", "the body must be JSON: Content-Type: application/json"),
            Kind::Form => ("not_a_form", "the body must be a form: application/x-www-form-urlencoded"),
        };
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, detail));
    }
    parts.extensions.insert(BodyBytes(bytes.clone()));
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

impl LargeBodies {
    /// A place of `caller`, who is known wherever a body may be large.
    async fn take(&self, caller: Option<&Caller>, within: Duration) -> Result<Share, ApiError> {
        let Some(caller) = caller else { return Err(problem::internal()) };
        self.0.take_within(caller, within).await.map_err(|full| {
            let detail = match full {
                Full::All | Full::Named => "too many large requests at once; try again",
                Full::OfToken => "too many large requests of this token at once; try again",
            };
            busy(READ_WITHIN, detail)
        })
    }
}

/// The calls whose body may bring attachments.
fn takes_files(path: &str) -> bool {
    path == "/jobs" || (path.starts_with("/jobs/") && path.ends_with("/follow-up"))
}

/// The limit is reported through the error's source chain only.
fn is_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("length limit") {
            return true;
        }
        source = error.source();
    }
    false
}

/// Lower case, without its parameters; empty when none is given.
fn media_type(parts: &Parts) -> Result<String, ApiError> {
    let given = single(&parts.headers, header::CONTENT_TYPE)?.unwrap_or_default();
    Ok(given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

impl Kind {
    fn is_of(self, media_type: &str) -> bool {
        match self {
            Self::Json => {
                media_type == "application/json"
                    || (media_type.starts_with("application/") && media_type.ends_with("+json"))
            }
            Self::Form => media_type == "application/x-www-form-urlencoded",
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let bytes = parts.extensions.get::<BodyBytes>().map(|body| body.0.clone()).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(Self(Value::Object(serde_json::Map::new())));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let detail = format!("the body is not JSON: line {}, column {}", error.line(), error.column());
            ApiError::new(StatusCode::BAD_REQUEST, "malformed", &detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn large_bodies_take_turns() {
        let large = LargeBodies::default();
        let ask = || {
            let body = Body::from(vec![b' '; BODY_BYTES_MAX + 1]);
            let length = (BODY_BYTES_MAX + 1).to_string();
            let request = Request::builder().method(Method::POST).uri("/jobs/7/follow-up");
            request
                .header(header::CONTENT_LENGTH, length)
                .header(header::CONTENT_TYPE, "application/json")
                .extension(Caller::built_in())
                .body(body)
                .unwrap()
        };
        let within = Bounds { bytes: BODY_BYTES_MAX, within: Duration::from_millis(20) };
        let mut places = Vec::new();
        for _ in 0..LARGE_BODIES_MAX {
            places.push(buffered(ask(), Kind::Json, &large, within).await.unwrap());
        }
        let refused = buffered(ask(), Kind::Json, &large, within).await.unwrap_err();
        assert_eq!((refused.problem.status, refused.problem.code.as_str()), (503, "busy"));
        places.pop();
        assert!(buffered(ask(), Kind::Json, &large, within).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_given_up() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let request = Request::builder().method(Method::POST).body(never).unwrap();
        let bounds = Bounds { bytes: BODY_BYTES_MAX, within: Duration::from_millis(20) };
        let refused = buffered(request, Kind::Json, &LargeBodies::default(), bounds).await.unwrap_err();
        assert_eq!((refused.problem.status, refused.problem.code.as_str()), (408, "body_too_slow"));
    }
}
