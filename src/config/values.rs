//! The layers joined: for every key that somebody set, its value of the right kind and who set it.

use std::collections::BTreeMap;
use std::fmt;

use toml::Value;

use super::error::Problem;
use super::keys::{self, Key, Kind};
use crate::domain::allow::AllowEntry;

/// Who set a value. The later ones in this list beat the earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    /// The configuration file; lines count from 1.
    File {
        line: usize,
    },
    /// A credential of this name, passed by systemd.
    Credential(String),
    /// The environment variable of this name.
    Environment(String),
    /// The option of this name on the command line.
    Flag(&'static str),
}

impl Origin {
    /// The strength of the layer: one layer can contradict itself, a stronger one overrules a weaker.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Credential(_) => 2,
            Self::Environment(_) => 3,
            Self::Flag(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line } => write!(f, "file, line {line}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Deliberately without `Debug`: values may be secrets until the sections have taken them out.
pub(super) struct Values {
    entries: BTreeMap<String, Entry>,
    pub(super) problems: Vec<Problem>,
}

pub(super) struct Entry {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Values {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), problems: Vec::new() }
    }

    /// Sets the value at `path`, over whatever a weaker layer said. An empty secret or path says nothing.
    pub(super) fn set(&mut self, path: &str, key: &'static Key, value: Value, origin: Origin) {
        let is_empty = value.as_str().is_some_and(str::is_empty);
        if is_empty && matches!(key.kind, Kind::Secret | Kind::Path) {
            return;
        }
        if let Some(rule) = broken_kind(key.kind, &value) {
            self.problems.push(Problem::new(path, rule).from(&origin));
        } else {
            self.entries.insert(path.to_owned(), Entry { key, value, origin });
        }
    }

    pub(super) fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The names of the owner's choice below `top`: agents, profiles, channels, secrets.
    pub(super) fn names(&self, top: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .entries
            .keys()
            .filter_map(|path| path.strip_prefix(top)?.strip_prefix('.'))
            .map(|rest| rest.split('.').next().unwrap_or(rest).to_owned())
            .collect();
        names.dedup();
        names
    }

    /// What holds for `path`: what somebody said, else the default.
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        match self.entries.get(path) {
            Some(entry) => Some(entry.value.clone()),
            None => keys::find(path)?.default_value(),
        }
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.get(path)?.as_str().map(str::to_owned)
    }

    pub(super) fn integer(&self, path: &str) -> Option<u64> {
        self.get(path)?.as_integer().and_then(|number| u64::try_from(number).ok())
    }

    pub(super) fn small(&self, path: &str) -> Option<u32> {
        self.integer(path).and_then(|number| u32::try_from(number).ok())
    }

    pub(super) fn bool(&self, path: &str) -> Option<bool> {
        self.get(path)?.as_bool()
    }

    pub(super) fn integers(&self, path: &str) -> Option<Vec<u64>> {
        let items = self.get(path)?;
        let numbers = items.as_array()?.iter().filter_map(Value::as_integer);
        Some(numbers.filter_map(|number| u64::try_from(number).ok()).collect())
    }

    pub(super) fn texts(&self, path: &str) -> Option<Vec<String>> {
        let items = self.get(path)?;
        Some(items.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The list at `path` of what is excepted. An entry that nobody can read is a problem: what it was to allow would be refused.
    pub(super) fn exceptions(&mut self, path: &str) -> Vec<AllowEntry> {
        let texts = self.texts(path).unwrap_or_default();
        let read: Vec<Option<AllowEntry>> = texts.iter().map(|text| text.parse().ok()).collect();
        // by its number: it may be an address that is itself a secret
        if let Some(index) = read.iter().position(Option::is_none) {
            let rule = "must hold hosts, addresses or networks, each with a port or without, such as 192.168.1.5:8080";
            self.problem(path, format!("{rule}; entry {} is none", index + 1));
        }
        read.into_iter().flatten().collect()
    }

    /// Notes a broken rule about the value at `path`.
    pub(super) fn problem(&mut self, path: &str, rule: impl Into<String>) {
        let problem = Problem::new(path, rule);
        let problem = match self.entries.get(path) {
            Some(entry) => problem.from(&entry.origin),
            None => problem,
        };
        self.problems.push(problem);
    }
}

/// The rule that `value` breaks, if it is not of this kind.
fn broken_kind(kind: Kind, value: &Value) -> Option<String> {
    let is_texts = |value: &Value| {
        value.as_array().is_some_and(|items| items.iter().all(|item| item.as_str().is_some_and(is_plain)))
    };
    let each = |holds: fn(&Value) -> bool| value.as_table().is_some_and(|table| table.values().all(holds));
    let (holds, rule) = match kind {
        Kind::Text | Kind::Secret | Kind::Path => {
            (value.as_str().is_some_and(is_plain), "must be a text without control characters".to_owned())
        }
        Kind::Bool => (value.is_bool(), "must be true or false".to_owned()),
        Kind::Integer(min, max) => {
            let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
            let rule = match max {
                _ if i64::try_from(max) == Ok(i64::MAX) => format!("must be a whole number of {min} or more"),
                _ => format!("must be a whole number between {min} and {max}"),
            };
            (number.is_some_and(|number| (min..=max).contains(&number)), rule)
        }
        Kind::Dollars => {
            (value.is_integer() || value.is_float(), "must be an amount in US dollars".to_owned())
        }
        Kind::Words(words) => {
            let word = value.as_str().unwrap_or_default();
            (words.contains(&word), format!("must be {}", one_of(words, word)))
        }
        Kind::Integers(min, max) => {
            let fits = |item: &Value| {
                let number = item.as_integer().and_then(|number| u64::try_from(number).ok());
                number.is_some_and(|number| (min..=max).contains(&number))
            };
            let holds = value.as_array().is_some_and(|all| all.len() <= 20 && all.iter().all(fits));
            (holds, format!("must be a list of at most 20 whole numbers between {min} and {max}"))
        }
        Kind::Texts => (is_texts(value), "must be a list of texts".to_owned()),
        Kind::Commands => {
            let holds =
                value.as_array().is_some_and(|all| all.iter().all(|item| item.is_str() || is_texts(item)));
            (holds, "must be a list of commands, each a list of words or one line for sh -c".to_owned())
        }
        Kind::Map => (each(Value::is_str), "must map names to texts".to_owned()),
        Kind::Variables => (
            each(|value| value.is_str() || has_only(value, "secret")),
            "must map names to texts or { secret = \"name\" }".to_owned(),
        ),
        Kind::SecretOrFile => {
            (value.is_str() || has_only(value, "file"), "must be a text or { file = \"/path\" }".to_owned())
        }
    };
    (!holds).then_some(rule)
}

/// A table with nothing but a text under `name`.
fn has_only(value: &Value, name: &str) -> bool {
    let table = value.as_table();
    table.is_some_and(|table| table.len() == 1 && table.get(name).is_some_and(Value::is_str))
}

/// A prompt may have lines; nothing may have other control characters.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t'))
}

/// "debug, info or warn", and the one that was probably meant.
fn one_of(words: &[&str], word: &str) -> String {
    let (last, first) = words.split_last().unwrap_or((&"", &[]));
    let list = format!("{} or {last}", first.join(", "));
    let near = words.iter().find(|known| strsim::jaro_winkler(known, word) > 0.85);
    near.map_or(list.clone(), |near| format!("{list}; did you mean {near}?"))
}
