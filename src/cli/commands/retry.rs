//! `offshoot retry`

use super::Context;
use super::show::which_job;
use super::submit;
use crate::api_client::ApiError;
use crate::cli::args::RetryFlags;
use crate::cli::error::{CliError, Ended};
use crate::domain::retry::RetryMode;
use crate::wire::request::RetryRequest;

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
