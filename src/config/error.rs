//! What is wrong with a configuration, and what to type about it.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// One fault. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as in the file, `server.port`, or the variable when it belongs to no key.
    pub key: String,
    /// Where the faulty value came from: "PORT", "line 12", "--port"; empty when nothing was said at all.
    pub source: String,
    /// What holds for this key, to be read after its name.
    pub rule: String,
    /// What to type next; empty when the rule says it all.
    pub remedy: String,
    /// Whether file permissions are at fault rather than a value.
    pub permission: bool,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            source: String::new(),
            rule: rule.into(),
            remedy: String::new(),
            permission: false,
        }
    }

    pub(super) fn from(mut self, source: impl fmt::Display) -> Self {
        self.source = source.to_string();
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(super) fn permission(mut self) -> Self {
        self.permission = true;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.source.is_empty() {
            write!(f, " ({})", self.source)?;
        }
        write!(f, " {}", self.rule)?;
        if !self.remedy.is_empty() {
            write!(f, "\n    {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Every fault that was found, in one go, so that nobody has to mend them one start at a time.
#[derive(Clone, Debug, Error)]
#[error("the configuration cannot be used:{}{}", list(.problems), named(.file.as_ref()))]
pub struct ConfigError {
    pub problems: Vec<Problem>,
    /// The file that "file, line 12" speaks of, when a fault lies there.
    pub file: Option<PathBuf>,
}

impl ConfigError {
    /// 77 (`EX_NOPERM` of sysexits.h) when nothing but permissions is at fault, else 78 (`EX_CONFIG`). The service
    /// files name both: a service manager must not try again.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.problems.iter().all(|problem| problem.permission) { 77 } else { 78 }
    }
}

fn named(file: Option<&PathBuf>) -> String {
    file.map(|path| format!("\n  (file: {})", path.display())).unwrap_or_default()
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Something that works and should still be known at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// `not_supported`, `weak_secret`, `exposed`, `unsigned_callbacks`, `unknown_host`, `unknown_variable` or
    /// `programs_lent`.
    pub code: &'static str,
    pub text: String,
}
