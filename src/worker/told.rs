//! From what an agent says, in the words of its adapter, to what is stored of it.

use crate::agent::{AgentEvent, Channel, Stream, tool_name};
use crate::domain::event::MessageKind;
use crate::domain::time::Timestamp;
use crate::store::IngestedMessage;
use crate::wire::told::{Facts, Sign};

/// The message and event of what was said at `at`.
pub(super) fn told(event: &AgentEvent, at: Timestamp) -> IngestedMessage {
    let kind = match event.channel() {
        Channel::Stdout => MessageKind::Stdout,
        Channel::Stderr => MessageKind::Stderr,
        Channel::System => MessageKind::System,
    };
    let text = event.text();
    let is_listed = !text.is_empty();
    IngestedMessage { kind, text, at, event: event.kind(), facts: facts(event), is_listed }
}

fn facts(event: &AgentEvent) -> Facts {
    let sign = |what| Facts { what: Some(what), ..Facts::default() };
    match event {
        AgentEvent::ToolUse { id, name, .. } => {
            Facts { id: Some(tool_name(id)), name: Some(tool_name(name)), ..Facts::default() }
        }
        AgentEvent::ToolResult { id, ok, .. } => {
            Facts { id: Some(tool_name(id)), ok: Some(*ok), ..Facts::default() }
        }
        AgentEvent::Progress { turns, context_tokens, files, .. } => {
            Facts { turns: Some(*turns), tokens: Some(*context_tokens), files: *files, ..sign(Sign::Turn) }
        }
        AgentEvent::RateLimit { rejected, resets_at, .. } => Facts {
            ok: Some(!rejected),
            until: resets_at.and_then(|seconds| seconds.checked_mul(1_000)),
            ..sign(Sign::UsageLimit)
        },
        AgentEvent::Denied { tool, .. } => Facts { name: Some(tool_name(tool)), ..sign(Sign::Denied) },
        AgentEvent::NeedsInput { tool } => Facts { name: Some(tool_name(tool)), ..sign(Sign::NeedsInput) },
        AgentEvent::Ended { ok, .. } => Facts { ok: Some(*ok), ..sign(Sign::Ended) },
        AgentEvent::Started { .. } => sign(Sign::Started),
        AgentEvent::Retrying { .. } => sign(Sign::Retrying),
        AgentEvent::Notice { .. } => sign(Sign::Notice),
        AgentEvent::Output { stream, .. } => {
            Facts { stderr: (*stream == Stream::Stderr).then_some(true), ..Facts::default() }
        }
        AgentEvent::Message { .. } | AgentEvent::Thinking { .. } => Facts::default(),
    }
}
