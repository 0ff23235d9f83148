//! What was found by looking at a machine: of `offshoot doctor --json`, and of the dashboard.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It could not be looked at, because of another finding.
    Skipped,
    /// Work goes on, but not as well as it could.
    Warn,
    /// Jobs cannot be done like this.
    Fail,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One answer of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// Which of several: an agent, a login, a client.
    pub subject: Option<String>,
    pub verdict: Verdict,
    /// The fault's code; `null` when there is none.
    pub code: Option<&'static str>,
    /// What was found, in words.
    pub detail: String,
    /// The command that mends it, to be typed as it stands.
    pub mend: Option<String>,
}

/// All answers, and how many are bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checks: Vec<Finding>,
    pub problems: usize,
    pub warnings: usize,
}

impl Report {
    #[must_use]
    pub fn of(checks: Vec<Finding>) -> Self {
        let count = |verdict| checks.iter().filter(|finding| finding.verdict == verdict).count();
        let (problems, warnings) = (count(Verdict::Fail), count(Verdict::Warn));
        Self { checks, problems, warnings }
    }
}
