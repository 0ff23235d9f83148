//! `offshoot service`

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::api_client::{ApiClient, ApiError};
use crate::cli::args::Global;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::human;
use crate::cli::output::Output;
use crate::config::{Config, ConfigError, Environment, Flags, PlatformDirs, Problem, how_to_add_a_secret};
use crate::doctor::{InstalledService, where_programs_are};
use crate::domain::phrases::{edit, path_word, shell_word};
use crate::service::{Init, Owner, Plan, ServiceError, State};
use crate::wire::health::Health;

/// A server on this machine answers within milliseconds; one that takes so long hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// What names the configuration file, before or behind `serve`.
const CONFIG: &str = "--config";

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
        /// What was told with `--json` by the command that this one ends; one value holds both.
        #[arg(skip)]
        before: Option<Value>,
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
    let runtime = crate::cli::runtime()?;
    let owner = owner(global, env)?;
    runtime.block_on(async {
        match verb {
            ServiceVerb::Install { print, force, before } => {
                if let Some(kept) = kept(&owner, global, env) {
                    out.say(&kept);
                }
                install(&owner, print, force, before, env, out).await?;
            }
            ServiceVerb::Uninstall { print, force } => uninstall(&owner, print, force, out).await?,
            ServiceVerb::Start => {
                out.say("Starting the service ...");
                owner.start()?.carry_out(&owner.environment).await?;
                if out.is_json() {
                    out.json(&json!({ "running": true }))?;
                }
                out.say("It runs.\n  look at it:  offshoot service status");
            }
            ServiceVerb::Stop => {
                out.say("Stopping the service ...");
                owner.stop()?.carry_out(&owner.environment).await?;
                if out.is_json() {
                    out.json(&json!({ "running": false }))?;
                }
                out.say("It is stopped; agents that ran go on.\n  start it:  offshoot service start");
            }
            ServiceVerb::Status => return status(&owner, env, out).await,
            ServiceVerb::Logs { .. } if out.is_json() => {
                return Err(CliError::usage("the log is text, and has no --json")
                    .hint("as text", "offshoot service logs"));
            }
            ServiceVerb::Logs { follow, lines } => return logs(&owner.logs(lines, follow)?, &owner).await,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The service that is installed here, as its file has it.
pub(super) async fn installed(global: &Global, env: &Environment) -> Option<InstalledService> {
    let owner = owner(global, env).ok()?;
    let file = owner.file();
    if !file.exists() {
        return None;
    }
    let is_said = owner.variables().iter().any(|(name, _)| name == "PATH");
    let path_file = owner.file_of_variables().filter(|_| is_said);
    Some(InstalledService {
        path: owner.path_of_installed(),
        path_file,
        lingers: owner.lingers().await,
        file,
    })
}

/// This user, and the program that runs now.
fn owner(global: &Global, env: &Environment) -> Result<Owner, CliError> {
    let home = env.dirs().map(|dirs| dirs.home.clone()).ok_or_else(CliError::no_home)?;
    let program = std::env::current_exe().map_err(|error| {
        CliError::new(ErrorKind::Failed, format!("cannot tell where this program lies: {error}"))
    })?;
    let owner = Owner {
        init: Init::of_this_system(),
        // not where this shell has it: the service manager looks below the home directory and knows no variable of ours
        config_home: home.join(".config"),
        home,
        uid: nix::unistd::getuid().as_raw(),
        program,
        arguments: Vec::new(),
        path_before: Vec::new(),
        // of a shell: what finds programs, and the user's own services
        environment: env.for_git(),
    };
    let installed = owner.arguments_of_installed();
    let arguments = match Config::file(env, global.config.as_deref()) {
        // the next shell does not name what the one that installed it has named
        Some((_, false)) if !installed.is_empty() => installed,
        Some((file, required)) if (required || file.exists()) && Some(&file) != usual_file(env).as_ref() => {
            let file = std::path::absolute(&file).map_err(|error| CliError::file(&file, &error))?;
            vec![CONFIG.to_owned(), file.display().to_string()]
        }
        _ => Vec::new(),
    };
    Ok(Owner { arguments, ..owner })
}

/// With what the service goes on as it was installed, since nothing in this shell says otherwise, and how that is changed.
fn kept(owner: &Owner, global: &Global, env: &Environment) -> Option<String> {
    let (_, is_named) = Config::file(env, global.config.as_deref())?;
    let is_kept =
        !is_named && !owner.arguments.is_empty() && owner.arguments == owner.arguments_of_installed();
    is_kept.then(|| {
        let words: Vec<_> = owner.arguments.iter().map(|word| shell_word(word)).collect();
        format!(
            "The service goes on as it was installed: serve {}\n  with the usual file instead:  offshoot service install --config {}",
            words.join(" "),
            path_word(&usual_file(env).unwrap_or_default())
        )
    })
}

/// The file that the service's own arguments name.
fn file_in(arguments: &[String]) -> Option<PathBuf> {
    let at = arguments.iter().position(|word| word == CONFIG);
    let behind = at.and_then(|at| arguments.get(at + 1)).map(String::as_str);
    let glued = || arguments.iter().find_map(|word| word.strip_prefix(CONFIG)?.strip_prefix('='));
    behind.or_else(glued).map(PathBuf::from)
}

/// Where the service finds its configuration by itself: it sees no variable of this shell that says another place.
fn usual_file(env: &Environment) -> Option<PathBuf> {
    let dirs = env.dirs()?;
    // macOS has no such variables
    Some(if cfg!(target_os = "macos") {
        dirs.config_file()
    } else {
        PlatformDirs::below(&dirs.home).config_file()
    })
}

async fn install(
    owner: &Owner,
    print: bool,
    force: bool,
    before: Option<Value>,
    env: &Environment,
    out: &mut Output,
) -> Result<(), CliError> {
    let config = as_the_service(owner, env)?;
    let (path_before, left_out) =
        where_programs_are(&config, env).into_iter().partition(|dir| Owner::can_name_in_path(dir.as_path()));
    let owner = Owner { path_before, ..owner.clone() };
    for dir in left_out {
        out.say(&format!(
            "warning: PATH of the service cannot name {}; a program that is there is not found by it",
            dir.display()
        ));
    }
    let plan = owner.install(force).await?;
    if print {
        return shown(&plan, out);
    }
    out.say("Installing the service, and waiting until it takes work ...");
    let was_there = owner.file().exists();
    plan.carry_out(&owner.environment).await.map_err(|error| half_installed(error, &owner, was_there))?;
    if out.is_json() {
        let mut told = json!({ "installed": true, "file": owner.file().display().to_string() });
        if let (Value::Object(told), Some(Value::Object(before))) = (&mut told, before) {
            told.extend(before);
        }
        return out.json(&told);
    }
    out.line(&format!("Installed and started: {}", owner.file().display()))?;
    out.say("  look at it:    offshoot service status\n  and its log:   offshoot service logs -f");
    Ok(())
}

/// What failed, and that a file of the service is there all the same. One that `was_there` before is nothing to be taken away.
fn half_installed(error: ServiceError, owner: &Owner, was_there: bool) -> CliError {
    let error = CliError::from(error);
    if was_there || !owner.file().exists() {
        return error;
    }
    error.hint("its file is there all the same; to take it away", "offshoot service uninstall")
}

/// The configuration as the service will read it, which sees no variable of this shell.
fn as_the_service(owner: &Owner, env: &Environment) -> Result<Config, CliError> {
    let mut pairs: Vec<(OsString, OsString)> = Vec::new();
    let kept = ["HOME", "USER", "LOGNAME"];
    pairs.extend(kept.iter().filter_map(|name| Some((name.into(), env.get(name)?.to_owned()))));
    pairs.extend(owner.variables().into_iter().map(|(name, value)| (name.into(), value.into())));
    let flags = Flags { serving: true, ..Flags::default() };
    // one that is not in the usual place is handed on; and an environment of one's own does not know the platform's place
    let named = file_in(&owner.arguments);
    let service = Environment::from_pairs(pairs);
    let said = || service.get("OFFSHOOT_CONFIG").map(PathBuf::from);
    let file = named.or_else(said).or_else(|| usual_file(env).filter(|file| file.exists()));
    Config::load(&flags, &service, file.as_deref()).map_err(|error| would_not_start(error, file.as_deref()))
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
        Some(file) => told.hint("mend it", edit(file)),
    }
    .hint("or see what is missing", "offshoot doctor")
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

/// The health of the service's own server, with its address; or why there is none.
async fn ask(owner: &Owner, env: &Environment) -> Result<(String, Health), String> {
    let config = as_the_service(owner, env).map_err(|error| error.message)?;
    let url = config.server.local_url();
    let api = ApiClient::new(&url, config.server.secret).map_err(|error| error.to_string())?;
    match tokio::time::timeout(ANSWERS_WITHIN, api.health()).await {
        Ok(Ok(health)) => Ok((url, health)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(ApiError::TimedOut { url, limit: ANSWERS_WITHIN }.to_string()),
    }
}

async fn status(owner: &Owner, env: &Environment, out: &mut Output) -> Result<ExitCode, CliError> {
    let state = owner.state().await?;
    let (health, silence) = match state.running {
        true => ask(owner, env).await.map_or_else(|why| (None, Some(why)), |health| (Some(health), None)),
        false => (None, None),
    };
    let code = ExitCode::from(u8::from(!state.running));
    if out.is_json() {
        out.json(&json!({
            "installed": state.installed, "running": state.running, "state": state.words, "enabled": state.enabled,
            "lingers": state.lingers, "pid": state.pid, "file": owner.file().display().to_string(),
            "url": health.as_ref().map(|(url, _)| url), "version": health.as_ref().map(|(_, health)| &health.version),
            "silence": silence,
        }))?;
        return Ok(code);
    }
    out.line(&format!("offshoot  {}", headline(&state)))?;
    if let Some((url, health)) = health {
        let (running, queued) = (health.queue.running, health.queue.queued);
        out.line(&format!("  {url}  {}  {running} running, {queued} waiting", health.version))?;
    }
    if let Some(why) = silence {
        out.line(&format!("  {}", human::printable(&why)))?;
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
