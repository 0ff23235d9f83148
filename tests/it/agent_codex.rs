//! Recorded output of the real `codex` 0.169.0, and what is made of it.

use offshoot::agent::{AgentEvent, Fault, Stream};
use offshoot::domain::agent_kind::AgentKind;

use crate::transcripts::{
    code, fault, judges, message, read, signal, survives_hostile_output, told, transcript,
};

const CODEX: AgentKind = AgentKind::Codex;

#[test]
fn every_recorded_run_is_judged_by_its_last_turn_and_the_exit_together() {
    judges(
        CODEX,
        &[
            ("write-file", code(0), None),
            ("commit", code(0), None),
            ("resume", code(0), None),
            ("crash-tool", code(0), None),
            // it does not say that the model refused, nor that a patch was not let through
            ("refusal", code(0), None),
            ("write-file-denied", code(0), None),
            // a good end does not help when the process then ends badly
            ("write-file", code(1), Some(Fault::Crashed)),
            ("write-file", signal(9), Some(Fault::Interrupted)),
            ("api-error", code(1), Some(Fault::Overloaded { again_at: None })),
            ("server-error", code(1), Some(Fault::Overloaded { again_at: None })),
            ("rate-limit", code(1), Some(Fault::Overloaded { again_at: None })),
            ("auth-error", code(1), Some(Fault::NotLoggedIn)),
            ("bad-request", code(1), Some(Fault::ApiError { status: None })),
            ("dropped", code(1), Some(Fault::ApiError { status: None })),
            ("max-tokens", code(1), Some(Fault::ApiError { status: None })),
            // even if the exit code said otherwise
            ("api-error", code(0), Some(Fault::Overloaded { again_at: None })),
            // no end of the turn at all
            ("sigint-while-tool-runs", code(1), Some(Fault::Crashed)),
            ("sigint-while-tool-runs", code(0), Some(Fault::Crashed)),
            ("sigint-while-tool-runs", code(130), Some(Fault::Interrupted)),
            ("sigint-while-tool-runs", signal(15), Some(Fault::Interrupted)),
            ("sigint-while-tool-runs", signal(9), Some(Fault::Interrupted)),
            ("sigint-while-tool-runs", signal(11), Some(Fault::Crashed)),
        ],
    );
}

#[test]
fn the_session_is_the_thread_and_its_tokens_are_those_of_the_whole_thread() {
    let (_, verdict) = read(CODEX, &transcript(CODEX, "write-file"), b"", code(0));
    assert_eq!(verdict.session_id.as_deref(), Some("01a1fa19-df75-7ed2-b22c-81cd45ed9ff8"));
    assert_eq!((verdict.usage.input_tokens, verdict.usage.output_tokens), (19_632, 31));
    assert_eq!((verdict.usage.cost_usd_micros, verdict.usage.turns), (None, 0), "it tells neither");
    // the second process of a thread of which the first one used 19,622
    let (_, verdict) = read(CODEX, &transcript(CODEX, "resume"), b"", code(0));
    assert_eq!((verdict.usage.input_tokens, verdict.usage.output_tokens), (49_936, 70));
}

#[test]
fn cached_tokens_are_not_counted_twice() {
    let ended = r#"{"type":"turn.completed","usage":{"input_tokens":100,"cached_input_tokens":80,"output_tokens":5}}"#;
    let usage = read(CODEX, ended.as_bytes(), b"", code(0)).1.usage;
    assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.output_tokens), (20, 80, 5));
}

