//! What people say to the agent: which turn is told what, and the end of a turn that somebody interrupts.

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::attempt::Line;
use super::halt::Step;
use super::visit::ATTACH;
use crate::domain::attempt::Lease;
use crate::domain::inward::Said;
use crate::store::{Change, Store};

/// The word in the exit record of a turn that was interrupted.
pub(super) const INTERRUPT: &str = "interrupt";

/// Between what was asked for at first and what was said since.
const SINCE: &str = "This was said since, by the one it is done for:";

impl Line<'_> {
    /// Whether there is something that only the turn `next` would tell the agent.
    pub(super) async fn has_unheard(&self, next: &str) -> Step<bool> {
        let said = self.tools.store.said_to_agent(self.lease.job).await?;
        Ok(!unheard(&said, self.lease.attempt, next, &[]).is_empty())
    }
}

/// The messages that no turn of the attempt but `turn` and the `interrupted` ones has.
pub(super) fn unheard<'s>(
    said: &'s [Said],
    attempt: u32,
    turn: &str,
    interrupted: &[String],
) -> Vec<&'s str> {
    let is_new = |said: &&Said| match &said.given_to {
        Some((given, step)) => *given != attempt || step == turn || interrupted.contains(step),
        None => true,
    };
    said.iter().filter(is_new).filter_map(|said| said.text.as_deref()).collect()
}

/// The prompt of an attempt with all that was ever said: as with the prompt itself, who is begun anew is told it anew.
pub(super) fn with_said(prompt: String, said: &[Said]) -> String {
    let said: Vec<&str> = said.iter().filter_map(|said| said.text.as_deref()).collect();
    if said.is_empty() { prompt } else { format!("{prompt}\n\n{SINCE}\n\n{}", said.join("\n\n")) }
}

/// Tells when the running step is to end because somebody wants the agent to stop what it does, or takes the job over.
pub(super) struct Interruptions<'s> {
    store: &'s Store,
    lease: Lease,
    /// It is a turn of the agent, which can be interrupted too.
    is_turn: bool,
    /// `None`: what runs prepares the worktree, and is not interrupted.
    changes: Option<Receiver<Change>>,
    /// There may be one that was not looked for yet.
    look: bool,
    wanted: Option<&'static str>,
}

impl<'s> Interruptions<'s> {
    pub(super) fn of(store: &'s Store, lease: Lease, step: &str) -> Self {
        // watched before the first look, so that nothing falls in between
        let is_turn = step.starts_with("agent-");
        let changes = (is_turn || step.starts_with("verify-")).then(|| store.watch());
        Self { store, lease, is_turn, changes, look: true, wanted: None }
    }

    /// What the step is to be ended with.
    pub(super) fn word(&self) -> Option<&'static str> {
        self.wanted
    }

    /// Comes back once, when somebody has interrupted the step. Nothing is lost when the future is dropped.
    pub(super) async fn wanted(&mut self) -> Step<()> {
        let Some(changes) = self.changes.as_mut().filter(|_| self.wanted.is_none()) else {
            return std::future::pending().await;
        };
        loop {
            if self.look {
                if self.store.is_awaited(self.lease.job).await? {
                    self.wanted = Some(ATTACH);
                } else if self.is_turn && self.store.is_interrupted(self.lease).await? {
                    self.wanted = Some(INTERRUPT);
                }
                self.look = false;
                if self.wanted.is_some() {
                    return Ok(());
                }
            }
            match changes.recv().await {
                Ok(Change::Said(job)) if job == self.lease.job => self.look = true,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.look = true,
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}
