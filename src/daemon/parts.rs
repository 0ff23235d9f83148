//! From the configuration to the parts: the only place that knows all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::StartError;
use super::held::held;
use crate::app::{self, Examine};
use crate::awake::{self, Keeper};
use crate::background::{AgentProgram, DelivererSettings};
use crate::clock::Clock;
use crate::config::{Config, Environment, GithubApp, LogFileSettings};
use crate::doctor::{Patient, ServerLook, examine_server};
use crate::domain::notice::Subscription;
use crate::forge::{Forge, GitHub, GitHubAuth, HttpLimits, gh_token, http_client};
use crate::git::{Author, KeepCaps, SizeCaps};
use crate::isolation::{Bind, Sandbox};
use crate::notify::{Target, Targets};
use crate::process::{ScopeLimits, ScopeUse};
use crate::secrets::{Known, Scanner};
use crate::store::Limits;
use crate::upkeep::UpkeepSettings;
use crate::webhook::schedule::Schedule;
use crate::webhook::{SendLimits, Sender};
use crate::worker::{AgentEntry, IsolationSettings, StepLimits, WorkerSettings, find_program};

/// Somebody waits before a page; all checks together take a second or two where nothing hangs.
const EXAMINED_WITHIN: Duration = Duration::from_secs(20);
/// Between interrupt, terminate and kill of a step.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// GitHub refuses files of more than 100 MiB.
const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// All names of the files that a job keeps: a page of 200 jobs tells them all, and stays below 13 MiB.
const ARTIFACT_PATHS_BYTES_MAX: usize = 64 * 1024;
/// A million names and a hundred of the worst globs take less on a slow disk, and nothing else of the job goes on meanwhile.
const ARTIFACT_LOOKING_MS_MAX: i64 = 60_000;

/// Parts that somebody brings along instead of the configured ones.
#[derive(Default)]
pub struct Override {
    pub forge: Option<Arc<dyn Forge>>,
    /// Bound already.
    pub listener: Option<TcpListener>,
    /// Name of a file system layer that is registered with SQLite.
    pub vfs: Option<String>,
}

pub(super) fn store_limits(config: &Config) -> Limits {
    Limits {
        running_max: config.server.max_concurrent_jobs,
        running_per_client_max: config.server.max_concurrent_per_client,
        queued_max: config.server.queue_max,
        disk_free_bytes_min: config.limits.disk_free_bytes_min,
    }
}

/// Where jobs need room, besides the data directory.
pub(super) fn places(config: &Config) -> Vec<PathBuf> {
    vec![config.paths.repos_dir.clone(), config.paths.worktrees_dir.clone()]
}

/// The App or the token that is configured, or the token of the `gh` program where there is neither.
pub(super) async fn forge_auth(config: &Config, env: &Environment) -> GitHubAuth {
    if let Some(app) = &config.github.app {
        let GithubApp { id, key, installation_id } = app.clone();
        return GitHubAuth::App { app_id: id, private_key_pem: key, installation_id };
    }
    let token = match &config.github.token {
        Some(token) => Some(token.clone()),
        None => gh_token(&config.github.api_url, &env.for_git()).await,
    };
    token.map_or(GitHubAuth::Anonymous, GitHubAuth::Token)
}

/// GitHub, where there is a credential for it.
pub(super) fn forge(
    config: &Config,
    auth: &GitHubAuth,
    clock: &Clock,
) -> Result<Option<Arc<dyn Forge>>, StartError> {
    if matches!(auth, GitHubAuth::Anonymous) {
        return Ok(None);
    }
    let client = http_client(&HttpLimits::default())?;
    let github = GitHub::new(config.github.api_url.as_str(), auth, &client, clock.clone())?;
    Ok(Some(Arc::new(github)))
}

/// Looks at this machine with the eyes of the server: its environment, its configuration, what it says of itself.
pub(super) fn doctor(config: &Config, env: &Environment, clock: &Clock) -> Arc<Examine> {
    let (config, env, clock) = (config.clone(), env.clone(), clock.clone());
    Arc::new(move |health, clients| {
        let (config, env, clock) = (config.clone(), env.clone(), clock.clone());
        Box::pin(async move {
            let url = config.server.local_url();
            let patient = Patient {
                // the last one, behind the files of the secrets
                config_file: config.private_files.last().cloned(),
                config: Ok(config),
                server: ServerLook::Answers { url, own: true, health: Box::new(health), clients },
                within: Some(EXAMINED_WITHIN),
                // whoever installed it knows of it
                service: None,
                env: &env,
                clock,
                online: false,
            };
            examine_server(&patient).await
        })
    })
}

