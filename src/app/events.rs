//! The history as it grows: of one job until it is over, or of all.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use super::streams::Ear;
use crate::domain::id::JobNumber;
use crate::domain::token::Reach;
use crate::store::{EventPage, Store};
use crate::wire::event::{Event, StreamDone, StreamItem, StreamReset};

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Behind this number; 0 is the beginning.
    Event(i64),
    /// With what happens from now on.
    Latest,
}

impl After {
    /// Reads what a caller gave: the `Last-Event-ID` of a stream that broke off, else `?after=`, else the beginning.
    ///
    /// # Errors
    /// [`AppError::Malformed`].
    pub fn parse(last_event_id: Option<&str>, after: Option<&str>) -> Result<Self, AppError> {
        let given = last_event_id.map(str::trim).filter(|text| !text.is_empty()).or(after);
        match given {
            None => Ok(Self::Event(0)),
            Some("latest") => Ok(Self::Latest),
            Some(text) => text.parse().ok().filter(|number| *number >= 0).map(Self::Event).ok_or_else(|| {
                AppError::Malformed(
                    "after and Last-Event-ID are the id of an event: a whole number, or latest".to_owned(),
                )
            }),
        }
    }
}

/// Reads a history on, piece by piece. Holds no more than one page; a slow reader simply asks later.
pub struct Follower {
    store: Store,
    job: Option<JobNumber>,
    /// Whose; for the history of one job it was looked at before.
    reach: Reach,
    after: i64,
    ear: Ear,
    /// Everything that was there has been given.
    caught_up: bool,
    done: bool,
}

impl App {
    /// Follows the history of a job from `after` on, until the job is over and everything of it is told.
    ///
    /// # Errors
    /// [`AppError::NotFound`], [`AppError::TooManyStreams`].
    pub async fn follow_job(&self, caller: &Caller, job: &str, after: After) -> Result<Follower, AppError> {
        let number = self.view(caller, job).await?.job.number;
        self.follow(caller, Some(number), Reach::WHOLE, after).await
    }

    /// Follows the history of all jobs that the caller sees.
    ///
    /// # Errors
    /// [`AppError::TooManyStreams`].
    pub async fn follow_all(&self, caller: &Caller, after: After) -> Result<Follower, AppError> {
        self.follow(caller, None, caller.reach.clone(), after).await
    }

    async fn follow(
        &self,
        caller: &Caller,
        job: Option<JobNumber>,
        reach: Reach,
        after: After,
    ) -> Result<Follower, AppError> {
        let store = self.0.store.clone();
        // before the first look, so that nothing is missed in between
        let ear = self.0.streams.enter(caller, &store, job)?;
        let after = match after {
            After::Event(number) => number,
            After::Latest => store.newest_event().await?,
        };
        Ok(Follower { store, job, reach, after, ear, caught_up: false, done: false })
    }
}

impl Follower {
    /// The number behind which it reads on.
    #[must_use]
    pub fn after(&self) -> i64 {
        self.after
    }

    /// The job is over and everything of it was given.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The next items, at least one; `None` at the end: the job is over, or the server ends. Nothing is lost when the
    /// future is dropped.
    ///
    /// # Errors
    /// What the store said.
    pub async fn next(&mut self) -> Result<Option<Vec<StreamItem>>, AppError> {
        loop {
            if self.done || self.ear.closing.is_cancelled() {
                return Ok(None);
            }
            if self.caught_up {
                self.ear.hears().await;
                self.caught_up = false;
                continue;
            }
            let page = self.store.event_page(self.job, &self.reach, self.after).await?;
            let items = self.take(page);
            if !items.is_empty() {
                return Ok(Some(items));
            }
        }
    }

    fn take(&mut self, page: EventPage) -> Vec<StreamItem> {
        self.after = page.upto;
        self.caught_up = page.is_whole;
        let reset = page.lost_to.map(|after| StreamItem::Reset(StreamReset { after }));
        let events = page.events.into_iter().map(|told| {
            StreamItem::Event(Box::new(Event::new(told.event, told.job_id, told.text.as_deref())))
        });
        let mut items: Vec<_> = reset.into_iter().chain(events).collect();
        // of the same snapshot: whatever the job still had to tell is in this page or before it
        if let (Some(over), Some(job), true) = (page.over, self.job, page.is_whole) {
            self.done = true;
            let (status, outcome) = (over.status.map(Into::into), over.outcome.map(Into::into));
            items.push(StreamItem::Done(StreamDone { job: job.0, status, outcome }));
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_stream_that_broke_off_comes_before_the_query() {
        let good = [
            (None, None, After::Event(0)),
            (None, Some("7"), After::Event(7)),
            (Some("9"), Some("7"), After::Event(9)),
            (Some(" "), Some("7"), After::Event(7)),
            (None, Some("latest"), After::Latest),
        ];
        for (header, query, expected) in good {
            assert_eq!(After::parse(header, query).unwrap(), expected, "{header:?} {query:?}");
        }
        for wrong in ["-1", "x", "1.5", "99999999999999999999", "Latest"] {
            assert!(After::parse(None, Some(wrong)).is_err(), "{wrong}");
            assert!(After::parse(Some(wrong), None).is_err(), "{wrong}");
        }
    }
}
