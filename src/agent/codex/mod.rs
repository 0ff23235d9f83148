//! Codex without a screen: `codex exec --json`.
//!
//! Promises: an argument vector in which no value can become a flag; the prompt on standard input; nobody is ever
//! asked for an approval; events and a verdict from its JSON lines, as observed with 0.169.0. Must not know: how the
//! process is run. Fails: for a session id that is none of codex's. Tested: the argument table here, events and
//! verdicts against recorded transcripts in `tests/it`.

mod shapes;
mod stream;
pub(super) mod verdict;

use super::capabilities::{ALL_EFFORTS, ALL_MODES};
use super::{
    Agent, AgentCommand, AgentError, AuthProbe, AuthState, BASE_ENVIRONMENT_NAMES, Capabilities, Invocation,
    Missing, OwnPlaces, ProbeSpec, Session, StreamParser, Version, base_names_and, below, kept, place,
    with_arguments,
};
use crate::domain::agent_kind::AgentKind;
use crate::domain::inward::Hears;
use crate::domain::options::OptionName;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The adapter of kind `codex`.
#[derive(Clone, Copy, Debug)]
pub struct Codex;

/// The oldest one that was run (a job, and its continuation) when this was measured with 0.169.0. Below 1.0 each release
/// may change any flag or event, so nothing is assumed of older ones.
const VERSION_MIN: Version = Version::new(0, 140, 0);

const ENVIRONMENT_NAMES: [&str; BASE_ENVIRONMENT_NAMES.len() + 1] = base_names_and(&["CODEX_HOME"]);

/// Where npm puts the program for each platform, below the package of that platform.
const PLATFORMS: &[(&str, &str)] = &[
    ("codex-linux-x64", "x86_64-unknown-linux-musl"),
    ("codex-linux-arm64", "aarch64-unknown-linux-musl"),
    ("codex-darwin-x64", "x86_64-apple-darwin"),
    ("codex-darwin-arm64", "aarch64-apple-darwin"),
];

/// What it takes servers, hooks, rules, variables and instructions from.
const KEPT: &[(&str, Missing)] = &[
    ("config.toml", Missing::File("")),
    ("managed_config.toml", Missing::File("")),
    (".env", Missing::File("")),
    ("AGENTS.md", Missing::File("")),
    ("AGENTS.override.md", Missing::File("")),
    ("hooks.json", Missing::File("{}\n")),
    ("requirements.toml", Missing::File("")),
    ("agents", Missing::Dir),
    ("automations", Missing::Dir),
    ("environments", Missing::Dir),
    ("plugins", Missing::Dir),
    ("prompts", Missing::Dir),
    ("rules", Missing::Dir),
    ("skills", Missing::Dir),
    ("packages", Missing::Nothing),
];

/// Programs and scripts that it makes for a session.
const FRESH: &[&str] = &["tmp", ".tmp", "shell_snapshots", "worktrees"];

/// What the models are told first is in there.
const MODELS: &str = "models_cache.json";

