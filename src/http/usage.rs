//! `/usage`.

use axum::Json;
use axum::extract::State;

use super::auth::Token;
use super::problem::ApiError;
use super::query::Query;
use crate::app::{App, UsageParameters};
use crate::wire::usage::UsageReport;

/// Tokens and money of all jobs, also of those that are forgotten; `by` is one or more of client, day, label, and the
/// groups come in that order. `since` and `until` are days of UTC, both included; of a time its day counts.
#[utoipa::path(get, path = "/usage", tag = "system",
    params(("by" = Option<String>, Query), ("since" = Option<String>, Query), ("until" = Option<String>, Query),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000), ("after" = Option<String>, Query)),
    responses((status = 200, body = UsageReport)))]
pub(super) async fn get_usage(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
) -> Result<Json<UsageReport>, ApiError> {
    let parameters = UsageParameters {
        by: query.text("by"),
        since: query.text("since"),
        until: query.text("until"),
        limit: query.integer("limit")?,
        after: query.text("after"),
    };
    Ok(Json(app.usage(&caller, &parameters).await?))
}
