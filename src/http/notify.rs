//! `/notify`.

use axum::Json;
use axum::extract::{Path, State};

use super::auth::Token;
use super::problem::ApiError;
use crate::app::App;
use crate::wire::notice::{NotifyTargets, NotifyTested};

/// Who is told what becomes of jobs: the `[notify]` sections of the configuration. Where each leads is not told.
#[utoipa::path(get, path = "/notify", tag = "notifications", responses((status = 200, body = NotifyTargets)))]
pub(super) async fn list_notify(
    State(app): State<App>,
    Token(caller): Token,
) -> Result<Json<NotifyTargets>, ApiError> {
    Ok(Json(app.notify_targets(&caller)?))
}

/// Sends one notice of the type `notice.test` and tells what came of it; nothing is stored or repeated.
#[utoipa::path(post, path = "/notify/{name}/test", tag = "notifications", params(("name" = String, Path)),
    responses((status = 200, body = NotifyTested)))]
pub(super) async fn test_notify(
    State(app): State<App>,
    Token(caller): Token,
    Path(name): Path<String>,
) -> Result<Json<NotifyTested>, ApiError> {
    Ok(Json(app.test_notify(&caller, &name).await?))
}
