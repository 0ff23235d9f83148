//! Work that is long, and that nobody may want any more.

use std::future::{Future as _, poll_fn};
use std::task::Poll;

use tokio_util::sync::CancellationToken;

use super::error::GitError;

/// What says that nobody waits any more. Looked at between two files: the largest takes some ten seconds.
#[derive(Clone, Debug, Default)]
pub struct GiveUp(Vec<CancellationToken>);

impl GiveUp {
    /// As soon as one of these is cancelled.
    #[must_use]
    pub fn new(signals: Vec<CancellationToken>) -> Self {
        Self(signals)
    }

    /// # Errors
    /// [`GitError::GivenUp`].
    pub(super) fn check(&self) -> Result<(), GitError> {
        if self.0.iter().any(CancellationToken::is_cancelled) { Err(GitError::GivenUp) } else { Ok(()) }
    }

    /// Comes to an end when nobody waits any more; never where nothing could say so.
    pub(super) async fn given_up(&self) {
        let mut signals: Vec<_> = self.0.iter().map(|signal| Box::pin(signal.cancelled())).collect();
        poll_fn(|context| {
            let is_over = signals.iter_mut().any(|signal| signal.as_mut().poll(context).is_ready());
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
