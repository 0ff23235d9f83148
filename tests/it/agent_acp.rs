//! What `offshoot acp` prints of the real `gemini` 0.61.0 and `opencode` 1.18.33, and what is made of it.

use offshoot::agent::{AgentEvent, Fault, StepExit};
use offshoot::domain::agent_kind::AgentKind;
use serde_json::{Value, json};

use crate::transcripts::{
    code, fault, judges, message, read, signal, survives_hostile_output, told, transcript,
};

const ACP: AgentKind = AgentKind::Acp;

fn started() -> Value {
    json!({"acp": "started", "sessionId": "s-1", "agent": "some", "version": "1.2.3", "resumed": false})
}

fn update(update: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s-1", "update": update}})
}

fn failed(step: &str, why: Option<&str>, code: i32, message: &str) -> Value {
    json!({"acp": "failed", "step": step, "why": why, "code": code, "message": message})
}

fn of(lines: &[Value], exit: StepExit) -> (Vec<AgentEvent>, offshoot::agent::AgentVerdict) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    read(ACP, text.as_bytes(), b"", exit)
}

#[test]
fn every_recorded_run_is_judged_by_its_answer_and_the_exit_together() {
    judges(
        ACP,
        &[
            ("gemini-write-file", code(0), None),
            ("gemini-commit", code(0), None),
            // it was denied a command, and that is for whoever looks at what has changed
            ("gemini-shell-denied", code(0), None),
            ("gemini-asked", code(0), Some(Fault::NeedsInput)),
            ("gemini-auth-error", code(1), Some(Fault::NotLoggedIn)),
            ("gemini-bad-request", code(1), Some(Fault::ApiError { status: Some(400) })),
            // it neither says that the model refused, nor that its answer was cut off
            ("gemini-refusal", code(0), None),
            ("gemini-max-tokens", code(0), None),
            ("gemini-hang", code(0), Some(Fault::Interrupted)),
            ("gemini-unknown-session", code(1), Some(Fault::SessionUnknown)),
            ("gemini-unknown-model", code(1), Some(Fault::Unsupported)),
            ("opencode-write-file", code(0), None),
            ("opencode-commit", code(0), None),
            ("opencode-shell-denied", code(0), None),
            ("opencode-asked", code(0), Some(Fault::NeedsInput)),
            // it says that the API failed, and nothing else
            ("opencode-auth-error", code(1), Some(Fault::ApiError { status: None })),
            ("opencode-bad-request", code(1), Some(Fault::ApiError { status: None })),
            ("opencode-refusal", code(0), Some(Fault::Refused)),
            ("opencode-max-tokens", code(0), None),
            ("opencode-hang", code(0), Some(Fault::Interrupted)),
            ("opencode-unknown-session", code(1), Some(Fault::SessionUnknown)),
            ("opencode-unknown-model", code(1), Some(Fault::Unsupported)),
            ("gemini-write-file", code(1), Some(Fault::Crashed)),
            ("gemini-write-file", code(137), Some(Fault::Interrupted)),
            ("opencode-write-file", signal(9), Some(Fault::Interrupted)),
        ],
    );
}

#[test]
fn tokens_and_money_are_what_each_agent_tells() {
    let usage = |name: &str| read(ACP, &transcript(ACP, name), b"", code(0)).1.usage;
    let (gemini, opencode) = (usage("gemini-commit"), usage("opencode-commit"));
    assert_eq!((gemini.output_tokens, gemini.session_cost_usd_micros, gemini.turns), (51, None, 1));
    assert!(gemini.input_tokens > 30_000, "{gemini:?}");
    assert_eq!((opencode.output_tokens, opencode.turns), (4, 1));
    assert!(
        opencode.session_cost_usd_micros.is_some_and(|micros| (60_000..90_000).contains(&micros)),
        "{opencode:?}"
    );
    let (_, verdict) = read(ACP, &transcript(ACP, "opencode-commit"), b"", code(0));
    assert!(verdict.session_id.as_deref().is_some_and(|id| id.starts_with("ses_")));
    assert_eq!(verdict.agent_version.as_deref(), Some("1.18.33"));
}

#[test]
fn what_was_not_permitted_is_a_denial_and_what_nobody_answered_is_not() {
    for name in ["gemini-shell-denied", "opencode-shell-denied"] {
        let (events, verdict) = read(ACP, &transcript(ACP, name), b"", code(0));
        let denials: Vec<_> = verdict
            .tools
            .denied
            .iter()
            .map(|one| (one.tool.as_str(), one.summary.as_str(), one.writes))
            .collect();
        assert_eq!(denials, [("execute", "make install", false)], "{name}");
        assert_eq!(verdict.tools.permitted, 0, "{name}");
        assert!(events.iter().any(|event| matches!(event, AgentEvent::Denied { .. })), "{name}");
    }
    for name in ["gemini-asked", "opencode-asked"] {
        let (events, verdict) = read(ACP, &transcript(ACP, name), b"", code(0));
        assert_eq!(
            message(&verdict),
            "the agent asked for permission to use edit, and nobody was there to answer"
        );
        assert!(verdict.tools.denied.is_empty(), "{name}");
        assert!(
            events.iter().any(|event| matches!(event, AgentEvent::NeedsInput { tool } if tool == "edit")),
            "{name}"
        );
    }
}

