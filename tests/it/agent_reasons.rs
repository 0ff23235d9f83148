//! Which of the reasons for a failure or a hold each kind of agent can bring about, and output that does.

use std::collections::{BTreeMap, BTreeSet};

use offshoot::agent::{AgentOutcome, StepExit};
use offshoot::domain::agent_kind::AgentKind;
use offshoot::domain::reason::ReasonCode;

use crate::transcripts::{aside, code, read, signal, transcript};

/// Where the standard output comes from.
enum Out {
    Recorded(&'static str),
    Line(&'static str),
}

type Row = (AgentKind, &'static str, Out, &'static str, StepExit);

fn of_claude_and_codex() -> Vec<Row> {
    use AgentKind::{Claude, Codex};
    use Out::{Line, Recorded};
    vec![
        (Claude, "usage_limit", Recorded("rate-limit-subscription"), "", code(1)),
        (Claude, "not_logged_in", Recorded("not-logged-in"), "", code(1)),
        (Claude, "not_logged_in", Recorded("auth-error-403"), "", code(1)),
        (Claude, "overloaded", Recorded("api-error-10-retries"), "", code(1)),
        (
            Claude,
            "api_error",
            Line(
                r#"{"type":"result","subtype":"success","is_error":true,"terminal_reason":"api_error","api_error_status":500}"#,
            ),
            "",
            code(1),
        ),
        (
            Claude,
            "refused",
            Line(r#"{"type":"result","subtype":"success","is_error":false,"stop_reason":"refusal"}"#),
            "",
            code(0),
        ),
        (
            Claude,
            "needs_input",
            Line(r#"{"type":"control_request","request":{"subtype":"can_use_tool","tool_name":"Write"}}"#),
            "",
            code(1),
        ),
        (Claude, "max_turns", Recorded("max-turns"), "", code(1)),
        (Claude, "max_budget", Recorded("max-budget"), "", code(1)),
        (
            Codex,
            "usage_limit",
            Line(r#"{"type":"turn.failed","error":{"message":"You've hit your usage limit."}}"#),
            "",
            code(1),
        ),
        (Codex, "not_logged_in", Recorded("auth-error"), "", code(1)),
        (Codex, "overloaded", Recorded("rate-limit"), "", code(1)),
        (Codex, "api_error", Recorded("bad-request"), "", code(1)),
        (
            Codex,
            "refused",
            Line(
                r#"{"type":"turn.failed","error":{"message":"This request has been flagged for possible biological risk."}}"#,
            ),
            "",
            code(1),
        ),
    ]
}

fn of_opencode_and_gemini() -> Vec<Row> {
    use AgentKind::{Gemini, Opencode};
    use Out::{Line, Recorded};
    vec![
        (Opencode, "usage_limit", Recorded("rate-limit"), "", code(1)),
        (Opencode, "not_logged_in", Recorded("auth-error"), "", code(1)),
        (Opencode, "overloaded", Recorded("overloaded"), "", code(1)),
        (Opencode, "overloaded", Recorded("unavailable"), "", code(1)),
        (Opencode, "api_error", Recorded("server-error"), "", code(1)),
        (Opencode, "refused", Recorded("refusal"), "", code(1)),
        (Opencode, "needs_input", Recorded("write-file-asked"), "", code(0)),
        (Gemini, "usage_limit", Recorded("daily-quota"), "", code(173)),
        (Gemini, "usage_limit", Recorded("capacity"), "", code(0)),
        (Gemini, "not_logged_in", Recorded("auth-error"), "", code(145)),
        (Gemini, "not_logged_in", Recorded("invalid-key"), "", code(144)),
        (Gemini, "overloaded", Recorded("rate-limit"), "", code(173)),
        (Gemini, "overloaded", Recorded("server-error"), "", code(247)),
        (Gemini, "overloaded", Recorded("overloaded"), "", code(17)),
        (Gemini, "api_error", Recorded("bad-request"), "", code(144)),
        (Gemini, "max_turns", Line(""), "Reached max session turns for this session.", code(53)),
    ]
}

fn of_acp() -> Vec<Row> {
    use Out::{Line, Recorded};
    let limit = r#"{"acp":"failed","step":"session/prompt","code":429,"message":"{\"error\":{\"type\":\"usage_limit_reached\"}}"}"#;
    let turns = r#"{"acp":"ended","answer":{"stopReason":"max_turn_requests"}}"#;
    let busy = r#"{"acp":"failed","step":"session/prompt","code":429,"message":"slow down"}"#;
    let rows = [
        ("usage_limit", Line(limit), 1),
        ("not_logged_in", Recorded("gemini-auth-error"), 1),
        ("overloaded", Line(busy), 1),
        ("api_error", Recorded("gemini-bad-request"), 1),
        // of a dead login it has no more to say
        ("api_error", Recorded("opencode-auth-error"), 1),
        ("refused", Recorded("opencode-refusal"), 0),
        ("needs_input", Recorded("gemini-asked"), 0),
        ("needs_input", Recorded("opencode-asked"), 0),
        ("max_turns", Line(turns), 0),
        ("unsupported_option", Recorded("gemini-unknown-model"), 1),
    ];
    rows.into_iter().map(|(reason, out, exit)| (AgentKind::Acp, reason, out, "", code(exit))).collect()
}

/// One run for each kind and reason.
fn rows() -> Vec<Row> {
    use Out::Line;
    let mut rows = of_claude_and_codex();
    rows.extend(of_opencode_and_gemini());
    rows.extend(of_acp());
    for kind in AgentKind::ALL {
        rows.push((*kind, "crashed", Line("half a w"), "boom", code(3)));
        rows.push((*kind, "interrupted", Line("half a w"), "", signal(15)));
    }
    rows.push((AgentKind::Command, "crashed", Line("done"), "", code(1)));
    rows
}

#[test]
fn each_kind_brings_about_the_reasons_that_it_can() {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (kind, expected, out, stderr, exit) in rows() {
        let (stdout, stderr) = match out {
            Out::Recorded(name) => (transcript(kind, name), aside(kind, name)),
            Out::Line(line) => (line.as_bytes().to_vec(), stderr.as_bytes().to_vec()),
        };
        let (_, verdict) = read(kind, &stdout, &stderr, exit);
        let AgentOutcome::Failed { fault, message } = verdict.outcome else { panic!("{kind} {expected}") };
        assert_eq!(fault.code(), expected, "{kind}: {message}");
        assert!(ReasonCode::parse(fault.code()).is_some(), "{expected} is a reason");
        assert!(!message.is_empty() || stdout.len() < 100, "{kind} {expected} says nothing");
        found.entry(kind.as_str()).or_default().insert(expected);
    }
    let page = std::fs::read_to_string(crate::agents_page::path()).unwrap();
    for (kind, reasons) in found {
        for reason in [
            "usage_limit",
            "not_logged_in",
            "overloaded",
            "api_error",
            "refused",
            "needs_input",
            "max_turns",
            "max_budget",
        ] {
            let line = page.lines().find(|line| line.starts_with(&format!("| `{reason}` |"))).unwrap();
            let cell = line.split('|').nth(2 + column(kind)).unwrap().trim();
            assert_eq!(cell == "yes", reasons.contains(reason), "docs/agents.md: {reason} of {kind}");
        }
    }
}

fn column(kind: &str) -> usize {
    AgentKind::ALL.iter().position(|one| one.as_str() == kind).unwrap()
}
