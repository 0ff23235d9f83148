//! Bearer tokens (RFC 6750): compared as SHA-256 in constant time, never taken from the query. Then whether the token's scope
//! is wide enough for the route, before anything of the body is read; and the end of all answers that are still being
//! given when the token is revoked or expires.

use std::net::IpAddr;

use axum::body::Body;
use axum::body::HttpBody as _;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use super::AppState;
use super::connection::Connection;
use super::guard::single;
use super::problem::{self, ApiError};
use super::throttle::{NO_PEER, TooOften};
use crate::app::{App, Caller};
use crate::domain::limit::Limit;
use crate::metrics;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What a watchdog may ask without a token; the answers say nothing else.
pub(super) const OPEN: &[&str] = &["/livez", "/readyz"];

/// The token that was there before all others.
pub(super) struct BuiltIn {
    digest: [u8; 32],
}

impl BuiltIn {
    pub(super) fn new(secret: &SecretString) -> Self {
        Self { digest: Sha256::digest(secret.expose_secret().as_bytes()).into() }
    }

    /// Hashing first makes the comparison independent of length and content.
    fn caller(&self, token: &str, app: &App) -> Option<Caller> {
        let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        match bool::from(given.ct_eq(&self.digest)) {
            true => Some(Caller::built_in()),
            false => app.bearer(token, &given),
        }
    }
}

pub(super) async fn authenticate(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    // anything else than asking is for nobody there, and needs a caller to be told so
    if request.method().is_safe() && OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let caller = caller(&state, &request).inspect(|caller| knows(&request, caller));
    let caller = match caller.and_then(|caller| may_come_now(&state, caller)) {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    request.extensions_mut().insert(caller.clone());
    while_good(caller, request, next).await
}

/// Whether the token is good for what is asked, before anything of the body is read.
pub(super) async fn check_scope(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let Some(needed) = state.0.scopes.of(request.method(), route) else { return next.run(request).await };
    let allowed = match request.extensions().get::<Caller>() {
        Some(caller) => caller.needs(needed).map_err(ApiError::from),
        None => Err(problem::internal()),
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// From here on the connection is this caller's: it does not give way to those of strangers.
pub(super) fn knows(request: &Request, caller: &Caller) {
    if let Some(connection) = request.extensions().get::<Connection>() {
        connection.belongs_to((!caller.is_built_in()).then(|| caller.key()));
    }
}

fn unauthorized(detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).challenge()
}

fn caller(state: &AppState, request: &Request) -> Result<Caller, ApiError> {
    let headers = request.headers();
    let token = match single(headers, header::AUTHORIZATION)? {
        Some(value) => {
            let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
            if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
                return Err(unauthorized("the Authorization header must be: Bearer TOKEN"));
            }
            token
        }
        None => single(headers, API_KEY)?
            .ok_or_else(|| unauthorized("a token is needed: Authorization: Bearer TOKEN"))?,
    };
    let peer = request.extensions().get::<Connection>().map_or(NO_PEER, Connection::peer);
    bearer(state, token, peer)
}

/// Who comes with this token; how often a peer is wrong is counted.
pub(super) fn bearer(state: &AppState, token: &str, peer: IpAddr) -> Result<Caller, ApiError> {
    let caller = state.0.built_in.caller(token, &state.0.app);
    caller.ok_or_else(|| match state.0.wrong_tokens.count(peer, Instant::now()) {
        Ok(()) => unauthorized("the token is not valid"),
        Err(TooOften { seconds }) => {
            metrics::LIMITS.increment([Limit::WrongTokens.as_str()]);
            let detail = "too many wrong tokens came from this address within a minute";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_tokens", detail).retry_after(seconds)
        }
    })
}

/// The built-in token always may: its owner has to get through when others come too often.
pub(super) fn may_come_now(state: &AppState, caller: Caller) -> Result<Caller, ApiError> {
    if caller.is_built_in() {
        return Ok(caller);
    }
    match state.0.rates.take(caller.key(), Instant::now()) {
        Ok(()) => Ok(caller),
        Err(TooOften { seconds }) => {
            metrics::LIMITS.increment([Limit::TokenRate.as_str()]);
            let detail =
                "this token makes more requests than it may in a minute (server.token_requests_per_minute)";
            Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
                .retry_after(seconds))
        }
    }
}

/// Answers for as long as the token is good. What changes something is carried to its end all the same.
pub(super) async fn while_good(caller: Caller, request: Request, next: Next) -> Response {
    if caller.is_built_in() {
        return next.run(request).await;
    }
    let response = match request.method().is_safe() {
        true => tokio::select! {
            response = next.run(request) => response,
            () = caller.over() => {
                unauthorized("the token was revoked or has expired meanwhile").into_response()
            }
        },
        false => next.run(request).await,
    };
    until_over(caller, response)
}

/// Breaks a body off that is still being sent when the token's time is over. A stream of events ends as it does at other times;
/// anything else must not be taken for whole.
fn until_over(caller: Caller, response: Response) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    response.map(|body| {
        let over = Box::pin(async move { caller.over().await });
        Body::from_stream(stream::unfold(Some((body.into_data_stream(), over)), move |state| async move {
            let (mut body, mut over) = state?;
            tokio::select! {
                biased;
                () = &mut over => (!is_events).then(|| (Err(axum::Error::new(TokenOver)), None)),
                piece = body.next() => piece.map(|piece| (piece, Some((body, over)))),
            }
        }))
    })
}

#[derive(Debug, thiserror::Error)]
#[error("the token is good no more")]
struct TokenOver;

/// The caller, for handlers.
pub(super) struct Token(pub(super) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Token {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        // the layer before every handler put it there
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or_else(problem::internal)
    }
}
