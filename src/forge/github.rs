//! GitHub and GitHub Enterprise Server over their REST API.

use std::time::Duration;

use futures_util::future::BoxFuture;
use octocrab::service::middleware::base_uri::BaseUriLayer;
use octocrab::service::middleware::extra_headers::ExtraHeadersLayer;
use octocrab::service::middleware::reqwest_connector::ReqwestConnector;
use octocrab::{AuthState, Octocrab, OctocrabBuilder};
use reqwest::header::{ACCEPT, HeaderValue, LOCATION};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::sleep;
use url::Url;

use super::answer::{Answer, plain, unusable};
use super::error::ForgeError;
use super::gate::Gate;
use super::{Forge, NewPullRequest, PullRequest, RepositoryFacts, RepositoryName};
use crate::clock::Clock;

/// Waits before a failed read is sent again. Longer outages are the caller's to wait out.
const READ_WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// Largest answer read, in bytes: a page of 100 pull requests is about 2 MiB.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// An installation token this close to its end is replaced, so that a git push can still finish with it.
const TOKEN_MARGIN_MS: i64 = 5 * 60 * 1_000;

/// Who we are to GitHub.
#[derive(Clone, Debug)]
pub enum GitHubAuth {
    /// Reads public repositories only.
    Anonymous,
    /// A personal access token.
    Token(SecretString),
    /// An installation of a GitHub App.
    App {
        app_id: u64,
        /// RSA, PEM, PKCS#1 or PKCS#8.
        private_key_pem: SecretString,
        installation_id: u64,
    },
}

/// A client of one GitHub with one credential.
#[derive(Debug)]
pub struct GitHub {
    base: Url,
    anonymous: Octocrab,
    credential: Credential,
    gate: Gate,
    clock: Clock,
}

#[derive(Debug)]
enum Credential {
    None,
    Token { client: Octocrab, token: SecretString },
    App { client: Octocrab, installation_id: u64, cached: Mutex<Option<InstallationToken>> },
}

#[derive(Clone, Debug)]
struct InstallationToken {
    token: SecretString,
    expires_at_ms: i64,
}

/// One request: `Some` body makes it a POST.
#[derive(Clone, Copy)]
struct Request<'a> {
    route: &'a str,
    body: Option<&'a Value>,
}

/// What went wrong, and where a redirect on this API leads.
struct Failed {
    error: ForgeError,
    location: Option<String>,
}

impl GitHub {
    /// `api_url` is `https://api.github.com`, `https://HOST/api/v3` for Enterprise Server, or a loopback address.
    /// Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`ForgeError::Setup`] for an unusable URL or private key.
    pub fn new(
        api_url: &str,
        auth: &GitHubAuth,
        http: &reqwest::Client,
        clock: Clock,
    ) -> Result<Self, ForgeError> {
        let base =
            Url::parse(api_url).map_err(|error| setup(&format!("the API URL is malformed: {error}")))?;
        if !matches!(base.scheme(), "http" | "https")
            || !base.username().is_empty()
            || base.password().is_some()
        {
            return Err(setup("the API URL must be http or https without a user name"));
        }
        let anonymous = octocrab(&base, http, AuthState::None)?;
        let credential = match auth {
            GitHubAuth::Anonymous => Credential::None,
            GitHubAuth::Token(token) => {
                let auth = AuthState::AccessToken { token: token.clone() };
                Credential::Token { client: octocrab(&base, http, auth)?, token: token.clone() }
            }
            GitHubAuth::App { app_id, private_key_pem, installation_id } => {
                let key = octocrab::EncodingKey::from_rsa_pem(private_key_pem.expose_secret().as_bytes())
                    .map_err(|_| setup("the app's private key is not an RSA key in PEM form"))?;
                let auth = AuthState::App(octocrab::auth::AppAuth { app_id: (*app_id).into(), key });
                let client = octocrab(&base, http, auth)?;
                Credential::App { client, installation_id: *installation_id, cached: Mutex::default() }
            }
        };
        Ok(Self { base, anonymous, credential, gate: Gate::default(), clock })
    }

