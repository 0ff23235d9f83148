//! What is read for as long as it goes on: the history, the output of an attempt. Bounded in number, and ended when the
//! server ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use super::shares::{Full, Rule, Share, Shares};
use crate::domain::id::JobNumber;
use crate::metrics;
use crate::store::{Change, Store};

/// Streams at once. Each may hold a page of 64 KiB, the same as JSON, and some 400 KiB that its connection has not passed
/// on yet: 64 MiB if every reader is slow at the same time. A quarter of the connections, so that plain requests get
/// through beside them.
const STREAMS_MAX: usize = 128;
/// Of one named token: half, so that one that opens all it may leaves as many to the others.
const STREAMS_PER_TOKEN_MAX: usize = 64;
/// Of the built-in token alone: its owner has to get through, and a dashboard has one for each page.
const STREAMS_KEPT: usize = 16;
/// Hints may be lost: so often the rows are looked at without one.
const LOOK: Duration = Duration::from_secs(30);

/// The streams of a server.
pub(super) struct Streams {
    places: Arc<Shares>,
    closing: CancellationToken,
}

impl Default for Streams {
    fn default() -> Self {
        let rule = Rule { places: STREAMS_MAX, per_token: STREAMS_PER_TOKEN_MAX, kept: STREAMS_KEPT };
        Self { places: Shares::new(rule), closing: CancellationToken::new() }
    }
}

/// One stream's place among the others, and its ear for changes.
pub(super) struct Ear {
    changes: broadcast::Receiver<Change>,
    /// Whose changes matter; `None`: everybody's.
    job: Option<JobNumber>,
    pub(super) closing: CancellationToken,
    _place: Share,
    _counted: metrics::Held,
}

impl Streams {
    /// From here on every change is heard.
    pub(super) fn enter(
        &self,
        caller: &Caller,
        store: &Store,
        job: Option<JobNumber>,
    ) -> Result<Ear, AppError> {
        let place = self.places.take(caller).map_err(|full| match full {
            Full::OfToken => {
                AppError::TooManyStreams { max: STREAMS_PER_TOKEN_MAX, whose: " with this token" }
            }
            Full::All => AppError::TooManyStreams { max: STREAMS_MAX, whose: "" },
            Full::Named => {
                AppError::TooManyStreams { max: STREAMS_MAX - STREAMS_KEPT, whose: " with named tokens" }
            }
        })?;
        Ok(Ear {
            changes: store.watch(),
            job,
            closing: self.closing.clone(),
            _place: place,
            _counted: metrics::STREAMS.hold(),
        })
    }
}

impl Ear {
    /// Resolves when there may be something new, or it is time to look all the same, or the server ends. Nothing is lost
    /// when the future is dropped.
    pub(super) async fn hears(&mut self) {
        let look = tokio::time::sleep(LOOK);
        tokio::pin!(look);
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = &mut look => return,
                heard = self.changes.recv() => match heard {
                    Ok(change) if !change.tells_of(self.job) => {}
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => break,
                    // no store, no changes: the look is what is left
                    Err(broadcast::error::RecvError::Closed) => {
                        look.as_mut().await;
                        return;
                    }
                },
            }
        }
        // one look answers all that were told meanwhile
        while !matches!(
            self.changes.try_recv(),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)
        ) {}
    }
}

impl App {
    /// Ends every stream: nothing that lasts as long as a job may hold up the end of the server.
    pub fn end_streams(&self) {
        self.0.streams.closing.cancel();
    }
}
