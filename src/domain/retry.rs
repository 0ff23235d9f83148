//! What a retry repeats: only what failed.

use super::job::{Job, Outcome, Start, Status};
use super::named::named_enum;
use super::options::{Publish, RunOptions};

named_enum! {
    /// How a caller wants a job retried.
    RetryMode {
        /// Repeat only what failed: publish the commit that is there, else start again. Of a dry run: publish its commit, and
        /// never run the agent.
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
    #[error("the job completed; to go on where it ended, follow it up")]
    Completed,
    #[error("the job has no commit to publish")]
    NothingToPublish,
    #[error("a retry with another prompt runs the agent: use mode \"fresh\" or \"resume\"")]
    PromptWithoutAgent,
}

/// What `job` repeats, what that repeats in turn, and so on, as far as `chain` has it.
pub fn originals<'c>(job: &Job, chain: &'c [Job]) -> impl Iterator<Item = &'c Job> + use<'c> {
    fn of<'c>(job: &Job, chain: &'c [Job]) -> Option<&'c Job> {
        let original = job.chain.original.as_ref()?;
        // what is repeated is older, so this comes to an end
        chain.iter().find(|other| other.number < job.number && other.id == *original)
    }
    std::iter::successors(of(job, chain), move |job| of(job, chain))
}

/// The job that has published what `job` was to do: a retry of it, or of such a one.
#[must_use]
pub fn published_by_a_retry<'c>(job: &Job, chain: &'c [Job]) -> Option<&'c Job> {
    let mut family = vec![&job.id];
    // a retry has a larger number than what it retries
    for other in chain.iter().filter(|other| other.number > job.number) {
        if other.chain.original.as_ref().is_some_and(|original| family.contains(&original)) {
            if other.is_published() {
                return Some(other);
            }
            family.push(&other.id);
        }
    }
    None
}

/// Work that a person has done, and called done, is repeated by nobody else: it is looked at and published once more.
fn without_commit(job: &Job) -> Start {
    if job.is_done_by_hand() {
        return Start::Resume { session_id: job.effects.session_id.clone() };
    }
    Start::Agent
}

/// Whether what there is to publish is the commit of a dry run: somebody may have looked at it, and that is no leave to push
/// another.
fn publishes_dry_run(job: &Job, chain: &[Job]) -> bool {
    let mut line = std::iter::once(job).chain(originals(job, chain));
    let made_it = line.find(|job| job.outcome == Some(Outcome::DryRun) || !job.only_publishes());
    made_it.is_some_and(|job| job.outcome == Some(Outcome::DryRun))
}

/// Where the retry of `job`, one of `chain`, starts.
///
/// # Errors
/// When the job is live or completed, or has nothing to publish where that was asked for.
pub fn plan(job: &Job, chain: &[Job], mode: RetryMode, new_prompt: bool) -> Result<Start, CannotRetry> {
    match job.status {
        Status::Queued | Status::Running => return Err(CannotRetry::Live(job.status)),
        Status::Completed if job.outcome != Some(Outcome::DryRun) => return Err(CannotRetry::Completed),
        Status::Completed | Status::Failed | Status::Cancelled => {}
    }
    // a retry that failed before it had taken its commit over has it still
    let commit = match (&job.effects.base_sha, &job.effects.head_sha, &job.start) {
        (Some(base), Some(head), _) => Some((base, head)),
        (_, _, Start::Publish { base_sha, head_sha, .. }) => Some((base_sha, head_sha)),
        _ => None,
    };
    let publish = |or_agent| {
        let (base_sha, head_sha) = commit?;
        Some(Start::Publish { base_sha: base_sha.clone(), head_sha: head_sha.clone(), or_agent })
    };
    let refused = job.reason.as_ref().is_some_and(|reason| reason.code.refuses_the_work());
    match mode {
        RetryMode::Publish if new_prompt => Err(CannotRetry::PromptWithoutAgent),
        RetryMode::Publish => publish(false).ok_or(CannotRetry::NothingToPublish),
        RetryMode::Auto if new_prompt || refused => Ok(Start::Agent),
        // the agent is done with a job that has a commit: whatever came then is not its fault
        RetryMode::Auto => Ok(publish(!publishes_dry_run(job, chain)).unwrap_or_else(|| without_commit(job))),
        RetryMode::Fresh => Ok(Start::Agent),
        RetryMode::Resume => {
            let resumable = job.reason.as_ref().is_none_or(|reason| reason.code.resumable());
            Ok(Start::Resume { session_id: job.effects.session_id.clone().filter(|_| resumable) })
        }
    }
}

/// How far the work of a job goes, by `layers`, the strongest first; `None` where none of them says it. Whoever chose a commit
/// to be published does not ask for another dry run: of such a job every `none` is passed over, and `farthest` is what is left.
#[must_use]
pub fn how_far(start: &Start, layers: &[&RunOptions], farthest: Publish) -> Option<Publish> {
    let mut said = layers.iter().filter_map(|layer| layer.publish);
    match start {
        Start::Publish { or_agent: false, .. } => {
            Some(said.find(|publish| *publish != Publish::None).unwrap_or(farthest))
        }
        Start::Agent | Start::Resume { .. } | Start::Publish { .. } => said.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_commit_goes_as_far_as_those_say_who_do_not_say_none() {
        let says = |publish| RunOptions { publish, ..RunOptions::default() };
        let (nobody, none, branch, pull) = (
            says(None),
            says(Some(Publish::None)),
            says(Some(Publish::Branch)),
            says(Some(Publish::PullRequest)),
        );
        let chosen =
            |or_agent| Start::Publish { base_sha: "b".to_owned(), head_sha: "h".to_owned(), or_agent };
        for (start, layers, expected) in [
            (chosen(false), vec![&none, &branch, &pull], Some(Publish::Branch)),
            (chosen(false), vec![&none, &nobody, &pull], Some(Publish::PullRequest)),
            (chosen(false), vec![&none, &none], Some(Publish::PullRequest)),
            (chosen(false), vec![&nobody], Some(Publish::PullRequest)),
            (chosen(true), vec![&none, &branch], Some(Publish::None)),
            (Start::Agent, vec![&nobody, &branch], Some(Publish::Branch)),
            (Start::Resume { session_id: None }, vec![&nobody], None),
        ] {
            assert_eq!(how_far(&start, &layers, Publish::PullRequest), expected, "{start:?} {layers:?}");
        }
    }
}
