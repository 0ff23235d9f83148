//! The ways off the line, and what each foreign error means for a job.

use std::time::Duration;

use crate::domain::attempt::AttemptEnd;
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::time::Timestamp;
use crate::forge::{ForgeError, Refusal};
use crate::git::{GitError, Remote, RemoteFailure};
use crate::process::ProcessError;
use crate::store::StoreError;

/// Why the line is left.
#[derive(Debug)]
pub(super) enum Halt {
    /// The attempt is over, and this is how.
    Ended(AttemptEnd),
    /// The server is leaving; the next one goes on with this very attempt.
    Shutdown,
    /// Somebody else has the job.
    LeaseLost,
    /// The agent cannot be followed, and it lives: the attempt is not over, whatever failed. It is taken up again.
    Unfollowed(Reason),
    /// There is no room for what the agent has done. It is paid for, so the attempt is not over: it is taken up again.
    NoRoom,
    /// The store does not answer any more: nothing can be decided, the next start finds out.
    Store(StoreError),
}

pub(super) type Step<T> = Result<T, Halt>;

impl Halt {
    pub(super) fn fault(code: ReasonCode, detail: &str) -> Self {
        Self::ended(Reason::new(code, detail), None, true)
    }

    /// A fault that the code's own sentence would tell wrongly: `message` stands for it.
    pub(super) fn told(code: ReasonCode, message: &str) -> Self {
        Self::ended(Reason::told(code, message), None, true)
    }

    pub(super) fn fault_until(code: ReasonCode, detail: &str, until: Option<Timestamp>) -> Self {
        Self::ended(Reason::new(code, detail), until, true)
    }

    /// A fault before anything was spent: it is not counted.
    pub(super) fn unspent(code: ReasonCode, detail: &str) -> Self {
        Self::ended(Reason::new(code, detail), None, false)
    }

    fn ended(reason: Reason, until: Option<Timestamp>, spent: bool) -> Self {
        Self::Ended(AttemptEnd::Faulted { reason, until, window: None, spent })
    }

    /// A bug of ours: the log has the details, the job says that there are some.
    pub(super) fn internal(what: &str, error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "{what}");
        Self::fault(ReasonCode::Internal, what)
    }

    /// Where a repository was looked for that is not there: a wrong name is seen in its address. Directories of this machine are nobody
    /// else's business, and their last two names say as much.
    pub(super) fn naming(self, remote: &Remote) -> Self {
        let Self::Ended(AttemptEnd::Faulted { reason, until, window, spent }) = self else { return self };
        if reason.code != ReasonCode::RepoNotFound {
            return Self::Ended(AttemptEnd::Faulted { reason, until, window, spent });
        }
        let url = remote.url();
        let last_two = |path: &str| {
            let names: Vec<_> = path.rsplit('/').filter(|name| !name.is_empty()).take(2).collect();
            names.into_iter().rev().collect::<Vec<_>>().join("/")
        };
        let is_local = url.starts_with('/') || url.starts_with("file:");
        let place = if is_local { last_two(url) } else { url.to_owned() };
        let reason = Reason::told(reason.code, &format!("{} Looked for at {place}", reason.message));
        Self::Ended(AttemptEnd::Faulted { reason, until, window, spent })
    }

    /// Whether the server took the step along when it was stopped in order.
    pub(super) fn is_stop(&self) -> bool {
        matches!(self, Self::Ended(AttemptEnd::Faulted { reason, .. }) if reason.code == ReasonCode::Stopped)
    }

    pub(super) fn rate_limited(detail: &str, now: Timestamp, retry_after: Duration) -> Self {
        Self::fault_until(ReasonCode::ForgeRateLimited, detail, Some(now + retry_after))
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LeaseLost(_) => Self::LeaseLost,
            // a full disk too: the end of the attempt could not be written either, so it waits for room
            other => Self::Store(other),
        }
    }
}

