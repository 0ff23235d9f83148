//! Who comes in: by a pass, by a token, with a badge. And what needs none of them.

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse as _, Redirect, Response};

use super::super::AppState;
use super::super::auth::{bearer, knows, may_come_now, while_good};
use super::super::badges::is_secure;
use super::super::connection::Connection;
use super::super::guard::{SEC_FETCH_SITE, single};
use super::super::problem::ApiError;
use super::super::query::Query;
use super::super::throttle::NO_PEER;
use super::form::{Form, own_path};
use super::looks::{PART, THEME_COOKIE, theme};
use crate::app::{App, AppError};
use crate::web::{self, ASSETS, Theme};

/// Of the theme; it is no secret.
const YEAR_SECONDS: u32 = 31_536_000;

/// Lets a badge in; sends everybody else to where one can be had.
pub(super) async fn let_in(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let Some(caller) = state.0.badges.bearer(request.headers(), &state.0.app) else {
        return turned_away(&request);
    };
    knows(&request, &caller);
    let caller = match may_come_now(&state, caller) {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    request.extensions_mut().insert(caller.clone());
    while_good(caller, request, next).await
}

fn turned_away(request: &Request) -> Response {
    let headers = request.headers();
    let wants_page = headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok());
    let wants_page = wants_page.is_none_or(|kinds| kinds.contains("text/html") || kinds.contains("*/*"));
    if !request.method().is_safe() || headers.contains_key(PART) || !wants_page {
        let detail = "sign in first: offshoot open";
        return ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response();
    }
    let path = request.uri().path_and_query().map_or("/ui/", |path| path.as_str());
    if headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site") {
        // the cookie does not come along from there; from our own page it does
        return Html(web::bounce(path)).into_response();
    }
    let next = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", path).finish();
    Redirect::to(&format!("/ui/sign-in?{next}")).into_response()
}

/// A change is made by a page of ours only: browsers say so with every form, in one of two headers. That `Sec-Fetch-Site` names no
/// foreign page was looked at before. A cookie knows no ports, so here a page of another port is foreign too.
pub(super) async fn from_our_page(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && !is_from_here(&request) {
        let detail = "a form has to come from a page of this server, in a browser; programs use the API";
        return ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", detail).into_response();
    }
    next.run(request).await
}

fn is_from_here(request: &Request) -> bool {
    let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str).or(text(header::HOST));
    match text(header::ORIGIN) {
        Some(origin) => authority.is_some_and(|here| {
            origin.split_once("://").is_some_and(|(_, host)| host.eq_ignore_ascii_case(here))
        }),
        None => request.headers().contains_key(SEC_FETCH_SITE),
    }
}

pub(super) async fn show_sign_in(headers: HeaderMap, query: Query) -> Html<String> {
    let next = own_path(query.text("next").as_deref());
    Html(web::sign_in(theme(&headers), &next, None))
}

pub(super) async fn sign_in(
    State(state): State<AppState>,
    connection: Option<Extension<Connection>>,
    headers: HeaderMap,
    form: Form,
) -> Response {
    let next = own_path(form.text("next").as_deref());
    let token = form.text("token").unwrap_or_default();
    let peer = connection.map_or(NO_PEER, |Extension(connection)| connection.peer());
    match bearer(&state, token.trim(), peer) {
        Ok(caller) => {
            let badge = state.0.badges.give(&caller, is_secure(&headers));
            tracing::info!(by = caller.name, "signed in to the dashboard");
            ([(header::SET_COOKIE, badge)], Redirect::to(&next)).into_response()
        }
        Err(refused) => {
            let (status, detail) = (refused.problem.status, &refused.problem.detail);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
            let wrong = format!("{detail}.");
            (status, super::looks::as_page(web::sign_in(theme(&headers), &next, Some(&wrong))))
                .into_response()
        }
    }
}

