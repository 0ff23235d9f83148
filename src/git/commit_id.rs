//! The id of a commit: the only way in which a commit is named to git.

use std::fmt;
use std::str::FromStr;

use super::error::GitError;

/// 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
///
/// It can be neither an option nor an expression, whatever text it came from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(String);

impl CommitId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn oid(&self) -> Result<git2::Oid, GitError> {
        git2::Oid::from_str(&self.0).map_err(GitError::library("read a commit id"))
    }
}

impl FromStr for CommitId {
    type Err = GitError;

    fn from_str(text: &str) -> Result<Self, GitError> {
        let hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if hex && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(GitError::InvalidArgument("a commit id has 40 or 64 lower-case hexadecimal digits"))
        }
    }
}

impl From<git2::Oid> for CommitId {
    fn from(oid: git2::Oid) -> Self {
        Self(oid.to_string())
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_lower_case_hexadecimal_names_are_commit_ids() {
        for good in ["a".repeat(40), "0".repeat(64)] {
            assert!(good.parse::<CommitId>().is_ok());
        }
        for bad in ["", "HEAD", "-x", &"a".repeat(39), &"A".repeat(40), &"g".repeat(40), &"a".repeat(41)] {
            assert!(bad.parse::<CommitId>().is_err(), "{bad}");
        }
    }
}
