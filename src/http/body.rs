//! Request bodies: read whole before a handler runs, within bounds of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::time::timeout;

use super::guard::single;
use super::problem::ApiError;

/// Four times the longest prompt, so that its escapes in JSON fit too.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// A megabyte over the slowest line that anybody works with.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// The body of a request, as it came.
#[derive(Clone, Debug)]
pub(super) struct BodyBytes(pub(super) Bytes);

/// The body as JSON; an absent one is an empty object.
pub(super) struct JsonBody(pub(super) Value);

pub(super) async fn read_body(request: Request, next: Next) -> Response {
    match buffered(request, READ_WITHIN).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn buffered(request: Request, within: Duration) -> Result<Request, ApiError> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(request);
    }
    let too_large = || {
        let detail = format!("the body is larger than {BODY_BYTES_MAX} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &detail)
    };
    let announced =
        single(request.headers(), header::CONTENT_LENGTH)?.and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let (mut parts, body) = request.into_parts();
    let bytes = match timeout(within, to_bytes(body, BODY_BYTES_MAX)).await {
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
    if !bytes.is_empty() && !is_json(&parts)? {
        let detail = "the body must be JSON: Content-Type: application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
    }
    parts.extensions.insert(BodyBytes(bytes.clone()));
    Ok(Request::from_parts(parts, Body::from(bytes)))
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

fn is_json(parts: &Parts) -> Result<bool, ApiError> {
    let Some(kind) = single(&parts.headers, header::CONTENT_TYPE)? else { return Ok(false) };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")))
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
    async fn a_body_without_an_end_is_given_up() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let request = Request::builder().method(Method::POST).body(never).unwrap();
        let refused = buffered(request, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!((refused.problem.status, refused.problem.code.as_str()), (408, "body_too_slow"));
    }
}
