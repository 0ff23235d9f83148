//! The parts of Claude's stream-json that are read, as observed with 2.1.329. Every field is optional and of any
//! kind; every other field is skipped.

use crate::agent::lenient::{Content, List, Object, Scalar, TextOr};
use serde::Deserialize;

/// One line, whatever its type; fields of all types side by side.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) r#type: Scalar,
    pub(super) subtype: Scalar,
    pub(super) session_id: Scalar,
    /// `assistant`: a tag such as `rate_limit` when the message only reports an API error; `system/api_retry`: the
    /// same in words.
    pub(super) error: Scalar,
    /// `assistant` and `user`: an object; `system/permission_denied`: a text.
    pub(super) message: TextOr<Message>,
    // system/init
    pub(super) cwd: Scalar,
    pub(super) model: Scalar,
    #[serde(rename = "apiKeySource")]
    pub(super) api_key_source: Scalar,
    pub(super) claude_code_version: Scalar,
    // system/api_retry
    pub(super) attempt: Scalar,
    pub(super) max_retries: Scalar,
    pub(super) retry_delay_ms: Scalar,
    pub(super) error_status: Scalar,
    // system/permission_denied
    pub(super) tool_name: Scalar,
    // system/model_fallback, system/informational
    pub(super) content: Scalar,
    // user
    #[serde(rename = "isReplay")]
    pub(super) is_replay: Scalar,
    pub(super) rate_limit_info: Object<RateLimitInfo>,
    // control_request
    pub(super) request: Object<ControlRequest>,
    // result
    pub(super) is_error: Scalar,
    pub(super) result: Scalar,
    pub(super) errors: Content<Scalar>,
    pub(super) terminal_reason: Scalar,
    pub(super) stop_reason: Scalar,
    pub(super) api_error_status: Scalar,
    pub(super) num_turns: Scalar,
    pub(super) duration_ms: Scalar,
    pub(super) total_cost_usd: Scalar,
    pub(super) usage: Object<TurnUsage>,
    pub(super) model_usage_since_last_result: List<Object<ModelUsage>>,
    pub(super) permission_denials: List<Object<PermissionDenial>>,
}

/// An element of a tool result: text, something found in the web, an error of a tool of the API's own, or an image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResultElement {
    pub(super) text: Scalar,
    pub(super) title: Scalar,
    pub(super) error_code: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) id: Scalar,
    pub(super) content: Content<Object<Block>>,
    pub(super) usage: Object<TurnUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Block {
    pub(super) r#type: Scalar,
    pub(super) text: Scalar,
    pub(super) thinking: Scalar,
    // tool_use
    pub(super) id: Scalar,
    pub(super) name: Scalar,
    pub(super) input: Object<ToolInput>,
    // tool_result and those of the API's own tools
    pub(super) tool_use_id: Scalar,
    pub(super) content: Content<Object<ResultElement>>,
    pub(super) is_error: Scalar,
}

/// The arguments that tell most about a tool use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolInput {
    pub(super) command: Scalar,
    pub(super) file_path: Scalar,
    pub(super) notebook_path: Scalar,
    pub(super) path: Scalar,
    pub(super) pattern: Scalar,
    pub(super) url: Scalar,
    pub(super) query: Scalar,
    pub(super) skill: Scalar,
    pub(super) description: Scalar,
    pub(super) prompt: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TurnUsage {
    pub(super) input_tokens: Scalar,
    pub(super) output_tokens: Scalar,
    pub(super) cache_read_input_tokens: Scalar,
    pub(super) cache_creation_input_tokens: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ModelUsage {
    pub(super) input_tokens: Scalar,
    pub(super) output_tokens: Scalar,
    pub(super) cache_read_input_tokens: Scalar,
    pub(super) cache_creation_input_tokens: Scalar,
    #[serde(rename = "costUSD")]
    pub(super) cost_usd: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PermissionDenial {
    pub(super) tool_name: Scalar,
    pub(super) tool_use_id: Scalar,
    pub(super) tool_input: Object<ToolInput>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RateLimitInfo {
    pub(super) status: Scalar,
    /// Unix seconds.
    pub(super) resets_at: Scalar,
    pub(super) rate_limit_type: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ControlRequest {
    pub(super) subtype: Scalar,
    pub(super) tool_name: Scalar,
}

/// What `claude auth status` prints.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct AuthStatus {
    pub(super) logged_in: Scalar,
    pub(super) auth_method: Scalar,
}
