//! The sections of the configuration as types, and the rules that concern more than one value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use super::github_app::{GithubApp, github_app};
use super::paths::{PlatformDirs, absolute};
use super::secret;
use super::serving::TOKEN_PLACEHOLDER;
use super::values::Values;
use super::web_url;
use crate::domain::allow::AllowEntry;
use crate::domain::policy::{ChangePolicy, Guard, Guarded};
use crate::domain::retention::Kept;

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    pub bind: IpAddr,
    /// 0: the system chooses.
    pub port: u16,
    /// 1 to 64.
    pub max_concurrent_jobs: u32,
    /// No limit but the one above when `None`.
    pub max_concurrent_per_client: Option<u32>,
    pub queue_max: u32,
    pub token_requests_per_minute: u32,
    /// How long a stop waits for git and forge steps under way.
    pub drain_seconds: u64,
    pub allowed_hosts: Vec<String>,
    /// While jobs run.
    pub keep_awake: bool,
    /// Under which others reach it, without a slash behind it: for links in notices. `None`: nobody but this machine does.
    pub public_url: Option<String>,
    /// The built-in admin token; take it from `Config::admin_secret`, which refuses an absent or weak one.
    pub secret: Option<SecretString>,
}

impl Server {
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }

    /// Where a program on this machine reaches the server: an address that means "everywhere" becomes loopback.
    #[must_use]
    pub fn local_url(&self) -> String {
        local_url(self.address())
    }

    /// Whether a program on this machine that speaks to `url` speaks to this server.
    #[must_use]
    pub fn is_reached_at(&self, url: &Url) -> bool {
        let bind = self.bind.to_canonical();
        let named = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address).to_canonical()),
            Some(Host::Domain("localhost")) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Some(Host::Domain(_)) | None => None,
        };
        let is_here = named.is_some_and(|named| {
            named == bind || (named.is_loopback() && (bind.is_loopback() || bind.is_unspecified()))
        });
        is_here && url.port_or_known_default() == Some(self.port)
    }
}

/// Where a program on this machine reaches a listener at `address`: one that means "everywhere" becomes loopback.
#[must_use]
pub fn local_url(address: SocketAddr) -> String {
    let host = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

/// `[github]`
#[derive(Clone, Debug)]
pub struct Github {
    /// `https://HOST/api/v3` for an Enterprise server, without a slash behind it.
    pub api_url: Url,
    /// With `{org}` and `{repo}` to fill in.
    pub clone_url: String,
    pub token: Option<SecretString>,
    /// In place of a token, never beside one.
    pub app: Option<GithubApp>,
    /// Empty: every organisation.
    pub allowed_orgs: Vec<String>,
}

impl Github {
    /// Whether the token is still the word that `offshoot init` wrote where one is to be put.
    #[must_use]
    pub fn has_placeholder(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.expose_secret() == TOKEN_PLACEHOLDER)
    }
}

/// `[git]`
#[derive(Clone, Debug)]
pub struct Git {
    pub author_name: String,
    pub author_email: String,
    /// Globs.
    pub protected_branches: Vec<String>,
    pub snapshot_days: u64,
}

/// How `X-Agent-Signature` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureStyle {
    Hex,
    /// Hex with `sha256=` before it.
    Prefixed,
}

/// `[callbacks]`
#[derive(Clone, Debug)]
pub struct Callbacks {
    pub secret: Option<SecretString>,
    pub previous_secret: Option<SecretString>,
    pub signature_style: SignatureStyle,
    /// Who may be called back besides public addresses.
    pub allow: Vec<AllowEntry>,
    pub tailnet: bool,
    /// Waits before the second and each further try, seconds.
    pub retry_seconds: Vec<u64>,
    /// 1 to 30.
    pub timeout_seconds: u64,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub step_output_bytes_max: u64,
    pub step_output_bytes_end: u64,
    pub step_processes_max: u64,
    pub step_memory_bytes_max: Option<u64>,
    pub step_open_files_max: u64,
    pub worktree_bytes_max: u64,
    pub worktree_files_max: u64,
    pub artifact_bytes_max: u64,
    pub job_artifacts_bytes_max: u64,
    pub job_artifacts_max: u64,
    pub disk_free_bytes_min: u64,
}

/// `[retention]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub jobs: Kept,
    pub logs: Kept,
    pub artifacts: Kept,
    pub event_days: u64,
    pub audit_days: u64,
    pub worktrees: Kept,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub json: bool,
    /// One of error, warn, info, debug, trace.
    pub level: String,
    /// `None`: to standard error.
    pub file: Option<LogFileSettings>,
}

