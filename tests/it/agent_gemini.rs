//! Recorded output of the real `gemini` 0.61.0, and what is made of it.

use std::path::Path;

use offshoot::agent::registry::find_agent;
use offshoot::agent::{AgentEvent, AgentReader, Fault, StepExit, Stream};
use offshoot::domain::agent_kind::AgentKind;
use serde_json::json;

use crate::transcripts::{
    aside, code, fault, judges, message, read, signal, survives_hostile_output, told, transcript,
};

const GEMINI: AgentKind = AgentKind::Gemini;

/// 8 h 44 min 7 s after the last line with a time.
const CAPACITY: Fault = Fault::UsageLimit { resets_at: Some(1_795_775_030), window: None };

#[test]
fn every_recorded_run_is_judged_by_its_result_and_the_exit_together() {
    judges(
        GEMINI,
        &[
            ("commit", code(0), None),
            ("write-file", code(0), None),
            ("crash-tool", code(0), None),
            // it neither says that the model refused, nor that it was not offered a tool
            ("refusal", code(0), None),
            ("write-file-denied", code(0), None),
            ("write-file", code(1), Some(Fault::Crashed)),
            ("write-file", signal(9), Some(Fault::Interrupted)),
            // it exits with the status in eight bits, which is no signal
            ("auth-error", code(145), Some(Fault::NotLoggedIn)),
            ("bad-request", code(144), Some(Fault::ApiError { status: Some(400) })),
            ("unknown-model", code(1), Some(Fault::ApiError { status: None })),
            // even if the exit code said otherwise
            ("auth-error", code(0), Some(Fault::NotLoggedIn)),
            // after ten tries, three and a half minutes: the exit alone tells the status
            ("rate-limit", code(173), Some(Fault::Overloaded { again_at: None })),
            ("server-error", code(247), Some(Fault::Overloaded { again_at: None })),
            ("overloaded", code(17), Some(Fault::Overloaded { again_at: None })),
            ("rate-limit", code(1), Some(Fault::ApiError { status: None })),
            ("daily-quota", code(173), Some(Fault::UsageLimit { resets_at: None, window: None })),
            ("invalid-key", code(144), Some(Fault::NotLoggedIn)),
            // it slept and was ended: of SIGTERM it makes an exit with 0
            ("capacity", code(0), Some(CAPACITY)),
            ("capacity", signal(15), Some(CAPACITY)),
            ("capacity", signal(9), Some(CAPACITY)),
            ("capacity", StepExit::default(), Some(CAPACITY)),
            ("hang", signal(15), Some(Fault::Interrupted)),
            ("hang", code(130), Some(Fault::Interrupted)),
            ("hang", code(0), Some(Fault::Crashed)),
            ("hang", code(1), Some(Fault::Crashed)),
            ("hang", signal(11), Some(Fault::Crashed)),
        ],
    );
}

#[test]
fn tokens_are_those_of_the_run_and_money_is_not_told() {
    let (_, verdict) = read(GEMINI, &transcript(GEMINI, "commit"), b"", code(0));
    let usage = verdict.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.duration_ms), (37_145, 64, 427));
    assert_eq!((usage.cost_usd_micros, usage.turns), (None, 0));
    assert_eq!(verdict.session_id.as_deref(), Some("4ccb22af-0390-4e6b-95b5-ea5b280b76c3"));
    assert_eq!(verdict.model.as_deref(), Some("auto"));
}

#[test]
fn endings_that_were_not_recorded() {
    let rows = [
        (
            "[API Error: You have exhausted your daily quota on this model.]",
            Fault::UsageLimit { resets_at: None, window: None },
        ),
        (
            "You have exhausted your daily quota on this model.",
            Fault::UsageLimit { resets_at: None, window: None },
        ),
        (
            "[API Error: {\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\"}}]",
            Fault::Overloaded { again_at: None },
        ),
        ("[API Error: {\"error\":{\"code\": 503}}]", Fault::Overloaded { again_at: None }),
        // what only speaks of a limit is none
        ("[API Error: the quota of the proxy is exhausted]", Fault::ApiError { status: None }),
        (
            "[API Error: The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).]",
            Fault::ContextFull,
        ),
        ("", Fault::ApiError { status: None }),
        (
            "[API Error: You have exhausted your capacity on this model. Your quota will reset after 8h44m7s.]",
            Fault::UsageLimit { resets_at: None, window: None },
        ),
        ("[API Error: {\"error\":{\"code\":400,\"message\":\"API key expired.\"}}]", Fault::NotLoggedIn),
        // no login makes a server that fails work
        (
            "[API Error: {\"error\":{\"code\":500,\"message\":\"API key not valid\"}}]",
            Fault::ApiError { status: Some(500) },
        ),
    ];
    for (text, expected) in rows {
        let line =
            json!({"type": "result", "status": "error", "error": {"type": "unknown", "message": text}});
        let (_, verdict) = read(GEMINI, line.to_string().as_bytes(), b"", code(1));
        assert_eq!(fault(&verdict), Some(expected), "{text}");
    }
    let rows: [(&[u8], i32, Fault); 5] = [
        (b"Invalid auth method selected.\n", 41, Fault::NotLoggedIn),
        (b"Reached max session turns for this session.\n", 53, Fault::MaxTurns),
        (b"Error resuming session: Invalid session identifier \"x\".\n", 42, Fault::SessionUnknown),
        (
            b"Error resuming session: No previous sessions found for this project.\n",
            42,
            Fault::SessionUnknown,
        ),
        (b"Unknown argument: frobnicate\n", 1, Fault::Crashed),
    ];
    for (stderr, exit, expected) in rows {
        let (_, verdict) = read(GEMINI, b"", stderr, code(exit));
        assert_eq!(fault(&verdict), Some(expected), "{exit}");
    }
}

