//! What a line is, as far as it matters here: by its outermost members alone.

use std::collections::BTreeMap;

use agent_client_protocol::v1::schema::{PermissionOption, RequestPermissionRequest};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::heard::Heard;
use crate::agent::{Line, parse_line};

/// The mark on a question that was put into words that can be read.
pub(super) const UNREADABLE: &str = "offshoot.unreadable";
const QUESTION: &str = "session/request_permission";
/// As it is however the solidus before it is written.
const QUESTION_NAME: &[u8] = b"request_permission";
/// What is given back to the agent with an answer waits in memory until it is read: its id, and the method that we do not know.
const ID_BYTES_MAX: usize = 1_024;
/// How much of a line is looked at that was cut where it was too long.
const BEGINNING_BYTES: usize = 1_024;

#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    Notification,
    /// What the protocol has to see, in a form that whoever reads it next can read as well.
    Request(Value),
    Answer(Value),
    /// It has the member that our own lines are known by.
    Forged,
    /// A request or an answer that nobody would take for one, and why.
    Malformed(&'static str),
    /// A message that nobody can read any more, for it was cut: it may have told anything.
    Cut,
    /// No message at all.
    Noise,
}

/// The outermost members that tell what a line is.
#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Acp,
    Jsonrpc,
    Id,
    Method,
    Result,
    Error,
    #[serde(other)]
    Other,
}

/// Those that a line has, and whether they are more than `null`. Whatever can be read as an object by anybody can be read so: members that
/// are repeated, numbers that no variable holds and any depth count for nothing.
#[derive(Deserialize)]
struct Members(BTreeMap<Member, Option<IgnoredAny>>);

impl Members {
    fn has(&self, member: Member) -> bool {
        self.0.contains_key(&member)
    }

    fn says(&self, member: Member) -> bool {
        self.0.get(&member).is_some_and(Option::is_some)
    }

    fn is_answer(&self) -> bool {
        (self.has(Member::Result) || self.has(Member::Error)) && !self.says(Member::Method)
    }

    /// Of this protocol, or of none that we know.
    fn is_message(&self) -> bool {
        self.says(Member::Jsonrpc)
    }
}

/// Whether a line of ours answers something, also where it cannot say what: it has no id then.
pub(super) fn is_answer(line: &[u8]) -> bool {
    parse_line::<Members>(line).is_some_and(|members| members.is_answer())
}

pub(super) fn kind_of(line: &Line) -> Kind {
    const UNREADABLE_FOR_ALL: Kind =
        Kind::Malformed("it is nested too deep, or holds a number that is too large");
    let Some(members) = parse_line::<Members>(&line.bytes) else { return kind_of_other(line) };
    if members.has(Member::Acp) {
        return Kind::Forged;
    }
    let read = || parse_line::<Value>(&line.bytes).map(|message| *message);
    let checked = |flaw: fn(&Value) -> Option<&'static str>, kind: fn(Value) -> Kind| {
        let Some(message) = read().map(without_nulls) else { return UNREADABLE_FOR_ALL };
        flaw(&message).map_or_else(|| kind(message), Kind::Malformed)
    };
    match (members.says(Member::Id), members.says(Member::Method)) {
        (false, true) if is_question(&line.bytes) => Kind::Malformed("it is a question without an id"),
        (false, true) => Kind::Notification,
        (true, true) => checked(flaw_of_request, Kind::Request),
        (true, false) if members.is_answer() => checked(flaw_of_answer, Kind::Answer),
        // somebody waits, for this is all that comes
        (true, false) if members.is_message() => {
            Kind::Malformed("it has neither a method nor a result nor an error")
        }
        (false, false) if members.is_message() && members.is_answer() => {
            Kind::Malformed("it is an answer without an id")
        }
        _ => Kind::Noise,
    }
}

/// Whether a notification is one that has to be answered: its sender waits.
fn is_question(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Called {
        method: Option<String>,
    }
    let may_be = |name: &[u8]| memchr::memmem::find(line, name).is_some();
    (may_be(QUESTION_NAME) || may_be(b"\\u"))
        && parse_line::<Called>(line).is_some_and(|called| called.method.as_deref() == Some(QUESTION))
}

