//! The example file, made from the table of keys.

use std::fmt::Write as _;

use super::keys;

/// The text of `config.example.toml`: every key, commented out, a line about each, and its default. A key without
/// default shows a possible value and says so.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(HEAD);
    let mut section = "";
    for key in keys::all() {
        if key.section != section {
            section = key.section;
            let name = match section {
                "agents.*" => "agents.claude",
                "profiles.*" => "profiles.review",
                "notify.*" => "notify.phone",
                other => other,
            };
            let about = about(section);
            let _ = write!(text, "\n{about}#[{name}]\n");
        }
        let name = if key.name == "*" { "npm-token" } else { key.name };
        let (value, mark) = match key.default {
            "" => (key.example, NO_DEFAULT),
            default => (default, ""),
        };
        let _ = write!(text, "\n# {}\n#{name} = {value}{mark}\n", key.about);
    }
    text
}

const NO_DEFAULT: &str = "  # not set by default";

const HEAD: &str = "\
# The configuration of offshoot.
#
# Copy this file to ~/.config/offshoot/config.toml (macOS: ~/Library/Application Support/dev.offshoot/config.toml)
# and take the # away from what you want to change, section line included. What is shown is the default, or a
# possible value where there is none.
#
# A flag beats an environment variable, which beats this file. Every key has a variable: OFFSHOOT_SERVER_PORT is
# server.port; lists are written as JSON or with commas. AGENT_API_SECRET, PORT, MAX_CONCURRENT_JOBS, REPOS_DIR,
# WORKTREES_DIR, WEBHOOK_SECRET, GITHUB_TOKEN and LOG_LEVEL are short names of the usual ones.
# `offshoot config show --origin` says what holds and why. A file with secrets in it must be of mode 0600.
";

fn about(section: &str) -> &'static str {
    match section {
        "agents.*" => {
            "# One section for each agent program or login. Entries named claude, codex, opencode, gemini, acp and command exist.\n"
        }
        "sandbox" => "# What the programs of a job may see in the sandbox besides the usual, and what not.\n",
        "defaults" => "# Run options of every job that does not say otherwise.\n",
        "profiles.*" => "# Run options and a prompt template under a name, for `submit --profile NAME`.\n",
        "notify.*" => {
            "# Ways to be told of jobs that end and of logins that wait: docs/notifications.md. One section for each.\n"
        }
        "secrets" => "# Named values for set_env.\n",
        _ => "",
    }
}
