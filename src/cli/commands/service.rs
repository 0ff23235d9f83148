//! `offshoot service`

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use clap::Subcommand;
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::connection;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::output::Output;
use crate::config::{Config, ConfigError, Environment, Flags, Problem, how_to_add_a_secret};
use crate::service::{Init, Owner, Plan, ServiceError, State};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ServiceVerb {
    /// Run the server at each login, and on without anybody logged in where the system can do that.
    Install {
        /// Show what would be written and run, and do nothing.
        #[arg(long)]
        print: bool,
        /// Replace a file that this command has not written.
        #[arg(long)]
        force: bool,
    },
    /// Stop the server and take away what install has made; data and configuration stay.
    Uninstall {
        /// Show what would be removed and run, and do nothing.
        #[arg(long)]
        print: bool,
        /// Remove a file that this command has not written.
        #[arg(long)]
        force: bool,
    },
    /// Start the installed server and wait until it takes work.
    Start,
    /// Stop the server; agents that run go on, and the next server takes them over.
    Stop,
    /// Say whether the service is installed and runs; exits with 1 when it does not run.
    Status,
    /// Print the server's log.
    Logs {
        /// Go on with what comes, until Ctrl-C.
        #[arg(short, long)]
        follow: bool,
        /// Begin with the last N lines.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: u32,
    },
}

