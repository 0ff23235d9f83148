//! Bearer tokens (RFC 6750): compared as SHA-256 in constant time, never taken from the query.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::AppState;
use super::guard::single;
use super::problem::{self, ApiError};
use crate::app::Caller;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What a watchdog may ask without a token; the answers say nothing else.
const OPEN: &[&str] = &["/livez", "/readyz"];

/// The tokens that open the door.
pub(super) struct Tokens {
    built_in: [u8; 32],
}

impl Tokens {
    pub(super) fn new(secret: &SecretString) -> Self {
        Self { built_in: Sha256::digest(secret.expose_secret().as_bytes()).into() }
    }

    /// Hashing first makes the comparison independent of length and content.
    fn caller(&self, token: &[u8]) -> Option<Caller> {
        let given: [u8; 32] = Sha256::digest(token).into();
        bool::from(given.ct_eq(&self.built_in)).then(Caller::built_in)
    }
}

pub(super) async fn authenticate(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match caller(&state.0.auth, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    }
}

fn caller(tokens: &Tokens, request: &Request) -> Result<Caller, ApiError> {
    let refused = |detail| ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).challenge();
    let headers = request.headers();
    let token = match single(headers, header::AUTHORIZATION)? {
        Some(value) => {
            let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
            if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
                return Err(refused("the Authorization header must be: Bearer TOKEN"));
            }
            token
        }
        None => single(headers, API_KEY)?
            .ok_or_else(|| refused("a token is needed: Authorization: Bearer TOKEN"))?,
    };
    tokens.caller(token.as_bytes()).ok_or_else(|| refused("the token is not valid"))
}

/// The caller, for handlers.
pub(super) struct Token(pub(super) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Token {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        // the layer before every handler put it there
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or_else(problem::internal)
    }
}
