//! What git-lfs says when a transfer failed.

use crate::git::error::last_lines;

/// Why objects did not come or go. Texts are bounded and hold no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The same may succeed later.
    Unavailable(String),
    /// The credentials were refused.
    Auth,
    /// Anything else: an object that is not there, a quota, a lock.
    Refused(String),
}

impl Trouble {
    /// Reads the program's error output. The phrases are those of git-lfs 3 (`lfsapi`, `lfshttp`), of Go's network library and
    /// of ssh; a quota is told with the status of a refusal, so its words come first.
    pub(super) fn classify(stderr: &str) -> Self {
        const QUOTA: &[&str] = &[
            "quota",
            "insufficient server storage",
            "bandwidth limit exceeded",
            "storage limit",
            "too large",
            "exceeds the maximum",
        ];
        const AUTH: &[&str] = &[
            "authentication required",
            "authorization error",
            "credentials",
            "permission denied (",
            "host key verification failed",
            "terminal prompts disabled",
        ];
        const UNAVAILABLE: &[&str] = &[
            "connection refused",
            "connection reset",
            "connection timed out",
            "no such host",
            "temporary failure in name resolution",
            "could not resolve host",
            "no route to host",
            "network is unreachable",
            "i/o timeout",
            "timeout awaiting",
            "tls handshake timeout",
            "deadline exceeded",
            "unexpected eof",
            ": eof",
            // what it calls each answer of the kind 5xx but those for a quota, whatever the server's words are
            "fatal error",
            "rate limit",
            "error: 5",
            "503 service",
            "502 bad",
            "504 gateway",
        ];
        let lower = without_addresses(stderr).to_lowercase();
        let has = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
        // where it keeps its own log is of no use: that goes with the place of the transfer
        let is_told =
            |line: &&str| !line.starts_with("Errors logged to") && !line.starts_with("Use `git lfs logs");
        let text = || last_lines(&stderr.lines().filter(is_told).collect::<Vec<_>>().join("\n"));
        if has(QUOTA) {
            Self::Refused(text())
        } else if has(AUTH) {
            Self::Auth
        } else if has(UNAVAILABLE) {
            Self::Unavailable(text())
        } else {
            Self::Refused(text())
        }
    }
}

/// The text without addresses and paths: they are told with most failures, and a repository may be named after any of them.
fn without_addresses(text: &str) -> String {
    let kept = |word: &str| match word {
        // the one word of a failure that looks like a path
        "i/o" => Some(word.to_owned()),
        _ if word.contains('/') || word.contains(".git") => word.ends_with(':').then(|| ":".to_owned()),
        _ => Some(word.to_owned()),
    };
    let line = |line: &str| line.split_whitespace().filter_map(kept).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_by_itself_is_told_from_what_stays() {
        for (stderr, expected) in [
            (
                "batch response: Post \"http://h/info/lfs/objects/batch\": dial tcp 127.0.0.1:1: connect: connection refused",
                "Unavailable",
            ),
            ("batch response: Post \"https://h/x\": dial tcp: lookup h: no such host", "Unavailable"),
            ("batch response: Fatal error: Server error: http://h/info/lfs/objects/batch", "Unavailable"),
            ("batch response: Fatal error: away\n\nErrors logged to '/x'.", "Unavailable"),
            ("batch response: Rate limit exceeded: https://h/info/lfs/objects/batch", "Unavailable"),
            (
                "batch response: This repository is over its data quota. Account responsible for LFS bandwidth should purchase more data packs to restore access.",
                "Refused",
            ),
            ("batch response: Insufficient server storage: https://h/x", "Refused"),
            (
                "batch response: Authentication required: Authorization error: https://h/x\nCheck that you have proper access to the repository",
                "Auth",
            ),
            ("error transferring \"11\": [0] remote missing object 11", "Refused"),
            (
                "batch response: Post \"http://h/acme/quota-api.git/info/lfs/objects/batch\": dial tcp 127.0.0.1:1: connect: connection refused",
                "Unavailable",
            ),
            (
                "batch response: Post \"https://h/acme/credentials-store.git/info/lfs/objects/batch\": EOF",
                "Unavailable",
            ),
            ("ssh: git-lfs-authenticate acme/too-large/quota download: i/o timeout", "Unavailable"),
            ("[404] Object does not exist on the server", "Refused"),
            (
                "batch response: Repository or object not found: https://h/x\nCheck that it exists and that you have proper access to it",
                "Refused",
            ),
        ] {
            let got = format!("{:?}", Trouble::classify(stderr));
            assert!(got.starts_with(expected), "{stderr}: {got}");
        }
    }
}
