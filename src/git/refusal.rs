//! Why commits that were made in a shadow do not come into the clone, and what the failures of taking them over say about that.

use std::io;

use super::error::GitError;

/// Why the commits of a shadow stay there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// So says git.
    Malformed,
    LargeCommit,
    LargeTree,
    LargeFile,
    /// Directories in directories.
    Deep,
    /// More directories than are looked at.
    Many,
    /// Nobody knows: it failed again and again.
    Failed,
}

/// The commits of a shadow that were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) why: Refusal,
    /// Of the file, where it is for one: as it is in a commit. Otherwise empty.
    pub(super) path: Vec<u8>,
}

impl Refused {
    /// As it is kept beside the shadow: a word, and the path in a line of its own.
    pub(super) fn text(&self) -> Vec<u8> {
        let word = self.why.word().as_bytes();
        if self.path.is_empty() { word.to_vec() } else { [word, b"\n", &self.path].concat() }
    }

    pub(super) fn parse(text: &[u8]) -> Self {
        let (word, path) = text.split_at(text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len()));
        Self { why: Refusal::parse(word), path: path.get(1..).unwrap_or_default().to_vec() }
    }
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self { why, path: Vec::new() }
    }
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::Malformed,
        Self::LargeCommit,
        Self::LargeTree,
        Self::LargeFile,
        Self::Deep,
        Self::Many,
        Self::Failed,
    ];

    /// As it is kept beside the shadow. An earlier version knew of the first one only, and wrote nothing.
    const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "",
            Self::LargeCommit => "large commit",
            Self::LargeTree => "large tree",
            Self::LargeFile => "large file",
            Self::Deep => "deep",
            Self::Many => "many",
            Self::Failed => "failed",
        }
    }

    fn parse(word: &[u8]) -> Self {
        Self::ALL.into_iter().find(|one| one.word().as_bytes() == word).unwrap_or(Self::Malformed)
    }

    /// For the job, as the text of a note.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Malformed => "git refused its commits as malformed: the files were committed without them",
            Self::LargeCommit => {
                "one of its commits or tags has more than 1 MiB: the files were committed without its commits (a shorter message, or another one in a file, is taken)"
            }
            Self::LargeTree => {
                "one of the directories in its commits has more than 64 MiB of names: the files were committed without its commits (several directories in its place are taken)"
            }
            Self::LargeFile => {
                "in the history of its commits a file is larger than a result may bring: the files were committed without its commits (at most 100 MiB; leave it out of every commit, or keep it with git-lfs)"
            }
            Self::Deep => {
                "the directories in its commits lie more than 2,048 deep in each other: the files were committed without its commits"
            }
            Self::Many => {
                "directories in its commits are more than a million, or more than a million paths where each is written out: the files were committed without its commits"
            }
            Self::Failed => {
                "its commits could not be taken over, however often it was tried: the files were committed without them"
            }
        }
    }
}

/// What another try would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Nobody knows: the machine had no room, a program was away, or whatever is not of the commits.
    Otherwise,
    /// The same, unless the machine was busy: what failed like this at two last tries does so for ever.
    SameIfTwice,
    Same,
}

/// The step in which files of an agent are linked.
pub(super) const LINK: &str = "take an agent's objects";

/// Nothing that a machine without room says counts, nor what another call is to hear.
pub(super) fn again(error: &GitError) -> Again {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, PermissionDenied, TooManyLinks};
    match error {
        // killed from outside, or it has killed itself
        GitError::Program { text, .. } if text.is_empty() => Again::SameIfTwice,
        GitError::Program { text, .. } | GitError::Library { text, .. } if is_of_the_machine(text) => {
            Again::Otherwise
        }
        GitError::Program { .. } | GitError::Library { .. } => Again::Same,
        GitError::Deadline { .. } => Again::SameIfTwice,
        // more files than are taken over, and what an agent has closed, or linked as often as can be
        GitError::Io { step: LINK, source } => match source.kind() {
            InvalidData | IsADirectory | NotADirectory | NotFound | PermissionDenied | TooManyLinks => {
                Again::Same
            }
            _ => Again::Otherwise,
        },
        _ => Again::Otherwise,
    }
}

/// What git says where the machine had no room, or git itself was not whole.
fn is_of_the_machine(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "out of memory",
        "cannot allocate memory",
        "too many open files",
        "resource temporarily unavailable",
        "no space left on device",
        "disk quota exceeded",
        "input/output error",
        "died of signal",
        "cannot run",
        "cannot exec",
        "is not a git command",
        "error while loading shared libraries",
        "for adding an object to repository database",
        "read-only file system",
    ];
    // for want of a stack: of what it was at
    let text = text.to_ascii_lowercase().replace("died of signal 11", "");
    WORDS.iter().any(|phrase| text.contains(phrase))
}