/// A log file that turns by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFileSettings {
    pub path: PathBuf,
    /// Of each file.
    pub bytes_max: u64,
    /// The one that is written to among them.
    pub files_max: u32,
}

impl LogFileSettings {
    /// The file that was turned so many times, from 1 on.
    #[must_use]
    pub fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Where all that is logged lies: the directory, where it is this program's own by its name, else each file.
    #[must_use]
    pub fn places(&self) -> Vec<PathBuf> {
        match self.path.parent() {
            Some(dir) if dir.ends_with("offshoot") => vec![dir.to_owned()],
            _ => {
                (1..=self.files_max).map(|number| self.numbered(number)).chain([self.path.clone()]).collect()
            }
        }
    }
}

pub(super) fn server(values: &mut Values, dirs: Option<&PlatformDirs>) -> Server {
    let bind = values.text("server.bind").unwrap_or_default();
    let bind = if bind == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { bind.parse().ok() };
    if bind.is_none() {
        values.problem("server.bind", "must be an IP address, such as 127.0.0.1, ::1 or 0.0.0.0");
    }
    for host in values.texts("server.allowed_hosts").unwrap_or_default() {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
        if host.is_empty() || !host.bytes().all(allowed) {
            values.problem(
                "server.allowed_hosts",
                "must hold host names or addresses, with a port where it is not the usual one",
            );
        }
    }
    Server {
        bind: bind.unwrap_or(IpAddr::from([127, 0, 0, 1])),
        port: values.small("server.port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
        max_concurrent_jobs: values.small("server.max_concurrent_jobs").unwrap_or_default(),
        max_concurrent_per_client: values.small("server.max_concurrent_per_client"),
        queue_max: values.small("server.queue_max").unwrap_or_default(),
        token_requests_per_minute: values.small("server.token_requests_per_minute").unwrap_or_default(),
        drain_seconds: values.integer("server.drain_seconds").unwrap_or_default(),
        allowed_hosts: values.texts("server.allowed_hosts").unwrap_or_default(),
        keep_awake: values.bool("server.keep_awake").unwrap_or_default(),
        public_url: public_url(values),
        secret: sendable(secret::take(values, "server.secret", dirs), values),
    }
}

/// As it was read, not as it was written: what stands before every link has one spelling, in ASCII and on one line.
fn public_url(values: &mut Values) -> Option<String> {
    let text = values.text("server.public_url")?;
    let Some(url) = web_url::parse(&text).filter(|url| url.query().is_none()) else {
        values.problem(
            "server.public_url",
            "must be an http or https URL without user name, query or fragment",
        );
        return None;
    };
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// A token travels in a header: spaces and control characters would be lost or refused on the way (RFC 6750, 2.1).
fn sendable(secret: Option<SecretString>, values: &mut Values) -> Option<SecretString> {
    let secret = secret?;
    if !secret.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        values.problem(&secret::said_by(values, "server.secret"), "must be printable ASCII without spaces");
        return None;
    }
    Some(secret)
}

pub(super) fn github(values: &mut Values, dirs: Option<&PlatformDirs>) -> Option<Github> {
    let text = values.text("github.api_url").unwrap_or_default();
    let api_url = web_url::parse(text.trim_end_matches('/'));
    if api_url.is_none() {
        values.problem("github.api_url", "must be an http or https URL without a user name or a fragment");
    }
    let clone_url = values.text("github.clone_url").unwrap_or_default();
    if let Some(rule) = broken_clone_url(&clone_url) {
        values.problem("github.clone_url", rule);
    }
    let token = secret::take(values, "github.token", dirs);
    if token.as_ref().is_some_and(|token| !token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()))
    {
        values.problem(&secret::said_by(values, "github.token"), "must be printable ASCII without spaces");
    }
    let app = github_app(values, dirs);
    let allowed_orgs = values.texts("github.allowed_orgs").unwrap_or_default();
    Some(Github { api_url: api_url?, clone_url, token, app, allowed_orgs })
}

/// Only transports that run nothing on this machine: git's `ext::` and other helpers are not among them.
fn broken_clone_url(url: &str) -> Option<&'static str> {
    if !url.contains("{org}") || !url.contains("{repo}") {
        return Some("must contain {org} and {repo}");
    }
    let transports = ["https://", "http://", "ssh://", "file:///", "/"];
    let scp_like = url.split_once(':').is_some_and(|(host, path)| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'-' | b'_');
        !host.is_empty() && !host.starts_with('-') && host.bytes().all(plain) && !path.starts_with([':', '/'])
    });
    let has_password = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next()?.split_once('@'))
        .is_some_and(|(user, _)| user.contains(':') || url.starts_with("http"));
    match () {
        () if has_password => Some("must not contain a user name or token: set github.token instead"),
        () if transports.iter().any(|start| url.starts_with(start)) || scp_like => None,
        () => Some("must be an https, http, ssh or file URL, user@host:path, or an absolute path"),
    }
}

