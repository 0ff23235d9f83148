//! Opencode's lines to events, and what has to be remembered of them for the verdict.

use super::shapes::{Line, Part, ToolInput};
use super::verdict::{Run, judge};
use crate::agent::json_lines::{JsonLines, TOOL_RESULT_BYTES_MAX, TOOL_SUMMARY_BYTES_MAX};
use crate::agent::last_words::LastWords;
use crate::agent::lenient::Scalar;
use crate::agent::text::{below, head, one_line};
use crate::agent::verdict::Denial;
use crate::agent::{AgentEvent, AgentVerdict, StepExit};
use std::path::{Path, PathBuf};

/// How a tool's error begins that a rule does not allow: the run goes on.
const DENIED: &str = "The user has specified a rule which prevents you";

/// How a tool's error begins for which somebody would have to be asked: nobody is, and the run is over.
const ASKED: &str = "The user rejected permission";

/// Its tools that write files.
const EDITORS: [&str; 4] = ["apply_patch", "edit", "patch", "write"];

/// Reads one process.
#[derive(Debug)]
pub(super) struct OpencodeParser {
    run: Run,
    working_dir: PathBuf,
}

impl JsonLines for OpencodeParser {
    type Line = Line;

    fn event(&mut self, line: Box<Line>) -> Option<Vec<AgentEvent>> {
        let kind = line.r#type.as_str()?;
        let known = ["step_start", "text", "reasoning", "tool_use", "step_finish", "error"];
        if !known.contains(&kind) {
            return None;
        }
        let mut events = Vec::new();
        if self.run.session_id.is_none() {
            self.run.session_id = line.session_id.into_text();
            events.extend(self.run.session_id.clone().map(|id| AgentEvent::Started {
                session_id: Some(id),
                model: None,
                version: None,
                auth: None,
            }));
        }
        let part = line.part.0;
        match kind {
            "step_start" => self.run.begin_step(),
            "text" => {
                let text = part.text.into_text()?;
                self.run.said.clone_from(&text);
                events.push(AgentEvent::Message { text });
            }
            "reasoning" => events.push(AgentEvent::Thinking { text: part.text.into_text()? }),
            "tool_use" => events.extend(self.tool(&part)),
            "step_finish" => events.extend(self.step_finish(&part)),
            _ => {
                self.run.fail(&line.error.0);
                let text = line.error.0.data.0.message.text();
                events.push(AgentEvent::Ended { ok: false, text });
            }
        }
        Some(events)
    }

    fn last_words(&mut self) -> &mut LastWords {
        &mut self.run.last_words
    }

    fn verdict(&self, exit: StepExit) -> AgentVerdict {
        judge(&self.run, exit)
    }
}

impl OpencodeParser {
    pub(super) fn new(working_dir: &Path) -> Self {
        Self { run: Run::default(), working_dir: working_dir.to_owned() }
    }

    fn step_finish(&mut self, part: &Part) -> Vec<AgentEvent> {
        self.run.end_step(part);
        let tokens = &part.tokens.0;
        let parts = [&tokens.input, &tokens.cache.0.read, &tokens.cache.0.write];
        let context_tokens = parts.iter().filter_map(|part| part.as_count()).fold(0, u64::saturating_add);
        let mut events = vec![AgentEvent::Progress {
            turns: self.run.turns(),
            context_tokens,
            files: None,
            cost_usd_micros: self.run.cost_usd_micros(),
        }];
        if part.reason.as_str() == Some("stop") {
            events.push(AgentEvent::Ended { ok: true, text: self.run.said.clone() });
        }
        events
    }

    /// A tool use is told when it is over.
    fn tool(&mut self, part: &Part) -> Vec<AgentEvent> {
        let (id, name, state) = (part.call_id.text(), part.tool.text(), &part.state.0);
        let summary = self.summary(&state.input.0);
        let used = AgentEvent::ToolUse { id: id.clone(), name: name.clone(), summary: summary.clone() };
        let ok = state.status.as_str() == Some("completed");
        let told = if ok { &state.output } else { &state.error };
        let told = told.as_str().unwrap_or_default();
        let mut events = vec![used];
        let tool = one_line(&name, 100);
        if told.starts_with(DENIED) && !ok {
            let writes = EDITORS.contains(&name.as_str());
            self.run.tools.deny(Denial { tool, tool_use_id: one_line(&id, 100), summary, writes });
            events.push(AgentEvent::Denied { tool: name, message: head(told, TOOL_SUMMARY_BYTES_MAX) });
        } else if told.starts_with(ASKED) && !ok {
            self.run.asked_for = Some(tool);
            events.push(AgentEvent::NeedsInput { tool: name });
        } else {
            self.run.tools.permit();
        }
        events.push(AgentEvent::ToolResult { id, ok, summary: head(told, TOOL_RESULT_BYTES_MAX) });
        events
    }

    fn summary(&self, input: &ToolInput) -> String {
        let fields =
            [&input.file_path, &input.command, &input.pattern, &input.path, &input.url, &input.description];
        let told = fields.into_iter().find_map(Scalar::as_str).unwrap_or_default();
        one_line(below(told, &self.working_dir), TOOL_SUMMARY_BYTES_MAX)
    }
}
