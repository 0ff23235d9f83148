//! Tests, or parts of them, for which a machine lacks something. Each says so on the terminal, past the runner, which
//! swallows what passing tests print, and fails where `OFFSHOOT_TESTS_NEED` names what is missing: `.ci/run` names there
//! all that its machine has or can be given, so that nothing which could be tested is left out unseen.

use std::io::Write as _;

/// What a test needs and not every machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// The right to mount a file system in memory: user 0, or anybody below `unshare --map-root-user --mount`.
    Mount,
    /// The right to give a directory to another user.
    Chown,
    /// An address by which the machine would reach the world. Nothing is sent.
    Network,
    /// The sandbox, and the namespaces that it needs.
    Bubblewrap,
    /// One that knows sockets with abstract names (Linux 6.12).
    Landlock,
    Curl,
    /// The program that transfers large files.
    GitLfs,
    Node,
    Python,
    /// Its compiler.
    Go,
    Openssl,
    /// Of util-linux: ends servers together with the test that started them.
    Setpriv,
    /// One that judges a unit offline (systemd 250).
    SystemdAnalyze,
    /// A shell, for what it offers after Tab.
    Zsh,
    /// As [`Self::Zsh`].
    Fish,
}

impl Need {
    /// The word for it in `OFFSHOOT_TESTS_NEED`.
    fn word(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Chown => "chown",
            Self::Network => "network",
            Self::Bubblewrap => "bubblewrap",
            Self::Landlock => "landlock",
            Self::Curl => "curl",
            Self::GitLfs => "git-lfs",
            Self::Node => "node",
            Self::Python => "python3",
            Self::Go => "go",
            Self::Openssl => "openssl",
            Self::Setpriv => "setpriv",
            Self::SystemdAnalyze => "systemd-analyze",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

/// Says that `what` was not tested. Panics where this machine is said to have what it needs.
pub(crate) fn leave_out(need: Need, what: &str) {
    let line = judge(&order("OFFSHOOT_TESTS_NEED").unwrap_or_default(), need, what);
    let line = line.unwrap_or_else(|fault| panic!("{fault}"));
    // straight to the descriptor: the runner's capture is only in the print macros
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = order("OFFSHOOT_LEFT_OUT") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the machine's orders to the tests, as in the long runs")]
fn order(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn judge(needed: &str, need: Need, what: &str) -> Result<String, String> {
    let word = need.word();
    let line = format!("LEFT OUT for want of {word}: {what}");
    if needed.split_whitespace().any(|named| named == word) {
        return Err(format!("{line}. OFFSHOOT_TESTS_NEED says that it must not be"));
    }
    Ok(format!("{line}\n"))
}

/// Whether a program lies where systems keep theirs.
pub(crate) fn has_program(name: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| std::path::Path::new(dir).join(name).exists())
}

#[test]
fn what_must_not_be_left_out_fails() {
    assert_eq!(judge("", Need::Mount, "x"), Ok("LEFT OUT for want of mount: x\n".to_owned()));
    assert!(judge("curl chown", Need::Mount, "x").is_ok());
    assert!(judge("curl mount", Need::Mount, "x").unwrap_err().contains("must not"));
}

/// The words of `.ci/run` are those of this file: one that is spelled otherwise would demand nothing.
#[test]
fn every_need_is_one_that_ci_knows() {
    let script = include_str!("../../.ci/run");
    let all = [
        Need::Mount,
        Need::Chown,
        Need::Network,
        Need::Bubblewrap,
        Need::Landlock,
        Need::Curl,
        Need::GitLfs,
        Need::Node,
        Need::Python,
        Need::Go,
        Need::Openssl,
        Need::Setpriv,
        Need::SystemdAnalyze,
        Need::Zsh,
        Need::Fish,
    ];
    let needs: Vec<_> = script.lines().filter(|line| line.contains("needs+=(")).collect();
    for need in all {
        let word = need.word();
        let is_named = |line: &&str| line.split(['(', ')', ' ']).any(|named| named == word);
        assert!(needs.iter().any(is_named), "{word}");
    }
}
