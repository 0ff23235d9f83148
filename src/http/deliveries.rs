//! `/jobs/:id/deliveries`, `/deliveries`, `/webhooks`.

use axum::Json;
use axum::extract::{Path, State};

use super::auth::Token;
use super::body::JsonBody;
use super::problem::ApiError;
use super::query::Query;
use crate::app::{App, DeliveryQuery};
use crate::wire::delivery::{
    Delivery, DeliveryList, DeliveryPage, DeliveryView, ResumeRequest, Resumed, SuspendedUrls, TestRequest,
    Tested,
};

/// The webhook deliveries of a job with every try.
#[utoipa::path(get, path = "/jobs/{id}/deliveries", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = DeliveryList)))]
pub(super) async fn list_deliveries(
    State(app): State<App>,
    Token(caller): Token,
    Path(id): Path<String>,
) -> Result<Json<DeliveryList>, ApiError> {
    Ok(Json(app.list_deliveries(&caller, &id).await?))
}

/// Sends a delivery again, with the same id and bytes.
#[utoipa::path(post, path = "/jobs/{id}/deliveries/{delivery}/redeliver", tag = "webhooks",
    params(("id" = String, Path), ("delivery" = String, Path)), responses((status = 200, body = Delivery)))]
pub(super) async fn redeliver(
    State(app): State<App>,
    Token(caller): Token,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Json<Delivery>, ApiError> {
    Ok(Json(app.redeliver(&caller, &id, &delivery).await?))
}

/// The webhook deliveries of all jobs, newest first.
#[utoipa::path(get, path = "/deliveries", tag = "webhooks",
    params(("state" = Option<String>, Query), ("url" = Option<String>, Query),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200), ("after" = Option<String>, Query)),
    responses((status = 200, body = DeliveryPage)))]
pub(super) async fn list_all_deliveries(
    State(app): State<App>,
    Token(caller): Token,
    query: Query,
) -> Result<Json<DeliveryPage>, ApiError> {
    let wanted = DeliveryQuery {
        state: query.text("state"),
        url: query.text("url"),
        limit: query.integer("limit")?,
        after: query.text("after"),
    };
    Ok(Json(app.list_all_deliveries(&caller, &wanted).await?))
}

/// One delivery with every try and what is sent.
#[utoipa::path(get, path = "/deliveries/{delivery}", tag = "webhooks", params(("delivery" = String, Path)),
    responses((status = 200, body = DeliveryView)))]
pub(super) async fn get_delivery(
    State(app): State<App>,
    Token(caller): Token,
    Path(delivery): Path<String>,
) -> Result<Json<DeliveryView>, ApiError> {
    Ok(Json(app.get_delivery(&caller, &delivery).await?))
}

/// Sends a delivery again, with the same id and bytes.
#[utoipa::path(post, path = "/deliveries/{delivery}/redeliver", tag = "webhooks",
    params(("delivery" = String, Path)), responses((status = 200, body = Delivery)))]
pub(super) async fn redeliver_by_id(
    State(app): State<App>,
    Token(caller): Token,
    Path(delivery): Path<String>,
) -> Result<Json<Delivery>, ApiError> {
    Ok(Json(app.redeliver_by_id(&caller, &delivery).await?))
}

/// Callback URLs that answered 410 and are left alone.
#[utoipa::path(get, path = "/webhooks/suspended", tag = "webhooks", responses((status = 200, body = SuspendedUrls)))]
pub(super) async fn list_suspended(
    State(app): State<App>,
    Token(caller): Token,
) -> Result<Json<SuspendedUrls>, ApiError> {
    Ok(Json(app.suspended_urls(&caller).await?))
}

/// Calls a URL that answered 410 again: what waits for it becomes due.
#[utoipa::path(post, path = "/webhooks/resume", tag = "webhooks", request_body(content = ResumeRequest),
    responses((status = 200, body = Resumed)))]
pub(super) async fn resume_webhook(
    State(app): State<App>,
    Token(caller): Token,
    JsonBody(body): JsonBody,
) -> Result<Json<Resumed>, ApiError> {
    Ok(Json(app.resume_callbacks(&caller, &body).await?))
}

/// Makes one signed call of the type `webhook.test` and tells what came of it; nothing is stored or repeated.
#[utoipa::path(post, path = "/webhooks/test", tag = "webhooks", request_body(content = TestRequest),
    responses((status = 200, body = Tested)))]
pub(super) async fn test_webhook(
    State(app): State<App>,
    Token(caller): Token,
    JsonBody(body): JsonBody,
) -> Result<Json<Tested>, ApiError> {
    Ok(Json(app.test_webhook(&caller, &body).await?))
}
