//! Branch names: what a caller may ask for, and what is made up when it does not ask.

use std::fmt;

use super::glob::name_matches;

/// Longest branch name in bytes. Git itself stops at the file system's 255 for a path part; this leaves room for `.lock`.
pub const BRANCH_BYTES_MAX: usize = 200;

/// A branch name that is safe in a path, an argument and a URL: only `[A-Za-z0-9._/-]`, and valid for git
/// (git-check-ref-format(1)). The allow-list of characters is the safety rule; git alone accepts `$(id)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchName(String);

/// Why a text is no branch name; each variant is one rule, worded for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBranch {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most 200 bytes long")]
    TooLong,
    #[error("may contain only letters, digits and the characters . _ / -")]
    Character,
    #[error("must not begin with \"-\"")]
    LeadingDash,
    #[error("must not begin or end with \"/\" and must not contain \"//\"")]
    Slash,
    #[error("must not contain \"..\"")]
    TwoDots,
    #[error("no part of it may begin or end with \".\"")]
    Dot,
    #[error("no part of it may end with \".lock\"")]
    Lock,
    #[error("is a name that git reserves")]
    Reserved,
}

impl BranchName {
    /// # Errors
    /// The first broken rule.
    pub fn parse(text: &str) -> Result<Self, InvalidBranch> {
        if text.is_empty() {
            return Err(InvalidBranch::Empty);
        }
        if text.len() > BRANCH_BYTES_MAX {
            return Err(InvalidBranch::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b)) {
            return Err(InvalidBranch::Character);
        }
        if text.starts_with('-') {
            return Err(InvalidBranch::LeadingDash);
        }
        if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
            return Err(InvalidBranch::Slash);
        }
        if text.contains("..") {
            return Err(InvalidBranch::TwoDots);
        }
        if text.split('/').any(|part| part.starts_with('.') || part.ends_with('.')) {
            return Err(InvalidBranch::Dot);
        }
        if text.split('/').any(|part| part.to_ascii_lowercase().ends_with(".lock")) {
            return Err(InvalidBranch::Lock);
        }
        if text == "HEAD" || text.starts_with("refs/") {
            return Err(InvalidBranch::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both can exist in one repository, on a file system that may fold case: `feat` and `feat/y` cannot, nor
    /// can `Fix` and `fix`. A branch is not compatible with itself.
    #[must_use]
    pub fn coexists_with(&self, other: &Self) -> bool {
        let (a, b) = (self.0.to_ascii_lowercase(), other.0.to_ascii_lowercase());
        let nested = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !nested(&a, &b) && !nested(&b, &a)
    }

    /// Whether a protection pattern (exact, or with `*` for any run of characters) names this branch.
    #[must_use]
    pub fn matches(&self, pattern: &str) -> bool {
        name_matches(pattern.as_bytes(), self.0.as_bytes())
    }

    /// The name with a numbered suffix, as `onBranchExists = suffix` wants it; cut so that it stays within the limit.
    #[must_use]
    pub fn with_suffix(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let kept = self.0.len().min(BRANCH_BYTES_MAX - suffix.len());
        Self(format!("{}{suffix}", self.0[..kept].trim_end_matches(['/', '.'])))
    }

    /// The branch of a job whose caller named none: `offshoot/<number>-<slug>`.
    #[must_use]
    pub fn for_job(number: i64, title_or_prompt: &str) -> Self {
        let slug = slug(title_or_prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or(""));
        if slug.is_empty() {
            return Self(format!("offshoot/{number}"));
        }
        Self(format!("offshoot/{number}-{slug}"))
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case words joined by single dashes, at most 40 characters and not cut inside a word where that can be helped.
fn slug(line: &str) -> String {
    const SLUG_MAX: usize = 40;
    let mut slug = String::new();
    for word in line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let separator = usize::from(!slug.is_empty());
        if slug.len() + separator + word.len() > SLUG_MAX {
            if slug.is_empty() {
                slug.push_str(&word[..SLUG_MAX].to_ascii_lowercase());
            }
            break;
        }
        if separator == 1 {
            slug.push('-');
        }
        slug.push_str(&word.to_ascii_lowercase());
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_or_we_refuse() {
        let table = [
            ("", InvalidBranch::Empty),
            ("-x", InvalidBranch::LeadingDash),
            ("--upload-pack=x", InvalidBranch::Character),
            ("a..b", InvalidBranch::TwoDots),
            (".a", InvalidBranch::Dot),
            ("a.", InvalidBranch::Dot),
            ("x/.a", InvalidBranch::Dot),
            ("a.lock", InvalidBranch::Lock),
            ("a.LOCK/b", InvalidBranch::Lock),
            ("a//b", InvalidBranch::Slash),
            ("a/", InvalidBranch::Slash),
            ("/a", InvalidBranch::Slash),
            ("@", InvalidBranch::Character),
            ("@{-1}", InvalidBranch::Character),
            ("HEAD", InvalidBranch::Reserved),
            ("refs/heads/main", InvalidBranch::Reserved),
            ("a b", InvalidBranch::Character),
            ("a~1", InvalidBranch::Character),
            ("a^", InvalidBranch::Character),
            ("a:b", InvalidBranch::Character),
            ("a?*[", InvalidBranch::Character),
            ("a\\b", InvalidBranch::Character),
            ("a\u{7}", InvalidBranch::Character),
            ("$(id)", InvalidBranch::Character),
            ("`id`", InvalidBranch::Character),
            ("a;b", InvalidBranch::Character),
            ("x'; rm -rf ~", InvalidBranch::Character),
            ("a\u{202e}b", InvalidBranch::Character),
        ];
        for (text, rule) in table {
            assert_eq!(BranchName::parse(text), Err(rule), "{text:?}");
        }
        assert_eq!(BranchName::parse(&"a".repeat(201)), Err(InvalidBranch::TooLong));
    }

    #[test]
    fn names_that_are_welcome() {
        for text in ["feature/quotes-tab", "fix_1", "a.b.c", "x-", &"a".repeat(200)] {
            assert!(BranchName::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn directories_and_case_twins_cannot_coexist() {
        let name = |text| BranchName::parse(text).unwrap();
        assert!(!name("feat").coexists_with(&name("feat/y")));
        assert!(!name("feat/y").coexists_with(&name("feat")));
        assert!(!name("Fix").coexists_with(&name("fix")));
        assert!(!name("fix").coexists_with(&name("fix")));
        assert!(name("feat").coexists_with(&name("feature")));
        assert!(name("feat/x").coexists_with(&name("feat/y")));
    }

    #[test]
    fn a_made_up_name_is_valid_and_short() {
        let table = [
            (7, "Fix the flaky login test", "offshoot/7-fix-the-flaky-login-test"),
            (8, "\n\n  Größe ändern!\nmore", "offshoot/8-gr-e-ndern"),
            (9, "日本語", "offshoot/9"),
            (10, "", "offshoot/10"),
            (
                11,
                "one two three four five six seven eight nine ten eleven",
                "offshoot/11-one-two-three-four-five-six-seven-eight",
            ),
        ];
        for (number, text, expected) in table {
            let branch = BranchName::for_job(number, text);
            assert_eq!(branch.as_str(), expected);
            assert!(BranchName::parse(branch.as_str()).is_ok());
        }
        assert!(BranchName::parse(BranchName::for_job(1, &"x".repeat(500)).as_str()).is_ok());
    }

    #[test]
    fn patterns_protect() {
        let name = |text| BranchName::parse(text).unwrap();
        assert!(name("release/1.2").matches("release/*"));
        assert!(name("main").matches("main"));
        assert!(!name("main2").matches("main"));
        assert!(name("a-b-c").matches("a*c"));
        assert!(!name("a-b-d").matches("a*c"));
    }

    #[test]
    fn a_suffix_keeps_the_name_valid() {
        let long = BranchName::parse(&"a".repeat(200)).unwrap().with_suffix(12);
        assert!(BranchName::parse(long.as_str()).is_ok());
        assert_eq!(BranchName::parse("fix").unwrap().with_suffix(2).as_str(), "fix-2");
    }
}