/// By a link of `offshoot open`. One that another page led to, that would make somebody else of whoever is in, or that a program
/// only looks at, is shown with a button: nothing of it is used up before that is pressed.
pub(super) async fn enter(
    State(state): State<AppState>,
    method: Method,
    Path(pass): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Response {
    let next = own_path(query.text("next").as_deref());
    let by_hand = headers.get(SEC_FETCH_SITE).is_none_or(|site| site == "none" || site == "same-origin");
    let present = state.0.badges.bearer(&headers, &state.0.app);
    if let Some(key) = state.0.app.key_of_pass(&pass)
        && method != Method::POST
        && (method == Method::HEAD || !by_hand || present.as_ref().is_some_and(|caller| caller.key() != key))
    {
        let present = present.map(|caller| caller.name);
        return Html(web::enter(theme(&headers), &next, present.as_deref())).into_response();
    }
    match state.0.app.use_pass(&pass) {
        Ok(caller) => {
            let badge = state.0.badges.give(&caller, is_secure(&headers));
            tracing::info!(by = caller.name, "came to the dashboard with a pass");
            ([(header::SET_COOKIE, badge)], Html(web::entered(&next))).into_response()
        }
        Err(_) => {
            let wrong = "This link was used already, or is older than a minute. Ask for another one.";
            let page = web::sign_in(theme(&headers), &next, Some(wrong));
            (StatusCode::UNAUTHORIZED, super::looks::as_page(page)).into_response()
        }
    }
}

pub(super) async fn sign_out(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let gone = state.0.badges.take_back(&headers);
    ([(header::SET_COOKIE, gone)], Redirect::to("/ui/sign-in")).into_response()
}

/// Which colours somebody wants, for as long as the browser remembers.
pub(super) async fn set_theme(headers: HeaderMap, form: Form) -> Response {
    let theme = form.text("theme").as_deref().and_then(Theme::parse).unwrap_or(Theme::System);
    let cookie = format!("{THEME_COOKIE}={theme}; Path=/ui; Max-Age={YEAR_SECONDS}; SameSite=Strict");
    ([(header::SET_COOKIE, cookie)], Redirect::to(&came_from(&headers))).into_response()
}

/// The page on which a form was, as far as it is one of ours.
fn came_from(headers: &HeaderMap) -> String {
    let referrer = single(headers, header::REFERER).ok().flatten().and_then(|url| url::Url::parse(url).ok());
    let path = referrer
        .map(|url| url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path())));
    own_path(path.as_deref())
}

/// For good: another content has another name. One of an older page is answered with what there is now, which is
/// better than a page without any.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, ApiError> {
    let asset = ASSETS.iter().find(|asset| asset.is_called(&name)).ok_or(AppError::NotFound("file"))?;
    let lasts = if asset.name() == name { "public, max-age=31536000, immutable" } else { "no-store" };
    let head = [(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, lasts)];
    Ok((head.map(|(name, value)| (name, HeaderValue::from_static(value))), asset.text).into_response())
}

pub(super) async fn nothing_here(State(_app): State<App>) -> ApiError {
    AppError::NotFound("page").into()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// A name in `allowed_hosts` has no port, and a cookie looks at none.
    #[test]
    fn a_page_of_another_port_is_somebody_elses() {
        let sent = |headers: &[(&str, &str)]| {
            let request = Request::builder().method(Method::POST).uri("/ui/queue/pause");
            let request =
                headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            is_from_here(&request.body(Body::empty()).unwrap())
        };
        let host = ("host", "box.example:3456");
        assert!(sent(&[host, ("origin", "http://box.example:3456")]));
        assert!(sent(&[host, ("origin", "https://BOX.example:3456")]));
        assert!(sent(&[host, ("sec-fetch-site", "same-origin")]));
        for foreign in ["http://box.example:9999", "http://box.example", "http://evil.com:3456", "null", ""] {
            assert!(!sent(&[host, ("origin", foreign)]), "{foreign}");
            assert!(!sent(&[host, ("origin", foreign), ("sec-fetch-site", "same-origin")]), "{foreign}");
        }
        assert!(!sent(&[host]) && !sent(&[("origin", "http://box.example:3456")]));
    }
}
