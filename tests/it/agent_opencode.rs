//! Recorded output of the real `opencode` 1.18.33, and what is made of it.

use offshoot::agent::{AgentEvent, Fault, Stream};
use offshoot::domain::agent_kind::AgentKind;
use offshoot::domain::hold::LimitWindow;
use serde_json::{Value, json};

use crate::transcripts::{
    code, fault, judges, message, read, signal, survives_hostile_output, told, transcript,
};

const OPENCODE: AgentKind = AgentKind::Opencode;

#[test]
fn every_recorded_run_is_judged_by_its_last_step_and_the_exit_together() {
    judges(
        OPENCODE,
        &[
            ("write-file", code(0), None),
            ("resume", code(0), None),
            ("crash-tool", code(0), None),
            // a rule of the owner: the model was not offered the tool, or was told so, and went on
            ("edit-denied", code(0), None),
            ("bash-denied", code(0), None),
            ("write-file", code(1), Some(Fault::Crashed)),
            ("write-file", signal(9), Some(Fault::Interrupted)),
            // exit 0, and yet it waited for somebody
            ("write-file-asked", code(0), Some(Fault::NeedsInput)),
            ("max-tokens", code(0), Some(Fault::ApiError { status: None })),
            ("refusal", code(1), Some(Fault::Refused)),
            ("auth-error", code(1), Some(Fault::NotLoggedIn)),
            ("bad-request", code(1), Some(Fault::ApiError { status: Some(400) })),
            ("server-error", code(1), Some(Fault::ApiError { status: Some(500) })),
            // after its own tries, a minute
            ("overloaded", code(1), Some(Fault::Overloaded { again_at: None })),
            ("unavailable", code(1), Some(Fault::Overloaded { again_at: None })),
            ("unknown-model", code(1), Some(Fault::ApiError { status: None })),
            // with the headers of a subscription
            (
                "rate-limit",
                code(1),
                Some(Fault::UsageLimit {
                    resets_at: Some(1_795_701_093),
                    window: Some(LimitWindow::FiveHour),
                }),
            ),
            // even if the exit code said otherwise
            ("auth-error", code(0), Some(Fault::NotLoggedIn)),
            ("hang", signal(15), Some(Fault::Interrupted)),
            ("hang", code(143), Some(Fault::Interrupted)),
            ("hang", code(0), Some(Fault::Crashed)),
            ("hang", signal(11), Some(Fault::Crashed)),
        ],
    );
}

#[test]
fn tokens_and_money_are_summed_over_the_steps_of_the_run_alone() {
    let (_, verdict) = read(OPENCODE, &transcript(OPENCODE, "write-file"), b"", code(0));
    let usage = verdict.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.turns), (7_631 + 7_736, 32, 2));
    assert_eq!(usage.cost_usd_micros, Some(23_313 + 23_268));
    assert_eq!(verdict.session_id.as_deref(), Some("ses_e05ddd353ffekxckAqT9zZ7Fdm"));
    let absurd = r#"{"type":"step_finish","part":{"reason":"stop","cost":1e300,"tokens":{"input":-5}}}"#;
    let usage = read(OPENCODE, absurd.as_bytes(), b"", code(0)).1.usage;
    assert_eq!((usage.cost_usd_micros, usage.input_tokens), (None, 0));
}

#[test]
fn what_a_rule_did_not_allow_is_a_denial_and_what_somebody_should_have_been_asked_is_not() {
    let (events, verdict) = read(OPENCODE, &transcript(OPENCODE, "bash-denied"), b"", code(0));
    let denials: Vec<_> =
        verdict.tools.denied.iter().map(|one| (one.tool.as_str(), one.summary.as_str())).collect();
    assert_eq!(denials, [("bash", "git add -- zz3.txt && git commit -q -m 'Add zz3.txt'")]);
    assert!(events.iter().any(|event| matches!(event, AgentEvent::Denied { .. })));
    let (events, verdict) = read(OPENCODE, &transcript(OPENCODE, "write-file-asked"), b"", code(0));
    assert_eq!(message(&verdict), "the agent asked for permission to use write and got no answer");
    assert!(events.iter().any(|event| matches!(event, AgentEvent::NeedsInput { tool } if tool == "write")));
}

fn failed(name: &str, data: &Value) -> Option<Fault> {
    let line =
        json!({"type": "error", "sessionID": "ses_x", "error": {"name": name, "data": data}}).to_string();
    fault(&read(OPENCODE, line.as_bytes(), b"", code(1)).1)
}

#[test]
fn endings_that_were_not_recorded() {
    let headers = |status: &str| {
        json!({"statusCode": 429, "message": "x", "responseHeaders": {
            "anthropic-ratelimit-unified-status": status, "anthropic-ratelimit-unified-reset": "soon"}})
    };
    let body = json!({"error": {"type": "usage_limit_reached", "resets_at": 1_795_200_923}}).to_string();
    let limit = |resets_at| Some(Fault::UsageLimit { resets_at, window: None });
    let rows = [
        ("APIError", headers("rejected"), limit(None)),
        ("APIError", headers("allowed_warning"), Some(Fault::Overloaded { again_at: None })),
        ("APIError", json!({"statusCode": 429, "responseBody": body}), limit(Some(1_795_200_923))),
        // what only speaks of a limit is none
        (
            "APIError",
            json!({"message": "usage limit reached", "statusCode": 500}),
            Some(Fault::ApiError { status: Some(500) }),
        ),
        ("APIError", json!({"statusCode": 529}), Some(Fault::Overloaded { again_at: None })),
        ("ProviderAuthError", json!({"message": "no key"}), Some(Fault::NotLoggedIn)),
        ("MessageAbortedError", json!({}), Some(Fault::Interrupted)),
        ("ContextOverflowError", json!({"message": "too long"}), Some(Fault::ContextFull)),
        ("TomorrowsError", json!("?"), Some(Fault::ApiError { status: None })),
    ];
    for (name, data, expected) in rows {
        assert_eq!(failed(name, &data), expected, "{name} {data}");
    }
    let (_, verdict) = read(OPENCODE, b"", b"Error: Session not found\n", code(1));
    assert_eq!((fault(&verdict), verdict.session_id), (Some(Fault::SessionUnknown), None));
    let (events, verdict) = read(OPENCODE, b"plain words\n", b"", code(1));
    assert_eq!(events, [AgentEvent::Output { stream: Stream::Stdout, text: "plain words".to_owned() }]);
    assert_eq!(fault(&verdict), Some(Fault::Crashed));
}

#[test]
fn what_people_read_of_a_run() {
    insta::assert_snapshot!(told(OPENCODE, "write-file"), @r"
    agent.progress | agent started
    agent.message | I will create hello.txt.
    agent.tool_use | write: hello.txt
    agent.tool_result | Wrote file successfully.
    agent.progress | turn 1, 7631 tokens of context
    agent.message | Created hello.txt.
    agent.progress | turn 2, 7736 tokens of context
    agent.progress | agent finished: Created hello.txt.
    ");
}

#[test]
fn no_output_makes_the_parser_panic_or_lie_about_success() {
    survives_hostile_output(OPENCODE, "stop");
}
