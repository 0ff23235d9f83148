//! Claude Code in print mode: `claude --print --output-format=stream-json --verbose`.
//!
//! Promises: an argument vector in which no value can become a flag; events and a verdict from its stream-json, as
//! observed with 2.1.329. Must not know: how the process is run. Fails: only where Claude itself is known to refuse.
//! Tested: the argument table here, shapes and verdicts against recorded transcripts in `tests/it`.

mod shapes;
mod stream;
mod tool;
pub(super) mod verdict;

use super::capabilities::{ALL_EFFORTS, ALL_MODES};
use super::{
    AGENT_OPTIONS, Agent, AgentCommand, AgentError, AuthProbe, AuthState, BASE_ENVIRONMENT_NAMES,
    Capabilities, Invocation, Missing, OwnPlaces, ProbeSpec, Session, StreamParser, Version, base_names_and,
    below, kept, place, with_arguments,
};
use crate::domain::agent_kind::AgentKind;
use crate::domain::inward::Hears;
use serde::Deserialize as _;
use std::collections::BTreeMap;
use std::path::Path;

/// The adapter of kind `claude`.
#[derive(Clone, Copy, Debug)]
pub struct Claude;

/// Tools that a run without a sandbox may use when its owner named none: reading and editing inside the checkout,
/// and the git commands that record work but publish nothing. `Bash(git status *)` covers the bare command, too
/// (measured with 2.1.329).
pub const DEFAULT_ALLOWED_TOOLS: &[&str] = &[
    "Read",
    "Edit",
    "Write",
    "NotebookEdit",
    "Glob",
    "Grep",
    "Bash(git add *)",
    "Bash(git commit *)",
    "Bash(git status *)",
    "Bash(git diff *)",
    "Bash(git log *)",
];

/// Tools that no run may use: they reach other runs of the same user, or move the work out of the checkout in which
/// it is expected.
pub const ALWAYS_DISALLOWED_TOOLS: &[&str] = &["ListAgents", "SendMessage", "EnterWorktree", "ExitWorktree"];

/// Takes away the instruction to sign commits as co-author: the owner's commits are the owner's.
const SETTINGS: &str = r#"{"includeCoAuthoredBy":false}"#;

/// The beginning of the release line that was measured (2.1.329). Older ones are not known to have all these flags.
const VERSION_MIN: Version = Version::new(2, 1, 0);

/// Its own file of settings, projects and servers.
const CONFIG: &str = ".claude.json";
/// Its name of old, in the directory: where it is, it is taken instead, whatever it is.
const OLD_CONFIG: &str = ".config.json";

/// What it takes hooks, servers, commands and instructions from.
const KEPT: &[(&str, Missing)] = &[
    ("settings.json", Missing::File("{}\n")),
    ("settings.local.json", Missing::File("{}\n")),
    ("remote-settings.json", Missing::File("{}\n")),
    ("CLAUDE.md", Missing::File("")),
    ("agents", Missing::Dir),
    ("chrome", Missing::Dir),
    ("commands", Missing::Dir),
    ("hooks", Missing::Dir),
    ("output-styles", Missing::Dir),
    ("plugins", Missing::Dir),
    ("rules", Missing::Dir),
    ("scheduled-tasks", Missing::Dir),
    ("skills", Missing::Dir),
    ("workflows", Missing::Dir),
    ("local", Missing::Nothing),
    (OLD_CONFIG, Missing::Nothing),
];

/// Scripts that it writes and then reads into each shell; the doors of open editors and of other sessions.
const FRESH: &[&str] = &["shell-snapshots", "session-env", "ide", "sessions"];

const ACCEPT_EDITS: &str = "acceptEdits";
const BYPASS_PERMISSIONS: &str = "bypassPermissions";

const ENVIRONMENT_NAMES: [&str; BASE_ENVIRONMENT_NAMES.len() + 1] = base_names_and(&["CLAUDE_CONFIG_DIR"]);

