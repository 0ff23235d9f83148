//! What an agent says and does, and what the server says of it: the shapes of these events, and what is stored of them.
//!
//! The words stand in the attempt's transcript, where people read them too; an event holds the number of the message that
//! points there, and the few facts that the words do not tell. Its shape is made when it is read.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::event::{Event, EventData};
use super::inward::MessageStored;
use super::message::Message;
use super::time::UtcTime;
use super::words::MessageKind;
use crate::domain::event::{EventKind, MessageKind as Channel};

/// Between the name of a tool and what it was used for, where people read both as one line.
const TOOL_LEAD: &str = ": ";
/// Before the result of a tool that says it failed.
const FAILED_LEAD: &str = "failed: ";
/// Before what somebody has said to the agent.
pub const SAID_LEAD: &str = "said to the agent: ";

/// The stored part of an event. Only what applies is written, so that a row stays below a hundred bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<Sign>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<bool>,
}

impl Facts {
    /// The stored text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain members with text keys always serialise")
    }
}

/// What an `agent.progress` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The agent is up.
    Started,
    /// Another turn of the model began: `turns`, `tokens` and `files` say how far it is.
    Turn,
    /// The login's usage limit was reached (`ok` is false) or spoken of; `until` is its reset.
    UsageLimit,
    /// The model's API failed and the agent tries again by itself.
    Retrying,
    /// The agent was not allowed to use `tool` and went on without.
    Denied,
    /// The agent waits for permission to use `tool`.
    NeedsInput,
    /// Anything else that is worth a line.
    Notice,
    /// The agent's closing words; `ok` is what it thinks of its work.
    Ended,
}

/// Data of `agent.message`, `agent.thinking`, `job.note` and `job.interrupted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Words {
    /// What was said; `null` once the output is past its time and removed.
    pub text: Option<String>,
    /// The `seq` of the message in `GET /jobs/:id/messages` that holds the same words.
    pub message_seq: Option<i64>,
}

/// Data of `agent.tool_use`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolUse {
    /// The agent's own id of this use; its `agent.tool_result` has the same.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The argument that tells most, on one line: a command, a path inside the checkout. `null` once removed.
    pub summary: Option<String>,
    /// As in `agent.message`.
    pub message_seq: Option<i64>,
}

/// Data of `agent.tool_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// That of the `agent.tool_use`.
    pub id: String,
    /// Whether the tool says that it worked.
    pub ok: bool,
    /// The beginning of the result. `null` once removed.
    pub summary: Option<String>,
    /// As in `agent.message`; `null` for a result without a word.
    pub message_seq: Option<i64>,
}

/// Data of `agent.progress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What it is about.
    pub what: Sign,
    /// Turns of the model so far.
    pub turns: Option<u32>,
    /// Tokens that the model was given in this turn, cached ones included.
    pub tokens: Option<u64>,
    /// Files that the agent's editing tools were to write so far, each counted once.
    pub files: Option<u32>,
    /// The tool that it is about.
    pub tool: Option<String>,
    /// Whether that is good.
    pub ok: Option<bool>,
    /// When a limit ends.
    pub until: Option<UtcTime>,
    /// The same for people; `null` once removed.
    pub text: Option<String>,
    /// As in `agent.message`.
    pub message_seq: Option<i64>,
}

/// Data of `agent.output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// `stdout` or `stderr`.
    pub stream: MessageKind,
    /// One line or many, at most 32 KiB and a mark; `null` once removed.
    pub text: Option<String>,
    /// As in `agent.message`.
    pub message_seq: Option<i64>,
}

