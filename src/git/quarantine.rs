//! What was made in a shadow, on its way into the clone: its object files are linked into a repository of our own making, and
//! measured before anything reads one whole. Objects are packed a thousandfold and more, so that what takes a megabyte on the disk
//! would fill the memory of whoever parses it, this server among them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::Oid;

use super::error::GitError;
use super::give_up::GiveUp;
use super::program::{Call, Git};
use super::{disk, refs, tamper};

/// Objects that one absorption takes over: git itself packs them long before.
const OBJECT_FILES_MAX: usize = 1_000_000;

/// Of a commit or a tag. The longest messages that people write have some ten KiB, and several signatures fit as well.
const WORDS_BYTES_MAX: u64 = 1 << 20;

/// Of one directory: a million names of some thirty characters, as many as a worktree may usually have files.
const TREE_BYTES_MAX: u64 = 64 << 20;

/// Objects that are too large and are remembered, to see whether a commit leads to them: with more the commits are refused.
const LARGE_MAX: usize = 1_000;

/// Why the commits of a shadow stay there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// So says git.
    Malformed,
    LargeCommit,
    LargeTree,
    LargeFile,
    /// Nobody knows: it failed again and again.
    Failed,
}

impl Refusal {
    const ALL: [Self; 5] =
        [Self::Malformed, Self::LargeCommit, Self::LargeTree, Self::LargeFile, Self::Failed];

    /// As it is kept beside the shadow. An earlier version knew of the first one only, and wrote nothing.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "",
            Self::LargeCommit => "large commit",
            Self::LargeTree => "large tree",
            Self::LargeFile => "large file",
            Self::Failed => "failed",
        }
    }

    pub(super) fn parse(word: &[u8]) -> Self {
        Self::ALL.into_iter().find(|one| one.word().as_bytes() == word).unwrap_or(Self::Malformed)
    }

    /// For the job, as the text of a note.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Malformed => "git refused its commits as malformed: the files were committed without them",
            Self::LargeCommit => {
                "one of its commits or tags has more than 1 MiB: the files were committed without its commits"
            }
            Self::LargeTree => {
                "one of the directories in its commits has more than 64 MiB of names: the files were committed without its commits"
            }
            Self::LargeFile => {
                "a file in the history of its commits is larger than a remote takes: the files were committed without its commits"
            }
            Self::Failed => {
                "its commits could not be taken over, however often it was tried: the files were committed without them"
            }
        }
    }
}

/// A repository with the object files of a shadow, and refs to what is wanted, numbered from 0.
#[derive(Clone, Debug)]
pub(super) struct Quarantine {
    pub(super) dir: PathBuf,
    /// None: the clone has it all.
    pub(super) tips: Vec<Oid>,
}

impl Quarantine {
    /// Fills it from the objects of a shadow. It has no others at first, so that what is listed in it is what is new.
    pub(super) fn fill(
        dir: PathBuf,
        shadow_objects: &Path,
        clone: &Path,
        tips: &[Oid],
    ) -> Result<Self, GitError> {
        let library = refs::open(clone)?;
        let tips: Vec<_> = tips.iter().filter(|tip| library.find_commit(**tip).is_err()).copied().collect();
        if tips.is_empty() {
            return Ok(Self { dir, tips });
        }
        let failed = GitError::io("fill a quarantine");
        fs::create_dir_all(&dir).and_then(|()| tamper::lay_out(&dir)).map_err(&failed)?;
        link_objects(shadow_objects, &dir.join("objects")).map_err(&failed)?;
        for (number, tip) in tips.iter().enumerate() {
            fs::write(dir.join(format!("refs/heads/{number}")), format!("{tip}\n")).map_err(&failed)?;
        }
        Ok(Self { dir, tips })
    }

    /// Lends it the objects of the clone, on which its own build.
    fn lend(&self, clone: &Path) -> io::Result<()> {
        let alternates = [clone.join("objects").as_os_str().as_encoded_bytes(), b"\n"].concat();
        fs::write(self.dir.join("objects/info/alternates"), alternates)
    }

    /// Measures what is new by the heads of the objects, which git reads without the rest, and lends it the clone's objects then.
    /// A file that no commit leads to is no matter. `known` are commits that the clone has.
    pub(super) async fn judge(
        &self,
        git: &Git,
        clone: &Path,
        known: &[Oid],
        give_up: &GiveUp,
    ) -> Result<Option<Refusal>, GitError> {
        let mut judged = Judged { file_bytes_max: git.settings().file_bytes_max, ..Judged::default() };
        let args = ["cat-file", "--batch-all-objects", "--unordered"].map(OsString::from).to_vec();
        let format = "--batch-check=%(objecttype) %(objectsize) %(objectname)";
        let args = [args, vec![format.into()]].concat();
        git.read_lines(self.call("measure an agent's commits", git, args), give_up, |line| {
            judged.object(line);
        })
        .await?;
        self.lend(clone).map_err(GitError::io("fill a quarantine"))?;
        if judged.refusal.is_some() || judged.large_files.is_empty() {
            return Ok(judged.refusal);
        }
        let mut args = ["rev-list", "--objects", "--no-object-names"].map(OsString::from).to_vec();
        args.extend(self.tips.iter().map(|tip| tip.to_string().into()));
        args.push("--not".into());
        args.extend(known.iter().map(|tip| tip.to_string().into()));
        args.push("--".into());
        let mut leads_there = false;
        let look = |line: &[u8]| leads_there |= judged.large_files.contains(line);
        git.read_lines(self.call("look for large files in an agent's commits", git, args), give_up, look)
            .await?;
        Ok(leads_there.then_some(Refusal::LargeFile))
    }

