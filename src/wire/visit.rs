//! Taking a job over and handing it back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Fields, Reading};
use super::time::UtcTime;
use super::words;
use crate::domain::visit::GoesOn;

/// Of a key, in bytes: so long that nobody guesses it, and room for a UUID and some.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// `POST /jobs/:id/attach` and `POST /jobs/:id/attach/prolong`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"key": "7f1c5a9b-e2d3-4876-9b4c-0f3a1d2e5c6b"}))]
pub struct AttachRequest {
    /// Made up by whoever takes the job over, 16 to 64 letters, digits and hyphens: who has it may stay longer and hand back. Sent
    /// again it gets the same answer.
    pub key: String,
}

/// `POST /jobs/:id/detach`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"key": "7f1c5a9b-e2d3-4876-9b4c-0f3a1d2e5c6b", "goesOn": "agent"}))]
pub struct DetachRequest {
    pub key: String,
    /// What the job goes on with.
    pub goes_on: words::GoesOn,
}

/// The body of either, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detach {
    pub key: String,
    pub goes_on: GoesOn,
}

impl Detach {
    /// Reads the body of `POST /jobs/:id/detach`.
    pub fn read(value: &Value, reading: &mut Reading) -> Self {
        Self::of(value, reading, true)
    }

    /// Reads the key alone.
    pub fn read_key(value: &Value, reading: &mut Reading) -> String {
        Self::of(value, reading, false).key
    }

    fn of(value: &Value, reading: &mut Reading, has_goes_on: bool) -> Self {
        let mut read = Self { key: String::new(), goes_on: GoesOn::Agent };
        let Some(mut f) = Fields::of(value, "", reading) else { return read };
        read.key = f.text("key").unwrap_or_default();
        let is_plain = read.key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !KEY_BYTES.contains(&read.key.len()) || !is_plain {
            f.fault("key", "must be 16 to 64 letters, digits and hyphens, made up by you");
        }
        if has_goes_on {
            let words: Vec<_> = GoesOn::ALL.iter().map(|to| to.as_str()).collect();
            // what is left out, or written another way, is nobody's word that the work is done
            read.goes_on = f.word("goesOn", &words, GoesOn::parse).unwrap_or(GoesOn::Agent);
            if value.get("goesOn").is_none_or(Value::is_null) {
                f.fault("goesOn", "must say what the job goes on with: publish or agent");
            }
        }
        f.finish();
        read
    }
}

/// A job that was taken over: nothing of it runs, and its worktree waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    pub id: String,
    pub number: i64,
    pub branch_name: String,
    /// On the machine of the server.
    pub worktree_path: String,
    /// The `[agents.<name>]` entry that worked on it.
    pub agent: String,
    /// The conversation that `command` opens; `null`: it opens none.
    pub session_id: Option<String>,
    /// What to run in the worktree: the agent in its conversation, or a shell where it has none.
    pub command: Vec<String>,
    /// Variables of the command, and the mark by which all that it starts is found. None of them is a key.
    pub env: BTreeMap<String, String>,
    /// Names of further variables that its agent has, to be taken from where it is run.
    pub pass_env: Vec<String>,
    /// Variables with the names of the secrets that its agent has in them. With those of the entry `agent` itself they are in the
    /// configuration, and no answer has their values.
    pub set_env: BTreeMap<String, String>,
    /// Over by itself then, unless it is prolonged.
    pub until: UtcTime,
    /// How often to prolong it.
    pub prolong_every_seconds: u64,
    /// Of the request.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The answer to a visit that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prolonged {
    pub until: UtcTime,
    /// Of the request.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The answer when a job was handed back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Detached {
    pub id: String,
    pub number: i64,
    pub goes_on: words::GoesOn,
    /// Of the request.
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> (Detach, Vec<String>) {
        let mut reading = Reading::default();
        let read = Detach::read(body, &mut reading);
        (read, reading.faults.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn a_key_is_long_and_plain_and_what_goes_on_is_a_word() {
        let key = "0123456789-abcdef";
        for to in GoesOn::ALL {
            let asked = read(&json!({"key": key, "goesOn": to.as_str()}));
            assert_eq!(asked, (Detach { key: key.to_owned(), goes_on: *to }, vec![]));
        }
        // nothing is published that nobody has asked for
        for body in [
            json!({"key": key}),
            json!({"key": key, "goesOn": null}),
            json!({"key": key, "goes_on": "agent"}),
        ] {
            assert_eq!(read(&body).1, ["/goesOn"], "{body}");
        }
        for body in
            [json!({}), json!({"key": "short"}), json!({"key": "0123456789/abcdef"}), json!({"key": 7})]
        {
            assert!(read(&body).1.contains(&"/key".to_owned()), "{body}");
        }
        assert_eq!(read(&json!({"key": key, "goesOn": "home"})).1, ["/goesOn"]);
    }
}
