//! What is typed into the search field: words, and the terms of `offshoot ls`, with a colon or an equals sign.

use crate::domain::phrases::parse_duration;
use crate::domain::time::Timestamp;
use crate::wire::time::UtcTime;

/// The terms, for people.
pub(super) const TERMS: &[(&str, &str)] = &[
    ("status:failed,queued", "queued, running, completed, failed, cancelled"),
    ("repo:acme/widgets", "jobs of one repository"),
    ("branch:fix/login", "of one branch"),
    ("label:night", "with a label"),
    ("by:ci", "submitted with that token"),
    ("since:2d", "newer than that, or than a time"),
    ("until:2026-11-21T22:00:00Z", "older than that"),
];

/// A search as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// As it was typed.
    pub typed: String,
    pub words: Option<String>,
    pub status: Option<String>,
    /// `ORG/REPO`, or the name or id of a client.
    pub repo: Option<String>,
    pub branch: Option<String>,
    pub label: Option<String>,
    pub by: Option<String>,
    /// RFC 3339.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Terms that say nothing: looked for as words they would find nothing, and nobody would know why.
    pub unknown: Vec<String>,
}

impl Search {
    /// Reads what was typed; never fails.
    #[must_use]
    pub fn read(typed: &str, now: Timestamp) -> Self {
        let mut search = Self { typed: typed.trim().to_owned(), ..Self::default() };
        let mut words = Vec::new();
        for term in typed.split_whitespace() {
            let Some((name, value)) = term.split_once([':', '=']).filter(|(_, value)| !value.is_empty())
            else {
                words.push(term);
                continue;
            };
            let value = Some(value.to_owned());
            match name {
                "status" => search.status = value,
                "repo" | "client" => search.repo = value,
                "branch" => search.branch = value,
                "label" => search.label = value,
                "by" => search.by = value,
                "since" | "until" => match instant(value.as_deref().unwrap_or_default(), now) {
                    Some(at) if name == "since" => search.since = Some(at),
                    Some(at) => search.until = Some(at),
                    None => search.unknown.push(term.to_owned()),
                },
                // a word with a colon in it: `fix:`, `http://…`
                _ => words.push(term),
            }
        }
        search.words = (!words.is_empty()).then(|| words.join(" "));
        search
    }

    /// The same search for another status; all of them without one.
    #[must_use]
    pub(super) fn with_status(&self, status: Option<&str>) -> String {
        let rest = self
            .typed
            .split_whitespace()
            .filter(|term| !term.starts_with("status:") && !term.starts_with("status="));
        let status = status.map(|status| format!("status:{status}"));
        status.iter().map(String::as_str).chain(rest).collect::<Vec<_>>().join(" ")
    }
}

/// So long ago, or an instant.
fn instant(text: &str, now: Timestamp) -> Option<String> {
    match parse_duration(text) {
        Ok(ago) => {
            let ms = i64::try_from(ago.as_millis()).ok()?;
            Some(UtcTime(Timestamp::from_ms(now.as_ms().saturating_sub(ms))).to_string())
        }
        Err(_) => UtcTime::parse(text).map(|at| at.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_and_words() {
        let now = Timestamp::from_ms(1_795_254_420_001);
        let search =
            Search::read(" status:failed,queued flaky repo=acme/app fix: since:1h since2 login", now);
        assert_eq!(search.status.as_deref(), Some("failed,queued"));
        assert_eq!(search.words.as_deref(), Some("flaky fix: since2 login"));
        assert_eq!(search.repo.as_deref(), Some("acme/app"));
        assert_eq!(search.since.as_deref(), Some("2026-11-21T08:47:00.001Z"));
        assert_eq!(search.with_status(Some("running")).split(' ').next(), Some("status:running"));
        assert!(!search.with_status(None).contains("status"));
        assert_eq!(Search::read("since:yesterday", now).unknown, ["since:yesterday"]);
        assert_eq!(Search::read("", now), Search::default());
    }
}
