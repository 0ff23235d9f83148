//! Whether a server may be started with this configuration, and what its owner should know.

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use toml::{Table, Value};
use url::{Host, Url};

use super::error::{Problem, Warning};
use super::keys::NOT_BUILT;
use super::sections::{Callbacks, Github, Server};
use super::values::{Origin, Values};
use crate::domain::phrases::{edit, path_word, shell_word};

/// Characters of the admin token; 32 of hex are 128 bits, beyond guessing over a network.
const SECRET_CHARS_MIN: usize = 32;

/// What `offshoot init` writes where a token is to be put. Taken for a token it would cost each job its work: the push is
/// refused after the agent was paid.
pub const TOKEN_PLACEHOLDER: &str = "put-a-token-here";

const HOW_TO_SECRET: &str = "export AGENT_API_SECRET=$(openssl rand -hex 32)";

/// The token, unless it is absent, or too weak for an address that others can reach.
pub(super) fn admin_secret(server: &Server) -> Result<&SecretString, Problem> {
    let problem = |rule: String| Problem::new("server.secret", rule).from("AGENT_API_SECRET");
    let Some(secret) = &server.secret else {
        let rule = "must be set: without a secret anybody on this machine could run commands as you";
        return Err(problem(rule.to_owned()).remedy(format!("offshoot init, or {HOW_TO_SECRET}")));
    };
    if is_short(secret) && !server.bind.to_canonical().is_loopback() {
        let rule = format!(
            "must have {SECRET_CHARS_MIN} characters or more, because others can reach {}",
            server.bind
        );
        return Err(problem(rule).remedy(format!("{HOW_TO_SECRET}, or set server.bind to 127.0.0.1")));
    }
    Ok(secret)
}

/// What makes a secret and names it in the configuration file `file`, which is there: each with what it is for.
#[must_use]
pub fn how_to_add_a_secret(file: &Path) -> Vec<(String, String)> {
    let secret = file.with_file_name("secret");
    let mut steps = Vec::new();
    if !secret.exists() {
        let command = format!("(umask 077 && openssl rand -hex 32 > {})", path_word(&secret));
        steps.push(("make a secret".to_owned(), command));
    }
    let line = format!("secret_file = {}", Value::String(secret.display().to_string()));
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // a table is written once
    if toml::from_str::<Table>(&text).is_ok_and(|table| table.contains_key("server")) {
        steps.push((format!("then put below [server] {line}"), edit(file)));
    } else {
        let command = format!("printf '\\n[server]\\n%s\\n' {} >> {}", shell_word(&line), path_word(file));
        steps.push(("then name it".to_owned(), command));
    }
    steps
}

pub(super) fn is_short(secret: &SecretString) -> bool {
    secret.expose_secret().chars().count() < SECRET_CHARS_MIN
}

/// Adds the problems and warnings of serving. Without `serving` only what concerns everybody.
pub(super) fn check(
    (server, github, callbacks): (&Server, Option<&Github>, &Callbacks),
    serving: bool,
    values: &mut Values,
    warnings: &mut Vec<Warning>,
) {
    let short = server.secret.as_ref().is_some_and(is_short);
    let mut warn = |code, text: String| warnings.push(Warning { code, text });
    if github.is_some_and(|github| github.api_url.scheme() == "http" && !is_loopback(github.api_url.host())) {
        warn("exposed", "github.api_url is plain http: the token can be read on the way".to_owned());
    }
    if !serving {
        return;
    }
    if let Err(problem) = admin_secret(server) {
        // A fault in the secret itself has been told already.
        if !values.problems.iter().any(|told| told.key.starts_with("server.secret")) {
            values.problems.push(problem);
        }
    } else if short {
        let text = format!(
            "server.secret has fewer than {SECRET_CHARS_MIN} characters; that is accepted on loopback only. Better: {HOW_TO_SECRET}"
        );
        warn("weak_secret", text);
    }
    if github.is_some_and(Github::has_placeholder) {
        let rule = "is still the word that offshoot init put in its place: every push would be refused";
        let file = values.text("github.token_file").unwrap_or_else(|| "FILE".to_owned());
        let problem = Problem::new("github.token", rule);
        values.problems.push(problem.remedy(edit(Path::new(&file))));
    }
    if !server.bind.to_canonical().is_loopback() {
        let bind = server.bind;
        warn(
            "exposed",
            format!("others can reach {bind} and the traffic is not encrypted: put a TLS proxy before it"),
        );
        if server.allowed_hosts.is_empty() {
            warn(
                "exposed",
                "server.allowed_hosts is empty: requests that name this machine by a host name are refused"
                    .to_owned(),
            );
        }
    }
    if let Some(host) = unanswered_host(server) {
        let text = format!(
            "server.public_url leads to {host}, which server.allowed_hosts does not name: who follows a link of a notice is answered 421, unless a proxy asks for another host"
        );
        warn("unknown_host", text);
    }
    if callbacks.secret.is_none() {
        let text = "callbacks are not signed: set callbacks.secret or WEBHOOK_SECRET".to_owned();
        warn("unsigned_callbacks", text);
    }
}

/// The host name in `server.public_url`, if requests that come with it are refused.
fn unanswered_host(server: &Server) -> Option<String> {
    let url = Url::parse(server.public_url.as_deref()?).ok()?;
    let Some(Host::Domain(name)) = url.host() else { return None };
    let authority = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
    let is_named =
        |host: &String| [name, authority.as_str()].iter().any(|one| host.eq_ignore_ascii_case(one));
    let is_answered = name == "localhost" || server.allowed_hosts.iter().any(is_named);
    (!is_answered).then(|| name.to_owned())
}

fn is_loopback(host: Option<Host<&str>>) -> bool {
    match host {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Refuses every use of what is not built yet.
pub(super) fn check_not_built(values: &mut Values) {
    let mut refused: Vec<(String, Origin)> = Vec::new();
    for (path, entry) in values.entries() {
        // In a profile an option is as unbuilt as in the defaults, where it is named once.
        let as_default = path.strip_prefix("profiles.").and_then(|rest| rest.split_once('.'));
        let as_default = as_default.map(|(_, option)| format!("defaults.{option}"));
        let is_named = NOT_BUILT.iter().any(|name| *name == path || as_default.as_deref() == Some(name));
        if is_named && entry.key.default_value().as_ref() != Some(&entry.value) {
            refused.push((path.to_owned(), entry.origin.clone()));
        }
    }
    for (path, origin) in refused {
        let problem =
            Problem::new(path, "is not supported yet (not_supported), and ignoring it would be unsafe");
        values.problems.push(problem.from(origin).remedy("remove the line, or set it to its default"));
    }
}
