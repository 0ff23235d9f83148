//! The user's own network settings, read once at start, and ours beside them.

use secrecy::SecretString;

use super::error::GitError;
use super::program::{base_command, finish};
use super::settings::GitSettings;

/// Gives up when less than this arrives per second for [`LOW_SPEED_SECONDS`]: a dead connection, not a slow line.
const LOW_SPEED_BYTES: &str = "1000";
/// See [`LOW_SPEED_BYTES`].
const LOW_SPEED_SECONDS: &str = "60";
/// ssh that neither asks nor hangs: 20 s to connect, dead after three unanswered probes 15 s apart (ssh_config(5)).
const SSH_COMMAND: &str =
    "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=3";

/// Reads what global and system configuration say about the network. Later runs get these settings explicitly and
/// read no configuration file but the clone's.
pub(super) async fn read_user_settings(
    settings: &GitSettings,
) -> Result<Vec<(String, SecretString)>, GitError> {
    let mut command = base_command(settings);
    // A directory that is no repository: only the user's and the system's files are listed.
    command.env("GIT_DIR", "/dev/null").args(["config", "--list", "-z", "--includes"]);
    let output = finish(command, "list the user's settings", settings.query_deadline).await?;
    if !output.success {
        // No configuration at all is an error for git and fine here.
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let entries = text.split('\0').filter_map(|entry| entry.split_once('\n'));
    Ok(entries
        .filter(|(key, _)| concerns_network(key))
        .map(|(key, value)| (key.to_owned(), SecretString::from(value)))
        .collect())
}

/// Settings of ours for a run that may use the network; the user's follow and may outrank the limits among them.
pub(super) fn fixed_settings(
    user: &[(String, SecretString)],
    settings: &GitSettings,
) -> Vec<(String, SecretString)> {
    let mut config = vec![
        // A renamed repository must be noticed by its id, not followed by address.
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", LOW_SPEED_BYTES),
        ("http.lowSpeedTime", LOW_SPEED_SECONDS),
        // Forgets helpers that the clone's own configuration could name.
        ("credential.helper", ""),
        ("core.askPass", ""),
    ];
    let own_ssh = user.iter().any(|(key, _)| key == "core.sshcommand")
        || settings.environment.keys().any(|name| name == "GIT_SSH_COMMAND" || name == "GIT_SSH");
    if !own_ssh {
        config.push(("core.sshCommand", SSH_COMMAND));
    }
    config.into_iter().map(|(key, value)| (key.to_owned(), SecretString::from(value))).collect()
}

/// Whether a user's setting would answer for a token of ours, or send it to another address.
pub(super) fn competes_with_token(key: &str) -> bool {
    key.starts_with("credential.")
        || key.starts_with("url.")
        || key.ends_with(".extraheader")
        || key.ends_with(".followredirects")
}

/// `git config --list` gives section and variable in lower case and keeps the case of the middle part.
fn concerns_network(key: &str) -> bool {
    matches!(key, "core.sshcommand" | "ssh.variant")
        || key.starts_with("credential.")
        || key.starts_with("http.")
        || (key.starts_with("url.") && (key.ends_with(".insteadof") || key.ends_with(".pushinsteadof")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_settings_are_taken_over() {
        for key in [
            "credential.helper",
            "credential.https://x.helper",
            "core.sshcommand",
            "http.proxy",
            "url.git@h:.insteadof",
        ] {
            assert!(concerns_network(key), "{key}");
        }
        for key in [
            "core.hookspath",
            "filter.lfs.clean",
            "core.fsmonitor",
            "alias.st",
            "protocol.ext.allow",
            "diff.external",
            "include.path",
        ] {
            assert!(!concerns_network(key), "{key}");
        }
    }
}