pub(super) fn git(values: &mut Values) -> Git {
    for key in ["git.author_name", "git.author_email"] {
        let text = values.text(key).unwrap_or_default();
        if text.trim().is_empty() || text.contains(['<', '>', '\n']) {
            values.problem(key, "must be one line that is not empty, without < and >");
        }
    }
    Git {
        author_name: values.text("git.author_name").unwrap_or_default(),
        author_email: values.text("git.author_email").unwrap_or_default(),
        protected_branches: values.texts("git.protected_branches").unwrap_or_default(),
        snapshot_days: values.integer("git.snapshot_days").unwrap_or_default(),
    }
}

pub(super) fn policy(values: &Values) -> ChangePolicy {
    let usual = ChangePolicy::default();
    let guard = |kind: Guarded, usual: Guard| {
        let text = values.text(&format!("policy.{kind}"));
        text.and_then(|text| Guard::parse(&text)).unwrap_or(usual)
    };
    ChangePolicy {
        gitmodules: guard(Guarded::Gitmodules, usual.gitmodules),
        workflows: guard(Guarded::Workflows, usual.workflows),
        agent_config: guard(Guarded::AgentConfig, usual.agent_config),
        secrets: guard(Guarded::Secrets, usual.secrets),
    }
}

pub(super) fn callbacks(values: &mut Values, dirs: Option<&PlatformDirs>) -> Callbacks {
    let secret = secret::take(values, "callbacks.secret", dirs);
    let previous_secret = values.text("callbacks.previous_secret").map(SecretString::from);
    if previous_secret.is_some() && secret.is_none() {
        values.problem("callbacks.previous_secret", "needs callbacks.secret beside it");
    }
    let prefixed = values.text("callbacks.signature_style").is_some_and(|style| style == "sha256=");
    Callbacks {
        secret,
        previous_secret,
        signature_style: if prefixed { SignatureStyle::Prefixed } else { SignatureStyle::Hex },
        allow: values.exceptions("callbacks.allow"),
        tailnet: values.bool("callbacks.tailnet").unwrap_or_default(),
        retry_seconds: values.integers("callbacks.retry_seconds").unwrap_or_default(),
        timeout_seconds: values.integer("callbacks.timeout_seconds").unwrap_or_default(),
    }
}

pub(super) fn limits(values: &Values) -> Limits {
    let number = |key: &str| values.integer(key).unwrap_or_default();
    Limits {
        step_output_bytes_max: number("limits.step_output_bytes_max"),
        step_output_bytes_end: number("limits.step_output_bytes_end"),
        step_processes_max: number("limits.step_processes_max"),
        step_memory_bytes_max: values.integer("limits.step_memory_bytes_max"),
        step_open_files_max: number("limits.step_open_files_max"),
        worktree_bytes_max: number("limits.worktree_bytes_max"),
        worktree_files_max: number("limits.worktree_files_max"),
        artifact_bytes_max: number("limits.artifact_bytes_max"),
        job_artifacts_bytes_max: number("limits.job_artifacts_bytes_max"),
        job_artifacts_max: number("limits.job_artifacts_max"),
        disk_free_bytes_min: number("limits.disk_free_bytes_min"),
    }
}

pub(super) fn retention(values: &Values) -> Retention {
    let kept = |key: &'static str| Kept {
        key,
        days: values.integer(&format!("retention.{key}")).unwrap_or_default(),
        failed: values.integer(&format!("retention.failed_{key}")),
        cancelled: values.integer(&format!("retention.cancelled_{key}")),
    };
    Retention {
        jobs: kept("job_days"),
        logs: kept("log_days"),
        artifacts: kept("artifact_days"),
        event_days: values.integer("retention.event_days").unwrap_or_default(),
        audit_days: values.integer("retention.audit_days").unwrap_or_default(),
        worktrees: kept("worktree_days"),
    }
}

pub(super) fn log(values: &mut Values, dirs: Option<&PlatformDirs>) -> LogSettings {
    LogSettings {
        json: values.text("log.format").is_some_and(|format| format == "json"),
        level: values.text("log.level").unwrap_or_default(),
        file: absolute(values, "log.file", dirs).map(|path| LogFileSettings {
            path,
            bytes_max: values.integer("log.file_bytes_max").unwrap_or_default(),
            files_max: values.small("log.files_max").unwrap_or_default(),
        }),
    }
}
