//! Files of the owner that work in a worktree needs and that are not in the repository, such as `.env`.
//!
//! Which they are is written into the record of the worktree before the first of them is there, and what they are known by
//! (`copied.rs`) before anybody works in it. Staging leaves them out: neither a result nor a snapshot holds one, whoever takes
//! it, and also after a crash in the middle.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use git2::Oid;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};

use super::commit_id::CommitId;
use super::copied::{Copied, split};
use super::error::{GitError, is_disk_full};
use super::repository::{Repository, blocking};
use super::stage::{Note, shown};
use super::tree_walk::{DIR_FLAGS, Descend, Visit, open_below, walk};
use super::wishes::Wishes;
use super::worktree::Place;
use crate::failpoint::{self, Edge};

/// More is no configuration but a data set, which belongs elsewhere.
const FILES_MAX: usize = 1_000;
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// What is told of files that were not copied.
const NOTES_MAX: usize = 50;

/// What became of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedIn {
    /// Relative to the worktree, unprintable bytes escaped.
    pub copied: Vec<String>,
    /// What was not copied, and why.
    pub notes: Vec<Note>,
    /// The wishes for which there was nothing.
    pub unmatched: Vec<usize>,
}

impl Repository {
    /// Copies the regular files below `from` that meet any of `wishes` into a worktree that was just made. What `base`, where
    /// the work began, has is left alone, what is there is not overwritten, no link is followed on either side, and none of
    /// the others is ever staged, also where work that was kept has brought it along. A `from` that is not there holds nothing.
    ///
    /// # Errors
    /// [`GitError::Io`], [`GitError::InvalidArgument`], [`GitError::GivenUp`].
    pub async fn copy_in(
        &self,
        worktree: &Path,
        base: &CommitId,
        from: &Path,
        mut wishes: impl Wishes + 'static,
    ) -> Result<CopiedIn, GitError> {
        let place = Place::new(&self.path, worktree)?;
        let from = from.to_owned();
        let base = base.oid()?;
        let copied = blocking(move || copy(&place, base, &from, &mut wishes));
        failpoint::around(Edge::CopyIn, copied).await
    }
}

fn copy(place: &Place, base: Oid, from: &Path, wishes: &mut dyn Wishes) -> Result<CopiedIn, GitError> {
    let failed = GitError::library("look up which files the base has");
    let library = super::refs::open(&place.clone)?;
    let tree = library.find_commit(base).and_then(|commit| commit.tree()).map_err(failed)?;
    let is_tracked = |path: &[u8]| tree.get_path(Path::new(OsStr::from_bytes(path))).is_ok();
    let count = wishes.count();
    let mut wanted = Wanted::new(wishes);
    match walk(from, &mut wanted) {
        Ok(()) | Err(GitError::WorktreeBroken(_)) => {}
        Err(error) => return Err(error),
    }
    let Wanted { files, mut notes, matched, .. } = wanted;
    let unmatched = (0..count).filter(|rule| !matched.contains(rule)).collect();
    let failed = GitError::errno("open the worktree");
    let root = nix::fcntl::open(&place.path, DIR_FLAGS, Mode::empty()).map_err(failed)?;
    let (mut wanted, mut record) = (Vec::new(), Copied::recorded(place)?);
    for (path, mode) in files {
        if is_tracked(&path) {
            notes.push(Note::new(&path, "not copied: it is in the repository"));
            continue;
        }
        if !record.paths.contains(&path) {
            record.paths.push(path.clone());
        }
        match is_free(&root, &path) {
            Ok(true) => wanted.push((path, Some(mode))),
            Ok(false) => {
                notes.push(Note::new(&path, "not copied: it is there already"));
                wanted.push((path, None));
            }
            Err(_) => {
                notes.push(Note::new(&path, "not copied: a link or a file is where its directory would be"));
                wanted.push((path, None));
            }
        }
    }
    record.record(place)?;
    let mut copied = Vec::new();
    for (path, mode) in wanted {
        match copy_one(from, &root, &path, mode, &mut record) {
            Ok(true) => copied.push(shown(&path)),
            Err(error) if is_disk_full(&error) => {
                return Err(GitError::io("copy a file into the worktree")(error));
            }
            Err(_) if mode.is_some() => {
                notes.push(Note::new(&path, "not copied: it cannot be read, or changed meanwhile"));
            }
            Ok(false) | Err(_) => {}
        }
    }
    record.forget_contents_of(&library, base)?;
    record.record(place)?;
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
struct Wanted<'w> {
    wishes: &'w mut dyn Wishes,
    files: Vec<(Vec<u8>, u32)>,
    bytes: u64,
    matched: BTreeSet<usize>,
    notes: Vec<Note>,
}

impl<'w> Wanted<'w> {
    fn new(wishes: &'w mut dyn Wishes) -> Self {
        Self { wishes, files: Vec::new(), bytes: 0, matched: BTreeSet::new(), notes: Vec::new() }
    }
}

impl Visit for Wanted<'_> {
    fn enter(&mut self, _: &OwnedFd, path: &[u8], _: &[Vec<u8>]) -> Result<Descend, GitError> {
        Ok(if self.wishes.may_be_met_below(path) { Descend::Yes } else { Descend::No })
    }

    fn leaf(&mut self, _: &OwnedFd, _: &[u8], path: Vec<u8>, stat: &FileStat) -> Result<(), GitError> {
        if self.wishes.are_given_up() {
            return Err(GitError::GivenUp);
        }
        let by = self.wishes.met_by(&path);
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

/// Copies a file that may be copied, with this mode, and remembers it in any case. Whether it was copied.
fn copy_one(
    from: &Path,
    root: &OwnedFd,
    path: &[u8],
    mode: Option<u32>,
    record: &mut Copied,
) -> io::Result<bool> {
    let (parent, name) = split(path);
    let name = OsStr::from_bytes(name);
    let source = nix::fcntl::open(from, DIR_FLAGS, Mode::empty())?;
    let reading = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let source = File::from(openat(open_below(&source, parent)?, name, reading, Mode::empty())?);
    record.add_file(&source)?;
    record.add_content(&source)?;
    let Some(mode) = mode else { return Ok(false) };
    let writing = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(mode as libc::mode_t);
    let mut copy = File::from(openat(make_below(root, parent)?, name, writing, mode)?);
    record.add_file(&copy)?;
    io::copy(&mut source.take(BYTES_MAX), &mut copy)?;
    Ok(true)
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
