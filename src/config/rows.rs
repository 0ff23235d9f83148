//! The plain listing behind `config show`.

use std::collections::BTreeMap;

use toml::Value;

use super::agents::AgentEntry;
use super::keys::{self, Key, Kind};
use super::paths::Paths;
use super::values::{Origin, Values};

/// What is shown in place of a secret: that there is one, not how long it is.
const MASK: &str = "********";

/// One line of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `server.port`
    pub key: String,
    /// As it would be written in the file; empty when not set. Secrets are masked.
    pub value: String,
    pub origin: Origin,
}

/// Fixed keys always, keys below names of the owner's choice when somebody set them.
pub(super) fn build(
    values: &Values,
    agents: &BTreeMap<String, AgentEntry>,
    paths: Option<&Paths>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut named_sections = Vec::new();
    for key in keys::all() {
        if !key.is_named() {
            rows.push(row(key.path(), key, values, paths));
        } else if !named_sections.contains(&key.section) {
            named_sections.push(key.section);
            let top = key.section.split('.').next().unwrap_or(key.section);
            if top == "agents" {
                rows.extend(agent_rows(values, agents));
                continue;
            }
            let below = format!("{top}.");
            let set = values.entries().filter(|(path, _)| path.starts_with(&below));
            rows.extend(set.map(|(path, entry)| row(path.to_owned(), entry.key, values, paths)));
        }
    }
    rows
}

fn row(path: String, key: &'static Key, values: &Values, paths: Option<&Paths>) -> Row {
    let origin = values.entry(&path).map_or(Origin::Default, |entry| entry.origin.clone());
    let value = match (paths, path.as_str()) {
        // Resolved, since the default depends on the platform and `~` on the user.
        (Some(paths), "paths.data_dir") => quoted(&paths.data_dir.to_string_lossy()),
        (Some(paths), "paths.repos_dir") => quoted(&paths.repos_dir.to_string_lossy()),
        (Some(paths), "paths.worktrees_dir") => quoted(&paths.worktrees_dir.to_string_lossy()),
        (Some(paths), "paths.files_dir") => quoted(&paths.files_dir.to_string_lossy()),
        _ => shown(key, values.get(&path).as_ref()),
    };
    Row { key: path, value, origin }
}

fn shown(key: &Key, value: Option<&Value>) -> String {
    match (key.kind, value) {
        (_, None) => String::new(),
        (Kind::SecretOrFile, Some(Value::Table(file))) => Value::Table(file.clone()).to_string(),
        (_, Some(_)) if key.is_hidden() => MASK.to_owned(),
        (_, Some(value)) => value.to_string(),
    }
}

fn agent_rows(values: &Values, agents: &BTreeMap<String, AgentEntry>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, entry) in agents {
        let texts = |items: &[String]| {
            Value::Array(items.iter().map(|item| Value::String(item.clone())).collect()).to_string()
        };
        let command = entry.command.as_deref().map(quoted).unwrap_or_default();
        let masked = if entry.set_env.is_empty() { String::new() } else { MASK.to_owned() };
        let all = [
            ("kind", quoted(entry.kind.as_str())),
            ("command", command),
            ("args", texts(&entry.args)),
            ("env", texts(&entry.env)),
            ("set_env", masked),
        ];
        for (key, value) in all {
            let key = format!("agents.{name}.{key}");
            let origin = values.entry(&key).map_or(Origin::Default, |entry| entry.origin.clone());
            rows.push(Row { key, value, origin });
        }
    }
    rows
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
