//! Lines to events, and what has to be remembered of them for the verdict.

use super::shapes::{Answered, Block, Line, Update};
use super::tools::Tools;
use super::verdict::{Run, judge};
use crate::agent::json_lines::{JsonLines, TOOL_SUMMARY_BYTES_MAX};
use crate::agent::last_words::LastWords;
use crate::agent::lenient::{Content, Scalar};
use crate::agent::text::{head, one_line};
use crate::agent::verdict::Denial;
use crate::agent::{AgentEvent, AgentVerdict, StepExit};
use std::path::{Path, PathBuf};

/// A message comes in pieces of a few letters; told is the whole, or as much as an event shows.
const PIECES_BYTES_MAX: usize = 64 * 1024;

/// Steps of a plan that are told.
const PLAN_STEPS_MAX: usize = 20;

/// Reads one process.
#[derive(Debug)]
pub(super) struct AcpParser {
    run: Run,
    working_dir: PathBuf,
    tools: Tools,
    /// The pieces of what is being said.
    pieces: String,
    of: Pieces,
}

/// What the pieces belong to.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pieces {
    is_thought: bool,
    message: Scalar,
}

impl JsonLines for AcpParser {
    type Line = Line;

    fn event(&mut self, line: Box<Line>) -> Option<Vec<AgentEvent>> {
        if line.acp.as_str().is_some() {
            return self.ours(*line);
        }
        line.jsonrpc.as_str()?;
        let of = line.params.0.session_id.as_str();
        if of.is_some_and(|of| self.run.session_id.as_deref().is_some_and(|own| own != of)) {
            // of another conversation, which nobody has asked for
            return Some(Vec::new());
        }
        match line.method.as_str()? {
            "session/update" => self.update(line.params.0.update.0),
            "session/request_permission" => {
                let begun = self.tools.question(&line.params.0.tool_call.0, &self.working_dir);
                Some(self.after_pieces(begun))
            }
            // refused in the words of the protocol; it has tools of its own
            _ => Some(Vec::new()),
        }
    }

    fn last_words(&mut self) -> &mut LastWords {
        &mut self.run.last_words
    }

    fn verdict(&self, exit: StepExit) -> AgentVerdict {
        judge(&self.run, exit)
    }
}

impl AcpParser {
    pub(super) fn new(working_dir: &Path) -> Self {
        Self {
            run: Run::default(),
            working_dir: working_dir.to_owned(),
            tools: Tools::default(),
            pieces: String::new(),
            of: Pieces::default(),
        }
    }

    /// What `src/acp` says for itself.
    fn ours(&mut self, line: Line) -> Option<Vec<AgentEvent>> {
        let events = match line.acp.as_str()? {
            "started" => {
                let is_new = matches!(line.resumed, Scalar::Bool(false));
                self.run.begin(line.session_id.into_text(), line.version.clone().into_text(), is_new);
                let version = match (line.agent.as_str(), line.version.as_str()) {
                    (Some(name), Some(version)) => Some(format!("{name} {version}")),
                    (name, version) => name.or(version).map(str::to_owned),
                };
                let session_id = self.run.session_id.clone();
                vec![AgentEvent::Started { session_id, model: None, version, auth: None }]
            }
            // what is no word of the turn itself: it is in the log
            "heard" => return Some(Vec::new()),
            "left" => return Some(self.whole()),
            "answered" => self.answered(&line),
            "ended" => {
                let Answered::Object(answer) = line.answer else { return None };
                let mut events = self.whole();
                self.run.end(&answer);
                events.push(AgentEvent::Ended { ok: self.run.is_done(), text: self.run.said.clone() });
                return Some(events);
            }
            "failed" => {
                let text = line.message.text();
                self.run.fail(&line);
                vec![AgentEvent::Ended { ok: false, text }]
            }
            _ => return None,
        };
        Some(self.after_pieces(events))
    }

