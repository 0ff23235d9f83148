//! What the adapters' tests start from.

use std::path::{Path, PathBuf};

use super::registry::find_agent;
use super::{AgentEvent, AgentOutcome, AgentReader, Invocation, LINE_BYTES_MAX, Session, StepExit, Stream};
use crate::domain::agent_kind::AgentKind;

pub(super) const SESSION: &str = "0bd3fb1e-6a5c-4b8f-9f4e-0d6c9c8f2a11";

/// A new session of a program in `/w/tree`, with a prompt that a careless command line takes for an option, and nothing else wished for.
pub(super) fn invocation(program: &str) -> Invocation {
    Invocation {
        program: vec![program.to_owned()],
        prompt: "--help and fix it".to_owned(),
        working_dir: PathBuf::from("/w/tree"),
        attachments: Vec::new(),
        model: None,
        effort: None,
        permission_mode: None,
        allowed_tools: None,
        disallowed_tools: vec![],
        max_turns: None,
        max_budget_usd_micros: None,
        append_system_prompt: None,
        session: Session::New { id: SESSION.to_owned() },
        sandboxed: false,
        as_root: false,
    }
}

/// The prompt of a plain program is no text of ours: it is told in its environment alone.
#[test]
fn every_kind_is_told_where_the_attachments_are() {
    let path = "/d/7/attachments/sketch.png";
    for kind in AgentKind::ALL {
        let given = Invocation { attachments: vec![path.into()], ..invocation("agent") };
        let command = find_agent(*kind).command(&given).unwrap();
        let is_told = command.stdin.contains(&format!("\n- {path}\n"));
        assert_eq!(is_told, *kind != AgentKind::Command, "{kind}: {}", command.stdin);
        let variable = ("OFFSHOOT_ATTACHMENTS".to_owned(), "/d/7/attachments".to_owned());
        assert!(command.env.contains(&variable), "{kind}");
    }
}

/// A good end and the result of a tool, with TEXT where the agent puts text of others; the end as the real programs order it.
const LINES: [(AgentKind, &str, &str); 5] = [
    (
        AgentKind::Claude,
        r#"{"usage":{},"permission_denials":[],"is_error":false,"subtype":"success","result":"TEXT","type":"result","num_turns":1}"#,
        r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t","content":"TEXT"}]}}"#,
    ),
    (
        AgentKind::Codex,
        "{\"item\":{\"text\":\"TEXT\",\"type\":\"agent_message\"},\"type\":\"item.completed\"}\n{\"type\":\"turn.completed\"}",
        r#"{"item":{"id":"t","aggregated_output":"TEXT","type":"command_execution"},"type":"item.completed"}"#,
    ),
    (
        AgentKind::Opencode,
        "{\"part\":{\"text\":\"TEXT\"},\"type\":\"text\"}\n{\"type\":\"step_finish\",\"part\":{\"reason\":\"stop\"}}",
        r#"{"part":{"callID":"t","state":{"output":"TEXT","status":"completed"}},"type":"tool_use"}"#,
    ),
    (
        AgentKind::Gemini,
        "{\"content\":\"TEXT\",\"role\":\"assistant\",\"type\":\"message\"}\n{\"type\":\"result\",\"status\":\"success\"}",
        r#"{"tool_id":"t","output":"TEXT","type":"tool_result","status":"success"}"#,
    ),
    (
        AgentKind::Acp,
        "{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{\"update\":{\"sessionUpdate\":\"agent_message_chunk\",\"content\":{\"text\":\"TEXT\"}}}}\n{\"acp\":\"ended\",\"answer\":{\"stopReason\":\"end_turn\"}}",
        r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":{"sessionUpdate":"tool_call_update","toolCallId":"t","content":[{"content":{"text":"TEXT"}}],"status":"completed"}}}"#,
    ),
];

/// What a run ended with was paid for: no text in it, however long or broken, may hide it.
#[test]
fn a_line_with_a_text_that_cannot_be_taken_as_it_is_tells_what_it_tells() {
    let giant = vec![b'x'; LINE_BYTES_MAX + 1_000_000];
    let texts: [&[u8]; 4] = [br"cut \ud83d", b"\xff\xfe", br"\ud83d\ude00", &giant];
    for (kind, end, result) in LINES {
        for text in texts {
            let shown = String::from_utf8_lossy(&text[..text.len().min(12)]).into_owned();
            let bytes = |line: &str| {
                let (before, after) = line.split_once("TEXT").expect("a place for the text");
                [before.as_bytes(), text, after.as_bytes(), b"\n"].concat()
            };
            let mut reader = AgentReader::new(find_agent(kind).parser(Path::new("/w")));
            let events = reader.feed(Stream::Stdout, &bytes(result));
            let told = |event: &AgentEvent| matches!(event, AgentEvent::ToolResult { id, ok: true, .. } if id == "t");
            assert!(events.iter().any(told), "{kind} {shown}: {events:?}");
            let events = reader.feed(Stream::Stdout, &bytes(end));
            let unknown = events.iter().any(|event| matches!(event, AgentEvent::Output { .. }));
            assert!(!unknown, "{kind} {shown}");
            let (_, verdict) = reader.finish(StepExit { code: Some(0), signal: None });
            let AgentOutcome::Succeeded { summary } = verdict.outcome else { panic!("{kind} {shown}") };
            assert!(!summary.is_empty(), "{kind} {shown}");
        }
    }
}
