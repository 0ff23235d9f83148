//! The token of the `gh` program, for whoever has logged in there and configured none.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// It reads a file or a keyring; a keyring that asks a person would wait for ever.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// `gh auth token` for the forge at `api_url`, run in this environment alone. `None`: the program is not there, not logged in
/// to that host, or does not answer.
pub async fn gh_token(api_url: &Url, environment: &BTreeMap<OsString, OsString>) -> Option<SecretString> {
    let host = api_url.host_str()?;
    let host = host.strip_prefix("api.").unwrap_or(host);
    let mut command = tokio::process::Command::new("gh");
    command.args(["auth", "token", "--hostname", host]).env_clear().envs(environment);
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(ANSWERS_WITHIN, command.output()).await.ok()?.ok()?;
    let token = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !token.is_empty()).then(|| SecretString::from(token))
}
