//! Gemini CLI without a screen: `gemini --output-format stream-json`.
//!
//! Promises: an argument vector in which no value can become a flag; the prompt on standard input; nobody is ever asked:
//! tools that would need an approval are not even offered to the model; events and a verdict from its JSON lines, as
//! observed with 0.61.0. Must not know: how the process is run. Fails: for a session id that is no UUID. Tested: the
//! argument table here, events and verdicts against recorded transcripts in `tests/it`.

mod shapes;
mod stream;
pub(super) mod verdict;
mod waits;

use super::capabilities::ALL_MODES;
use super::{
    Agent, AgentCommand, AgentError, BASE_ENVIRONMENT_NAMES, Capabilities, Invocation, Missing, OwnPlaces,
    ProbeSpec, Session, StreamParser, Version, base_names_and, below, kept, place, with_arguments,
};
use crate::domain::agent_kind::AgentKind;
use crate::domain::inward::Hears;
use crate::domain::options::OptionName;
use std::collections::BTreeMap;
use std::path::Path;

/// The adapter of kind `gemini`.
#[derive(Clone, Copy, Debug)]
pub struct Gemini;

/// The oldest one that was run (a job) when this was measured with 0.61.0. Below 1.0 each release may change any flag or
/// event, so nothing is assumed of older ones.
const VERSION_MIN: Version = Version::new(0, 45, 2);

const ENVIRONMENT_NAMES: [&str; BASE_ENVIRONMENT_NAMES.len() + 2] =
    base_names_and(&["GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"]);

/// What it takes servers, hooks, commands, variables and instructions from.
const KEPT: &[(&str, Missing)] = &[
    ("settings.json", Missing::File("{}\n")),
    ("trustedFolders.json", Missing::File("{}\n")),
    (".env", Missing::File("")),
    ("GEMINI.md", Missing::File("")),
    ("system.md", Missing::File("")),
    ("memory.md", Missing::File("")),
    ("extension_integrity.json", Missing::File("{}\n")),
    ("agents", Missing::Dir),
    ("antigravity", Missing::Dir),
    ("antigravity-cli", Missing::Dir),
    ("config", Missing::Dir),
    ("commands", Missing::Dir),
    ("extensions", Missing::Dir),
    ("hooks", Missing::Dir),
    ("policies", Missing::Dir),
    ("skills", Missing::Dir),
];

/// Programs that it fetches, and repositories that it calls git for.
const FRESH: &[&str] = &["tmp/bin", "history"];