/// The data of an event that has words; `None` for every other.
pub(super) fn told(
    kind: EventKind,
    stored: &str,
    message_seq: Option<i64>,
    words: Option<&str>,
) -> Option<EventData> {
    if !kind.is_told() {
        return None;
    }
    let facts: Facts = serde_json::from_str(stored).unwrap_or_default();
    // one without a message never had a word
    let text = if message_seq.is_none() { Some("") } else { words };
    let text = text.map(|words| without_lead(kind, &facts, words).to_owned());
    Some(match kind {
        EventKind::AgentToolUse => EventData::ToolUse(ToolUse {
            id: facts.id.unwrap_or_default(),
            name: facts.name.unwrap_or_default(),
            summary: text,
            message_seq,
        }),
        EventKind::AgentToolResult => EventData::ToolResult(ToolResult {
            id: facts.id.unwrap_or_default(),
            ok: facts.ok.unwrap_or(true),
            summary: text,
            message_seq,
        }),
        EventKind::AgentProgress => EventData::Progress(Progress {
            what: facts.what.unwrap_or(Sign::Notice),
            turns: facts.turns,
            tokens: facts.tokens,
            files: facts.files,
            tool: facts.name,
            ok: facts.ok,
            until: facts.until.map(|ms| UtcTime(crate::domain::time::Timestamp::from_ms(ms))),
            text,
            message_seq,
        }),
        EventKind::AgentOutput => {
            let stream = if facts.stderr == Some(true) { Channel::Stderr } else { Channel::Stdout };
            EventData::Output(Output { stream: stream.into(), text, message_seq })
        }
        EventKind::MessageStored => EventData::MessageStored(MessageStored {
            id: facts.id,
            by: facts.name.unwrap_or_default(),
            text,
            message_seq,
        }),
        _ => EventData::Words(Words { text, message_seq }),
    })
}

/// The words without what introduces them to people: a program has it as a member of its own. Of what was lost in a power
/// failure the store says so instead, and that has no such beginning.
fn without_lead<'w>(kind: EventKind, facts: &Facts, words: &'w str) -> &'w str {
    let rest = match (kind, &facts.name, facts.ok) {
        (EventKind::AgentToolUse, Some(name), _) if words == name => Some(""),
        (EventKind::AgentToolUse, Some(name), _) => {
            words.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix(TOOL_LEAD))
        }
        (EventKind::AgentToolResult, _, Some(false)) => words.strip_prefix(FAILED_LEAD),
        (EventKind::MessageStored, ..) => words.strip_prefix(SAID_LEAD),
        _ => None,
    };
    rest.unwrap_or(words)
}

impl Event {
    /// The event as the line or block of the job's story that has the same words; `None` when it has none, or none any
    /// more.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        let data = self.data.clone();
        let (channel, content) = match self.type_.0 {
            EventKind::JobNote | EventKind::JobInterrupted => {
                (Channel::System, serde_json::from_value::<Words>(data).ok()?.text?)
            }
            EventKind::MessageStored => {
                let text = serde_json::from_value::<MessageStored>(data).ok()?.text?;
                (Channel::System, format!("{SAID_LEAD}{text}"))
            }
            EventKind::AgentProgress => {
                (Channel::System, serde_json::from_value::<Progress>(data).ok()?.text?)
            }
            EventKind::AgentMessage | EventKind::AgentThinking => {
                (Channel::Stdout, serde_json::from_value::<Words>(data).ok()?.text?)
            }
            EventKind::AgentOutput => {
                let output: Output = serde_json::from_value(data).ok()?;
                (output.stream.0, output.text?)
            }
            EventKind::AgentToolUse => {
                let ToolUse { name, summary, .. } = serde_json::from_value(data).ok()?;
                let summary = summary?;
                let content = if summary.is_empty() { name } else { format!("{name}{TOOL_LEAD}{summary}") };
                (Channel::Stdout, content)
            }
            EventKind::AgentToolResult => {
                let ToolResult { ok, summary, .. } = serde_json::from_value(data).ok()?;
                let lead = if ok { "" } else { FAILED_LEAD };
                (Channel::Stdout, format!("{lead}{}", summary?))
            }
            _ => return None,
        };
        let seq = self.data.get("messageSeq")?.as_i64()?;
        Some(Message { seq, type_: channel.into(), content, created_at: self.at })
    }
}
