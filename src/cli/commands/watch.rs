//! Waiting for a job to end, with words about how it gets on.

use std::time::Duration;

use super::Context;
use super::show::which_job;
use crate::api_client::{ApiError, Tagged};
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::domain::job::{Status, WaitingFor};
use crate::wire::job::{Job, JobSummary};

/// How long the server may hold one request open while nothing changes. Shorter than what proxies cut.
const LONG_POLL: Duration = Duration::from_secs(20);

/// Pause before asking again when the server answered at once although nothing had changed, or gave no tag to wait by.
const UNHURRIED: Duration = Duration::from_secs(1);

/// A server that is restarted is back within seconds; one that is upgraded, within a minute or two.
const AWAY_MAX: Duration = Duration::from_secs(180);

/// What a wait for news brought.
pub(super) enum News {
    Changed(Box<Tagged<Job>>),
    Nothing,
}

/// Waits up to `wait` until a job is no longer what `known` says. A server that does not hold the request open does not
/// make this a busy loop.
pub(super) async fn news(
    context: &Context<'_>,
    known: &Tagged<Job>,
    wait: Duration,
) -> Result<News, ApiError> {
    let asked_at = tokio::time::Instant::now();
    let job = &known.value.summary.id;
    let answer = match &known.etag {
        Some(etag) => context.api.wait_job(job, etag, wait).await?,
        None => Some(context.api.get_job(job).await?),
    };
    if let Some(tagged) = answer.filter(|answer| answer.value != known.value) {
        return Ok(News::Changed(Box::new(tagged)));
    }
    if asked_at.elapsed() < UNHURRIED.min(wait) {
        tokio::time::sleep(UNHURRIED.min(wait)).await;
    }
    Ok(News::Nothing)
}

/// Waits for the end of a job, saying each new state once.
pub(super) async fn until_over(context: &mut Context<'_>, job: &str) -> Result<Job, CliError> {
    let mut known = context.api.get_job(job).await.map_err(which_job)?;
    let mut said = String::new();
    let mut away_since = None;
    while known.value.summary.status.0.is_live() {
        let state = progress(context, &known.value.summary);
        if state != said {
            context.out.say(&standing(context, &known.value.summary).await);
            said = state;
        }
        match news(context, &known, LONG_POLL).await {
            Ok(News::Changed(tagged)) => known = *tagged,
            Ok(News::Nothing) => {}
            Err(error) => {
                outlast(context, error, &mut away_since).await?;
                continue;
            }
        }
        away_since = None;
    }
    Ok(known.value)
}

/// The job as it is now, from a server that may just be starting.
pub(super) async fn insist(context: &mut Context<'_>, job: &str) -> Result<Job, CliError> {
    let mut away_since = None;
    loop {
        match context.api.get_job(job).await {
            Ok(job) => return Ok(job.value),
            Err(error) => outlast(context, error, &mut away_since).await?,
        }
    }
}

/// Outlives a server that is being restarted: waits a little, unless it has been away for too long or said no.
pub(super) async fn outlast(
    context: &mut Context<'_>,
    error: ApiError,
    away_since: &mut Option<tokio::time::Instant>,
) -> Result<(), CliError> {
    let passing = match &error {
        ApiError::Unreachable { .. } | ApiError::TimedOut { .. } => true,
        ApiError::Busy { problem, .. } => matches!(problem.status, 429 | 503),
        _ => false,
    };
    if !passing || away_since.is_some_and(|since| since.elapsed() > AWAY_MAX) {
        return Err(error.into());
    }
    if away_since.is_none() {
        context.out.say(&format!("{error}; trying again for {} min", AWAY_MAX.as_secs() / 60));
        *away_since = Some(tokio::time::Instant::now());
    }
    tokio::time::sleep(UNHURRIED).await;
    Ok(())
}

/// Runs `watching`; on Ctrl-C says that the job goes on.
pub(super) async fn interruptible<T>(
    number: i64,
    watching: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    leavable(&number.to_string(), watching).await
}

/// As [`interruptible`], with the job's name as it was typed.
pub(super) async fn leavable<T>(
    number: &str,
    watching: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::select! {
        result = watching => result,
        Ok(()) = tokio::signal::ctrl_c() => {
            Err(CliError::new(ErrorKind::Interrupted, format!("no longer watching; job #{number} goes on"))
                .hint("watch it", format!("offshoot logs {number} -f"))
                .hint("stop it", format!("offshoot cancel {number}")))
        }
    }
}

/// How the end of a job ends the command that waited for it.
pub(super) const fn ended(status: Status) -> Ended {
    match status {
        Status::Failed => Ended::JobFailed,
        Status::Cancelled => Ended::JobCancelled,
        Status::Queued | Status::Running | Status::Completed => Ended::Done,
    }
}

/// The state in words; of a job that waits also why, as far as somebody has to do something about it.
pub(super) async fn standing(context: &Context<'_>, job: &JobSummary) -> String {
    let state = progress(context, job);
    let waits_for = job.waiting.map(|waiting| waiting.for_.0);
    let command = match waits_for {
        Some(WaitingFor::UsageLimit | WaitingFor::Login) => {
            let holds = context.api.health().await.map(|health| health.holds).unwrap_or_default();
            let hold = holds.into_iter().find(|hold| hold.login == job.agent);
            return match hold {
                Some(hold) => {
                    let hint = hold.code.0.hint_while_it_goes_on();
                    human::printable(&format!("{state}\n  {}\n  {hint}", hold.message))
                }
                None => state,
            };
        }
        Some(WaitingFor::Paused) => "offshoot queue status",
        Some(WaitingFor::Disk) => "offshoot gc --dry-run",
        _ => return state,
    };
    format!("{state}\n  see why:  {command}")
}

pub(super) fn progress(context: &Context<'_>, job: &JobSummary) -> String {
    let position = job.position.map(|position| format!(" (position {position})")).unwrap_or_default();
    format!("#{}  {}  {}{position}", job.number, job.status, context.viewpoint().state(job))
}
