//! Claude's lines to events, and what has to be remembered of them for the verdict.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::shapes::{Block, Line, Message};
use super::tool;
use super::verdict::{Ending, Run, judge};
use crate::agent::json_lines::JsonLines;
use crate::agent::last_words::LastWords;
use crate::agent::lenient::{Content, TextOr};
use crate::agent::{AgentEvent, AgentVerdict, StepExit};
use crate::domain::hold::LimitWindow;

/// Reads one process. Several turns may follow each other in it, each with its own `init` and `result`.
#[derive(Debug, Default)]
pub(super) struct ClaudeParser {
    run: Run,
    cwd: Option<String>,
    /// The model's answer that is being printed: one answer comes as several lines with the same id.
    message_id: Option<String>,
    turns: u32,
    /// Hashes of the paths that editing tools were to write.
    files: BTreeSet<u64>,
}

/// Paths that are told apart. A job that writes more of them is not reviewed by their number.
const FILES_MAX: usize = 10_000;

impl JsonLines for ClaudeParser {
    type Line = Line;

    fn event(&mut self, line: Box<Line>) -> Option<Vec<AgentEvent>> {
        match line.r#type.as_str()? {
            "system" => self.system(*line),
            "assistant" => Some(self.assistant(*line)),
            "user" => Some(self.user(*line)),
            "rate_limit_event" => Some(vec![self.rate_limit(&line)]),
            "control_request" => Some(self.control_request(&line)),
            "result" => Some(vec![self.result(*line)]),
            // Pieces of messages that come whole later, and echoes of what was sent in.
            "stream_event" | "control_response" | "control_cancel_request" | "keep_alive" => Some(Vec::new()),
            _ => None,
        }
    }

    fn last_words(&mut self) -> &mut LastWords {
        &mut self.run.last_words
    }

    fn verdict(&self, exit: StepExit) -> AgentVerdict {
        judge(&self.run, exit)
    }
}

impl ClaudeParser {
    fn system(&mut self, line: Line) -> Option<Vec<AgentEvent>> {
        let event = match line.subtype.as_str()? {
            "init" => self.init(line),
            "api_retry" => AgentEvent::Retrying {
                attempt: narrow(line.attempt.as_count()),
                attempts_max: narrow(line.max_retries.as_count()),
                delay_ms: line.retry_delay_ms.as_count().unwrap_or(0),
                status: line.error_status.as_count().and_then(|status| u16::try_from(status).ok()),
            },
            "permission_denied" => AgentEvent::Denied {
                tool: line.tool_name.text(),
                message: match line.message {
                    TextOr::Text(text) => text,
                    TextOr::Object(_) => String::new(),
                },
            },
            "model_fallback" | "informational" => AgentEvent::Notice { text: line.content.into_text()? },
            "compact_boundary" => AgentEvent::Notice {
                text: "the conversation did not fit any more and was summed up".to_owned(),
            },
            // Hooks, status of the request, changes of a screen that is not there.
            "status" | "hook_started" | "hook_progress" | "hook_response" | "ui_invalidate" => {
                return Some(Vec::new());
            }
            _ => return None,
        };
        Some(vec![event])
    }

    fn init(&mut self, line: Line) -> AgentEvent {
        self.cwd = line.cwd.into_text();
        self.run.begin_turn();
        self.run.session_id = line.session_id.into_text().or(self.run.session_id.take());
        self.run.model = line.model.into_text();
        self.run.version = line.claude_code_version.into_text();
        self.run.auth = line.api_key_source.into_text();
        AgentEvent::Started {
            session_id: self.run.session_id.clone(),
            model: self.run.model.clone(),
            version: self.run.version.clone(),
            auth: self.run.auth.clone(),
        }
    }

    fn assistant(&mut self, line: Line) -> Vec<AgentEvent> {
        self.run.waits_for = None;
        // an answer of the model after an error means that the error was got over
        self.run.api_error_tag = line.error.into_text();
        let TextOr::Object(message) = line.message else {
            return Vec::new();
        };
        let mut events: Vec<AgentEvent> = self.progress(&message).into_iter().collect();
        match message.content {
            Content::Text(text) => events.push(AgentEvent::Message { text }),
            Content::Blocks(blocks) => {
                events.extend(blocks.into_iter().filter_map(|block| self.said(block.0)));
            }
        }
        events
    }

