//! Writing down who has changed what, and who was refused. A change is written down by the store in its own transaction;
//! what is left for here is what no transaction told, or told otherwise.

use std::sync::Arc;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::AppState;
use super::auth::Token;
use super::connection::Connection;
use super::idempotency::REPLAYED;
use super::problem::ApiError;
use super::query::Query;
use super::request_id::RequestId;
use crate::app::{App, Caller};
use crate::domain::time::Timestamp;
use crate::store::{Asked, Call};
use crate::wire::audit::AuditPage;

/// Of a path, and of a query, in characters: ids are short, and what is longer is no path of ours.
const TARGET_CHARS_MAX: usize = 200;
/// Parameters of changes; whatever else is in a query may be a secret that went astray.
const TOLD_OF_QUERY: &[&str] = &["rootJobId", "agent", "clientId", "removeRepo", "force"];

/// What was changed and what was refused, the newest first.
#[utoipa::path(get, path = "/audit", tag = "system",
    params(("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "50 when absent"), ("after" = Option<String>, Query)),
    responses((status = 200, body = AuditPage)))]
pub(super) async fn get_audit(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
) -> Result<Json<AuditPage>, ApiError> {
    Ok(Json(app.audit(&caller, query.text("after").as_deref(), query.integer("limit")?).await?))
}

/// Has the call at hand for whoever carries it out, and writes down that it was refused.
pub(super) async fn write_down(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let Some(call) = call_of(&state, &request) else { return next.run(request).await };
    request.extensions_mut().insert(Arc::clone(&call));
    let is_change = !request.method().is_safe();
    let response = next.run(request).await;
    finish(&state, call, is_change, Answered::of(&response)).await;
    response
}

fn call_of(state: &AppState, request: &Request) -> Option<Arc<Call>> {
    let extensions = request.extensions();
    let caller = extensions.get::<Caller>()?;
    let route = extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let asked = Asked {
        token: caller.key().to_owned(),
        name: caller.name.clone(),
        call: format!("{} {route}", shown(request.method())),
        target: asked_for(request),
        request_id: extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default(),
        peer: extensions.get::<Connection>().map(|connection| connection.peer().to_string()),
    };
    let succeeds_with = state.0.scopes.written_as(request.method(), route);
    Some(Call::new(asked, Timestamp::from_ms(state.0.clock.now_ms()), succeeds_with))
}

/// The path, and of the query what says which one or how far.
fn asked_for(request: &Request) -> String {
    let path = target(request.uri().path());
    let query = request.uri().query().unwrap_or_default();
    let told = |part: &&str| TOLD_OF_QUERY.contains(&part.split('=').next().unwrap_or_default());
    let told: Vec<_> = query.split('&').filter(told).collect();
    if told.is_empty() { path } else { format!("{path}?{}", target(&told.join("&"))) }
}

pub(super) fn target(text: &str) -> String {
    text.chars().take(TARGET_CHARS_MAX).collect()
}

/// A method's name can be anything.
fn shown(method: &Method) -> &str {
    if method.as_str().len() <= 7 { method.as_str() } else { "OTHER" }
}

/// What matters of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    status: StatusCode,
    /// It was given before, and nothing was done again.
    is_replay: bool,
}

impl Answered {
    /// Of a part of a call.
    pub(super) fn with(status: StatusCode) -> Self {
        Self { status, is_replay: false }
    }

    pub(super) fn of(response: &Response) -> Self {
        Self { status: response.status(), is_replay: response.headers().contains_key(REPLAYED) }
    }
}

/// Writes down what the store has not: a refusal, a change that had no transaction, an answer that is another one than was
/// expected of the change.
pub(super) async fn finish(state: &AppState, call: Arc<Call>, is_change: bool, answered: Answered) {
    let Answered { status, is_replay } = answered;
    let is_due = match call.written() {
        Some(written) => written != status.as_u16(),
        None if status == StatusCode::FORBIDDEN => true,
        None => is_change && call.succeeds_with.is_some() && is_done(status) && !is_replay,
    };
    if !is_due {
        return;
    }
    note(&state.0.app, call, status.as_u16()).await;
}

/// Of the API, and of a form, which leads back to a page.
fn is_done(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::SEE_OTHER
}

/// Writes down that a word of a conversation was refused.
pub(super) async fn refused(app: &App, call: Arc<Call>) {
    note(app, call, StatusCode::FORBIDDEN.as_u16()).await;
}

/// To its end, also when the caller goes away meanwhile.
async fn note(app: &App, call: Arc<Call>, status: u16) {
    let store = app.store().clone();
    let written = app.carry_out(async move { store.write_down(&call, status).await }).await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a call was not written down"),
        Err(error) => tracing::error!(%error, "a call was not written down"),
    }
}
