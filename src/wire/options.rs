//! Run options as JSON, in requests, in answers and in the options columns of the store: one shape, both ways.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::fields::{Fields, Reading};
use super::problem::Fault;
use crate::domain::options::{
    Effort, Isolation, Network, OnBranchExists, PermissionMode, Publish, RunOptions, StepCommand,
};

/// Run options; `null` means that they are decided elsewhere: in the profile, the client or the configuration. With the scope
/// `submit` a number can be at most what is decided there (403).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// The name of a configured agent.
    pub agent: Option<String>,
    pub model: Option<String>,
    /// `low, medium, high, xhigh` or `max`.
    pub effort: Option<String>,
    /// `default, plan, acceptEdits` or `bypassPermissions`.
    pub permission_mode: Option<String>,
    pub allowed_tools: Option<Vec<String>>,
    pub disallowed_tools: Option<Vec<String>>,
    pub append_system_prompt: Option<String>,
    pub max_turns: Option<u32>,
    /// US dollars for all attempts of the job together, in steps of 0.000001.
    pub max_budget_usd: Option<f64>,
    /// US dollars for all jobs of the client on one day of UTC; of clients only.
    pub max_budget_usd_per_day: Option<f64>,
    pub timeout_seconds: Option<u64>,
    pub idle_timeout_seconds: Option<u64>,
    pub max_attempts: Option<u32>,
    pub setup: Option<Vec<Command>>,
    pub verify: Option<Vec<Command>>,
    pub verify_rounds: Option<u32>,
    pub copy_files: Option<Vec<String>>,
    /// Names of variables that are passed through.
    pub env: Option<Vec<String>>,
    /// Variable names with the names of configured secrets.
    pub set_env: Option<BTreeMap<String, String>>,
    /// `continue, fail, suffix` or `reset`.
    pub on_branch_exists: Option<String>,
    /// `pull_request, branch` or `none`.
    pub publish: Option<String>,
    pub draft: Option<bool>,
    pub pr_labels: Option<Vec<String>>,
    pub reviewers: Option<Vec<String>>,
    pub artifacts: Option<Vec<String>>,
    pub keep_worktree: Option<bool>,
    /// `auto, sandbox` or `none`.
    pub isolation: Option<String>,
    /// Fingerprints, from the reason `secret_detected`, of what may be pushed all the same; of jobs only.
    pub allow_secrets: Option<Vec<String>>,
    /// `allow` or `deny`.
    pub network: Option<String>,
}

/// A command: a line for the shell, or a program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Command {
    Shell(String),
    Argv(Vec<String>),
}

impl From<&RunOptions> for Options {
    fn from(options: &RunOptions) -> Self {
        let options = options.clone();
        let commands = |list: Option<Vec<StepCommand>>| -> Option<Vec<Command>> {
            list.map(|list| list.into_iter().map(Command::from).collect())
        };
        Self {
            agent: options.agent,
            model: options.model,
            effort: options.effort.map(|word| word.to_string()),
            permission_mode: options.permission_mode.map(|word| word.to_string()),
            allowed_tools: options.allowed_tools,
            disallowed_tools: options.disallowed_tools,
            append_system_prompt: options.append_system_prompt,
            max_turns: options.max_turns,
            max_budget_usd: options.max_budget_usd_micros.map(dollars),
            max_budget_usd_per_day: options.max_budget_usd_per_day_micros.map(dollars),
            timeout_seconds: options.timeout_seconds,
            idle_timeout_seconds: options.idle_timeout_seconds,
            max_attempts: options.max_attempts,
            setup: commands(options.setup),
            verify: commands(options.verify),
            verify_rounds: options.verify_rounds,
            copy_files: options.copy_files,
            env: options.env,
            set_env: options.set_env,
            on_branch_exists: options.on_branch_exists.map(|word| word.to_string()),
            publish: options.publish.map(|word| word.to_string()),
            draft: options.draft,
            pr_labels: options.pr_labels,
            reviewers: options.reviewers,
            artifacts: options.artifacts,
            keep_worktree: options.keep_worktree,
            isolation: options.isolation.map(|word| word.to_string()),
            allow_secrets: options.allow_secrets,
            network: options.network.map(|word| word.to_string()),
        }
    }
}

impl From<StepCommand> for Command {
    fn from(command: StepCommand) -> Self {
        match command {
            StepCommand::Shell(line) => Self::Shell(line),
            StepCommand::Argv(argv) => Self::Argv(argv),
        }
    }
}

impl From<Command> for StepCommand {
    fn from(command: Command) -> Self {
        match command {
            Command::Shell(line) => Self::Shell(line),
            Command::Argv(argv) => Self::Argv(argv),
        }
    }
}

