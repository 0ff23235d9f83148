//! What is documented and not built yet: known paths whose answer says so, instead of a 404 that looks like a mistake.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, on};

use super::problem::ApiError;
use crate::app::App;

/// Path, methods, what is missing.
const LATER: &[(&str, MethodFilter, &str)] = &[("/docs", MethodFilter::GET, "the documentation page is")];

pub(super) fn routes() -> Router<App> {
    LATER.iter().fold(Router::new(), |router, &(path, methods, what)| {
        let answer = move || async move {
            let detail = format!("{what} not supported by this version");
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "not_supported", &detail)
        };
        router.route(path, on(methods, answer))
    })
}
