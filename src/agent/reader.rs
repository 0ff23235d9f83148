//! Both streams of one step, from raw bytes to events.

use super::invocation::is_session_id;
use super::text::one_line;
use super::{AgentEvent, AgentVerdict, Line, LineSplitter, StepExit, Stream, StreamParser};

/// A version, a model, where a credential is from: those of real agents have 40 bytes.
const NAME_BYTES_MAX: usize = 200;

/// A parser with a line splitter per stream in front of it: feed it what was read, in the order it was read.
///
/// After a restart of the server feed it the whole log again and drop the events that were seen before: the
/// verdict depends on the beginning (session, login) as much as on the end.
pub struct AgentReader {
    parser: Box<dyn StreamParser>,
    stdout: LineSplitter,
    stderr: LineSplitter,
}

impl AgentReader {
    #[must_use]
    pub fn new(parser: Box<dyn StreamParser>) -> Self {
        Self { parser, stdout: LineSplitter::default(), stderr: LineSplitter::default() }
    }

    /// Takes the next bytes of one stream and gives the events of the lines they complete.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        let parser = &mut self.parser;
        let splitter = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        splitter.push(bytes, |line| events.extend(read_line(parser.as_mut(), stream, &line)));
        events
    }

    /// Ends both streams: the events of unterminated last lines, and the verdict.
    pub fn finish(mut self, exit: StepExit) -> (Vec<AgentEvent>, AgentVerdict) {
        let mut events = Vec::new();
        for (stream, splitter) in [(Stream::Stdout, &mut self.stdout), (Stream::Stderr, &mut self.stderr)] {
            if let Some(line) = splitter.finish() {
                events.extend(read_line(self.parser.as_mut(), stream, &line));
            }
        }
        let mut verdict = self.parser.finish(exit);
        keep_ids(&mut verdict.session_id);
        let AgentVerdict { auth_source, agent_version, model, .. } = &mut verdict;
        keep_names([auth_source, agent_version, model]);
        (events, verdict)
    }
}

fn read_line(parser: &mut dyn StreamParser, stream: Stream, line: &Line) -> Vec<AgentEvent> {
    let mut events = parser.line(stream, &line.bytes);
    for event in &mut events {
        if let AgentEvent::Started { session_id, model, version, auth } = event {
            keep_ids(session_id);
            keep_names([model, version, auth]);
        }
    }
    if line.dropped_bytes > 0 {
        events.push(AgentEvent::Notice {
            text: format!("the line above was too long, {} bytes of it were dropped", line.dropped_bytes),
        });
    }
    events
}

/// Only what can be one.
fn keep_ids(id: &mut Option<String>) {
    id.take_if(|id| !is_session_id(id));
}

/// They are stored and shown as they are.
fn keep_names(names: [&mut Option<String>; 3]) {
    for name in names.into_iter().flatten() {
        *name = one_line(name, NAME_BYTES_MAX);
    }
}
