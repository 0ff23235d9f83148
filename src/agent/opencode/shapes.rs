//! The parts of the events of `opencode run --format json` that are read, as observed with 1.18.33. Every field is
//! optional and of any kind; every other field is skipped.

use crate::agent::lenient::{Object, Scalar};
use serde::Deserialize;

/// One line, whatever its type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) r#type: Scalar,
    #[serde(rename = "sessionID")]
    pub(super) session_id: Scalar,
    pub(super) part: Object<Part>,
    pub(super) error: Object<Failure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    // text, reasoning
    pub(super) text: Scalar,
    // tool_use
    pub(super) tool: Scalar,
    #[serde(rename = "callID")]
    pub(super) call_id: Scalar,
    pub(super) state: Object<ToolState>,
    // step_finish
    pub(super) reason: Scalar,
    pub(super) tokens: Object<Tokens>,
    /// US dollars of this step.
    pub(super) cost: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolState {
    pub(super) status: Scalar,
    pub(super) input: Object<ToolInput>,
    pub(super) output: Scalar,
    pub(super) error: Scalar,
}

/// The arguments that tell most about a tool use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolInput {
    pub(super) command: Scalar,
    #[serde(rename = "filePath")]
    pub(super) file_path: Scalar,
    pub(super) path: Scalar,
    pub(super) pattern: Scalar,
    pub(super) url: Scalar,
    pub(super) description: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    /// Without those that came from the cache.
    pub(super) input: Scalar,
    pub(super) output: Scalar,
    pub(super) reasoning: Scalar,
    pub(super) cache: Object<CacheTokens>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CacheTokens {
    pub(super) read: Scalar,
    pub(super) write: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) name: Scalar,
    pub(super) data: Object<FailureData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct FailureData {
    pub(super) message: Scalar,
    pub(super) status_code: Scalar,
    pub(super) response_headers: Object<Headers>,
    pub(super) response_body: Scalar,
}

/// Of Anthropic's API, for subscriptions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Headers {
    #[serde(rename = "anthropic-ratelimit-unified-status")]
    pub(super) limit_status: Scalar,
    /// Which allowance it is.
    #[serde(rename = "anthropic-ratelimit-unified-representative-claim")]
    pub(super) limit_claim: Scalar,
    /// Unix seconds, as text.
    #[serde(rename = "anthropic-ratelimit-unified-reset")]
    pub(super) limit_reset: Scalar,
}
