//! Reads a request's JSON member by member, so that every fault is reported at once and with its place.
//!
//! A member that is `null` counts as absent. Members that nobody asked for become warnings.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::problem::Fault;

/// What was found while a body was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub faults: Vec<Fault>,
    /// Documented members that this version cannot carry out.
    pub not_supported: Vec<Fault>,
    pub warnings: Vec<String>,
    faults_untold: usize,
}

/// Faults that are told: enough to see what is wrong with a long list, few enough for an answer that is smaller than the
/// request.
const FAULTS_TOLD_MAX: usize = 100;
/// Entries of a list that are read: no member takes so many, and whoever checks its own number tells it.
const ENTRIES_READ_MAX: usize = 1_000;

impl Reading {
    /// Those beyond a hundred are counted by the last one.
    pub fn fault(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if self.faults.len() < FAULTS_TOLD_MAX {
            self.faults.push(Fault::new(pointer, detail));
            return;
        }
        self.faults_untold += 1;
        self.faults.truncate(FAULTS_TOLD_MAX);
        self.faults.push(Fault::new("", format!("has {} faults more", self.faults_untold)));
    }
}

/// Unknown members that are named in warnings: enough to see what is wrong, few enough to keep the answer small.
const UNKNOWN_NAMED_MAX: usize = 20;

/// The members of one object, taken out by name.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    pointer: String,
    known: BTreeSet<&'static str>,
    reading: &'a mut Reading,
}

impl<'a> Fields<'a> {
    /// `None`, with a fault, when `value` is no object. `pointer` is its own place, empty for the whole body.
    pub fn of(value: &'a Value, pointer: &str, reading: &'a mut Reading) -> Option<Self> {
        let Some(object) = value.as_object() else {
            reading.fault(pointer, "must be an object");
            return None;
        };
        Some(Self { object, pointer: pointer.to_owned(), known: BTreeSet::new(), reading })
    }

    /// The pointer of a member.
    #[must_use]
    pub fn at(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"))
    }

    pub fn fault(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = self.at(name);
        self.reading.fault(pointer, detail);
    }

    /// The member as it came; `None` when absent or `null`.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.insert(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Whether the member is there, be it `null`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.typed(name, "must be a string", |value| value.as_str().map(str::to_owned))
    }

    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.typed(name, "must be true or false", Value::as_bool)
    }

    pub fn integer(&mut self, name: &'static str) -> Option<i64> {
        self.typed(name, "must be a whole number", Value::as_i64)
    }

    pub fn number(&mut self, name: &'static str) -> Option<f64> {
        self.typed(name, "must be a number", Value::as_f64)
    }

    pub fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        self.items(name, "must be an array of strings", "must be a string", |item| {
            item.as_str().map(str::to_owned)
        })
    }

    /// A list whose elements are read one by one; a bad element is named by its index.
    pub fn items<T>(
        &mut self,
        name: &'static str,
        list_rule: &str,
        item_rule: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let list = self.typed(name, list_rule, Value::as_array)?;
        if list.len() > ENTRIES_READ_MAX {
            self.fault(name, format!("must have at most {ENTRIES_READ_MAX} entries"));
            return None;
        }
        let mut items = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            match read(value) {
                Some(item) => items.push(item),
                None => {
                    let pointer = format!("{}/{index}", self.at(name));
                    self.reading.fault(pointer, item_rule);
                }
            }
        }
        Some(items)
    }

    /// One of a list of words.
    pub fn word<T>(
        &mut self,
        name: &'static str,
        words: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let word = parse(&text);
        if word.is_none() {
            self.fault(name, format!("must be one of {}", words.join(", ")));
        }
        word
    }

    /// Another reader of the same reading, for a nested object.
    pub fn reading(&mut self) -> &mut Reading {
        self.reading
    }

    /// Turns what nobody asked for into warnings.
    pub fn finish(self) {
        let unknown: Vec<_> = self.object.keys().filter(|name| !self.known.contains(name.as_str())).collect();
        for name in unknown.iter().take(UNKNOWN_NAMED_MAX) {
            // A name comes from outside: shown cut and escaped.
            let shown: String = self.at(name).chars().take(80).flat_map(char::escape_debug).collect();
            self.reading.warnings.push(format!("unknown member {shown} was ignored"));
        }
        if unknown.len() > UNKNOWN_NAMED_MAX {
            let more = unknown.len() - UNKNOWN_NAMED_MAX;
            self.reading.warnings.push(format!("{more} more unknown members were ignored"));
        }
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        rule: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let typed = read(value);
        if typed.is_none() {
            self.fault(name, rule);
        }
        typed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_faults_at_once_and_strangers_as_warnings() {
        let body = json!({"a": 1, "b": "x", "c": ["ok", 2], "d": null, "e/f": 1});
        let mut reading = Reading::default();
        let mut fields = Fields::of(&body, "", &mut reading).unwrap();
        assert_eq!(fields.text("a"), None);
        assert_eq!(fields.flag("b"), None);
        assert_eq!(fields.texts("c"), Some(vec!["ok".to_owned()]));
        assert_eq!(fields.integer("d"), None);
        fields.finish();
        let places: Vec<_> = reading.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(places, ["/a", "/b", "/c/1"]);
        assert_eq!(reading.warnings, ["unknown member /e~1f was ignored"]);
    }

    #[test]
    fn strangers_are_bounded_and_inert() {
        let mut body = Map::new();
        for index in 0..50 {
            body.insert(format!("\u{1b}[31m{index}{}", "x".repeat(500)), Value::Null);
        }
        let (body, mut reading) = (Value::Object(body), Reading::default());
        Fields::of(&body, "", &mut reading).unwrap().finish();
        assert_eq!(reading.warnings.len(), UNKNOWN_NAMED_MAX + 1);
        assert!(reading.warnings.iter().all(|text| text.len() < 200 && !text.contains('\u{1b}')));
    }
}
