//! `[agents.<name>]`: which programs can be asked to work, and with which environment.

use std::collections::BTreeMap;

use secrecy::SecretString;
use toml::Value;

use super::error::Problem;
use super::values::Values;
use crate::domain::agent_kind::AgentKind;
use crate::domain::options::{is_settable, may_reach_agent};

/// One login of one program.
#[derive(Clone, Debug)]
pub struct AgentEntry {
    pub kind: AgentKind,
    /// A path, or a name to be found in PATH. `None` only for the ready-made entries `acp` and `command`, which cannot run
    /// until they are given a program.
    pub command: Option<String>,
    /// Before the arguments that the protocol needs.
    pub args: Vec<String>,
    /// Names of the server's variables that are passed on.
    pub env: Vec<String>,
    pub set_env: BTreeMap<String, SecretString>,
}

impl AgentEntry {
    /// The entry that exists without any configuration.
    pub(super) fn ready_made(kind: AgentKind) -> Self {
        Self {
            kind,
            command: names_a_program(kind).then(|| kind.as_str().to_owned()),
            args: Vec::new(),
            env: login_variables(kind).iter().map(|&name| name.to_owned()).collect(),
            set_env: BTreeMap::new(),
        }
    }
}

/// Whether the kind is one program, and not what several do.
const fn names_a_program(kind: AgentKind) -> bool {
    !matches!(kind, AgentKind::Acp | AgentKind::Command)
}

/// The variables by which each program finds its own login and settings. Keys that are billed by use are not among them:
/// the owner names those in `env`, where a bill is meant.
const fn login_variables(kind: AgentKind) -> &'static [&'static str] {
    match kind {
        AgentKind::Claude => &["CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR"],
        AgentKind::Codex => &["CODEX_HOME"],
        AgentKind::Opencode => &["OPENCODE_CONFIG"],
        AgentKind::Gemini | AgentKind::Acp | AgentKind::Command => &[],
    }
}

/// All entries: one of each kind, and what the owner wrote.
pub(super) fn build(
    values: &mut Values,
    secrets: &BTreeMap<String, SecretString>,
) -> BTreeMap<String, AgentEntry> {
    let mut agents: BTreeMap<String, AgentEntry> =
        AgentKind::ALL.iter().map(|&kind| (kind.as_str().to_owned(), AgentEntry::ready_made(kind))).collect();
    for name in values.names("agents") {
        if let Some(entry) = one(values, &name, secrets) {
            agents.insert(name, entry);
        }
    }
    agents
}

fn one(values: &mut Values, name: &str, secrets: &BTreeMap<String, SecretString>) -> Option<AgentEntry> {
    let key = |key: &str| format!("agents.{name}.{key}");
    let word = values.text(&key("kind")).unwrap_or_else(|| name.to_owned());
    let Some(kind) = AgentKind::parse(&word) else {
        let kinds: Vec<_> = AgentKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let rule = format!("must be set to one of {}", kinds.join(", "));
        let remedy = "for a program of your own:  kind = \"command\"";
        values.problems.push(Problem::new(key("kind"), rule).remedy(remedy));
        return None;
    };
    let ready_made = AgentEntry::ready_made(kind);
    let command = values.text(&key("command")).or(ready_made.command);
    match &command {
        None => {
            let rule = format!("must be set for kind {kind}");
            values.problems.push(Problem::new(key("command"), rule));
        }
        Some(command) if command.trim().is_empty() || command.starts_with('-') || command.contains('\n') => {
            values.problem(&key("command"), "must be a program: a path, or a name to be found in PATH");
        }
        // Where a relative path leads depends on where the server was started.
        Some(command) if command.contains('/') && !command.starts_with('/') => {
            values.problem(&key("command"), "must be an absolute path, or a bare name to be found in PATH");
        }
        Some(_) => {}
    }
    let env = values.texts(&key("env")).unwrap_or(ready_made.env);
    if let Some(refused) = env.iter().find(|name| !may_reach_agent(name)) {
        values.problem(&key("env"), format!("must not name {refused}, which is withheld from agents"));
    }
    let args = values.texts(&key("args")).unwrap_or_default();
    let set_env = set_env(values, &key("set_env"), secrets);
    Some(AgentEntry { kind, command, args, env, set_env })
}

fn set_env(
    values: &mut Values,
    key: &str,
    secrets: &BTreeMap<String, SecretString>,
) -> BTreeMap<String, SecretString> {
    let mut variables = BTreeMap::new();
    let Some(Value::Table(table)) = values.get(key) else { return variables };
    for (name, value) in &table {
        if !is_settable(name) {
            values.problem(key, format!("must not set {name}: not a variable name, or a reserved one"));
        }
        let secret = value.get("secret").and_then(Value::as_str);
        match (secret, value.as_str()) {
            (None, Some(text)) => drop(variables.insert(name.clone(), SecretString::from(text))),
            (Some(secret), _) => match secrets.get(secret) {
                Some(value) => drop(variables.insert(name.clone(), value.clone())),
                None => values.problem(key, format!("names the secret {secret}, which is not configured")),
            },
            (None, None) => {}
        }
    }
    variables
}
