//! The outermost layer: gives each request an id, writes errors out, says in the log how it went.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::AppState;
use super::connection::{Busy, Connection};
use super::problem;
use super::ui::{self, ShownAsPage};
use crate::metrics;
use crate::wire::problem::{PROBLEM_MEDIA_TYPE, Problem};

const HEADER: &str = "x-request-id";
/// Enough for a UUID or a trace id with a prefix.
const LENGTH_MAX: usize = 128;

/// The id of a request, for whoever writes it down.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Arc<str>);

pub(super) async fn finish_answer(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let busy = request.extensions().get::<Connection>().map(Connection::enter);
    let id = given(&request).unwrap_or_else(|| format!("req-{}", state.0.clock.random_text(16)));
    let (method, path) = (request.method().clone(), ui::told_path(request.uri().path()).to_owned());
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(RequestId(id.as_str().into()));
    let span = tracing::info_span!("request", request.id = id, %method, path);
    let began_at = Instant::now();
    let mut response = next.run(request).instrument(span).await;
    let status = response.status();
    let duration_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(request.id = id, %method, path, status = status.as_u16(), duration_ms, "answered");
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    metrics::HTTP_REQUESTS.increment([known(&method), route, status.as_str()]);
    metrics::HTTP_SECONDS.observe(began_at.elapsed(), [route]);
    let said = response.extensions_mut().remove::<Problem>();
    let is_bare_error = status.is_client_error() || status.is_server_error();
    let is_page = response.extensions().get::<ShownAsPage>().is_some();
    if let Some(problem) = said.or_else(|| (is_bare_error && !is_page).then(|| problem::of_status(status))) {
        write_out(&mut response, problem, &id);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(HEADER, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    match busy {
        Some(busy) => response.map(|body| held(body, busy)),
        None => response,
    }
}

/// A body that is made piece by piece keeps its connection busy to its end, so that nobody takes the connection of a long download for
/// one that rests. A body that is whole is on its way.
fn held(body: Body, busy: Busy) -> Body {
    if body.size_hint().exact().is_some() {
        return body;
    }
    let mut pieces = body.into_data_stream();
    Body::from_stream(stream::poll_fn(move |context| {
        let _held = &busy;
        pieces.poll_next_unpin(context)
    }))
}

/// A method's name can be anything, and each one counted is kept for good.
fn known(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if known.contains(method) { method.as_str() } else { "other" }
}

/// The caller's own id when it is a harmless one.
fn given(request: &Request) -> Option<String> {
    let text = request.headers().get(HEADER)?.to_str().ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (plain && (1..=LENGTH_MAX).contains(&text.len())).then(|| text.to_owned())
}

fn write_out(response: &mut Response, mut problem: Problem, id: &str) {
    problem.request_id = Some(id.to_owned());
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
}