    /// Whether the forge accepts the credential, by the one call that every kind of credential may make and that counts
    /// against no limit.
    ///
    /// # Errors
    /// [`ForgeError::Auth`] when it does not; any other: nobody knows.
    pub async fn try_credential(&self) -> Result<(), ForgeError> {
        match self.call(Request { route: "/rate_limit", body: None }).await.map_err(|failed| failed.error) {
            // Enterprise servers without limits do not know the call, and say so to whom they accept alone
            Ok(_) | Err(ForgeError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends with the credential. Reads are repeated after transport errors; nothing else is, except what a stale
    /// installation token stopped at the door.
    async fn call(&self, request: Request<'_>) -> Result<Value, Failed> {
        let mut waits = READ_WAITS.iter().filter(|_| !request.is_write());
        let mut may_renew = true;
        loop {
            let (client, secret) = self.client().await?;
            match self.exchange(&client, secret.as_ref(), request).await {
                Err(Failed { error: ForgeError::Unavailable { unclear, text }, .. }) => match waits.next() {
                    Some(wait) => sleep(*wait).await,
                    None => return Err(ForgeError::Unavailable { unclear, text }.into()),
                },
                Err(Failed { error: ForgeError::Auth, .. }) if may_renew && self.forget_token().await => {
                    may_renew = false;
                }
                other => return other,
            }
        }
    }

    /// One request, in its turn.
    async fn exchange(
        &self,
        client: &Octocrab,
        secret: Option<&SecretString>,
        request: Request<'_>,
    ) -> Result<Value, Failed> {
        let mut turn = self.gate.enter(request.is_write()).await?;
        let answer = send(client, request).await?;
        let now_s = self.clock.now_ms() / 1_000;
        let judged = answer.judge(request.is_write(), now_s).map_err(|error| redact(error, secret));
        match (&judged, answer.wait_after_success(now_s)) {
            (Err(ForgeError::RateLimited { retry_after }), _) => turn.block_for(*retry_after),
            (Ok(_), Some(wait)) => turn.block_for(wait),
            _ => {}
        }
        judged.map_err(|error| Failed { error, location: self.location(&answer) })
    }

    async fn client(&self) -> Result<(Octocrab, Option<SecretString>), ForgeError> {
        match &self.credential {
            Credential::None => Ok((self.anonymous.clone(), None)),
            Credential::Token { client, token } => Ok((client.clone(), Some(token.clone()))),
            Credential::App { .. } => {
                let token = self.installation_token().await?;
                let client = self.anonymous.user_access_token(token.clone());
                Ok((client.map_err(|_| setup("the installation token cannot be used"))?, Some(token)))
            }
        }
    }

    async fn installation_token(&self) -> Result<SecretString, ForgeError> {
        let Credential::App { client, installation_id, cached } = &self.credential else {
            return Err(ForgeError::Auth);
        };
        let mut cached = cached.lock().await;
        let fresh_until_ms = self.clock.now_ms() + TOKEN_MARGIN_MS;
        if let Some(known) = cached.as_ref().filter(|known| known.expires_at_ms > fresh_until_ms) {
            return Ok(known.token.clone());
        }
        let route = format!("/app/installations/{installation_id}/access_tokens");
        let asked = self.exchange(client, None, Request { route: &route, body: Some(&json!({})) }).await;
        let answer = asked.map_err(|failed| match failed.error {
            // A token too many does no harm, and what the token was for has not been sent.
            ForgeError::Unavailable { text, .. } => ForgeError::Unavailable { unclear: false, text },
            // An app that was uninstalled is unknown.
            ForgeError::NotFound => ForgeError::Auth,
            other => other,
        })?;
        let expires_at: Option<jiff::Timestamp> =
            answer["expires_at"].as_str().and_then(|text| text.parse().ok());
        let (Some(token), Some(expires_at)) = (answer["token"].as_str(), expires_at) else {
            return Err(unusable(false, "its installation token cannot be read"));
        };
        let token = SecretString::from(token);
        *cached =
            Some(InstallationToken { token: token.clone(), expires_at_ms: expires_at.as_millisecond() });
        Ok(token)
    }

    /// Whether there was an installation token to forget: it may have been revoked before its time.
    async fn forget_token(&self) -> bool {
        match &self.credential {
            Credential::App { cached, .. } => cached.lock().await.take().is_some(),
            _ => false,
        }
    }

    /// Where a redirect leads, if it stays on this API.
    fn location(&self, answer: &Answer) -> Option<String> {
        let target = self.base.join(answer.headers.get(LOCATION)?.to_str().ok()?).ok()?;
        let same = target.origin() == self.base.origin();
        same.then(|| {
            target
                .query()
                .map_or_else(|| target.path().to_owned(), |query| format!("{}?{query}", target.path()))
        })
    }

    async fn read_repository(&self, name: &RepositoryName) -> Result<RepositoryFacts, ForgeError> {
        let found = match self.call(Request { route: &route(name, "")?, body: None }).await {
            // One step leads from an old name to the id; a longer chain is not GitHub's.
            Err(Failed { error: ForgeError::Moved, location: Some(by_id) }) => {
                self.call(Request { route: &by_id, body: None }).await?
            }
            other => other?,
        };
        let facts = || {
            let (org, repo) = found["full_name"].as_str()?.split_once('/')?;
            let full_name = RepositoryName { org: org.to_owned(), repo: repo.to_owned() };
            let renamed = !full_name.to_string().eq_ignore_ascii_case(&name.to_string());
            Some(RepositoryFacts {
                id: found["id"].as_u64()?,
                full_name,
                default_branch: found["default_branch"].as_str()?.to_owned(),
                archived: found["archived"].as_bool().unwrap_or(false),
                private: found["private"].as_bool().unwrap_or(false),
                renamed,
            })
        };
        facts().ok_or_else(|| unusable(false, "its description of the repository cannot be read"))
    }

    async fn read_pull_request(
        &self,
        repo: &RepositoryName,
        head: &str,
        base: &str,
    ) -> Result<Option<PullRequest>, ForgeError> {
        // Without the owner GitHub drops the filter and returns everybody's pull requests.
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("state", "open")
            .append_pair("head", &format!("{}:{head}", repo.org))
            .append_pair("base", base)
            .append_pair("per_page", "100")
            .finish();
        let found =
            self.call(Request { route: &route(repo, &format!("/pulls?{query}"))?, body: None }).await?;
        let list =
            found.as_array().ok_or_else(|| unusable(false, "its list of pull requests cannot be read"))?;
        let repository = repo.to_string();
        let is_ours = |pull: &&Value| {
            pull["head"]["ref"] == head
                && pull["base"]["ref"] == base
                && pull["head"]["repo"]["full_name"]
                    .as_str()
                    .is_some_and(|name| name.eq_ignore_ascii_case(&repository))
        };
        match list.iter().find(is_ours) {
            None => Ok(None),
            Some(pull) => pull_request(pull, false)
                .map(Some)
                .ok_or_else(|| unusable(false, "its description of the pull request cannot be read")),
        }
    }

    async fn post_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        let body = json!({
            "title": new.title, "body": new.body, "head": new.head, "base": new.base, "draft": new.draft,
        });
        let opened = self.call(Request { route: &route(&new.repo, "/pulls")?, body: Some(&body) }).await?;
        pull_request(&opened, true)
            .ok_or_else(|| unusable(true, "its description of the pull request cannot be read"))
    }

    /// A write whose failure is only worth a sentence.
    async fn wish(&self, what: &str, repo: &RepositoryName, rest: &str, body: Value) -> Option<String> {
        let route = match route(repo, rest) {
            Ok(route) => route,
            Err(error) => return Some(format!("{what}: {error}")),
        };
        let outcome = self.call(Request { route: &route, body: Some(&body) }).await;
        outcome.err().map(|failed| format!("{what}: {}", failed.error))
    }
}

impl Forge for GitHub {
    fn repository<'a>(
        &'a self,
        name: &'a RepositoryName,
    ) -> BoxFuture<'a, Result<RepositoryFacts, ForgeError>> {
        Box::pin(self.read_repository(name))
    }

