//! The `Retry-After` header of a peer.

use std::time::Duration;

use offshoot::webhook::parse_retry_after;
use offshoot::webhook::schedule::{DELAYS_SECONDS, Schedule};

/// Eight bytes of the present time and the header; and from the same bytes dates in all three forms.
pub(super) fn retry_after(data: &[u8]) {
    let (now, text) = data.split_at(data.len().min(8));
    let mut bytes = [0; 8];
    bytes[..now.len()].copy_from_slice(now);
    let now_s = i64::from_le_bytes(bytes);
    let text = String::from_utf8_lossy(text);
    let wait = parse_retry_after(&text, now_s);
    let plain = text.trim();
    let is_number = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        let seconds = plain
            .bytes()
            .try_fold(0_u64, |sum, byte| sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')));
        assert_eq!(wait, Some(Duration::from_secs(seconds.unwrap_or(u64::MAX))), "{plain:?}");
    } else if wait.is_some() {
        // a date ends with its zone or its year, which may be short, and names a month
        let month =
            MONTHS.iter().any(|month| plain.to_ascii_lowercase().contains(&month.to_ascii_lowercase()));
        let end = plain.ends_with("GMT") || plain.ends_with(|last: char| last.is_ascii_digit());
        assert!(month && end, "{plain:?} is no date");
    }
    for (done, nominal) in DELAYS_SECONDS.iter().enumerate() {
        let delay = Schedule::default().next_delay(u32::try_from(done).unwrap_or(0), wait, 0.5);
        let nominal = Duration::from_secs(*nominal);
        assert!(
            delay.is_some_and(|delay| delay >= nominal && delay <= 2 * nominal),
            "{delay:?} for {nominal:?}"
        );
    }
    dates(now_s);
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Every second between 1970 and 2068 is read back from each form (RFC 9110, section 5.6.7).
fn dates(seed: i64) {
    let at = seed.rem_euclid(3_124_224_000);
    let (days, second) = (at / 86_400, at % 86_400);
    let (year, month, day) = civil(days);
    let name = DAYS[usize::try_from(days % 7).unwrap_or(0)];
    let (short, month) = (&name[..3], MONTHS[month]);
    let clock = format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
    for text in [
        format!("{short}, {day:02} {month} {year} {clock} GMT"),
        format!("{name}, {day:02}-{month}-{:02} {clock} GMT", year % 100),
        format!("{short} {month} {day:2} {clock} {year}"),
    ] {
        for before in [0, 61] {
            let wait = parse_retry_after(&text, at - before).map(|wait| wait.as_secs());
            assert_eq!(wait, u64::try_from(before).ok(), "{text:?}");
        }
        assert_eq!(parse_retry_after(&text, at + 1), Some(Duration::ZERO), "{text:?} is over");
    }
}

/// Year, month from 0, day from 1, by counting.
fn civil(mut days: i64) -> (i64, usize, i64) {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}
