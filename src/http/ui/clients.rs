//! `/ui/clients`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use serde_json::{Map, Value, json};

use super::super::auth::Token;
use super::super::problem::ApiError;
use super::super::query::Query;
use super::form::{Form, repository};
use super::looks::{Looks, as_page};
use crate::app::{App, AppError, Caller, JobQuery};
use crate::web::{self, ClientSheet, ClientsSheet, Entries, Said};

/// Of one repository, on its page.
const JOBS_SHOWN: i64 = 12;

pub(super) async fn show(
    State(app): State<App>,
    looks: Looks,
    query: Query,
) -> Result<Html<String>, ApiError> {
    list(&app, &looks, query.position("first")?, Entries::default()).await.map(Html)
}

async fn list(app: &App, looks: &Looks, first: usize, entries: Entries) -> Result<String, ApiError> {
    let (clients, total) = app.client_page(&looks.caller, first).await?;
    Ok(web::clients(&looks.viewer, &ClientsSheet { clients, first, total, entries }))
}

pub(super) async fn show_one(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    Path(id): Path<String>,
) -> Result<Html<String>, ApiError> {
    let client = app.get_client(&caller, &id).await?;
    let query = JobQuery {
        client_id: Some(client.client.id.clone()),
        limit: Some(JOBS_SHOWN),
        ..JobQuery::default()
    };
    let jobs = app.list_jobs(&caller, &query).await?.jobs;
    let options = serde_json::to_value(&client.client.options).unwrap_or_default();
    let options = options.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let options = options.map(|(name, value)| (name.clone(), value.to_string())).collect();
    Ok(Html(web::client(&viewer, &ClientSheet { client, options, jobs })))
}

/// Clones it first: what that says is what somebody who mistyped wants to read.
pub(super) async fn register(State(app): State<App>, looks: Looks, form: Form) -> Result<Response, ApiError> {
    let fields = form.some(&["repo", "name", "defaultBranch", "cloneUrl"]);
    let made = match registration(&form) {
        Ok(body) => app.create_client(&looks.caller, &body, false, None).await,
        Err(wrong) => Err(wrong),
    };
    let refused = match made {
        Ok(made) => {
            let id = made.body.client.id;
            return Ok(Redirect::to(&format!("/ui/clients/{id}?said={}", Said::Registered)).into_response());
        }
        Err(refused) => ApiError::from(refused),
    };
    let status = refused.status();
    let page = list(&app, &looks, 0, Entries { fields, problem: Some(*refused.problem) }).await?;
    Ok((status, as_page(page)).into_response())
}

fn registration(form: &Form) -> Result<Value, AppError> {
    let mut body = Map::new();
    if let Some(repo) = form.text("repo") {
        let (org, name) = repository(&repo)?;
        body.extend([("githubOrg".to_owned(), org.into()), ("githubRepo".to_owned(), name.into())]);
        // what the API requires and nobody wants to type twice
        body.insert("name".to_owned(), name.into());
    }
    let rest = form.body(&["name", "defaultBranch", "cloneUrl"]);
    body.extend(rest.as_object().cloned().into_iter().flatten());
    Ok(body.into())
}

pub(super) async fn sync_all(
    State(app): State<App>,
    Token(caller): Token,
    form: Form,
) -> Result<Redirect, ApiError> {
    synced(&app, &caller, None).await?;
    Ok(Redirect::to(&form.back(Said::Synced)))
}

pub(super) async fn sync(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    synced(&app, &caller, Some(&id)).await?;
    Ok(Redirect::to(&form.back(Said::Synced)))
}

/// What git said of those that failed is what the page says.
async fn synced(app: &App, caller: &Caller, id: Option<&str>) -> Result<(), ApiError> {
    let failed = app.sync_clients(caller, id).await?.synced.into_iter().filter(|one| !one.success);
    let said: Vec<_> = failed.map(|one| format!("{}: {}", one.repo, one.error.unwrap_or_default())).collect();
    if said.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::BAD_GATEWAY, "remote_refused", &said.join("; ")))
}

pub(super) async fn pause(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.update_client(&caller, &id, &json!({"paused": true})).await?;
    Ok(Redirect::to(&form.back(Said::ClientPaused)))
}

pub(super) async fn resume(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.update_client(&caller, &id, &json!({"paused": false})).await?;
    Ok(Redirect::to(&form.back(Said::ClientResumed)))
}

pub(super) async fn remove(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    let is_ticked = |name: &str| form.text(name).as_deref() == Some("true");
    app.delete_client(&caller, &id, is_ticked("removeRepo"), is_ticked("force")).await?;
    Ok(Redirect::to(&format!("/ui/clients?said={}", Said::Removed)))
}
