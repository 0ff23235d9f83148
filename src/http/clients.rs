//! `/clients`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::auth::Token;
use super::body::JsonBody;
use super::idempotency::Key;
use super::problem::ApiError;
use super::query::Query;
use crate::app::App;
use crate::wire::client::{ClientChanged, ClientCreated, ClientDeleted, ClientDetail, ClientList};
use crate::wire::request::{ClientPatchRequest, ClientRequest};

/// All registered repositories.
#[utoipa::path(get, path = "/clients", tag = "clients", responses((status = 200, body = ClientList)))]
pub(super) async fn list_clients(
    State(app): State<App>,
    Token(caller): Token,
) -> Result<Json<ClientList>, ApiError> {
    Ok(Json(app.list_clients(&caller).await?))
}

/// One client with its numbers.
#[utoipa::path(get, path = "/clients/{id}", tag = "clients", params(("id" = String, Path)),
    responses((status = 200, body = ClientDetail)))]
pub(super) async fn get_client(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
) -> Result<Json<ClientDetail>, ApiError> {
    Ok(Json(app.get_client(&caller, &id).await?))
}

/// Registers and clones a repository; with `Prefer: respond-async` it is cloned after the answer.
#[utoipa::path(post, path = "/clients", tag = "clients", request_body = ClientRequest,
    params(("Prefer" = Option<String>, Header)),
    responses((status = 201, body = ClientCreated, headers(("Location" = String)))))]
pub(super) async fn create_client(
    State(app): State<App>,
    Token(caller): Token,
    Key(key): Key,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let prefers = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let at_once = prefers
        .flat_map(|value| value.split(','))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"));
    let created = app.create_client(&caller, &body, at_once, key).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, created.location)], Json(created.body)).into_response())
}

/// Changes a client by JSON merge patch.
#[utoipa::path(patch, path = "/clients/{id}", tag = "clients", params(("id" = String, Path)),
    request_body(content = ClientPatchRequest), responses((status = 200, body = ClientChanged)))]
pub(super) async fn update_client(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<ClientChanged>, ApiError> {
    Ok(Json(app.update_client(&caller, &id, &body).await?))
}

/// Deletes a client; its history stays readable.
#[utoipa::path(delete, path = "/clients/{id}", tag = "clients",
    params(("id" = String, Path), ("removeRepo" = Option<bool>, Query), ("force" = Option<bool>, Query)),
    responses((status = 200, body = ClientDeleted)))]
pub(super) async fn delete_client(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<ClientDeleted>, ApiError> {
    let (remove_repo, force) = (query.flag("removeRepo")?, query.flag("force")?);
    Ok(Json(app.delete_client(&caller, &id, remove_repo, force).await?))
}
