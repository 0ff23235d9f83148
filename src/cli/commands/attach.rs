//! `offshoot attach`

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use secrecy::ExposeSecret as _;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Context;
use super::show::which_job;
use super::watch::outlast;
use crate::api_client::{ApiClient, ApiError};
use crate::cli::args::job_name;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::output::Output;
use crate::domain::visit::GoesOn;
use crate::wire::visit::{Attached, Detached};

/// The variables in which a terminal says what it is: those of the server are of none.
const OF_THE_TERMINAL: &[&str] = &["TERM", "COLORTERM", "TERM_PROGRAM", "LANG", "LC_ALL", "LC_CTYPE"];

/// Between the signal and the kill of a program whose job is not the visitor's any more: it may put the terminal right.
const GRACE: Duration = Duration::from_secs(5);

/// A server on this machine answers at once, or is away.
const PROLONG_MAX: Duration = Duration::from_secs(5);

/// Why a visit ended.
enum End {
    /// The program did.
    Program(ExitStatus),
    /// The job was cancelled, or the visit had not been prolonged in time.
    Lost(Box<ApiError>),
    /// This process is to end.
    Told,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AttachFlags {
    /// The number, the id, or the beginning of the id of a job.
    #[arg(value_name = "JOB", value_parser = job_name)]
    job: String,
    /// Let the agent go on afterwards, instead of publishing what is there.
    #[arg(long = "continue")]
    goes_on: bool,
}

/// Takes the job over, runs the agent or a shell in its worktree, and hands it back when that ends.
pub(super) async fn run(flags: &AttachFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let job = &flags.job;
    if !context.api.is_local() {
        let message = format!("{} is on another machine, and so is the worktree", context.api.base_url());
        return Err(CliError::usage(message).hint("there", format!("offshoot attach {job}")));
    }
    if !(std::io::stdin().is_terminal() && Output::is_on_a_terminal()) {
        return Err(CliError::usage("the agent needs a terminal, for input and output").hint(
            "without one, tell it something over the WebSocket of the job, or take its files when it is over",
            format!("offshoot rescue {job}"),
        ));
    }
    let key = context.clock.random_uuid();
    let attached = take_over(job, &key, context).await?;
    if let Err(why) = is_ours(Path::new(&attached.worktree_path)) {
        hand_back(&attached, &key, GoesOn::Agent, context).await?;
        let message = format!("{}: {why}; the job was handed back to its agent", attached.worktree_path);
        return Err(CliError::new(ErrorKind::Failed, message)
            .hint("as the user who runs the server", format!("offshoot attach {job}")));
    }
    introduce(&attached, flags, context);
    let env = environment(&attached, context);
    let started = start(&attached, &env);
    let end = match started {
        Ok(child) => stay(child, &attached, &key, &context.api).await,
        Err(error) => {
            hand_back(&attached, &key, GoesOn::Agent, context).await?;
            let program = attached.command.first().map(String::as_str).unwrap_or_default();
            let message = format!("cannot run {program}: {error}; the job was handed back to its agent");
            return Err(CliError::new(ErrorKind::Failed, message)
                .hint("look", format!("offshoot show {}", attached.number)));
        }
    };
    conclude(end, &attached, &key, flags, context).await
}

/// Asks until no process of the job is left.
async fn take_over(job: &str, key: &str, context: &mut Context<'_>) -> Result<Attached, CliError> {
    let mut away_since = None;
    loop {
        match context.api.attach_job(job, key).await {
            Ok(attached) => return Ok(attached),
            Err(error @ ApiError::Conflict(_)) => {
                return Err(CliError::from(error).hint_if_none("look", format!("offshoot show {job}")));
            }
            Err(
                error @ (ApiError::Busy { .. } | ApiError::Unreachable { .. } | ApiError::TimedOut { .. }),
            ) => {
                outlast(context, error, &mut away_since).await?;
            }
            Err(error) => return Err(which_job(error)),
        }
    }
}

/// Files that somebody else owns the agent would leave as they are, and those that it makes the server could not take away.
fn is_ours(worktree: &Path) -> Result<(), String> {
    let found = worktree.symlink_metadata().map_err(|error| error.to_string())?;
    if found.uid() == geteuid().as_raw() { Ok(()) } else { Err("it is another user's".to_owned()) }
}

/// What the agent has: what the server tells, what it lets through as it is here, and what is set in the configuration, which is
/// where the secrets are.
fn environment(attached: &Attached, context: &mut Context<'_>) -> BTreeMap<String, OsString> {
    let told = attached.env.iter().map(|(name, value)| (name.clone(), OsString::from(value)));
    let mut env: BTreeMap<String, OsString> = told.collect();
    let passed = attached.pass_env.iter().filter_map(|name| Some((name.clone(), context.local.get(name)?)));
    env.extend(passed);
    let own = context.local.set_env(&attached.agent);
    env.extend(own.into_iter().map(|(name, value)| (name, OsString::from(value.expose_secret()))));
    for (variable, secret) in &attached.set_env {
        match context.local.secret(secret) {
            Some(value) => drop(env.insert(variable.clone(), OsString::from(value.expose_secret()))),
            None => context.out.say(&format!("{variable} is not set: there is no secret \"{secret}\" here")),
        }
    }
    for name in OF_THE_TERMINAL {
        match context.local.get(name) {
            Some(value) => drop(env.insert((*name).to_owned(), value)),
            None => drop(env.remove(*name)),
        }
    }
    env
}

fn introduce(attached: &Attached, flags: &AttachFlags, context: &mut Context<'_>) {
    let Attached { number, worktree_path, agent, branch_name, .. } = attached;
    let what = match &attached.session_id {
        Some(session) => format!("{agent} in its conversation {session}"),
        None => format!("a shell: {agent} has no conversation that could be opened"),
    };
    let then = if flags.goes_on { "the agent goes on" } else { "what is there is looked at and published" };
    context.out.say(&format!(
        "#{number} is yours: {what}\n  worktree: {worktree_path}\n  branch:   {branch_name}\nWhen it ends, {then}."
    ));
}

fn start(attached: &Attached, env: &BTreeMap<String, OsString>) -> std::io::Result<Child> {
    let (program, arguments) = attached.command.split_first().ok_or(std::io::ErrorKind::InvalidData)?;
    Command::new(program)
        .args(arguments)
        .current_dir(&attached.worktree_path)
        .env_clear()
        .envs(env)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
}

/// Until the program ends, or has to. Ctrl-C is for it alone, and nothing is printed: the screen is its.
async fn stay(mut child: Child, attached: &Attached, key: &str, api: &ApiClient) -> std::io::Result<End> {
    let (mut interrupt, mut quit) = (signal(SignalKind::interrupt())?, signal(SignalKind::quit())?);
    let (mut terminate, mut hang_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let every = Duration::from_secs(attached.prolong_every_seconds.max(1));
    let mut prolong = interval_at(Instant::now() + every, every);
    prolong.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        tokio::select! {
            ended = child.wait() => return Ok(End::Program(ended?)),
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            _ = terminate.recv() => break End::Told,
            _ = hang_up.recv() => break End::Told,
            _ = prolong.tick() => {
                // a server that is being restarted comes back
                if let Ok(Err(error @ (ApiError::Conflict(_) | ApiError::NotFound(_)))) =
                    timeout(PROLONG_MAX, api.prolong_visit(&attached.id, key)).await
                {
                    break End::Lost(Box::new(error));
                }
            },
        }
    };
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // gone by now is as good
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(end)
}

async fn conclude(
    end: std::io::Result<End>,
    attached: &Attached,
    key: &str,
    flags: &AttachFlags,
    context: &mut Context<'_>,
) -> Result<Ended, CliError> {
    let number = attached.number;
    let (goes_on, ended_badly) = match &end {
        Ok(End::Program(status)) => {
            // of a shell it is what its last command came to
            let badly = !status.success() && (attached.session_id.is_some() || status.code().is_none());
            let goes_on = if badly || flags.goes_on { GoesOn::Agent } else { GoesOn::Publish };
            (goes_on, badly.then(|| format!("the program ended with {status}")))
        }
        Ok(End::Lost(error)) => {
            return Err(CliError::new(ErrorKind::Conflict, format!("the visit is over: {error}"))
                .hint("look", format!("offshoot show {number}"))
                .hint("what was done by hand is kept", format!("offshoot rescue {number}")));
        }
        Ok(End::Told) => (GoesOn::Agent, Some("told to end".to_owned())),
        Err(error) => (GoesOn::Agent, Some(error.to_string())),
    };
    let detached = hand_back(attached, key, goes_on, context).await?;
    if context.out.is_json() {
        context.out.json(&detached)?;
    } else {
        let then = match goes_on {
            GoesOn::Publish => "what is there is looked at and published",
            GoesOn::Agent => "the agent goes on",
        };
        context.out.line(&format!("Handed back #{number}: {then}"))?;
    }
    match ended_badly {
        Some(why) => {
            Err(CliError::new(ErrorKind::Failed, format!("{why}; #{number} was handed back to its agent"))
                .hint("take it over again", format!("offshoot attach {number}")))
        }
        None => {
            context.out.say(&format!("  follow it:  offshoot logs {number} -f"));
            Ok(Ended::Done)
        }
    }
}

/// Outlives a server that is being restarted; one that is away for longer hands the job back by itself.
async fn hand_back(
    attached: &Attached,
    key: &str,
    goes_on: GoesOn,
    context: &mut Context<'_>,
) -> Result<Detached, CliError> {
    let mut away_since = None;
    loop {
        match context.api.detach_job(&attached.id, key, goes_on.into()).await {
            Ok(detached) => return Ok(detached),
            // it is over, and an answer was lost: that it was handed back is known by then
            Err(ApiError::Conflict(_)) if away_since.is_some() => {
                return Ok(Detached {
                    id: attached.id.clone(),
                    number: attached.number,
                    goes_on: goes_on.into(),
                });
            }
            Err(error @ (ApiError::Conflict(_) | ApiError::NotFound(_))) => {
                let number = attached.number;
                return Err(CliError::from(error)
                    .hint("look", format!("offshoot show {number}"))
                    .hint("what was done by hand is kept", format!("offshoot rescue {number}")));
            }
            Err(error) => outlast(context, error, &mut away_since).await?,
        }
    }
}
