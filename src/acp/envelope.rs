//! What a line is, as far as it matters here: by its outermost members alone.

use agent_client_protocol::v1::schema::{PermissionOption, RequestPermissionRequest};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::{Value, json};

use super::heard::Heard;
use crate::agent::{Line, parse_line};

/// The mark on a question that was put into words that can be read.
pub(super) const UNREADABLE: &str = "offshoot.unreadable";
const QUESTION: &str = "session/request_permission";
/// How much of a line is looked at that was cut where it was too long.
const BEGINNING_BYTES: usize = 1_024;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Notification,
    Request,
    Answer,
    /// It has the member that our own lines are known by.
    Forged,
    /// An answer that nobody would take for one, and why.
    Malformed(&'static str),
    /// No message at all.
    Noise,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default, deserialize_with = "is_there")]
    acp: bool,
    jsonrpc: Option<Value>,
    id: Option<Value>,
    method: Option<IgnoredAny>,
    /// It is there; an answer may well be `null`.
    #[serde(default, deserialize_with = "is_there")]
    result: bool,
    #[serde(default, deserialize_with = "some")]
    error: Option<Value>,
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Also a `null`.
fn some<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

pub(super) fn kind_of(line: &Line) -> Kind {
    let Some(read) = parse_line::<Envelope>(&line.bytes) else { return kind_of_other(line) };
    if read.acp {
        return Kind::Forged;
    }
    match *read {
        Envelope { id: None, method: Some(_), .. } => Kind::Notification,
        Envelope { id: Some(_), method: Some(_), .. } => Kind::Request,
        Envelope { jsonrpc, id: Some(id), result, error, .. } if result || error.is_some() => {
            match flaw(jsonrpc.as_ref(), &id, result, error.as_ref()) {
                Some(why) => Kind::Malformed(why),
                None => Kind::Answer,
            }
        }
        _ => Kind::Noise,
    }
}

/// JSON-RPC 2.0, sections 4 and 5.
fn flaw(jsonrpc: Option<&Value>, id: &Value, result: bool, error: Option<&Value>) -> Option<&'static str> {
    if jsonrpc.and_then(Value::as_str) != Some("2.0") {
        return Some("it lacks \"jsonrpc\": \"2.0\"");
    }
    if !(id.is_string() || id.is_i64() || id.is_u64()) {
        return Some("its id is neither a text nor a whole number");
    }
    let error = error?;
    if result {
        return Some("it has both a result and an error");
    }
    if error["code"].as_i64().and_then(|code| i32::try_from(code).ok()).is_none() {
        return Some("its error has no code");
    }
    error["message"].as_str().is_none().then_some("its error has no message")
}

/// A list of messages, which this protocol does not have, or what is left of an answer that was too long; else noise.
fn kind_of_other(line: &Line) -> Kind {
    let bytes = line.bytes.trim_ascii_start();
    if bytes.starts_with(b"[") {
        let is_batch = serde_json::from_slice::<Vec<Envelope>>(bytes)
            .is_ok_and(|all| all.iter().any(|one| one.jsonrpc.is_some() && one.id.is_some()));
        return if is_batch { Kind::Malformed("it is a list of messages") } else { Kind::Noise };
    }
    let beginning = &bytes[..bytes.len().min(BEGINNING_BYTES)];
    let has = |name: &[u8]| memchr::memmem::find(beginning, name).is_some();
    let was_answer =
        line.dropped_bytes > 0 && bytes.starts_with(b"{") && has(b"\"id\"") && !has(b"\"method\"");
    if was_answer { Kind::Malformed("it is longer than any line may be") } else { Kind::Noise }
}

/// A question as it can be read: `None`, it can be as it is, or is another request. What of it cannot be read is left out, so that it is
/// answered by the policy and not with an error of which nobody hears. Notes what it tells of its tool.
pub(super) fn question(line: &[u8], heard: &Heard) -> Option<String> {
    memchr::memmem::find(line, QUESTION.as_bytes())?;
    let mut message = *parse_line::<Value>(line)?;
    if message["method"] != QUESTION {
        return None;
    }
    let params = message["params"].take();
    heard.learn(&params["toolCall"]);
    if message["jsonrpc"] == "2.0" && RequestPermissionRequest::deserialize(&params).is_ok() {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let offered = params["options"].as_array().into_iter().flatten();
    let options: Vec<&Value> =
        offered.filter(|option| PermissionOption::deserialize(*option).is_ok()).collect();
    // an answer of a kind that is not known takes nothing from the others
    let is_read = !options.is_empty() && params["toolCall"]["toolCallId"].is_string();
    let read = json!({
        "sessionId": text(&params["sessionId"]),
        "toolCall": {"toolCallId": text(&params["toolCall"]["toolCallId"])},
        "options": options,
        "_meta": {UNREADABLE: !is_read},
    });
    Some(json!({"jsonrpc": "2.0", "id": message["id"], "method": QUESTION, "params": read}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str, dropped_bytes: u64) -> Kind {
        kind_of(&Line { bytes: text.as_bytes().to_vec(), dropped_bytes })
    }

    #[test]
    fn what_was_cut_is_an_answer_only_where_it_can_be_one() {
        let cut = r#"{"jsonrpc":"2.0","id":3,"result":{"x":[1,1"#;
        assert_eq!(kind(cut, 1), Kind::Malformed("it is longer than any line may be"));
        assert_eq!(kind(cut, 0), Kind::Noise);
        assert_eq!(kind(r#"{"jsonrpc":"2.0","method":"session/update","params":{"id""#, 1), Kind::Noise);
        assert_eq!(kind("1,1,1,", 5), Kind::Noise);
    }

    #[test]
    fn a_question_is_read_as_far_as_it_can_be() {
        let heard = Heard::default();
        let asked = |params: Value| {
            let line = json!({"jsonrpc": "2.0", "id": 7, "method": QUESTION, "params": params}).to_string();
            question(line.as_bytes(), &heard).map(|text| serde_json::from_str::<Value>(&text).unwrap())
        };
        let known = json!({"optionId": "a", "name": "a", "kind": "allow_once"});
        let tool = json!({"toolCallId": "t", "kind": "edit"});
        assert_eq!(asked(json!({"sessionId": "s", "toolCall": tool, "options": [known]})), None);
        let new = json!({"optionId": "b", "name": "b", "kind": "allow_session"});
        let read = asked(json!({"sessionId": "s", "toolCall": tool, "options": [new, known]})).unwrap();
        assert_eq!((&read["id"], &read["params"]["options"]), (&json!(7), &json!([known])));
        assert_eq!(read["params"]["_meta"][UNREADABLE], false);
        for params in [json!({"sessionId": "s"}), json!(null), json!({"toolCall": tool, "options": [new]})] {
            let read = asked(params).unwrap();
            assert_eq!(read["params"]["_meta"][UNREADABLE], true);
            assert!(RequestPermissionRequest::deserialize(&read["params"]).is_ok(), "{read}");
        }
        assert_eq!(
            question(br#"{"id":1,"method":"fs/read_text_file","x":"session/request_permission"}"#, &heard),
            None
        );
    }
}
