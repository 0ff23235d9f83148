//! `offshoot show`

use super::Context;
use crate::cli::args::ShowFlags;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;

pub(super) async fn run(flags: &ShowFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let job = context.api.get_job(&flags.job).await.map_err(which_job)?.value;
    if context.out.is_json() {
        context.out.json(&job)?;
    } else {
        let text = context.viewpoint().job(&job, flags.full);
        context.out.line(&human::printable(&text))?;
    }
    Ok(Ended::Done)
}

/// An error about a job that was named on the command line.
pub(super) fn which_job(error: crate::api_client::ApiError) -> CliError {
    let error = CliError::from(error);
    if error.kind == ErrorKind::NotFound { error.hint("see which there are", "offshoot ls") } else { error }
}
