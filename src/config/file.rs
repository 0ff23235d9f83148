//! The configuration file: TOML, in which every key must be known.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::error::Problem;
use super::keys::{self, Kind};
use super::values::{Origin, Values};
use crate::domain::phrases::path_word;

/// A configuration of a few hundred keys is far smaller; a larger file is not a configuration.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the file at `path` into `values`. An absent file is a fault only when it is `required`.
pub(super) fn read(path: &Path, required: bool, values: &mut Values) {
    let shown = path.display();
    let fault = |rule: String| Problem::new(format!("the configuration file {shown}"), rule);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && !required => return,
        Err(error) => {
            let problem = fault(if error.kind() == ErrorKind::NotFound {
                "does not exist".to_owned()
            } else {
                format!("cannot be opened: {}", error.kind())
            });
            let denied = error.kind() == ErrorKind::PermissionDenied;
            values.problems.push(if denied { problem.permission() } else { problem });
            return;
        }
    };
    let mut text = String::new();
    let taken = file.by_ref().take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if taken.is_err() || text.len() as u64 > FILE_BYTES_MAX {
        let rule = format!("must be UTF-8 text of at most {FILE_BYTES_MAX} bytes");
        values.problems.push(fault(rule));
        return;
    }
    parse(&text, values);
    let open_to_others = file.metadata().is_ok_and(|found| found.mode() & 0o077 != 0);
    let secret = values.entries().find(|(_, entry)| may_be_secret(entry.key, &entry.value));
    if let (true, Some((key, _))) = (open_to_others, secret) {
        let rule = format!("holds {key} and can be read by others");
        let remedy = format!("chmod 600 {}", path_word(path));
        values.problems.push(fault(rule).remedy(remedy).permission());
    }
}

/// What others must not read: a secret that stands here itself, and the texts that an agent gets as variables, for what is in them
/// nobody knows.
fn may_be_secret(key: &keys::Key, value: &Value) -> bool {
    let holds_text = || value.as_table().is_some_and(|table| table.values().any(Value::is_str));
    (key.is_hidden() && value.is_str()) || (matches!(key.kind, Kind::Variables) && holds_text())
}

/// Takes every key of `text` into `values`; whatever is not known is a problem with its line.
pub(super) fn parse(text: &str, values: &mut Values) {
    let parsed = DeTable::parse(text).and_then(|lines| Ok((lines, toml::from_str::<Table>(text)?)));
    match parsed {
        Ok((lines, table)) => Walk { text, values }.table("", &table, lines.get_ref()),
        Err(error) => {
            let line = line_at(text, error.span().map_or(0, |span| span.start));
            let problem = Problem::new("the configuration file", format!("is not TOML: {}", error.message()));
            values.problems.push(problem.from(Origin::File { line }));
        }
    }
}

struct Walk<'run> {
    text: &'run str,
    values: &'run mut Values,
}

impl Walk<'_> {
    fn table(&mut self, above: &str, table: &Table, lines: &DeTable<'_>) {
        for (name, value) in table {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            // Both tables come from one text, so the line is always found; a name is never looked up elsewhere.
            let spanned = lines.iter().find(|(spanned, _)| spanned.get_ref() == name);
            let line = spanned.map_or(1, |(spanned, _)| line_at(self.text, spanned.span().start));
            self.item(&path, value, spanned.map(|(_, value)| value), line);
        }
    }

    fn item(&mut self, path: &str, value: &Value, lines: Option<&Spanned<DeValue<'_>>>, line: usize) {
        let origin = Origin::File { line };
        let inner = lines.and_then(|lines| lines.get_ref().as_table());
        match (keys::find(path), value, inner) {
            (Some(key), _, _) => self.values.set(path, key, value.clone(), origin),
            (None, Value::Table(table), Some(lines)) if keys::is_section(path) => {
                self.table(path, table, lines);
            }
            _ => {
                let near = keys::nearest(path).map(|near| format!("; did you mean {near}?"));
                let rule = format!("is not a known key{}", near.unwrap_or_default());
                self.values.problems.push(Problem::new(path, rule).from(origin));
            }
        }
    }
}

/// The line of the byte at `offset`, counted from 1.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// Reads the text of a variable as a value of this kind: lists and maps as JSON, lists also separated by commas.
pub(super) fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    let text = text.trim();
    let json = || serde_json::from_str::<Value>(text).map_err(|_| "must be JSON".to_owned());
    match kind {
        Kind::Text | Kind::Secret | Kind::Path | Kind::Words(_) => Ok(Value::String(text.to_owned())),
        Kind::Bool => match text {
            "true" | "1" => Ok(Value::Boolean(true)),
            "false" | "0" => Ok(Value::Boolean(false)),
            _ => Err("must be true or false".to_owned()),
        },
        Kind::Integer(min, max) => match text.parse() {
            Ok(number) => Ok(Value::Integer(number)),
            Err(_) => Err(format!("must be a whole number between {min} and {max}")),
        },
        Kind::Dollars => match text.parse() {
            Ok(amount) => Ok(Value::Float(amount)),
            Err(_) => Err("must be an amount in US dollars".to_owned()),
        },
        Kind::Integers(..) if !text.starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let numbers: Result<_, _> = items.map(|item| item.parse().map(Value::Integer)).collect();
            numbers.map(Value::Array).map_err(|_| "must be whole numbers, separated by commas".to_owned())
        }
        Kind::Texts if !text.starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        Kind::SecretOrFile if !text.starts_with('{') => Ok(Value::String(text.to_owned())),
        Kind::Texts
        | Kind::Integers(..)
        | Kind::Commands
        | Kind::Map
        | Kind::Variables
        | Kind::SecretOrFile => json(),
    }
}
