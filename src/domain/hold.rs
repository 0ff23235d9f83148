//! Why all work of a login waits.

use super::id::JobNumber;
use super::named::named_enum;
use super::reason::Reason;
use super::time::Timestamp;

named_enum! {
    /// Which allowance of a login is used up, where its agent names it: one is back within hours, one within days.
    LimitWindow {
        FiveHour = "five_hour",
        Weekly = "weekly",
        /// Another one.
        Other = "other",
    }
}

impl LimitWindow {
    /// By the name that Anthropic's API gives it: `five_hour`, `seven_day`, `seven_day_opus` …
    #[must_use]
    pub fn of_claim(claim: &str) -> Self {
        match claim {
            "five_hour" => Self::FiveHour,
            // of all models, or of one of them
            weekly if weekly == "seven_day" || weekly.starts_with("seven_day_") => Self::Weekly,
            _ => Self::Other,
        }
    }

    /// By the words in which a person is told of it; `None` where they do not say.
    #[must_use]
    pub fn of_words(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        match () {
            () if says(&["weekly limit", "weekly usage limit"]) => Some(Self::Weekly),
            () if says(&["5-hour limit", "five-hour limit", "session limit"]) => Some(Self::FiveHour),
            () => None,
        }
    }

    /// For people, to be read before "limit".
    #[must_use]
    pub const fn adjective(self) -> &'static str {
        match self {
            Self::FiveHour => "five-hour",
            Self::Weekly => "weekly",
            Self::Other => "usage",
        }
    }
}

/// All jobs of one login wait until the time has come or somebody says try-now; then one of them goes first as a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The `[agents.<name>]` entry.
    pub login: String,
    pub reason: Reason,
    pub since: Timestamp,
    /// `None`: until the probe succeeds or somebody says try-now.
    pub until: Option<Timestamp>,
    /// Of a usage limit: which, where the agent has named it.
    pub window: Option<LimitWindow>,
    /// The job that is out as a probe.
    pub probe: Option<JobNumber>,
}

impl Hold {
    /// Whether nothing waits for it any more: the next job of the login that comes goes as its probe, and shows whether it is
    /// lifted.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.probe.is_none() && self.until.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_told_apart_by_their_names_and_by_words() {
        for (claim, expected) in [
            ("five_hour", LimitWindow::FiveHour),
            ("seven_day", LimitWindow::Weekly),
            ("seven_day_opus", LimitWindow::Weekly),
            ("seven_days", LimitWindow::Other),
            ("overage", LimitWindow::Other),
            ("", LimitWindow::Other),
        ] {
            assert_eq!(LimitWindow::of_claim(claim), expected, "{claim}");
        }
        for (text, expected) in [
            ("You've hit your weekly limit \u{b7} resets Oct 3", Some(LimitWindow::Weekly)),
            ("You've hit your session limit", Some(LimitWindow::FiveHour)),
            ("5-hour limit reached", Some(LimitWindow::FiveHour)),
            ("Claude AI usage limit reached|1795200923", None),
        ] {
            assert_eq!(LimitWindow::of_words(text), expected, "{text}");
        }
    }
}