/// What keeps the machine awake; `None`: nothing of this system does.
pub(super) fn keeper(env: &Environment) -> Option<Keeper> {
    let program = find_program(awake::PROGRAM, env.get("PATH").unwrap_or_default())?;
    Some(Keeper::new(program, env.for_notices()))
}

pub(super) fn scopes(config: &Config, env: &Environment) -> ScopeUse {
    let names = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
    let environment: BTreeMap<String, String> = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), env.get(name)?.to_str()?.to_owned())))
        .collect();
    if environment.is_empty() {
        return ScopeUse::Never;
    }
    let limits = ScopeLimits {
        processes_max: Some(config.limits.step_processes_max),
        memory_bytes_max: config.limits.step_memory_bytes_max,
    };
    ScopeUse::WhereAnswered { environment, limits }
}

pub(super) fn worker_settings(config: &Config, env: &Environment, scanner: Scanner) -> WorkerSettings {
    WorkerSettings {
        repos_dir: config.paths.repos_dir.clone(),
        worktrees_dir: config.paths.worktrees_dir.clone(),
        files_dir: config.paths.files_dir.clone(),
        data_dir: config.paths.data_dir.clone(),
        run_dir: config.paths.run_dir(),
        author: Author { name: config.git.author_name.clone(), email: config.git.author_email.clone() },
        protected_branches: config.git.protected_branches.clone(),
        policy: config.policy,
        scanner: Arc::new(scanner),
        environment: env.for_agents_to_pick_from(),
        agents: entries(config),
        secrets: config.secrets.clone(),
        defaults: config.defaults.clone(),
        step_limits: step_limits(config),
        stop_grace: STOP_GRACE,
        worktree_kept: config.retention.worktrees,
        artifact_caps: artifact_caps(config),
        file_bytes_max: FILE_BYTES_MAX,
        as_root: nix::unistd::geteuid().is_root(),
        isolation: isolation(config, env),
    }
}

/// What is the server's own is hidden whole; what of it a step needs is shown again, one by one.
fn isolation(config: &Config, env: &Environment) -> IsolationSettings {
    let (paths, sandbox) = (&config.paths, &config.sandbox);
    let own = [&paths.data_dir, &paths.repos_dir, &paths.worktrees_dir, &paths.files_dir];
    let logs = config.log.file.iter().flat_map(LogFileSettings::places);
    let hidden = own.into_iter().chain(&config.private_files).chain(&sandbox.hide).cloned().chain(logs);
    let read = sandbox.read.iter().map(Bind::readable);
    IsolationSettings {
        sandbox: Arc::new(Sandbox::new(env.get("PATH").unwrap_or_default().to_owned())),
        hidden: hidden.collect(),
        lent: read.chain(sandbox.write.iter().map(Bind::writable)).collect(),
        denies_network: !sandbox.network,
        always: sandbox.always,
        run_outside: run_outside(config),
    }
}

/// This program, and those that tell people.
fn run_outside(config: &Config) -> Vec<String> {
    let own = std::env::current_exe().ok().and_then(|path| path.to_str().map(str::to_owned));
    let told = config.notify.values().flat_map(|entry| entry.command.iter().cloned());
    own.into_iter().chain(told).collect()
}

/// Finds what looks like a secret, and every one that this server holds.
pub(super) fn scanner(config: &Config, env: &Environment, auth: &GitHubAuth) -> Result<Scanner, StartError> {
    let held = held(config, env, auth);
    let known = Known::new(held.iter().map(|(name, value)| (name.clone(), value)));
    Ok(Scanner::new(known, config.admin_secret()?.clone()))
}

fn step_limits(config: &Config) -> StepLimits {
    let limits = &config.limits;
    StepLimits {
        output_bytes_kept: limits.step_output_bytes_max,
        output_bytes_end: limits.step_output_bytes_end,
        open_files_max: limits.step_open_files_max,
        processes_max: limits.step_processes_max,
        memory_bytes_max: limits.step_memory_bytes_max,
        worktree: SizeCaps { bytes_max: limits.worktree_bytes_max, files_max: limits.worktree_files_max },
    }
}

fn artifact_caps(config: &Config) -> KeepCaps {
    let limits = &config.limits;
    KeepCaps {
        file_bytes_max: limits.artifact_bytes_max,
        bytes_max: limits.job_artifacts_bytes_max,
        files_max: limits.job_artifacts_max,
        paths_bytes_max: ARTIFACT_PATHS_BYTES_MAX,
        looking_ms_max: ARTIFACT_LOOKING_MS_MAX,
    }
}