/// Whether git says of objects that they are malformed, damaged or missing. Anything else may be otherwise at the next try:
/// commits are not given up for a machine that had no memory, descriptors or processes left, which git also takes for damage.
pub(super) fn is_refusal(text: &str) -> bool {
    const OF_OBJECTS: &[&str] = &[
        "fsck error",
        "not our ref",
        "couldn't find remote ref",
        "is corrupt",
        "bad object",
        "bad tree object",
        "unable to read ",
        "did not receive expected object",
        "unresolved delta",
        "remote did not send all",
        "maximum allowed tree depth",
    ];
    let lower = text.to_ascii_lowercase();
    OF_OBJECTS.iter().any(|phrase| lower.contains(phrase)) && !is_of_the_machine(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As git 2.47 says it.
    #[test]
    fn only_what_is_wrong_with_objects_refuses_them() {
        for text in [
            "error: object e0b0: missingEmail: invalid author/committer line - missing email\nfatal: fsck error in packed object\nfatal: index-pack failed",
            "fatal: git upload-pack: not our ref 2a6f\nfatal: remote error: upload-pack: not our ref 2a6f",
            "fatal: couldn't find remote ref refs/heads/0",
            "fatal: loose object ff22 (stored in ./objects/ff/22) is corrupt\nfatal: the remote end hung up unexpectedly",
            "remote: fatal: bad tree object 621c\nerror: git upload-pack: git-pack-objects died with error.",
            "remote: fatal: unable to read 7481\nremote: aborting due to possible repository corruption on the remote side.",
            "error: inflate: data stream error\nfatal: pack has bad object at offset 147: inflate returned -3",
            "error: exceeded maximum allowed tree depth\nerror: git upload-pack: git-pack-objects died with error.",
            "fatal: did not receive expected object e2c4\nfatal: index-pack failed",
        ] {
            assert!(is_refusal(text), "{text}");
        }
        for text in [
            "fatal: Out of memory, malloc failed (tried to allocate 300001 bytes)\nfatal: index-pack failed",
            "error: cannot create standard error pipe for pack-objects: Too many open files\nfatal: protocol error: bad pack header",
            "error: unable to open object: Too many open files\nfatal: git upload-pack: not our ref 2a6f",
            "error: cannot fork() for git-upload-pack: Resource temporarily unavailable\nfatal: unable to fork",
            "error: git upload-pack: git-pack-objects died with error.\nremote: aborting due to possible repository corruption on the remote side.",
            "error: index-pack died of signal 9\nfatal: index-pack failed",
            "fatal: write error: No space left on device",
            "",
        ] {
            assert!(!is_refusal(text), "{text}");
        }
    }

    #[test]
    fn only_what_another_try_would_not_change_is_given_up() {
        let program = |text: &str| GitError::Program { step: "x", text: text.to_owned() };
        let io = |step, kind: io::ErrorKind| GitError::Io { step, source: kind.into() };
        for (error, expected) in [
            (program("fatal: of no kind that is known"), Again::Same),
            (program("error: pack-objects died of signal 11"), Again::Same),
            (program("error: index-pack died of signal 9"), Again::Otherwise),
            (program("fatal: cannot exec 'index-pack': No such file or directory"), Again::Otherwise),
            (
                program("error: insufficient permission for adding an object to repository database objects"),
                Again::Otherwise,
            ),
            (program(""), Again::SameIfTwice),
            (GitError::Deadline { step: "x", seconds: 1 }, Again::SameIfTwice),
            (io(LINK, io::ErrorKind::PermissionDenied), Again::Same),
            (io(LINK, io::ErrorKind::TooManyLinks), Again::Same),
            (io(LINK, io::ErrorKind::StorageFull), Again::Otherwise),
            (io("start git", io::ErrorKind::NotFound), Again::Otherwise),
            (io("start git", io::ErrorKind::PermissionDenied), Again::Otherwise),
            (io("fill a quarantine", io::ErrorKind::PermissionDenied), Again::Otherwise),
            (GitError::GivenUp, Again::Otherwise),
        ] {
            assert_eq!(again(&error), expected, "{error}");
        }
    }

    #[test]
    fn a_refusal_is_kept_by_its_word() {
        for refusal in Refusal::ALL {
            assert_eq!(Refused::parse(refusal.word().as_bytes()), refusal.into());
            for path in [&b""[..], b"a/b c", b"\n\xff\n"] {
                let refused = Refused { why: refusal, path: path.to_vec() };
                assert_eq!(Refused::parse(&refused.text()), refused);
            }
        }
    }
}
