//! What every page needs to know of its request, and what every answer has.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Response};

use super::super::AppState;
use super::super::badges::{cookie, is_secure};
use super::super::guard::single;
use super::super::problem::{self, ApiError};
use super::super::query::Query;
use super::super::request_id::RequestId;
use crate::app::Caller;
use crate::domain::time::Timestamp;
use crate::web::{self, Said, Theme, Viewer};
use crate::wire::problem::Problem;

/// Sent by our script, which wants the changing part of a page only.
pub(super) const PART: HeaderName = HeaderName::from_static("offshoot-part");
pub(super) const THEME_COOKIE: &str = "offshoot-theme";

/// Nothing but our own files is loaded, and nothing that stands in a page is run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Who looks at a page.
pub(super) struct Looks {
    pub(super) viewer: Viewer,
    pub(super) caller: Caller,
}

impl FromRequestParts<AppState> for Looks {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        // the layer before every page put it there
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(problem::internal)?;
        let query = Query::from_request_parts(parts, state).await?;
        let viewer = Viewer {
            name: caller.name.clone(),
            scope: caller.scope,
            sees_all: caller.reach.is_whole(),
            now: Timestamp::from_ms(state.0.clock.now_ms()),
            theme: theme(&parts.headers),
            part_only: parts.headers.contains_key(PART),
            said: query.text("said").as_deref().and_then(Said::parse),
        };
        Ok(Self { viewer, caller })
    }
}

/// Where the browser has found this server.
pub(super) fn address(headers: &HeaderMap) -> Result<String, ApiError> {
    let scheme = if is_secure(headers) { "https" } else { "http" };
    Ok(format!("{scheme}://{}", single(headers, header::HOST)?.unwrap_or("127.0.0.1:3456")))
}

pub(super) fn theme(headers: &HeaderMap) -> Theme {
    cookie(headers, THEME_COOKIE).and_then(Theme::parse).unwrap_or(Theme::System)
}

/// Errors become pages, and all answers have what makes browsers careful.
pub(super) async fn finish_page(request: Request, next: Next) -> Response {
    let theme = theme(request.headers());
    let is_part = request.headers().contains_key(PART);
    let id = request.extensions().get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default();
    let mut response = next.run(request).await;
    let status = response.status();
    let said = response.extensions_mut().remove::<Problem>();
    let is_page = response.extensions().get::<ShownAsPage>().is_some();
    let is_bare_error = (status.is_client_error() || status.is_server_error()) && !is_page;
    // our script looks at the status alone
    if let Some(problem) = said.or_else(|| is_bare_error.then(|| problem::of_status(status)))
        && !is_part
    {
        let retry_after = response.headers().get(header::RETRY_AFTER).cloned();
        response = shown(theme, &problem, &id);
        response.headers_mut().extend(retry_after.map(|value| (header::RETRY_AFTER, value)));
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // forms of ours say where they come from, and nobody else is told
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn shown(theme: Theme, problem: &Problem, id: &str) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // an answer that was written out already: the outermost layer leaves it as it is
    let mut response = (status, Html(web::problem(theme, problem, id))).into_response();
    response.extensions_mut().insert(ShownAsPage);
    response
}

/// Marks an error that is a page.
#[derive(Clone, Copy)]
pub(in crate::http) struct ShownAsPage;

/// A page that is the body of an error.
pub(super) fn as_page(text: String) -> Response {
    let mut response = Html(text).into_response();
    response.extensions_mut().insert(ShownAsPage);
    response
}
