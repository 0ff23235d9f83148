//! The only place that reads the environment, and the list of every variable that means something.
//!
//! | variable | what it says |
//! |---|---|
//! | `AGENT_API_SECRET` | `server.secret` |
//! | `PORT` | `server.port` |
//! | `MAX_CONCURRENT_JOBS` | `server.max_concurrent_jobs` |
//! | `REPOS_DIR`, `WORKTREES_DIR` | `paths.repos_dir`, `paths.worktrees_dir` |
//! | `WEBHOOK_SECRET` | `callbacks.secret` |
//! | `GITHUB_TOKEN` | `github.token` |
//! | `LOG_LEVEL` | `log.level` |
//! | `HOME` | the home directory, from which the directories follow by the platform's convention |
//! | `OFFSHOOT_CONFIG` | the configuration file |
//! | `OFFSHOOT_URL`, `OFFSHOOT_TOKEN` | for the command line: the server and the token to use |
//! | `OFFSHOOT_<SECTION>_<KEY>` | any key: `OFFSHOOT_SERVER_PORT`, `OFFSHOOT_AGENTS_CLAUDE_COMMAND`; lists and maps as JSON, lists also separated by commas |
//! | `CREDENTIALS_DIRECTORY` | set by systemd: files named `server.secret`, `callbacks.secret`, `github.token` and so on |
//!
//! A name of the first group beats its `OFFSHOOT_` twin. An empty variable means: not set.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

use super::error::{Problem, Warning};
use super::file::from_text;
use super::keys::{self, Key};
use super::paths::PlatformDirs;
use super::values::{Origin, Values};
use crate::domain::options::may_reach_agent;

/// Names that callers and service files have relied on from the first version.
pub(super) const FROZEN: &[(&str, &str)] = &[
    ("AGENT_API_SECRET", "server.secret"),
    ("PORT", "server.port"),
    ("MAX_CONCURRENT_JOBS", "server.max_concurrent_jobs"),
    ("REPOS_DIR", "paths.repos_dir"),
    ("WORKTREES_DIR", "paths.worktrees_dir"),
    ("WEBHOOK_SECRET", "callbacks.secret"),
    ("GITHUB_TOKEN", "github.token"),
    ("LOG_LEVEL", "log.level"),
];

/// Variables of ours that are no keys: the command line's, the mark of supervised steps, and the test rig's.
const NO_KEYS: &[&str] =
    &["OFFSHOOT_CONFIG", "OFFSHOOT_URL", "OFFSHOOT_TOKEN", "OFFSHOOT_STEP", "OFFSHOOT_RIG"];

/// What every child may see: who the user is, where programs and temporary files are, language, time zone, and how to
/// reach the network.
const HARMLESS: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// What git needs besides to use the owner's keys and credential helpers.
const FOR_GIT: &[&str] = &[
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
];

/// What agents need besides to find their own settings and caches.
const FOR_AGENTS: &[&str] = &[
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "GOPATH",
    "JAVA_HOME",
    "NVM_DIR",
    "PNPM_HOME",
    "VOLTA_HOME",
];