    fn answered(&mut self, line: &Line) -> Vec<AgentEvent> {
        let (id, Answered::Text(answer)) = (line.tool_call_id.text(), &line.answer) else {
            return Vec::new();
        };
        if answer == "granted" {
            return Vec::new();
        }
        let refused = self.tools.refuse(&id);
        let (tool, mut events) = (refused.tool, refused.events);
        if matches!(line.unreadable, Scalar::Bool(true)) {
            let text = "the agent has asked for something in a way that cannot be understood";
            events.push(AgentEvent::Notice { text: text.to_owned() });
        }
        if answer == "unanswered" {
            self.run.asked_for = Some(tool.clone());
            events.push(AgentEvent::NeedsInput { tool });
            return events;
        }
        let message = refused.summary.clone();
        let denial = Denial {
            tool: tool.clone(),
            tool_use_id: one_line(&id, 100),
            summary: refused.summary,
            writes: refused.writes,
        };
        self.run.tools.deny(denial);
        events.push(AgentEvent::Denied { tool, message: head(&message, TOOL_SUMMARY_BYTES_MAX) });
        events
    }

    /// `None`: it is of a kind that is not known.
    fn update(&mut self, update: Update) -> Option<Vec<AgentEvent>> {
        let events = match update.session_update.as_str()? {
            "agent_message_chunk" => return Some(self.piece(&update, false)),
            "agent_thought_chunk" => return Some(self.piece(&update, true)),
            "tool_call" | "tool_call_update" => {
                let (events, is_end) = self.tools.update(&update, &self.working_dir);
                if is_end {
                    self.run.tools.permit();
                }
                events
            }
            "plan" => vec![AgentEvent::Notice { text: plan(&update) }],
            "notice" => vec![AgentEvent::Notice { text: update.text.into_text()? }],
            "usage_update" => {
                self.run.use_up(&update);
                vec![AgentEvent::Progress {
                    turns: self.run.turns(),
                    context_tokens: update.used.as_count().unwrap_or(0),
                    files: None,
                    cost_usd_micros: None,
                }]
            }
            // what was asked, and what people in front of a screen would be offered
            "user_message_chunk"
            | "available_commands_update"
            | "current_mode_update"
            | "config_option_update"
            | "session_info_update" => Vec::new(),
            _ => return None,
        };
        Some(self.after_pieces(events))
    }

    fn piece(&mut self, update: &Update, is_thought: bool) -> Vec<AgentEvent> {
        let text = match &update.content {
            Content::Text(text) => text.as_str(),
            Content::Blocks(blocks) => {
                blocks.iter().find_map(|block: &Block| block.text.as_str()).unwrap_or_default()
            }
        };
        let of = Pieces { is_thought, message: update.message_id.clone() };
        let room = PIECES_BYTES_MAX.saturating_sub(self.pieces.len());
        let mut events = Vec::new();
        if of != self.of || text.len() > room {
            events = self.whole();
            self.of = of;
        }
        self.pieces.push_str(&head(text, PIECES_BYTES_MAX));
        events
    }

    /// What was being said, once something else follows.
    fn whole(&mut self) -> Vec<AgentEvent> {
        if self.pieces.is_empty() {
            return Vec::new();
        }
        let text = std::mem::take(&mut self.pieces);
        if self.of.is_thought {
            return vec![AgentEvent::Thinking { text }];
        }
        if !self.run.is_over() {
            self.run.said.clone_from(&text);
        }
        vec![AgentEvent::Message { text }]
    }

    fn after_pieces(&mut self, events: Vec<AgentEvent>) -> Vec<AgentEvent> {
        if events.is_empty() {
            return events;
        }
        self.whole().into_iter().chain(events).collect()
    }
}

fn plan(update: &Update) -> String {
    let steps = update.entries.0.iter().take(PLAN_STEPS_MAX).map(|entry| {
        let mark = match entry.0.status.as_str() {
            Some("completed") => "x",
            Some("in_progress") => ">",
            _ => " ",
        };
        format!(
            "\n[{mark}] {}",
            one_line(entry.0.content.as_str().unwrap_or_default(), TOOL_SUMMARY_BYTES_MAX)
        )
    });
    format!("plan:{}", steps.collect::<String>())
}