/// Reads options at `pointer`. Types only: ranges are `RunOptions::check`'s, once the layer is known.
pub fn read(value: &Value, pointer: &str, reading: &mut Reading) -> RunOptions {
    let Some(mut f) = Fields::of(value, pointer, reading) else { return RunOptions::default() };
    let options = RunOptions {
        agent: f.text("agent"),
        model: f.text("model"),
        effort: f.word("effort", Effort::WORDS, Effort::parse),
        permission_mode: f.word("permissionMode", PermissionMode::WORDS, PermissionMode::parse),
        allowed_tools: f.texts("allowedTools"),
        disallowed_tools: f.texts("disallowedTools"),
        append_system_prompt: f.text("appendSystemPrompt"),
        max_turns: count(&mut f, "maxTurns"),
        max_budget_usd_micros: money(&mut f, "maxBudgetUsd"),
        max_budget_usd_per_day_micros: money(&mut f, "maxBudgetUsdPerDay"),
        timeout_seconds: count(&mut f, "timeoutSeconds"),
        idle_timeout_seconds: count(&mut f, "idleTimeoutSeconds"),
        max_attempts: count(&mut f, "maxAttempts"),
        setup: commands(&mut f, "setup"),
        verify: commands(&mut f, "verify"),
        verify_rounds: count(&mut f, "verifyRounds"),
        copy_files: f.texts("copyFiles"),
        env: f.texts("env"),
        set_env: text_map(&mut f, "setEnv"),
        on_branch_exists: f.word("onBranchExists", OnBranchExists::WORDS, OnBranchExists::parse),
        publish: f.word("publish", Publish::WORDS, Publish::parse),
        draft: f.flag("draft"),
        pr_labels: f.texts("prLabels"),
        reviewers: f.texts("reviewers"),
        artifacts: f.texts("artifacts"),
        keep_worktree: f.flag("keepWorktree"),
        isolation: f.word("isolation", Isolation::WORDS, Isolation::parse),
        allow_secrets: f.texts("allowSecrets"),
        network: f.word("network", Network::WORDS, Network::parse),
    };
    f.finish();
    options
}

/// What becomes of `current` under a JSON merge patch (RFC 7396): members replace, `null` removes.
pub fn patched(current: &RunOptions, patch: &Value, pointer: &str, reading: &mut Reading) -> RunOptions {
    if patch.is_null() {
        return RunOptions::default();
    }
    let mut target = sparse(current);
    merge(&mut target, patch);
    read(&target, pointer, reading)
}

/// The stored text: only what is set.
#[must_use]
pub fn to_text(options: &RunOptions) -> String {
    sparse(options).to_string()
}

/// Reads a stored text.
///
/// # Errors
/// When the text is no JSON object of this shape: somebody else wrote it.
pub fn from_text(text: &str) -> Result<RunOptions, Vec<Fault>> {
    let value = serde_json::from_str(text).map_err(|error| vec![Fault::new("", error.to_string())])?;
    let mut reading = Reading::default();
    let options = read(&value, "", &mut reading);
    if reading.faults.is_empty() { Ok(options) } else { Err(reading.faults) }
}

fn sparse(options: &RunOptions) -> Value {
    let value = serde_json::to_value(Options::from(options)).expect("plain members with text keys serialise");
    match value {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

/// As deep as options go: the members, and within `setEnv`.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, change) in changes {
        match change {
            Value::Null => {
                members.remove(name);
            }
            Value::Object(_) => merge(members.entry(name).or_insert(Value::Null), change),
            _ => {
                members.insert(name.clone(), change.clone());
            }
        }
    }
}

