//! The system's programs, run with a deadline.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::error::ServiceError;

/// A start waits until the server is ready, for which the unit gives it five minutes.
const ENDS_WITHIN: Duration = Duration::from_secs(330);
/// How a service is, systemd says within milliseconds; on a loaded machine within a second or two.
const SAYS_WITHIN: Duration = Duration::from_secs(10);
/// Of what a program complains about.
const SAID_CHARS_MAX: usize = 600;

/// Runs `command` in this environment alone and gives what it printed.
///
/// # Errors
/// It is not there, it failed, or it does not end.
pub(super) async fn run(
    command: &[String],
    environment: &BTreeMap<OsString, OsString>,
) -> Result<String, ServiceError> {
    within(ENDS_WITHIN, command, environment).await
}

/// As [`run`], for a question that changes nothing.
pub(super) async fn ask(
    command: &[String],
    environment: &BTreeMap<OsString, OsString>,
) -> Result<String, ServiceError> {
    within(SAYS_WITHIN, command, environment).await
}

async fn within(
    limit: Duration,
    command: &[String],
    environment: &BTreeMap<OsString, OsString>,
) -> Result<String, ServiceError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(String::new()) };
    let shown = || command.join(" ");
    let mut process = Command::new(program);
    process.args(arguments).env_clear().envs(environment).kill_on_drop(true);
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = match tokio::time::timeout(limit, process.output()).await {
        Err(_) => {
            return Err(ServiceError::Silent { command: shown(), seconds: limit.as_secs() });
        }
        Ok(Err(_)) => return Err(ServiceError::NoProgram { program: program.clone() }),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(ServiceError::Refused { command: shown(), said: said.chars().take(SAID_CHARS_MAX).collect() })
}