impl Agent for Codex {
    fn kind(&self) -> AgentKind {
        AgentKind::Codex
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            resume: true,
            names_session: false,
            cost: false,
            counts_whole_session: true,
            hears: Hears::BetweenTurns,
            structured_events: true,
            tells_denials: true,
            options: &[
                OptionName::Model,
                OptionName::Effort,
                OptionName::PermissionMode,
                OptionName::AppendSystemPrompt,
            ],
            permission_modes: ALL_MODES,
            efforts: ALL_EFFORTS,
        }
    }

    fn command(&self, invocation: &Invocation) -> Result<AgentCommand, AgentError> {
        invocation.check()?;
        let mut argv = with_arguments(&invocation.program, &["exec", "--json"]);
        argv.extend(settings(invocation));
        if let Session::Resume { id } = &invocation.session {
            invocation.session.check_uuid()?;
            argv.extend(["resume".to_owned(), id.clone()]);
        }
        // the prompt: whatever comes on standard input
        argv.push("-".to_owned());
        Ok(AgentCommand { argv, env: invocation.base_env(), stdin: invocation.full_prompt() })
    }

    /// `CODEX_HOME` holds the login. Keys (`OPENAI_API_KEY`, `CODEX_API_KEY`, those of own providers) are not here: an
    /// entry that is meant to use them names them.
    fn environment_names(&self) -> &'static [&'static str] {
        &ENVIRONMENT_NAMES
    }

    fn own_places(&self, env: &BTreeMap<String, String>) -> OwnPlaces {
        let dirs: Vec<_> = place(env, "CODEX_HOME", ".codex", "").into_iter().collect();
        OwnPlaces {
            files: below(&dirs, &[MODELS]),
            kept: kept(&dirs, KEPT),
            fresh: below(&dirs, FRESH),
            dirs,
            ..OwnPlaces::default()
        }
    }

    /// The script of npm's package `@openai/codex` stands in its `bin`; the program in a package for the platform, beside
    /// it, below it, or (older ones) in it.
    fn native_programs(&self, program: &Path) -> Vec<PathBuf> {
        let Some(package) =
            program.parent().filter(|bin| bin.ends_with("@openai/codex/bin")).and_then(Path::parent)
        else {
            return Vec::new();
        };
        let beside = package.parent().unwrap_or(package).to_owned();
        let mut found = Vec::new();
        for (name, target) in PLATFORMS {
            let program = Path::new("vendor").join(target).join("bin/codex");
            found.push(beside.join(name).join(&program));
            found.push(package.join("node_modules/@openai").join(name).join(&program));
        }
        found.extend(
            PLATFORMS.iter().map(|(_, target)| package.join("vendor").join(target).join("bin/codex")),
        );
        found
    }

    fn by_hand(&self, session_id: &str) -> Option<Vec<String>> {
        Some(vec!["resume".to_owned(), session_id.to_owned()])
    }

    fn parser(&self, working_dir: &Path) -> Box<dyn StreamParser> {
        Box::new(stream::CodexParser::new(working_dir))
    }

    fn probe(&self, program: &[String]) -> Option<ProbeSpec> {
        Some(ProbeSpec {
            version_argv: with_arguments(program, &["--version"]),
            version_min: VERSION_MIN,
            parse_version: Version::find_in,
            auth: Some(AuthProbe { argv: with_arguments(program, &["login", "status"]), parse: parse_auth }),
        })
    }
}

/// What the run options come to, as settings that beat those of its own configuration file: `exec` and `exec resume`
/// take the same ones, while their flags differ.
fn settings(invocation: &Invocation) -> Vec<String> {
    // nobody is there: what needs an approval is refused to the agent, which goes on without
    let mut settings = vec![("approval_policy", "never".to_owned())];
    // its own configuration decides where the option says so
    let sandbox = match invocation.permission_mode.as_deref() {
        Some("plan") => Some("read-only"),
        Some("bypassPermissions") => Some("danger-full-access"),
        Some("default") => None,
        None if invocation.sandboxed => Some("danger-full-access"),
        Some(_) | None => Some("workspace-write"),
    };
    settings.extend(sandbox.map(|sandbox| ("sandbox_mode", sandbox.to_owned())));
    settings.extend(invocation.model.clone().map(|model| ("model", model)));
    settings.extend(invocation.effort.clone().map(|effort| ("model_reasoning_effort", effort)));
    let instructions = invocation.append_system_prompt.clone().filter(|text| !text.is_empty());
    settings.extend(instructions.map(|text| ("developer_instructions", text)));
    settings.into_iter().flat_map(|(key, value)| ["-c".to_owned(), setting(key, value)]).collect()
}

/// `key="value"` with the value as TOML reads it: a text whatever is in it.
fn setting(key: &str, value: String) -> String {
    format!("{key}={}", toml::Value::String(value))
}

/// Reads `codex login status`, which exits with 0 when it has a login of its own. The opposite says nothing: it does not
/// look for the keys of own providers, which are in the environment.
fn parse_auth(exit_code: Option<i32>, _stdout: &str) -> AuthState {
    match exit_code {
        Some(0) => AuthState::LoggedIn { method: None },
        _ => AuthState::Unknown,
    }
}

#[cfg(test)]
mod tests;
