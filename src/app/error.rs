//! Why a request was not carried out, in words for the one who sent it.

use std::sync::Arc;

use crate::domain::lifecycle::Refusal;
use crate::domain::visit::Unvisitable;
use crate::forge::ForgeError;
use crate::git::GitError;
use crate::store::StoreError;
use crate::wire::fields::Reading;
use crate::wire::problem::{Fault, JobName};

/// The code of a job whose client is not there any more.
pub(super) const CLIENT_DELETED: &str = "client_deleted";
/// The code of what somebody else has changed since it was read.
pub(super) const CHANGED: &str = "changed_meanwhile";

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A value that cannot be read at all: a query parameter of the wrong type.
    #[error("{0}")]
    Malformed(String),
    #[error("{}", summary(.0))]
    Invalid(Vec<Fault>),
    /// Documented, and not built yet.
    #[error("{}", summary(.0))]
    NotSupported(Vec<Fault>),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A job that is over cannot be cancelled.
    #[error("{0}")]
    AlreadyOver(Refusal),
    #[error("{detail}")]
    Conflict { code: &'static str, detail: String, existing: Option<String>, jobs: Vec<JobName> },
    #[error("the queue is full: {max} jobs wait; try again later")]
    QueueFull { max: u32 },
    #[error("{max} streams are open{whose}, which is the most at once; close one or try again later")]
    TooManyStreams { max: usize, whose: &'static str },
    /// The git remote did not do what was asked; the text is git's.
    #[error("{0}")]
    Remote(String),
    /// It was begun and takes longer than a request may; the wish stands.
    #[error("{0}")]
    TakesLonger(String),
    #[error("the server is shutting down: ask again when it is back")]
    Draining,
    /// The text says what is wrong and what helps.
    #[error("{0}")]
    ReadOnly(Arc<str>),
    #[error("the disk is full")]
    DiskFull,
    /// The caller hears only that it happened; the log has this text.
    #[error("{0}")]
    Internal(String),
    /// The result of an operation that several callers waited for.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl AppError {
    /// One fault of one member.
    #[must_use]
    pub fn invalid(pointer: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault::new(pointer, detail)])
    }

    /// Documented, and not built yet.
    #[must_use]
    pub fn not_supported(pointer: &str, detail: &str) -> Self {
        Self::NotSupported(vec![Fault::new(pointer, detail)])
    }

    pub(super) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into(), existing: None, jobs: Vec::new() }
    }

    pub(super) fn client_deleted() -> Self {
        Self::conflict(CLIENT_DELETED, "the client of this job was deleted")
    }

    /// Faults first: what is invalid stays invalid in later versions.
    pub(super) fn of_reading(reading: &Reading) -> Result<(), Self> {
        if !reading.faults.is_empty() {
            return Err(Self::Invalid(reading.faults.clone()));
        }
        if !reading.not_supported.is_empty() {
            return Err(Self::NotSupported(reading.not_supported.clone()));
        }
        Ok(())
    }

    /// What the forge said when it was asked for a credential.
    pub(super) fn forge(error: ForgeError) -> Self {
        Self::Remote(error.to_string())
    }

    pub(super) fn git(error: GitError) -> Self {
        if error.is_disk_full() {
            return Self::DiskFull;
        }
        match error {
            GitError::Remote(failure) => Self::Remote(failure.to_string()),
            GitError::Deadline { .. } => Self::Remote(error.to_string()),
            GitError::Damaged { .. } => {
                let text = format!("{error}; the next job of this repository mends it");
                Self::conflict("clone_damaged", text)
            }
            GitError::Tampered { .. } => Self::conflict("repo_tampered", error.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::NotFound(what),
            StoreError::Ambiguous => {
                Self::conflict("ambiguous_id", "more than one job begins with that id: give more characters")
            }
            StoreError::BranchBusy(ref other) => Self::Conflict {
                code: "branch_busy",
                detail: error.to_string(),
                existing: None,
                jobs: vec![JobName { id: other.job.to_string(), number: other.number.0 }],
            },
            StoreError::DuplicateClient { ref existing, .. } => Self::Conflict {
                code: "duplicate_client",
                detail: error.to_string(),
                existing: Some(existing.clone()),
                jobs: Vec::new(),
            },
            StoreError::UrlSuspended => Self::Forbidden(format!(
                "{error}; that is lifted for all clients, and the token is limited to some"
            )),
            StoreError::Changed => Self::conflict(CHANGED, format!("{error}: read it, and try again")),
            StoreError::DuplicateProfile(_) => Self::conflict("duplicate_profile", error.to_string()),
            StoreError::TooManyProfiles => {
                let detail = format!("{error}: delete one first (offshoot profile ls)");
                Self::conflict("too_many_profiles", detail)
            }
            StoreError::DuplicateToken(_) => {
                let detail = format!("{error}: revoke it first, or take another name");
                Self::conflict("duplicate_token", detail)
            }
            StoreError::TooManyTokens => {
                let detail = format!("{error}: revoke one first (offshoot token ls)");
                Self::conflict("too_many_tokens", detail)
            }
            StoreError::ClientBusy { ref jobs } => {
                let numbers: Vec<_> = jobs.iter().take(20).map(|job| format!("#{job}")).collect();
                Self::conflict("client_busy", format!("the client has live jobs: {}", numbers.join(", ")))
            }
            StoreError::Published { .. } => Self::conflict("job_completed", error.to_string()),
            StoreError::QueueFull { max } => Self::QueueFull { max },
            StoreError::Unheard(why) => Self::conflict(why.code(), why.to_string()),
            StoreError::Unvisitable(why @ Unvisitable::MakingWay) => Self::TakesLonger(why.to_string()),
            StoreError::Unvisitable(why) => Self::conflict(why.code(), why.to_string()),
            StoreError::Refused(refusal) => Self::AlreadyOver(refusal),
            StoreError::DiskFull => Self::DiskFull,
            StoreError::Stopped => {
                Self::ReadOnly("the database accepts no changes; the server has to be restarted".into())
            }
            StoreError::ReadOnly(guide) => Self::ReadOnly(guide),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// The first fault stands for all in the one line that people read first.
fn summary(faults: &[Fault]) -> String {
    let Some(first) = faults.first() else { return "the request is invalid".to_owned() };
    let name = first.pointer.trim_start_matches(['/', '?']);
    let name = if name.is_empty() { "the body" } else { name };
    match faults.len() - 1 {
        0 => format!("{name} {}", first.detail),
        1 => format!("{name} {} (and one more fault)", first.detail),
        more => format!("{name} {} (and {more} more faults)", first.detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_is_the_headline() {
        let faults = vec![Fault::new("/prompt", "must not be empty"), Fault::new("/title", "is too long")];
        assert_eq!(AppError::Invalid(faults).to_string(), "prompt must not be empty (and one more fault)");
        assert_eq!(AppError::invalid("", "must be an object").to_string(), "the body must be an object");
    }
}
