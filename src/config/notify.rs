//! `[notify.<name>]`: who is told without asking, by which way, of what.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use super::error::Problem;
use super::paths::PlatformDirs;
use super::secret;
use super::values::Values;
use super::web_url;
use crate::domain::allow::AllowEntry;
use crate::domain::notice::{Occasion, Way};

/// One target.
#[derive(Clone, Debug)]
pub struct NotifyEntry {
    pub way: Way,
    /// Often as good as a password. There for every way that leads to a URL, and for no other.
    pub url: Option<SecretString>,
    /// Sent to ntfy in a header.
    pub token: Option<SecretString>,
    /// Inner hosts, addresses and networks that this target alone may be at, as in `callbacks.allow`.
    pub allow: Vec<AllowEntry>,
    /// The program and its arguments; empty but for [`Way::Command`].
    pub command: Vec<String>,
    /// Not empty.
    pub on: Vec<Occasion>,
}

pub(super) fn build(values: &mut Values, dirs: Option<&PlatformDirs>) -> BTreeMap<String, NotifyEntry> {
    let names = values.names("notify");
    names.into_iter().filter_map(|name| Some((name.clone(), one(values, &name, dirs)?))).collect()
}

fn one(values: &mut Values, name: &str, dirs: Option<&PlatformDirs>) -> Option<NotifyEntry> {
    let key = |key: &str| format!("notify.{name}.{key}");
    let Some(way) = values.text(&key("kind")).and_then(|word| Way::parse(&word)) else {
        // one that is set and is no kind has been told already
        if !values.problems.iter().any(|told| told.key == key("kind")) {
            let rule = format!("must be set to one of {}", Way::WORDS.join(", "));
            values.problems.push(Problem::new(key("kind"), rule));
        }
        return None;
    };
    let taken: &[&str] = match way {
        Way::Ntfy => &["url", "url_file", "token", "token_file", "allow"],
        Way::Slack | Way::Discord => &["url", "url_file", "allow"],
        Way::Desktop => &[],
        Way::Command => &["command"],
    };
    for other in ["url", "url_file", "token", "token_file", "allow", "command"] {
        if !taken.contains(&other) && values.entry(&key(other)).is_some() {
            values.problem(&key(other), format!("is nothing for kind {way}: remove the line"));
        }
    }
    let url = secret::take(values, &key("url"), dirs);
    check_url(values, &key("url"), way, url.as_ref());
    let token = secret::take(values, &key("token"), dirs);
    if token.as_ref().is_some_and(|token| !token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()))
    {
        values.problem(&secret::said_by(values, &key("token")), "must be printable ASCII without spaces");
    }
    let command = values.texts(&key("command")).unwrap_or_default();
    if way == Way::Command {
        check_command(values, &key("command"), &command);
    }
    let on = occasions(values, &key("on"));
    let allow = values.exceptions(&key("allow"));
    Some(NotifyEntry { way, url, token, allow, command, on })
}

/// The form alone, in words that show nothing of the URL; who may be reached is the sender's to say.
fn check_url(values: &mut Values, key: &str, way: Way, url: Option<&SecretString>) {
    let file = format!("{key}_file");
    let told = |told: &Problem| told.key == key || told.key == file;
    if !way.has_url() || values.problems.iter().any(told) {
        return;
    }
    let Some(url) = url else {
        values.problems.push(Problem::new(key, format!("must be set for kind {way}, or {file}")));
        return;
    };
    if web_url::parse(url.expose_secret()).is_none() {
        let key = secret::said_by(values, key);
        let is = if key == file { "must name a file with" } else { "must be" };
        let more = if way == Way::Ntfy { "; a token goes into the key beside it" } else { "" };
        let rule = format!("{is} an http or https URL without a user name or a fragment{more}");
        values.problem(&key, rule);
    }
}

fn check_command(values: &mut Values, key: &str, command: &[String]) {
    let rule = "must be a program and its arguments: an absolute path, or a name to be found in PATH";
    let Some(program) = command.first() else {
        values.problem(key, "must be set for kind command");
        return;
    };
    let is_relative = program.contains('/') && !program.starts_with('/');
    if program.trim().is_empty() || program.starts_with('-') || is_relative {
        values.problem(key, rule);
    }
}

/// All of them when nothing is said.
fn occasions(values: &mut Values, key: &str) -> Vec<Occasion> {
    let Some(words) = values.texts(key) else { return Occasion::ALL.to_vec() };
    let found: Option<Vec<_>> = words.iter().map(|word| Occasion::parse(word)).collect();
    match found {
        Some(on) if !on.is_empty() => on,
        _ => {
            let rule = format!("must name one or more of {}", Occasion::WORDS.join(", "));
            values.problem(key, rule);
            Vec::new()
        }
    }
}
