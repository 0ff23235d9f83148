//! Work that is long, and that nobody may want any more.

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
}
