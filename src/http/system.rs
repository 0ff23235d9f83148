//! The server itself: health, sync, its document.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::auth::Token;
use super::body::JsonBody;
use super::openapi;
use super::problem::ApiError;
use super::query::Query;
use crate::app::App;
use crate::wire::gc::GcReport;
use crate::wire::health::Health;
use crate::wire::request::GcRequest;
use crate::wire::sync::Sync;

/// How the server is; agent logins are looked at beforehand, never for a request.
#[utoipa::path(get, path = "/health", tag = "system", responses((status = 200, body = Health)))]
pub(super) async fn get_health(
    State(app): State<App>,
    Token(caller): Token,
) -> Result<Json<Health>, ApiError> {
    Ok(Json(app.health(&caller).await?))
}

/// Fetches the repositories of all clients, or of one.
#[utoipa::path(post, path = "/sync", tag = "system", params(("clientId" = Option<String>, Query)),
    responses((status = 200, body = Sync)))]
pub(super) async fn sync_clients(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
) -> Result<Json<Sync>, ApiError> {
    Ok(Json(app.sync_clients(&caller, query.text("clientId").as_deref()).await?))
}

/// Takes away what is past its time, as it happens by itself once an hour.
#[utoipa::path(post, path = "/gc", tag = "system", request_body(content = GcRequest),
    responses((status = 200, body = GcReport)))]
pub(super) async fn collect_garbage(
    State(app): State<App>,
    Token(caller): Token,
    JsonBody(body): JsonBody,
) -> Result<Json<GcReport>, ApiError> {
    Ok(Json(app.gc(&caller, &body).await?))
}

/// What the server counts about itself, in the text format of Prometheus; docs/metrics.md lists all of it.
#[utoipa::path(get, path = "/metrics", tag = "system",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn get_metrics(State(app): State<App>, Token(caller): Token) -> Result<Response, ApiError> {
    let text = app.metrics(&caller).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "system", security(()), responses((status = 200, body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Requests can be served.
#[utoipa::path(get, path = "/readyz", tag = "system", security(()),
    responses((status = 200, body = String), (status = 503, description = "Not ready")))]
pub(super) async fn readyz(State(app): State<App>) -> Response {
    if app.is_ready().await {
        return "ok\n".into_response();
    }
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "not ready").retry_after(1).into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "system", responses((status = 200, body = serde_json::Value)))]
pub(super) async fn get_document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document()).into_response()
}
