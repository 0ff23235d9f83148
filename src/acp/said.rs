//! What is printed besides the agent's own lines: one JSON object each, told apart by its field `acp`.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

/// A line of ours.
#[derive(Debug, Serialize)]
#[serde(tag = "acp", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum Said {
    /// The conversation can be asked.
    Started {
        session_id: String,
        /// The agent's name for itself.
        agent: Option<String>,
        version: Option<String>,
        resumed: bool,
    },
    /// A question was answered; the question stands before it as the agent asked it.
    Answered {
        tool_call_id: String,
        answer: &'static str,
        /// It could not be read, and is answered for that.
        unreadable: bool,
    },
    /// The turn is over: the answer to `session/prompt` as it came.
    Ended { answer: Value },
    /// The agent is gone; of what it said after its answer this is the end.
    Left {},
    /// The conversation is over without an answer.
    Failed {
        /// The method, or `start`.
        step: &'static str,
        /// Of ours, where it was no answer of the agent that ended it: `missing`, `deadline`, `not_offered`, `version`, `malformed`, `closed`, `other`.
        why: Option<&'static str>,
        /// Of the agent's error.
        code: Option<i32>,
        message: String,
        data: Option<Value>,
    },
}

impl Said {
    pub(super) fn failed(step: &'static str, message: &str) -> Self {
        Self::failed_for(step, "other", message)
    }

    pub(super) fn failed_for(step: &'static str, why: &'static str, message: &str) -> Self {
        Self::Failed { step, why: Some(why), code: None, message: message.to_owned(), data: None }
    }
}

/// Before a line of the agent that is a JSON object.
const HEARD: &[u8] = br#"{"acp":"heard","line":"#;

/// Where lines are printed, one at a time. Whoever reads too slowly stops everything, so nothing piles up.
#[derive(Clone)]
pub(super) struct Speaker(Arc<Mutex<Box<dyn Write + Send>>>);

impl Speaker {
    pub(super) fn new(to: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(to)))
    }

    pub(super) fn say(&self, said: &Said) {
        if let Ok(line) = serde_json::to_vec(said) {
            self.pass_on(&line);
        }
    }

    /// A line of the agent that is no word of the turn.
    pub(super) fn heard(&self, line: &[u8]) {
        let line = line.trim_ascii();
        self.pass_on(&[HEARD, line, b"}"].concat());
    }

    /// A line without its end. Nobody who reads is left when it cannot be written, and the end of this process is near.
    pub(super) fn pass_on(&self, line: &[u8]) {
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = to.write_all(line).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_it_is() {
        let text = |said: &Said| serde_json::to_string(said).unwrap();
        assert_eq!(
            text(&Said::Answered { tool_call_id: "t".to_owned(), answer: "granted", unreadable: false }),
            r#"{"acp":"answered","toolCallId":"t","answer":"granted","unreadable":false}"#
        );
        assert_eq!(
            text(&Said::failed_for("session/new", "deadline", "no answer")),
            r#"{"acp":"failed","step":"session/new","why":"deadline","code":null,"message":"no answer","data":null}"#
        );
    }
}
