//! The place where pull requests live: GitHub, or a directory that behaves like it.
//!
//! Promises:
//! - at most one open pull request per head and base, whatever is lost on the way ([`ensure_pull_request`]);
//! - requests of one credential go out one after the other, writes at least a second apart, and a rate limit stops
//!   all further requests until it is over;
//! - a write is never repeated blindly; whether its effect is known is part of the error;
//! - every call ends by itself, and no secret appears in an error.
//!
//! Must not know: jobs, the clone, how branches got there. It receives names and texts.
//!
//! Fails: [`ForgeError`], which says by data whether waiting helps. Labels and reviewers are wishes: their refusal is
//! a warning text, not an error.
//!
//! Tested: `tests/it/forge_*.rs` against a stateful stand-in for GitHub that loses answers and limits rates on order,
//! and against real bare repositories for the local forge.

mod answer;
mod client;
mod ensure;
mod error;
mod gate;
mod gh;
mod github;
mod local;

use futures_util::future::BoxFuture;
use secrecy::SecretString;

pub use client::{HttpLimits, http_client};
pub use ensure::{EnsureWaits, ensure_pull_request};
pub use error::{ForgeError, Refusal};
pub use gh::gh_token;
pub use github::{GitHub, GitHubAuth};
pub use local::{LocalForge, LocalPullRequest};

/// `org/repo`, as the forge spells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryName {
    pub org: String,
    pub repo: String,
}

/// What the forge says about a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryFacts {
    /// Stays the same through renames and transfers.
    pub id: u64,
    /// The present name, which differs from the asked one when [`Self::renamed`].
    pub full_name: RepositoryName,
    pub default_branch: String,
    pub archived: bool,
    pub private: bool,
    /// Whether the asked name is an old one. Follow it only if `id` is the one known from before: a name that
    /// became free may be taken by somebody else.
    pub renamed: bool,
}

/// A pull request to open: `head` and `base` are branch names of the same repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPullRequest {
    pub repo: RepositoryName,
    pub head: String,
    pub base: String,
    pub title: String,
    pub body: String,
    pub draft: bool,
}

/// An open pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    pub number: u64,
    /// Where a person reads it.
    pub url: String,
    /// The commit id that the forge shows as its head.
    pub head_sha: String,
    pub draft: bool,
    /// Whether this call brought it into being, as far as can be known; `false` when it was there before.
    pub created: bool,
}

/// A forge. Every method ends within its own deadlines; dropping its future abandons the call.
pub trait Forge: Send + Sync {
    /// # Errors
    /// [`ForgeError::NotFound`] when there is none or the credential cannot see it.
    fn repository<'a>(
        &'a self,
        name: &'a RepositoryName,
    ) -> BoxFuture<'a, Result<RepositoryFacts, ForgeError>>;

    /// The open pull request of exactly this head and base.
    fn find_pull_request<'a>(
        &'a self,
        repo: &'a RepositoryName,
        head: &'a str,
        base: &'a str,
    ) -> BoxFuture<'a, Result<Option<PullRequest>, ForgeError>>;

    /// Asks once for a new pull request. Callers want [`ensure_pull_request`].
    fn open_pull_request<'a>(
        &'a self,
        new: &'a NewPullRequest,
    ) -> BoxFuture<'a, Result<PullRequest, ForgeError>>;

    /// Adds labels; `Some` is a warning why that did not work.
    fn add_labels<'a>(
        &'a self,
        repo: &'a RepositoryName,
        number: u64,
        labels: &'a [String],
    ) -> BoxFuture<'a, Option<String>>;

    /// Asks for reviews, by user name or `org/team`; `Some` is a warning why that did not work.
    fn request_reviewers<'a>(
        &'a self,
        repo: &'a RepositoryName,
        number: u64,
        reviewers: &'a [String],
    ) -> BoxFuture<'a, Option<String>>;

    /// The password for git over HTTP on the forge's host (user `x-access-token`), good for the next minutes.
    /// `None` when there is no credential to give. Ask again for each git command: it may be short-lived.
    fn git_credential<'a>(
        &'a self,
        repo: &'a RepositoryName,
    ) -> BoxFuture<'a, Result<Option<SecretString>, ForgeError>>;
}

impl std::fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.org, self.repo)
    }
}
