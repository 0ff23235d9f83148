//! The parts of the lines that are read: updates and questions as the Agent Client Protocol has them (version 1), as gemini 0.61.0 and
//! opencode 1.18.33 fill them in, and the lines that `src/acp` puts between. Every field is optional and of any kind; every other
//! field is skipped.

use crate::agent::lenient::{Content, List, Object, Scalar};
use serde::Deserialize;

/// One line, whoever it is of.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Line {
    // the agent's
    pub(super) jsonrpc: Scalar,
    pub(super) method: Scalar,
    pub(super) params: Object<Params>,
    // ours
    pub(super) acp: Scalar,
    pub(super) session_id: Scalar,
    pub(super) agent: Scalar,
    pub(super) version: Scalar,
    pub(super) tool_call_id: Scalar,
    /// A word for a question, an object for a prompt.
    pub(super) answer: Answered,
    pub(super) step: Scalar,
    pub(super) why: Scalar,
    pub(super) code: Scalar,
    pub(super) message: Scalar,
    pub(super) data: Object<FailureData>,
    pub(super) resumed: Scalar,
    /// Of a question that could not be read.
    pub(super) unreadable: Scalar,
}

pub(super) type Answered = crate::agent::lenient::TextOr<PromptAnswer>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PromptAnswer {
    pub(super) stop_reason: Scalar,
    pub(super) usage: Object<Tokens>,
    #[serde(rename = "_meta")]
    pub(super) meta: Object<Meta>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Tokens {
    pub(super) input_tokens: Scalar,
    pub(super) output_tokens: Scalar,
    pub(super) thought_tokens: Scalar,
    pub(super) cached_read_tokens: Scalar,
    pub(super) cached_write_tokens: Scalar,
}

/// gemini tells its tokens here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) quota: Object<Quota>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Quota {
    pub(super) token_count: Object<QuotaTokens>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct QuotaTokens {
    pub(super) input_tokens: Scalar,
    pub(super) output_tokens: Scalar,
}

/// What stands beside an error; gemini says there what it is about, and so does the crate of an answer that it cannot read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FailureData {
    pub(super) details: Scalar,
    pub(super) error: Scalar,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Params {
    pub(super) session_id: Scalar,
    pub(super) update: Object<Update>,
    pub(super) tool_call: Object<Update>,
}

/// An update of any kind; a question names its tool in the same fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Update {
    pub(super) session_update: Scalar,
    /// Of a message one block, of a tool a list.
    pub(super) content: Content<Block>,
    pub(super) message_id: Scalar,
    // tools
    pub(super) tool_call_id: Scalar,
    pub(super) title: Scalar,
    pub(super) name: Scalar,
    pub(super) kind: Scalar,
    pub(super) status: Scalar,
    pub(super) raw_input: Object<RawInput>,
    pub(super) locations: List<Object<Location>>,
    // plan
    pub(super) entries: List<Object<Entry>>,
    // usage_update
    pub(super) used: Scalar,
    pub(super) cost: Object<Cost>,
    // notice
    pub(super) text: Scalar,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Block {
    pub(super) r#type: Scalar,
    pub(super) text: Scalar,
    pub(super) path: Scalar,
    pub(super) content: Object<Inner>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Inner {
    pub(super) text: Scalar,
}

/// The arguments that tell most about a tool use, under the names that agents have for them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawInput {
    pub(super) command: Scalar,
    #[serde(rename = "filePath")]
    pub(super) file_path: Scalar,
    #[serde(rename = "file_path")]
    pub(super) file_path_of_claude: Scalar,
    pub(super) path: Scalar,
    pub(super) pattern: Scalar,
    pub(super) query: Scalar,
    pub(super) url: Scalar,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Location {
    pub(super) path: Scalar,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) content: Scalar,
    pub(super) status: Scalar,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cost {
    /// Of the whole session.
    pub(super) amount: Scalar,
    pub(super) currency: Scalar,
}
