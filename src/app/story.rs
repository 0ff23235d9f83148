//! What a job has told so far, piece by piece, for whoever looks instead of following.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::wire::event::Event;

/// Events in one piece: some thousand lines, which is more than anybody reads at once.
const PIECE_EVENTS: u32 = 1_000;

/// A piece of a job's history, the oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    pub events: Vec<Event>,
    /// The number of an event before which there is more; `None`: this is the beginning.
    pub older: Option<i64>,
    /// The number behind which the story goes on.
    pub upto: i64,
    /// Nothing more was there.
    pub is_whole: bool,
}

/// Which piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The newest one.
    Last,
    /// The last one before the event of this number.
    Before(i64),
    /// The first one behind the event of this number.
    Behind(i64),
}

impl App {
    /// A piece of what the job has told.
    ///
    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn job_story(&self, caller: &Caller, job: &str, piece: Piece) -> Result<Story, AppError> {
        let job = self.view(caller, job).await?.job.number;
        let store = &self.0.store;
        let (first, end) = match piece {
            Piece::Last => (store.event_before(job, i64::MAX, PIECE_EVENTS).await?, i64::MAX),
            Piece::Before(end) => (store.event_before(job, end, PIECE_EVENTS).await?, end),
            Piece::Behind(first) => (first, i64::MAX),
        };
        let mut story = Story { events: Vec::new(), older: None, upto: first, is_whole: false };
        // a page has one event at least
        while !story.is_whole && story.events.len() < PIECE_EVENTS as usize {
            let page = store.event_page(Some(job), &caller.reach, story.upto).await?;
            story.is_whole = page.is_whole;
            for told in page.events.into_iter().filter(|told| told.event.seq < end) {
                story.events.push(Event::new(told.event, told.job_id, told.text.as_deref()));
            }
            story.upto = page.upto;
            if story.upto >= end {
                story.is_whole = true;
            }
        }
        story.older = story.events.first().map(|event| event.seq).filter(|_| first > 0);
        Ok(story)
    }

    /// The events that moved the job, the oldest first.
    ///
    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn job_life(&self, caller: &Caller, job: &str) -> Result<Vec<Event>, AppError> {
        let job = self.view(caller, job).await?.job.number;
        let events = self.0.store.life_of(job).await?;
        Ok(events.into_iter().map(|event| Event::new(event, None, None)).collect())
    }

    /// The last thing that was said of a job: what its agent does now, while it runs.
    ///
    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn last_words(&self, caller: &Caller, job: &str) -> Result<Option<String>, AppError> {
        let job = self.view(caller, job).await?.job.number;
        Ok(self.0.store.last_message(job).await?.map(|message| message.content))
    }
}
