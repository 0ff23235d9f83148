//! How to ask an installed agent whether it is there, new enough and logged in. Only the questions and the reading
//! of the answers; the asking is done elsewhere, seldom, and cached.

/// Short commands and how to read what they print.
#[derive(Clone, Debug)]
pub struct ProbeSpec {
    pub version_argv: Vec<String>,
    /// Versions below this one lack something that the adapter relies on.
    pub version_min: Version,
    /// Reads the standard output of `version_argv`.
    pub parse_version: fn(stdout: &str) -> Option<Version>,
    /// `None`: the program cannot be asked about its login without spending.
    pub auth: Option<AuthProbe>,
}

/// How to ask about the login.
#[derive(Clone, Debug)]
pub struct AuthProbe {
    pub argv: Vec<String>,
    /// Reads exit code and standard output of `argv`.
    pub parse: fn(exit_code: Option<i32>, stdout: &str) -> AuthState,
}

/// `program` and what is to follow it.
pub(super) fn with_arguments(program: &[String], arguments: &[&str]) -> Vec<String> {
    program.iter().cloned().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
}

/// Three numbers; what follows them (`-beta.1`) is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// Whether a credential is present. Whether it works is only known after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthState {
    LoggedIn {
        /// Such as `oauth_token` or `api_key`.
        method: Option<String>,
    },
    NotLoggedIn,
    /// The answer was not understood; a run will tell.
    Unknown,
}

impl Version {
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// The first word of `text` that begins with three numbers between dots, with or without a leading `v`.
    #[must_use]
    pub fn find_in(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let mut parts = word.trim_start_matches('v').splitn(3, '.');
            let major = parts.next()?.parse().ok()?;
            let minor = parts.next()?.parse().ok()?;
            let last = parts.next()?;
            let digits = last.find(|c: char| !c.is_ascii_digit()).unwrap_or(last.len());
            Some(Self { major, minor, patch: last[..digits].parse().ok()? })
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_print() {
        let rows = [
            ("2.1.329 (Claude Code)\n", Some(Version::new(2, 1, 329))),
            ("codex-cli 0.169.0", Some(Version::new(0, 169, 0))),
            ("v1.18.33-beta.2", Some(Version::new(1, 18, 33))),
            ("1.2", None),
            ("99999999999.0.0", None),
            ("command not found", None),
            ("", None),
        ];
        for (printed, version) in rows {
            assert_eq!(Version::find_in(printed), version, "{printed:?}");
        }
        assert!(Version::new(2, 1, 10) > Version::new(2, 1, 9));
    }
}
