//! What goes through the WebSocket of a job besides its events.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::{Fault, Problem};
use crate::domain::inward::Word;

/// The longest text for a running agent, bytes: as long as a prompt.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// A caller's own name for what it sent, bytes: a UUID and some.
const ID_BYTES_MAX: usize = 128;

/// Reads one frame.
///
/// # Errors
/// What is wrong with it.
pub fn parse(frame: &Value) -> Result<Word, Vec<Fault>> {
    let fault = |pointer: &str, detail: &str| vec![Fault::new(pointer, detail)];
    if !frame.is_object() {
        return Err(fault("", "must be an object"));
    }
    match frame.get("type").and_then(Value::as_str) {
        Some("interrupt") => Ok(Word::Interrupt),
        Some("message") => {
            let name = match frame.get("id") {
                None | Some(Value::Null) => None,
                Some(Value::String(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => Some(id.clone()),
                Some(_) => return Err(fault("/id", "must be a text of 1 to 128 bytes")),
            };
            let text = frame.get("text").and_then(Value::as_str).unwrap_or_default();
            if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX {
                return Err(fault("/text", "must be a text of 1 byte to 256 KiB"));
            }
            if text.contains('\0') {
                return Err(fault("/text", "must not contain a NUL character"));
            }
            Ok(Word::Message { name, text: text.to_owned() })
        }
        _ => Err(fault("/type", "must be one of message, interrupt")),
    }
}

/// The answer to a frame that will be carried out, come what may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// `accepted`
    #[serde(rename = "type")]
    pub type_: String,
    /// The `id` of the frame, if it had one.
    pub id: Option<String>,
}

impl Taken {
    /// The answer to this word.
    #[must_use]
    pub fn of(word: &Word) -> Self {
        let id = match word {
            Word::Message { name, .. } => name.clone(),
            Word::Interrupt => None,
        };
        Self { type_: "accepted".to_owned(), id }
    }
}

/// The answer to a frame that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// `refused`
    #[serde(rename = "type")]
    pub type_: String,
    /// The `id` of the frame, if it had a usable one.
    pub id: Option<String>,
    pub problem: Problem,
}

impl Refused {
    /// The answer to this frame.
    #[must_use]
    pub fn of(frame: &Value, problem: Problem) -> Self {
        let id = frame.get("id").and_then(Value::as_str).filter(|id| id.len() <= ID_BYTES_MAX);
        Self { type_: "refused".to_owned(), id: id.map(str::to_owned), problem }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_frame_is_understood_or_its_fault_is_named() {
        assert_eq!(parse(&json!({"type": "interrupt"})), Ok(Word::Interrupt));
        let message = Word::Message { name: Some("m-1".to_owned()), text: "go on".to_owned() };
        assert_eq!(parse(&json!({"type": "message", "id": "m-1", "text": "go on"})), Ok(message));
        let rows = [
            (json!([]), ""),
            (json!(null), ""),
            (json!({}), "/type"),
            (json!({"type": "shout"}), "/type"),
            (json!({"type": "message"}), "/text"),
            (json!({"type": "message", "text": " "}), "/text"),
            (json!({"type": "message", "text": "x".repeat(TEXT_BYTES_MAX + 1)}), "/text"),
            (json!({"type": "message", "text": "x\0"}), "/text"),
            (json!({"type": "message", "text": "x", "id": 7}), "/id"),
            (json!({"type": "message", "text": "x", "id": "x".repeat(129)}), "/id"),
        ];
        for (frame, pointer) in rows {
            assert_eq!(parse(&frame).unwrap_err()[0].pointer, pointer, "{frame}");
        }
    }
}
