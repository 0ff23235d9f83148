//! Any program as an agent: the prompt on standard input, every line is output, the exit code decides.

use super::text::{visible, visible_bytes};
use super::verdict::{AgentOutcome, AgentVerdict, StepExit};
use super::{
    Agent, AgentCommand, AgentError, AgentEvent, Capabilities, EVENT_TEXT_BYTES_MAX, Invocation, ProbeSpec,
    Stream, StreamParser,
};
use crate::domain::agent_kind::AgentKind;
use std::path::Path;

/// The adapter of kind `command`. Model, tools, limits and session mean nothing to it and are not passed on.
#[derive(Clone, Copy, Debug)]
pub struct Command;

impl Agent for Command {
    fn kind(&self) -> AgentKind {
        AgentKind::Command
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn command(&self, invocation: &Invocation) -> Result<AgentCommand, AgentError> {
        invocation.check()?;
        Ok(AgentCommand {
            argv: invocation.program.clone(),
            env: invocation.base_env(),
            stdin: invocation.prompt.clone(),
        })
    }

    fn parser(&self, _working_dir: &Path) -> Box<dyn StreamParser> {
        Box::<PlainParser>::default()
    }

    fn probe(&self, _program: &[String]) -> Option<ProbeSpec> {
        None
    }
}

#[derive(Debug, Default)]
struct PlainParser {
    last_stdout: String,
    last_stderr: String,
}

impl StreamParser for PlainParser {
    fn line(&mut self, stream: Stream, line: &[u8]) -> Vec<AgentEvent> {
        if line.trim_ascii().is_empty() {
            return Vec::new();
        }
        let text = visible_bytes(line, EVENT_TEXT_BYTES_MAX);
        let last = match stream {
            Stream::Stdout => &mut self.last_stdout,
            Stream::Stderr => &mut self.last_stderr,
        };
        last.clone_from(&text);
        vec![AgentEvent::Output { stream, text }]
    }

    fn finish(&self, exit: StepExit) -> AgentVerdict {
        let outcome = if exit.succeeded() {
            AgentOutcome::Succeeded { summary: visible(&self.last_stdout, EVENT_TEXT_BYTES_MAX) }
        } else {
            let said = if self.last_stderr.is_empty() { &self.last_stdout } else { &self.last_stderr };
            let (fault, message) = exit.fault(said);
            AgentOutcome::Failed { fault, message }
        };
        AgentVerdict::plain(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Fault;

    #[test]
    fn the_exit_code_decides() {
        let mut parser = Command.parser(Path::new("/w"));
        let events = parser.line(Stream::Stdout, b"{\"type\":\"result\",\"is_error\":false}");
        assert!(matches!(&events[..], [AgentEvent::Output { stream: Stream::Stdout, .. }]));
        parser.line(Stream::Stderr, b"no such file\xff");
        let good = parser.finish(StepExit { code: Some(0), signal: None });
        assert!(matches!(good.outcome, AgentOutcome::Succeeded { .. }));
        let bad = parser.finish(StepExit { code: Some(2), signal: None });
        assert_eq!(
            bad.outcome,
            AgentOutcome::Failed {
                fault: Fault::Crashed,
                message: "the agent exited with code 2: no such file\\xff".to_owned()
            }
        );
    }
}
