//! Exactly one open pull request, through lost answers, races and a forge that is slow to notice a push.

use std::time::Duration;

use tokio::time::sleep;

use super::{Forge, ForgeError, NewPullRequest, PullRequest, Refusal};
use crate::failpoint::{self, Edge};

/// How long to wait before asking again.
#[derive(Clone, Debug)]
pub struct EnsureWaits {
    /// After "head invalid": right after a push GitHub's API may not know the branch for some seconds.
    pub head: Vec<Duration>,
    /// After an answer that leaves open what happened.
    pub unclear: Vec<Duration>,
}

impl Default for EnsureWaits {
    fn default() -> Self {
        let seconds = |waits: &[u64]| waits.iter().copied().map(Duration::from_secs).collect();
        // Half a minute covers the delays reported for "head invalid"; an unclear answer that stays unclear
        // is better retried by the caller, later.
        Self { head: seconds(&[2, 4, 8, 16]), unclear: seconds(&[2, 5]) }
    }
}

/// The open pull request of `new.head` and `new.base`: the one that is there, else a new one.
///
/// Looks before it asks, and looks again after every answer that leaves open what happened, so that calling it
/// any number of times, also after a crash in the middle, leads to one pull request.
///
/// # Errors
/// The last answer, when the waits are used up. An error that is `unclear` means that even looking failed.
pub async fn ensure_pull_request(
    forge: &dyn Forge,
    new: &NewPullRequest,
    waits: &EnsureWaits,
) -> Result<PullRequest, ForgeError> {
    if let Some(found) = find(forge, new).await? {
        return Ok(found);
    }
    let (mut head_waits, mut unclear_waits) = (waits.head.iter(), waits.unclear.iter());
    loop {
        let asked = failpoint::around(Edge::OpenPullRequest, forge.open_pull_request(new));
        let error = match asked.await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let wait = match &error {
            ForgeError::Refused { refusal: Refusal::HeadInvalid, .. } => head_waits.next(),
            ForgeError::Refused { refusal: Refusal::AlreadyExists, .. } => {
                if let Some(found) = find(forge, new).await? {
                    return Ok(found);
                }
                unclear_waits.next()
            }
            ForgeError::Unavailable { unclear: true, .. } => {
                if let Some(found) = find(forge, new).await.map_err(as_unclear)? {
                    // None was there at the first look, so this is what the lost answer was about.
                    return Ok(PullRequest { created: true, ..found });
                }
                unclear_waits.next()
            }
            _ => None,
        };
        match wait {
            Some(wait) => sleep(*wait).await,
            None => return Err(error),
        }
    }
}

async fn find(forge: &dyn Forge, new: &NewPullRequest) -> Result<Option<PullRequest>, ForgeError> {
    forge.find_pull_request(&new.repo, &new.head, &new.base).await
}

/// A failed look after an unclear write leaves the write unclear.
fn as_unclear(error: ForgeError) -> ForgeError {
    match error {
        ForgeError::Unavailable { text, .. } => ForgeError::Unavailable { unclear: true, text },
        other => other,
    }
}