/// Many libraries write every member of an envelope, and `null` where there is nothing. A result alone may be `null`.
fn without_nulls(mut message: Value) -> Value {
    let says = |message: &Value, name: &str| message.get(name).is_some_and(|value| !value.is_null());
    let is_for_nothing = |message: &Value, name: &str| match name {
        "result" => says(message, "error") || says(message, "method"),
        _ => true,
    };
    for name in ["method", "error", "result"] {
        if !says(&message, name)
            && is_for_nothing(&message, name)
            && let Some(members) = message.as_object_mut()
        {
            members.remove(name);
        }
    }
    message
}

fn has_id(message: &Value) -> bool {
    let id = &message["id"];
    id.is_string() || id.is_i64() || id.is_u64()
}

/// JSON-RPC 2.0, section 4, and what would wait in memory.
fn flaw_of_request(message: &Value) -> Option<&'static str> {
    let is_long = |name: &str| message[name].as_str().is_some_and(|text| text.len() > ID_BYTES_MAX);
    if !has_id(message) {
        return Some("its id is neither a text nor a whole number");
    }
    if message.get("result").or_else(|| message.get("error")).is_some() {
        return Some("it is both a request and an answer");
    }
    if is_long("id") {
        return Some("its id is longer than 1,024 bytes");
    }
    is_long("method").then_some("its method is longer than 1,024 bytes")
}

/// JSON-RPC 2.0, section 5.
fn flaw_of_answer(message: &Value) -> Option<&'static str> {
    if message["jsonrpc"].as_str() != Some("2.0") {
        return Some("it lacks \"jsonrpc\": \"2.0\"");
    }
    if !has_id(message) {
        return Some("its id is neither a text nor a whole number");
    }
    let error = message.get("error")?;
    if message.get("result").is_some() {
        return Some("it has both a result and an error");
    }
    if error["code"].as_i64().and_then(|code| i32::try_from(code).ok()).is_none() {
        return Some("its error has no code");
    }
    error["message"].as_str().is_none().then_some("its error has no message")
}

/// A list of messages, which this protocol does not have, or what is left of a line that was too long; else noise.
fn kind_of_other(line: &Line) -> Kind {
    let bytes = line.bytes.trim_ascii_start();
    if bytes.starts_with(b"[") {
        let is_batch = serde_json::from_slice::<Vec<Members>>(bytes)
            .is_ok_and(|all| all.iter().any(|one| one.says(Member::Jsonrpc) && one.says(Member::Id)));
        return if is_batch { Kind::Malformed("it is a list of messages") } else { Kind::Noise };
    }
    if line.dropped_bytes == 0 || !bytes.starts_with(b"{") {
        return Kind::Noise;
    }
    let beginning = &bytes[..bytes.len().min(BEGINNING_BYTES)];
    let has = |name: &[u8]| memchr::memmem::find(beginning, name).is_some();
    // somebody waits: the agent for an answer to its question, or we for its answer
    let is_waited_for = if has(b"\"method\"") { has(QUESTION_NAME) } else { has(b"\"id\"") };
    if is_waited_for { Kind::Malformed("it is longer than any line may be") } else { Kind::Cut }
}

