//! Recorded output of the real `claude` 2.1.329, and what is made of it.

use offshoot::agent::{
    AgentEvent, AgentOutcome, AgentReader, AgentVerdict, Fault, StepExit, Stream, registry::find_agent,
};
use offshoot::domain::agent_kind::AgentKind;
use offshoot::domain::hold::LimitWindow;
use proptest::prelude::*;

fn transcript(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/transcripts/claude-{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn reader() -> AgentReader {
    AgentReader::new(find_agent(AgentKind::Claude).parser(std::path::Path::new("/w")))
}

fn read(stdout: &[u8], stderr: &[u8], exit: StepExit) -> (Vec<AgentEvent>, AgentVerdict) {
    let mut reader = reader();
    let mut events = reader.feed(Stream::Stdout, stdout);
    events.extend(reader.feed(Stream::Stderr, stderr));
    let (rest, verdict) = reader.finish(exit);
    events.extend(rest);
    (events, verdict)
}

fn code(code: i32) -> StepExit {
    StepExit { code: Some(code), signal: None }
}

fn signal(signal: i32) -> StepExit {
    StepExit { code: None, signal: Some(signal) }
}

/// `None` is a success.
fn fault(verdict: &AgentVerdict) -> Option<Fault> {
    match &verdict.outcome {
        AgentOutcome::Succeeded { .. } => None,
        AgentOutcome::Failed { fault, .. } => Some(*fault),
    }
}

fn message(verdict: &AgentVerdict) -> &str {
    match &verdict.outcome {
        AgentOutcome::Succeeded { summary } => summary,
        AgentOutcome::Failed { message, .. } => message,
    }
}

#[test]
fn every_recorded_run_is_judged_by_result_and_exit_together() {
    let window = Some(LimitWindow::FiveHour);
    let limit = Fault::UsageLimit { resets_at: Some(1_795_200_923), window };
    let rows = [
        ("write-file", code(0), None),
        ("commit", code(0), None),
        ("no-change", code(0), None),
        ("crash-tool", code(0), None),
        ("write-file-denied", code(0), None),
        ("fallback-model", code(0), None),
        ("hook-events", code(0), None),
        ("json-schema", code(0), None),
        ("partial-messages", code(0), None),
        ("stdin-follow-ups", code(0), None),
        // A good result does not help when the process then ends badly.
        ("write-file", code(1), Some(Fault::Crashed)),
        ("write-file", signal(9), Some(Fault::Interrupted)),
        ("write-file", StepExit::default(), Some(Fault::Interrupted)),
        // `subtype: "success"`, exit 1.
        ("api-error-10-retries", code(1), Some(Fault::Overloaded { again_at: None })),
        ("rate-limit-api-key", code(1), Some(Fault::Overloaded { again_at: None })),
        ("rate-limit-subscription", code(1), Some(limit)),
        ("not-logged-in", code(1), Some(Fault::NotLoggedIn)),
        ("auth-error-403", code(1), Some(Fault::NotLoggedIn)),
        // Even if the exit code said otherwise.
        ("api-error-10-retries", code(0), Some(Fault::Overloaded { again_at: None })),
        ("resume-context-full", code(1), Some(Fault::ContextFull)),
        ("max-turns", code(1), Some(Fault::MaxTurns)),
        ("max-budget", code(1), Some(Fault::MaxBudget)),
        // Exit 0, and yet not done.
        ("sigint-while-streaming", code(0), Some(Fault::Interrupted)),
        ("sigint-while-tool-runs", code(0), Some(Fault::Interrupted)),
        // No result at all.
        ("sigterm-while-tool-runs", code(143), Some(Fault::Interrupted)),
        ("sigterm-while-tool-runs", signal(15), Some(Fault::Interrupted)),
        ("sigkill-while-tool-runs", signal(9), Some(Fault::Interrupted)),
        ("sigkill-while-tool-runs", code(129), Some(Fault::Interrupted)),
        ("sigkill-while-tool-runs", signal(11), Some(Fault::Crashed)),
        ("sigkill-while-tool-runs", code(0), Some(Fault::Crashed)),
        ("sigkill-while-tool-runs", code(1), Some(Fault::Crashed)),
    ];
    for (name, exit, expected) in rows {
        let (_, verdict) = read(&transcript(name), b"", exit);
        assert_eq!(fault(&verdict), expected, "{name} {exit:?}: {:?}", verdict.outcome);
        assert!(verdict.session_id.as_ref().is_some_and(|id| id.len() == 36), "{name}");
        assert_eq!(verdict.agent_version.as_deref(), Some("2.1.329"), "{name}");
    }
}

#[test]
fn every_transcript_is_in_the_table_and_holds_no_unknown_line() {
    let folder = format!("{}/tests/fixtures/transcripts", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_str().unwrap().starts_with("claude-") {
            continue;
        }
        let (events, _) = read(&std::fs::read(entry.path()).unwrap(), b"", code(0));
        let unknown: Vec<_> =
            events.iter().filter(|event| matches!(event, AgentEvent::Output { .. })).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        seen += 1;
    }
    assert_eq!(seen, 23, "a new transcript needs a row in the table above");
}

#[test]
fn failures_that_leave_only_a_line_on_stderr_say_it() {
    let rows = [
        ("No conversation found with session ID: 0bd3fb1e\n", Fault::SessionUnknown),
        ("error: unknown option '--frobnicate'\n", Fault::Crashed),
        ("Error: Session ID 0bd3fb1e is already in use.", Fault::SessionInUse),
        ("Error: the port 3000 is already in use.", Fault::Crashed),
    ];
    for (stderr, expected) in rows {
        let (events, verdict) = read(b"", stderr.as_bytes(), code(1));
        assert_eq!(fault(&verdict), Some(expected));
        assert!(message(&verdict).ends_with(stderr.trim_end()), "{}", message(&verdict));
        assert_eq!(
            events,
            [AgentEvent::Output { stream: Stream::Stderr, text: stderr.trim_end().to_owned() }]
        );
        assert_eq!(verdict.session_id, None);
    }
}

#[test]
fn a_resume_of_an_unknown_session_has_no_session() {
    let (_, verdict) = read(&transcript("resume-unknown-session"), b"", code(1));
    assert_eq!((fault(&verdict), verdict.session_id.as_deref()), (Some(Fault::SessionUnknown), None));
}

#[test]
fn a_conversation_that_does_not_fit_any_more_is_told_from_a_bad_request() {
    let (_, verdict) = read(&transcript("resume-context-full"), b"", code(1));
    assert_eq!(fault(&verdict), Some(Fault::ContextFull));
    // to sum it up was paid for
    assert_eq!((verdict.usage.output_tokens, verdict.usage.cost_usd_micros), (104, Some(95_460)));
    let result = |text: &str| {
        format!(
            "{{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":true,\"terminal_reason\":\"api_error\",\
             \"api_error_status\":400,\"result\":\"{text}\"}}\n"
        )
    };
    for (text, expected) in [
        ("Prompt is too long", Fault::ContextFull),
        ("The file says: Prompt is too long", Fault::ApiError { status: Some(400) }),
    ] {
        let (_, verdict) = read(result(text).as_bytes(), b"", code(1));
        assert_eq!(fault(&verdict), Some(expected), "{text}");
    }
}

#[test]
fn endings_that_were_not_recorded() {
    let result = |fields: &str| format!("{{\"type\":\"result\",{fields}}}\n");
    let api = r#""subtype":"success","is_error":true,"terminal_reason":"api_error""#;
    let init = r#"{"type":"system","subtype":"init","apiKeySource":"none"}"#;
    let refused = r#"{"type":"assistant","error":"authentication_failed","message":{"content":[]}}"#;
    let answered = r#"{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":"x"}]}}"#;
    let used_up = r#""result":"You've hit your weekly limit · resets Mon 6am (UTC)""#;
    let rows = [
        (result(&format!("{api},\"api_error_status\":500")), Some(Fault::ApiError { status: Some(500) })),
        (result(&format!("{api},\"api_error_status\":null")), Some(Fault::ApiError { status: None })),
        (result(&format!("{api},\"api_error_status\":401")), Some(Fault::NotLoggedIn)),
        (result(&format!("{api},\"api_error_status\":404")), Some(Fault::ApiError { status: Some(404) })),
        // a 403 alone says nothing of the login, and what was got over nothing of the end
        (result(&format!("{api},\"api_error_status\":403")), Some(Fault::ApiError { status: Some(403) })),
        (
            format!("{refused}\n{answered}\n{}", result(&format!("{api},\"api_error_status\":529"))),
            Some(Fault::Overloaded { again_at: None }),
        ),
        // a 429 says nothing by itself: a minute's limit, or a server that is full
        (
            format!("{init}\n{}", result(&format!("{api},\"api_error_status\":429"))),
            Some(Fault::Overloaded { again_at: None }),
        ),
        (
            format!("{init}\n{}", result(&format!("{api},\"api_error_status\":429,{used_up}"))),
            Some(Fault::UsageLimit { resets_at: None, window: Some(LimitWindow::Weekly) }),
        ),
        // the same words where a key is in use: its limit passes by itself
        (
            result(&format!("{api},\"api_error_status\":429,{used_up}")),
            Some(Fault::Overloaded { again_at: None }),
        ),
        (result(r#""subtype":"success","is_error":false,"stop_reason":"refusal""#), Some(Fault::Refused)),
        (result(r#""subtype":"error_during_execution","is_error":true"#), Some(Fault::Crashed)),
        (result(r#""subtype":"success","is_error":"no""#), Some(Fault::ApiError { status: None })),
        (result(r#""subtype":"success""#), Some(Fault::ApiError { status: None })),
        (result(r#""subtype":"success","is_error":false,"usage":"?","permission_denials":7"#), None),
        (
            r#"{"type":"control_request","request":{"subtype":"can_use_tool","tool_name":"Write"}}"#
                .to_owned(),
            Some(Fault::NeedsInput),
        ),
    ];
    for (stdout, expected) in rows {
        let exit = if expected.is_none() { code(0) } else { code(1) };
        assert_eq!(fault(&read(stdout.as_bytes(), b"", exit).1), expected, "{stdout}");
    }
}

#[test]
fn a_second_turn_makes_the_first_result_stale() {
    let mut stdout = transcript("write-file");
    stdout.extend(transcript("sigkill-while-tool-runs"));
    let (_, verdict) = read(&stdout, b"", code(0));
    assert_eq!(fault(&verdict), Some(Fault::Crashed), "the second turn has no result");
    assert_eq!(verdict.usage.cost_usd_micros, Some(102_212), "what was spent stays spent");
}

#[test]
fn a_limit_that_was_lifted_is_not_blamed() {
    let lifted =
        r#"{"type":"rate_limit_event","rate_limit_info":{"status":"allowed","resetsAt":1795200923}}"#;
    let mut stdout = transcript("rate-limit-subscription");
    let tail: Vec<&[u8]> = stdout.split(|byte| *byte == b'\n').collect();
    let mut parts: Vec<&[u8]> = tail[..2].to_vec();
    parts.push(lifted.as_bytes());
    parts.extend(&tail[2..]);
    stdout = parts.join(&b'\n');
    let (_, verdict) = read(&stdout, b"", code(1));
    // the words that are left say which it was
    let window = Some(LimitWindow::FiveHour);
    assert_eq!(fault(&verdict), Some(Fault::UsageLimit { resets_at: None, window }));
}

#[test]
fn denied_tools_are_listed_with_a_success() {
    let (events, verdict) = read(&transcript("write-file-denied"), b"", code(0));
    let denials: Vec<_> =
        verdict.tools.denied.iter().map(|d| (d.tool.as_str(), d.summary.as_str())).collect();
    assert_eq!(denials, [("Write", "hello.txt")]);
    assert!(verdict.tools.decisive().is_some(), "it was the change");
    assert!(events.iter().any(|event| matches!(event, AgentEvent::Denied { tool, .. } if tool == "Write")));
}

#[test]
fn tokens_and_money_are_those_of_the_run_alone() {
    let usage = read(&transcript("stdin-follow-ups"), b"", code(0)).1.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (89_964, 94));
    assert_eq!((usage.cost_usd_micros, usage.session_cost_usd_micros), (Some(361_736), Some(361_736)));
    // The plain `usage` field is all zero after this interrupt.
    let usage = read(&transcript("sigint-while-streaming"), b"", code(0)).1.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cost_usd_micros), (12_648, 16, Some(50_912)));
    assert_eq!((usage.turns, usage.duration_ms), (2, 1_789));
}

/// What is known of a turn that has no end: the tokens of its answers, each once though it comes in pieces.
#[test]
fn a_run_that_is_cut_off_has_used_what_its_answers_say_and_no_money_is_made_up() {
    let piece = |id: &str, tokens: u64| {
        format!(
            r#"{{"type":"assistant","message":{{"id":"{id}","content":[{{"type":"text","text":"x"}}],"usage":{{"input_tokens":{tokens},"output_tokens":1}}}}}}"#
        )
    };
    let lines = [piece("a", 100), piece("a", 100), piece("b", 200), piece("a", 110), piece("error", 0)];
    let cut_off = lines[..4].join("\n");
    let usage = read(cut_off.as_bytes(), b"", signal(9)).1.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.turns), (310, 2, 2));
    assert_eq!((usage.cost_usd_micros, usage.session_cost_usd_micros), (None, None));
    let usage = read(&transcript("sigkill-while-tool-runs"), b"", signal(9)).1.usage;
    assert!(usage.input_tokens > 10_000 && usage.turns > 0 && usage.cost_usd_micros.is_none(), "{usage:?}");
    // with the end come the numbers of the whole turn, and only they count
    let told = r#"{"type":"result","subtype":"success","is_error":false,"num_turns":2,"total_cost_usd":0.5,"usage":{"input_tokens":7,"output_tokens":8}}"#;
    let usage = read(format!("{cut_off}\n{told}").as_bytes(), b"", code(0)).1.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.turns), (7, 8, 2));
    assert_eq!((usage.cost_usd_micros, usage.session_cost_usd_micros), (None, Some(500_000)));
}

/// One line per event: its name and its text.
fn told(name: &str) -> String {
    let (events, _) = read(&transcript(name), b"", code(0));
    let lines: Vec<String> =
        events.iter().map(|event| format!("{} | {}", event.kind(), event.text())).collect();
    lines.join("\n")
}

#[test]
fn what_people_read_of_a_commit() {
    insta::assert_snapshot!(told("commit"), @r"
    agent.progress | agent 2.1.329 started, model claude-opus-5-5, authentication ANTHROPIC_API_KEY
    agent.progress | turn 1, 12638 tokens of context
    agent.tool_use | Write: hello.txt
    agent.tool_result | File created successfully at: $WORKTREE/hello.txt (file state is current in your context — no need to Read it back)
    agent.progress | turn 2, 12741 tokens of context
    agent.tool_use | Bash: git add -- hello.txt && git commit -q -m 'Add hello.txt'
    agent.tool_result | (Bash completed with no output)
    agent.progress | turn 3, 12836 tokens of context
    agent.message | Committed hello.txt.
    agent.progress | agent finished: Committed hello.txt.
    ");
}

#[test]
fn what_people_read_of_a_denial() {
    insta::assert_snapshot!(told("write-file-denied"), @r"
    agent.progress | agent 2.1.329 started, model claude-opus-5-5, authentication ANTHROPIC_API_KEY
    agent.progress | turn 1, 12639 tokens of context
    agent.message | I will create hello.txt.
    agent.tool_use | Write: hello.txt
    agent.progress | not allowed to use Write: Claude requested permissions to write to $WORKTREE/hello.txt, but you haven't granted it yet.
    agent.tool_result | failed: Claude requested permissions to write to $WORKTREE/hello.txt, but you haven't granted it yet.
    agent.progress | turn 2, 12752 tokens of context
    agent.message | Created hello.txt.
    agent.progress | agent finished: Created hello.txt.
    ");
}

#[test]
fn what_people_read_of_a_usage_limit() {
    insta::assert_snapshot!(told("rate-limit-subscription"), @r"
    agent.progress | agent 2.1.329 started, model claude-sonnet-5-5, authentication none
    agent.progress | usage limit five_hour reached, resets at 2026-11-20T18:55:23Z
    agent.message | You've hit your 5-hour limit · resets 6:55pm (UTC)
    agent.progress | agent gave up: You've hit your 5-hour limit · resets 6:55pm (UTC)
    ");
}

/// The API's own tools answer within the model's message: each use has an end, or it would count as one that runs.
#[test]
fn a_tool_of_the_api_itself_ends_with_its_answer() {
    let line = |block: &str| format!(r#"{{"type":"assistant","message":{{"id":"m","content":[{block}]}}}}"#);
    let used = line(r#"{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"x"}}"#);
    let rows = [
        (
            r#""web_search_tool_result","content":[{"type":"web_search_result","title":"Found"}]"#,
            true,
            "Found",
        ),
        (r#""web_search_tool_result","content":[]"#, true, ""),
        (
            r#""web_fetch_tool_result","content":{"type":"web_fetch_tool_result_error","error_code":"url_not_allowed"}"#,
            false,
            "url_not_allowed",
        ),
        (r#""mcp_tool_result","is_error":true,"content":[{"type":"text","text":"no"}]"#, false, "no"),
    ];
    for (block, ok, summary) in rows {
        let answer = line(&format!(r#"{{"type":{block},"tool_use_id":"s1"}}"#));
        let (events, _) = read(format!("{used}\n{answer}").as_bytes(), b"", code(1));
        let [AgentEvent::ToolUse { id: begun, .. }, result] = &events[..] else { panic!("{events:?}") };
        let expected = AgentEvent::ToolResult { id: begun.clone(), ok, summary: summary.to_owned() };
        assert_eq!(*result, expected, "{block}");
    }
}

#[test]
fn what_is_no_known_event_is_shown_as_it_is() {
    let rows = [
        "plain words",
        r#"["result","success"]"#,
        r#"{"type":"tomorrow","x":1}"#,
        r#"{"type":["result"]}"#,
        "{}",
    ];
    for line in rows {
        let (events, verdict) = read(line.as_bytes(), b"", code(0));
        assert_eq!(events, [AgentEvent::Output { stream: Stream::Stdout, text: line.to_owned() }]);
        assert_eq!(fault(&verdict), Some(Fault::Crashed), "{line}");
    }
    assert_eq!(read(b"\n \n\r\n", b"\n", code(1)).0, []);
}

#[test]
fn one_enormous_line_is_cut_and_what_follows_is_read() {
    let mut reader = reader();
    let mut events = Vec::new();
    for _ in 0..160 {
        events.extend(reader.feed(Stream::Stdout, &[b'x'; 64 * 1024]));
    }
    events.extend(reader.feed(Stream::Stdout, b"\n"));
    events.extend(reader.feed(Stream::Stdout, &transcript("no-change")));
    assert!(matches!(&events[0], AgentEvent::Output { text, .. } if text.len() < 9_000), "shown bounded");
    assert!(
        matches!(&events[1], AgentEvent::Notice { text } if text.contains("2097152 bytes")),
        "{:?}",
        events[1]
    );
    assert_eq!(fault(&reader.finish(code(0)).1), None);
}

fn hostile_line() -> impl Strategy<Value = Vec<u8>> {
    let recorded: Vec<Vec<u8>> = ["commit", "write-file-denied", "rate-limit-subscription", "max-turns"]
        .iter()
        .flat_map(|name| {
            transcript(name).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()
        })
        .filter(|line| !line.is_empty())
        .collect();
    let one = proptest::sample::select(recorded);
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        // A real event cut short, or with some bytes replaced.
        (one.clone(), any::<proptest::sample::Index>()).prop_map(|(line, at)| line[..at.index(line.len())].to_vec()),
        (one, proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)).prop_map(
            |(mut line, changes)| {
                for (at, byte) in changes {
                    let at = at.index(line.len());
                    line[at] = byte;
                }
                line
            }
        ),
        "\\{\"type\":\"(system|assistant|user|result|rate_limit_event|x)\",\"(subtype|message|result|usage|errors)\":\
         (null|1|-1e999|\"a\"|\\[\\[\\]\\]|\\{\"content\":\\[1,null,\\{\\}\\]\\})\\}"
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_output_makes_the_parser_panic_or_lie_about_success(
        lines in proptest::collection::vec(hostile_line(), 0..12),
    ) {
        let mut parser = find_agent(AgentKind::Claude).parser(std::path::Path::new("/w"));
        for line in &lines {
            for event in parser.line(Stream::Stdout, line) {
                let text = event.text();
                prop_assert!(text.len() < 10_000);
                prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
            }
        }
        prop_assert!(fault(&parser.finish(code(1))).is_some(), "never a success with exit 1");
        let said_so = lines.iter().any(|line| {
            let line = String::from_utf8_lossy(line);
            line.contains("\"result\"") && line.contains("\"is_error\":false")
        });
        prop_assert!(said_so || fault(&parser.finish(code(0))).is_some(), "never a success without a result");
    }

    #[test]
    fn the_chunks_in_which_output_arrives_do_not_matter(sizes in proptest::collection::vec(1_usize..4_000, 1..20)) {
        let whole = transcript("stdin-follow-ups");
        let expected = read(&whole, b"", code(0));
        let mut reader = reader();
        let mut events = Vec::new();
        let mut rest = whole.as_slice();
        for size in sizes.iter().cycle() {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            events.extend(reader.feed(Stream::Stdout, chunk));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let (last, verdict) = reader.finish(code(0));
        events.extend(last);
        prop_assert_eq!((events, verdict), expected);
    }
}