#[test]
fn endings_that_were_not_recorded() {
    let limit = |resets_at| Some(Fault::UsageLimit { resets_at, window: None });
    let rows = [
        ("You've hit your usage limit. Upgrade to Pro or try again at 3:05 PM.", limit(None)),
        (
            "You’ve hit your usage limit for gpt-5.5. Switch to another model now, or try again later.",
            limit(None),
        ),
        ("Quota exceeded. Check your plan and billing details.", limit(None)),
        ("Your workspace is out of credits. Add credits to continue.", limit(None)),
        (
            r#"{"error":{"type":"usage_limit_reached","message":"x","resets_at":1795200923}}"#,
            limit(Some(1_795_200_923)),
        ),
        (r#"{"error":{"type":"usage_limit_reached","resets_at":"soon"}}"#, limit(None)),
        ("Missing environment variable: `FAKE_KEY`.", Some(Fault::NotLoggedIn)),
        (
            "Your access token could not be refreshed because your refresh token was already used.",
            Some(Fault::NotLoggedIn),
        ),
        (
            "Selected model is at capacity. Please try a different model.",
            Some(Fault::Overloaded { again_at: None }),
        ),
        ("This request has been flagged for possible cybersecurity risk.", Some(Fault::Refused)),
        ("internal error; agent loop died unexpectedly", Some(Fault::Crashed)),
        (
            "Codex ran out of room in the model's context window. Start a new thread or clear earlier history before \
             retrying.",
            Some(Fault::ContextFull),
        ),
        ("unexpected status 404 Not Found: x", Some(Fault::ApiError { status: Some(404) })),
        // a limit that is only spoken of is none, and neither is what nobody knows
        ("stream disconnected: usage limit of the proxy", Some(Fault::ApiError { status: None })),
        ("The model said: You've hit your usage limit", Some(Fault::ApiError { status: None })),
        ("", Some(Fault::ApiError { status: None })),
    ];
    for (text, expected) in rows {
        let failed = serde_json::json!({"type": "turn.failed", "error": {"message": text}}).to_string();
        let (_, verdict) = read(CODEX, failed.as_bytes(), b"", code(1));
        assert_eq!(fault(&verdict), expected, "{text}");
    }
    for line in [r#"{"type":"turn.failed"}"#, r#"{"type":"turn.failed","error":"x"}"#] {
        let expected = Some(Fault::ApiError { status: None });
        assert_eq!(fault(&read(CODEX, line.as_bytes(), b"", code(0)).1), expected, "{line}");
    }
}

#[test]
fn failures_that_leave_only_a_line_on_stderr_say_it() {
    let id = "0bd3fb1e-6a5c-4b8f-9f4e-0d6c9c8f2a11";
    let unknown = format!(
        "Error: thread/resume: thread/resume failed: no rollout found for thread id {id} (code -32600)"
    );
    let rows = [
        (unknown.as_str(), Fault::SessionUnknown),
        ("Error loading config.toml:", Fault::Crashed),
        ("Not inside a trusted directory and --skip-git-repo-check was not specified.", Fault::Crashed),
    ];
    for (stderr, expected) in rows {
        let (events, verdict) = read(CODEX, b"", stderr.as_bytes(), code(1));
        assert_eq!(fault(&verdict), Some(expected));
        assert!(message(&verdict).ends_with(stderr), "{}", message(&verdict));
        assert_eq!(events, [AgentEvent::Output { stream: Stream::Stderr, text: stderr.to_owned() }]);
        assert_eq!(verdict.session_id, None);
    }
}

#[test]
fn a_patch_that_the_sandbox_refused_is_a_denial() {
    let stderr =
        b"2026-11-26T13:46:08.873784Z ERROR codex_core::tools::router: error=patch rejected: writing is \
        blocked by read-only sandbox; rejected by user approval settings\n";
    let (events, verdict) = read(CODEX, &transcript(CODEX, "write-file-denied"), stderr, code(0));
    assert_eq!(fault(&verdict), None);
    let [denial] = &verdict.tools.denied[..] else { panic!("{:?}", verdict.tools) };
    assert!(denial.summary.starts_with("patch rejected: writing is blocked") && denial.writes, "{denial:?}");
    assert_eq!(verdict.tools.permitted, 0);
    assert!(events.iter().any(|event| matches!(event, AgentEvent::Denied { .. })));
}

#[test]
fn what_people_read_of_a_commit() {
    insta::assert_snapshot!(told(CODEX, "commit"), @r#"
    agent.progress | agent started
    agent.tool_use | file_change: add cx3.txt
    agent.tool_result | 
    agent.tool_use | command_execution: /bin/bash -lc "git add -- cx3.txt && git commit -q -m 'Add cx3.txt'"
    agent.tool_result | 
    agent.message | Committed cx3.txt.
    agent.progress | agent finished: Committed cx3.txt.
    "#);
}

#[test]
fn what_people_read_of_an_overload() {
    insta::assert_snapshot!(told(CODEX, "rate-limit"), @r"
    agent.progress | agent started
    agent.progress | the model's API failed with status 429, trying again (1 of 5)
    agent.progress | the model's API failed with status 429, trying again (2 of 5)
    agent.progress | the model's API failed with status 429, trying again (3 of 5)
    agent.progress | the model's API failed with status 429, trying again (4 of 5)
    agent.progress | the model's API failed with status 429, trying again (5 of 5)
    agent.progress | exceeded retry limit, last status: 429 Too Many Requests
    agent.progress | agent gave up: exceeded retry limit, last status: 429 Too Many Requests
    ");
}

#[test]
fn no_output_makes_the_parser_panic_or_lie_about_success() {
    survives_hostile_output(CODEX, "turn.completed");
}

#[test]
fn a_second_turn_makes_the_first_end_stale() {
    let mut stdout = transcript(CODEX, "write-file");
    stdout.extend(transcript(CODEX, "sigint-while-tool-runs"));
    assert_eq!(fault(&read(CODEX, &stdout, b"", code(0)).1), Some(Fault::Crashed));
}
