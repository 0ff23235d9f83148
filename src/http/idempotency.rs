//! `Idempotency-Key` on every POST: a repeat gets the first answer again, also after a restart.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use super::AppState;
use super::audit::{self, Answered};
use super::body::{BodyBytes, Place};
use super::guard::single;
use super::problem::{self, ApiError};
use crate::app::{AppError, Caller};
use crate::store::{AnswerKey, Call, KeyedAnswer, StoredAnswer};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// What Stripe takes; a UUID is 36.
pub(super) const KEY_BYTES_MAX: usize = 255;
/// Answers to POST requests are a page of the queue at most.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Requests under way: token, method, path and key. Lost with the process, as it must be.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<HashSet<[String; 4]>>>);

/// Marks an answer that was stored in the transaction of its result.
#[derive(Clone, Copy)]
pub(super) struct AnswerKept;

/// The key of a request, for a handler that stores its answer itself.
pub(super) struct Key(pub(super) Option<AnswerKey>);

/// Carries a request that changes something out to its end, also when its caller goes away meanwhile: dropped half-way
/// its key would be free before its job is stored, and the repeat would make a second job.
pub(super) async fn repeat_answers(State(state): State<AppState>, request: Request, next: Next) -> Response {
    to_its_end(state, request, next, true).await
}

/// The same for a form, without the keys: pages are no answers of the API, and one that shows a token must be kept nowhere.
pub(super) async fn carry_out(State(state): State<AppState>, request: Request, next: Next) -> Response {
    to_its_end(state, request, next, false).await
}

async fn to_its_end(state: AppState, request: Request, next: Next, has_keys: bool) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let app = state.0.app.clone();
    let Some(call) = request.extensions().get::<Arc<Call>>().cloned() else {
        return problem::internal().into_response();
    };
    let work = async move {
        // what the request takes of memory, until it is answered
        let _place = request.extensions().get::<Place>().cloned();
        let response = match has_keys {
            true => call.around(answer_once(state.clone(), request, next)).await,
            false => call.around(next.run(request)).await,
        };
        audit::finish(&state, call, true, Answered::of(&response)).await;
        response
    };
    match app.carry_out(work.in_current_span()).await {
        Ok(response) => response,
        Err(error) => ApiError::from(error).into_response(),
    }
}

async fn answer_once(state: AppState, mut request: Request, next: Next) -> Response {
    let key = match key_of(&request) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(refused) => return refused.into_response(),
    };
    let Some(_held) = Held::take(&state.0.in_flight, &key) else {
        let detail = "a request with this Idempotency-Key is under way";
        return ApiError::new(StatusCode::CONFLICT, "idempotency_in_flight", detail)
            .retry_after(1)
            .into_response();
    };
    match state.0.app.store().find_answer(&key).await {
        Ok(Some(answer)) if answer.body_hash == key.body_hash => return replay(answer),
        Ok(Some(_)) => {
            let detail = "this Idempotency-Key was used with another body";
            return ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
                .into_response();
        }
        Ok(None) => {}
        Err(error) => return ApiError::from(AppError::from(error)).into_response(),
    }
    request.extensions_mut().insert(key.clone());
    let response = next.run(request).await;
    if !response.status().is_success() || response.extensions().get::<AnswerKept>().is_some() {
        return response;
    }
    keep(&state, key, response).await
}

fn key_of(request: &Request) -> Result<Option<AnswerKey>, ApiError> {
    let (Some(key), &Method::POST) = (single(request.headers(), KEY)?, request.method()) else {
        return Ok(None);
    };
    let plain = key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if key.trim().is_empty() || key.len() > KEY_BYTES_MAX || !plain {
        let detail = format!("an Idempotency-Key is 1 to {KEY_BYTES_MAX} printable ASCII characters");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", &detail));
    }
    let caller = request.extensions().get::<Caller>().ok_or_else(problem::internal)?;
    let mut hash = Sha256::new();
    // what was asked is body and query together
    hash.update(request.uri().query().unwrap_or_default());
    hash.update(b"\n");
    hash.update(request.extensions().get::<BodyBytes>().map(|body| body.0.clone()).unwrap_or_default());
    Ok(Some(AnswerKey {
        token: caller.key().to_owned(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        key: key.to_owned(),
        body_hash: hex::encode(hash.finalize()),
    }))
}

fn replay(answer: StoredAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(location) = answer.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    response
}

/// Stores the answer of a request that does no harm when it is repeated before the answer is stored.
async fn keep(state: &AppState, key: AnswerKey, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, ANSWER_BYTES_MAX).await else {
        return problem::internal().into_response();
    };
    let location =
        parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, stored) = (parts.status.as_u16(), bytes.to_vec());
    let render = Box::new(move |(): &()| (status, location, stored));
    if let Err(error) = state.0.app.store().keep_answer(KeyedAnswer { key, render }).await {
        tracing::warn!(%error, "could not keep an answer for repeats");
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// A key while its request is under way; free again however that ends.
struct Held {
    in_flight: InFlight,
    entry: [String; 4],
}

impl Held {
    fn take(in_flight: &InFlight, key: &AnswerKey) -> Option<Self> {
        let entry = [key.token.clone(), key.method.clone(), key.path.clone(), key.key.clone()];
        let taken = in_flight.0.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.clone());
        taken.then(|| Self { in_flight: in_flight.clone(), entry })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.entry);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<AnswerKey>().cloned()))
    }
}