    fn find_pull_request<'a>(
        &'a self,
        repo: &'a RepositoryName,
        head: &'a str,
        base: &'a str,
    ) -> BoxFuture<'a, Result<Option<PullRequest>, ForgeError>> {
        Box::pin(self.read_pull_request(repo, head, base))
    }

    fn open_pull_request<'a>(
        &'a self,
        new: &'a NewPullRequest,
    ) -> BoxFuture<'a, Result<PullRequest, ForgeError>> {
        Box::pin(self.post_pull_request(new))
    }

    fn add_labels<'a>(
        &'a self,
        repo: &'a RepositoryName,
        number: u64,
        labels: &'a [String],
    ) -> BoxFuture<'a, Option<String>> {
        let body = json!({ "labels": labels });
        Box::pin(async move {
            self.wish("labels were not added", repo, &format!("/issues/{number}/labels"), body).await
        })
    }

    fn request_reviewers<'a>(
        &'a self,
        repo: &'a RepositoryName,
        number: u64,
        reviewers: &'a [String],
    ) -> BoxFuture<'a, Option<String>> {
        let (teams, users): (Vec<&String>, Vec<&String>) =
            reviewers.iter().partition(|name| name.contains('/'));
        let slugs: Vec<&str> = teams.iter().filter_map(|team| team.rsplit('/').next()).collect();
        let body = json!({ "reviewers": users, "team_reviewers": slugs });
        Box::pin(async move {
            let rest = format!("/pulls/{number}/requested_reviewers");
            self.wish("reviewers were not asked", repo, &rest, body).await
        })
    }

    fn git_credential<'a>(
        &'a self,
        _repo: &'a RepositoryName,
    ) -> BoxFuture<'a, Result<Option<SecretString>, ForgeError>> {
        Box::pin(async move {
            match &self.credential {
                Credential::None => Ok(None),
                Credential::Token { token, .. } => Ok(Some(token.clone())),
                Credential::App { .. } => self.installation_token().await.map(Some),
            }
        })
    }
}

