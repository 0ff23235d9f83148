//! What the forms do: each makes one call of the API, or one for each ticked job, and goes back to a page.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Redirect;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::super::AppState;
use super::super::audit::{Answered, finish, target};
use super::super::auth::Token;
use super::super::problem::ApiError;
use super::form::Form;
use crate::app::{App, AppError};
use crate::store::{Asked, Call};
use crate::web::Said;

/// Jobs that are changed at the same time: ending one takes seconds, and all of it is one request.
const PARALLEL: usize = 8;
/// As many as a page shows.
const TICKED_MAX: usize = 200;

pub(super) async fn pause(
    State(app): State<App>,
    Token(caller): Token,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.pause_queue(&caller, &json!({})).await?;
    Ok(Redirect::to(&form.back(Said::Paused)))
}

pub(super) async fn resume(
    State(app): State<App>,
    Token(caller): Token,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.resume_queue(&caller, &json!({})).await?;
    Ok(Redirect::to(&form.back(Said::Resumed)))
}

pub(super) async fn try_now(
    State(app): State<App>,
    Token(caller): Token,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.try_now(&caller, &form.body(&["login"])).await?;
    Ok(Redirect::to(&form.back(Said::Tried)))
}

pub(super) async fn cancel(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    let cancelled = app.cancel_job(&caller, &id).await?;
    match form.text("back") {
        Some(_) => Ok(Redirect::to(&form.back(Said::Cancelled))),
        None => Ok(to_job(&cancelled.id, Said::Cancelled)),
    }
}

pub(super) async fn retry(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    let job = app.retry_job(&caller, &id, &form.body(&["mode", "prompt"]), None).await?.body;
    Ok(to_job(&job.summary.number.to_string(), Said::Retried))
}

pub(super) async fn follow_up(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    let job = app.follow_up_job(&caller, &id, &form.body(&["prompt"]), None).await?.body;
    Ok(to_job(&job.summary.number.to_string(), Said::FollowedUp))
}

pub(super) async fn redeliver(
    State(app): State<App>,
    Token(caller): Token,
    Path((id, delivery)): Path<(String, String)>,
    form: Form,
) -> Result<Redirect, ApiError> {
    app.redeliver(&caller, &id, &delivery).await?;
    Ok(Redirect::to(&form.back(Said::Redelivered)))
}

pub(super) async fn cancel_many(
    State(state): State<AppState>,
    Token(caller): Token,
    Extension(call): Extension<Arc<Call>>,
    form: Form,
) -> Result<Redirect, ApiError> {
    let app = state.0.app.clone();
    each(&state, &call, &form, Said::Cancelled, |job| {
        let (app, caller) = (app.clone(), caller.clone());
        async move { app.cancel_job(&caller, &job).await.map(|_| ()) }
    })
    .await
}

pub(super) async fn retry_many(
    State(state): State<AppState>,
    Token(caller): Token,
    Extension(call): Extension<Arc<Call>>,
    form: Form,
) -> Result<Redirect, ApiError> {
    let app = state.0.app.clone();
    each(&state, &call, &form, Said::Retried, |job| {
        let (app, caller) = (app.clone(), caller.clone());
        async move { app.retry_job(&caller, &job, &json!({}), None).await.map(|_| ()) }
    })
    .await
}

/// Changes every ticked job, and writes each change down by itself.
async fn each<F: Future<Output = Result<(), AppError>>>(
    state: &AppState,
    call: &Call,
    form: &Form,
    done: Said,
    change: impl Fn(String) -> F,
) -> Result<Redirect, ApiError> {
    let jobs: Vec<_> = form.all("job").collect();
    if jobs.is_empty() {
        return Ok(Redirect::to(&form.back(Said::NoneChosen)));
    }
    if jobs.len() > TICKED_MAX {
        return Err(AppError::invalid("/job", format!("may be ticked {TICKED_MAX} times at most")).into());
    }
    let changes = jobs.into_iter().map(|job| {
        let asked = Asked { target: target(&format!("{} {job}", call.asked.target)), ..call.asked.clone() };
        let own = Call::new(asked, call.at, Some(StatusCode::SEE_OTHER.as_u16()));
        let change = change(job);
        async move {
            let outcome = own.around(change).await;
            let status = match &outcome {
                Ok(()) => StatusCode::SEE_OTHER,
                Err(error) => ApiError::from(error).status(),
            };
            finish(state, own, true, Answered::with(status)).await;
            outcome
        }
    });
    let outcomes: Vec<_> = stream::iter(changes).buffered(PARALLEL).collect().await;
    // what another click has done meanwhile is no fault of this one
    let refused = outcomes.iter().any(Result::is_err);
    Ok(Redirect::to(&form.back(if refused { Said::SomeRefused } else { done })))
}

fn to_job(job: &str, said: Said) -> Redirect {
    Redirect::to(&format!("/ui/jobs/{job}?said={said}"))
}
