//! `/tokens`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::auth::Token;
use super::body::JsonBody;
use super::idempotency::{AnswerKept, Key};
use super::problem::ApiError;
use crate::app::App;
use crate::wire;
use crate::wire::token::{TokenCreated, TokenList, TokenRequest};

/// All named tokens, the newest first; of the revoked ones the last 200.
#[utoipa::path(get, path = "/tokens", tag = "tokens", responses((status = 200, body = TokenList)))]
pub(super) async fn list_tokens(
    State(app): State<App>,
    Token(caller): Token,
) -> Result<Json<TokenList>, ApiError> {
    Ok(Json(app.list_tokens(&caller).await?))
}

/// One named token.
#[utoipa::path(get, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 200, body = wire::token::Token)))]
pub(super) async fn get_token(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
) -> Result<Json<wire::token::Token>, ApiError> {
    Ok(Json(app.get_token(&caller, &id).await?))
}

/// Makes a token. This answer alone shows it: of the token itself only a digest is kept.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = TokenRequest,
    responses((status = 201, body = TokenCreated, headers(("Location" = String)))))]
pub(super) async fn create_token(
    State(app): State<App>,
    Token(caller): Token,
    Key(key): Key,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let made = app.create_token(&caller, &body, key).await?;
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, made.location)], Json(made.body)).into_response();
    // without the token, which nothing else may keep either
    response.extensions_mut().insert(AnswerKept);
    Ok(response)
}

/// Revokes a token: it opens nothing any more, and streams that it opened end. It stays in the list.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 200, body = wire::token::Token)))]
pub(super) async fn revoke_token(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
) -> Result<Json<wire::token::Token>, ApiError> {
    Ok(Json(app.revoke_token(&caller, &id).await?))
}
