//! Every secret value that this server holds, whatever it is for, with the name under which its owner knows it.

use secrecy::SecretString;

use crate::config::{Config, Environment};
use crate::forge::GitHubAuth;

/// Parts of names of variables whose values are secrets, whoever reads them.
const TELLING: [&str; 8] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "PRIVATE_KEY", "CREDENTIAL"];

/// Endings of names of variables that lead to a secret and are none.
const LEADS_TO_ONE: [&str; 4] = ["_FILE", "_PATH", "_DIR", "_URL"];

/// The names are those of the configuration's keys, or of the environment's variables. `auth` is what is in use, wherever it
/// came from.
pub(super) fn held(config: &Config, env: &Environment, auth: &GitHubAuth) -> Vec<(String, SecretString)> {
    let mut held = Vec::new();
    let mut hold = |name: &str, value: Option<&SecretString>| {
        held.extend(value.map(|value| (name.to_owned(), value.clone())));
    };
    hold("server.secret", config.server.secret.as_ref());
    hold("callbacks.secret", config.callbacks.secret.as_ref());
    hold("callbacks.previous_secret", config.callbacks.previous_secret.as_ref());
    match auth {
        GitHubAuth::App { private_key_pem, .. } => hold("github.app_key_file", Some(private_key_pem)),
        GitHubAuth::Token(token) => hold("github.token", Some(token)),
        GitHubAuth::Anonymous => hold("github.token", config.github.token.as_ref()),
    }
    for (name, value) in &config.secrets {
        hold(&format!("secrets.{name}"), Some(value));
    }
    for (name, target) in &config.notify {
        hold(&format!("notify.{name}.url"), target.url.as_ref());
        hold(&format!("notify.{name}.token"), target.token.as_ref());
    }
    for (name, entry) in &config.agents {
        for (variable, value) in entry.set_env.iter().filter(|(variable, _)| tells_of_a_secret(variable)) {
            hold(&format!("agents.{name}.set_env.{variable}"), Some(value));
        }
    }
    for (variable, value) in env.for_agents_to_pick_from() {
        if let (Some(variable), Some(value)) = (variable.to_str(), value.to_str())
            && tells_of_a_secret(variable)
            && may_be_one(value)
        {
            hold(variable, Some(&SecretString::from(value)));
        }
    }
    held
}

/// Numbers and places of files are none, whatever they are called: `MAX_OUTPUT_TOKENS`, `GOOGLE_APPLICATION_CREDENTIALS`.
fn may_be_one(value: &str) -> bool {
    !value.bytes().all(|byte| byte.is_ascii_digit()) && !std::path::Path::new(value).exists()
}

fn tells_of_a_secret(variable: &str) -> bool {
    let variable = variable.to_ascii_uppercase();
    TELLING.iter().any(|part| variable.contains(part))
        && !LEADS_TO_ONE.iter().any(|end| variable.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tell_of_a_secret() {
        let rows = [
            ("ANTHROPIC_API_KEY", true),
            ("CLAUDE_CODE_OAUTH_TOKEN", true),
            ("AWS_SECRET_ACCESS_KEY", true),
            ("DB_PASSWORD", true),
            ("GOOGLE_APPLICATION_CREDENTIALS_FILE", false),
            ("TOKEN_URL", false),
            ("PATH", false),
            ("SSH_AUTH_SOCK", false),
            ("KEYBOARD", false),
        ];
        for (name, is_secret) in rows {
            assert_eq!(tells_of_a_secret(name), is_secret, "{name}");
        }
        let values =
            [("32000000", false), ("/etc/passwd", false), ("k3Xv9QpLmZ7r", true), ("/k3Xv9QpLmZ7r", true)];
        assert!(values.into_iter().all(|(value, may_be)| may_be_one(value) == may_be));
    }
}