#[test]
fn what_people_read_of_a_commit() {
    insta::assert_snapshot!(told(ACP, "gemini-commit"), @r"
    agent.progress | agent gemini-cli 0.61.0 started
    agent.tool_use | edit: Writing to c.txt
    agent.tool_result | changed c.txt
    agent.tool_use | execute: git add -- c.txt && git commit -q -m 'Add c.txt'
    agent.tool_result | 
    agent.message | Committed c.txt.
    agent.progress | agent finished: Committed c.txt.
    ");
    insta::assert_snapshot!(told(ACP, "opencode-commit"), @r"
    agent.progress | agent OpenCode 1.18.33 started
    agent.tool_use | edit: c.txt
    agent.tool_result | Wrote file successfully.
    agent.tool_use | execute: git add -- c.txt && git commit -q -m 'Add c.txt'
    agent.tool_result | (no output)
    agent.message | Committed c.txt.
    agent.progress | turn 1, 7811 tokens of context
    agent.progress | agent finished: Committed c.txt.
    ");
}

fn fail_as(rows: &[(Value, Fault)]) {
    for (line, expected) in rows {
        let (_, verdict) = of(&[started(), line.clone()], code(1));
        assert_eq!(fault(&verdict), Some(*expected), "{line}");
        assert!(!message(&verdict).is_empty(), "{line}");
        // whatever the exit says
        assert_eq!(fault(&of(std::slice::from_ref(line), code(0)).1), Some(*expected), "{line}");
    }
}

fn used_up() -> String {
    json!({"error": {"type": "usage_limit_reached", "resets_at": 1_795_200_923}}).to_string()
}

#[test]
fn what_is_no_word_of_the_model_is_none() {
    fail_as(&[
        (failed("initialize", None, -32_601, "Method not found"), Fault::ProgramMissing),
        (failed("initialize", None, -32_603, "no"), Fault::ProgramMissing),
        (failed("initialize", Some("deadline"), 0, "late"), Fault::ProgramMissing),
        (failed("initialize", Some("closed"), 0, "exited with code 127"), Fault::ProgramMissing),
        (failed("session/new", None, -32_603, "no"), Fault::Crashed),
        (failed("session/new", None, -32_603, "startupFailureReason: bypass_root"), Fault::Unsupported),
        (failed("session/prompt", None, -32_602, "Invalid params"), Fault::Crashed),
        (failed("session/prompt", Some("malformed"), 0, "no message"), Fault::Crashed),
        (failed("session/prompt", None, -32_603, "Prompt is too long"), Fault::ContextFull),
        (failed("session/load", None, 429, "slow down"), Fault::Overloaded { again_at: None }),
        (
            json!({"acp": "failed", "step": "session/prompt", "why": null, "code": -32_603, "message": "Internal error",
                "data": {"details": used_up()}}),
            Fault::UsageLimit { resets_at: Some(1_795_200_923), window: None },
        ),
    ]);
}

#[test]
fn endings_that_were_not_recorded() {
    let rows = [
        (failed("session/new", None, -32_000, "Authentication required"), Fault::NotLoggedIn),
        (failed("session/prompt", None, -32_000, "log in"), Fault::NotLoggedIn),
        (failed("session/prompt", None, -32_603, "Internal error"), Fault::ApiError { status: None }),
        (failed("session/prompt", None, 429, "slow down"), Fault::Overloaded { again_at: None }),
        (failed("session/prompt", None, 503, "full"), Fault::Overloaded { again_at: None }),
        (
            failed("session/prompt", None, -32_603, "API Error: 529 full"),
            Fault::Overloaded { again_at: None },
        ),
        (failed("session/prompt", None, -32_603, "API Error: 401 no"), Fault::NotLoggedIn),
        // what only speaks of a limit is none
        (failed("session/prompt", None, -32_603, "usage limit reached"), Fault::ApiError { status: None }),
        (
            failed("session/prompt", None, -32_603, &used_up()),
            Fault::UsageLimit { resets_at: Some(1_795_200_923), window: None },
        ),
        (failed("session/prompt", None, -32_700, "unknown variant"), Fault::Crashed),
        (failed("session/prompt", None, -32_800, "cancelled"), Fault::Interrupted),
        (failed("session/load", None, -32_002, "no such thing"), Fault::SessionUnknown),
        (
            failed("session/load", None, -32_603, "429 Too Many Requests"),
            Fault::Overloaded { again_at: None },
        ),
        (
            failed("session/resume", None, -32_603, "connect ECONNREFUSED 10.0.0.1:443"),
            Fault::Overloaded { again_at: None },
        ),
        (failed("session/resume", None, -32_000, "log in"), Fault::NotLoggedIn),
        (failed("session/load", Some("not_offered"), 0, "cannot"), Fault::SessionUnknown),
        (failed("session/load", Some("deadline"), 0, "late"), Fault::Crashed),
        (failed("settings", Some("not_offered"), 0, "options.model"), Fault::Unsupported),
        (failed("initialize", Some("version"), 0, "version 2"), Fault::ProgramMissing),
        (failed("start", Some("missing"), 0, "no such file"), Fault::ProgramMissing),
        (failed("start", Some("other"), 0, "no memory"), Fault::Crashed),
    ];
    fail_as(&rows);
    let stopped = |reason: &str| json!({"acp": "ended", "answer": {"stopReason": reason}});
    let rows = [
        ("max_tokens", Fault::ApiError { status: None }),
        ("max_turn_requests", Fault::MaxTurns),
        ("refusal", Fault::Refused),
        ("cancelled", Fault::Interrupted),
        ("tomorrow", Fault::Crashed),
    ];
    for (reason, expected) in rows {
        assert_eq!(fault(&of(&[started(), stopped(reason)], code(0)).1), Some(expected), "{reason}");
    }
    let rows = [
        (vec![started(), stopped("end_turn")], code(0), None),
        (vec![started(), stopped("end_turn")], code(1), Some(Fault::Crashed)),
        (vec![started()], code(0), Some(Fault::Crashed)),
        (vec![started()], code(139), Some(Fault::Crashed)),
        (vec![started()], code(137), Some(Fault::Interrupted)),
        (vec![started()], signal(15), Some(Fault::Interrupted)),
        (vec![started()], StepExit::default(), Some(Fault::Interrupted)),
    ];
    for (lines, exit, expected) in rows {
        assert_eq!(fault(&of(&lines, exit).1), expected, "{lines:?} {exit:?}");
    }
}

#[test]
fn what_is_not_of_the_turn_is_told_to_nobody() {
    let said = |session: &str, text: &str| {
        json!({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": session,
            "update": {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}}})
    };
    let heard = json!({"acp": "heard", "line": {"acp": "ended", "answer": {"stopReason": "end_turn"}}});
    let ended = json!({"acp": "ended", "answer": {"stopReason": "end_turn"}});
    let lines = [
        started(),
        said("s-2", "of another"),
        heard,
        said("s-1", "own"),
        ended,
        said("s-1", "la"),
        said("s-1", "te"),
        json!({"acp": "left"}),
    ];
    let (events, verdict) = of(&lines, code(0));
    let told: Vec<String> = events.iter().map(AgentEvent::text).collect();
    assert_eq!(told, ["agent some 1.2.3 started", "own", "agent finished: own", "late"]);
    assert_eq!(verdict.outcome, offshoot::agent::AgentOutcome::Succeeded { summary: "own".to_owned() });
    assert_eq!(fault(&of(&lines[..3], code(3)).1), Some(Fault::Crashed), "no line of the agent ends it");
}

#[test]
fn a_question_is_one_however_many_tools_were_used_and_however_the_agent_ends() {
    let mut lines = vec![started()];
    for number in 0..4_100 {
        lines.push(update(
            &json!({"sessionUpdate": "tool_call", "toolCallId": format!("m{number}"), "status": "completed", "kind": "edit"}),
        ));
    }
    lines.push(json!({"acp": "answered", "toolCallId": "last", "answer": "unanswered"}));
    let (events, verdict) = of(&lines, code(0));
    assert_eq!(fault(&verdict), Some(Fault::NeedsInput));
    let used = events.iter().filter(|event| matches!(event, AgentEvent::ToolUse { .. })).count();
    assert_eq!(used, 4_101, "none is left out");
}

#[test]
fn money_is_that_of_the_session_and_only_where_it_is_told_in_dollars() {
    let cost = |amount: Value, currency: &str| {
        update(
            &json!({"sessionUpdate": "usage_update", "used": 5, "cost": {"amount": amount, "currency": currency}}),
        )
    };
    let told = |lines: &[Value]| of(lines, code(0)).1.usage;
    // a turn is a prompt, however often it tells what it has used
    let usage = told(&[started(), cost(json!(0.02), "USD"), cost(json!(0.0702), "USD")]);
    assert_eq!((usage.session_cost_usd_micros, usage.cost_usd_micros, usage.turns), (Some(70_200), None, 1));
    for absurd in [cost(json!(-1), "USD"), cost(json!(1e300), "USD"), cost(json!(1), "EUR")] {
        assert_eq!(told(std::slice::from_ref(&absurd)).session_cost_usd_micros, None, "{absurd}");
    }
    let tokens = json!({"inputTokens": 7, "outputTokens": 5, "thoughtTokens": 3, "cachedReadTokens": 2, "cachedWriteTokens": 1});
    let usage = told(&[json!({"acp": "ended", "answer": {"stopReason": "end_turn", "usage": tokens}})]);
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens),
        (7, 8, 2, 1)
    );
    assert!(usage.tokens_of_session, "so the protocol has it");
    assert!(
        !of(&[json!({"acp": "ended", "answer": {"stopReason": "end_turn"}})], code(0))
            .1
            .usage
            .tokens_of_session
    );
    let begun = |resumed: bool| {
        let mut started = started();
        started["resumed"] = json!(resumed);
        of(&[started], code(0)).1.began_session
    };
    assert!(begun(false) && !begun(true));
}

