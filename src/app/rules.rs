//! The rules for what callers may write into a job or a client; each broken one is a fault with its place.

use std::collections::BTreeSet;

use serde_json::Value;

use super::profiles::known;
use super::settings::Settings;
use crate::agent::registry::find_agent;
use crate::domain::attachment::{ATTACHMENTS_BYTES_MAX, AttachedFile, check_name};
use crate::domain::branch::BranchName;
use crate::domain::client::{CLIENT_NAME_BYTES_MAX, InvalidRepository, RepositoryName};
use crate::domain::job::{METADATA_BYTES_MAX, PRIORITY_MAX, PROMPT_BYTES_MAX, TITLE_CHARS_MAX};
use crate::domain::options::{Layer, RunOptions, is_entry_name};
use crate::webhook;
use crate::wire::fields::Reading;
use crate::wire::problem::Fault;
use crate::wire::profile::variable_pointer;

/// GitHub takes 65,536 characters for a pull request's text; half of that leaves room for what we add.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// Ids of other systems: longer ones are something else by mistake.
const FOREIGN_ID_BYTES_MAX: usize = 256;
const LABELS_MAX: usize = 20;
const LABEL_CHARS_MAX: usize = 64;
/// git itself has no limit; longer addresses are a mistake.
const CLONE_URL_BYTES_MAX: usize = 2_048;

/// The trimmed prompt, when it is one.
pub(super) fn prompt(prompt: Option<&str>, reading: &mut Reading) -> String {
    let Some(prompt) = prompt else {
        // a wrong type was reported when it was read
        if !reading.faults.iter().any(|fault| fault.pointer == "/prompt") {
            reading.fault("/prompt", "is required");
        }
        return String::new();
    };
    let trimmed = prompt.trim();
    if trimmed.is_empty() {
        reading.fault("/prompt", "must not be empty");
    } else if trimmed.len() > PROMPT_BYTES_MAX {
        reading.fault("/prompt", format!("must be at most {PROMPT_BYTES_MAX} bytes after trimming"));
    } else if trimmed.contains('\0') {
        reading.fault("/prompt", "must not contain a NUL character");
    }
    trimmed.to_owned()
}

/// A branch to work on: valid, and not protected.
pub(super) fn work_branch(
    name: Option<&str>,
    settings: &Settings,
    reading: &mut Reading,
) -> Option<BranchName> {
    let branch = branch("/branchName", name, reading)?;
    if let Some(pattern) = settings.protected_branches.iter().find(|pattern| branch.matches(pattern)) {
        reading.fault("/branchName", format!("is protected (git.protected_branches has \"{pattern}\")"));
    }
    Some(branch)
}

pub(super) fn branch(pointer: &str, name: Option<&str>, reading: &mut Reading) -> Option<BranchName> {
    match BranchName::parse(name?) {
        Ok(branch) => Some(branch),
        Err(rule) => {
            reading.fault(pointer, rule.to_string());
            None
        }
    }
}

/// Both parts, or neither; `required` when there is no other way to name the client.
pub(super) fn repository(
    org: Option<&str>,
    repo: Option<&str>,
    settings: &Settings,
    reading: &mut Reading,
) -> Option<RepositoryName> {
    let (org, repo) = match (org, repo) {
        (Some(org), Some(repo)) => (org, repo),
        (Some(_), None) => {
            reading.fault("/githubRepo", "is required with githubOrg");
            return None;
        }
        (None, Some(_)) => {
            reading.fault("/githubOrg", "is required with githubRepo");
            return None;
        }
        (None, None) => return None,
    };
    match RepositoryName::parse(org, repo) {
        Ok(name) => {
            let allowed = &settings.allowed_orgs;
            if !allowed.is_empty() && !allowed.iter().any(|one| one.eq_ignore_ascii_case(org)) {
                reading.fault("/githubOrg", "is not among the allowed organisations (github.allowed_orgs)");
            }
            Some(name)
        }
        Err(rule) => {
            let pointer = match rule {
                InvalidRepository::Org => "/githubOrg",
                InvalidRepository::Repo => "/githubRepo",
            };
            reading.fault(pointer, rule.to_string());
            None
        }
    }
}

/// The canonical callback URL.
pub(super) fn callback_url(url: Option<&str>, settings: &Settings, reading: &mut Reading) -> Option<String> {
    match webhook::check_url(url?, &settings.callbacks) {
        Ok(url) => Some(url.as_str().to_owned()),
        Err(rule) => {
            reading.fault("/osCallbackUrl", rule.to_string());
            None
        }
    }
}

