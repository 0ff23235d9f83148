//! One try of one delivery.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use tokio::time::{Instant, timeout, timeout_at};

use super::address::{AddressError, CallbackUrl, check_url, vet};
use super::policy::Policy;
use super::retry_after::parse_retry_after;
use super::signature::{
    HEADER_AGENT_SIGNATURE, HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, SigningSecrets,
};
use super::tls::Tls;

/// Longest wait for a connection, in seconds: long enough for a lost packet to be sent three times.
pub const CONNECT_SECONDS_MAX: u64 = 5;
/// Longest try from name look-up to answer, in seconds: receivers are told to answer first and work later.
pub const TRY_SECONDS_MAX: u64 = 30;
/// How much of an answer is read, in bytes. The status decides; the rest is read only to part politely.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long the body of an answer may take, in seconds: it decides nothing, so it must not hold a sender long.
const ANSWER_SECONDS_MAX: u64 = 5;
const USER_AGENT: &str = concat!("offshoot/", env!("CARGO_PKG_VERSION"));

/// The deadlines of a try.
#[derive(Clone, Copy, Debug)]
pub struct SendLimits {
    pub connect: Duration,
    pub whole: Duration,
}

/// Sends callbacks under one [`Policy`]. Holds no connections between tries.
#[derive(Clone, Debug)]
pub struct Sender {
    policy: Policy,
    limits: SendLimits,
    tls: Tls,
}

/// What one try sends.
#[derive(Clone, Debug)]
pub struct SendRequest<'a> {
    pub url: &'a str,
    /// Becomes `webhook-id`; the same in every try.
    pub event_id: &'a str,
    /// JSON, sent exactly as it is.
    pub body: &'a [u8],
    /// `None` sends unsigned.
    pub secrets: Option<&'a SigningSecrets>,
    /// Now, in Unix seconds: becomes `webhook-timestamp`, and a date in `Retry-After` is measured from it.
    pub timestamp_s: i64,
}

/// A request of any form, under the same rules as a callback. Not to be shown: URL and headers may be secrets.
pub struct Post<'a> {
    pub url: &'a str,
    /// Names in lower case, with the type of the content.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Now, in Unix seconds.
    pub timestamp_s: i64,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// 2xx: delivered.
    Accepted { status: u16 },
    /// Any other status but 410; a redirect is one of these.
    Refused { status: u16, retry_after: Option<Duration> },
    /// 410: the receiver wants nothing at this URL any more.
    Gone,
    /// No status came.
    Failed { text: String, kind: FailureKind },
}

impl SendResult {
    /// The status that came, and what went wrong, for people.
    #[must_use]
    pub fn told(&self) -> (Option<u16>, Option<String>) {
        match self {
            Self::Accepted { status } => (Some(*status), None),
            Self::Refused { status, .. } => (Some(*status), Some(format!("the receiver answered {status}"))),
            Self::Gone => (Some(410), Some("the receiver wants no more callbacks (410)".to_owned())),
            Self::Failed { text, .. } => (None, Some(text.clone())),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The URL or what it resolves to may not be called; nothing was dialled.
    Address,
    /// The name could not be looked up.
    Resolve,
    /// No connection or no TLS session; nothing of the event was sent.
    Connect,
    /// The deadline of the try passed.
    Timeout,
    /// The connection broke, or what came is not HTTP.
    Transport,
}

impl Default for SendLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(CONNECT_SECONDS_MAX),
            whole: Duration::from_secs(TRY_SECONDS_MAX),
        }
    }
}

/// Carries one callback to its receiver: the [`Sender`], or what a simulation of the loops puts in its place.
pub trait Carrier: Send + Sync + 'static {
    /// Makes one try. Ends within a bound whatever the receiver does; dropping the future ends the try.
    fn send(&self, request: &SendRequest<'_>) -> impl Future<Output = SendResult> + Send;
}

impl Carrier for Sender {
    fn send(&self, request: &SendRequest<'_>) -> impl Future<Output = SendResult> + Send {
        Self::send(self, request)
    }
}

impl SendRequest<'_> {
    /// Signed, if there is something to sign with.
    fn to_post(&self) -> Post<'_> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            (HEADER_ID, self.event_id.to_owned()),
            (HEADER_TIMESTAMP, self.timestamp_s.to_string()),
        ];
        if let Some(secrets) = self.secrets {
            headers.push((HEADER_AGENT_SIGNATURE, secrets.agent_signature(self.body)));
            let standard = secrets.standard_signature(self.event_id, self.timestamp_s, self.body);
            headers.push((HEADER_SIGNATURE, standard));
        }
        Post { url: self.url, headers, body: self.body.to_vec(), timestamp_s: self.timestamp_s }
    }
}

impl Sender {
    #[must_use]
    pub fn new(policy: Policy, limits: SendLimits) -> Self {
        Self { policy, limits, tls: Tls::default() }
    }

    /// The rules this sender follows, for judging a URL when it is handed in.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Makes one try. Ends within the limits whatever the receiver does; dropping the future ends the try.
    pub async fn send(&self, request: &SendRequest<'_>) -> SendResult {
        self.post(&request.to_post()).await
    }

    /// As [`Self::send`], for a request of any form.
    pub async fn post(&self, post: &Post<'_>) -> SendResult {
        let deadline = Instant::now() + self.limits.whole;
        match timeout_at(deadline, self.try_once(post)).await {
            Ok(Ok((result, answer))) => {
                drain(answer, deadline).await;
                result
            }
            Ok(Err(failure)) => SendResult::Failed { text: failure.text, kind: failure.kind },
            Err(_) => SendResult::Failed {
                text: format!("no answer within {} s", self.limits.whole.as_secs_f32()),
                kind: FailureKind::Timeout,
            },
        }
    }

