//! What a job has told, line by line: words, uses of tools with what came of them, output, and the marks between phases.

use std::collections::HashMap;

use maud::{Markup, html};

use super::ansi::ansi;
use super::shell::harmless;
use crate::domain::event::EventKind;
use crate::domain::phrases;
use crate::wire::event::{Event, JobMoved};
use crate::wire::inward::MessageStored;
use crate::wire::time::UtcTime;
use crate::wire::told::{Output, Progress, Sign, ToolResult, ToolUse, Words};
use crate::wire::words::MessageKind;

/// Output that is longer is folded, and shows so many lines of its end.
const SHOWN_LINES: usize = 12;
/// Folding away less than this hides more than it helps.
const FOLDED_LINES_MIN: usize = 8;
/// Of the argument of a tool on its line; all of it is inside.
const ARGUMENT_CHARS_MAX: usize = 140;

/// One entry of the log.
enum Entry {
    /// Something of the job's life.
    Mark {
        at: UtcTime,
        text: String,
        bad: bool,
    },
    Line {
        at: UtcTime,
        seq: Option<i64>,
        who: &'static str,
        text: String,
    },
    Tool {
        at: UtcTime,
        used: ToolUse,
        result: Option<ToolResult>,
    },
    /// What came of a use that is further up.
    Late {
        at: UtcTime,
        result: ToolResult,
    },
}

/// Pieces of the log, to be put behind what is there.
#[must_use]
pub fn log_lines(events: &[Event], upto: i64, is_whole: bool) -> String {
    harmless(html! { ol data-upto=(upto) data-whole=[is_whole.then_some("yes")] { (lines(events)) } })
}

/// The lines alone.
#[must_use]
pub fn lines(events: &[Event]) -> Markup {
    let entries = entries(events);
    // the last one that has come to something is what one wants to read
    let last = entries.iter().rposition(|entry| matches!(entry, Entry::Tool { result: Some(_), .. }));
    html! {
        @for (index, entry) in entries.iter().enumerate() { (one(entry, Some(index) == last)) }
    }
}

fn entries(events: &[Event]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut open = HashMap::new();
    for event in events {
        let at = event.at;
        match event.type_.0 {
            EventKind::AgentToolUse => {
                let Ok(used) = serde_json::from_value::<ToolUse>(event.data.clone()) else { continue };
                open.insert(used.id.clone(), entries.len());
                entries.push(Entry::Tool { at, used, result: None });
            }
            EventKind::AgentToolResult => {
                let Ok(came) = serde_json::from_value::<ToolResult>(event.data.clone()) else { continue };
                match open.remove(&came.id).map(|index| &mut entries[index]) {
                    Some(Entry::Tool { result, .. }) => *result = Some(came),
                    _ => entries.push(Entry::Late { at, result: came }),
                }
            }
            _ => entries.extend(line(event)),
        }
    }
    entries
}

fn line(event: &Event) -> Option<Entry> {
    let (at, data) = (event.at, event.data.clone());
    let line = |who, text: Option<String>, seq| {
        let text = text.unwrap_or_else(|| "(past its time and removed)".to_owned());
        (!text.trim().is_empty()).then_some(Entry::Line { at, seq, who, text })
    };
    match event.type_.0 {
        EventKind::AgentMessage
        | EventKind::AgentThinking
        | EventKind::JobNote
        | EventKind::JobInterrupted => {
            let words: Words = serde_json::from_value(data).ok()?;
            let who = match event.type_.0 {
                EventKind::AgentMessage => "agent",
                EventKind::AgentThinking => "thinks",
                _ => "offshoot",
            };
            line(who, words.text, words.message_seq)
        }
        EventKind::MessageStored => {
            let said: MessageStored = serde_json::from_value(data).ok()?;
            line("told", said.text, said.message_seq)
        }
        EventKind::AgentOutput => {
            let output: Output = serde_json::from_value(data).ok()?;
            let is_error = output.stream == MessageKind(crate::domain::event::MessageKind::Stderr);
            line(if is_error { "stderr" } else { "output" }, output.text, output.message_seq)
        }
        EventKind::AgentProgress => {
            let progress: Progress = serde_json::from_value(data).ok()?;
            if progress.what == Sign::Turn {
                return None;
            }
            line("agent", progress.text, progress.message_seq)
        }
        EventKind::DeliveryDelivered => Some(mark(at, "webhook delivered", false)),
        EventKind::DeliveryDead => Some(mark(at, "webhook given up", true)),
        EventKind::MessageDelivered => None,
        _ => {
            let moved: JobMoved = serde_json::from_value(data).ok()?;
            Some(moved_mark(event, &moved))
        }
    }
}

