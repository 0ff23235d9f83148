//! Opencode without a screen: `opencode run --format json`.
//!
//! Promises: an argument vector in which no value can become a flag; the prompt on standard input; what needs an
//! approval is decided before the start, and where the owner's own rules ask somebody, the run ends as `NeedsInput`;
//! events and a verdict from its JSON lines, as observed with 1.18.33. Must not know: how the process is run. Fails: for
//! a session id that is none of opencode's. Tested: the argument table here, events and verdicts against recorded
//! transcripts in `tests/it`.

mod login;
mod shapes;
mod stream;
mod verdict;

use super::capabilities::ALL_MODES;
use super::{
    Agent, AgentCommand, AgentError, AuthProbe, AuthState, BASE_ENVIRONMENT_NAMES, Capabilities, Invocation,
    Missing, OwnPlaces, ProbeSpec, Session, StreamParser, Version, base_names_and, below, kept, place,
    with_arguments,
};
use crate::domain::agent_kind::AgentKind;
use crate::domain::inward::Hears;
use crate::domain::options::OptionName;
use std::collections::BTreeMap;
use std::path::Path;

/// The adapter of kind `opencode`.
#[derive(Clone, Copy, Debug)]
pub struct Opencode;

/// The oldest one that was run (a job) when this was measured with 1.18.33; nothing is assumed of older ones.
const VERSION_MIN: Version = Version::new(1, 14, 34);

const ENVIRONMENT_NAMES: [&str; BASE_ENVIRONMENT_NAMES.len() + 2] =
    base_names_and(&["XDG_STATE_HOME", "OPENCODE_CONFIG"]);

/// Rules that beat those of its own configuration. What is not named here stays as the owner wrote it. `deny` is told to
/// the model, which goes on; `ask`, the default for some, would end the run.
const PLAN: &str =
    r#"{"edit":"deny","bash":"deny","external_directory":"deny","doom_loop":"deny","question":"deny"}"#;
const ACCEPT_EDITS: &str = r#"{"edit":"allow","external_directory":"deny","doom_loop":"deny","question":"deny","bash":{"*":"deny","git add *":"allow","git commit *":"allow","git status":"allow","git status *":"allow","git diff":"allow","git diff *":"allow","git log":"allow","git log *":"allow"}}"#;
const BYPASS: &str = r#"{"*":"allow","edit":"allow","bash":"allow","webfetch":"allow","external_directory":"allow","doom_loop":"allow","question":"deny"}"#;

/// Its directory of configuration. It does not start where it can neither find nor write the second.
const KEPT: &[(&str, Missing)] = &[
    ("", Missing::Dir),
    (".gitignore", Missing::File("node_modules\npackage.json\npackage-lock.json\nbun.lock\n.gitignore\n")),
];

/// Its logins, and addresses from which it takes further settings.
const LOGINS: &str = "auth.json";

/// Language servers and search programs that it fetches, and repositories that it calls git for. So is its cache, with its plugins.
const FRESH: &[&str] = &["bin", "snapshot"];

