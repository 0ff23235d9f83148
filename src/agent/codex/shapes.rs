//! The parts of the events of `codex exec --json` that are read, as observed with 0.169.0. Every field is optional
//! and of any kind; every other field is skipped.

use crate::agent::lenient::{List, Object, Scalar};
use serde::Deserialize;

/// One line, whatever its type; fields of all types side by side.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) r#type: Scalar,
    // thread.started
    pub(super) thread_id: Scalar,
    // item.*
    pub(super) item: Object<Item>,
    // turn.completed
    pub(super) usage: Object<TokenUsage>,
    // turn.failed
    pub(super) error: Object<Failure>,
    // error
    pub(super) message: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) message: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    pub(super) id: Scalar,
    pub(super) r#type: Scalar,
    pub(super) status: Scalar,
    // agent_message, reasoning
    pub(super) text: Scalar,
    // command_execution
    pub(super) command: Scalar,
    pub(super) aggregated_output: Scalar,
    // file_change
    pub(super) changes: List<Object<Change>>,
    // mcp_tool_call
    pub(super) server: Scalar,
    pub(super) tool: Scalar,
    // web_search
    pub(super) query: Scalar,
    // error
    pub(super) message: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    pub(super) path: Scalar,
    pub(super) kind: Scalar,
}

/// Of the whole thread, the turns of earlier processes included.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenUsage {
    /// With those that came from the cache.
    pub(super) input_tokens: Scalar,
    pub(super) cached_input_tokens: Scalar,
    pub(super) cache_write_input_tokens: Scalar,
    pub(super) output_tokens: Scalar,
}
