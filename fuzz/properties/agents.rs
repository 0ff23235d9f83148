//! What agents print, line by line, on both streams.

use std::path::Path;

use offshoot::agent::registry::find_agent;
use offshoot::agent::{
    AgentEvent, AgentOutcome, AgentReader, AgentVerdict, EVENT_TEXT_BYTES_MAX, StepExit, Stream,
};
use offshoot::domain::agent_kind::AgentKind;

/// A mark behind a cut, and the words before it.
const MARK_BYTES_MAX: usize = 100;
/// The closing words of an agent, as they may come into a pull request.
const SUMMARY_BYTES_MAX: usize = 16 * 1024;
/// A message of a failure: a thousand bytes, each written out in four at most, with words of ours.
const MESSAGE_BYTES_MAX: usize = 6_000;
/// What names something: a session, a version, a model, where a credential is from.
const NAME_BYTES_MAX: usize = 1_000;

pub(super) fn claude(data: &[u8]) {
    reads(AgentKind::Claude, data);
}

pub(super) fn codex(data: &[u8]) {
    reads(AgentKind::Codex, data);
}

pub(super) fn gemini(data: &[u8]) {
    reads(AgentKind::Gemini, data);
}

pub(super) fn opencode(data: &[u8]) {
    reads(AgentKind::Opencode, data);
}

pub(super) fn acp(data: &[u8]) {
    reads(AgentKind::Acp, data);
}

/// Standard output, but for lines that begin with `!`, which are errors.
fn reads(kind: AgentKind, data: &[u8]) {
    let sum = crc32c::crc32c(data);
    let exit = match sum % 6 {
        0 => StepExit { code: Some(1), signal: None },
        1 => StepExit { code: None, signal: Some(15) },
        2 => StepExit::default(),
        _ => StepExit::DONE,
    };
    let (events, verdict) = read(kind, data, exit, usize::MAX);
    // a pipe cuts where it likes
    for piece in [1 + sum as usize % 7, 1 + data.len() / 3] {
        let (again, judged_again) = read(kind, data, exit, piece);
        assert_eq!((&events, &verdict), (&again, &judged_again), "cut every {piece}");
    }
    let lines = data.split(|byte| *byte == b'\n').count();
    assert!(events.len() <= data.len() + lines, "{} events of {} bytes", events.len(), data.len());
    let mut held = 0;
    for event in &events {
        let text = event.text();
        assert!(text.len() <= EVENT_TEXT_BYTES_MAX + MARK_BYTES_MAX, "{} bytes of text", text.len());
        is_inert(&text);
        if let AgentEvent::Started { session_id, model, version, auth } = event {
            for name in [session_id, model, version, auth].into_iter().flatten() {
                is_name(name);
            }
            session_id.iter().for_each(|id| is_id(id));
        }
        held += text.len();
    }
    // at most what a byte costs written out, and words of ours
    assert!(held <= data.len() * 12 + events.len() * 400, "{held} bytes of {}", data.len());
    judged(&verdict, exit);
}

fn judged(verdict: &AgentVerdict, exit: StepExit) {
    match &verdict.outcome {
        AgentOutcome::Succeeded { summary } => {
            assert!(
                summary.len() <= SUMMARY_BYTES_MAX + MARK_BYTES_MAX,
                "{} bytes of summary",
                summary.len()
            );
            is_inert(summary);
            assert!(exit.signal.is_none() && exit.code != Some(1), "{exit:?} is no success");
        }
        AgentOutcome::Failed { fault, message } => {
            assert!(message.len() <= MESSAGE_BYTES_MAX, "{} bytes of message", message.len());
            is_inert(message);
            assert!(!fault.code().is_empty());
        }
    }
    for name in [&verdict.auth_source, &verdict.agent_version, &verdict.model].into_iter().flatten() {
        is_name(name);
    }
    verdict.session_id.iter().for_each(|id| is_id(id));
    assert!(verdict.tools.denied.len() <= 1_000, "{} denials", verdict.tools.denied.len());
    for denial in &verdict.tools.denied {
        assert!(denial.tool.len() <= NAME_BYTES_MAX && denial.summary.len() <= 2_000, "{denial:?}");
    }
}

/// It is stored with the job, and an argument of the program that goes on with it.
fn is_id(id: &str) {
    let is_plain = (1..=200).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_plain && !id.starts_with('-'), "{id:?} is no session");
}

fn is_name(name: &str) {
    assert!(name.len() <= NAME_BYTES_MAX, "{} bytes of a name", name.len());
    is_inert(name);
}

/// Nothing that acts on a terminal or turns the direction of reading.
fn is_inert(text: &str) {
    let acts = |c: char| (c < ' ' && c != '\n' && c != '\t') || ('\u{7f}'..='\u{9f}').contains(&c);
    let turns = |c: char| {
        "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}".contains(c)
    };
    assert!(!text.chars().any(|c| acts(c) || turns(c)), "{text:?}");
}

fn read(kind: AgentKind, data: &[u8], exit: StepExit, piece: usize) -> (Vec<AgentEvent>, AgentVerdict) {
    let mut reader = AgentReader::new(find_agent(kind).parser(Path::new("/w/tree")));
    let mut events = Vec::new();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let (stream, line) = match line.strip_prefix(b"!") {
            Some(rest) => (Stream::Stderr, rest),
            None => (Stream::Stdout, line),
        };
        for piece in line.chunks(piece.min(line.len().max(1))) {
            events.extend(reader.feed(stream, piece));
        }
    }
    let (last, verdict) = reader.finish(exit);
    events.extend(last);
    (events, verdict)
}