impl Agent for Opencode {
    fn kind(&self) -> AgentKind {
        AgentKind::Opencode
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            resume: true,
            names_session: false,
            cost: true,
            counts_whole_session: false,
            hears: Hears::BetweenTurns,
            structured_events: true,
            tells_denials: true,
            // not effort: its variants have each provider's own names, and an unknown one is ignored
            // budgets: it tells the cost of each step, and whoever follows it ends it
            options: &[
                OptionName::Model,
                OptionName::PermissionMode,
                OptionName::AppendSystemPrompt,
                OptionName::MaxBudgetUsd,
                OptionName::MaxBudgetUsdPerDay,
            ],
            permission_modes: ALL_MODES,
            efforts: &[],
        }
    }

    fn command(&self, invocation: &Invocation) -> Result<AgentCommand, AgentError> {
        invocation.check()?;
        let mut argv = with_arguments(&invocation.program, &["run", "--format=json"]);
        // it believes PWD more than its real directory
        argv.extend(invocation.working_dir.to_str().map(|dir| format!("--dir={dir}")));
        if let Session::Resume { id } = &invocation.session {
            if !is_own_id(id) {
                return Err(AgentError::SessionId(id.clone()));
            }
            argv.push(format!("--session={id}"));
        }
        argv.extend(invocation.model.as_ref().map(|model| format!("--model={model}")));
        let rules = match invocation.permission_mode.as_deref() {
            // its own configuration decides
            Some("default") => None,
            Some("plan") => Some(PLAN),
            Some("bypassPermissions") => Some(BYPASS),
            None if invocation.sandboxed => Some(BYPASS),
            Some(_) | None => Some(ACCEPT_EDITS),
        };
        if rules == Some(PLAN) {
            argv.push("--agent=plan".to_owned());
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err(AgentError::Nul("run options"));
        }
        let rules = rules.map(|rules| with_attachments(rules, invocation.attachments_dir()));
        let mut env = invocation.base_env();
        // a run must not replace the program under its siblings' feet
        env.push(("OPENCODE_DISABLE_AUTOUPDATE".to_owned(), "1".to_owned()));
        env.extend(rules.map(|rules| ("OPENCODE_PERMISSION".to_owned(), rules)));
        Ok(AgentCommand { argv, env, stdin: invocation.prompt_behind_instructions() })
    }

    /// Its login is a file below `XDG_DATA_HOME`, its settings may be named by `OPENCODE_CONFIG`. Keys of providers are
    /// not here: an entry that is meant to use them names them.
    fn environment_names(&self) -> &'static [&'static str] {
        &ENVIRONMENT_NAMES
    }

    fn own_places(&self, env: &BTreeMap<String, String>) -> OwnPlaces {
        let own = |(name, usual)| place(env, name, usual, "opencode");
        let dirs: Vec<_> = [("XDG_DATA_HOME", ".local/share"), ("XDG_STATE_HOME", ".local/state")]
            .into_iter()
            .filter_map(own)
            .collect();
        let config = own(("XDG_CONFIG_HOME", ".config"));
        let cache = own(("XDG_CACHE_HOME", ".cache"));
        OwnPlaces {
            logins: below(&dirs, &[LOGINS]),
            // its configuration names programs, and some lie in there
            kept: kept(config.as_slice(), KEPT),
            fresh: below(&dirs, FRESH).into_iter().chain(cache).collect(),
            dirs,
            ..OwnPlaces::default()
        }
    }

    fn renewed_login(&self, own: &[u8], copy: &[u8]) -> Option<Vec<u8>> {
        login::renewed(own, copy)
    }

    fn by_hand(&self, session_id: &str) -> Option<Vec<String>> {
        Some(vec![format!("--session={session_id}")])
    }

    fn parser(&self, working_dir: &Path) -> Box<dyn StreamParser> {
        Box::new(stream::OpencodeParser::new(working_dir))
    }

    fn probe(&self, program: &[String]) -> Option<ProbeSpec> {
        Some(ProbeSpec {
            version_argv: with_arguments(program, &["--version"]),
            version_min: VERSION_MIN,
            parse_version: Version::find_in,
            auth: Some(AuthProbe { argv: with_arguments(program, &["auth", "list"]), parse: parse_auth }),
        })
    }
}

/// The rules, and that what came with the task may be read; the last pattern that fits decides.
fn with_attachments(rules: &str, dir: Option<&Path>) -> String {
    let Some(dir) = dir else { return rules.to_owned() };
    let mut rules: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(rules).unwrap_or_default();
    if let Some(outside) = rules.get_mut("external_directory") {
        *outside = serde_json::json!({"*": outside, format!("{}/*", dir.display()): "allow"});
    }
    serde_json::Value::Object(rules).to_string()
}

/// `ses_` and letters and digits.
fn is_own_id(id: &str) -> bool {
    let tail = id.strip_prefix("ses_").unwrap_or_default();
    (1..=100).contains(&tail.len()) && tail.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Reads `opencode auth list`, which counts what it has stored and then the variables with keys. None stored says
/// nothing: a key may stand in its configuration.
fn parse_auth(exit_code: Option<i32>, stdout: &str) -> AuthState {
    let has_some = stdout.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let counted = |at: usize| words[at - 1].parse::<u32>().is_ok_and(|count| count > 0);
        words
            .iter()
            .enumerate()
            .any(|(at, word)| at > 0 && matches!(*word, "credential" | "credentials") && counted(at))
    });
    if exit_code == Some(0) && has_some { AuthState::LoggedIn { method: None } } else { AuthState::Unknown }
}

#[cfg(test)]
mod tests;
