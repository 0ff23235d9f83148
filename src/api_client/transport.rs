//! Sends one request and reads its answer, bounded in time and size.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ApiClient, ApiError};
use crate::wire::problem::Problem;

/// Every call that has no reason to take longer. A cancellation answers within 20 s by itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Largest answer that is read into memory: several times the largest that is documented (4 MiB of messages, and a
/// patch, which is cut by the server).
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Longest excerpt of an answer that nobody understands.
const EXCERPT_CHARS_MAX: usize = 120;

/// A request in the making.
pub(super) struct Call<'a> {
    client: &'a ApiClient,
    builder: reqwest::RequestBuilder,
    limit: Duration,
    fault: Option<ApiError>,
}

impl ApiClient {
    /// A call of `method` on the path made of `segments`, which are escaped here.
    pub(super) fn call(&self, method: Method, segments: &[&str], query: &[(&str, String)]) -> Call<'_> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut builder = self.http.request(method, url).header(ACCEPT, "application/json");
        let mut fault = None;
        if let Some(token) = &self.token {
            match HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    builder = builder.header(AUTHORIZATION, value);
                }
                Err(_) => fault = Some(self.bad_address("the token has characters that no token has")),
            }
        }
        Call { client: self, builder, limit: ANSWER_LIMIT, fault }
    }

    fn bad_address(&self, why: &str) -> ApiError {
        ApiError::BadAddress { url: self.base_url().to_owned(), why: why.to_owned() }
    }

    fn failure(&self, error: &reqwest::Error, limit: Duration) -> ApiError {
        let url = self.base_url().to_owned();
        if error.is_timeout() && !error.is_connect() {
            return ApiError::TimedOut { url, limit };
        }
        ApiError::Unreachable { url, why: innermost(error), maybe_done: !error.is_connect() }
    }

    fn unintelligible(&self, why: impl Into<String>) -> ApiError {
        ApiError::Unintelligible { url: self.base_url().to_owned(), why: why.into() }
    }
}

impl Call<'_> {
    pub(super) fn json<T: Serialize>(self, body: &T) -> Self {
        self.with(|builder| builder.json(body))
    }

    pub(super) fn idempotency_key(self, key: &str) -> Self {
        self.with(|builder| builder.header("Idempotency-Key", key))
    }

    pub(super) fn if_none_match(self, etag: &str) -> Self {
        self.with(|builder| builder.header(IF_NONE_MATCH, etag))
    }

    /// Waits this much longer than for other calls.
    pub(super) fn patience(mut self, more: Duration) -> Self {
        self.limit += more;
        self
    }

    /// The answer as JSON.
    pub(super) async fn answer<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        let client = self.client;
        match self.tagged_answer().await? {
            Some((value, _)) => Ok(value),
            None => Err(client.unasked()),
        }
    }

    /// The answer as JSON with its entity tag; `None` for 304.
    pub(super) async fn tagged_answer<T: DeserializeOwned>(
        self,
    ) -> Result<Option<(T, Option<String>)>, ApiError> {
        let (client, limit) = (self.client, self.limit);
        let response = self.send().await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = read(client, response, limit).await?;
        let value = serde_json::from_slice(&body)
            .map_err(|error| client.unintelligible(format!("{error}: {}", excerpt(&body))))?;
        Ok(Some((value, etag)))
    }

    /// The answer as text.
    pub(super) async fn text(self) -> Result<String, ApiError> {
        Ok(String::from_utf8_lossy(&self.bytes().await?.0).into_owned())
    }

    /// The answer as it is, and whether the server says that its end is missing.
    pub(super) async fn bytes(self) -> Result<(Vec<u8>, bool), ApiError> {
        let (client, limit) = (self.client, self.limit);
        let response = self.send().await?;
        let is_cut = response.headers().contains_key("x-truncated");
        Ok((read(client, response, limit).await?, is_cut))
    }

    /// The answer while it comes in; an error answer is an error here already.
    pub(super) async fn send(self) -> Result<Response, ApiError> {
        let Self { client, builder, limit, fault } = self;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let response = builder.timeout(limit).send().await.map_err(|error| client.failure(&error, limit))?;
        if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        Err(refusal(client, response, limit).await)
    }

    /// The answer while it comes in for as long as it likes: only its head has a limit.
    pub(super) async fn open(self) -> Result<Response, ApiError> {
        let Self { client, builder, limit, fault } = self;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let sent = tokio::time::timeout(limit, builder.send()).await;
        let timed_out = |_| ApiError::TimedOut { url: client.base_url().to_owned(), limit };
        let response = sent.map_err(timed_out)?.map_err(|error| client.failure(&error, limit))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refusal(client, response, limit).await)
        }
    }

    fn with(mut self, add: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        self.builder = add(self.builder);
        self
    }
}

async fn read(client: &ApiClient, mut response: Response, limit: Duration) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| client.failure(&error, limit))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(client.unintelligible(format!("its answer exceeds {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error answer. One without a problem document comes from something before the server, or is no server of ours.
async fn refusal(client: &ApiClient, response: Response, limit: Duration) -> ApiError {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    match read(client, response, limit).await {
        Ok(body) => match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => {
                ApiError::from_problem(Problem { status: status.as_u16(), ..problem }, retry_after)
            }
            Err(_) => client.unintelligible(format!("status {}: {}", status.as_u16(), excerpt(&body))),
        },
        Err(error) => error,
    }
}

/// The beginning of a foreign text on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_CHARS_MAX)]).into_owned();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().filter(|letter| !letter.is_control()).take(EXCERPT_CHARS_MAX).collect()
}

/// What the operating system said, without the layers that only pass it on.
fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    // "Connection refused (os error 111)": the number helps nobody.
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