    /// The first line of another answer of the model is another turn.
    fn progress(&mut self, message: &Message) -> Option<AgentEvent> {
        let id = message.id.as_str()?;
        self.run.note_answer(id, &message.usage.0);
        if self.message_id.as_deref() == Some(id) {
            return None;
        }
        self.message_id = Some(id.to_owned());
        let usage = &message.usage.0;
        let parts = [&usage.input_tokens, &usage.cache_read_input_tokens, &usage.cache_creation_input_tokens];
        let context_tokens = parts.iter().filter_map(|part| part.as_count()).fold(0, u64::saturating_add);
        // A message that only reports an API error was made up by the agent itself.
        if context_tokens == 0 {
            return None;
        }
        self.turns = self.turns.saturating_add(1);
        let files = u32::try_from(self.files.len()).ok();
        Some(AgentEvent::Progress { turns: self.turns, context_tokens, files, cost_usd_micros: None })
    }

    fn note_file(&mut self, block: &Block) {
        let name = block.name.as_str().unwrap_or_default();
        if let Some(path) = tool::written_file(name, &block.input.0)
            && self.files.len() < FILES_MAX
        {
            let mut hasher = DefaultHasher::new();
            path.hash(&mut hasher);
            self.files.insert(hasher.finish());
        }
    }

    fn said(&mut self, block: Block) -> Option<AgentEvent> {
        match block.r#type.as_str()? {
            "text" => Some(AgentEvent::Message { text: block.text.into_text()? }),
            "thinking" => Some(AgentEvent::Thinking { text: block.thinking.into_text()? }),
            // the API itself carries out the last two
            "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                self.run.uses = self.run.uses.saturating_add(1);
                self.note_file(&block);
                Some(AgentEvent::ToolUse {
                    id: block.id.text(),
                    name: block.name.text(),
                    summary: tool::summary(&block.input.0, self.cwd.as_deref()),
                })
            }
            // what the API's own tools found comes as part of the answer
            kind if kind.ends_with("_tool_result") => Some(tool_result(&block)),
            _ => None,
        }
    }

    fn user(&mut self, line: Line) -> Vec<AgentEvent> {
        self.run.waits_for = None;
        // What we sent in ourselves comes back marked as a replay.
        if line.is_replay.as_bool() == Some(true) {
            return Vec::new();
        }
        let TextOr::Object(Message { content: Content::Blocks(blocks), .. }) = line.message else {
            return Vec::new();
        };
        let heard = blocks.into_iter().filter_map(|block| {
            let block = block.0;
            match block.r#type.as_str()? {
                "tool_result" => Some(tool_result(&block)),
                "text" => Some(AgentEvent::Notice { text: block.text.into_text()? }),
                _ => None,
            }
        });
        heard.collect()
    }

    fn rate_limit(&mut self, line: &Line) -> AgentEvent {
        let info = &line.rate_limit_info.0;
        let rejected = info.status.as_str() == Some("rejected");
        let resets_at = info.resets_at.as_count().and_then(unix_seconds);
        let window = info.rate_limit_type.clone().into_text();
        self.run.limit_reached = rejected.then(|| (resets_at, window.as_deref().map(LimitWindow::of_claim)));
        AgentEvent::RateLimit { rejected, resets_at, window }
    }

    fn control_request(&mut self, line: &Line) -> Vec<AgentEvent> {
        let request = &line.request.0;
        if request.subtype.as_str() != Some("can_use_tool") {
            return Vec::new();
        }
        let tool = request.tool_name.text();
        self.run.waits_for = Some(tool.clone());
        vec![AgentEvent::NeedsInput { tool }]
    }

    fn result(&mut self, line: Line) -> AgentEvent {
        let ending = Ending::new(line, self.cwd.as_deref());
        let event = AgentEvent::Ended { ok: ending.ok, text: ending.text.clone() };
        self.run.end_turn(ending);
        event
    }
}

fn tool_result(block: &Block) -> AgentEvent {
    let failed = block.is_error.as_bool() == Some(true) || tool::tells_error(&block.content);
    AgentEvent::ToolResult {
        id: block.tool_use_id.text(),
        ok: !failed,
        summary: tool::result_text(&block.content),
    }
}

fn narrow(count: Option<u64>) -> u32 {
    u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX)
}

/// Accepts seconds, and milliseconds where the number is too large for seconds (after the year 5000).
fn unix_seconds(value: u64) -> Option<i64> {
    const SECONDS_MAX: u64 = 100_000_000_000;
    let seconds = if value >= SECONDS_MAX { value / 1_000 } else { value };
    (0 < seconds && seconds < SECONDS_MAX).then_some(seconds.cast_signed())
}
