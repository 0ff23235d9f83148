//! Codex's lines to events, and what has to be remembered of them for the verdict.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::shapes::{Item, Line};
use super::verdict::{Run, judge};
use crate::agent::json_lines::{JsonLines, TOOL_RESULT_BYTES_MAX, TOOL_SUMMARY_BYTES_MAX};
use crate::agent::last_words::LastWords;
use crate::agent::status::status_behind;
use crate::agent::text::{below, one_line};
use crate::agent::verdict::Denial;
use crate::agent::{AgentEvent, AgentVerdict, StepExit};

/// Tool uses that are under way at once; a handful is usual, and more are not told apart any longer.
const OPEN_MAX: usize = 1_000;

/// What a patch or command is answered that the sandbox or the approval policy did not let through. It comes on stderr
/// alone, and the run goes on.
const DENIED: &str = "rejected by user approval settings";

/// How it begins where it was a patch.
const PATCH: &str = "patch rejected";

/// Reads one process.
#[derive(Debug)]
pub(super) struct CodexParser {
    run: Run,
    working_dir: PathBuf,
    /// Ids of tool uses that were told and have no result yet.
    open: BTreeSet<String>,
}

impl JsonLines for CodexParser {
    type Line = Line;

    fn event(&mut self, line: Box<Line>) -> Option<Vec<AgentEvent>> {
        match line.r#type.as_str()? {
            "thread.started" => {
                self.run.session_id = line.thread_id.into_text();
                Some(vec![AgentEvent::Started {
                    session_id: self.run.session_id.clone(),
                    model: None,
                    version: None,
                    auth: None,
                }])
            }
            "turn.started" => {
                self.run.begin_turn();
                Some(Vec::new())
            }
            "item.started" => self.item(line.item.0, false),
            "item.completed" => self.item(line.item.0, true),
            // a list of plans, or output on its way: what counts comes with the end of the item
            "item.updated" => Some(Vec::new()),
            "turn.completed" => {
                self.run.completed(&line.usage.0);
                Some(vec![AgentEvent::Ended { ok: true, text: self.run.said.clone() }])
            }
            "turn.failed" => {
                let message = line.error.0.message.text();
                self.run.failed(message.clone());
                Some(vec![AgentEvent::Ended { ok: false, text: message }])
            }
            "error" => Some(self.error(line.message.text())),
            _ => None,
        }
    }

    fn last_words(&mut self) -> &mut LastWords {
        &mut self.run.last_words
    }

    fn told_aside(&mut self, text: &str) -> Vec<AgentEvent> {
        let Some(message) = denial(text) else { return Vec::new() };
        self.run.tools.deny(Denial {
            tool: "patch or command".to_owned(),
            tool_use_id: String::new(),
            summary: message.clone(),
            writes: message.starts_with(PATCH),
        });
        vec![AgentEvent::Denied { tool: "a tool".to_owned(), message }]
    }

    fn verdict(&self, exit: StepExit) -> AgentVerdict {
        judge(&self.run, exit)
    }
}

/// What of a log line of codex's own says that something was not permitted.
fn denial(line: &str) -> Option<String> {
    if !line.contains(DENIED) {
        return None;
    }
    let told = line.split_once("error=").map_or(line, |(_, told)| told);
    Some(one_line(told, TOOL_SUMMARY_BYTES_MAX))
}

impl CodexParser {
    pub(super) fn new(working_dir: &Path) -> Self {
        Self { run: Run::default(), working_dir: working_dir.to_owned(), open: BTreeSet::new() }
    }

    fn error(&mut self, message: String) -> Vec<AgentEvent> {
        if let Some(retrying) = retrying(&message) {
            return vec![retrying];
        }
        self.run.trouble = Some(message.clone());
        // the failed turn repeats it
        vec![AgentEvent::Notice { text: message }]
    }

    fn item(&mut self, item: Item, is_complete: bool) -> Option<Vec<AgentEvent>> {
        match item.r#type.as_str()? {
            "agent_message" if is_complete => {
                let text = item.text.into_text()?;
                self.run.said.clone_from(&text);
                Some(vec![AgentEvent::Message { text }])
            }
            "reasoning" if is_complete => Some(vec![AgentEvent::Thinking { text: item.text.into_text()? }]),
            "error" if is_complete => Some(vec![AgentEvent::Notice { text: item.message.into_text()? }]),
            "agent_message" | "reasoning" | "error" | "todo_list" => Some(Vec::new()),
            "command_execution" | "file_change" | "mcp_tool_call" | "web_search" => {
                Some(self.tool(&item, is_complete))
            }
            _ => None,
        }
    }

    /// Some tools tell their start, others are told when they are done.
    fn tool(&mut self, item: &Item, is_complete: bool) -> Vec<AgentEvent> {
        let id = item.id.text();
        let mut events = Vec::new();
        if !self.open.contains(&id) {
            if self.open.len() < OPEN_MAX {
                self.open.insert(id.clone());
            }
            events.push(AgentEvent::ToolUse {
                id: id.clone(),
                name: name(item),
                summary: self.summary(item),
            });
        }
        if is_complete {
            self.open.remove(&id);
            let status = item.status.as_str();
            if status != Some("declined") {
                self.run.tools.permit();
            }
            let ok = !matches!(status, Some("failed" | "declined"));
            events.push(AgentEvent::ToolResult { id, ok, summary: tail(&item.aggregated_output.text()) });
        }
        events
    }

    fn summary(&self, item: &Item) -> String {
        let changes = &item.changes.0;
        if changes.is_empty() {
            let told = [&item.command, &item.query].into_iter().find_map(|field| field.as_str());
            return one_line(told.unwrap_or_default(), TOOL_SUMMARY_BYTES_MAX);
        }
        let paths: Vec<String> = changes
            .iter()
            .map(|change| {
                let path = change.0.path.text();
                format!("{} {}", change.0.kind.text(), below(&path, &self.working_dir))
            })
            .collect();
        one_line(&paths.join(", "), TOOL_SUMMARY_BYTES_MAX)
    }
}

fn name(item: &Item) -> String {
    let kind = item.r#type.text();
    match (item.server.as_str(), item.tool.as_str()) {
        (Some(server), Some(tool)) => format!("{server}.{tool}"),
        _ => kind,
    }
}

fn tail(output: &str) -> String {
    let output = output.trim_end();
    let mut start = output.len().saturating_sub(TOOL_RESULT_BYTES_MAX);
    while !output.is_char_boundary(start) {
        start += 1;
    }
    let mark = if start > 0 { "…" } else { "" };
    format!("{mark}{}", &output[start..])
}

/// `Reconnecting... 2/5 (unexpected status 529 ...)`.
fn retrying(message: &str) -> Option<AgentEvent> {
    let (numbers, why) = message.strip_prefix("Reconnecting... ")?.split_once(' ')?;
    let (attempt, attempts_max) = numbers.split_once('/')?;
    Some(AgentEvent::Retrying {
        attempt: attempt.parse().ok()?,
        attempts_max: attempts_max.parse().ok()?,
        delay_ms: 0,
        status: status_behind(why, &["unexpected status ", "last status: "]),
    })
}
