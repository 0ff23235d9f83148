//! `offshoot logs`

use std::time::Duration;

use super::Context;
use super::show::which_job;
use super::watch::{self, News};
use crate::api_client::Tagged;
use crate::cli::args::LogsFlags;
use crate::cli::error::{CliError, Ended};
use crate::wire::job::Job;

/// Messages of one page: few enough that the first screen comes at once.
const PAGE_MESSAGES: u32 = 500;

/// Between two looks for new messages while a job says nothing; its end is known at once all the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Silence after which somebody wonders whether the agent is still alive.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(flags: &LogsFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let job = context.api.get_job(&flags.job).await.map_err(which_job)?;
    if flags.raw {
        raw(&job.value.summary.id, flags.attempt, context).await?;
        return Ok(ended(flags, &job.value));
    }
    let number = job.value.summary.number;
    let job = watch::interruptible(number, tell(job, flags.tail, flags.follow, context)).await?;
    Ok(ended(flags, &job))
}

fn ended(flags: &LogsFlags, job: &Job) -> Ended {
    if flags.exit_status { watch::ended(job.summary.status.0) } else { Ended::Done }
}

/// Prints the messages of a job, with `follow` until it is over, and returns the job as it was then.
pub(super) async fn tell(
    mut job: Tagged<Job>,
    tail: Option<u64>,
    follow: bool,
    context: &mut Context<'_>,
) -> Result<Job, CliError> {
    let id = job.value.summary.id.clone();
    let mut after = match tail {
        Some(tail) => before_last(&id, tail, context).await?,
        None => 0,
    };
    let mut away_since = None;
    let mut silent_since = tokio::time::Instant::now();
    let mut wondered = false;
    loop {
        let page = match context.api.list_messages(&id, after, PAGE_MESSAGES).await {
            Ok(page) => page,
            Err(error) if follow => {
                watch::outlast(context, error, &mut away_since).await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        away_since = None;
        let view = context.viewpoint();
        for message in &page.messages {
            if context.out.is_json() {
                context.out.json_line(message)?;
            } else {
                context.out.line(&view.message(message))?;
            }
            after = after.max(message.seq);
        }
        if !page.messages.is_empty() {
            (silent_since, wondered) = (tokio::time::Instant::now(), false);
            continue;
        }
        // Nothing more was there after a state that was final already: that was all.
        if !follow || !job.value.summary.status.0.is_live() {
            return Ok(job.value);
        }
        if !wondered && silent_since.elapsed() > SILENCE {
            context.out.say(&format!(
                "nothing was said for a minute; #{} is {}",
                job.value.summary.number,
                view.state(&job.value.summary)
            ));
            wondered = true;
        }
        match watch::news(context, &job, LOOK_EVERY).await {
            Ok(News::Changed(tagged)) => job = *tagged,
            Ok(News::Nothing) => {}
            Err(error) => watch::outlast(context, error, &mut away_since).await?,
        }
    }
}

/// The number of the message before the last `tail` ones.
async fn before_last(id: &str, tail: u64, context: &Context<'_>) -> Result<i64, CliError> {
    let mut last = 0;
    loop {
        let page = context.api.list_messages(id, last, PAGE_MESSAGES).await?;
        match page.messages.last() {
            Some(message) => last = message.seq,
            None => return Ok(last.saturating_sub(i64::try_from(tail).unwrap_or(i64::MAX)).max(0)),
        }
    }
}

async fn raw(id: &str, attempt: Option<u32>, context: &mut Context<'_>) -> Result<(), CliError> {
    let mut log = context.api.read_log(id, attempt, true).await?;
    while let Some(piece) = log.next_piece().await? {
        context.out.bytes(&piece)?;
    }
    Ok(())
}
