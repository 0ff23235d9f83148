//! Run options as they stand in `[defaults]` and in profiles.

use toml::Value;

use super::error::Problem;
use super::values::Values;
use crate::domain::options::{
    Effort, Isolation, Layer, Network, OnBranchExists, OptionName, PermissionMode, Publish, RunOptions,
    StepCommand,
};

/// One dollar in the unit that budgets are kept in.
const MICROS_PER_DOLLAR: f64 = 1_000_000.0;

/// Reads what is set below `section` ("defaults", "profiles.review"); gaps stay gaps. Broken rules become problems.
pub(super) fn read(values: &mut Values, section: &str, layer: Layer) -> RunOptions {
    let options = collect(values, section);
    for violation in options.check(layer) {
        let key = format!("{section}.{}", violation.field.snake_case());
        let rule = match violation.index {
            Some(index) => format!("{}: entry {} {}", "is wrong", index + 1, violation.rule),
            None => violation.rule.clone(),
        };
        values.problem(&key, rule);
    }
    options
}

fn collect(values: &Values, section: &str) -> RunOptions {
    // Only what somebody wrote: a default here would hide that of a weaker layer.
    let set = |name: OptionName| {
        let entry = values.entry(&format!("{section}.{}", name.snake_case()))?;
        Some(entry.value.clone())
    };
    let text = |name| set(name)?.as_str().map(str::to_owned);
    let word = |name| text(name).unwrap_or_default();
    let bool = |name| set(name)?.as_bool();
    let integer = |name| u64::try_from(set(name)?.as_integer()?).ok();
    let small = |name| u32::try_from(integer(name)?).ok();
    let texts = |name| Some(strings(&set(name)?));
    let commands = |name| Some(set(name)?.as_array()?.iter().map(command).collect());
    RunOptions {
        agent: text(OptionName::Agent),
        model: text(OptionName::Model),
        effort: Effort::parse(&word(OptionName::Effort)),
        permission_mode: PermissionMode::parse(&word(OptionName::PermissionMode)),
        allowed_tools: texts(OptionName::AllowedTools),
        disallowed_tools: texts(OptionName::DisallowedTools),
        append_system_prompt: text(OptionName::AppendSystemPrompt),
        max_turns: small(OptionName::MaxTurns),
        max_budget_usd_micros: set(OptionName::MaxBudgetUsd).as_ref().map(micros),
        max_budget_usd_per_day_micros: set(OptionName::MaxBudgetUsdPerDay).as_ref().map(micros),
        timeout_seconds: integer(OptionName::TimeoutSeconds),
        idle_timeout_seconds: integer(OptionName::IdleTimeoutSeconds),
        max_attempts: small(OptionName::MaxAttempts),
        setup: commands(OptionName::Setup),
        verify: commands(OptionName::Verify),
        verify_rounds: small(OptionName::VerifyRounds),
        copy_files: texts(OptionName::CopyFiles),
        env: texts(OptionName::Env),
        set_env: set(OptionName::SetEnv).as_ref().and_then(Value::as_table).map(|table| {
            table
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect()
        }),
        on_branch_exists: OnBranchExists::parse(&word(OptionName::OnBranchExists)),
        publish: Publish::parse(&word(OptionName::Publish)),
        draft: bool(OptionName::Draft),
        pr_labels: texts(OptionName::PrLabels),
        reviewers: texts(OptionName::Reviewers),
        artifacts: texts(OptionName::Artifacts),
        keep_worktree: bool(OptionName::KeepWorktree),
        isolation: Isolation::parse(&word(OptionName::Isolation)),
        // of one job at a time, by whoever has looked at it
        allow_secrets: None,
        network: Network::parse(&word(OptionName::Network)),
    }
}

/// Whether every secret that `options` name is configured; the others become problems.
pub(super) fn check_secrets(values: &mut Values, section: &str, options: &RunOptions, known: &[String]) {
    for name in options.set_env.iter().flat_map(|set_env| set_env.values()) {
        if !known.contains(name) {
            let rule = format!("names the secret {name}, which is not configured");
            let remedy = format!("add {name} = {{ file = \"/path/of/the/file\" }} to [secrets]");
            values.problems.push(Problem::new(format!("{section}.set_env"), rule).remedy(remedy));
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn command(item: &Value) -> StepCommand {
    match item {
        Value::String(line) => StepCommand::Shell(line.clone()),
        other => StepCommand::Argv(strings(other)),
    }
}

/// Rounded to the nearest millionth. What is negative or not a number becomes 0, which the range refuses.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "float casts saturate, and the range allows ten thousand dollars at most"
)]
fn micros(value: &Value) -> u64 {
    let dollars = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64)).unwrap_or(0.0);
    (dollars * MICROS_PER_DOLLAR).round() as u64
}
