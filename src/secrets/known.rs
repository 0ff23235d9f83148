//! The secrets that this server itself holds, found as they stand, in base64 and as JSON writes them.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};

/// Shorter values are not looked for: they would be found in innocent text all the time.
const VALUE_BYTES_MIN: usize = 8;

/// A line of a value with several lines counts by itself from here on: shorter ones may be in any file.
const LINE_BYTES_MIN: usize = 32;

/// Values with their names. `Debug` shows the names alone.
#[derive(Default)]
pub struct Known {
    names: Vec<String>,
    /// Which of the names a pattern of the search is of.
    of: Vec<usize>,
    patterns: Vec<Vec<u8>>,
    search: Option<AhoCorasick>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Known {
    /// `values` by the names under which they are told: those of the configuration. One that stands under two names is told under
    /// the first.
    #[must_use]
    pub fn new<'a>(values: impl IntoIterator<Item = (String, &'a SecretString)>) -> Self {
        let mut known = Self::default();
        let mut seen = BTreeSet::new();
        for (name, value) in values {
            let at = known.names.len();
            for pattern in forms(value.expose_secret()) {
                if seen.insert(pattern.clone()) {
                    known.patterns.push(pattern);
                    known.of.push(at);
                }
            }
            known.names.push(name);
        }
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest);
        known.search = builder.build(&known.patterns).ok().filter(|_| !known.patterns.is_empty());
        known
    }

    /// Every text by which one of the values is recognised, to be kept out of where people read.
    #[must_use]
    pub fn forms(&self) -> Vec<String> {
        self.patterns.iter().map(|form| String::from_utf8_lossy(form).into_owned()).collect()
    }

    /// Each place of a value in `content`, with its name; those whose very pattern is in one of `before` are left out. Whether
    /// one is there is looked up once, however often the value stands in `content`.
    pub(super) fn find<'s>(
        &'s self,
        content: &'s [u8],
        before: &'s [&'s [u8]],
    ) -> impl Iterator<Item = (usize, &'s str)> {
        let found = self.search.iter().flat_map(move |search| search.find_iter(content));
        let mut was_there = BTreeMap::new();
        found.filter_map(move |one| {
            let at = one.pattern().as_usize();
            let has = |old: &&[u8]| memchr::memmem::find(old, &self.patterns[at]).is_some();
            let was_there = *was_there.entry(at).or_insert_with(|| before.iter().any(has));
            (!was_there).then(|| (one.start(), self.names[self.of[at]].as_str()))
        })
    }
}

/// The texts by which a value is recognised.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let value = value.trim();
    if value.len() < VALUE_BYTES_MIN {
        return Vec::new();
    }
    let mut forms = vec![value.as_bytes().to_vec()];
    let mut add = |form: Vec<u8>| {
        if !forms.contains(&form) {
            forms.push(form);
        }
    };
    // of a private key each line says enough
    let lines =
        value.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN && !line.contains("-----"));
    lines.filter(|line| *line != value).for_each(|line| add(line.as_bytes().to_vec()));
    let json = serde_json::Value::from(value).to_string();
    add(json.as_bytes()[1..json.len() - 1].to_vec());
    for offset in 0..3 {
        add(in_base64(value, offset, &STANDARD_NO_PAD));
        add(in_base64(value, offset, &URL_SAFE_NO_PAD));
    }
    forms
}

/// What a value looks like in the base64 of a text that has `offset` bytes before it, modulo 3: without the characters at its
/// edges, which are those of its neighbours too.
fn in_base64(value: &str, offset: usize, alphabet: &base64::engine::GeneralPurpose) -> Vec<u8> {
    let bytes = [&[0_u8; 3][..offset], value.as_bytes()].concat();
    let text = alphabet.encode(&bytes).into_bytes();
    let begin = (offset * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    text[begin..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(known: &Known, content: &str) -> Vec<String> {
        known.find(content.as_bytes(), &[]).map(|(_, name)| name.to_owned()).collect()
    }

    #[test]
    fn a_value_is_found_as_it_stands_and_in_base64_wherever_it_begins() {
        let secret = SecretString::from("canary/value+1\"x");
        let known = Known::new([("secrets.canary".to_owned(), &secret)]);
        let plain = secret.expose_secret();
        assert_eq!(found(&known, &format!("a{plain}b")), ["secrets.canary"]);
        assert_eq!(found(&known, &serde_json::json!({ "k": plain }).to_string()), ["secrets.canary"]);
        for before in ["", "u", "us", "user:", "x-access-token:"] {
            for behind in ["", "b", "bc", "bcd"] {
                let text = format!("{before}{plain}{behind}");
                for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    assert_eq!(found(&known, &encoded).len(), 1, "{before:?} {behind:?}");
                }
            }
        }
        assert_eq!(found(&known, "canary/value"), Vec::<String>::new());
        assert!(!format!("{known:?}").contains("value+1"), "{known:?}");
    }

    #[test]
    fn short_values_are_not_looked_for_and_lines_of_long_ones_are() {
        let (short, key) =
            ("1234567".into(), format!("-----BEGIN X-----\n{}\n-----END X-----\n", "q1".repeat(32)).into());
        let known = Known::new([("a".to_owned(), &short), ("b".to_owned(), &key)]);
        assert_eq!(found(&known, "1234567"), Vec::<String>::new());
        assert_eq!(found(&known, &format!("  {}", "q1".repeat(32))), ["b"]);
        assert_eq!(
            known.find("q1".repeat(32).as_bytes(), &["q1".repeat(40).as_bytes()]).count(),
            0,
            "it was there"
        );
    }
}