impl From<GitError> for Halt {
    fn from(error: GitError) -> Self {
        let text = error.to_string();
        if error.is_disk_full() {
            return Self::fault(ReasonCode::DiskFull, "");
        }
        let code = match &error {
            GitError::Remote(RemoteFailure::NotFound) => return Self::fault(ReasonCode::RepoNotFound, ""),
            GitError::Remote(RemoteFailure::AuthFailed) => return Self::fault(ReasonCode::ForgeAuth, ""),
            GitError::Remote(RemoteFailure::Unavailable { text }) => {
                return Self::fault(ReasonCode::RemoteUnavailable, text);
            }
            GitError::Remote(RemoteFailure::Other { text }) => {
                return Self::fault(ReasonCode::CloneFailed, text);
            }
            GitError::Deadline { .. } => ReasonCode::RemoteUnavailable,
            GitError::Damaged { .. } => ReasonCode::CloneDamaged,
            GitError::Tampered { .. } => ReasonCode::RepoTampered,
            GitError::HistoryRewritten { .. } => ReasonCode::HistoryRewritten,
            GitError::CopyCommitted { .. } => ReasonCode::SecretDetected,
            GitError::UnsupportedFilter { .. } => ReasonCode::UnsupportedFilter,
            // before the commit: the agent runs again
            GitError::LfsUnusable { .. } => return Self::told(ReasonCode::UnsupportedFilter, &text),
            GitError::NotFastForward { .. } => ReasonCode::BranchMoved,
            GitError::FileTooLarge { .. } => {
                let message = format!("Nothing was committed, for the remote would refuse it: {text}.");
                return Self::told(ReasonCode::PushRejected, &message);
            }
            GitError::LargeFilesTooLarge { .. } => {
                let message = format!(
                    "Nothing was committed: {text}, holes in them counted, and limits.worktree_bytes_max allows no more."
                );
                return Self::told(ReasonCode::ResourceLimit, &message);
            }
            GitError::LargeFilesTooMany { .. } => {
                let message = format!("Nothing was committed: {text}. Let several jobs bring them.");
                return Self::told(ReasonCode::ResourceLimit, &message);
            }
            GitError::WorktreeBroken(how) => {
                return Self::internal(&format!("The agent's worktree cannot be used: {how}."), text);
            }
            _ => return Self::internal("a git step failed", text),
        };
        Self::fault(code, &text)
    }
}

impl From<ProcessError> for Halt {
    fn from(error: ProcessError) -> Self {
        match error {
            // somebody killed it, or the machine had no memory for it: the next one may live. Counted, so that this ends.
            ProcessError::Gone => {
                Self::fault(ReasonCode::Interrupted, "Its supervisor was killed before it began.")
            }
            ProcessError::Format(what) => {
                let detail = format!("Of a step, {what} is damaged or was written by a newer offshoot.");
                Self::internal(&detail, error)
            }
            other if other.is_disk_full() => Self::unspent(ReasonCode::DiskFull, ""),
            other => Self::internal("the supervisor of a step failed", other),
        }
    }
}

/// What a forge's answer means; a rate limit also says until when.
pub(super) fn forge_halt(error: &ForgeError, now: Timestamp) -> Halt {
    let text = error.to_string();
    match error {
        ForgeError::NotFound | ForgeError::Moved => Halt::fault(ReasonCode::RepoNotFound, &text),
        ForgeError::Archived => Halt::fault(ReasonCode::RepoArchived, ""),
        ForgeError::Auth | ForgeError::Setup { .. } => Halt::fault(ReasonCode::ForgeAuth, &text),
        ForgeError::Forbidden { .. } => Halt::fault(ReasonCode::ForgeForbidden, &text),
        ForgeError::Refused { refusal: Refusal::NoCommits, .. } => {
            Halt::fault(ReasonCode::PullRequestRefused, "There is nothing on the branch that the base lacks.")
        }
        ForgeError::Refused { text, .. } => Halt::fault(ReasonCode::PullRequestRefused, text),
        ForgeError::RateLimited { retry_after } => Halt::rate_limited(&text, now, *retry_after),
        ForgeError::Unavailable { .. } => Halt::fault(ReasonCode::ForgeUnavailable, &text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_that_was_killed_at_its_start_is_no_bug_of_ours() {
        let code = |error: ProcessError| match Halt::from(error) {
            Halt::Ended(AttemptEnd::Faulted { reason, .. }) => reason.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(ProcessError::Gone), ReasonCode::Interrupted);
        assert_eq!(code(ProcessError::Start("the disk is full".to_owned())), ReasonCode::Internal);
    }

    #[test]
    fn what_the_remote_never_saw_it_has_not_refused() {
        let error = GitError::FileTooLarge { path: "a.iso".to_owned(), bytes: 7, bytes_max: 5 };
        let Halt::Ended(AttemptEnd::Faulted { reason, .. }) = Halt::from(error) else { panic!("no fault") };
        assert_eq!(reason.code, ReasonCode::PushRejected);
        let message = "Nothing was committed, for the remote would refuse it: a.iso has 7 bytes, more than the 5 allowed in a commit.";
        assert_eq!(reason.message, message);
    }

    /// An attempt whose row finds no room is not over: it waits, and its end is written when there is room.
    #[test]
    fn a_full_disk_under_the_store_does_not_end_an_attempt() {
        assert!(matches!(Halt::from(StoreError::DiskFull), Halt::Store(StoreError::DiskFull)));
    }
}
