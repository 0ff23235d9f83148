//! Gemini CLI's lines to events, and what has to be remembered of them for the verdict.

use super::shapes::{Line, Parameters};
use super::verdict::{Run, judge};
use super::waits::{Failed, failed_try};
use crate::agent::json_lines::{JsonLines, TOOL_RESULT_BYTES_MAX, TOOL_SUMMARY_BYTES_MAX};
use crate::agent::last_words::LastWords;
use crate::agent::lenient::Scalar;
use crate::agent::text::{below, head, one_line};
use crate::agent::{AgentEvent, AgentVerdict, StepExit};
use std::path::{Path, PathBuf};

/// A message comes in pieces of a few letters; told is the whole, or as much as an event shows.
const PIECES_BYTES_MAX: usize = 64 * 1024;

/// Reads one process.
#[derive(Debug)]
pub(super) struct GeminiParser {
    run: Run,
    working_dir: PathBuf,
    /// The pieces of the message that is being printed.
    pieces: String,
}

impl JsonLines for GeminiParser {
    type Line = Line;

    fn event(&mut self, line: Box<Line>) -> Option<Vec<AgentEvent>> {
        let kind = line.r#type.as_str()?;
        self.run.heard(line.timestamp.as_str());
        if kind == "message" {
            return Some(self.message(*line));
        }
        let event = match kind {
            "init" => {
                self.run.begin();
                self.run.session_id = line.session_id.into_text();
                self.run.model = line.model.into_text();
                AgentEvent::Started {
                    session_id: self.run.session_id.clone(),
                    model: self.run.model.clone(),
                    version: None,
                    auth: None,
                }
            }
            "tool_use" => AgentEvent::ToolUse {
                id: line.tool_id.text(),
                name: line.tool_name.text(),
                summary: self.summary(&line.parameters.0),
            },
            "tool_result" => {
                let told = line.output.as_str().or(line.error.0.message.as_str()).unwrap_or_default();
                AgentEvent::ToolResult {
                    id: line.tool_id.text(),
                    ok: line.status.as_str() == Some("success"),
                    summary: head(told, TOOL_RESULT_BYTES_MAX),
                }
            }
            "error" => AgentEvent::Notice { text: line.message.into_text()? },
            "result" => {
                let events = self.whole_message();
                let ok = line.status.as_str() == Some("success");
                self.run.end(ok, &line.error.0, &line.stats.0);
                let text = if ok { self.run.said.clone() } else { line.error.0.message.text() };
                return Some(events.into_iter().chain([AgentEvent::Ended { ok, text }]).collect());
            }
            _ => return None,
        };
        Some(self.whole_message().into_iter().chain([event]).collect())
    }

    fn last_words(&mut self) -> &mut LastWords {
        &mut self.run.last_words
    }

    fn told_aside(&mut self, text: &str) -> Vec<AgentEvent> {
        let Some(failed) = failed_try(text) else { return Vec::new() };
        let limit = self.run.wait(text, failed.delay_ms).map(|resets_at| AgentEvent::RateLimit {
            rejected: true,
            resets_at,
            window: None,
        });
        let Failed { attempt, delay_ms, status } = failed;
        let retrying = AgentEvent::Retrying { attempt, attempts_max: 0, delay_ms, status };
        limit.into_iter().chain([retrying]).collect()
    }

    fn verdict(&self, exit: StepExit) -> AgentVerdict {
        judge(&self.run, exit)
    }
}

impl GeminiParser {
    pub(super) fn new(working_dir: &Path) -> Self {
        Self { run: Run::default(), working_dir: working_dir.to_owned(), pieces: String::new() }
    }

    fn message(&mut self, line: Line) -> Vec<AgentEvent> {
        // what was asked comes back first
        if line.role.as_str() != Some("assistant") {
            return Vec::new();
        }
        let text = line.content.text();
        if line.delta.as_bool() != Some(true) {
            let mut events = self.whole_message();
            self.run.said.clone_from(&text);
            events.push(AgentEvent::Message { text });
            return events;
        }
        let room = PIECES_BYTES_MAX.saturating_sub(self.pieces.len());
        if text.len() <= room {
            self.pieces.push_str(&text);
            return Vec::new();
        }
        let events = self.whole_message();
        self.pieces.push_str(&head(&text, PIECES_BYTES_MAX));
        events
    }

    /// The message whose pieces were read, once something else follows.
    fn whole_message(&mut self) -> Vec<AgentEvent> {
        if self.pieces.is_empty() {
            return Vec::new();
        }
        let text = std::mem::take(&mut self.pieces);
        self.run.said.clone_from(&text);
        vec![AgentEvent::Message { text }]
    }

    fn summary(&self, parameters: &Parameters) -> String {
        let fields = [
            &parameters.file_path,
            &parameters.command,
            &parameters.pattern,
            &parameters.dir_path,
            &parameters.query,
            &parameters.prompt,
            &parameters.description,
        ];
        let told = fields.into_iter().find_map(Scalar::as_str).unwrap_or_default();
        one_line(below(told, &self.working_dir), TOOL_SUMMARY_BYTES_MAX)
    }
}
