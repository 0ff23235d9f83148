//! `/ui/system`: how the server is, webhooks, tokens, audit.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use serde_json::{Value, json};

use super::super::auth::Token;
use super::super::problem::ApiError;
use super::super::query::Query;
use super::form::Form;
use super::looks::{Looks, as_page};
use crate::app::{App, Caller, DeliveryQuery};
use crate::domain::token::Scope;
use crate::web::{self, DeliveriesSheet, Entries, Said, SystemSheet, TokensSheet};

/// Of calls and of deliveries.
const PAGE: i64 = 50;

pub(super) async fn show(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
) -> Result<Html<String>, ApiError> {
    let backups = if viewer.scope.includes(Scope::Admin) { Some(app.backups(&caller)?) } else { None };
    let targets = if viewer.sees_all { Some(app.notify_targets(&caller)?) } else { None };
    let (health, queue) = (app.health(&caller).await?, app.queue_head(&caller, 0).await?);
    let sheet = SystemSheet { health, queue, backups, targets };
    Ok(Html(web::system(&viewer, &sheet)))
}

pub(super) async fn doctor(Looks { viewer, caller }: Looks) -> Result<Html<String>, ApiError> {
    caller.needs(Scope::Admin)?;
    Ok(Html(web::doctor(&viewer, None)))
}

/// Answered by the page itself: what was found is true now, and kept nowhere.
pub(super) async fn examine(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
) -> Result<Html<String>, ApiError> {
    let report = app.examine(&caller).await?;
    Ok(Html(web::doctor(&viewer, Some(&report))))
}

pub(super) async fn back_up(
    State(app): State<App>,
    Token(caller): Token,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.back_up(&caller, &json!({})).await?;
    Ok(Redirect::to(&form.back(Said::BackedUp)))
}

pub(super) async fn deliveries(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    query: Query,
) -> Result<Html<String>, ApiError> {
    let (state, after) = (query.text("state"), query.text("after"));
    let wanted = DeliveryQuery { state: state.clone(), url: None, limit: Some(PAGE), after: after.clone() };
    let page = app.list_all_deliveries(&caller, &wanted).await?;
    let suspended = if viewer.sees_all { Some(app.suspended_urls(&caller).await?) } else { None };
    Ok(Html(web::deliveries(&viewer, &DeliveriesSheet { page, state, after, suspended })))
}

pub(super) async fn redeliver(
    State(app): State<App>,
    Token(caller): Token,
    Path(delivery): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.redeliver_by_id(&caller, &delivery).await?;
    Ok(Redirect::to(&form.back(Said::Redelivered)))
}

pub(super) async fn resume_webhook(
    State(app): State<App>,
    Token(caller): Token,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.resume_callbacks(&caller, &form.body(&["url"])).await?;
    Ok(Redirect::to(&format!("/ui/system/deliveries?said={}", Said::UrlResumed)))
}

pub(super) async fn tokens(
    State(app): State<App>,
    looks: Looks,
    query: Query,
) -> Result<Html<String>, ApiError> {
    let first = query.position("first")?;
    let sheet = TokensSheet { first, ..tokens_sheet(&app, &looks.caller).await? };
    Ok(Html(web::tokens(&looks.viewer, &sheet)))
}

/// What the page of tokens is made of, where nothing was written or made.
async fn tokens_sheet(app: &App, caller: &Caller) -> Result<TokensSheet, ApiError> {
    let tokens = app.list_tokens(caller).await?.tokens;
    let clients = app.list_clients(caller).await?.clients;
    Ok(TokensSheet { tokens, clients, ..TokensSheet::default() })
}

/// Answered by the page itself: the token is in no address, and in nothing that is kept.
pub(super) async fn make_token(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    form: Form,
) -> Result<Response, ApiError> {
    let mut body = form.body(&["name", "scope", "expiresAt"]);
    if let (Some(client), Value::Object(members)) = (form.text("client"), &mut body) {
        members.insert("clients".to_owned(), json!([client]));
    }
    // read before it is made: once it is, nothing may fail that would keep it from being shown
    let mut sheet = tokens_sheet(&app, &caller).await?;
    match app.create_token(&caller, &body, None).await {
        Ok(made) => {
            sheet.tokens.insert(0, made.body.details.clone());
            let page = web::tokens(&viewer, &TokensSheet { made: Some(made.body), ..sheet });
            Ok((StatusCode::CREATED, Html(page)).into_response())
        }
        Err(refused) => {
            let refused = ApiError::from(refused);
            let status = refused.status();
            let fields = form.some(&["name", "scope", "expiresAt", "client"]);
            let entries = Entries { fields, problem: Some(*refused.problem) };
            let page = web::tokens(&viewer, &TokensSheet { entries, ..sheet });
            Ok((status, as_page(page)).into_response())
        }
    }
}

pub(super) async fn revoke_token(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.revoke_token(&caller, &id).await?;
    Ok(Redirect::to(&form.back(Said::Revoked)))
}

pub(super) async fn audit(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    query: Query,
) -> Result<Html<String>, ApiError> {
    let after = query.text("after");
    let page = app.audit(&caller, after.as_deref(), Some(PAGE)).await?;
    Ok(Html(web::audit(&viewer, &page, after.is_none())))
}
