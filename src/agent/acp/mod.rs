//! Agents that speak the Agent Client Protocol and need somebody to speak with: `offshoot acp` (`src/acp`) does, as the
//! program of the step.
//!
//! Promises: an argument vector in which no value can become a flag, with the agent's own command at its end; the prompt on
//! standard input; nobody is ever asked; events and a verdict from the agent's updates and the lines that stand between them.
//! Which agent it is it does not know: what one can and another cannot is found out in the conversation, and told as its failure.
//! Must not know: how the process is run. Fails: for a session id that is empty. Tested: the argument table here,
//! events and verdicts against recorded transcripts of gemini and opencode in `tests/it/agent_acp.rs`.

mod shapes;
mod stream;
mod tools;
mod verdict;

use super::capabilities::ALL_MODES;
use super::{
    Agent, AgentCommand, AgentError, Capabilities, Invocation, OwnPlaces, ProbeSpec, Session, StreamParser,
    Version,
};
use crate::domain::agent_kind::AgentKind;
use crate::domain::inward::Hears;
use crate::domain::options::OptionName;
use std::collections::BTreeMap;
use std::path::Path;

/// The adapter of kind `acp`.
#[derive(Clone, Copy, Debug)]
pub struct Acp;

/// What this program is called with when it speaks for an agent; the agent's own command follows.
const SPEAKER: &[&str] = &["acp", "--"];

/// What its answer to a look begins with; the agent's name and version follow where it tells them.
const LOOKED_AT: &str = "ACP ";

impl Agent for Acp {
    fn kind(&self) -> AgentKind {
        AgentKind::Acp
    }

    /// What every agent of this protocol can be asked for; whether this one does it is known when it runs.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            resume: true,
            names_session: false,
            // some do, and it is counted; none can be relied on to do it in time
            cost: false,
            counts_whole_session: false,
            hears: Hears::BetweenTurns,
            structured_events: true,
            tells_denials: true,
            options: &[OptionName::Model, OptionName::PermissionMode, OptionName::AppendSystemPrompt],
            permission_modes: ALL_MODES,
            efforts: &[],
        }
    }

    fn speaker(&self) -> &'static [&'static str] {
        SPEAKER
    }

    fn command(&self, invocation: &Invocation) -> Result<AgentCommand, AgentError> {
        invocation.check()?;
        let mode = match invocation.permission_mode.as_deref() {
            Some(mode) => mode,
            None if invocation.sandboxed => "bypassPermissions",
            None => "acceptEdits",
        };
        let mut options = vec![format!("--mode={mode}")];
        options.extend(invocation.model.as_ref().map(|model| format!("--model={model}")));
        if let Session::Resume { id } = &invocation.session {
            if id.is_empty() {
                return Err(AgentError::SessionId(id.clone()));
            }
            options.push(format!("--resume={id}"));
        }
        options.extend(invocation.attachments_dir().map(|dir| format!("--directory={}", dir.display())));
        if options.iter().any(|argument| argument.contains('\0')) {
            return Err(AgentError::Nul("run options"));
        }
        let argv = with_options(&invocation.program, options);
        let mut env = invocation.base_env();
        if invocation.sandboxed {
            // claude's own speaker refuses bypassPermissions as root without it
            env.push(("IS_SANDBOX".to_owned(), "1".to_owned()));
        }
        Ok(AgentCommand { argv, env, stdin: invocation.prompt_behind_instructions() })
    }

    /// Those of the kind that the program's name tells: gemini is the same program whichever way it speaks.
    fn own_places_of(&self, program: &[String], env: &BTreeMap<String, String>) -> OwnPlaces {
        let name = program.iter().find_map(|word| known_by_name(word));
        name.map(|kind| super::registry::find_agent(kind).own_places(env)).unwrap_or_default()
    }

    fn parser(&self, working_dir: &Path) -> Box<dyn StreamParser> {
        Box::new(stream::AcpParser::new(working_dir))
    }

    /// It is asked who it is in the words of the protocol. The version of those is what has to fit, and that is agreed on there.
    fn probe(&self, program: &[String]) -> Option<ProbeSpec> {
        Some(ProbeSpec {
            version_argv: with_options(program, vec!["--probe".to_owned()]),
            version_min: Version::new(0, 0, 0),
            parse_version: |printed| {
                let who = printed.lines().find_map(|line| line.strip_prefix(LOOKED_AT))?;
                // it answered, and that is enough
                Some(Version::find_in(who).unwrap_or(Version::new(0, 0, 0)))
            },
            auth: None,
        })
    }
}

/// `program` begins with this program and [`SPEAKER`]; the options go before the dashes.
fn with_options(program: &[String], options: Vec<String>) -> Vec<String> {
    let at = program.len().min(SPEAKER.len());
    let (speaker, agent) = program.split_at(at);
    speaker.iter().cloned().chain(options).chain(agent.iter().cloned()).collect()
}

fn known_by_name(word: &str) -> Option<AgentKind> {
    let name = Path::new(word).file_stem()?.to_str()?;
    let kinds = [AgentKind::Claude, AgentKind::Codex, AgentKind::Opencode, AgentKind::Gemini];
    kinds.into_iter().find(|kind| {
        name.strip_prefix(kind.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    })
}

#[cfg(test)]
mod tests;
