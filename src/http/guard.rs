//! Who may speak to us at all: known host names only (DNS rebinding), no foreign web pages, no oversized heads.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::AppState;
use super::connection::Connection;
use super::problem::ApiError;

/// All header names and values together: many times what our clients send, less than a proxy's own limit.
const HEADER_BYTES_MAX: usize = 32 * 1024;

pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which this server answers.
pub(super) struct Hosts {
    address: SocketAddr,
    /// Lower case, with or without a port.
    allowed: Vec<String>,
}

impl Hosts {
    pub(super) fn new(address: SocketAddr, allowed: &[String]) -> Self {
        Self { address, allowed: allowed.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// Loopback names and our own address with our port, and what the owner allows.
    fn allows(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        let (host, port) = split(&authority);
        if self.allowed.iter().any(|allowed| *allowed == authority || *allowed == host) {
            return true;
        }
        if port.unwrap_or(80) != self.address.port() {
            return false;
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            // rebinding needs a name: on an open bind any of our addresses is fine
            Ok(ip) => ip.is_loopback() || ip == self.address.ip() || self.address.ip().is_unspecified(),
            Err(_) => host == "localhost",
        }
    }
}

fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

pub(super) async fn check_origin(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match check(&state.0.hosts, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// With a damaged database nothing that changes something is begun, not even what would fail later.
pub(super) async fn refuse_changes(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match state.0.app.accepts_changes() {
        Err(error) if !request.method().is_safe() => ApiError::from(error).into_response(),
        _ => next.run(request).await,
    }
}

fn check(hosts: &Hosts, request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(headers_too_large());
    }
    // both at once is how requests are smuggled; by now only the first is left of them
    let connection = request.extensions().get::<Connection>();
    if let Some(connection) = connection.filter(|_| headers.contains_key(header::TRANSFER_ENCODING)) {
        if connection.has_both_lengths() {
            let detail = "a request has either Content-Length or Transfer-Encoding";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", detail));
        }
        // whether it had both is not known
        if connection.had_large_head() {
            return Err(headers_too_large());
        }
    }
    let authority = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => single(headers, header::HOST)?,
    };
    let Some(authority) = authority else {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", "a request has a Host header"));
    };
    if !hosts.allows(authority) {
        let detail = "this server does not answer to that host name; see server.allowed_hosts";
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail));
    }
    let origin = single(headers, header::ORIGIN)?;
    let own = |origin: &str| {
        origin.split_once("://").is_some_and(|(scheme, host)| {
            matches!(scheme, "http" | "https") && (host == authority || hosts.allows(host))
        })
    };
    // what browsers say themselves: pages of other sites, and of other ports of this host, are foreign too
    let site = single(headers, SEC_FETCH_SITE)?;
    let from_here = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    if !origin.is_none_or(own) || !(from_here || is_followed_link(request)) {
        let detail = "requests from other web pages are refused";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", detail));
    }
    Ok(())
}

fn headers_too_large() -> ApiError {
    let detail = format!("the headers are larger than {HEADER_BYTES_MAX} bytes");
    ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", &detail)
}

/// A link to the dashboard that somebody followed on another site: a page to look at, which that site cannot read. The cookie
/// does not come along, and what changes something is asked for by a button of ours.
fn is_followed_link(request: &Request) -> bool {
    let says = |name: &str, value: &str| request.headers().get(name).is_some_and(|found| found == value);
    let path = request.uri().path();
    let is_page = matches!(path, "/" | "/ui" | "/docs") || path.starts_with("/ui/");
    request.method() == Method::GET
        && is_page
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
}

/// A header that may be there once.
pub(super) fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        let detail = format!("the header {name} may be given once only");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", &detail));
    }
    let Some(value) = first else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", &format!("the header {name} is not plain text"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let hosts =
            Hosts::new("127.0.0.1:3456".parse().unwrap(), &["Box.example".to_owned(), "p:80".to_owned()]);
        let good = [
            "127.0.0.1:3456",
            "localhost:3456",
            "LOCALHOST:3456",
            "[::1]:3456",
            "box.example",
            "box.example:8443",
            "p:80",
        ];
        for host in good {
            assert!(hosts.allows(host), "{host}");
        }
        let bad = [
            "evil.com",
            "evil.com:3456",
            "127.0.0.1",
            "localhost",
            "127.0.0.1.nip.io:3456",
            "10.0.0.1:3456",
            "",
            ":3456",
            "localhost:99999",
            "p:81",
            "box.example.evil.com",
        ];
        for host in bad {
            assert!(!hosts.allows(host), "{host}");
        }
        let open = Hosts::new("0.0.0.0:80".parse().unwrap(), &[]);
        assert!(open.allows("10.0.0.1") && open.allows("[fe80::1]:80") && !open.allows("evil.com"));
    }
}
