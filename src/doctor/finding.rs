//! What a check found.

use serde::Serialize;

use super::fault::Fault;
use crate::domain::phrases::shell_word;

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
    /// The check's name in the table.
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

impl Finding {
    pub(super) fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self::plain(check, Verdict::Ok, detail)
    }

    /// Not looked at, and why.
    pub(super) fn skipped(check: &'static str, detail: impl Into<String>) -> Self {
        Self::plain(check, Verdict::Skipped, detail)
    }

    fn plain(check: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { check, subject: None, verdict, code: None, detail: detail.into(), mend: None }
    }

    /// The fault, with what was found of it.
    pub(super) fn of(fault: Fault, detail: impl Into<String>) -> Self {
        Self {
            check: fault.check(),
            subject: None,
            verdict: fault.verdict(),
            code: Some(fault.code()),
            detail: detail.into(),
            mend: Some(fault.mend().to_owned()),
        }
    }

    /// Says which of several it is about.
    pub(super) fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Puts what was found in the place of a word in capitals of the command, quoted for a shell where it needs that.
    pub(super) fn with(self, word: &str, value: &str) -> Self {
        let mend = self.mend.map(|mend| mend.replace(word, &shell_word(value)));
        Self { mend, ..self }
    }

    /// Another command than the usual one of its fault.
    pub(super) fn mended_by(self, command: impl Into<String>) -> Self {
        Self { mend: Some(command.into()), ..self }
    }
}

/// All answers, and how many are bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checks: Vec<Finding>,
    pub problems: usize,
    pub warnings: usize,
}

impl Report {
    pub(super) fn of(checks: Vec<Finding>) -> Self {
        let count = |verdict| checks.iter().filter(|finding| finding.verdict == verdict).count();
        let (problems, warnings) = (count(Verdict::Fail), count(Verdict::Warn));
        Self { checks, problems, warnings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_command_stays_one_word() {
        let finding = Finding::of(Fault::DataDirOpen, "").with("DIR", "/a b/it's");
        assert_eq!(finding.mend.as_deref(), Some(r"chmod 700 '/a b/it'\''s'"));
        let finding = Finding::of(Fault::DataDirOpen, "").with("DIR", "/srv/offshoot");
        assert_eq!(finding.mend.as_deref(), Some("chmod 700 /srv/offshoot"));
    }
}