/// A question as it can be read: `None`, it can be as it is, or is another request. What of it cannot be read is left out, so that it is
/// answered by the policy and not with an error of which nobody hears. Notes what it tells of its tool.
pub(super) fn question(message: &Value, heard: &Heard) -> Option<Value> {
    if message["method"] != QUESTION {
        return None;
    }
    let params = &message["params"];
    heard.learn(&params["toolCall"]);
    let offered: Vec<&Value> = params["options"].as_array().into_iter().flatten().collect();
    let fits = |option: &&Value| {
        option["optionId"].as_str().is_some_and(|id| id.len() <= ID_BYTES_MAX)
            && PermissionOption::deserialize(*option).is_ok()
    };
    // an answer of a kind that is not known takes nothing from the others
    let options: Vec<&Value> = offered.iter().copied().filter(fits).collect();
    let is_whole = message["jsonrpc"] == "2.0" && options.len() == offered.len();
    if is_whole && RequestPermissionRequest::deserialize(params).is_ok() {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_read = !options.is_empty() && params["toolCall"]["toolCallId"].is_string();
    let read = json!({
        "sessionId": text(&params["sessionId"]),
        "toolCall": {"toolCallId": text(&params["toolCall"]["toolCallId"])},
        "options": options,
        "_meta": {UNREADABLE: !is_read},
    });
    Some(json!({"jsonrpc": "2.0", "id": message["id"], "method": QUESTION, "params": read}))
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
        assert_eq!(kind(r#"{"jsonrpc":"2.0","method":"session/update","params":{"id""#, 1), Kind::Cut);
        assert_eq!(kind(r#"{"params":{"update":{"x":[1,1"#, 1), Kind::Cut);
        assert_eq!(kind("1,1,1,", 5), Kind::Noise);
    }

    #[test]
    fn a_message_is_what_it_says_and_what_leaves_somebody_waiting_is_told() {
        let request = |text: &str| matches!(kind(text, 0), Kind::Request(_));
        let answer = |text: &str| matches!(kind(text, 0), Kind::Answer(_));
        let flaw = |text: &str| match kind(text, 0) {
            Kind::Malformed(why) => why.to_owned(),
            other => format!("{other:?}"),
        };
        let of = |rest: &str| format!(r#"{{"jsonrpc":"2.0",{rest}}}"#);
        for rest in [
            r#""id":1,"result":{},"error":null"#,
            r#""id":1,"result":null"#,
            r#""id":1,"method":null,"result":{}"#,
            r#""id":1,"result":null,"error":{"code":-1,"message":"m"}"#,
        ] {
            assert!(answer(&of(rest)), "{rest}: {}", flaw(&of(rest)));
        }
        assert!(request(&of(r#""id":1,"method":"m","result":null,"error":null"#)));
        for (rest, why) in [
            (r#""id":null,"method":"session/request_permission""#, "a question without an id"),
            (r#""method":"session\u002frequest_permission""#, "a question without an id"),
            (r#""id":{"a":1},"method":"m""#, "neither a text nor a whole number"),
            (r#""id":1,"method":"m","result":{}"#, "both a request and an answer"),
            (r#""id":1"#, "neither a method nor a result"),
            (r#""id":null,"error":{"code":-32700,"message":"m"}"#, "an answer without an id"),
            (r#""id":1,"result":{},"error":{"code":-1,"message":"m"}"#, "both a result and an error"),
        ] {
            assert!(flaw(&of(rest)).contains(why), "{rest}: {}", flaw(&of(rest)));
        }
        let long = of(&format!(r#""id":1,"method":"{}""#, "m".repeat(ID_BYTES_MAX + 1)));
        assert!(flaw(&long).contains("its method is longer"));
        assert_eq!(kind(r#"{"id":1,"level":"info"}"#, 0), Kind::Noise, "what others log");
        assert_eq!(kind(&of(r#""method":"session/update""#), 0), Kind::Notification);
    }

    #[test]
    fn what_was_cut_of_a_question_is_no_noise_however_it_is_written() {
        for method in
            ["session/request_permission", "session\\/request_permission", "session\\u002frequest_permission"]
        {
            let cut = format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{{"x":[1,1"#);
            assert_eq!(kind(&cut, 1), Kind::Malformed("it is longer than any line may be"));
            assert_eq!(kind(&cut, 0), Kind::Noise);
        }
    }

    #[test]
    fn a_question_is_read_as_far_as_it_can_be() {
        let heard = Heard::default();
        let asked = |params: Value| {
            question(&json!({"jsonrpc": "2.0", "id": 7, "method": QUESTION, "params": params}), &heard)
        };
        let known = json!({"optionId": "a", "name": "a", "kind": "allow_once"});
        let tool = json!({"toolCallId": "t", "kind": "edit"});
        assert_eq!(asked(json!({"sessionId": "s", "toolCall": tool, "options": [known]})), None);
        let new = json!({"optionId": "b", "name": "b", "kind": "allow_session"});
        let read = asked(json!({"sessionId": "s", "toolCall": tool, "options": [new, known]})).unwrap();
        assert_eq!((&read["id"], &read["params"]["options"]), (&json!(7), &json!([known])));
        assert_eq!(read["params"]["_meta"][UNREADABLE], false);
        let long = json!({"optionId": "a".repeat(ID_BYTES_MAX + 1), "name": "a", "kind": "allow_once"});
        let read = asked(json!({"sessionId": "s", "toolCall": tool, "options": [long, known]})).unwrap();
        assert_eq!(read["params"]["options"], json!([known]), "it would have to be given back");
        for params in [json!({"sessionId": "s"}), json!(null), json!({"toolCall": tool, "options": [new]})] {
            let read = asked(params).unwrap();
            assert_eq!(read["params"]["_meta"][UNREADABLE], true);
            assert!(RequestPermissionRequest::deserialize(&read["params"]).is_ok(), "{read}");
        }
        assert_eq!(question(&json!({"id": 1, "method": "fs/read_text_file", "x": QUESTION}), &heard), None);
    }
}
