//! The `Retry-After` header (RFC 9110 section 10.2.3): seconds, or a date in any of the three HTTP forms.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::strtime;

/// The wait that `value` asks for at Unix time `now_s` (seconds). A date in the past is no wait; anything
/// unreadable (negative, fractional, prose) is `None`.
#[must_use]
pub fn parse_retry_after(value: &str, now_s: i64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds still mean "very long"; the schedule cuts it anyway.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let wait_s = http_date(value)?.as_second().saturating_sub(now_s);
    Some(Duration::from_secs(u64::try_from(wait_s).unwrap_or(0)))
}

/// RFC 9110 section 5.6.7 obliges a recipient to read all three.
fn http_date(value: &str) -> Option<Timestamp> {
    const FORMS: [&str; 3] =
        ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    FORMS.iter().find_map(|form| {
        let civil = strtime::parse(form, value).ok()?.to_datetime().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        // 1994-11-06T08:49:37Z is the example date of RFC 9110.
        let example = 784_111_777;
        let rows = [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
            ("Sun Nov  6 08:49:37 1994", Some(60)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 PST", None),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("5s", None),
            ("soon", None),
            ("", None),
            ("0x10", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ];
        for (value, expected) in rows {
            let wait = parse_retry_after(value, example - 60).map(|wait| wait.as_secs());
            assert_eq!(wait, expected, "{value:?}");
        }
    }
}
