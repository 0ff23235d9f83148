//! The call that a write is made for: whoever carries out a call has it around him, and the store writes it down in the
//! transaction of its first write. So no write can be forgotten, and none is written down that did not come to be.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::domain::time::Timestamp;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// A call of the API, as it is written down.
#[derive(Debug)]
pub struct Call {
    /// When it came.
    pub at: Timestamp,
    pub asked: Asked,
    /// What is answered when everything goes well: that is not known yet when the write is. `None`: then it is no change that
    /// is written down, only a refusal is.
    pub succeeds_with: Option<u16>,
    /// What was written down last; 0: nothing.
    written: AtomicU16,
}

/// Who calls, and what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The id of the token, or `admin`.
    pub token: String,
    pub name: String,
    /// Method and route: `POST /jobs/{id}/cancel`.
    pub call: String,
    /// The path that was asked for.
    pub target: String,
    pub request_id: String,
    pub peer: Option<String>,
}

impl Call {
    #[must_use]
    pub fn new(asked: Asked, at: Timestamp, succeeds_with: Option<u16>) -> Arc<Self> {
        Arc::new(Self { at, asked, succeeds_with, written: AtomicU16::new(0) })
    }

    /// The same call, of which nothing is written down yet: for one word of a conversation.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { asked: self.asked.clone(), written: AtomicU16::new(0), ..*self }
    }

    /// Does `work` with the call around it.
    pub async fn around<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        CALL.scope(Arc::clone(self), work).await
    }

    /// The call that is around whoever asks.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        CALL.try_with(Arc::clone).ok()
    }

    /// The status with which it is written down, if it is.
    #[must_use]
    pub fn written(&self) -> Option<u16> {
        Some(self.written.load(Ordering::SeqCst)).filter(|status| *status != 0)
    }

    pub(super) fn is_written_as(&self, status: u16) {
        self.written.store(status, Ordering::SeqCst);
    }
}

/// A row of what was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub seq: i64,
    pub at: Timestamp,
    pub asked: Asked,
    pub status: u16,
}