/// As claude's adapter tells of them: pending with everything, then done.
#[test]
fn a_tool_use_is_told_once_it_says_what_it_is_and_ends_once() {
    let tool = |fields: Value| {
        let mut all = json!({"sessionUpdate": "tool_call_update", "toolCallId": "t"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        update(&all)
    };
    let text = json!([{"type": "content", "content": {"type": "text", "text": "4 lines"}}]);
    let lines = [
        tool(json!({"status": "pending", "title": "Terminal", "kind": "execute"})),
        tool(json!({"rawInput": {"command": "wc -l a"}})),
        tool(json!({"status": "in_progress", "name": "Bash"})),
        tool(json!({"status": "completed", "content": text})),
        tool(json!({"status": "completed"})),
    ];
    let (events, verdict) = of(&lines, code(0));
    let told: Vec<String> = events.iter().map(AgentEvent::text).collect();
    assert_eq!(told, ["execute: wc -l a", "4 lines"]);
    assert_eq!((verdict.tools.permitted, verdict.tools.denied.len()), (1, 0));
    // one that was refused is over, whatever is said of it then
    let refused = json!({"acp": "answered", "toolCallId": "t", "answer": "denied"});
    let (events, verdict) = of(&[lines[0].clone(), refused, tool(json!({"status": "failed"}))], code(0));
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!((verdict.tools.permitted, verdict.tools.denied.len()), (0, 1));
}

#[test]
fn thoughts_plans_and_messages_are_told_whole_and_each_as_what_it_is() {
    let piece = |kind: &str, id: &str, text: &str| {
        update(&json!({"sessionUpdate": kind, "messageId": id, "content": {"type": "text", "text": text}}))
    };
    let lines = [
        piece("agent_thought_chunk", "1", "I wo"),
        piece("agent_thought_chunk", "1", "nder"),
        piece("agent_message_chunk", "2", "First."),
        update(&json!({"sessionUpdate": "available_commands_update", "availableCommands": []})),
        piece("agent_message_chunk", "3", "Sec"),
        piece("agent_message_chunk", "3", "ond."),
        update(
            &json!({"sessionUpdate": "plan", "entries": [{"content": "look", "status": "completed"}, {"content": "write"}]}),
        ),
        update(&json!({"sessionUpdate": "something_new", "x": 1})),
        json!({"jsonrpc": "2.0", "id": 5, "method": "fs/read_text_file", "params": {}}),
    ];
    let (events, _) = of(&lines, code(0));
    let told: Vec<String> =
        events.iter().map(|event| format!("{}: {}", event.kind(), event.text())).collect();
    let new = lines[7].to_string();
    assert_eq!(
        told,
        [
            "agent.thinking: I wonder",
            "agent.message: First.",
            "agent.message: Second.",
            "agent.progress: plan:\n[x] look\n[ ] write",
            &format!("agent.output: {new}"),
        ]
    );
}

#[test]
fn a_message_without_an_end_is_told_in_bounded_pieces() {
    let piece = update(
        &json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "x".repeat(30_000)}}),
    );
    let stdout = format!("{piece}\n").repeat(9);
    let (events, _) = read(ACP, stdout.as_bytes(), b"", code(0));
    assert_eq!(events.len(), 4, "two pieces each");
    assert!(events.iter().all(|event| matches!(event, AgentEvent::Message { text } if text.len() == 60_000)));
}

#[test]
fn no_output_makes_the_parser_panic_or_lie_about_success() {
    survives_hostile_output(ACP, "end_turn");
}