fn mark(at: UtcTime, text: &str, bad: bool) -> Entry {
    Entry::Mark { at, text: text.to_owned(), bad }
}

fn moved_mark(event: &Event, moved: &JobMoved) -> Entry {
    let why = moved.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    match event.type_.0 {
        EventKind::JobQueued => mark(event.at, "queued", false),
        EventKind::AttemptStarted => {
            mark(event.at, &format!("attempt {}", event.attempt.unwrap_or(1)), false)
        }
        EventKind::JobHeld => mark(event.at, &format!("waits{why}"), false),
        EventKind::JobFailed => mark(event.at, &format!("failed{why}"), true),
        EventKind::JobCompleted => mark(event.at, "completed", false),
        EventKind::JobCancelled => mark(event.at, "cancelled", false),
        _ => mark(event.at, &moved.phase.to_string().replace('_', " "), false),
    }
}

fn one(entry: &Entry, is_last: bool) -> Markup {
    match entry {
        Entry::Mark { at, text, bad } => html! {
            li .mark .bad[*bad] { (clock(*at)) span { (phrases::printable(text)) } }
        },
        Entry::Line { at, seq, who, text } => html! {
            li .line .{ "by-" (who) } id=[seq.map(|seq| format!("L{seq}"))] {
                (number(*seq)) (clock(*at))
                span .who { (who) }
                div .what { (folded(text)) }
            }
        },
        Entry::Tool { at, used, result } => {
            let failed = result.as_ref().is_some_and(|result| !result.ok);
            tool(*at, used, result.as_ref(), failed || is_last)
        }
        Entry::Late { at, result } => html! {
            li .line .by-tool id=[result.message_seq.map(|seq| format!("L{seq}"))] data-result-of=(result.id) {
                (number(result.message_seq)) (clock(*at))
                span .who { "result" }
                div .what { (outcome(Some(result))) (came(result, false)) }
            }
        },
    }
}

fn tool(at: UtcTime, used: &ToolUse, result: Option<&ToolResult>, open: bool) -> Markup {
    let argument = used.summary.as_deref().unwrap_or("(past its time and removed)");
    let short = phrases::one_line(argument, ARGUMENT_CHARS_MAX);
    let is_cut = short != argument;
    html! {
        li .line .by-tool id=[used.message_seq.map(|seq| format!("L{seq}"))] {
            (number(used.message_seq)) (clock(at))
            span .who { "tool" }
            details .what .tool data-tool=(used.id) open[open] {
                summary { b { (used.name) } " " code { (short) } (outcome(result)) }
                @if is_cut { pre .argument { (ansi(argument)) } }
                @if let Some(result) = result { (came(result, true)) }
            }
        }
    }
}

fn came(result: &ToolResult, own_id: bool) -> Markup {
    let text = result.summary.as_deref().unwrap_or("(past its time and removed)");
    let id = result.message_seq.filter(|_| own_id).map(|seq| format!("L{seq}"));
    html! { @if !text.trim().is_empty() { div .came id=[id] { (folded(text)) } } }
}

fn outcome(result: Option<&ToolResult>) -> Markup {
    match result {
        None => html! { span .outcome .pending { "…" } },
        Some(result) if result.ok => html! { span .outcome .ok { "ok" } },
        Some(_) => html! { span .outcome .bad { "failed" } },
    }
}

/// The end of what is long; the rest behind a line that says how much it is.
fn folded(text: &str) -> Markup {
    let text = text.trim_end();
    let lines = text.lines().count();
    if lines < SHOWN_LINES + FOLDED_LINES_MIN {
        return html! { pre { (ansi(text)) } };
    }
    let hidden = lines - SHOWN_LINES;
    let split = text.match_indices('\n').nth(hidden - 1).map_or(0, |(at, _)| at + 1);
    html! {
        details .fold {
            summary { (hidden) " lines before these" }
            pre { (ansi(&text[..split])) }
        }
        pre { (ansi(&text[split..])) }
    }
}

fn number(seq: Option<i64>) -> Markup {
    html! {
        @if let Some(seq) = seq { a .n href={ "#L" (seq) } aria-label={ "Line " (seq) } { (seq) } }
        @else { span .n {} }
    }
}

fn clock(at: UtcTime) -> Markup {
    let text = at.to_string();
    html! { time datetime=(text) title=(text) data-clock="seconds" { (text.get(11..19).unwrap_or_default()) } }
}
