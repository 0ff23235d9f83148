//! `/ui/jobs`.

use axum::extract::State;
use axum::response::Html;

use super::super::problem::ApiError;
use super::super::query::Query;
use super::looks::Looks;
use crate::app::{App, AppError, Caller, JobQuery};
use crate::web::{self, JobsSheet, Search};
use crate::wire::job::JobPage;

pub(super) async fn show(
    State(app): State<App>,
    Looks { viewer, caller }: Looks,
    query: Query,
) -> Result<Html<String>, ApiError> {
    let search = Search::read(&query.text("q").unwrap_or_default(), viewer.now);
    let after = query.text("after");
    let (page, wrong) = match found(&app, &caller, &search, after.clone()).await {
        Ok(page) => (page, None),
        // what is wrong with the search belongs beside it
        Err(AppError::Invalid(faults)) => (
            nothing(),
            faults
                .first()
                .map(|fault| format!("{} {}.", fault.pointer.trim_start_matches('?'), fault.detail)),
        ),
        Err(AppError::NotFound(what)) => (nothing(), Some(format!("There is no such {what}."))),
        Err(other) => return Err(other.into()),
    };
    Ok(Html(web::jobs(&viewer, &JobsSheet { search, page, wrong, after })))
}

fn nothing() -> JobPage {
    JobPage { jobs: Vec::new(), total: 0, limit: 0, offset: 0, next_cursor: None }
}

async fn found(
    app: &App,
    caller: &Caller,
    search: &Search,
    after: Option<String>,
) -> Result<JobPage, AppError> {
    let client_id = match &search.repo {
        Some(name) => Some(client(app, caller, name).await?),
        None => None,
    };
    let query = JobQuery {
        status: search.status.clone(),
        client_id,
        q: search.words.clone(),
        label: search.label.clone(),
        branch: search.branch.clone(),
        submitted_by: search.by.clone(),
        since: search.since.clone(),
        until: search.until.clone(),
        after,
        ..JobQuery::default()
    };
    app.list_jobs(caller, &query).await
}

/// The id of the client that somebody calls so: its repository, its name, or its id.
async fn client(app: &App, caller: &Caller, name: &str) -> Result<String, AppError> {
    let clients = app.list_clients(caller).await?.clients;
    let found = clients.into_iter().find(|client| {
        client.id == name
            || client.name.eq_ignore_ascii_case(name)
            || client.full_name().eq_ignore_ascii_case(name)
    });
    found.map(|client| client.id).ok_or(AppError::NotFound("repository"))
}