fn entries(config: &Config) -> BTreeMap<String, AgentEntry> {
    let entry = |entry: &crate::config::AgentEntry| {
        let program = entry.command.clone()?;
        Some(AgentEntry {
            kind: entry.kind,
            command: std::iter::once(program).chain(entry.args.iter().cloned()).collect(),
            env: entry.env.clone(),
            set_env: entry.set_env.clone(),
        })
    };
    config.agents.iter().filter_map(|(name, one)| Some((name.clone(), entry(one)?))).collect()
}

pub(super) fn programs(settings: &WorkerSettings, env: &Environment) -> Vec<AgentProgram> {
    settings
        .agents
        .iter()
        .map(|(name, entry)| {
            let mut environment = env.for_agent(&entry.env);
            for (variable, value) in &entry.set_env {
                environment.insert(variable.into(), secrecy::ExposeSecret::expose_secret(value).into());
            }
            AgentProgram { name: name.clone(), kind: entry.kind, command: entry.command.clone(), environment }
        })
        .collect()
}

/// Who wishes to hear of what.
pub(super) fn subscriptions(config: &Config) -> Vec<Subscription> {
    let of = |(name, entry): (&String, &crate::config::NotifyEntry)| Subscription {
        name: name.clone(),
        on: entry.on.clone(),
    };
    config.notify.iter().map(of).collect()
}

/// Who is told what becomes of jobs. Each target has the policy of callbacks, and what its owner allows for it alone; `listeners` as
/// they were bound.
pub(super) fn targets(config: &Config, env: &Environment, listeners: &[SocketAddr]) -> Targets {
    let target = |entry: &crate::config::NotifyEntry| Target {
        way: entry.way,
        url: entry.url.clone(),
        token: entry.token.clone(),
        sender: Sender::new(app::callback_policy(config, &entry.allow, listeners), send_limits(config)),
        command: entry.command.clone(),
        on: entry.on.clone(),
    };
    let all = config.notify.iter().map(|(name, entry)| (name.clone(), target(entry))).collect();
    let here = listeners.first().map(|address| crate::config::local_url(*address)).unwrap_or_default();
    Targets::new(all, env.for_notices(), config.server.public_url.as_ref().unwrap_or(&here))
}

pub(super) fn deliverer_settings(config: &Config, app: &app::Settings) -> DelivererSettings {
    let sender = Sender::new(app.callbacks.clone(), send_limits(config));
    DelivererSettings { sender, secrets: app.signing.clone() }
}

fn send_limits(config: &Config) -> SendLimits {
    let usual = SendLimits::default();
    let whole = Duration::from_secs(config.callbacks.timeout_seconds);
    SendLimits { connect: usual.connect.min(whole), whole }
}

pub(super) fn callback_schedule(config: &Config) -> Schedule {
    Schedule::after(config.callbacks.retry_seconds.iter().map(|seconds| Duration::from_secs(*seconds)))
}

pub(super) fn upkeep_settings(config: &Config) -> UpkeepSettings {
    UpkeepSettings {
        repos_dir: config.paths.repos_dir.clone(),
        worktrees_dir: config.paths.worktrees_dir.clone(),
        jobs: config.retention.jobs,
        logs: config.retention.logs,
        artifacts: config.retention.artifacts,
        worktrees: config.retention.worktrees,
        events: days(config.retention.event_days),
        audit: days(config.retention.audit_days),
        snapshots: days(config.git.snapshot_days),
        disk_free_bytes_min: config.limits.disk_free_bytes_min,
    }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3_600)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::Flags;

    fn hidden(log: &str) -> Vec<PathBuf> {
        let pairs = [("HOME", "/h"), ("OFFSHOOT_LOG_FILE", log), ("OFFSHOOT_LOG_FILES_MAX", "3")];
        let env =
            Environment::from_pairs(pairs.map(|(name, value)| (OsString::from(name), OsString::from(value))));
        let config = Config::load(&Flags::default(), &env, None).unwrap();
        isolation(&config, &env).hidden
    }

    #[test]
    fn what_is_logged_is_hidden_and_so_are_the_files_that_were_turned() {
        let found = hidden("/srv/logs/o.log");
        for path in ["/srv/logs/o.log", "/srv/logs/o.log.1", "/srv/logs/o.log.2"] {
            assert!(found.contains(&path.into()), "{path}");
        }
        assert!(!found.contains(&"/srv/logs".into()), "it is not this program's own");
        // files that are turned meanwhile are hidden too where the directory is
        assert!(hidden("/h/.local/state/offshoot/server.log").contains(&"/h/.local/state/offshoot".into()));
    }
}
