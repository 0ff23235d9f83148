//! `offshoot attach`

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use nix::unistd::geteuid;
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use super::Context;
use super::at_hand::{End, Signals, start, stay};
use super::show::which_job;
use super::watch::outlast;
use crate::api_client::ApiError;
use crate::cli::args::job_name;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::output::Output;
use crate::domain::visit::{GoesOn, Unvisitable};
use crate::wire::visit::{Attached, Detached};

/// The variables in which a terminal says what it is: those of the server are of none.
const OF_THE_TERMINAL: &[&str] = &["TERM", "COLORTERM", "TERM_PROGRAM", "LANG", "LC_ALL", "LC_CTYPE"];

/// A server on this machine answers at once, or is away.
const LEAVE_MAX: Duration = Duration::from_secs(5);

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
    let mut signals = Signals::watch().map_err(|error| unwatched(&error))?;
    // before anything is ended for a visit that comes to nothing; what is wrong with the job is said when it is asked for
    let known = context.api.get_job(job).await.ok().and_then(|known| known.value.summary.worktree_path);
    if let Some(worktree) = known.filter(|path| Path::new(path).is_dir()) {
        is_ours(Path::new(&worktree)).map_err(|why| not_ours(&worktree, &why, job))?;
    }
    let key = context.clock.random_uuid();
    let taken = tokio::select! {
        taken = take_over(job, &key, context) => Some(taken?),
        () = signals.any() => None,
    };
    let Some(attached) = taken else { return Err(leave(job, &key, context).await) };
    if let Err(why) = is_ours(Path::new(&attached.worktree_path)) {
        hand_back(&attached, &key, GoesOn::Agent, context, &mut signals).await?;
        return Err(not_ours(&attached.worktree_path, &why, job));
    }
    introduce(&attached, flags, context);
    let env = environment(&attached, context);
    let started = start(&attached, &env);
    let end = match started {
        Ok(child) => stay(child, &attached, &key, &context.api, &mut signals).await,
        Err(error) => {
            hand_back(&attached, &key, GoesOn::Agent, context, &mut signals).await?;
            let program = attached.command.first().map(String::as_str).unwrap_or_default();
            let message = format!("cannot run {program}: {error}; the job was handed back to its agent");
            return Err(CliError::new(ErrorKind::Failed, message)
                .hint("look", format!("offshoot show {}", attached.number)));
        }
    };
    conclude(end, &attached, &key, flags, context, &mut signals).await
}

fn unwatched(error: &std::io::Error) -> CliError {
    CliError::new(ErrorKind::Failed, format!("the signals cannot be watched: {error}"))
}

fn not_ours(worktree: &str, why: &str, job: &str) -> CliError {
    CliError::new(ErrorKind::Failed, format!("{worktree}: {why}; the job is left to its agent"))
        .hint("as the user who runs the server", format!("offshoot attach {job}"))
}

/// Takes the wish back: the job goes on with its agent as soon as it has made way.
async fn leave(job: &str, key: &str, context: &Context<'_>) -> CliError {
    // one that has not arrived, or that stays, is over by itself in two minutes
    let _ = timeout(LEAVE_MAX, context.api.detach_job(job, key, GoesOn::Agent.into())).await;
    CliError::new(ErrorKind::Interrupted, format!("interrupted before the job was yours: job #{job} goes on"))
        .hint("look", format!("offshoot show {job}"))
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
        "#{number} is yours: {what}\n  worktree: {worktree_path}\n  branch:   {branch_name}\nWhen it ends, {then}. Stopped (Ctrl-Z) it is ended after two minutes, and the agent goes on."
    ));
}

async fn conclude(
    end: std::io::Result<End>,
    attached: &Attached,
    key: &str,
    flags: &AttachFlags,
    context: &mut Context<'_>,
    signals: &mut Signals,
) -> Result<Ended, CliError> {
    let number = attached.number;
    let ended_badly = match &end {
        Ok(End::Lost(error)) => {
            return Err(CliError::new(ErrorKind::Conflict, format!("the visit is over: {error}"))
                .hint("look", format!("offshoot show {number}"))
                .hint("what was done by hand is kept", format!("offshoot rescue {number}")));
        }
        Ok(end) => end.is_unmeant(attached.session_id.is_none()),
        Err(error) => Some(error.to_string()),
    };
    let goes_on = if ended_badly.is_some() || flags.goes_on { GoesOn::Agent } else { GoesOn::Publish };
    let (detached, unfinished) = hand_back(attached, key, goes_on, context, signals).await?;
    let ended_badly = ended_badly.or(unfinished);
    if context.out.is_json() {
        context.out.json(&detached)?;
    } else {
        let then = match detached.goes_on.0 {
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

/// Outlives a server that is being restarted, unless this process is to end; one that is away for longer hands the job back by
/// itself. What cannot be published goes to the agent, and it is said why.
async fn hand_back(
    attached: &Attached,
    key: &str,
    mut goes_on: GoesOn,
    context: &mut Context<'_>,
    signals: &mut Signals,
) -> Result<(Detached, Option<String>), CliError> {
    let number = attached.number;
    let unpublishable = [Unvisitable::Gone.code(), Unvisitable::Unfinished { what: String::new() }.code()];
    let (mut away_since, mut refused) = (None, None);
    loop {
        let error = match context.api.detach_job(&attached.id, key, goes_on.into()).await {
            Ok(detached) => return Ok((detached, refused)),
            Err(ApiError::Conflict(problem))
                if goes_on == GoesOn::Publish && unpublishable.contains(&problem.code.as_str()) =>
            {
                (goes_on, refused) = (GoesOn::Agent, Some(problem.detail));
                continue;
            }
            // it is over, and an answer was lost: that it was handed back is known by then
            Err(ApiError::Conflict(_)) if away_since.is_some() => {
                let id = attached.id.clone();
                let detached = Detached { id, number, goes_on: goes_on.into(), warnings: Vec::new() };
                return Ok((detached, refused));
            }
            Err(error @ (ApiError::Conflict(_) | ApiError::NotFound(_))) => {
                return Err(CliError::from(error)
                    .hint("look", format!("offshoot show {number}"))
                    .hint("what was done by hand is kept", format!("offshoot rescue {number}")));
            }
            Err(error) => error,
        };
        tokio::select! {
            still_away = outlast(context, error, &mut away_since) => still_away?,
            () = signals.any() => {
                let message = format!("job #{number} could not be handed back: its agent goes on in two minutes");
                return Err(CliError::new(ErrorKind::Interrupted, message)
                    .hint("take it over again", format!("offshoot attach {number}")));
            }
        }
    }
}
