//! `offshoot cancel`

use super::Context;
use super::show::which_job;
use crate::api_client::ApiError;
use crate::cli::args::CancelFlags;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::wire::job::Cancelled;

/// Cancels one job after the other. The first that cannot be cancelled ends the command; those before it stay cancelled.
pub(super) async fn run(flags: &CancelFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let mut cancelled: Vec<Cancelled> = Vec::new();
    for job in &flags.jobs {
        context.out.say(&format!("Stopping {job} ..."));
        let answer = context.api.cancel_job(job).await.map_err(|error| refused(error, job))?;
        if !context.out.is_json() {
            let what = if answer.was_running { "it ran and was stopped" } else { "it was not running" };
            context.out.line(&format!("Cancelled {job} ({what})"))?;
        }
        cancelled.push(answer);
    }
    if context.out.is_json() {
        match cancelled.as_slice() {
            [one] => context.out.json(one)?,
            several => context.out.json(&several)?,
        }
    }
    Ok(Ended::Done)
}

fn refused(error: ApiError, job: &str) -> CliError {
    match &error {
        // A job that is over is in the wrong state, which scripts tell from a malformed request.
        ApiError::Invalid { problem } if problem.status == 400 => CliError::from(error)
            .of_kind(ErrorKind::Conflict)
            .hint("look at it", format!("offshoot show {job}")),
        // Its end takes longer than a request should; it will be cancelled all the same.
        ApiError::Busy { problem, .. } if problem.status == 503 => CliError::from(error)
            .of_kind(ErrorKind::TimedOut)
            .hint("look at it", format!("offshoot show {job}")),
        _ => which_job(error),
    }
}
