//! What Gemini CLI says on stderr alone about its waiting: between tries, and for a used-up allowance. With its login of Google it
//! sleeps until that is renewed, for hours if need be, and says nothing else meanwhile.

use crate::agent::status::status_behind;
use jiff::SignedDuration;

/// The sentence of Google's server about an allowance for some hours.
pub(super) const CAPACITY_USED_UP: &str = "You have exhausted your capacity on this model";

const RENEWAL: &str = "Your quota will reset after ";

/// Longer than any allowance; what is longer was not understood.
const RENEWAL_MAX: SignedDuration = SignedDuration::from_hours(31 * 24);

/// A try that failed and will be followed by another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// 0: a message of several lines, of which this is the end.
    pub(super) attempt: u32,
    /// 0: it does not say.
    pub(super) delay_ms: u64,
    pub(super) status: Option<u16>,
}

/// Reads `Attempt 1 failed: MESSAGE. Retrying after 5000ms...` and `Attempt 1 failed with status 503. Retrying with backoff...`.
pub(super) fn failed_try(line: &str) -> Option<Failed> {
    let (told, delay_ms) = match line.rsplit_once(". Retrying after ") {
        Some((told, delay)) => (told, delay.strip_suffix("ms...")?.parse().ok()?),
        None => (line.split_once(". Retrying with backoff...")?.0, 0),
    };
    let number = told.strip_prefix("Attempt ").and_then(|rest| rest.split(' ').next());
    Some(Failed {
        attempt: number.and_then(|number| number.parse().ok()).unwrap_or(0),
        delay_ms,
        status: status_behind(told, &["failed with status "]),
    })
}

/// In how many seconds the allowance is renewed, by what is said of it: `after 8h44m7s.`.
pub(super) fn renewal_seconds(text: &str) -> Option<i64> {
    let told = text.split_once(RENEWAL)?.1;
    let end = told.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(told.len());
    let duration: SignedDuration = told[..end].trim_end_matches('.').parse().ok()?;
    (SignedDuration::ZERO < duration && duration <= RENEWAL_MAX).then(|| duration.as_secs())
}

/// The same by the delay of the next try, which is that time and up to a fifth more.
pub(super) fn delay_seconds(delay_ms: u64) -> Option<i64> {
    let seconds = i64::try_from(delay_ms / 1_000).ok()?;
    (seconds <= RENEWAL_MAX.as_secs()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_failed_is_read_with_its_delay() {
        let rows = [
            (
                "Attempt 1 failed: You have exhausted your capacity on this model. Your quota will reset after 8h44m7s.. Retrying after 34783183ms...",
                Some((1, 34_783_183, None)),
            ),
            (
                "Attempt 7 failed with status 503. Retrying with backoff... _ApiError: {\"error\":{}}",
                Some((7, 0, Some(503))),
            ),
            ("Attempt 2 failed. Retrying with backoff... Error: fetch failed", Some((2, 0, None))),
            // the end of a message of two lines
            ("Suggested retry after 34s.. Retrying after 34561ms...", Some((0, 34_561, None))),
            ("Attempt 10 failed: fake rate limit error. Max attempts reached", None),
            ("x. Retrying after soon", None),
            ("x. Retrying after -5ms...", None),
            ("Ripgrep is not available. Falling back to GrepTool.", None),
        ];
        for (line, expected) in rows {
            let expected = expected.map(|(attempt, delay_ms, status)| Failed { attempt, delay_ms, status });
            assert_eq!(failed_try(line), expected, "{line}");
        }
    }

    #[test]
    fn the_renewal_is_what_is_told_and_nothing_absurd() {
        let rows = [
            ("Your quota will reset after 8h44m7s.. Retrying", Some(31_447)),
            ("[API Error: x. Your quota will reset after 59m.]", Some(3_540)),
            ("Your quota will reset after 2.5s", Some(2)),
            ("Your quota will reset after 99999h0m0s.", None),
            ("Your quota will reset after -3h", None),
            ("Your quota will reset after midnight.", None),
            ("Your quota will reset after ", None),
            ("nothing of it", None),
        ];
        for (text, seconds) in rows {
            assert_eq!(renewal_seconds(text), seconds, "{text}");
        }
    }
}