impl Agent for Claude {
    fn kind(&self) -> AgentKind {
        AgentKind::Claude
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            resume: true,
            names_session: true,
            cost: true,
            counts_whole_session: false,
            hears: Hears::BetweenTurns,
            structured_events: true,
            tells_denials: true,
            options: AGENT_OPTIONS,
            permission_modes: ALL_MODES,
            efforts: ALL_EFFORTS,
        }
    }

    fn command(&self, invocation: &Invocation) -> Result<AgentCommand, AgentError> {
        invocation.check()?;
        invocation.session.check_uuid()?;
        let mode = permission_mode(invocation);
        if mode == BYPASS_PERMISSIONS && invocation.as_root && !invocation.sandboxed {
            return Err(AgentError::BypassAsRoot);
        }
        let mut argv = invocation.program.clone();
        argv.extend(["--print", "--output-format=stream-json", "--verbose"].map(str::to_owned));
        argv.extend(options(invocation, mode));
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err(AgentError::Nul("run options"));
        }
        let mut env = invocation.base_env();
        // A run must not replace the program under its siblings' feet.
        env.push(("DISABLE_AUTOUPDATER".to_owned(), "1".to_owned()));
        if invocation.sandboxed {
            env.push(("IS_SANDBOX".to_owned(), "1".to_owned()));
        }
        Ok(AgentCommand { argv, env, stdin: invocation.full_prompt() })
    }

    /// `CLAUDE_CONFIG_DIR` holds the login. `ANTHROPIC_API_KEY` and its kin are not here: an entry that is meant to
    /// use them names them.
    fn environment_names(&self) -> &'static [&'static str] {
        &ENVIRONMENT_NAMES
    }

    fn own_places(&self, env: &BTreeMap<String, String>) -> OwnPlaces {
        let dirs: Vec<_> = place(env, "CLAUDE_CONFIG_DIR", ".claude", "").into_iter().collect();
        // where no directory is named it lies beside the usual one
        let is_named = env.get("CLAUDE_CONFIG_DIR").is_some_and(|value| !value.is_empty());
        let named = place(env, "CLAUDE_CONFIG_DIR", "", CONFIG).filter(|_| is_named);
        OwnPlaces {
            files: place(env, "", CONFIG, "").into_iter().chain(named).collect(),
            kept: kept(&dirs, KEPT),
            fresh: below(&dirs, FRESH),
            absent: below(&dirs, &[OLD_CONFIG]),
            dirs,
            ..OwnPlaces::default()
        }
    }

    fn by_hand(&self, session_id: &str) -> Option<Vec<String>> {
        Some(vec![format!("--resume={session_id}")])
    }

    /// It says itself where it works.
    fn parser(&self, _working_dir: &Path) -> Box<dyn StreamParser> {
        Box::<stream::ClaudeParser>::default()
    }

    fn probe(&self, program: &[String]) -> Option<ProbeSpec> {
        let with = |arguments: &[&str]| with_arguments(program, arguments);
        Some(ProbeSpec {
            version_argv: with(&["--version"]),
            version_min: VERSION_MIN,
            parse_version: Version::find_in,
            auth: Some(AuthProbe { argv: with(&["auth", "status"]), parse: parse_auth }),
        })
    }
}

fn permission_mode(invocation: &Invocation) -> &str {
    match &invocation.permission_mode {
        Some(mode) => mode,
        None if invocation.sandboxed => BYPASS_PERMISSIONS,
        None => ACCEPT_EDITS,
    }
}

/// Every value is joined to its flag by `=`: it may begin with a dash, and the flags that take several values
/// swallow nothing that follows.
fn options(invocation: &Invocation, mode: &str) -> Vec<String> {
    let mut options = vec![match &invocation.session {
        Session::New { id } => format!("--session-id={id}"),
        Session::Resume { id } => format!("--resume={id}"),
    }];
    options.push(format!("--permission-mode={mode}"));
    options.push(format!("--settings={SETTINGS}"));
    let values = [
        ("model", invocation.model.clone()),
        ("effort", invocation.effort.clone()),
        ("max-turns", invocation.max_turns.map(|turns| turns.to_string())),
        ("max-budget-usd", invocation.max_budget_usd_micros.map(dollars)),
        ("append-system-prompt", invocation.append_system_prompt.clone().filter(|text| !text.is_empty())),
    ];
    options.extend(
        values.into_iter().filter_map(|(flag, value)| value.map(|value| format!("--{flag}={value}"))),
    );
    options.extend(invocation.attachments_dir().map(|dir| format!("--add-dir={}", dir.display())));
    // the other modes stand for a list of their own: a longer one here would undo what they refuse
    let default_allowed = if mode == ACCEPT_EDITS { DEFAULT_ALLOWED_TOOLS } else { &[][..] };
    match &invocation.allowed_tools {
        Some(tools) => options.extend(tools.iter().map(|tool| format!("--allowedTools={tool}"))),
        None => options.extend(default_allowed.iter().map(|tool| format!("--allowedTools={tool}"))),
    }
    let always = ALWAYS_DISALLOWED_TOOLS.iter().copied();
    let disallowed = always.chain(invocation.disallowed_tools.iter().map(String::as_str));
    options.extend(disallowed.map(|tool| format!("--disallowedTools={tool}")));
    options
}

/// Millionths as a decimal number without rounding.
fn dollars(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Reads `claude auth status`: a JSON object with `loggedIn`, exit code 0 exactly when that is true.
fn parse_auth(exit_code: Option<i32>, stdout: &str) -> AuthState {
    let mut reader = serde_json::Deserializer::from_str(stdout);
    let Ok(status) = shapes::AuthStatus::deserialize(&mut reader) else {
        return AuthState::Unknown;
    };
    match (status.logged_in.as_bool(), exit_code) {
        (Some(true), Some(0)) => AuthState::LoggedIn { method: status.auth_method.into_text() },
        (Some(false), _) => AuthState::NotLoggedIn,
        _ => AuthState::Unknown,
    }
}

#[cfg(test)]
mod tests;