#[test]
fn a_wait_for_the_renewal_of_an_allowance_is_told_and_judged() {
    let stderr = aside(GEMINI, "capacity");
    let (events, verdict) = read(GEMINI, &transcript(GEMINI, "capacity"), &stderr, code(0));
    let told: Vec<String> = events[events.len() - 2..].iter().map(AgentEvent::text).collect();
    assert_eq!(
        told,
        [
            "usage limit reached, resets at 2026-11-27T10:23:50Z",
            "the model's API failed, trying again in 31620010 ms (try 1 failed)",
        ]
    );
    assert!(message(&verdict).contains("Your quota will reset after 8h44m7s."), "{}", message(&verdict));
}

/// A short wait is none, nor is one that is over: how the run was ended decides.
#[test]
fn only_a_wait_that_lasts_is_a_limit() {
    let init = r#"{"type":"init","timestamp":"2026-11-27T01:00:00Z"}"#;
    let more = r#"{"type":"tool_use","timestamp":"2026-11-27T02:00:00Z"}"#;
    let line = |delay: u64| format!("Attempt 1 failed: slow down. Retrying after {delay}ms...\n");
    let limit = |resets_at| Fault::UsageLimit { resets_at, window: None };
    let used_up =
        "Attempt 1 failed: You have exhausted your capacity on this model. Retrying after 9000ms...\n";
    let rows = [
        ("", line(599_999), "", Fault::Interrupted),
        (init, line(600_000), "", limit(Some(1_795_741_800))),
        ("", line(600_000), "", limit(None)),
        (init, line(u64::MAX), "", limit(None)),
        (init, line(600_000), more, Fault::Interrupted),
        (init, line(600_000) + &line(5_000), "", Fault::Interrupted),
        (init, used_up.to_owned(), "", limit(Some(1_795_741_209))),
    ];
    for (before, stderr, after, expected) in rows {
        let mut reader = AgentReader::new(find_agent(GEMINI).parser(Path::new("/w")));
        reader.feed(Stream::Stdout, format!("{before}\n").as_bytes());
        reader.feed(Stream::Stderr, stderr.as_bytes());
        reader.feed(Stream::Stdout, format!("{after}\n").as_bytes());
        let (_, verdict) = reader.finish(signal(15));
        assert_eq!(fault(&verdict), Some(expected), "{stderr}");
    }
}

#[test]
fn what_people_read_of_tries_that_fail() {
    let (events, _) = read(GEMINI, b"", &aside(GEMINI, "server-error"), code(247));
    let told: Vec<String> = events
        .iter()
        .filter(|event| matches!(event, AgentEvent::Retrying { .. }))
        .map(AgentEvent::text)
        .collect();
    assert_eq!(told.len(), 9);
    assert_eq!(told[8], "the model's API failed with status 503, trying again (try 9 failed)");
}

#[test]
fn what_people_read_of_a_commit() {
    insta::assert_snapshot!(told(GEMINI, "commit"), @r"
    agent.progress | agent started, model auto
    agent.tool_use | write_file: g2.txt
    agent.tool_result | 
    agent.tool_use | run_shell_command: git add -- g2.txt && git commit -q -m 'Add g2.txt'
    agent.tool_result | 
    agent.message | Committed g2.txt.
    agent.progress | agent finished: Committed g2.txt.
    ");
}

#[test]
fn a_message_without_an_end_is_told_in_bounded_pieces() {
    let piece = json!({"type": "message", "role": "assistant", "delta": true, "content": "x".repeat(30_000)});
    let stdout = format!("{piece}\n").repeat(9);
    let (events, _) = read(GEMINI, stdout.as_bytes(), b"", code(0));
    assert_eq!(events.len(), 4, "two pieces each");
    assert!(events.iter().all(|event| matches!(event, AgentEvent::Message { text } if text.len() == 60_000)));
}

#[test]
fn no_output_makes_the_parser_panic_or_lie_about_success() {
    survives_hostile_output(GEMINI, "success");
}
