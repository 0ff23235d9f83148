//! Times and durations as people type them.

pub(super) use crate::domain::phrases::{age, money, one_line, parse_duration, printable, size, took};
use crate::wire::time::UtcTime;

/// An RFC 3339 time, as it was written.
///
/// # Errors
/// A sentence that shows what one looks like, when the text is none.
pub(super) fn parse_time(text: &str) -> Result<String, String> {
    const RULE: &str =
        "a time has a date and an offset, such as 2026-11-21T22:00:00Z or 2026-11-21T22:00:00+01:00";
    UtcTime::parse(text).map(|_| text.to_owned()).ok_or_else(|| RULE.to_owned())
}
