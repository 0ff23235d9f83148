//! A typed client of the HTTP API, for the command line and for the demonstration.
//!
//! Promises: one method per call, in the types of `wire`; every wait has a limit; an answer is read up to a bound; what
//! the server says about an error arrives unchanged in [`ApiError`]. The token travels in a header only, redirects are
//! not followed (they could carry it elsewhere), and a loopback address is never asked for through a proxy.
//!
//! Must not know: terminals, files, configuration, the environment, anything of the server's inside.
//!
//! Fails: with [`ApiError`]. Nothing is repeated here; a caller that repeats a submission does so with the same key.
//!
//! Tested: `tests/it/cli_api.rs`, against a server that misbehaves on order.

mod clients;
mod error;
mod events;
mod jobs;
mod notify;
mod profiles;
mod queue;
mod tokens;
mod transport;
mod usage;
mod webhooks;

pub use error::ApiError;
pub use events::{EventStream, Heard, Since};
pub use jobs::{Download, JobQuery, Patch, Tagged};
pub use usage::UsageQuery;

use std::time::Duration;

use reqwest::redirect;
use secrecy::SecretString;
use url::{Host, Url};

/// Connecting on one's own machine or tailnet takes milliseconds; this is for a sleeping laptop at the other end.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A connection to one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

impl ApiClient {
    /// A client of the server at `base_url`, `http://HOST:PORT`, with a path when a proxy puts one before the API.
    ///
    /// # Errors
    /// [`ApiError::BadAddress`] when that is no http or https URL.
    pub fn new(base_url: &str, token: Option<SecretString>) -> Result<Self, ApiError> {
        let bad = |why: &str| ApiError::BadAddress { url: base_url.to_owned(), why: why.to_owned() };
        let mut base = Url::parse(base_url).map_err(|error| bad(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(bad("it must begin with http:// or https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            // Not shown back: what stands there may be a secret.
            let why = "a token does not belong into the address".to_owned();
            return Err(ApiError::BadAddress { url: format!("{}://...", base.scheme()), why });
        }
        base.set_query(None);
        base.set_fragment(None);
        let mut builder =
            reqwest::Client::builder().connect_timeout(CONNECT_LIMIT).redirect(redirect::Policy::none());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| bad(&error.to_string()))?;
        Ok(Self { http, base, token })
    }

    /// Whether the server is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }

    /// The address, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }
}

/// Whether only this machine can answer at `url`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_a_token_in_it_is_not_repeated() {
        for wrong in ["", "127.0.0.1:3456", "ftp://x", "unix:/run/x"] {
            assert!(matches!(ApiClient::new(wrong, None), Err(ApiError::BadAddress { .. })), "{wrong}");
        }
        let error = ApiClient::new("http://me:hunter2@host", None).expect_err("credentials in the address");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(ApiClient::new("http://host:1/", None).unwrap().base_url(), "http://host:1");
    }

    #[test]
    fn loopback_is_known_in_all_its_spellings() {
        for (url, expected) in [
            ("http://127.0.0.2:1", true),
            ("http://[::1]:1", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost", true),
            ("http://192.168.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