pub(super) fn title(title: Option<&str>, reading: &mut Reading) {
    let Some(title) = title else { return };
    if title.trim().is_empty()
        || title.chars().count() > TITLE_CHARS_MAX
        || title.chars().any(char::is_control)
    {
        reading.fault("/title", format!("must be one line of 1 to {TITLE_CHARS_MAX} characters"));
    }
}

pub(super) fn body(body: Option<&str>, reading: &mut Reading) {
    if body.is_some_and(|body| body.len() > BODY_BYTES_MAX || body.contains('\0')) {
        reading.fault("/body", format!("must be at most {BODY_BYTES_MAX} bytes without a NUL character"));
    }
}

/// An id of another system, a name: one short line.
pub(super) fn foreign_id(pointer: &str, id: Option<&str>, reading: &mut Reading) {
    if id.is_some_and(|id| {
        id.is_empty() || id.len() > FOREIGN_ID_BYTES_MAX || id.chars().any(char::is_control)
    }) {
        reading.fault(pointer, format!("must be one line of 1 to {FOREIGN_ID_BYTES_MAX} bytes"));
    }
}

pub(super) fn client_name(name: &str, reading: &mut Reading) {
    if name.trim().is_empty() || name.len() > CLIENT_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        reading.fault("/name", format!("must be one line of 1 to {CLIENT_NAME_BYTES_MAX} bytes"));
    }
}

/// Of what is named like an entry of the configuration.
pub(super) fn entry_name(name: Option<&str>, reading: &mut Reading) -> String {
    match name {
        Some(name) if is_entry_name(name) => return name.to_owned(),
        Some(_) => {
            reading
                .fault("/name", "must be 1 to 64 characters of a-z, 0-9, - and _, a letter or digit first");
        }
        // a wrong type was told when it was read
        None if reading.faults.iter().any(|fault| fault.pointer == "/name") => {}
        None => reading.fault("/name", "is required"),
    }
    String::new()
}

/// The object as text, as it is stored.
pub(super) fn metadata(metadata: Option<&Value>, reading: &mut Reading) -> Option<String> {
    let metadata = metadata?;
    let text = metadata.to_string();
    if !metadata.is_object() {
        reading.fault("/metadata", "must be an object");
    } else if text.len() > METADATA_BYTES_MAX {
        reading.fault("/metadata", format!("must be at most {METADATA_BYTES_MAX} bytes of JSON"));
    }
    Some(text)
}

pub(super) fn labels(labels: &[String], reading: &mut Reading) {
    if labels.len() > LABELS_MAX {
        reading.fault("/labels", format!("must have at most {LABELS_MAX} entries"));
        return;
    }
    for (index, label) in labels.iter().enumerate() {
        let fits = (1..=LABEL_CHARS_MAX).contains(&label.chars().count());
        if !fits || label.chars().any(char::is_control) {
            reading.fault(
                format!("/labels/{index}"),
                format!("must be one line of 1 to {LABEL_CHARS_MAX} characters"),
            );
        }
    }
}

/// Those that could be read. Names are told apart without regard to case, because file systems may not.
pub(super) fn attachments(files: Vec<Option<AttachedFile>>, reading: &mut Reading) -> Vec<AttachedFile> {
    let mut seen = BTreeSet::new();
    for (index, file) in files.iter().enumerate() {
        let Some(file) = file else { continue };
        let pointer = format!("/attachments/{index}/name");
        if let Err(rule) = check_name(&file.name) {
            reading.fault(pointer, rule.to_string());
        } else if !seen.insert(file.name.to_lowercase()) {
            reading.fault(pointer, "is the name of another attachment");
        }
    }
    let files: Vec<_> = files.into_iter().flatten().collect();
    if files.iter().map(|file| file.content.len()).sum::<usize>() > ATTACHMENTS_BYTES_MAX {
        reading.fault("/attachments", format!("must have at most {ATTACHMENTS_BYTES_MAX} bytes together"));
    }
    files
}

pub(super) fn priority(priority: Option<i64>, reading: &mut Reading) -> i8 {
    let priority = priority.unwrap_or(0);
    match i8::try_from(priority) {
        Ok(priority) if (-PRIORITY_MAX..=PRIORITY_MAX).contains(&priority) => priority,
        _ => {
            reading.fault("/priority", format!("must be between -{PRIORITY_MAX} and {PRIORITY_MAX}"));
            0
        }
    }
}

