//! The range of every option.
//!
//! Bounds on texts that become program arguments keep the whole command line far below what Linux accepts for one
//! argument (128 KiB, execve(2)); bounds on counts and seconds exist so that a slip of the keyboard is noticed.

use super::{Layer, OptionName, RunOptions, StepCommand, Violation};
use crate::domain::glob::names_something;

/// Entries of one list: more is a generated list gone wrong.
const LIST_MAX: usize = 100;
/// Bytes of a short text: a model, a tool rule, a glob.
const TEXT_BYTES_MAX: usize = 256;
/// A quarter of the kernel's limit for one argument.
const SYSTEM_PROMPT_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one command, all arguments together; half the kernel's limit for one argument.
const COMMAND_BYTES_MAX: usize = 64 * 1024;
const COMMANDS_MAX: usize = 20;
/// GitHub refuses longer label names.
const LABEL_CHARS_MAX: usize = 50;
/// GitHub asks at most this many people for one review.
const REVIEWERS_MAX: usize = 15;
/// As long as the scanner makes them.
const FINGERPRINT_DIGITS: usize = 16;
const WEEK_SECONDS: u64 = 7 * 24 * 3600;
/// Ten thousand dollars.
const BUDGET_MICROS_MAX: u64 = 10_000_000_000;

/// Names that never reach an agent: our own secrets and settings, and the ways to start services outside of our reach.
const WITHHELD: &[&str] =
    &["AGENT_API_SECRET", "WEBHOOK_SECRET", "GITHUB_TOKEN", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

impl RunOptions {
    /// Every broken rule, in the order of the options; empty when all is well. `layer` is the place that these
    /// options were written in.
    #[must_use]
    pub fn check(&self, layer: Layer) -> Vec<Violation> {
        let mut check = Check { broken: Vec::new() };
        self.check_agent(&mut check);
        self.check_limits(layer, &mut check);
        self.check_commands_and_files(&mut check);
        self.check_environment(layer, &mut check);
        self.check_publication(layer, &mut check);
        check.broken.sort_by_key(|violation| (violation.field, violation.index));
        check.broken
    }

    fn check_agent(&self, check: &mut Check) {
        if let Some(agent) = &self.agent {
            check.that(is_entry_name(agent), OptionName::Agent, || {
                "must be the name of an agent entry: 1 to 64 characters of a-z, 0-9, - and _".to_owned()
            });
        }
        if let Some(model) = &self.model {
            let plain = model.bytes().all(|byte| byte.is_ascii_graphic());
            check.that(plain && is_operand(model), OptionName::Model, || {
                format!("must be 1 to {TEXT_BYTES_MAX} printable ASCII characters without spaces, not starting with -")
            });
        }
        let tools = [
            (OptionName::AllowedTools, &self.allowed_tools),
            (OptionName::DisallowedTools, &self.disallowed_tools),
        ];
        for (field, list) in tools {
            check.each(field, list.as_deref(), LIST_MAX, is_operand, || {
                format!("must be 1 to {TEXT_BYTES_MAX} bytes without control characters, not starting with -")
            });
        }
        if let Some(text) = &self.append_system_prompt {
            let fits = text.len() <= SYSTEM_PROMPT_BYTES_MAX && !text.contains('\0');
            check.that(fits, OptionName::AppendSystemPrompt, || {
                format!("must be at most {SYSTEM_PROMPT_BYTES_MAX} bytes without a NUL byte")
            });
        }
    }

    fn check_limits(&self, layer: Layer, check: &mut Check) {
        check.range(OptionName::MaxTurns, self.max_turns.map(u64::from), 1, 10_000);
        check.range(OptionName::TimeoutSeconds, self.timeout_seconds, 1, WEEK_SECONDS);
        check.range(OptionName::IdleTimeoutSeconds, self.idle_timeout_seconds, 1, WEEK_SECONDS);
        check.range(OptionName::MaxAttempts, self.max_attempts.map(u64::from), 1, 10);
        check.range(OptionName::VerifyRounds, self.verify_rounds.map(u64::from), 0, 10);
        let budgets = [
            (OptionName::MaxBudgetUsd, self.max_budget_usd_micros),
            (OptionName::MaxBudgetUsdPerDay, self.max_budget_usd_per_day_micros),
        ];
        for (field, micros) in budgets {
            let in_range = micros.is_none_or(|micros| (1..=BUDGET_MICROS_MAX).contains(&micros));
            check.that(in_range, field, || {
                "must be more than 0 and at most 10000 US dollars, in steps of 0.000001".to_owned()
            });
        }
        let daily_allowed = self.max_budget_usd_per_day_micros.is_none() || layer == Layer::Client;
        check.that(daily_allowed, OptionName::MaxBudgetUsdPerDay, || {
            "can be set for a client only".to_owned()
        });
    }

    fn check_commands_and_files(&self, check: &mut Check) {
        for (field, commands) in [(OptionName::Setup, &self.setup), (OptionName::Verify, &self.verify)] {
            check.each(field, commands.as_deref(), COMMANDS_MAX, is_command, || {
                format!("must be a program with its arguments or a shell line, 1 to {COMMAND_BYTES_MAX} bytes, no NUL byte")
            });
        }
        for (field, globs) in
            [(OptionName::CopyFiles, &self.copy_files), (OptionName::Artifacts, &self.artifacts)]
        {
            check.each(field, globs.as_deref(), LIST_MAX, is_relative_glob, || {
                format!("must be a relative path or glob of 1 to {TEXT_BYTES_MAX} bytes that names something, without .. and without .git")
            });
        }
    }

    fn check_environment(&self, layer: Layer, check: &mut Check) {
        check.each(OptionName::Env, self.env.as_deref(), LIST_MAX, may_reach_agent, || {
            "must be the name of an environment variable that is not withheld from agents".to_owned()
        });
        let Some(set_env) = &self.set_env else { return };
        check.that(matches!(layer, Layer::Client | Layer::Profile), OptionName::SetEnv, || {
            "can be set for a client or a profile only".to_owned()
        });
        let fits = set_env.len() <= LIST_MAX
            && set_env.iter().all(|(name, secret)| is_settable(name) && is_entry_name(secret));
        check.that(fits, OptionName::SetEnv, || {
            format!(
                "must map at most {LIST_MAX} environment variable names, none of them reserved, to names of configured secrets"
            )
        });
    }

    fn check_publication(&self, layer: Layer, check: &mut Check) {
        check.that(self.allow_secrets.is_none() || layer == Layer::Job, OptionName::AllowSecrets, || {
            "can be set for a job only".to_owned()
        });
        check.each(
            OptionName::AllowSecrets,
            self.allow_secrets.as_deref(),
            LIST_MAX,
            |one: &String| is_fingerprint(one),
            || format!("must be a fingerprint, {FINGERPRINT_DIGITS} hexadecimal digits"),
        );
        let is_label = |label: &String| {
            (1..=LABEL_CHARS_MAX).contains(&label.chars().count()) && !label.chars().any(char::is_control)
        };
        check.each(OptionName::PrLabels, self.pr_labels.as_deref(), LIST_MAX, is_label, || {
            format!("must be 1 to {LABEL_CHARS_MAX} characters on one line")
        });
        check.each(OptionName::Reviewers, self.reviewers.as_deref(), REVIEWERS_MAX, is_reviewer, || {
            "must be a GitHub login or org/team".to_owned()
        });
    }
}

/// Whether `name` can name an agent entry, a profile or a secret: `[a-z0-9][a-z0-9_-]*`, at most 64 bytes.
#[must_use]
pub fn is_entry_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    name.len() <= 64
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// Whether `name` may be passed from the server's environment to an agent.
#[must_use]
pub fn may_reach_agent(name: impl AsRef<str>) -> bool {
    let name = name.as_ref();
    is_variable(name) && !name.starts_with("OFFSHOOT_") && !WITHHELD.contains(&name)
}

/// Whether the owner may give agents a variable of this `name` with a value of his own: a `GITHUB_TOKEN` of narrow
/// rights is a fair wish.
#[must_use]
pub fn is_settable(name: &str) -> bool {
    name == "GITHUB_TOKEN" || may_reach_agent(name)
}

/// A portable variable name (POSIX 8.1, with lower case).
fn is_variable(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= 128
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Whether `text` is the fingerprint of something that looks like a secret.
fn is_fingerprint(text: &str) -> bool {
    text.len() == FINGERPRINT_DIGITS
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Safe as a program argument: neither empty nor taken for an option.
fn is_operand(text: impl AsRef<str>) -> bool {
    let text = text.as_ref();
    (1..=TEXT_BYTES_MAX).contains(&text.len())
        && !text.starts_with('-')
        && !text.chars().any(char::is_control)
}

fn is_command(command: &StepCommand) -> bool {
    let fits = |bytes: usize| (1..=COMMAND_BYTES_MAX).contains(&bytes);
    match command {
        StepCommand::Shell(line) => fits(line.trim().len()) && !line.contains('\0'),
        StepCommand::Argv(argv) => {
            let bytes = argv.iter().map(|word| word.len() + 1).sum();
            argv.first().is_some_and(|program| !program.is_empty())
                && fits(bytes)
                && !argv.iter().any(|word| word.contains('\0'))
        }
    }
}

fn is_relative_glob(glob: impl AsRef<str>) -> bool {
    let glob = glob.as_ref();
    (1..=TEXT_BYTES_MAX).contains(&glob.len())
        && !glob.chars().any(char::is_control)
        && !glob.starts_with(['/', '~'])
        && names_something(glob)
        && glob.split('/').all(|part| part != ".." && !part.eq_ignore_ascii_case(".git"))
}

/// GitHub logins are at most 39 letters, digits and hyphens; a team is `org/slug`.
fn is_reviewer(reviewer: impl AsRef<str>) -> bool {
    let is_login = |text: &str, extra: &[u8]| {
        (1..=100).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || extra.contains(&byte))
            && !text.starts_with('-')
    };
    match reviewer.as_ref().split_once('/') {
        Some((org, team)) => is_login(org, b"") && is_login(team, b"._"),
        None => reviewer.as_ref().len() <= 39 && is_login(reviewer.as_ref(), b"_"),
    }
}

struct Check {
    broken: Vec<Violation>,
}

impl Check {
    fn that(&mut self, holds: bool, field: OptionName, rule: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(Violation { field, index: None, rule: rule() });
        }
    }

    fn range(&mut self, field: OptionName, value: Option<u64>, min: u64, max: u64) {
        let in_range = value.is_none_or(|value| (min..=max).contains(&value));
        self.that(in_range, field, || format!("must be between {min} and {max}"));
    }

    fn each<'item, T: 'item>(
        &mut self,
        field: OptionName,
        list: Option<&'item [T]>,
        entries_max: usize,
        holds: impl Fn(&'item T) -> bool,
        rule: impl Fn() -> String,
    ) {
        let list = list.unwrap_or_default();
        if list.len() > entries_max {
            self.that(false, field, || format!("must have at most {entries_max} entries"));
            return;
        }
        for (index, _) in list.iter().enumerate().filter(|&(_, item)| !holds(item)) {
            self.broken.push(Violation { field, index: Some(index), rule: rule() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RunOptions;
    use super::*;

    type Change = Box<dyn Fn(&mut RunOptions)>;

    fn list(items: &[&str]) -> Option<Vec<String>> {
        Some(items.iter().map(|&item| item.to_owned()).collect())
    }

    fn pointers(layer: Layer, change: &Change) -> Vec<String> {
        let mut options = RunOptions::default();
        change(&mut options);
        options.check(layer).iter().map(Violation::pointer).collect()
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let table: Vec<(Change, &[&str])> = vec![
            (Box::new(|o| o.agent = Some("Claude".to_owned())), &["/agent"]),
            (Box::new(|o| o.model = Some("--help".to_owned())), &["/model"]),
            (Box::new(|o| o.model = Some("a b".to_owned())), &["/model"]),
            (
                Box::new(|o| o.allowed_tools = list(&["Read", "", "-x"])),
                &["/allowedTools/1", "/allowedTools/2"],
            ),
            (Box::new(|o| o.append_system_prompt = Some("x".repeat(32_769))), &["/appendSystemPrompt"]),
            (Box::new(|o| o.max_turns = Some(0)), &["/maxTurns"]),
            (Box::new(|o| o.timeout_seconds = Some(604_801)), &["/timeoutSeconds"]),
            (Box::new(|o| o.idle_timeout_seconds = Some(0)), &["/idleTimeoutSeconds"]),
            (Box::new(|o| o.max_attempts = Some(11)), &["/maxAttempts"]),
            (Box::new(|o| o.verify_rounds = Some(11)), &["/verifyRounds"]),
            (Box::new(|o| o.max_budget_usd_micros = Some(0)), &["/maxBudgetUsd"]),
            (Box::new(|o| o.max_budget_usd_per_day_micros = Some(1)), &["/maxBudgetUsdPerDay"]),
            (Box::new(|o| o.setup = Some(vec![StepCommand::Argv(Vec::new())])), &["/setup/0"]),
            (Box::new(|o| o.verify = Some(vec![StepCommand::Shell(" ".to_owned())])), &["/verify/0"]),
            (
                Box::new(|o| o.copy_files = list(&[".env", "../x", "/etc/x", ".", "./", "./a"])),
                &["/copyFiles/1", "/copyFiles/2", "/copyFiles/3", "/copyFiles/4"],
            ),
            (Box::new(|o| o.artifacts = list(&["a/.GIT/config"])), &["/artifacts/0"]),
            (Box::new(|o| o.env = list(&["LANG", "OFFSHOOT_TOKEN", "A=B"])), &["/env/1", "/env/2"]),
            (Box::new(|o| o.env = list(&["GITHUB_TOKEN"])), &["/env/0"]),
            (Box::new(|o| o.set_env = Some([("A".to_owned(), "a".to_owned())].into())), &["/setEnv"]),
            (
                Box::new(|o| o.allow_secrets = list(&["0123456789abcdef", "0123456789ABCDEF", "0"])),
                &["/allowSecrets/1", "/allowSecrets/2"],
            ),
            (Box::new(|o| o.pr_labels = Some(vec!["x".repeat(51)])), &["/prLabels/0"]),
            (Box::new(|o| o.pr_labels = Some(vec!["x".to_owned(); 101])), &["/prLabels"]),
            (Box::new(|o| o.reviewers = list(&["octo-cat", "acme/core.team", "-x"])), &["/reviewers/2"]),
        ];
        for (change, expected) in &table {
            assert_eq!(pointers(Layer::Job, change), *expected);
        }
    }

    #[test]
    fn the_edges_are_inside() {
        let change: Change = Box::new(|o| {
            o.max_turns = Some(10_000);
            o.timeout_seconds = Some(604_800);
            o.verify_rounds = Some(0);
            o.max_budget_usd_micros = Some(BUDGET_MICROS_MAX);
            o.max_budget_usd_per_day_micros = Some(1);
            o.set_env = Some([("GITHUB_TOKEN".to_owned(), "narrow-token".to_owned())].into());
            o.setup = Some(vec![StepCommand::Argv(vec!["make".to_owned(), String::new()])]);
            o.append_system_prompt = Some(String::new());
        });
        assert_eq!(pointers(Layer::Client, &change), Vec::<String>::new());
    }
}
