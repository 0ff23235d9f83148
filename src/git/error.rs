//! What can go wrong with git, and which of it may go away by waiting.

use std::io;

/// A failure of this folder. The text holds no path of this machine and no secret.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A remote did not do what was asked.
    #[error("the remote could not be used: {0}")]
    Remote(#[from] RemoteFailure),
    /// The clone's administration differs from what was written; nothing was run in it.
    #[error("the clone was tampered with: {what} is not what the server wrote")]
    Tampered {
        /// The name inside the clone, such as `hooks` or `config`.
        what: String,
    },
    /// Files of the clone are missing or empty; nobody has put others in their place.
    #[error("the clone is damaged: {what} is missing or empty")]
    Damaged {
        /// The name inside the clone, such as `HEAD`.
        what: String,
    },
    /// The result does not descend from the commit that the work began at.
    #[error("the history was rewritten: {head} does not descend from {base}")]
    HistoryRewritten {
        /// Where the worktree's HEAD is.
        head: super::CommitId,
        /// What it had to descend from.
        base: super::CommitId,
    },
    /// A file of the owner that was copied into the worktree is in a commit that somebody made there.
    #[error("{path} was copied into the worktree and is committed")]
    CopyCommitted {
        /// Relative to the worktree, unprintable bytes escaped.
        path: String,
    },
    /// A changed path has an attribute whose filter the server does not run.
    #[error("{path} has the unsupported filter attribute `{filter}`")]
    UnsupportedFilter {
        /// Relative to the worktree, unprintable bytes escaped.
        path: String,
        /// The value of the attribute.
        filter: String,
    },
    /// A changed file is kept by git-lfs, and the program for its transfers is not there or does not work.
    #[error("{path} is kept by git-lfs, {lack}")]
    LfsUnusable {
        /// Relative to the worktree, unprintable bytes escaped.
        path: String,
        /// Why.
        lack: super::LfsLack,
    },
    /// A file is larger than the caller allows in a commit.
    #[error("{path} has {bytes} bytes, more than the {bytes_max} allowed in a commit")]
    FileTooLarge {
        /// Relative to the worktree, unprintable bytes escaped.
        path: String,
        /// Its size.
        bytes: u64,
        /// The limit of the call.
        bytes_max: u64,
    },
    /// The large files of a worktree have more bytes together, holes counted, than a result may bring.
    #[error("{path} and the large files before it have more than {bytes_max} bytes together")]
    LargeFilesTooLarge {
        /// Relative to the worktree, unprintable bytes escaped; or in words, which of the objects that an agent has stored itself.
        path: String,
        /// The limit.
        bytes_max: u64,
    },
    /// An agent's own git-lfs has stored more large files for its commits than are taken over.
    #[error("the commits of the agent bring more than {files_max} large files")]
    LargeFilesTooMany {
        /// The limit.
        files_max: usize,
    },
    /// A push that would drop commits of the remote branch without being asked to.
    #[error("{commit} does not descend from {expected}, which the remote branch has")]
    NotFastForward {
        /// What was to be pushed.
        commit: super::CommitId,
        /// What the remote was seen to have.
        expected: super::CommitId,
    },
    /// The commit is not in the clone.
    #[error("commit {0} is not in the clone")]
    CommitMissing(super::CommitId),
    /// Nothing says which commit the files of a worktree could be compared with: neither the worktree nor whoever asks.
    #[error("no commit is known that the worktree's files build on")]
    BaseUnknown,
    /// There is no worktree, or what is there cannot be read as one.
    #[error("the worktree is unusable: {0}")]
    WorktreeBroken(&'static str),
    /// A value that no valid caller passes.
    #[error("invalid argument: {0}")]
    InvalidArgument(&'static str),
    /// The git program is missing or too old.
    #[error("git {found} is too old: at least {floor} is needed")]
    TooOld {
        /// The version found.
        found: String,
        /// The least version.
        floor: &'static str,
    },
    /// The git program did not do a local step.
    #[error("git could not {step}: {text}")]
    Program {
        /// What was tried, as a verb phrase.
        step: &'static str,
        /// The end of its error output, without credentials.
        text: String,
    },
    /// A step took longer than its deadline; its processes were killed.
    #[error("git took longer than {seconds} s to {step}")]
    Deadline {
        /// What was tried, as a verb phrase.
        step: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The operating system refused.
    #[error("could not {step}: {source}")]
    Io {
        /// What was tried, as a verb phrase.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// libgit2 refused.
    #[error("could not {step}: {text}")]
    Library {
        /// What was tried, as a verb phrase.
        step: &'static str,
        /// Why not.
        text: String,
    },
    /// Whoever asked does not wait any more.
    #[error("it was given up")]
    GivenUp,
    /// A blocking step panicked or the runtime is going down.
    #[error("a git step was abandoned")]
    Abandoned,
}

impl GitError {
    pub(super) fn io(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { step, source }
    }

    pub(super) fn errno(step: &'static str) -> impl Fn(nix::errno::Errno) -> Self {
        move |errno| Self::Io { step, source: errno.into() }
    }

    pub(super) fn library(step: &'static str) -> impl Fn(git2::Error) -> Self {
        move |error| Self::Library { step, text: without_paths(error.message()) }
    }

    /// Whether there was no room on a disk of ours. libgit2 and git say it in words only, git under `LC_ALL=C`; what the
    /// remote says of its own disk is not meant.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let says_so = |text: &str| {
            let own = text.lines().filter(|line| !line.trim_start().starts_with("remote:"));
            own.into_iter().any(|line| {
                let line = line.to_ascii_lowercase();
                // the last is all that a checkout says of a write that failed
                ["no space left on device", "disk quota exceeded", "unable to write file"]
                    .iter()
                    .any(|phrase| line.contains(phrase))
            })
        };
        match self {
            Self::Io { source, .. } => is_disk_full(source),
            Self::Library { text, .. } | Self::Program { text, .. } => says_so(text),
            Self::Remote(RemoteFailure::Other { text } | RemoteFailure::Unavailable { text }) => {
                says_so(text)
            }
            _ => false,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Remote(RemoteFailure::Unavailable { .. }) | Self::Deadline { .. })
    }
}

/// Whether a write found no room, be it on the disk or in what its owner may use of it.
#[must_use]
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// How a clone, a fetch or a question to a remote failed. Texts are the remote's own, bounded, without credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteFailure {
    /// There is no such repository, or these credentials may not know of it.
    #[error("no such repository")]
    NotFound,
    /// The credentials were refused, or none were given where some are needed.
    #[error("the credentials were refused")]
    AuthFailed,
    /// Not reachable now: name resolution, connection, time out, or a 5xx answer.
    #[error("unavailable: {text}")]
    Unavailable {
        /// What git said.
        text: String,
    },
    /// Anything else.
    #[error("{text}")]
    Other {
        /// What git said.
        text: String,
    },
}

impl RemoteFailure {
    /// Reads git's error output. The phrases are those of git, curl and OpenSSH under `LC_ALL=C`, and GitHub's.
    pub(super) fn classify(stderr: &str) -> Self {
        const AUTH: &[&str] = &[
            "authentication failed",
            "could not read username",
            "could not read password",
            "permission denied (",
            "host key verification failed",
            "invalid username or",
            "terminal prompts disabled",
            "returned error: 401",
            "returned error: 403",
            "write access to repository not granted",
            "permission to ",
        ];
        const UNAVAILABLE: &[&str] = &[
            "could not resolve host",
            "temporary failure in name resolution",
            "failed to connect",
            "couldn't connect to server",
            "connection refused",
            "connection reset",
            "connection timed out",
            "connection closed",
            "operation timed out",
            "operation too slow",
            "no route to host",
            "network is unreachable",
            "the remote end hung up",
            "early eof",
            "returned error: 5",
            "returned error: 429",
            "ssl_error_syscall",
            "gnutls_handshake",
            "unexpected disconnect",
        ];
        const NOT_FOUND: &[&str] = &[
            "repository not found",
            "does not appear to be a git repository",
            "no such file or directory",
            "returned error: 404",
            "returned error: 410",
            "returned error: 301",
            "' not found",
            "/' not found",
        ];
        let lower = stderr.to_lowercase();
        let has = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
        let text = || last_lines(stderr);
        if has(&["cannot run", "cannot exec"]) {
            // A program of this machine is missing; its "no such file" is not about the repository.
            Self::Other { text: text() }
        } else if has(AUTH) {
            Self::AuthFailed
        } else if has(NOT_FOUND) {
            Self::NotFound
        } else if has(UNAVAILABLE) {
            Self::Unavailable { text: text() }
        } else {
            Self::Other { text: text() }
        }
    }
}

/// The end of an error output, short enough for a stored reason: 2,000 characters hold every forge's refusal text.
pub(super) fn last_lines(stderr: &str) -> String {
    const CHARS_MAX: usize = 2_000;
    let trimmed = stderr.trim();
    let skipped = trimmed.chars().count().saturating_sub(CHARS_MAX);
    without_paths(&trimmed.chars().skip(skipped).collect::<String>())
}

/// Replaces absolute paths, which say where things are on this machine. Addresses with a scheme stay.
fn without_paths(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`');
    text.split_inclusive(ends)
        .map(|word| match word.strip_prefix('/') {
            Some(rest) if rest.trim_end_matches(ends).contains(char::is_alphanumeric) => {
                format!(
                    "<path>{}",
                    word.chars().last().filter(|c| ends(*c)).map(String::from).unwrap_or_default()
                )
            }
            _ => word.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_used_up_is_a_full_disk() {
        for (kind, full) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::PermissionDenied, false),
        ] {
            assert_eq!(is_disk_full(&kind.into()), full, "{kind}");
        }
    }

    #[test]
    fn paths_of_this_machine_are_not_told() {
        for (text, expected) in [
            ("could not open '/home/x/repos/o/r.git/HEAD': denied", "could not open '<path>': denied"),
            ("/a/b is gone", "<path> is gone"),
            ("see https://x.example/a/b and a / b", "see https://x.example/a/b and a / b"),
        ] {
            assert_eq!(without_paths(text), expected);
        }
    }

    #[test]
    fn failures_are_told_apart_by_what_git_and_forges_say() {
        let table = [
            ("remote: Repository not found.\nfatal: repository 'https://x/y.git/' not found", "NotFound"),
            (
                "fatal: '/tmp/x.git' does not appear to be a git repository\nfatal: Could not read from remote repository.",
                "NotFound",
            ),
            (
                "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
                "AuthFailed",
            ),
            (
                "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                "AuthFailed",
            ),
            ("fatal: unable to access 'https://x/': The requested URL returned error: 403", "AuthFailed"),
            ("fatal: unable to access 'https://x/': Could not resolve host: x", "Unavailable"),
            ("fatal: unable to access 'https://x/': The requested URL returned error: 503", "Unavailable"),
            ("ssh: connect to host x port 22: Connection timed out", "Unavailable"),
            ("fatal: mismatched algorithms", "Other"),
            ("error: cannot run ssh: No such file or directory", "Other"),
        ];
        for (stderr, expected) in table {
            let got = format!("{:?}", RemoteFailure::classify(stderr));
            assert!(got.starts_with(expected), "{stderr}: {got}");
        }
    }
}
