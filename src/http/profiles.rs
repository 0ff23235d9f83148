//! `/profiles`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::auth::Token;
use super::body::JsonBody;
use super::idempotency::{AnswerKept, Key};
use super::problem::ApiError;
use crate::app::App;
use crate::wire::profile::{
    Profile, ProfileDeleted, ProfileList, ProfilePatchRequest, ProfileRequest, ProfileSaved,
};

/// All profiles by name: those of the configuration file, and those that were made here.
#[utoipa::path(get, path = "/profiles", tag = "profiles", responses((status = 200, body = ProfileList)))]
pub(super) async fn list_profiles(
    State(app): State<App>,
    Token(caller): Token,
) -> Result<Json<ProfileList>, ApiError> {
    Ok(Json(app.list_profiles(&caller).await?))
}

/// One profile.
#[utoipa::path(get, path = "/profiles/{name}", tag = "profiles", params(("name" = String, Path)),
    responses((status = 200, body = Profile)))]
pub(super) async fn get_profile(
    State(app): State<App>,
    Token(caller): Token,
    Path(name): Path<String>,
) -> Result<Json<Profile>, ApiError> {
    Ok(Json(app.get_profile(&caller, &name).await?))
}

/// Makes a profile: run options and a prompt template under a name.
#[utoipa::path(post, path = "/profiles", tag = "profiles", request_body = ProfileRequest,
    responses((status = 201, body = ProfileSaved, headers(("Location" = String)))))]
pub(super) async fn create_profile(
    State(app): State<App>,
    Token(caller): Token,
    Key(key): Key,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let made = app.create_profile(&caller, &body, key).await?;
    let mut response =
        (StatusCode::CREATED, [(header::LOCATION, made.location)], Json(made.body)).into_response();
    response.extensions_mut().insert(AnswerKept);
    Ok(response)
}

/// Changes a profile by JSON merge patch. Jobs that were submitted with it stay as they are.
#[utoipa::path(patch, path = "/profiles/{name}", tag = "profiles", params(("name" = String, Path)),
    request_body(content = ProfilePatchRequest), responses((status = 200, body = ProfileSaved)))]
pub(super) async fn update_profile(
    State(app): State<App>,
    Token(caller): Token,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<ProfileSaved>, ApiError> {
    Ok(Json(app.update_profile(&caller, &name, &body).await?))
}

/// Deletes a profile. Jobs that were submitted with it stay as they are.
#[utoipa::path(delete, path = "/profiles/{name}", tag = "profiles", params(("name" = String, Path)),
    responses((status = 200, body = ProfileDeleted)))]
pub(super) async fn delete_profile(
    State(app): State<App>,
    Token(caller): Token,
    Path(name): Path<String>,
) -> Result<Json<ProfileDeleted>, ApiError> {
    Ok(Json(app.delete_profile(&caller, &name).await?))
}
