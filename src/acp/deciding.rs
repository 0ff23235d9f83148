//! How one question is answered: by the mode, by what is known of the tool, and by where that would go.

use std::path::PathBuf;
use std::sync::Arc;

use agent_client_protocol::v1::schema::RequestPermissionRequest;

use super::envelope::UNREADABLE;
use super::heard::Heard;
use super::order::Order;
use super::policy::{Answer, Mode};

/// What a question is answered by.
pub(super) struct Deciding {
    mode: Mode,
    heard: Arc<Heard>,
    /// The directory to work in, its links resolved; `None`: it is gone.
    dir: Option<PathBuf>,
}

impl Deciding {
    pub(super) fn new(order: &Order, heard: &Arc<Heard>) -> Self {
        let dir = std::env::current_dir().and_then(|dir| dir.canonicalize()).ok();
        Self { mode: order.mode, heard: heard.clone(), dir }
    }

    pub(super) fn answer(&self, request: &RequestPermissionRequest) -> Answer {
        let facts = self.heard.facts(&request.tool_call.tool_call_id.to_string());
        let kind = request.tool_call.fields.kind.or(facts.kind);
        let stays = || self.dir.as_ref().is_some_and(|dir| facts.stay_in(dir));
        match self.mode.answer(kind) {
            // nobody knows to what one would say yes or no
            _ if is_unreadable(request) => Answer::Unanswered,
            Answer::Granted if self.mode.keeps_to_the_directory(kind) && !stays() => Answer::Denied,
            answer => answer,
        }
    }
}

pub(super) fn is_unreadable(request: &RequestPermissionRequest) -> bool {
    request.meta.as_ref().is_some_and(|meta| meta.get(UNREADABLE) == Some(&serde_json::Value::Bool(true)))
}
