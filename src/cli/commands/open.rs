//! `offshoot open`

use std::process::Stdio;
use std::time::Duration;

use clap::Args;

use super::Context;
use super::show::which_job;
use crate::cli::args::job_name;
use crate::cli::error::{CliError, Ended};
use crate::wire::pass::Pass;

/// A browser that starts cold takes longer; that there is none is said at once.
const OPENER_ENDS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(in crate::cli) struct OpenFlags {
    /// Open the page of this job: its number, its id, or the beginning of its id.
    #[arg(value_name = "JOB", value_parser = job_name)]
    job: Option<String>,
    /// Print the link, which lets whoever opens it in once within a minute, and start no browser.
    #[arg(long)]
    print: bool,
}

/// Asks for a pass and opens it in the browser of this desktop, or prints it where there is none.
pub(super) async fn run(flags: &OpenFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let next = match &flags.job {
        Some(job) => {
            let known = context.api.get_job(job).await.map_err(which_job)?;
            format!("?next=/ui/jobs/{}", known.value.summary.number)
        }
        None => String::new(),
    };
    let pass = context.api.create_pass().await?;
    let link = format!("{}{}{next}", context.api.base_url(), pass.path);
    if context.out.is_json() {
        context.out.json(&Pass { path: link, ..pass })?;
        return Ok(Ended::Done);
    }
    if !flags.print && start_browser(context, &link).await {
        context.out.say(&format!("Opened the dashboard of {} in your browser.", context.api.base_url()));
        context.out.say("  nothing to see there?  offshoot open --print");
        return Ok(Ended::Done);
    }
    context.out.line(&link)?;
    context.out.say("  it works once, within a minute");
    Ok(Ended::Done)
}

/// Whether a browser was told. Where nobody sits before a screen none is looked for.
async fn start_browser(context: &Context<'_>, link: &str) -> bool {
    let has = |name| context.local.get(name).is_some_and(|value| !value.is_empty());
    let opener = match std::env::consts::OS {
        "macos" if !has("SSH_CONNECTION") => "open",
        "linux" if has("DISPLAY") || has("WAYLAND_DISPLAY") => "xdg-open",
        _ => return false,
    };
    let mut command = tokio::process::Command::new(opener);
    command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // both hand the link on and end; one that stays is the browser itself
    match command.spawn() {
        Ok(mut child) => match tokio::time::timeout(OPENER_ENDS_WITHIN, child.wait()).await {
            Ok(ended) => ended.is_ok_and(|status| status.success()),
            Err(_) => true,
        },
        Err(_) => false,
    }
}
