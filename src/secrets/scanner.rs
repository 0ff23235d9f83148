//! One pass over a file: where a keyword of a rule stands, the rule looks; then the known values.

use std::collections::HashSet;
use std::fmt;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use hmac::{Hmac, KeyInit as _, Mac as _};
use regex::bytes::{Regex, RegexBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::known::Known;
use super::made_up::entropy;
use super::rules::{RULES, Rule};

/// What a rule may read from a keyword on: the longest key by far, one of a cloud's service account, is 3 KiB.
const REACH_BYTES: usize = 4 * 1024;

/// What stands before a keyword, for rules that judge by it.
const BEFORE_BYTES: usize = 96;

/// Findings in one file: more of them tell nobody more.
const FINDINGS_MAX: usize = 100;

/// Values in one file that are looked at, new ones or not: so many, or so many bytes of them, since all of them are looked up in
/// the older file at once, by a table that grows with them. No file that people write has a hundredth of that.
const VALUES_MAX: usize = 10_000;
const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Hexadecimal digits of a fingerprint: 64 bits, so that two values of a repository do not share one.
const FINGERPRINT_DIGITS: usize = 16;

/// A file as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Its name decides which rules apply: `package-lock.json` is full of what looks like keys.
    pub path: &'a [u8],
    pub now: &'a [u8],
    /// What it was before; several for a merge. What is in one of them is not new.
    pub before: &'a [&'a [u8]],
}

/// What was found, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From 1.
    pub line: u64,
    pub what: What,
}

/// What a finding is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Has the shape of a key.
    Shape {
        /// The name of the rule.
        rule: &'static str,
        /// The same for the same value; tells nothing of it.
        fingerprint: String,
    },
    /// Is one that the server holds, by its name in the configuration.
    Known { name: String },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { rule, fingerprint } => write!(f, "{rule}, {fingerprint}"),
            Self::Known { name } => write!(f, "the value of {name}"),
        }
    }
}

/// The rules and the known values, ready to be used many times.
pub struct Scanner {
    keywords: AhoCorasick,
    /// Which rule a keyword is of.
    rule_of: Vec<usize>,
    /// Made when a keyword of it is met first: most never are.
    shapes: Vec<OnceLock<Regex>>,
    known: Known,
    key: SecretString,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Scanner {
    /// `key` makes the fingerprints this server's own.
    ///
    /// # Panics
    /// When the table of rules is broken, which its tests notice.
    #[must_use]
    pub fn new(known: Known, key: SecretString) -> Self {
        let each = RULES.iter().enumerate();
        let (rule_of, words): (Vec<_>, Vec<_>) =
            each.flat_map(|(at, rule)| rule.keywords.iter().map(move |word| (at, *word))).unzip();
        let keywords = AhoCorasick::builder().ascii_case_insensitive(true).build(words);
        let keywords = keywords.expect("some hundred short words");
        Self { keywords, rule_of, shapes: RULES.iter().map(|_| OnceLock::new()).collect(), known, key }
    }

    /// The values that the server holds.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Everything in a file that is new and looks like a secret, or is one, in the order of the lines.
    #[must_use]
    pub fn scan(&self, content: &Content<'_>) -> Vec<Finding> {
        let narrow: Vec<_> = content.before.iter().filter_map(|before| narrowed(before)).collect();
        let before: Vec<&[u8]> =
            content.before.iter().copied().chain(narrow.iter().map(Vec::as_slice)).collect();
        let mut findings = self.scan_bytes(&Content { before: &before, ..*content });
        // its first two bytes prove nothing: what follows may be of one byte a character all the same, or become so further down
        if let Some(now) = narrowed(content.now) {
            findings.extend(self.scan_bytes(&Content { path: content.path, now: &now, before: &before }));
            findings.sort_by_key(|finding| finding.line);
            findings.dedup();
        }
        findings
    }

    fn scan_bytes(&self, content: &Content<'_>) -> Vec<Finding> {
        let mut lines = Lines { now: content.now, counted_to: 0, line: 1 };
        let values = self.values(content);
        let old = those_in(values.iter().map(|found| found.value), content.before);
        let new = values.into_iter().filter(|found| !old.contains(found.value));
        let mut findings: Vec<_> = new
            .take(FINDINGS_MAX)
            .map(|Value { rule, start, value }| {
                let fingerprint = self.fingerprint(rule, value);
                Finding { line: lines.of(start), what: What::Shape { rule: rule.name, fingerprint } }
            })
            .collect();
        let mut lines = Lines { now: content.now, counted_to: 0, line: 1 };
        let known = self.known.find(content.now, content.before).take(FINDINGS_MAX);
        findings.extend(known.map(|(start, name)| Finding {
            line: lines.of(start),
            what: What::Known { name: name.to_owned() },
        }));
        findings.sort_by_key(|finding| finding.line);
        findings
    }

    /// What looks like a key, each once for each rule, new or not.
    fn values<'c>(&self, content: &Content<'c>) -> Vec<Value<'c>> {
        let mut judged = HashSet::new();
        let mut known_shapes = HashSet::new();
        let mut values: Vec<Value<'c>> = Vec::new();
        let mut bytes = 0;
        let is_lock_file = is_lock_file(content.path);
        for word in self.keywords.find_overlapping_iter(content.now) {
            let at = self.rule_of[word.pattern().as_usize()];
            let rule = &RULES[at];
            if rule.by_context && is_lock_file {
                continue;
            }
            let Some(start) = word.start().checked_sub(rule.lead) else { continue };
            let Some((value, is_key)) = self.value(at, content.now, start) else { continue };
            if !rule.check.is_general() && known_shapes.len() < VALUES_MAX {
                known_shapes.insert(value);
            }
            if !is_key || !judged.insert((at, value)) {
                continue;
            }
            values.push(Value { rule, start, value });
            bytes += value.len();
            if values.len() >= VALUES_MAX || bytes >= VALUE_BYTES_MAX {
                break;
            }
        }
        values.retain(|found| !found.rule.check.is_general() || !known_shapes.contains(found.value));
        values
    }

    /// What has the rule's shape from `start` on, and whether the rule takes it for a key.
    fn value<'c>(&self, at: usize, now: &'c [u8], start: usize) -> Option<(&'c [u8], bool)> {
        let rule = &RULES[at];
        let before = &now[start.saturating_sub(BEFORE_BYTES)..start];
        let before = memchr::memrchr(b'\n', before).map_or(before, |at| &before[at + 1..]);
        let continues = before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if continues && !rule.within_word {
            return None;
        }
        let shape = self.shapes[at].get_or_init(|| {
            let built = RegexBuilder::new(rule.shape).unicode(false).size_limit(1 << 22).build();
            built.expect("the rules are tested")
        });
        let reach = &now[start..now.len().min(start + REACH_BYTES)];
        let found = shape.captures(reach)?;
        let value = found.get(1).or_else(|| found.get(0))?;
        let behind = &reach[value.end()..];
        let value = &reach[value.range()];
        Some((value, entropy(value) >= rule.entropy && rule.check.holds(before, value, behind)))
    }

    fn fingerprint(&self, rule: &Rule, value: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret().as_bytes())
            .expect("a key of any length will do");
        for part in [b"secret fingerprint".as_slice(), rule.name.as_bytes(), value] {
            mac.update(part);
            mac.update(&[0]);
        }
        let mut text = hex::encode(mac.finalize().into_bytes());
        text.truncate(FINGERPRINT_DIGITS);
        text
    }
}

