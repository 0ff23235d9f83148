//! `/ui/docs`: the OpenAPI document for people.

use std::sync::LazyLock;

use axum::response::Html;
use serde_json::Value;

use super::super::openapi;
use super::looks::Looks;
use crate::web;

/// Read once: it is part of the program.
static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(openapi::document()).unwrap_or_default());

pub(super) async fn show(Looks { viewer, .. }: Looks) -> Html<String> {
    Html(web::api(&viewer, &DOCUMENT))
}