/// Every amount that rules accept is far below 2^53 millionths, so nothing is lost.
#[expect(clippy::cast_precision_loss, reason = "amounts stay below 2^53 millionths")]
pub(super) fn dollars(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked before")]
fn money(f: &mut Fields<'_>, name: &'static str) -> Option<u64> {
    let dollars = f.number(name)?;
    let micros = (dollars * 1e6).round();
    // Below 2^53 every millionth is exact; far above every budget that the rules accept.
    if !(0.0..9e15).contains(&micros) || (dollars * 1e6 - micros).abs() > 1e-3 {
        f.fault(name, "must be a number of US dollars, not negative, in steps of 0.000001");
        return None;
    }
    Some(micros as u64)
}

fn count<T: TryFrom<i64>>(f: &mut Fields<'_>, name: &'static str) -> Option<T> {
    let number = f.integer(name)?;
    let fitting = T::try_from(number).ok();
    if fitting.is_none() {
        f.fault(name, "is out of range");
    }
    fitting
}

fn commands(f: &mut Fields<'_>, name: &'static str) -> Option<Vec<StepCommand>> {
    let rule = "must be a string or an array of strings";
    f.items(name, "must be an array of commands", rule, |value| match value {
        Value::String(line) => Some(StepCommand::Shell(line.clone())),
        Value::Array(words) => {
            let argv: Option<Vec<_>> = words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
            argv.map(StepCommand::Argv)
        }
        _ => None,
    })
}

fn text_map(f: &mut Fields<'_>, name: &'static str) -> Option<BTreeMap<String, String>> {
    let value = f.value(name)?;
    let map: Option<BTreeMap<_, _>> = value.as_object().and_then(|members| {
        members.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    });
    if map.is_none() {
        f.fault(name, "must be an object whose values are strings");
    }
    map
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::domain::options::OptionName;

    fn full() -> Value {
        json!({
            "agent": "claude", "model": "m", "effort": "high", "permissionMode": "acceptEdits",
            "allowedTools": ["Read"], "disallowedTools": [], "appendSystemPrompt": "be brief", "maxTurns": 5,
            "maxBudgetUsd": 1.25, "maxBudgetUsdPerDay": 0.1, "timeoutSeconds": 60, "idleTimeoutSeconds": 30,
            "maxAttempts": 2, "setup": ["make deps", ["npm", "ci"]], "verify": [["make", "test"]],
            "verifyRounds": 0, "copyFiles": [".env"], "env": ["LANG"], "setEnv": {"A": "a"},
            "onBranchExists": "suffix", "publish": "branch", "draft": true, "prLabels": ["x"],
            "reviewers": ["octo"], "artifacts": ["out/*"], "keepWorktree": false, "isolation": "none",
            "allowSecrets": ["0123456789abcdef"],
            "network": "deny",
        })
    }

    #[test]
    fn every_option_goes_there_and_back() {
        let mut reading = Reading::default();
        let options = read(&full(), "/options", &mut reading);
        assert_eq!(reading, Reading::default());
        assert_eq!(options.set_names(), OptionName::ALL);
        assert_eq!(serde_json::to_value(Options::from(&options)).unwrap(), full());
        assert_eq!(from_text(&to_text(&options)), Ok(options));
    }

    #[test]
    fn the_names_are_those_of_the_domain() {
        let value = serde_json::to_value(Options::default()).unwrap();
        let names: BTreeSet<_> = OptionName::ALL.iter().map(|name| name.camel_case().to_owned()).collect();
        assert_eq!(value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>(), names);
        assert_eq!(to_text(&RunOptions::default()), "{}");
    }

    #[test]
    fn wrong_types_are_named() {
        let table = [
            (json!({"effort": "huge"}), "/options/effort"),
            (json!({"maxTurns": "5"}), "/options/maxTurns"),
            (json!({"maxTurns": -1}), "/options/maxTurns"),
            (json!({"maxTurns": 1.5}), "/options/maxTurns"),
            (json!({"maxBudgetUsd": -0.5}), "/options/maxBudgetUsd"),
            (json!({"maxBudgetUsd": 0.000_000_1}), "/options/maxBudgetUsd"),
            (json!({"maxBudgetUsd": 1e300}), "/options/maxBudgetUsd"),
            (json!({"setup": "make"}), "/options/setup"),
            (json!({"setup": ["make", 1]}), "/options/setup/1"),
            (json!({"setEnv": {"A": 1}}), "/options/setEnv"),
            (json!([]), "/options"),
        ];
        for (value, pointer) in table {
            let mut reading = Reading::default();
            read(&value, "/options", &mut reading);
            let pointers: Vec<_> = reading.faults.iter().map(|fault| fault.pointer.as_str()).collect();
            assert_eq!(pointers, [pointer], "{value}");
        }
    }

    #[test]
    fn a_merge_patch_replaces_and_removes() {
        let mut reading = Reading::default();
        let current = read(&full(), "", &mut reading);
        let patch = json!({"model": null, "maxTurns": 9, "setEnv": {"A": null, "B": "b"}, "shape": 1});
        let next = patched(&current, &patch, "/options", &mut reading);
        assert_eq!((next.model.as_deref(), next.max_turns, next.draft), (None, Some(9), Some(true)));
        assert_eq!(next.set_env, Some([("B".to_owned(), "b".to_owned())].into()));
        assert_eq!(reading.warnings, ["unknown member /options/shape was ignored"]);
        assert_eq!(patched(&current, &Value::Null, "", &mut reading), RunOptions::default());
    }
}