    /// The commits come into the clone, through git's checks of objects.
    pub(super) async fn fetch(&self, git: &Git, clone: &Path, give_up: &GiveUp) -> Result<(), GitError> {
        let mut args: Vec<_> =
            ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"]
                .map(OsString::from)
                .to_vec();
        args.extend(["--".into(), self.dir.clone().into()]);
        args.extend((0..self.tips.len()).map(|tip| format!("refs/heads/{tip}").into()));
        let mut call = self.call("take over an agent's commits", git, args);
        call.git_dir = Some(clone);
        call.config = vec![("fetch.fsckObjects".to_owned(), secrecy::SecretString::from("true"))];
        git.read_lines(call, give_up, |_| ()).await
    }

    fn call(&self, step: &'static str, git: &Git, args: Vec<OsString>) -> Call<'_> {
        let deadline = git.settings().checkout_deadline;
        Call { step, git_dir: Some(&self.dir), work_tree: None, args, config: Vec::new(), deadline }
    }
}

/// What a list of objects came to so far.
#[derive(Debug, Default)]
struct Judged {
    file_bytes_max: u64,
    refusal: Option<Refusal>,
    /// By their names, in hexadecimal digits.
    large_files: HashSet<Vec<u8>>,
}

impl Judged {
    /// A line of `type bytes name`; what git cannot read is told otherwise, and whoever needs it finds out.
    fn object(&mut self, line: &[u8]) {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(kind), Some(bytes), Some(name)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        // what is no number we can read is more than any bound
        let bytes = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
        let refusal = match kind {
            b"commit" | b"tag" if bytes > WORDS_BYTES_MAX => Refusal::LargeCommit,
            b"tree" if bytes > TREE_BYTES_MAX => Refusal::LargeTree,
            b"blob" if bytes > self.file_bytes_max && self.large_files.len() == LARGE_MAX => {
                Refusal::LargeFile
            }
            b"blob" if bytes > self.file_bytes_max => {
                self.large_files.insert(name.to_vec());
                return;
            }
            _ => return,
        };
        self.refusal.get_or_insert(refusal);
    }
}

/// Whether another try would come to the same: nothing that a machine without room says, nor what another call is to hear.
pub(super) fn is_lasting(error: &GitError) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    match error {
        GitError::Program { text, .. } | GitError::Library { text, .. } => !is_of_the_machine(text),
        GitError::Deadline { .. } => true,
        // more object files than are taken over, and what its owner has closed
        GitError::Io { source, .. } => {
            matches!(source.kind(), InvalidData | IsADirectory | NotADirectory | NotFound | PermissionDenied)
        }
        _ => false,
    }
}

/// What git says where the machine had no room.
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
    ];
    let text = text.to_ascii_lowercase();
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

/// Links what is named as objects and packs are, and is a plain file; nothing else is taken, above all no `info`.
fn link_objects(from: &Path, to: &Path) -> io::Result<()> {
    let mut left = OBJECT_FILES_MAX;
    let mut link_dir = |name: &str, is_wanted: &dyn Fn(&str) -> bool| -> io::Result<()> {
        let (from, to) = (from.join(name), to.join(name));
        if !disk::is_real_dir(&from) {
            return Ok(());
        }
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_object = name.to_str().is_some_and(is_wanted) && entry.file_type()?.is_file();
            if is_object {
                left = left.checked_sub(1).ok_or(io::ErrorKind::InvalidData)?;
                fs::hard_link(entry.path(), to.join(name))?;
            }
        }
        Ok(())
    };
    if !disk::is_real_dir(from) {
        return Ok(());
    }
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    for number in 0..=u8::MAX {
        link_dir(&format!("{number:02x}"), &|name| name.len() == 38 && is_hex(name))?;
    }
    link_dir("pack", &|name| {
        let stem = name.strip_suffix(".pack").or_else(|| name.strip_suffix(".idx"));
        stem.and_then(|stem| stem.strip_prefix("pack-")).is_some_and(|id| id.len() == 40 && is_hex(id))
    })
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
    fn objects_are_judged_by_what_they_are_and_how_large() {
        let judge = |lines: &[&str]| {
            let mut judged = Judged { file_bytes_max: 100, ..Judged::default() };
            lines.iter().for_each(|line| judged.object(line.as_bytes()));
            (judged.refusal, judged.large_files.len())
        };
        assert_eq!(judge(&["commit 1048576 a", "tag 1048576 a", "tree 67108864 b", "blob 100 c"]), (None, 0));
        assert_eq!(judge(&["commit 1048577 a", "tree 67108865 b"]), (Some(Refusal::LargeCommit), 0));
        assert_eq!(judge(&["tag 1048577 a"]).0, Some(Refusal::LargeCommit));
        assert_eq!(judge(&["tree 67108865 b"]).0, Some(Refusal::LargeTree));
        assert_eq!(judge(&["tree 99999999999999999999 b"]).0, Some(Refusal::LargeTree));
        assert_eq!(judge(&["blob 101 c", "d missing", ""]), (None, 1));
        let many: Vec<_> = (0..=LARGE_MAX).map(|number| format!("blob 101 {number}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(judge(&many).0, Some(Refusal::LargeFile));
    }

    #[test]
    fn a_refusal_is_kept_by_its_word() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::parse(refusal.word().as_bytes()), refusal);
        }
    }
}