/// Text of two bytes a character, as some editors and shells of Windows write it, as text of one. It says so at its beginning;
/// `None` where it does not.
fn narrowed(content: &[u8]) -> Option<Vec<u8>> {
    let unit: fn([u8; 2]) -> u16 = match content {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units = content[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let chars = char::decode_utf16(units).map(|read| read.unwrap_or(char::REPLACEMENT_CHARACTER));
    Some(chars.collect::<String>().into_bytes())
}

/// What a rule takes for a key.
struct Value<'c> {
    rule: &'static Rule,
    start: usize,
    value: &'c [u8],
}

/// Those of the values that stand in one of the older files, each of which is read once for all of them.
fn those_in<'c>(values: impl Iterator<Item = &'c [u8]>, before: &[&[u8]]) -> HashSet<&'c [u8]> {
    let values: Vec<_> = if before.is_empty() { Vec::new() } else { values.collect() };
    let mut there = HashSet::new();
    if values.is_empty() {
        return there;
    }
    // it has a state for each byte at most, and room for hundreds of times as many; were it to fail, every value would count as new
    let Ok(search) = AhoCorasick::new(&values) else { return there };
    for old in before {
        for found in search.find_overlapping_iter(old) {
            if there.insert(values[found.pattern().as_usize()]) && there.len() == values.len() {
                return there;
            }
        }
    }
    there
}

/// Counts lines forward, each byte once: places come in a rising order, or nearly.
struct Lines<'a> {
    now: &'a [u8],
    counted_to: usize,
    line: u64,
}

impl Lines<'_> {
    fn of(&mut self, place: usize) -> u64 {
        if place < self.counted_to {
            (self.counted_to, self.line) = (0, 1);
        }
        let breaks = memchr::memchr_iter(b'\n', &self.now[self.counted_to..place]).count();
        self.line += u64::try_from(breaks).unwrap_or(u64::MAX);
        self.counted_to = place;
        self.line
    }
}

/// Files that programs write, of which every second line looks like a key.
fn is_lock_file(path: &[u8]) -> bool {
    const NAMES: [&str; 16] = [
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "bun.lock",
        "Cargo.lock",
        "go.sum",
        "poetry.lock",
        "Pipfile.lock",
        "uv.lock",
        "pdm.lock",
        "composer.lock",
        "Gemfile.lock",
        "mix.lock",
        "flake.lock",
        "packages.lock.json",
    ];
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    NAMES.iter().any(|known| name == known.as_bytes())
}
