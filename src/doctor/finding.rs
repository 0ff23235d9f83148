//! How a check says what it found.

use super::fault::Fault;
use crate::domain::phrases::shell_word;
use crate::wire::doctor::{Finding, Verdict};

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
