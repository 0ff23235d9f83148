//! Recorded output of the real programs, read by their adapters.

use offshoot::agent::registry::find_agent;
use offshoot::agent::{AgentEvent, AgentOutcome, AgentReader, AgentVerdict, Fault, StepExit, Stream};
use offshoot::domain::agent_kind::AgentKind;
use proptest::prelude::*;
use std::path::Path;

fn folder() -> String {
    format!("{}/tests/fixtures/transcripts", env!("CARGO_MANIFEST_DIR"))
}

/// What `kind` printed in the scenario `name`.
pub(crate) fn transcript(kind: AgentKind, name: &str) -> Vec<u8> {
    let path = format!("{}/{kind}-{name}.jsonl", folder());
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What `kind` printed on standard error meanwhile, where that was kept.
pub(crate) fn aside(kind: AgentKind, name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/{kind}-{name}.stderr", folder())).unwrap_or_default()
}

/// The names of all transcripts of `kind`, in order.
pub(crate) fn names(kind: AgentKind) -> Vec<String> {
    let start = format!("{kind}-");
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.strip_prefix(&start)?.strip_suffix(".jsonl")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

pub(crate) fn read(
    kind: AgentKind,
    stdout: &[u8],
    stderr: &[u8],
    exit: StepExit,
) -> (Vec<AgentEvent>, AgentVerdict) {
    let parser = find_agent(kind).parser(Path::new("$WORKTREE"));
    let mut reader = AgentReader::new(parser);
    let mut events = reader.feed(Stream::Stdout, stdout);
    events.extend(reader.feed(Stream::Stderr, stderr));
    let (rest, verdict) = reader.finish(exit);
    events.extend(rest);
    (events, verdict)
}

pub(crate) fn code(code: i32) -> StepExit {
    StepExit { code: Some(code), signal: None }
}

pub(crate) fn signal(signal: i32) -> StepExit {
    StepExit { code: None, signal: Some(signal) }
}

/// `None` is a success.
pub(crate) fn fault(verdict: &AgentVerdict) -> Option<Fault> {
    match &verdict.outcome {
        AgentOutcome::Succeeded { .. } => None,
        AgentOutcome::Failed { fault, .. } => Some(*fault),
    }
}

pub(crate) fn message(verdict: &AgentVerdict) -> &str {
    match &verdict.outcome {
        AgentOutcome::Succeeded { summary } => summary,
        AgentOutcome::Failed { message, .. } => message,
    }
}

/// One line per event: its name and its text.
pub(crate) fn told(kind: AgentKind, name: &str) -> String {
    let (events, _) = read(kind, &transcript(kind, name), b"", code(0));
    let lines: Vec<String> =
        events.iter().map(|event| format!("{} | {}", event.kind(), event.text())).collect();
    lines.join("\n")
}

/// Every recorded run is in `rows` and judged as there; no line of it is unknown.
pub(crate) fn judges(kind: AgentKind, rows: &[(&str, StepExit, Option<Fault>)]) {
    for (name, exit, expected) in rows {
        let (events, verdict) = read(kind, &transcript(kind, name), &aside(kind, name), *exit);
        assert_eq!(fault(&verdict), *expected, "{name} {exit:?}: {:?}", verdict.outcome);
        let unknown: Vec<_> = events
            .iter()
            .filter(|event| matches!(event, AgentEvent::Output { stream: Stream::Stdout, .. }))
            .collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
    for name in names(kind) {
        assert!(rows.iter().any(|(row, ..)| *row == name), "{kind}-{name} needs a row");
    }
}

/// Bytes, recorded lines cut short or with bytes replaced, and lines of every known type with fields of every kind.
fn hostile_line(kind: AgentKind) -> impl Strategy<Value = Vec<u8>> {
    let recorded: Vec<Vec<u8>> = names(kind)
        .iter()
        .flat_map(|name| {
            transcript(kind, name).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()
        })
        .filter(|line| !line.is_empty())
        .collect();
    let one = proptest::sample::select(recorded);
    let any_place = any::<proptest::sample::Index>;
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (one.clone(), any_place()).prop_map(|(line, at)| line[..at.index(line.len())].to_vec()),
        (one, proptest::collection::vec((any_place(), any::<u8>()), 1..6)).prop_map(|(mut line, changes)| {
            for (at, byte) in changes {
                let at = at.index(line.len());
                line[at] = byte;
            }
            line
        }),
    ]
}

/// Whatever is printed, the parser neither panics nor floods, and calls nothing a success that ended badly or did not
/// say `success_mark`.
pub(crate) fn survives_hostile_output(kind: AgentKind, success_mark: &str) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(192));
    let lines = proptest::collection::vec(hostile_line(kind), 0..10);
    let checked = runner.run(&lines, |lines| {
        let mut parser = find_agent(kind).parser(Path::new("$WORKTREE"));
        for line in &lines {
            for event in parser.line(Stream::Stdout, line) {
                let text = event.text();
                prop_assert!(text.len() < 10_000);
                prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
            }
        }
        prop_assert!(fault(&parser.finish(code(1))).is_some(), "never a success with exit 1");
        let said_so = lines.iter().any(|line| String::from_utf8_lossy(line).contains(success_mark));
        prop_assert!(said_so || fault(&parser.finish(code(0))).is_some(), "nothing said so");
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}
