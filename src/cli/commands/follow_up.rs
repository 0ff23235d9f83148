//! `offshoot follow-up`

use std::path::PathBuf;

use clap::Args;

use super::attached;
use super::show::which_job;
use super::submit::{self, Then};
use super::{Context, FormFlags};
use crate::cli::args::job_name;
use crate::cli::error::{CliError, Ended};
use crate::cli::human;
use crate::wire::options::Options;
use crate::wire::request::FollowUpRequest;

#[derive(Debug, Args)]
#[command(after_help = "What is left out is as it was in the job that is followed up.")]
pub(in crate::cli) struct FollowUpFlags {
    /// The number, the id, or the beginning of the id of a job; one that is not over yet is waited for.
    #[arg(value_name = "JOB", value_parser = job_name)]
    job: String,
    /// What the agent shall do now; `-` reads it from standard input, and so does leaving it out in a pipe.
    #[arg(value_name = "PROMPT", conflicts_with = "file")]
    prompt: Option<String>,
    /// Read the prompt from this file.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Give the agent this file to read, a picture for example; may be given several times, 10 MiB together.
    #[arg(long = "attach", value_name = "FILE")]
    attachments: Vec<PathBuf>,
    #[command(flatten)]
    form: FormFlags,
    /// Give the commit this title, and the pull request if it is opened anew.
    #[arg(short, long)]
    title: Option<String>,
    /// Use this model.
    #[arg(long)]
    model: Option<String>,
    /// Stop the agent after this many turns.
    #[arg(long, value_name = "N")]
    max_turns: Option<u32>,
    /// Stop the agent after this time, for example 30m or 2h.
    #[arg(long, value_name = "DURATION", value_parser = human::parse_duration)]
    timeout: Option<std::time::Duration>,
    /// Open a pull request, or only push the branch, which needs no token of a forge.
    #[arg(long, value_name = "HOW", value_parser = ["pull_request", "branch", "none"])]
    publish: Option<String>,
    /// Keep the files of the worktree that fit this glob, also ignored ones; may be given several times.
    #[arg(long = "artifact", value_name = "GLOB")]
    artifacts: Vec<String>,
    /// Wait until the job has ended; exits with 10 when it failed and 11 when it was cancelled.
    #[arg(short, long)]
    wait: bool,
    /// Print what the agent says until the job has ended; exits like --wait.
    #[arg(long)]
    follow: bool,
    /// Print nothing but the number of the job.
    #[arg(short, long)]
    quiet: bool,
}

pub(super) async fn run(flags: FollowUpFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let prompt = flags.prompt.as_deref();
    let prompt = submit::prompt_or_form(flags.file.as_deref(), prompt, &flags.form, "follow-up JOB")?;
    let (profile, variables) = flags.form.into_parts()?;
    let options = Options {
        model: flags.model,
        max_turns: flags.max_turns,
        timeout_seconds: flags.timeout.map(|timeout| timeout.as_secs()),
        publish: flags.publish,
        artifacts: (!flags.artifacts.is_empty()).then_some(flags.artifacts),
        ..Options::default()
    };
    let request = FollowUpRequest {
        prompt,
        profile,
        variables,
        title: flags.title,
        attachments: attached::read_all(&flags.attachments)?,
        options: (options != Options::default()).then_some(options),
        ..FollowUpRequest::default()
    };
    let key = context.clock.random_uuid();
    let job = context.api.follow_up_job(&flags.job, &request, &key).await.map_err(which_job)?;
    let then = Then { wait: flags.wait, follow: flags.follow, quiet: flags.quiet };
    submit::accepted(&job, then, context).await
}
