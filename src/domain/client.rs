//! A client: a registered GitHub repository with its own run options.

use std::fmt;

use super::id::ClientId;
use super::options::RunOptions;
use super::time::Timestamp;

/// Longest client name in bytes: one line of a table.
pub const CLIENT_NAME_BYTES_MAX: usize = 100;

/// An organisation (or user) and a repository, as GitHub spells them. Compared without regard to case.
#[derive(Clone, Debug)]
pub struct RepositoryName {
    org: String,
    repo: String,
}

/// Why two texts are no repository name, worded for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRepository {
    /// GitHub's rule for accounts: letters, digits, single inner dashes, at most 39.
    #[error("must be a GitHub account name: up to 39 letters, digits or inner dashes")]
    Org,
    /// GitHub's rule for repositories: `[A-Za-z0-9._-]`, at most 100, not `.`, `..`, `*.git`, `*.wiki`.
    #[error(
        "must be a GitHub repository name: up to 100 letters, digits, dots, dashes or underscores, not beginning with \"-\" and not ending in .git or .wiki"
    )]
    Repo,
}

impl RepositoryName {
    /// # Errors
    /// Which of the two texts breaks GitHub's naming rule. An underscore in the account is accepted: enterprise-managed
    /// accounts have one (`name_company`).
    pub fn parse(org: &str, repo: &str) -> Result<Self, InvalidRepository> {
        let plain_org = org.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if org.is_empty() || org.len() > 39 || !plain_org || org.starts_with('-') || org.ends_with('-') {
            return Err(InvalidRepository::Org);
        }
        let plain_repo = repo.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let lower = repo.to_ascii_lowercase();
        let reserved = repo == "." || repo == ".." || lower.ends_with(".git") || lower.ends_with(".wiki");
        if repo.is_empty() || repo.len() > 100 || !plain_repo || repo.starts_with('-') || reserved {
            return Err(InvalidRepository::Repo);
        }
        Ok(Self { org: org.to_owned(), repo: repo.to_owned() })
    }

    #[must_use]
    pub fn org(&self) -> &str {
        &self.org
    }

    #[must_use]
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// `(org, repo)` in lower case: the key under which it is stored and the place of its clone.
    #[must_use]
    pub fn key(&self) -> (String, String) {
        (self.org.to_ascii_lowercase(), self.repo.to_ascii_lowercase())
    }
}

impl PartialEq for RepositoryName {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for RepositoryName {}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.repo)
    }
}

/// A registered repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    pub id: ClientId,
    /// The caller's own name for it, unique among the clients that are not deleted.
    pub os_client_id: Option<String>,
    pub name: String,
    pub repository: RepositoryName,
    /// `None` until the first clone has asked the remote.
    pub default_branch: Option<String>,
    /// Set by the owner; beats the configured pattern.
    pub clone_url: Option<String>,
    /// The forge's own number of the repository: a rename is followed only when it stays the same.
    pub forge_id: Option<i64>,
    pub paused: bool,
    /// Why it is paused, when `offshoot` did it.
    pub paused_reason: Option<String>,
    pub options: RunOptions,
    pub cloned_at: Option<Timestamp>,
    pub last_fetched_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

/// What is needed to register a repository.
#[derive(Clone, Debug)]
pub struct NewClient {
    pub os_client_id: Option<String>,
    pub name: String,
    pub repository: RepositoryName,
    pub default_branch: Option<String>,
    pub clone_url: Option<String>,
    pub options: RunOptions,
}

/// A change of a client: `None` leaves the field, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct ClientPatch {
    pub name: Option<String>,
    pub os_client_id: Option<Option<String>>,
    pub default_branch: Option<Option<String>>,
    pub clone_url: Option<Option<String>>,
    pub paused: Option<bool>,
    pub options: Option<RunOptions>,
    /// The options that these were made of; where others are there by then, nothing is changed. `None`: whatever is there.
    pub options_seen: Option<RunOptions>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_github() {
        let good = [("acme", "widgets"), ("a", "x.y_z-1"), ("Acme-Inc", ".github"), ("jo_acme", "a")];
        for (org, repo) in good {
            assert!(RepositoryName::parse(org, repo).is_ok(), "{org}/{repo}");
        }
        for org in ["../..", "a/b", "-o", "o-", ".", "", "a b", &"a".repeat(40), "a\0"] {
            assert_eq!(RepositoryName::parse(org, "x"), Err(InvalidRepository::Org), "{org:?}");
        }
        for repo in ["..", ".", "x.git", "x.GIT", "x.wiki", "-x", "a b", "", "a/b", &"a".repeat(101), "a\0"] {
            assert_eq!(RepositoryName::parse("o", repo), Err(InvalidRepository::Repo), "{repo:?}");
        }
    }

    #[test]
    fn case_does_not_matter() {
        let name = |org, repo| RepositoryName::parse(org, repo).unwrap();
        assert_eq!(name("Acme", "Widgets"), name("acme", "widgets"));
    }
}
