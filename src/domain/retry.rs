//! What a retry repeats: only what failed.

use super::job::{Job, Outcome, Start, Status};
use super::named::named_enum;

named_enum! {
    /// How a caller wants a job retried.
    RetryMode {
        /// Publish the commit that is there, else start again.
        Auto = "auto",
        /// Start again from the base.
        Fresh = "fresh",
        /// Continue the agent's conversation.
        Resume = "resume",
        /// Publish the commit that is there; never run the agent.
        Publish = "publish",
    }
}

/// Why a job cannot be retried this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRetry {
    #[error("the job is still {0}: cancel it first, or wait")]
    Live(Status),
    #[error("the job completed; to go on, send another one to the same branch")]
    Completed,
    #[error("the job has no commit to publish")]
    NothingToPublish,
    #[error("a retry with another prompt runs the agent: use mode \"fresh\"")]
    PromptWithoutAgent,
}

/// Where the retry of `job` starts.
///
/// # Errors
/// When the job is live or completed, or has nothing to publish where that was asked for.
pub fn plan(job: &Job, mode: RetryMode, new_prompt: bool) -> Result<Start, CannotRetry> {
    match job.status {
        Status::Queued | Status::Running => return Err(CannotRetry::Live(job.status)),
        Status::Completed if job.outcome != Some(Outcome::DryRun) => return Err(CannotRetry::Completed),
        Status::Completed | Status::Failed | Status::Cancelled => {}
    }
    let commit = match (&job.effects.base_sha, &job.effects.head_sha) {
        (Some(base_sha), Some(head_sha)) => {
            Some(Start::Publish { base_sha: base_sha.clone(), head_sha: head_sha.clone() })
        }
        _ => None,
    };
    let only_publication_failed = job.outcome == Some(Outcome::DryRun)
        || job.reason.as_ref().is_some_and(|reason| reason.code.is_publication());
    match (mode, commit) {
        (RetryMode::Publish, _) if new_prompt => Err(CannotRetry::PromptWithoutAgent),
        (RetryMode::Publish, Some(publish)) => Ok(publish),
        (RetryMode::Publish, None) => Err(CannotRetry::NothingToPublish),
        (RetryMode::Auto, Some(publish)) if only_publication_failed && !new_prompt => Ok(publish),
        (RetryMode::Auto | RetryMode::Fresh | RetryMode::Resume, _) => Ok(Start::Agent),
    }
}
