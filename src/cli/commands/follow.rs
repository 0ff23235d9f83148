//! A job's story as it is told, with a server that may be restarted meanwhile: no line is lost, none comes twice.

use std::time::Duration;

use tokio::time::Instant;

use super::Context;
use super::logs::{self, Told};
use super::watch;
use crate::api_client::{ApiError, EventStream, Heard, Since, Tagged};
use crate::cli::error::CliError;
use crate::domain::event::EventKind;
use crate::domain::job::Status;
use crate::wire::event::StreamItem;
use crate::wire::job::{Job, JobSummary};

/// Silence after which somebody wonders whether the agent is still alive.
const SILENCE: Duration = Duration::from_secs(60);

/// What a job waits for changes without an event of its own.
const LOOK: Duration = Duration::from_secs(5);

/// What was said about how a job waits.
#[derive(Debug, Default)]
struct Queued {
    /// Whether it did at the last look.
    waits: bool,
    said: String,
}

impl Queued {
    /// Says why the job waits, when that is not what was said last.
    async fn tell(&mut self, job: &JobSummary, context: &mut Context<'_>) {
        self.waits = job.status.0 == Status::Queued;
        let state = if job.waiting.is_some() { watch::progress(context, job) } else { String::new() };
        if state == self.said {
            return;
        }
        if !state.is_empty() {
            let text = watch::standing(context, job).await;
            context.out.say(&text);
        }
        self.said = state;
    }

    async fn look(&mut self, id: &str, context: &mut Context<'_>) {
        // a server that is away is noticed by the stream
        if let Ok(job) = context.api.get_job(id).await {
            self.tell(&job.value.summary, context).await;
        }
    }
}

/// What the stream came to.
enum Break {
    Over,
    /// What comes next is in the messages, not in the stream.
    Reset,
    /// The server has ended it, or it broke off.
    Lost(Option<ApiError>),
}

/// Prints what there is and what comes, and returns the job as it is when it is over. The stream is opened before the
/// messages are read, so that what falls in between is in both, and is told apart by the number of its message.
pub(super) async fn follow(
    job: Tagged<Job>,
    tail: Option<u64>,
    context: &mut Context<'_>,
) -> Result<Job, CliError> {
    let id = job.value.summary.id.clone();
    let mut told = Told::default();
    let mut since = Since::Now;
    let mut first = true;
    let mut away_since = None;
    let mut queued = Queued::default();
    queued.tell(&job.value.summary, context).await;
    loop {
        let mut stream = match context.api.follow_events(&id, since).await {
            Ok(stream) => stream,
            Err(error) => {
                watch::outlast(context, error, &mut away_since).await?;
                continue;
            }
        };
        if since == Since::Now {
            let before = if first { tail } else { None };
            match logs::print_pages(&id, before, &mut told, context).await? {
                None => first = false,
                Some(error) => {
                    watch::outlast(context, error, &mut away_since).await?;
                    continue;
                }
            }
        }
        away_since = None;
        let number = job.value.summary.number;
        match listen((&id, number), &mut stream, &mut told, &mut queued, context).await? {
            Break::Over => match watch::insist(context, &id).await? {
                job if !job.summary.status.0.is_live() => return Ok(job),
                // it was put back from a backup in which it goes on
                _ => since = Since::Now,
            },
            Break::Reset => since = Since::Now,
            Break::Lost(error) => {
                since = stream.last().map_or(Since::Now, Since::Event);
                let error = error.unwrap_or_else(|| ApiError::Unreachable {
                    url: context.api.base_url().to_owned(),
                    why: "the server ended the stream".to_owned(),
                    maybe_done: false,
                });
                watch::outlast(context, error, &mut away_since).await?;
            }
        }
    }
}

async fn listen(
    (id, number): (&str, i64),
    stream: &mut EventStream,
    told: &mut Told,
    queued: &mut Queued,
    context: &mut Context<'_>,
) -> Result<Break, CliError> {
    let mut silent_since = Instant::now();
    let mut wondered = false;
    loop {
        let mut next = std::pin::pin!(stream.next());
        let heard = loop {
            tokio::select! {
                heard = &mut next => break heard,
                () = tokio::time::sleep(LOOK), if queued.waits => queued.look(id, context).await,
            }
        };
        let item = match heard {
            Ok(Some(Heard::Item(item))) => item,
            Ok(Some(Heard::Alive)) => {
                if !wondered && silent_since.elapsed() > SILENCE {
                    wondered = true;
                    let job = context.api.get_job(id).await.ok();
                    let state = job.map(|job| context.viewpoint().state(&job.value.summary));
                    let state = state.map_or_else(String::new, |state| format!("; #{number} is {state}"));
                    context.out.say(&format!("nothing was said for a minute{state}"));
                }
                continue;
            }
            Ok(None) => return Ok(Break::Lost(None)),
            Err(error @ ApiError::Unintelligible { .. }) => return Err(error.into()),
            Err(error) => return Ok(Break::Lost(Some(error))),
        };
        match item {
            StreamItem::Done(_) => return Ok(Break::Over),
            StreamItem::Reset(_) => return Ok(Break::Reset),
            StreamItem::Event(event) => {
                if let Some(message) = event.message() {
                    told.print(&message, context)?;
                    (silent_since, wondered) = (Instant::now(), false);
                } else if matches!(
                    event.type_.0,
                    EventKind::JobQueued | EventKind::JobHeld | EventKind::AttemptStarted
                ) {
                    queued.look(id, context).await;
                }
            }
        }
    }
}
