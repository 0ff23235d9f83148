//! Files of the owner that work in a worktree needs and that are not in the repository, such as `.env`.
//!
//! Which they are is written into the record of the worktree before the first of them is there, and staging leaves them
//! out: neither a result nor a snapshot holds one, whoever takes it, and also after a crash in the middle.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository as Library};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};

use super::commit_id::CommitId;
use super::disk;
use super::error::{GitError, is_disk_full};
use super::repository::{Repository, blocking};
use super::stage::{Note, shown};
use super::tree_walk::{DIR_FLAGS, Descend, Visit, open_below, walk};
use super::worktree::Place;
use crate::failpoint::{self, Edge};

/// More is no configuration but a data set, which belongs elsewhere.
const FILES_MAX: usize = 1_000;
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// What is told of files that were not copied.
const NOTES_MAX: usize = 50;
/// Of the record: a thousand of the longest paths.
const RECORD_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Whether a path, relative and `/`-separated, is wanted.
pub type PathRule = Box<dyn Fn(&[u8]) -> bool + Send>;

/// What became of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedIn {
    /// Relative to the worktree, unprintable bytes escaped.
    pub copied: Vec<String>,
    /// What was not copied, and why.
    pub notes: Vec<Note>,
    /// The rules, by their place, for which there was nothing.
    pub unmatched: Vec<usize>,
}

impl Repository {
    /// Copies the regular files below `from` that any of `rules` wants into a worktree that was just made. What `base`, where
    /// the work began, has is left alone, what is there is not overwritten, no link is followed on either side, and none of
    /// the others is ever staged, also where work that was kept has brought it along. A `from` that is not there holds nothing.
    ///
    /// # Errors
    /// [`GitError::Io`], [`GitError::InvalidArgument`].
    pub async fn copy_in(
        &self,
        worktree: &Path,
        base: &CommitId,
        from: &Path,
        rules: Vec<PathRule>,
    ) -> Result<CopiedIn, GitError> {
        let place = Place::new(&self.path, worktree)?;
        let from = from.to_owned();
        let base = base.oid()?;
        let copied = blocking(move || copy(&place, base, &from, &rules));
        failpoint::around(Edge::CopyIn, copied).await
    }
}

/// What was copied into a worktree, by its record.
pub(super) fn copied_paths(place: &Place) -> Result<Vec<Vec<u8>>, GitError> {
    let failed = GitError::io("read which files were copied in");
    let file = match File::open(record(place)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(&failed)?,
    };
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(&failed)?;
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(failed(io::ErrorKind::InvalidData.into()));
    }
    Ok(bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect())
}

/// Refuses a history between `base` and `head` in which a file that was copied in was committed: pushed once, it is public.
pub(super) fn refuse_committed(
    library: &Library,
    place: &Place,
    base: Oid,
    head: Oid,
) -> Result<(), GitError> {
    let copied = copied_paths(place)?;
    if copied.is_empty() || base == head {
        return Ok(());
    }
    let failed = GitError::library("look for copied files in the history");
    let mut walk = library.revwalk().map_err(&failed)?;
    walk.push(head).and_then(|()| walk.hide(base)).map_err(&failed)?;
    for commit in walk {
        let tree = library.find_commit(commit.map_err(&failed)?).and_then(|commit| commit.tree());
        let tree = tree.map_err(&failed)?;
        for path in &copied {
            if tree.get_path(Path::new(OsStr::from_bytes(path))).is_ok() {
                return Err(GitError::CopyCommitted { path: shown(path) });
            }
        }
    }
    Ok(())
}

fn record(place: &Place) -> PathBuf {
    place.record.join("copied")
}

fn copy(place: &Place, base: Oid, from: &Path, rules: &[PathRule]) -> Result<CopiedIn, GitError> {
    let failed = GitError::library("look up which files the base has");
    let library = super::refs::open(&place.clone)?;
    let base = library.find_commit(base).and_then(|commit| commit.tree()).map_err(failed)?;
    let is_tracked = |path: &[u8]| base.get_path(Path::new(OsStr::from_bytes(path))).is_ok();
    let mut wanted = Wanted::new(rules);
    match walk(from, &mut wanted) {
        Ok(()) | Err(GitError::WorktreeBroken(_)) => {}
        Err(error) => return Err(error),
    }
    let Wanted { files, mut notes, matched, .. } = wanted;
    let unmatched = (0..rules.len()).filter(|rule| !matched.contains(rule)).collect();
    let failed = GitError::errno("open the worktree");
    let root = nix::fcntl::open(&place.path, DIR_FLAGS, Mode::empty()).map_err(failed)?;
    let (mut free, mut list) = (Vec::new(), Vec::new());
    for (path, mode) in files {
        if is_tracked(&path) {
            notes.push(Note::new(&path, "not copied: it is in the repository"));
            continue;
        }
        list.extend_from_slice(&[path.as_slice(), b"\0"].concat());
        match is_free(&root, &path) {
            Ok(true) => free.push((path, mode)),
            Ok(false) => notes.push(Note::new(&path, "not copied: it is there already")),
            Err(_) => {
                notes.push(Note::new(&path, "not copied: a link or a file is where its directory would be"));
            }
        }
    }
    let failed = GitError::io("record which files are copied in");
    disk::replace_file(&record(place), &list).map_err(&failed)?;
    let mut copied = Vec::new();
    for (path, mode) in free {
        match copy_one(from, &root, &path, mode) {
            Ok(()) => copied.push(shown(&path)),
            Err(error) if is_disk_full(&error) => {
                return Err(GitError::io("copy a file into the worktree")(error));
            }
            Err(_) => notes.push(Note::new(&path, "not copied: it cannot be read, or changed meanwhile")),
        }
    }
    Ok(CopiedIn { copied, notes: bounded(notes), unmatched })
}

