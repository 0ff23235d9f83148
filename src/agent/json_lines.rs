//! What the agents have in common that print one JSON object a line: what is no event stays output, and what they print on
//! stderr may be the only word on why they gave up.

use serde::de::DeserializeOwned;

use super::last_words::LastWords;
use super::text::visible_bytes;
use super::{AgentEvent, AgentVerdict, EVENT_TEXT_BYTES_MAX, StepExit, Stream, StreamParser};

/// A tool's command or path on one line; longer ones are cut, the whole stays in the log.
pub(super) const TOOL_SUMMARY_BYTES_MAX: usize = 300;

/// A tool's result is often a whole file or a build's output; a screen of it says whether it worked.
pub(super) const TOOL_RESULT_BYTES_MAX: usize = 2 * 1024;

/// Reads the events of one process. Everything that implements it is a [`StreamParser`].
pub(super) trait JsonLines: Send + Sync {
    /// What a line may hold.
    type Line: DeserializeOwned;

    /// `None` when the type is not known: the line is output.
    fn event(&mut self, line: Box<Self::Line>) -> Option<Vec<AgentEvent>>;

    fn last_words(&mut self) -> &mut LastWords;

    /// What a line on stderr tells beside being output, for agents that say something there alone.
    fn told_aside(&mut self, _text: &str) -> Option<AgentEvent> {
        None
    }

    fn verdict(&self, exit: StepExit) -> AgentVerdict;
}

impl<T: JsonLines> StreamParser for T {
    fn line(&mut self, stream: Stream, line: &[u8]) -> Vec<AgentEvent> {
        if line.trim_ascii().is_empty() {
            return Vec::new();
        }
        if stream == Stream::Stdout
            && let Some(events) = parse(line).and_then(|event| self.event(event))
        {
            return events;
        }
        let text = visible_bytes(line, EVENT_TEXT_BYTES_MAX);
        if stream == Stream::Stderr {
            self.last_words().push(&text);
            if let Some(event) = self.told_aside(&text) {
                return vec![event];
            }
        }
        vec![AgentEvent::Output { stream, text }]
    }

    fn finish(&self, exit: StepExit) -> AgentVerdict {
        self.verdict(exit)
    }
}

/// An event is a JSON object; a list or a bare value is somebody else's output.
fn parse<L: DeserializeOwned>(line: &[u8]) -> Option<Box<L>> {
    line.trim_ascii_start()
        .starts_with(b"{")
        .then(|| serde_json::from_slice(line).ok().map(Box::new))
        .flatten()
}