impl From<ForgeError> for Failed {
    fn from(error: ForgeError) -> Self {
        Self { error, location: None }
    }
}

impl From<Failed> for ForgeError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Request<'_> {
    fn is_write(&self) -> bool {
        self.body.is_some()
    }
}

/// octocrab assembled without its retry layer (it resends lost writes) and its logging of failures as errors.
fn octocrab(base: &Url, http: &reqwest::Client, auth: AuthState) -> Result<Octocrab, ForgeError> {
    let base = base.as_str().parse().map_err(|_| setup("the API URL is malformed"))?;
    let accept = (ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
    let built = OctocrabBuilder::new_empty()
        .with_service(ReqwestConnector::new(http.clone()))
        .with_layer(&ExtraHeadersLayer::new(vec![accept].into()))
        .with_layer(&BaseUriLayer::new(base))
        .with_auth(auth)
        .build();
    built.map_err(|never| match never {})
}

async fn send(client: &Octocrab, request: Request<'_>) -> Result<Answer, ForgeError> {
    let is_write = request.is_write();
    let sent = match request.body {
        Some(body) => client._post(request.route, Some(body)).await,
        None => client._get(request.route).await,
    };
    let response = sent.map_err(|error| not_sent(&error, is_write))?;
    let mut response = reqwest::Response::from(response.map(reqwest::Body::wrap));
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| unusable(is_write, "its answer broke off"))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(unusable(is_write, "its answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body })
}

/// Without a connection nothing can have happened; after that, anything can.
fn not_sent(error: &octocrab::Error, is_write: bool) -> ForgeError {
    if let octocrab::Error::JWT { .. } = error {
        return setup("the app's private key cannot sign");
    }
    let mut cause: &dyn std::error::Error = error;
    let mut connected = true;
    loop {
        if let Some(transport) = cause.downcast_ref::<reqwest::Error>() {
            connected &= !transport.is_connect();
        }
        match cause.source() {
            Some(inner) => cause = inner,
            None => break,
        }
    }
    ForgeError::Unavailable { unclear: is_write && connected, text: plain(&cause.to_string()) }
}

/// The route of a repository. Names that would change the path are names of nothing.
fn route(name: &RepositoryName, rest: &str) -> Result<String, ForgeError> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part.bytes().any(|byte| byte != b'.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if is_plain(&name.org) && is_plain(&name.repo) {
        Ok(format!("/repos/{name}{rest}"))
    } else {
        Err(ForgeError::NotFound)
    }
}

fn pull_request(value: &Value, created: bool) -> Option<PullRequest> {
    Some(PullRequest {
        number: value["number"].as_u64()?,
        url: value["html_url"].as_str()?.to_owned(),
        head_sha: value["head"]["sha"].as_str()?.to_owned(),
        draft: value["draft"].as_bool().unwrap_or(false),
        created,
    })
}

/// A forge that echoes the credential must not get it into our records.
fn redact(error: ForgeError, secret: Option<&SecretString>) -> ForgeError {
    let clean =
        |text: String| match secret.map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty()) {
            Some(secret) => text.replace(secret, "[redacted]"),
            None => text,
        };
    match error {
        ForgeError::Forbidden { text } => ForgeError::Forbidden { text: clean(text) },
        ForgeError::Refused { refusal, text } => ForgeError::Refused { refusal, text: clean(text) },
        other => other,
    }
}

fn setup(text: &str) -> ForgeError {
    ForgeError::Setup { text: text.to_owned() }
}