/// Each becomes a warning of the job.
fn bounded(mut notes: Vec<Note>) -> Vec<Note> {
    let more = notes.len().saturating_sub(NOTES_MAX);
    if more > 0 {
        notes.truncate(NOTES_MAX);
        notes.push(Note::new(b"*", "not copied: many more, see the rules"));
    }
    notes
}

/// Collects what is wanted of the owner's files.
struct Wanted<'r> {
    rules: &'r [PathRule],
    files: Vec<(Vec<u8>, u32)>,
    bytes: u64,
    matched: Vec<usize>,
    notes: Vec<Note>,
}

impl<'r> Wanted<'r> {
    fn new(rules: &'r [PathRule]) -> Self {
        Self { rules, files: Vec::new(), bytes: 0, matched: Vec::new(), notes: Vec::new() }
    }
}

impl Visit for Wanted<'_> {
    fn enter(&mut self, _: &OwnedFd, _: &[u8], _: &[Vec<u8>]) -> Result<Descend, GitError> {
        Ok(Descend::Yes)
    }

    fn leaf(&mut self, _: &OwnedFd, _: &[u8], path: Vec<u8>, stat: &FileStat) -> Result<(), GitError> {
        let by: Vec<_> = (0..self.rules.len()).filter(|rule| self.rules[*rule](&path)).collect();
        if by.is_empty() {
            return Ok(());
        }
        self.matched.extend(by);
        let bytes = u64::try_from(stat.st_size).unwrap_or_default();
        let why = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG
                if self.files.len() >= FILES_MAX || self.bytes.saturating_add(bytes) > BYTES_MAX =>
            {
                "not copied: more than 1,000 files or 1 GiB"
            }
            libc::S_IFREG
                if path.split(|byte| *byte == b'/').any(|name| name.eq_ignore_ascii_case(b".git")) =>
            {
                "not copied: git keeps this name for itself"
            }
            libc::S_IFREG => {
                self.bytes += bytes;
                // whoever works with it can read and replace it
                self.files.push((path, stat.st_mode & 0o777 | 0o600));
                return Ok(());
            }
            libc::S_IFLNK => "not copied: a link, and links are not followed",
            _ => "not copied: no regular file",
        };
        self.notes.push(Note::new(&path, why));
        Ok(())
    }

    fn unreadable(&mut self, path: &[u8], why: &'static str) {
        self.notes.push(Note::new(path, why));
    }
}

/// Whether nothing has that name in the worktree. An error: no directory can be there.
fn is_free(root: &OwnedFd, path: &[u8]) -> Result<bool, Errno> {
    let (parent, name) = split(path);
    match open_below(root, parent) {
        Ok(dir) => match fstatat(&dir, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(true),
            Err(errno) => Err(errno),
            Ok(_) => Ok(false),
        },
        Err(Errno::ENOENT) => Ok(true),
        Err(errno) => Err(errno),
    }
}

fn copy_one(from: &Path, root: &OwnedFd, path: &[u8], mode: u32) -> io::Result<()> {
    let (parent, name) = split(path);
    let name = OsStr::from_bytes(name);
    let source = nix::fcntl::open(from, DIR_FLAGS, Mode::empty())?;
    let reading = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let source = File::from(openat(open_below(&source, parent)?, name, reading, Mode::empty())?);
    let writing = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(mode as libc::mode_t);
    let mut copy = File::from(openat(make_below(root, parent)?, name, writing, mode)?);
    io::copy(&mut source.take(BYTES_MAX), &mut copy).map(|_| ())
}

/// The directory, made where it is missing; a link on the way is an error.
fn make_below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut dir = open_below(root, b"")?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        match mkdirat(&dir, name, Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        dir = openat(&dir, name, DIR_FLAGS, Mode::empty())?;
    }
    Ok(dir)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    memchr::memrchr(b'/', path).map_or((&[][..], path), |at| (&path[..at], &path[at + 1..]))
}
