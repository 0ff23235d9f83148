//! `offshoot logs`

use super::Context;
use super::follow::follow;
use super::show::which_job;
use super::watch;
use crate::api_client::ApiError;
use crate::cli::args::LogsFlags;
use crate::cli::error::{CliError, Ended};
use crate::wire::job::Job;
use crate::wire::message::Message;

/// Messages of one page: few enough that the first screen comes at once.
const PAGE_MESSAGES: u32 = 500;

pub(super) async fn run(flags: &LogsFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let job = context.api.get_job(&flags.job).await.map_err(which_job)?;
    if flags.raw {
        raw(&job.value.summary.id, flags.attempt, context).await?;
        return Ok(ended(flags, &job.value));
    }
    let (id, number) = (job.value.summary.id.clone(), job.value.summary.number);
    if flags.follow {
        let job = watch::interruptible(number, Box::pin(follow(job, flags.tail, context))).await?;
        return Ok(ended(flags, &job));
    }
    match print_pages(&id, flags.tail, &mut Told::default(), context).await? {
        Some(error) => Err(error.into()),
        None => Ok(ended(flags, &job.value)),
    }
}

fn ended(flags: &LogsFlags, job: &Job) -> Ended {
    if flags.exit_status { watch::ended(job.summary.status.0) } else { Ended::Done }
}

/// What was printed of a job's story.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The number of the last message.
    last: i64,
}

impl Told {
    /// Prints a message unless it was printed before.
    pub(super) fn print(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), CliError> {
        if message.seq <= self.last {
            return Ok(());
        }
        self.last = message.seq;
        if context.out.is_json() {
            return context.out.json_line(message);
        }
        let line = context.viewpoint().message(message);
        context.out.line(&line)
    }
}

/// Prints the messages that are there, from the last `tail` ones on; gives what the server could not be asked for.
pub(super) async fn print_pages(
    id: &str,
    tail: Option<u64>,
    told: &mut Told,
    context: &mut Context<'_>,
) -> Result<Option<ApiError>, CliError> {
    if let Some(tail) = tail {
        match before_last(id, tail, context).await {
            Ok(last) => told.last = last,
            Err(error) => return Ok(Some(error)),
        }
    }
    loop {
        let page = match context.api.list_messages(id, told.last, PAGE_MESSAGES).await {
            Ok(page) => page,
            Err(error) => return Ok(Some(error)),
        };
        if page.messages.is_empty() {
            return Ok(None);
        }
        for message in &page.messages {
            told.print(message, context)?;
        }
    }
}

/// The number of the message before the last `tail` ones.
async fn before_last(id: &str, tail: u64, context: &Context<'_>) -> Result<i64, ApiError> {
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
