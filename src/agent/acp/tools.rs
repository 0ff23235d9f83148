//! The tool uses of one turn: an agent tells of each in several lines, some of them before it knows what it is about to do.

use std::path::Path;

use super::shapes::{Block, Update};
use crate::agent::json_lines::{TOOL_RESULT_BYTES_MAX, TOOL_SUMMARY_BYTES_MAX};
use crate::agent::lenient::{Content, Scalar};
use crate::agent::text::{below, head, one_line};
use crate::agent::{AgentEvent, Newest};

/// The newest uses, over or not: what is said of an older one tells of a new one.
const USES_MAX: usize = 4_000;

/// Kinds of tools that write files, and do nothing else.
const WRITERS: [&str; 3] = ["delete", "edit", "move"];

/// What is known of the uses so far, by their ids.
#[derive(Debug)]
pub(super) struct Tools(Newest<Use>);

impl Default for Tools {
    fn default() -> Self {
        Self(Newest::new(USES_MAX))
    }
}

#[derive(Debug, Default)]
struct Use {
    name: String,
    title: String,
    kind: String,
    argument: String,
    is_told: bool,
    is_over: bool,
}

/// A use that was not permitted.
pub(super) struct Refused {
    pub(super) tool: String,
    pub(super) summary: String,
    pub(super) writes: bool,
    pub(super) events: Vec<AgentEvent>,
}

impl Tools {
    /// What a line tells of a use: that it began, once it says what it is, and that it is over. The second value: it was permitted, and
    /// this is its end.
    pub(super) fn update(&mut self, update: &Update, working_dir: &Path) -> (Vec<AgentEvent>, bool) {
        let Some((id, used)) = self.of(update) else { return (Vec::new(), false) };
        used.learn(update, working_dir);
        if used.is_over {
            return (Vec::new(), false);
        }
        let status = update.status.as_str().unwrap_or_default();
        let ends = matches!(status, "completed" | "failed");
        let mut events = Vec::new();
        if ends || status == "in_progress" || !used.argument.is_empty() {
            events.extend(used.told(id));
        }
        if ends {
            used.is_over = true;
            let summary = head(&result(&update.content, working_dir), TOOL_RESULT_BYTES_MAX);
            events.push(AgentEvent::ToolResult { id: id.to_owned(), ok: status == "completed", summary });
        }
        (events, ends)
    }

    /// A question about a use: it begins with it at the latest.
    pub(super) fn question(&mut self, tool_call: &Update, working_dir: &Path) -> Vec<AgentEvent> {
        let Some((id, used)) = self.of(tool_call) else { return Vec::new() };
        used.learn(tool_call, working_dir);
        used.told(id).into_iter().collect()
    }

    /// The question was answered with a no, or not at all: the use is over, whatever is said of it later.
    pub(super) fn refuse(&mut self, id: &str) -> Refused {
        let mut unknown = Use::default();
        let (used, events) = match self.0.at(id) {
            Some(used) => {
                let begun = used.told(id).into_iter();
                let ended = AgentEvent::ToolResult { id: id.to_owned(), ok: false, summary: String::new() };
                (&mut *used, begun.chain([ended]).collect())
            }
            // of one whose id is too long no event tells
            None => (&mut unknown, Vec::new()),
        };
        used.is_over = true;
        Refused {
            tool: one_line(used.name(), 100),
            summary: used.summary(),
            writes: WRITERS.contains(&used.kind.as_str()),
            events,
        }
    }

    /// `None`: it has no id, or one that is too long for anybody to make something of it.
    fn of<'a>(&mut self, update: &'a Update) -> Option<(&'a str, &mut Use)> {
        let id = update.tool_call_id.as_str()?;
        Some((id, self.0.at(id)?))
    }
}

impl Use {
    fn learn(&mut self, update: &Update, working_dir: &Path) {
        let keep = |place: &mut String, told: Option<&str>| {
            if let Some(text) = told.filter(|text| !text.is_empty()) {
                *place = one_line(below(text, working_dir), TOOL_SUMMARY_BYTES_MAX);
            }
        };
        keep(&mut self.name, update.name.as_str());
        keep(&mut self.title, update.title.as_str());
        keep(&mut self.kind, update.kind.as_str());
        let input = &update.raw_input.0;
        let arguments = [
            &input.command,
            &input.file_path,
            &input.file_path_of_claude,
            &input.path,
            &input.pattern,
            &input.query,
            &input.url,
        ];
        keep(&mut self.argument, arguments.into_iter().find_map(Scalar::as_str));
    }

    fn told(&mut self, id: &str) -> Option<AgentEvent> {
        let is_new = !std::mem::replace(&mut self.is_told, true);
        is_new.then(|| AgentEvent::ToolUse {
            id: id.to_owned(),
            name: self.name().to_owned(),
            summary: self.summary(),
        })
    }

    /// The tool's own name where the agent tells it, else what kind of tool it is.
    fn name(&self) -> &str {
        [&self.name, &self.kind].into_iter().find(|text| !text.is_empty()).map_or("tool", String::as_str)
    }

    fn summary(&self) -> String {
        [&self.argument, &self.title].into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default()
    }
}

fn result(content: &Content<Block>, working_dir: &Path) -> String {
    let blocks = match content {
        Content::Text(text) => return text.clone(),
        Content::Blocks(blocks) => blocks,
    };
    let text = |block: &Block| match block.r#type.as_str() {
        Some("diff") => block.path.as_str().map(|path| format!("changed {}", below(path, working_dir))),
        _ => block.content.0.text.as_str().or(block.text.as_str()).map(str::to_owned),
    };
    blocks.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}
