//! `/jobs/:id/deliveries`.

use axum::Json;
use axum::extract::{Path, State};

use super::auth::Token;
use super::problem::ApiError;
use crate::app::App;
use crate::wire::delivery::{Delivery, DeliveryList};

/// The webhook deliveries of a job with every try.
#[utoipa::path(get, path = "/jobs/{id}/deliveries", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = DeliveryList)))]
pub(super) async fn list_deliveries(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<DeliveryList>, ApiError> {
    Ok(Json(app.list_deliveries(&id).await?))
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