    async fn try_once(&self, post: &Post<'_>) -> Result<(SendResult, reqwest::Response), Failure> {
        let url = check_url(post.url, &self.policy)?;
        let answers = self.resolve(&url).await?;
        self.dial(&url, &answers, post).await
    }

    /// Calls one of `answers`, which a look-up gave and nobody has judged yet.
    async fn dial(
        &self,
        url: &CallbackUrl,
        answers: &[IpAddr],
        post: &Post<'_>,
    ) -> Result<(SendResult, reqwest::Response), Failure> {
        let addresses = vet(url, answers, &self.policy)?;
        self.refuse_own(url, &addresses)?;
        let call = self.client(addresses)?.post(url.url().clone()).headers(headers(&post.headers)?);
        let answer =
            call.body(post.body.clone()).send().await.map_err(|error| Failure::of_transport(&error))?;
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, post.timestamp_s));
        let result = match status.as_u16() {
            410 => SendResult::Gone,
            code if status.is_success() => SendResult::Accepted { status: code },
            code => SendResult::Refused { status: code, retry_after },
        };
        Ok((result, answer))
    }

    async fn resolve(&self, url: &CallbackUrl) -> Result<Vec<IpAddr>, Failure> {
        if let Some(address) = url.literal_address() {
            return Ok(vec![address]);
        }
        match timeout(self.limits.connect, tokio::net::lookup_host((url.host(), url.port()))).await {
            Ok(Ok(answers)) => Ok(answers.map(|answer| answer.ip()).collect()),
            Ok(Err(error)) => Err(Failure {
                text: format!("{} cannot be looked up: {}", url.host(), error.kind()),
                kind: FailureKind::Resolve,
            }),
            Err(_) => Err(Failure {
                text: format!("the name look-up of {} took too long", url.host()),
                kind: FailureKind::Resolve,
            }),
        }
    }

    /// A listener on all addresses is reached by any address of this machine, which only the system can list.
    fn refuse_own(&self, url: &CallbackUrl, addresses: &[SocketAddr]) -> Result<(), Failure> {
        // Binding port 0 succeeds exactly for addresses that this machine has; nothing is sent.
        let is_here = |target: &SocketAddr| std::net::UdpSocket::bind((target.ip(), 0)).is_ok();
        if self.policy.listens_everywhere_on(url.port()) && addresses.iter().any(is_here) {
            return Err(AddressError::OwnListener { host: url.host().to_owned() }.into());
        }
        Ok(())
    }

    /// A client for this try alone: it knows no addresses but the vetted ones.
    fn client(&self, addresses: Vec<SocketAddr>) -> Result<reqwest::Client, Failure> {
        let tls = self.tls.config().map_err(|error| Failure {
            text: format!("the system's certificates cannot be used: {error}"),
            kind: FailureKind::Connect,
        })?;
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(USER_AGENT)
            .dns_resolver(Vetted(addresses))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .pool_max_idle_per_host(0)
            .http1_only()
            .connect_timeout(self.limits.connect)
            .timeout(self.limits.whole)
            .build()
            .map_err(|error| Failure::of_transport(&error))
    }
}

/// Such that no log of a library shows a token.
fn headers(given: &[(&'static str, String)]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, text) in given {
        let mut value = HeaderValue::from_str(text).map_err(|_| Failure {
            text: format!("the header {name} cannot be sent"),
            kind: FailureKind::Transport,
        })?;
        value.set_sensitive(*name == AUTHORIZATION.as_str());
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// Answers every look-up with the vetted addresses, so that no path leads back to the system's resolver.
struct Vetted(Vec<SocketAddr>);

impl Resolve for Vetted {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

struct Failure {
    text: String,
    kind: FailureKind,
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        let kind = match error {
            AddressError::NoAddress { .. } => FailureKind::Resolve,
            _ => FailureKind::Address,
        };
        Self { text: error.to_string(), kind }
    }
}

impl Failure {
    /// The innermost cause says what happened; the outer layers repeat the URL, whose query may be private.
    fn of_transport(error: &reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let (what, kind) = if error.is_timeout() {
            ("the receiver took too long", FailureKind::Timeout)
        } else if is_of_tls(error) {
            ("no TLS session with the receiver", FailureKind::Connect)
        } else if error.is_connect() {
            ("no connection to the receiver", FailureKind::Connect)
        } else {
            ("the exchange with the receiver broke", FailureKind::Transport)
        };
        Self { text: format!("{what}: {cause}"), kind }
    }
}

/// A certificate that was refused, or a receiver that speaks no TLS.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // an I/O error hides the error that it carries from the chain
    let inner = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(carried) => Some(carried as &(dyn std::error::Error + 'static)),
        None => error.source(),
    };
    error.is::<rustls::Error>() || inner.is_some_and(is_of_tls)
}

/// Reads a bounded part of the answer for a bounded time, so that an ordinary receiver can finish writing.
async fn drain(mut answer: reqwest::Response, deadline: Instant) {
    let deadline = deadline.min(Instant::now() + Duration::from_secs(ANSWER_SECONDS_MAX));
    let mut bytes_left = ANSWER_BYTES_MAX;
    let reading = async {
        while let Ok(Some(chunk)) = answer.chunk().await {
            bytes_left = bytes_left.saturating_sub(chunk.len());
            if bytes_left == 0 {
                break;
            }
        }
    };
    // Both outcomes are fine: the status is already known.
    timeout_at(deadline, reading).await.ok();
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
