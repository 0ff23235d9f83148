//! `/sessions`.

use axum::Json;
use axum::extract::{Path, State};

use super::auth::Token;
use super::problem::ApiError;
use super::query::Query;
use crate::app::{App, SessionChoice, SessionQuery};
use crate::wire::session::{Session, SessionDeleted, SessionPage};

/// Conversations of agents with their jobs, the one with the newest job first.
#[utoipa::path(get, path = "/sessions", tag = "sessions",
    params(("clientId" = Option<String>, Query), ("limit" = Option<i64>, Query, minimum = 1, maximum = 200), ("after" = Option<String>, Query)),
    responses((status = 200, body = SessionPage)))]
pub(super) async fn list_sessions(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
) -> Result<Json<SessionPage>, ApiError> {
    let wanted = SessionQuery {
        client_id: query.text("clientId"),
        limit: query.integer("limit")?,
        after: query.text("after"),
    };
    Ok(Json(app.list_sessions(&caller, &wanted).await?))
}

/// One conversation. Agents make ids up: of several that bear one the newest, or that of the chain `rootJobId` and the entry `agent`.
#[utoipa::path(get, path = "/sessions/{id}", tag = "sessions",
    params(("id" = String, Path), ("rootJobId" = Option<String>, Query), ("agent" = Option<String>, Query)),
    responses((status = 200, body = Session)))]
pub(super) async fn get_session(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Session>, ApiError> {
    Ok(Json(app.get_session(&caller, &choice(id, &query)).await?))
}

/// Forgets a conversation: no job can go on with it any more. The agent's own files of it stay. Where several bear the id,
/// `rootJobId`, and `agent` where they are of one chain, have to say which.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions",
    params(("id" = String, Path), ("rootJobId" = Option<String>, Query), ("agent" = Option<String>, Query)),
    responses((status = 200, body = SessionDeleted)))]
pub(super) async fn delete_session(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<SessionDeleted>, ApiError> {
    Ok(Json(app.delete_session(&caller, &choice(id, &query)).await?))
}

fn choice(id: String, query: &Query) -> SessionChoice {
    SessionChoice { id, root_job_id: query.text("rootJobId"), agent: query.text("agent") }
}
