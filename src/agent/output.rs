//! What a command of the owner writes: plain lines, of which the end is kept.

use super::text::visible_bytes;
use super::verdict::{AgentOutcome, AgentVerdict, StepExit};
use super::{AgentEvent, EVENT_TEXT_BYTES_MAX, Fault, Stream, StreamParser};

/// Bytes of the end that is kept: a failing test with its trace, and little beside an answer of the API.
const TAIL_BYTES_MAX: usize = 4 * 1024;

/// Reads the output of a command that is no agent. The text of its verdict is the end of both streams, as they came.
#[must_use]
pub fn command_output() -> Box<dyn StreamParser> {
    Box::<CommandOutput>::default()
}

#[derive(Debug, Default)]
struct CommandOutput {
    tail: String,
}

impl StreamParser for CommandOutput {
    fn line(&mut self, stream: Stream, line: &[u8]) -> Vec<AgentEvent> {
        if line.trim_ascii().is_empty() {
            return Vec::new();
        }
        let text = visible_bytes(line, EVENT_TEXT_BYTES_MAX);
        self.tail.push_str(&text);
        self.tail.push('\n');
        let mut over = self.tail.len().saturating_sub(TAIL_BYTES_MAX);
        while !self.tail.is_char_boundary(over) {
            over += 1;
        }
        self.tail.drain(..over);
        vec![AgentEvent::Output { stream, text }]
    }

    fn finish(&self, exit: StepExit) -> AgentVerdict {
        let tail = self.tail.trim_end().to_owned();
        let outcome = if exit.succeeded() {
            AgentOutcome::Succeeded { summary: tail }
        } else {
            AgentOutcome::Failed { fault: Fault::Crashed, message: tail }
        };
        AgentVerdict::plain(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_both_streams_is_kept_and_bounded() {
        let mut parser = command_output();
        for number in 0..2_000 {
            let stream = if number % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            parser.line(stream, format!("line ä {number}\u{1b}[0m").as_bytes());
        }
        let verdict = parser.finish(StepExit { code: Some(1), signal: None });
        let AgentOutcome::Failed { message, .. } = verdict.outcome else { panic!("it failed") };
        assert!(message.ends_with("line ä 1998\\x1b[0m\nline ä 1999\\x1b[0m"), "{message}");
        assert!((TAIL_BYTES_MAX - 100..=TAIL_BYTES_MAX).contains(&message.len()), "{}", message.len());
    }
}