impl Agent for Gemini {
    fn kind(&self) -> AgentKind {
        AgentKind::Gemini
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            resume: true,
            names_session: true,
            cost: false,
            counts_whole_session: false,
            hears: Hears::BetweenTurns,
            structured_events: true,
            tells_denials: false,
            options: &[OptionName::Model, OptionName::PermissionMode, OptionName::AppendSystemPrompt],
            permission_modes: ALL_MODES,
            efforts: &[],
        }
    }

    fn command(&self, invocation: &Invocation) -> Result<AgentCommand, AgentError> {
        invocation.check()?;
        invocation.session.check_uuid()?;
        let mode = match invocation.permission_mode.as_deref() {
            Some("plan") => "plan",
            Some("default") => "default",
            Some("bypassPermissions") => "yolo",
            None if invocation.sandboxed => "yolo",
            Some(_) | None => "auto_edit",
        };
        // a worktree is new to it each time, and an untrusted folder makes it wait
        let mut argv = with_arguments(&invocation.program, &["--skip-trust", "--output-format=stream-json"]);
        argv.push(format!("--approval-mode={mode}"));
        argv.push(match &invocation.session {
            Session::New { id } => format!("--session-id={id}"),
            Session::Resume { id } => format!("--resume={id}"),
        });
        argv.extend(invocation.model.as_ref().map(|model| format!("--model={model}")));
        // it reads nothing outside of its directories
        argv.extend(
            invocation.attachments_dir().map(|dir| format!("--include-directories={}", dir.display())),
        );
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err(AgentError::Nul("run options"));
        }
        let mut env = invocation.base_env();
        // else it starts itself a second time, and a signal has to find its way to the second one
        env.push(("GEMINI_CLI_NO_RELAUNCH".to_owned(), "true".to_owned()));
        Ok(AgentCommand { argv, env, stdin: invocation.prompt_behind_instructions() })
    }

    /// Its login and settings are below `HOME`; a login with Google may need the project. `GEMINI_API_KEY` is not here: an
    /// entry that is meant to use it names it.
    fn environment_names(&self) -> &'static [&'static str] {
        &ENVIRONMENT_NAMES
    }

    fn own_places(&self, env: &BTreeMap<String, String>) -> OwnPlaces {
        let dirs: Vec<_> = place(env, "", ".gemini", "").into_iter().collect();
        OwnPlaces { kept: kept(&dirs, KEPT), fresh: below(&dirs, FRESH), dirs, ..OwnPlaces::default() }
    }

    fn by_hand(&self, session_id: &str) -> Option<Vec<String>> {
        Some(vec![format!("--resume={session_id}")])
    }

    fn parser(&self, working_dir: &Path) -> Box<dyn StreamParser> {
        Box::new(stream::GeminiParser::new(working_dir))
    }

    /// It has no command that tells about its login.
    fn probe(&self, program: &[String]) -> Option<ProbeSpec> {
        Some(ProbeSpec {
            version_argv: with_arguments(program, &["--version"]),
            version_min: VERSION_MIN,
            parse_version: Version::find_in,
            auth: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests as shared;

    fn invocation() -> Invocation {
        Invocation {
            prompt: "/quit and fix it".to_owned(),
            permission_mode: Some("acceptEdits".to_owned()),
            append_system_prompt: Some("Do not push.".to_owned()),
            as_root: true,
            ..shared::invocation("gemini")
        }
    }

    #[test]
    fn the_argument_table() {
        type Change = fn(&mut Invocation);
        let rows: [(Change, &[&str]); 8] = [
            (|_| {}, &["auto_edit", "--session-id=shared::SESSION"]),
            (|i| i.permission_mode = Some("plan".to_owned()), &["plan", "--session-id=shared::SESSION"]),
            (
                |i| i.permission_mode = Some("default".to_owned()),
                &["default", "--session-id=shared::SESSION"],
            ),
            (
                |i| i.permission_mode = Some("bypassPermissions".to_owned()),
                &["yolo", "--session-id=shared::SESSION"],
            ),
            (
                |i| {
                    i.permission_mode = None;
                    i.sandboxed = true;
                },
                &["yolo", "--session-id=shared::SESSION"],
            ),
            (
                |i| i.session = Session::Resume { id: shared::SESSION.to_owned() },
                &["auto_edit", "--resume=shared::SESSION"],
            ),
            (
                |i| i.model = Some("--yolo".to_owned()),
                &["auto_edit", "--session-id=shared::SESSION", "--model=--yolo"],
            ),
            (
                |i| i.attachments = vec!["/d/7/attachments/x".into()],
                &["auto_edit", "--session-id=shared::SESSION", "--include-directories=/d/7/attachments"],
            ),
        ];
        for (change, expected) in rows {
            let mut given = invocation();
            change(&mut given);
            let argv = Gemini.command(&given).unwrap().argv;
            assert_eq!(argv[..3], ["gemini", "--skip-trust", "--output-format=stream-json"]);
            let expected: Vec<String> =
                expected.iter().map(|option| option.replace("shared::SESSION", shared::SESSION)).collect();
            assert_eq!(argv[3].strip_prefix("--approval-mode="), Some(expected[0].as_str()));
            assert_eq!(argv[4..], expected[1..]);
        }
    }

    #[test]
    fn the_prompt_is_on_standard_input_behind_the_instructions() {
        let command = Gemini.command(&invocation()).unwrap();
        assert_eq!(command.stdin, "Do not push.\n\n/quit and fix it");
        assert!(!command.argv.iter().any(|argument| argument.contains("fix it")));
        assert!(command.env.iter().any(|(name, _)| name == "GEMINI_CLI_NO_RELAUNCH"));
    }

    #[test]
    fn what_gemini_cannot_take_is_refused_before_the_start() {
        for id in ["latest", "5", ""] {
            let given = Invocation { session: Session::Resume { id: id.to_owned() }, ..invocation() };
            assert_eq!(Gemini.command(&given), Err(AgentError::SessionId(id.to_owned())));
        }
        let given = Invocation { model: Some("a\0b".to_owned()), ..invocation() };
        assert_eq!(Gemini.command(&given), Err(AgentError::Nul("run options")));
    }

    #[test]
    fn it_is_asked_for_its_version_alone_and_given_no_key() {
        let probe = Gemini.probe(&["gemini".to_owned()]).unwrap();
        assert_eq!((probe.parse_version)("0.61.0\n"), Some(Version::new(0, 61, 0)));
        assert!(probe.auth.is_none());
        for name in Gemini.environment_names() {
            assert!(!name.contains("KEY") && !name.contains("TOKEN"), "{name}");
        }
    }
}
