//! What a forge can answer instead of doing it.

use std::time::Duration;

use thiserror::Error;

/// Texts come from the forge: shortened, printable, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ForgeError {
    #[error("the forge cannot be set up: {text}")]
    Setup { text: String },
    #[error("the forge does not know this repository, or the credential may not see it")]
    NotFound,
    #[error("the repository has moved to another name")]
    Moved,
    #[error("the repository is archived and read-only")]
    Archived,
    #[error("the forge does not accept the credential")]
    Auth,
    #[error("the forge forbids it: {text}")]
    Forbidden { text: String },
    #[error("the forge refuses it: {text}")]
    Refused { refusal: Refusal, text: String },
    /// Nothing was done. No request goes out before the wait is over.
    #[error("the forge's rate limit is reached, to be asked again in {} s", retry_after.as_secs())]
    RateLimited { retry_after: Duration },
    /// `unclear`: the request may have had its effect, so look before repeating it.
    #[error("the forge gave no usable answer: {text}")]
    Unavailable { unclear: bool, text: String },
}

/// Refusals that have a remedy of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An open pull request for this head and base is already there.
    AlreadyExists,
    /// The forge does not (yet) know the head branch.
    HeadInvalid,
    /// The head has no commit that the base lacks.
    NoCommits,
    /// The plan of the repository has no drafts.
    NoDrafts,
    Other,
}

impl ForgeError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Unavailable { .. })
    }
}
