//! `offshoot retry`

use clap::Args;

use super::Context;
use super::show::which_job;
use super::submit;
use crate::api_client::ApiError;
use crate::cli::args::job_name;
use crate::cli::error::{CliError, Ended};
use crate::domain::retry::RetryMode;
use crate::wire::request::RetryRequest;

#[derive(Debug, Args)]
pub(in crate::cli) struct RetryFlags {
    /// The number, the id, or the beginning of the id of a job.
    #[arg(value_name = "JOB", value_parser = job_name)]
    job: String,
    /// Start again from the base branch instead of repeating only what failed.
    #[arg(long, conflicts_with_all = ["publish", "resume"])]
    fresh: bool,
    /// Continue the agent's conversation, with the work that it had done; where that cannot be done, start again.
    #[arg(long, conflicts_with = "publish")]
    resume: bool,
    /// Publish the commit that the job has; the agent does not run again.
    #[arg(long, conflicts_with = "prompt")]
    publish: bool,
    /// Give the agent this prompt instead of the old one.
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Let something pass that looks like a secret and is none, by the fingerprint that the job tells; may be given more than once.
    #[arg(long, value_name = "FINGERPRINT")]
    allow_secret: Vec<String>,
    /// Wait until the new job has ended; exits with 10 when it failed and 11 when it was cancelled.
    #[arg(short, long)]
    wait: bool,
}

pub(super) async fn run(flags: RetryFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let chosen = [
        (flags.fresh, RetryMode::Fresh),
        (flags.resume, RetryMode::Resume),
        (flags.publish, RetryMode::Publish),
    ];
    let mode = chosen.into_iter().find_map(|(is_chosen, mode)| is_chosen.then_some(mode));
    let allow_secrets = (!flags.allow_secret.is_empty()).then_some(flags.allow_secret);
    let request = RetryRequest { mode: mode.map(Into::into), prompt: flags.prompt, allow_secrets };
    let key = context.clock.random_uuid();
    let job = context
        .api
        .retry_job(&flags.job, &request, &key)
        .await
        .map_err(|error| go_on_instead(error, &flags.job))?;
    submit::accepted(&job, submit::Then { wait: flags.wait, follow: false, quiet: false }, context).await
}

/// What is done is not tried again; what one may want then is another verb.
fn go_on_instead(error: ApiError, job: &str) -> CliError {
    let is_done = error.problem().is_some_and(|problem| problem.code == "job_completed");
    let error = which_job(error);
    if is_done { error.hint("go on with it", format!("offshoot follow-up {job} \"...\"")) } else { error }
}
