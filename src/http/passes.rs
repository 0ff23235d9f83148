//! `/passes`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::auth::Token;
use super::body::JsonBody;
use super::idempotency::AnswerKept;
use super::problem::ApiError;
use crate::app::{App, AppError};
use crate::wire::pass::Pass;

/// Makes a link that opens the dashboard in a browser as whoever asks: once, and within a minute.
#[utoipa::path(post, path = "/passes", tag = "system", responses((status = 201, body = Pass)))]
pub(super) async fn create_pass(
    State(app): State<App>,
    Token(caller): Token,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    if !body.is_object() {
        return Err(AppError::invalid("", "must be an object").into());
    }
    let mut response = (StatusCode::CREATED, Json(app.make_pass(&caller))).into_response();
    // a repeat gets a pass of its own: this one is to be kept nowhere
    response.extensions_mut().insert(AnswerKept);
    Ok(response)
}