/// What a program needs besides to reach the desktop.
const FOR_NOTICES: &[&str] = &[
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// A snapshot of the environment. The process takes one at start; tests make their own.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    dirs: Option<PlatformDirs>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    pub fn capture() -> Self {
        Self { variables: std::env::vars_os().collect(), dirs: PlatformDirs::of_this_user() }
    }

    /// An environment of one's own. `HOME`, when given, decides the directories.
    pub fn from_pairs<N: Into<OsString>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let variables: BTreeMap<OsString, OsString> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let dirs = variables.get(OsStr::new("HOME")).map(|home| PlatformDirs::below(&PathBuf::from(home)));
        Self { variables, dirs }
    }

    /// The value of `name`, unless it is absent or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The directories of this platform; `None` without a home directory.
    #[must_use]
    pub fn dirs(&self) -> Option<&PlatformDirs> {
        self.dirs.as_ref()
    }

    /// The server that the command line should speak to: `OFFSHOOT_URL`.
    #[must_use]
    pub fn server_url(&self) -> Option<String> {
        self.get("OFFSHOOT_URL")?.to_str().map(str::to_owned)
    }

    /// The token that the command line should use: `OFFSHOOT_TOKEN`.
    #[must_use]
    pub fn client_token(&self) -> Option<SecretString> {
        self.get("OFFSHOOT_TOKEN")?.to_str().map(SecretString::from)
    }

    /// The whole environment of a git process that speaks to a remote or a credential helper.
    #[must_use]
    pub fn for_git(&self) -> BTreeMap<OsString, OsString> {
        self.only(|name| is_harmless(name) || FOR_GIT.contains(&name))
    }

    /// The whole environment of an agent: the harmless part, and what `names` asks for unless it is withheld from
    /// agents in any case (our own secrets; the ways to start services outside of our reach).
    #[must_use]
    pub fn for_agent(&self, names: &[String]) -> BTreeMap<OsString, OsString> {
        self.only(|name| {
            is_harmless(name)
                || FOR_AGENTS.contains(&name)
                || (may_reach_agent(name) && names.iter().any(|wanted| wanted == name))
        })
    }

    /// The whole environment of a program that tells people something: the harmless part, and where their desktop is.
    #[must_use]
    pub fn for_notices(&self) -> BTreeMap<OsString, OsString> {
        self.only(|name| is_harmless(name) || FOR_NOTICES.contains(&name))
    }

    /// Everything that an entry or a job could ask for by name: all that is not withheld from agents in any case.
    #[must_use]
    pub fn for_agents_to_pick_from(&self) -> BTreeMap<OsString, OsString> {
        self.only(|name| may_reach_agent(name))
    }

    fn only(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<OsString, OsString> {
        let wanted = |name: &OsStr| name.to_str().is_some_and(&wanted);
        self.variables
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Takes every variable that names a key into `values`, frozen names last.
    pub(super) fn read(&self, values: &mut Values, warnings: &mut Vec<Warning>) {
        for name in self.variables.keys().filter_map(|name| name.to_str()) {
            let Some(rest) = name.strip_prefix("OFFSHOOT_").filter(|_| self.get(name).is_some()) else {
                continue;
            };
            match key_named(rest) {
                Some((path, key)) => self.take(name, &path, key, values),
                None if NO_KEYS.contains(&name) => {}
                None => report_unknown(name, rest, values, warnings),
            }
        }
        for &(name, path) in FROZEN {
            if let Some(key) = keys::find(path).filter(|_| self.get(name).is_some()) {
                self.take(name, path, key, values);
            }
        }
    }

    fn take(&self, name: &str, path: &str, key: &'static Key, values: &mut Values) {
        let text = self.variables.get(OsStr::new(name)).map(|value| value.to_str());
        let value = match text {
            Some(Some(text)) => from_text(key.kind, text),
            _ => Err("must be UTF-8".to_owned()),
        };
        let origin = Origin::Environment(name.to_owned());
        match value {
            Ok(value) => values.set(path, key, value, origin),
            Err(rule) => values.problems.push(Problem::new(path, rule).from(origin)),
        }
    }
}

impl fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name) || name.starts_with("LC_")
}

/// The key that `OFFSHOOT_<rest>` names. A name of the owner's choice is written in capitals and cannot have a hyphen.
fn key_named(rest: &str) -> Option<(String, &'static Key)> {
    let upper = |text: &str| text.to_ascii_uppercase();
    let fixed = keys::all().filter(|key| !key.is_named());
    for key in fixed {
        if rest.strip_prefix(&upper(key.section)).and_then(|rest| rest.strip_prefix('_'))
            == Some(&upper(key.name))
        {
            return Some((key.path(), key));
        }
    }
    if let Some(name) = rest.strip_prefix("SECRETS_").filter(|name| !name.is_empty()) {
        let path = format!("secrets.{}", name.to_ascii_lowercase());
        return keys::find(&path).map(|key| (path, key));
    }
    let (top, rest) = rest.split_once('_')?;
    let top = top.to_ascii_lowercase();
    // The longest key wins: AGENTS_X_SET_ENV is set_env of x, not env of x_set.
    rest.match_indices('_').find_map(|(at, _)| {
        let path =
            format!("{top}.{}.{}", rest[..at].to_ascii_lowercase(), rest[at + 1..].to_ascii_lowercase());
        keys::find(&path).filter(|_| at > 0).map(|key| (path, key))
    })
}

/// A variable that means to name a key is a fault; any other may belong to a newer version or to somebody's script.
fn report_unknown(name: &str, rest: &str, values: &mut Values, warnings: &mut Vec<Warning>) {
    let (top, key) = rest.split_once('_').unwrap_or((rest, ""));
    let path = format!("{}.{}", top.to_ascii_lowercase(), key.to_ascii_lowercase());
    if keys::is_section(&top.to_ascii_lowercase()) {
        let near = keys::nearest(&path).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        values.problems.push(Problem::new(name, format!("names no known key{near}")));
    } else {
        let text = format!("the variable {name} means nothing to offshoot and is ignored");
        warnings.push(Warning { code: "unknown_variable", text });
    }
}
