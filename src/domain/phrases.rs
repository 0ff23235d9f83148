//! What people read of jobs, times, money and sizes: the same words on the command line and in the dashboard. Pure: the
//! present time is always an argument.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use super::hold::LimitWindow;
use super::job::{Outcome, WaitingFor};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `text` as one word of a shell, for commands that people are told to type.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "/._-:@+=,%".contains(one);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The command that opens this file, for people to type.
#[must_use]
pub fn edit(file: &Path) -> String {
    format!("${{EDITOR:-vi}} {}", path_word(file))
}

/// A path as one word of a shell.
#[must_use]
pub fn path_word(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

/// A stretch of time as a clock shows it: `0:07`, `5:23`, `1:02:03`.
#[must_use]
pub fn took(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// How long ago, in one unit: `12s`, `6m`, `3h`, `5d`. The future, which clock differences can bring, is `0s`.
#[must_use]
pub fn age(now_ms: i64, then_ms: i64) -> String {
    let seconds = u64::try_from(now_ms.saturating_sub(then_ms) / 1_000).unwrap_or(0);
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / DAY),
    }
}

/// Dollars with cents, and with more digits where cents would hide everything: `$0.41`, `$0.004`.
#[must_use]
pub fn money(dollars: f64) -> String {
    if dollars > 0.0 && dollars < 0.01 { format!("${dollars:.3}") } else { format!("${dollars:.2}") }
}

/// A size in bytes in decimal units, as disks are sold: `812 B`, `41 kB`, `1.2 GB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut unit_bytes = 1_000_u64;
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes / unit_bytes >= 1_000 {
        unit_bytes *= 1_000;
        unit += 1;
    }
    let (whole, tenth) = (bytes / unit_bytes, bytes % unit_bytes * 10 / unit_bytes);
    if whole < 10 { format!("{whole}.{tenth} {}", UNITS[unit]) } else { format!("{whole} {}", UNITS[unit]) }
}

/// The first line of `text`, at most `chars_max` characters with the last one an ellipsis when it was cut.
/// Control characters become spaces, so that text from elsewhere cannot steer a terminal.
#[must_use]
pub fn one_line(text: &str, chars_max: usize) -> String {
    let line: String = printable(text.lines().next().unwrap_or_default());
    if line.chars().count() <= chars_max {
        return line;
    }
    let mut cut: String = line.chars().take(chars_max.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// `text` without anything that steers a terminal or turns its reading direction; line ends and tabs stay.
#[must_use]
pub fn printable(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// What a queued job waits for; `bounded`: it is known until when.
#[must_use]
pub fn waits_for(for_: WaitingFor, window: Option<LimitWindow>, bounded: bool) -> Cow<'static, str> {
    let why = match for_ {
        WaitingFor::Slot => "a free slot",
        WaitingFor::Branch => "its branch",
        WaitingFor::ClientLimit if bounded => "its client's budget",
        WaitingFor::ClientLimit => "its client's limit",
        WaitingFor::Dependency => "another job",
        WaitingFor::RunAt => "its time",
        WaitingFor::UsageLimit => match window {
            None => "the usage limit",
            Some(window) => return format!("the {} limit", window.adjective()).into(),
        },
        WaitingFor::Login => "the agent's login",
        WaitingFor::Paused => "resume",
        WaitingFor::Disk => "disk space",
        WaitingFor::Attached => "whoever is attached",
        WaitingFor::Backoff => "the next try",
    };
    why.into()
}

/// How a job ended.
#[must_use]
pub const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::PullRequest => "pull request",
        Outcome::BranchPushed => "branch pushed",
        Outcome::NoChanges => "no changes",
        Outcome::DryRun => "dry run",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
    }
}

/// Reads `90`, `90s`, `30m`, `2h`, `1d` or a sum such as `1h30m`. A bare number is seconds.
///
/// # Errors
/// A sentence that names the accepted forms, when the text is none of them or reaches beyond 365 days.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const RULE: &str =
        "a duration is a number of seconds, or numbers with units such as 90s, 30m, 2h, 1h30m or 1d";
    const LONGEST: u64 = 365 * DAY;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u64 = text.parse().map_err(|_| RULE.to_owned())?;
        return if seconds <= LONGEST { Ok(Duration::from_secs(seconds)) } else { Err(RULE.to_owned()) };
    }
    let (mut total, mut digits) = (0_u64, String::new());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1,
            'm' => MINUTE,
            'h' => HOUR,
            'd' => DAY,
            _ => return Err(RULE.to_owned()),
        };
        let number: u64 = digits.parse().map_err(|_| RULE.to_owned())?;
        digits.clear();
        total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or(RULE)?;
    }
    if text.is_empty() || !digits.is_empty() || total > LONGEST {
        return Err(RULE.to_owned());
    }
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_of_a_shell() {
        for (text, expected) in [
            ("acme/widgets", "acme/widgets"),
            ("", "''"),
            ("it's $HOME `id` \"x\"", "'it'\\''s $HOME `id` \"x\"'"),
            ("two\nlines", "'two\nlines'"),
            ("~", "'~'"),
        ] {
            assert_eq!(shell_word(text), expected);
        }
    }

    #[test]
    fn stretches_and_ages() {
        assert_eq!([7, 323, 3_723].map(took), ["0:07", "5:23", "1:02:03"]);
        let ages = [-5, 0, 59, 60, 3_599, 7_200, 86_400 * 5]
            .map(|s| age(1_000_000_000_000, 1_000_000_000_000 - s * 1_000));
        assert_eq!(ages, ["0s", "0s", "59s", "1m", "59m", "2h", "5d"]);
    }

    #[test]
    fn money_and_sizes() {
        assert_eq!([0.0, 0.0042, 0.41, 12.0].map(money), ["$0.00", "$0.004", "$0.41", "$12.00"]);
        assert_eq!(
            [0, 999, 1_000, 41_500, 1_250_000_000].map(size),
            ["0 B", "999 B", "1.0 kB", "41 kB", "1.2 GB"]
        );
    }

    #[test]
    fn durations_are_read_strictly() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("30m", 1_800), ("1h30m", 5_400), ("1d", 86_400)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in
            ["", "m", "1x", "1h30", "-5", "1.5h", "366d", "99999999999999999999", "99999999999999999d"]
        {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31mb\u{202e}c\nsecond", 40), "a [31mb c");
        assert_eq!(one_line("Implement the Quotes tab", 10), "Implement…");
        assert_eq!(printable("a\r\n\tb\u{7}"), "a \n\tb ");
    }
}
