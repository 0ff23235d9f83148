//! What the use cases need to know of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, SignatureStyle};
use crate::domain::agent_kind::AgentKind;
use crate::domain::options::RunOptions;
use crate::domain::profile::Profile;
use crate::isolation::Sandbox;
use crate::notify::Targets;
use crate::webhook::{AllowEntry, Policy, SigningSecrets, Style};

#[derive(Clone, Debug)]
pub struct Settings {
    /// `[defaults]`.
    pub defaults: RunOptions,
    /// The `[agents.<name>]` entries.
    pub agents: BTreeMap<String, AgentKind>,
    /// The `[profiles.<name>]` entries.
    pub profiles: BTreeMap<String, Profile>,
    /// The names of the `[secrets]`.
    pub secrets: BTreeSet<String>,
    /// Empty: every organisation.
    pub allowed_orgs: Vec<String>,
    /// Globs; `*` stands for any run of characters.
    pub protected_branches: Vec<String>,
    /// Whether there is a forge that opens pull requests for us.
    pub opens_pull_requests: bool,
    /// Who may be called back.
    pub callbacks: Policy,
    /// What callbacks are signed with; `None`: they go out unsigned.
    pub signing: Option<SigningSecrets>,
    pub data_dir: PathBuf,
    pub repos_dir: PathBuf,
    /// Sockets of running steps.
    pub run_dir: PathBuf,
    /// No job starts with less free disk than this.
    pub disk_free_bytes_min: u64,
    pub max_concurrent_jobs: u32,
    /// What the programs of jobs may run in.
    pub sandbox: Arc<Sandbox>,
    /// Whether they run nowhere else, whatever their options say.
    pub always_sandboxed: bool,
    /// Who is told what becomes of jobs.
    pub targets: Targets,
}

impl Settings {
    /// `listeners` as they were bound.
    #[must_use]
    pub fn from_config(config: &Config, opens_pull_requests: bool, listeners: Vec<SocketAddr>) -> Self {
        let agents = config.agents.iter().map(|(name, entry)| (name.clone(), entry.kind));
        Self {
            defaults: config.defaults.clone(),
            agents: agents.collect(),
            profiles: config.profiles.clone(),
            secrets: config.secrets.keys().cloned().collect(),
            allowed_orgs: config.github.allowed_orgs.clone(),
            protected_branches: config.git.protected_branches.clone(),
            opens_pull_requests,
            callbacks: callback_policy(config, &[], &listeners),
            signing: signing(config),
            data_dir: config.paths.data_dir.clone(),
            repos_dir: config.paths.repos_dir.clone(),
            run_dir: config.paths.run_dir(),
            disk_free_bytes_min: config.limits.disk_free_bytes_min,
            max_concurrent_jobs: config.server.max_concurrent_jobs,
            sandbox: Arc::default(),
            always_sandboxed: config.sandbox.always,
            targets: Targets::default(),
        }
    }

    /// With the sandbox that the workers use.
    #[must_use]
    pub fn with_sandbox(self, sandbox: Arc<Sandbox>) -> Self {
        Self { sandbox, ..self }
    }
}

/// Who may be called: what the owner allows for callbacks, and `further`. `listeners` as they were bound.
#[must_use]
pub fn callback_policy(config: &Config, further: &[AllowEntry], listeners: &[SocketAddr]) -> Policy {
    Policy {
        allow: config.callbacks.allow.iter().chain(further).cloned().collect(),
        tailnet: config.callbacks.tailnet,
        own_listeners: listeners.to_vec(),
    }
}

fn signing(config: &Config) -> Option<SigningSecrets> {
    let style = match config.callbacks.signature_style {
        SignatureStyle::Hex => Style::Hex,
        SignatureStyle::Prefixed => Style::Prefixed,
    };
    let secret = config.callbacks.secret.clone()?;
    SigningSecrets::new(secret, config.callbacks.previous_secret.as_ref(), style)
        .inspect_err(
            |error| tracing::error!(%error, "callbacks.secret cannot be used: callbacks go out unsigned"),
        )
        .ok()
}
