//! The parts of the events of `gemini --output-format stream-json` that are read, as observed with 0.61.0. Every field is
//! optional and of any kind; every other field is skipped.

use crate::agent::lenient::{Object, Scalar};
use serde::Deserialize;

/// One line, whatever its type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) r#type: Scalar,
    /// Of every line, in the form of RFC 3339.
    pub(super) timestamp: Scalar,
    // init
    pub(super) session_id: Scalar,
    pub(super) model: Scalar,
    // message
    pub(super) role: Scalar,
    pub(super) content: Scalar,
    pub(super) delta: Scalar,
    // tool_use
    pub(super) tool_name: Scalar,
    pub(super) tool_id: Scalar,
    pub(super) parameters: Object<Parameters>,
    // tool_result, result
    pub(super) status: Scalar,
    pub(super) output: Scalar,
    pub(super) error: Object<Failure>,
    pub(super) stats: Object<Stats>,
    // error
    pub(super) message: Scalar,
}

/// The arguments that tell most about a tool use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    pub(super) file_path: Scalar,
    pub(super) command: Scalar,
    pub(super) pattern: Scalar,
    pub(super) dir_path: Scalar,
    pub(super) query: Scalar,
    pub(super) prompt: Scalar,
    pub(super) description: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) r#type: Scalar,
    pub(super) message: Scalar,
}

/// Of this process alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    /// With those that came from the cache.
    pub(super) input_tokens: Scalar,
    pub(super) cached: Scalar,
    pub(super) output_tokens: Scalar,
    pub(super) duration_ms: Scalar,
}
