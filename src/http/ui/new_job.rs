//! `/ui/new`: a form that makes one call of `POST /jobs`, and keeps what was written when that is refused.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use serde_json::{Map, Value};

use super::super::problem::ApiError;
use super::super::query::Query;
use super::form::{Form, repository};
use super::looks::{Looks, address, as_page};
use crate::app::{App, AppError};
use crate::domain::token::Scope;
use crate::web::{self, Entries, NewJobSheet, VARIABLE};
use crate::wire::problem::Problem;

/// Repositories that are offered; any other can be typed.
const REPOSITORIES_MAX: usize = 500;
/// Members of the body that are texts.
const TEXTS: &[&str] = &["prompt", "branchName", "title", "baseBranch", "profile", "osCallbackUrl"];
/// Options that are texts.
const OPTION_TEXTS: &[&str] = &["agent", "model", "publish"];
/// Options that are numbers.
const OPTION_NUMBERS: &[&str] = &["maxTurns", "maxBudgetUsd", "timeoutSeconds"];

pub(super) async fn show(
    State(app): State<App>,
    looks: Looks,
    query: Query,
    headers: HeaderMap,
) -> Result<Html<String>, ApiError> {
    // a link names where, never what: that is for whoever presses the button to write
    let fields = ["repo", "profile"].iter().filter_map(|name| Some(((*name).to_owned(), query.text(name)?)));
    let page = page(&app, &looks, fields.collect(), None, &headers).await?;
    Ok(Html(page))
}

/// The same form with the commands that would send it; nothing is queued.
pub(super) async fn preview(
    State(app): State<App>,
    looks: Looks,
    headers: HeaderMap,
    form: Form,
) -> Result<Html<String>, ApiError> {
    Ok(Html(page(&app, &looks, written(&form), None, &headers).await?))
}

pub(super) async fn back() -> Redirect {
    Redirect::to("/ui/new")
}

pub(super) async fn submit(
    State(app): State<App>,
    looks: Looks,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, ApiError> {
    let fields = written(&form);
    let refused = match body(&fields) {
        Ok(body) => match app.submit_job(&looks.caller, &body, None).await {
            Ok(job) => {
                let number = job.body.summary.number;
                return Ok(Redirect::to(&format!("/ui/jobs/{number}?said=submitted")).into_response());
            }
            Err(refused) => refused,
        },
        Err(refused) => refused,
    };
    let refused = ApiError::from(refused);
    let status = refused.status();
    let page = page(&app, &looks, fields, Some(*refused.problem), &headers).await?;
    Ok((status, as_page(page)).into_response())
}

/// What stands in the fields, without those that are empty.
fn written(form: &Form) -> BTreeMap<String, String> {
    let names = [&["repo", "labels", "priority"], TEXTS, OPTION_TEXTS, OPTION_NUMBERS].concat();
    let variables = form.names().filter(|name| name.starts_with(VARIABLE));
    form.some(&names.into_iter().chain(variables).collect::<Vec<_>>())
}

/// The body of the call; a number that is none goes along as it is, so that the API says what is wrong with it.
fn body(fields: &BTreeMap<String, String>) -> Result<Value, AppError> {
    let mut body = Map::new();
    let given = |name: &str| fields.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    if let Some(repo) = given("repo") {
        let (org, name) = repository(repo)?;
        body.insert("githubOrg".to_owned(), org.into());
        body.insert("githubRepo".to_owned(), name.into());
    }
    for name in TEXTS {
        // the prompt and the title as they were written
        body.extend(fields.get(*name).map(|text| ((*name).to_owned(), text.as_str().into())));
    }
    body.extend(given("priority").map(|text| ("priority".to_owned(), number(text))));
    let labels: Vec<_> = given("labels")
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|label| !label.is_empty())
        .collect();
    if !labels.is_empty() {
        body.insert("labels".to_owned(), labels.into());
    }
    let mut options = Map::new();
    options.extend(OPTION_TEXTS.iter().filter_map(|name| Some(((*name).to_owned(), given(name)?.into()))));
    options.extend(OPTION_NUMBERS.iter().filter_map(|name| Some(((*name).to_owned(), number(given(name)?)))));
    let variables = fields
        .iter()
        .filter_map(|(name, text)| Some((name.strip_prefix(VARIABLE)?.to_owned(), text.as_str().into())));
    let variables: Map<String, Value> = variables.collect();
    for (name, members) in [("variables", variables), ("options", options)] {
        if !members.is_empty() {
            body.insert(name.to_owned(), members.into());
        }
    }
    Ok(body.into())
}

fn number(text: &str) -> Value {
    let whole = text.parse::<i64>().map(Value::from);
    whole.or_else(|_| text.parse::<f64>().map(Value::from)).unwrap_or_else(|_| text.into())
}

async fn page(
    app: &App,
    looks: &Looks,
    fields: BTreeMap<String, String>,
    problem: Option<Problem>,
    headers: &HeaderMap,
) -> Result<String, ApiError> {
    let Looks { viewer, caller } = looks;
    let clients = app.list_clients(caller).await?.clients;
    let agents = app.health(caller).await?.agents;
    let profiles =
        if viewer.scope.includes(Scope::Submit) { app.usable_profiles(caller).await? } else { Vec::new() };
    let mut shown = body(&fields).unwrap_or_default();
    if shown.is_null() {
        shown = Map::new().into();
    }
    let sheet = NewJobSheet {
        body: serde_json::to_string_pretty(&shown).unwrap_or_default(),
        entries: Entries { fields, problem },
        repositories: clients.into_iter().take(REPOSITORIES_MAX).map(|client| client.full_name()).collect(),
        agents: agents.into_iter().map(|agent| agent.name).collect(),
        profiles,
        url: address(headers)?,
    };
    Ok(web::new_job(viewer, &sheet))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::body;

    #[test]
    fn fields_become_the_body_of_the_call() {
        let fields = |fields: &[(&str, &str)]| {
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let all = fields(&[
            ("repo", " acme/widgets "),
            ("prompt", " as it is\n"),
            ("labels", "a, ,b"),
            ("priority", "-3"),
            ("maxTurns", "5"),
            ("maxBudgetUsd", "0.5"),
            ("timeoutSeconds", "soon"),
            ("publish", "none"),
            ("variable.path", "src"),
        ]);
        let expected = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": " as it is\n", "labels": ["a", "b"],
            "priority": -3, "variables": {"path": "src"},
            "options": {"maxTurns": 5, "maxBudgetUsd": 0.5, "timeoutSeconds": "soon", "publish": "none"}});
        assert_eq!(body(&all).unwrap(), expected);
        assert_eq!(body(&fields(&[])).unwrap(), json!({}));
        assert!(body(&fields(&[("repo", "widgets")])).is_err());
    }
}
