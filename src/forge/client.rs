//! The HTTP client for forges: made once, shared, without anything that acts on its own.

use std::time::Duration;

use super::error::ForgeError;

const USER_AGENT: &str = concat!("offshoot/", env!("CARGO_PKG_VERSION"));

/// Deadlines of the client that talks to GitHub.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    pub connect: Duration,
    /// Longest silence in the middle of an answer.
    pub read: Duration,
    /// From the first byte sent to the last one read.
    pub whole: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        // GitHub itself ends a request after 10 s; the rest is for slow lines and Enterprise Servers.
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            whole: Duration::from_secs(60),
        }
    }
}

/// The client to hand to [`super::GitHub::new`]: system proxies, our own user agent, no redirects (a moved repository is
/// to be noticed), no retries (a write must not be sent twice).
///
/// # Errors
/// [`ForgeError::Setup`] when TLS cannot be set up.
pub fn http_client(limits: &HttpLimits) -> Result<reqwest::Client, ForgeError> {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(limits.connect)
        .read_timeout(limits.read)
        .timeout(limits.whole)
        .build()
        .map_err(|error| ForgeError::Setup { text: format!("no HTTP client: {error}") })
}
