//! One request at a time per credential, writes apart, and silence while a rate limit lasts.
//!
//! The rules are GitHub's best practices for the REST API: serial requests, a second between writes, and no request
//! before `retry-after` or `x-ratelimit-reset` has passed.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until, timeout};

use super::error::ForgeError;

/// Pause after each write.
const WRITES_APART: Duration = Duration::from_secs(1);
/// Longest wait for a turn: room for some slow requests of others, and an end if they all hang until their deadlines.
const TURN_WAIT_MAX: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next_write_at: Option<Instant>,
    blocked_until: Option<Instant>,
}

/// The right to send one request; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    state: MutexGuard<'a, State>,
    is_write: bool,
}

impl Default for Gate {
    /// Begins with the pause: a server that was killed a moment ago may have written just before.
    fn default() -> Self {
        let next_write_at = Some(Instant::now() + WRITES_APART);
        Self { state: Mutex::new(State { next_write_at, blocked_until: None }) }
    }
}

impl Gate {
    /// Waits for a turn, and before a write for the pause after the last one.
    pub(super) async fn enter(&self, is_write: bool) -> Result<Turn<'_>, ForgeError> {
        let state = timeout(TURN_WAIT_MAX, self.state.lock()).await.map_err(|_| ForgeError::Unavailable {
            unclear: false,
            text: "too many requests are waiting for their turn".to_owned(),
        })?;
        let mut turn = Turn { state, is_write };
        turn.refuse_while_blocked()?;
        if let (true, Some(at)) = (is_write, turn.state.next_write_at) {
            sleep_until(at).await;
        }
        turn.set_pause();
        Ok(turn)
    }
}

impl Turn<'_> {
    /// Stops everybody's requests for `wait`.
    pub(super) fn block_for(&mut self, wait: Duration) {
        self.state.blocked_until = Some(Instant::now() + wait);
    }

    fn refuse_while_blocked(&mut self) -> Result<(), ForgeError> {
        let Some(until) = self.state.blocked_until else { return Ok(()) };
        let wait = until.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            self.state.blocked_until = None;
            return Ok(());
        }
        // A refused turn sends nothing, so it needs no pause after it.
        self.is_write = false;
        Err(ForgeError::RateLimited { retry_after: wait })
    }

    fn set_pause(&mut self) {
        if self.is_write {
            self.state.next_write_at = Some(Instant::now() + WRITES_APART);
        }
    }
}

impl Drop for Turn<'_> {
    /// The pause counts from the end of a write, also of one that was abandoned.
    fn drop(&mut self) {
        self.set_pause();
    }
}
