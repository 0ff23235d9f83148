//! What is known of the agent's output from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use super::uses::{Facts, Uses};
use crate::agent::parse_line;

/// Questions whose answers the agent has not read: agents ask a handful at a time.
const OPEN_MAX: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Lines are shown: before the prompt the agent tells what was said long ago, and who it is.
    shows: AtomicBool,
    /// Nobody answers any more.
    is_over: AtomicBool,
    /// Notifications so far.
    notifications: AtomicU64,
    /// Questions that were not answered, or whose answer waits to be read.
    open: AtomicU64,
    answered: Notify,
    uses: Mutex<Uses>,
    broken: Mutex<Option<String>>,
    broke: Notify,
}

#[derive(Deserialize)]
struct Notification {
    #[serde(default)]
    params: Value,
}

impl Heard {
    pub(super) fn show(&self) {
        self.shows.store(true, Ordering::Release);
    }

    pub(super) fn shows(&self) -> bool {
        self.shows.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    pub(super) fn notifications(&self) -> u64 {
        self.notifications.load(Ordering::Acquire)
    }

    /// A notification came: of a tool it may tell what a later question is about.
    pub(super) fn notify(&self, line: &[u8]) {
        self.notifications.fetch_add(1, Ordering::AcqRel);
        // a letter may be written as its number
        let has = |text: &[u8]| memchr::memmem::find(line, text).is_some();
        if !has(b"toolCallId") && !has(b"\\u") {
            return;
        }
        match parse_line::<Notification>(line) {
            Some(told) => self.learn(&told.params["update"]),
            None => self.miss(),
        }
    }

    /// Something came of which nobody knows what it told.
    pub(super) fn miss(&self) {
        self.uses().miss();
    }

    pub(super) fn learn(&self, update: &Value) {
        self.uses().learn(update);
    }

    pub(super) fn facts(&self, tool_call_id: &str) -> Facts {
        self.uses().facts(tool_call_id)
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves once another question may come, which counts then.
    pub(super) async fn room_for_one(&self) {
        loop {
            let answered = self.answered.notified();
            let is_over = self.is_over.load(Ordering::Acquire);
            if is_over || self.open.load(Ordering::Acquire) < OPEN_MAX {
                self.open.fetch_add(1, Ordering::AcqRel);
                return;
            }
            answered.await;
        }
    }

    /// The agent has taken an answer.
    pub(super) fn answered(&self) {
        // an answer to a line that was none of the counted ones
        let _ = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| open.checked_sub(1));
        self.answered.notify_one();
    }

    /// The conversation cannot go on. The first reason counts.
    pub(super) fn break_off(&self, why: &str) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
        self.broke.notify_waiters();
    }

    pub(super) fn why_broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resolves once it cannot go on.
    pub(super) async fn broken(&self) -> String {
        loop {
            let broke = self.broke.notified();
            if let Some(why) = self.why_broken() {
                return why;
            }
            broke.await;
        }
    }
}