/// Carries the verb out on this machine.
pub(in crate::cli) fn run(
    verb: ServiceVerb,
    global: &Global,
    env: &Environment,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(ErrorKind::Failed, format!("cannot start: {error}")))?;
    let owner = owner(global, env)?;
    runtime.block_on(async {
        match verb {
            ServiceVerb::Install { print, force } => install(&owner, print, force, global, env, out).await?,
            ServiceVerb::Uninstall { print, force } => uninstall(&owner, print, force, out).await?,
            ServiceVerb::Start => {
                out.say("Starting the service ...");
                owner.start()?.carry_out(&owner.environment).await?;
                out.say("It runs.\n  look at it:  offshoot service status");
            }
            ServiceVerb::Stop => {
                out.say("Stopping the service ...");
                owner.stop()?.carry_out(&owner.environment).await?;
                out.say("It is stopped; agents that ran go on.\n  start it:  offshoot service start");
            }
            ServiceVerb::Status => return status(&owner, global, env, out).await,
            ServiceVerb::Logs { follow, lines } => return logs(&owner.logs(lines, follow)?, &owner).await,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// This user, and the program that runs now.
fn owner(global: &Global, env: &Environment) -> Result<Owner, CliError> {
    let home = env.dirs().map(|dirs| dirs.home.clone()).ok_or_else(|| {
        CliError::new(ErrorKind::Failed, "there is no home directory")
            .hint("say where it is", "export HOME=...")
    })?;
    let program = std::env::current_exe().map_err(|error| {
        CliError::new(ErrorKind::Failed, format!("cannot tell where this program lies: {error}"))
    })?;
    let arguments = match &global.config {
        Some(file) => {
            let file = std::path::absolute(file).map_err(|error| CliError::file(file, &error))?;
            vec!["--config".to_owned(), file.display().to_string()]
        }
        None => Vec::new(),
    };
    let config_home = env.get("XDG_CONFIG_HOME").map(PathBuf::from);
    Ok(Owner {
        init: Init::of_this_system(),
        config_home: config_home.unwrap_or_else(|| home.join(".config")),
        home,
        uid: nix::unistd::getuid().as_raw(),
        program,
        arguments,
        path_before: Vec::new(),
        environment: environment(env),
    })
}

/// Of a shell: what finds programs, and the user's own services.
fn environment(env: &Environment) -> BTreeMap<OsString, OsString> {
    env.for_git()
}

async fn install(
    owner: &Owner,
    print: bool,
    force: bool,
    global: &Global,
    env: &Environment,
    out: &mut Output,
) -> Result<(), CliError> {
    let config = as_the_service(owner, global, env)?;
    let owner = Owner { path_before: where_agents_are(&config, env), ..owner.clone() };
    let plan = owner.install(force).await?;
    if print {
        return shown(&plan, out);
    }
    out.say("Installing the service, and waiting until it takes work ...");
    plan.carry_out(&owner.environment).await?;
    if out.is_json() {
        return out.json(&json!({ "installed": true, "file": owner.file().display().to_string() }));
    }
    out.line(&format!("Installed and started: {}", owner.file().display()))?;
    out.say("  look at it:    offshoot service status\n  and its log:   offshoot service logs -f");
    Ok(())
}

/// The configuration as the service will read it, which sees no variable of this shell.
fn as_the_service(owner: &Owner, global: &Global, env: &Environment) -> Result<Config, CliError> {
    let mut pairs: Vec<(OsString, OsString)> = Vec::new();
    let kept = ["HOME", "USER", "LOGNAME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"];
    pairs.extend(kept.iter().filter_map(|name| Some((name.into(), env.get(name)?.to_owned()))));
    if owner.init == Init::Systemd {
        let file = owner.home.join(".config/offshoot/env");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
        let named = lines.filter_map(|line| line.split_once('='));
        pairs.extend(
            named.map(|(name, value)| (name.trim().into(), value.trim().trim_matches(['"', '\'']).into())),
        );
    }
    let flags = Flags { serving: true, ..Flags::default() };
    // the usual place is the platform's, which an environment of one's own does not know
    let file = Config::file(env, global.config.as_deref()).filter(|(file, _)| file.exists());
    let service = Environment::from_pairs(pairs);
    let file = file.as_ref().map(|(file, _)| file.as_path());
    Config::load(&flags, &service, file).map_err(|error| would_not_start(error, file))
}

fn would_not_start(error: ConfigError, file: Option<&Path>) -> CliError {
    let code = error.exit_code();
    let kind = ErrorKind::Configuration { exit_code: code };
    let told = CliError::new(
        kind,
        format!("the service would not start, for it sees no variable of this shell: {error}"),
    );
    let is_absent =
        |problem: &Problem| problem.key == "server.secret" && problem.rule.starts_with("must be set");
    let lacks_secret = error.problems.iter().any(is_absent);
    match file {
        None => told.hint("write a configuration with a secret", "offshoot init"),
        Some(file) if lacks_secret => how_to_add_a_secret(file)
            .into_iter()
            .fold(told, |told, (label, command)| told.hint(&label, command)),
        Some(file) => told.hint("mend it", format!("${{EDITOR:-vi}} {}", file.display())),
    }
    .hint("or see what is missing", "offshoot doctor")
}

/// Where this shell finds the agents.
fn where_agents_are(config: &Config, env: &Environment) -> Vec<PathBuf> {
    let path = env.get("PATH").unwrap_or_default();
    let names = config.agents.values().filter_map(|entry| entry.command.as_deref());
    let bare = names.filter(|name| !name.contains('/'));
    let dir_of =
        |name: &str| std::env::split_paths(path).find(|dir| dir.is_absolute() && dir.join(name).is_file());
    bare.filter_map(dir_of).collect()
}

async fn uninstall(owner: &Owner, print: bool, force: bool, out: &mut Output) -> Result<(), CliError> {
    let plan = owner.uninstall(force)?;
    if print {
        return shown(&plan, out);
    }
    let was_there = !plan.steps.is_empty();
    plan.carry_out(&owner.environment).await?;
    if out.is_json() {
        return out.json(&json!({ "installed": false, "removed": was_there }));
    }
    if was_there {
        out.line(&format!("Stopped and removed: {}", owner.file().display()))?;
        out.say("Agents that ran go on until they end; data and configuration stay.");
    } else {
        out.say("It was not installed; there is nothing to remove.");
    }
    Ok(())
}

fn shown(plan: &Plan, out: &mut Output) -> Result<(), CliError> {
    let lines = plan.lines();
    if out.is_json() {
        return out.json(&json!({ "steps": lines }));
    }
    if lines.is_empty() {
        out.say("There is nothing to do.");
    }
    lines.iter().try_for_each(|line| out.line(line))
}

async fn status(
    owner: &Owner,
    global: &Global,
    env: &Environment,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let state = owner.state().await?;
    let health = match connection::connect(global, env) {
        Ok(api) if state.running => api.health().await.ok().map(|health| (api.base_url().to_owned(), health)),
        _ => None,
    };
    let code = ExitCode::from(u8::from(!state.running));
    if out.is_json() {
        out.json(&json!({
            "installed": state.installed, "running": state.running, "state": state.words, "enabled": state.enabled,
            "lingers": state.lingers, "pid": state.pid, "file": owner.file().display().to_string(),
            "url": health.as_ref().map(|(url, _)| url), "version": health.as_ref().map(|(_, health)| &health.version),
        }))?;
        return Ok(code);
    }
    out.line(&format!("offshoot  {}", headline(&state)))?;
    if let Some((url, health)) = health {
        let (running, queued) = (health.queue.running, health.queue.queued);
        out.line(&format!("  {url}  {}  {running} running, {queued} waiting", health.version))?;
    }
    if state.installed {
        out.line(&format!("  {}", owner.file().display()))?;
    }
    out.say(match (state.installed, state.running) {
        (false, _) => "  install it:  offshoot service install",
        (true, false) => "  start it:  offshoot service start\n  see why:   offshoot service logs -n 50",
        (true, true) => "  its log:  offshoot service logs -f",
    });
    if state.lingers == Some(false) {
        out.say("  it ends when you log out; to let it go on:  loginctl enable-linger");
    }
    Ok(code)
}

fn headline(state: &State) -> String {
    let mut words = vec![state.words.clone()];
    words.extend(state.pid.map(|pid| format!("pid {pid}")));
    if state.installed {
        words.push(if state.enabled { "enabled" } else { "not enabled" }.to_owned());
    }
    words.extend(state.lingers.map(|lingers| format!("lingering {}", if lingers { "on" } else { "off" })));
    words.join(", ")
}

/// The log is the system's to print: its program gets our streams.
async fn logs(command: &[String], owner: &Owner) -> Result<ExitCode, CliError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(ExitCode::SUCCESS) };
    let mut process = tokio::process::Command::new(program);
    process.args(arguments).env_clear().envs(&owner.environment).stdin(Stdio::null()).kill_on_drop(true);
    let missing = |_| CliError::from(ServiceError::NoProgram { program: program.clone() });
    let status = process.status().await.map_err(missing)?;
    Ok(ExitCode::from(u8::from(!status.success())))
}

impl From<ServiceError> for CliError {
    fn from(error: ServiceError) -> Self {
        let kind = match &error {
            ServiceError::NotInstalled => ErrorKind::NotFound,
            ServiceError::Foreign { .. } => ErrorKind::Conflict,
            ServiceError::Silent { .. } => ErrorKind::TimedOut,
            _ => ErrorKind::Failed,
        };
        let (label, command) = error.hint();
        Self::new(kind, error.to_string()).hint(label, command)
    }
}