/// An address that git may use: https, http, ssh, git, file, `user@host:path` or an absolute path; never a remote
/// helper (`ext::`), an option, or one with a password inside.
pub(super) fn clone_url(url: Option<&str>, reading: &mut Reading) {
    let Some(url) = url else { return };
    let plain = !url.is_empty()
        && url.len() <= CLONE_URL_BYTES_MAX
        && !url.starts_with('-')
        && !url.contains("::")
        && !url.chars().any(|c| c.is_control() || c.is_whitespace());
    let known = match url.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split('/').next().unwrap_or_default();
            let login = authority.rsplit_once('@').map(|(login, _)| login);
            let host_is_option = authority.rsplit('@').next().is_some_and(|host| host.starts_with('-'));
            let has_login =
                login.is_some_and(|login| scheme != "ssh" || login.contains(':') || login.starts_with('-'));
            ["https", "http", "ssh", "git", "file"].contains(&scheme) && !has_login && !host_is_option
        }
        None if url.starts_with('/') => true,
        None => url.split_once(':').is_some_and(|(host, path)| {
            let name = host.rsplit('@').next().unwrap_or_default();
            !host.contains('/') && !name.is_empty() && !name.starts_with('-') && !path.is_empty()
        }),
    };
    if !plain || !known {
        reading.fault(
            "/cloneUrl",
            "must be an https, http, ssh, git or file address without a password, user@host:path, or an absolute path",
        );
    }
}

/// Ranges of the options, and the names in them.
pub(super) fn options(options: &RunOptions, layer: Layer, settings: &Settings, reading: &mut Reading) {
    ranges(options, layer, settings, reading);
    // whoever may not name secrets is not told which there are
    if matches!(layer, Layer::Client | Layer::Profile) {
        let names: Vec<_> = settings.secrets.iter().map(String::as_str).collect();
        for (pointer, secret) in missing_secrets(options, settings) {
            reading.fault(pointer, format!("{}; {}", is_no_secret(secret), known(secret, &names)));
        }
    }
}

/// The same of a profile that somebody uses: he is told what of it is missing, and nothing of what else there is.
pub(super) fn options_still_fit(options: &RunOptions, settings: &Settings, reading: &mut Reading) {
    ranges(options, Layer::Profile, settings, reading);
    for (pointer, secret) in missing_secrets(options, settings) {
        reading.fault(pointer, is_no_secret(secret));
    }
}

fn ranges(options: &RunOptions, layer: Layer, settings: &Settings, reading: &mut Reading) {
    for violation in options.check(layer) {
        reading.fault(format!("/options{}", violation.pointer()), violation.rule);
    }
    if let Some(agent) = &options.agent {
        agent_entry(agent, settings, reading);
    }
}

/// The secrets that are named and not there, each with its place; a value is looked up when a step begins.
fn missing_secrets<'o>(
    options: &'o RunOptions,
    settings: &Settings,
) -> impl Iterator<Item = (String, &'o str)> {
    let named = options.set_env.iter().flatten().filter(|(_, secret)| is_entry_name(secret));
    let missing = named.filter(|(_, secret)| !settings.secrets.contains(*secret));
    missing.map(|(variable, secret)| (variable_pointer("/options/setEnv", variable), secret.as_str()))
}

fn is_no_secret(secret: &str) -> String {
    format!("names the secret \"{secret}\", which is not in [secrets] of the configuration")
}

fn agent_entry(agent: &str, settings: &Settings, reading: &mut Reading) {
    let pointer = "/options/agent";
    if !settings.agents.contains_key(agent) {
        let names: Vec<_> = settings.agents.keys().map(String::as_str).collect();
        reading.fault(pointer, format!("must be a configured agent: {}", names.join(", ")));
    }
}

/// What the agent that is to work cannot carry out of all that is asked of it: by the job, whose own options are
/// `options`, or by the layers below it in `merged`. Nothing of it is dropped in silence.
pub(super) fn carried_out(
    login: &str,
    options: &RunOptions,
    merged: &RunOptions,
    settings: &Settings,
    reading: &mut Reading,
) {
    let Some(kind) = settings.agents.get(login) else { return };
    for (name, rule) in find_agent(*kind).capabilities().refusals(merged) {
        let mut detail = format!("{rule}: the agent \"{login}\" is of the kind {kind}");
        if !options.set_names().contains(&name) {
            detail.push_str("; the option is set by the profile, for the client or in [defaults]");
        }
        reading.not_supported.push(Fault::new(format!("/options/{}", name.camel_case()), detail));
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
