//! Files of a worktree that are kept beyond it: reports, build outputs, whatever the owner names.
//!
//! What lies there was made by an agent, who may have put a link to anywhere, a pipe or a file of a terabyte in the place of
//! a report: it is read by descriptors, name by name, following no link and waiting for nothing, within bounds. The copies
//! are numbered, so that no name of the worktree becomes one of ours.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode};

use super::copied::Copied;
use super::disk;
use super::error::{GitError, is_disk_full};
use super::repository::{Repository, blocking};
use super::stage::{Note, has_git_name};
use super::tree_walk::{Descend, Visit, walk};
use super::wishes::Wishes;
use super::worktree::Place;
use crate::clock::Clock;
use crate::failpoint::{self, Edge};

/// What is told of files that were not kept.
const NOTES_MAX: usize = 20;
/// Names that are looked at: as many as a worktree may have, which takes a second or two.
const NAMES_MAX: u64 = 1_000_000;

const CHANGED: &str = "not kept: it cannot be read, or changed meanwhile";
const COPIED: &str = "not kept: a file of copyFiles, which may hold secrets";

/// What may be kept of one worktree; what comes later is left out with a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepCaps {
    /// Of one file, by its length: holes count.
    pub file_bytes_max: u64,
    /// Of all together.
    pub bytes_max: u64,
    pub files_max: u64,
    /// Of all paths together.
    pub paths_bytes_max: usize,
    /// For looking, without what copying takes: milliseconds.
    pub looking_ms_max: i64,
}

/// What became of the wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedOut {
    /// Path and length; the copy of the first is called `0`.
    pub files: Vec<(String, u64)>,
    /// What was not kept, and why.
    pub notes: Vec<Note>,
}

impl Repository {
    /// Copies the regular files of a worktree that meet any of `wishes` into the directory `into`, which is made anew in one
    /// that is there; durable when it is done. Ignored files are files like others; those of `.git`, and those that were copied
    /// in, are never taken, and no link is followed.
    ///
    /// # Errors
    /// [`GitError::WorktreeBroken`] when there is no worktree; [`GitError::Io`], [`GitError::InvalidArgument`],
    /// [`GitError::GivenUp`].
    pub async fn copy_out(
        &self,
        worktree: &Path,
        into: &Path,
        mut wishes: impl Wishes + 'static,
        caps: KeepCaps,
    ) -> Result<CopiedOut, GitError> {
        let place = Place::new(&self.path, worktree)?;
        let (into, clock) = (into.to_owned(), self.git.clock().clone());
        let copied = blocking(move || copy(&place, into, &mut wishes, caps, clock));
        failpoint::around(Edge::CopyOut, copied).await
    }
}

fn copy(
    place: &Place,
    into: PathBuf,
    wishes: &mut dyn Wishes,
    caps: KeepCaps,
    clock: Clock,
) -> Result<CopiedOut, GitError> {
    let failed = GitError::io("make room for kept files");
    disk::remove_any(&into).and_then(|()| disk::make_dir(&into)).map_err(&failed)?;
    let mut keeper = Keeper {
        wishes,
        caps,
        copied: Copied::load(place)?,
        into,
        files: Vec::new(),
        notes: Vec::new(),
        bytes: 0,
        path_bytes: 0,
        names: 0,
        looks_until: clock.since_boot_ms().saturating_add(caps.looking_ms_max),
        clock,
        is_over: false,
    };
    walk(&place.path, &mut keeper)?;
    let Keeper { into, files, mut notes, .. } = keeper;
    let more = notes.len().saturating_sub(NOTES_MAX);
    if more > 0 {
        notes.truncate(NOTES_MAX);
        notes.push(Note::new(b"*", "not kept: many more, see the rules"));
    }
    disk::sync_file_system(&into).map_err(GitError::io("bring kept files to the disk"))?;
    Ok(CopiedOut { files, notes })
}

/// Copies what it meets.
struct Keeper<'w> {
    wishes: &'w mut dyn Wishes,
    caps: KeepCaps,
    /// What was copied in.
    copied: Copied,
    into: PathBuf,
    files: Vec<(String, u64)>,
    notes: Vec<Note>,
    bytes: u64,
    path_bytes: usize,
    names: u64,
    clock: Clock,
    /// Milliseconds since the machine was started; copying puts it off.
    looks_until: i64,
    /// One of the two has passed, and that is told.
    is_over: bool,
}

impl Keeper<'_> {
    fn note(&mut self, path: &[u8], why: &'static str) {
        // one beyond the bound tells that there are more
        if self.notes.len() <= NOTES_MAX {
            self.notes.push(Note::new(path, why));
        }
    }

    /// Whether one more name is looked at.
    fn looks(&mut self, path: &[u8]) -> Result<bool, GitError> {
        if self.wishes.are_given_up() {
            return Err(GitError::GivenUp);
        }
        self.names += 1;
        let why = match () {
            () if self.names >= NAMES_MAX => "not looked at: a million names were",
            () if self.clock.since_boot_ms() >= self.looks_until => {
                "not looked at: it had taken too long by then"
            }
            () => return Ok(true),
        };
        if !std::mem::replace(&mut self.is_over, true) {
            self.note(path, why);
        }
        Ok(false)
    }

    /// The name as text; otherwise why the file cannot be kept, told by what is known before it is opened.
    fn name(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        stat: &FileStat,
    ) -> Result<String, (Vec<u8>, &'static str)> {
        let why = match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK => Some("not kept: a link, and links are not followed"),
            libc::S_IFREG => self.full(stat.st_size, path.len()),
            _ => Some("not kept: no regular file"),
        };
        if self.copied.is_at(&path) || self.copied.has(dir, name, stat) {
            return Err((path, COPIED));
        }
        if let Some(why) = why {
            return Err((path, why));
        }
        match String::from_utf8(path) {
            Ok(name) if !name.chars().any(char::is_control) => Ok(name),
            Ok(name) => Err((name.into_bytes(), "not kept: a control character in its name")),
            Err(error) => Err((error.into_bytes(), "not kept: its name is not UTF-8")),
        }
    }

    fn full(&self, bytes: i64, path_bytes: usize) -> Option<&'static str> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let caps = self.caps;
        match () {
            () if bytes > caps.file_bytes_max => {
                Some("not kept: larger than one file may be (limits.artifact_bytes_max)")
            }
            () if self.bytes.saturating_add(bytes) > caps.bytes_max => {
                Some("not kept: more than all together may be (limits.job_artifacts_bytes_max)")
            }
            () if self.files.len() as u64 >= caps.files_max => {
                Some("not kept: more files than may be (limits.job_artifacts_max)")
            }
            () if self.path_bytes + path_bytes > caps.paths_bytes_max => {
                Some("not kept: the names together are longer than 64 KiB")
            }
            () => None,
        }
    }

    /// Bytes that were copied, or why it was not.
    fn copy_one(&self, dir: &OwnedFd, name: &[u8]) -> io::Result<Result<u64, &'static str>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let source = File::from(openat(dir, OsStr::from_bytes(name), flags, Mode::empty())?);
        if !source.metadata()?.is_file() {
            return Ok(Err(CHANGED));
        }
        if self.copied.has_file(&source)? {
            return Ok(Err(COPIED));
        }
        let room = self.caps.file_bytes_max.min(self.caps.bytes_max - self.bytes);
        let into = self.into.join(self.files.len().to_string());
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&into)?;
        let kept = match io::copy(&mut source.take(room.saturating_add(1)), &mut copy) {
            Ok(bytes) if bytes > room => Ok(Err(CHANGED)),
            Ok(bytes) if self.copied.has_content_of(&into, bytes)? => Ok(Err(COPIED)),
            copied => copied.map(Ok),
        };
        if !matches!(kept, Ok(Ok(_))) {
            std::fs::remove_file(&into)?;
        }
        kept
    }
}

impl Visit for Keeper<'_> {
    fn enter(&mut self, _: &OwnedFd, path: &[u8], _: &[Vec<u8>]) -> Result<Descend, GitError> {
        let enters = !has_git_name(path) && self.wishes.may_be_met_below(path) && self.looks(path)?;
        Ok(if enters { Descend::Yes } else { Descend::No })
    }

    fn leaf(&mut self, dir: &OwnedFd, name: &[u8], path: Vec<u8>, stat: &FileStat) -> Result<(), GitError> {
        if !self.looks(&path)? {
            return Ok(());
        }
        let is_link = stat.st_mode & libc::S_IFMT == libc::S_IFLNK;
        let is_wanted =
            !self.wishes.met_by(&path).is_empty() || is_link && self.wishes.may_be_met_below(&path);
        if !is_wanted || has_git_name(&path) {
            return Ok(());
        }
        let path = match self.name(dir, name, path, stat) {
            Ok(path) => path,
            Err((path, why)) => {
                self.note(&path, why);
                return Ok(());
            }
        };
        let began = self.clock.since_boot_ms();
        let kept = self.copy_one(dir, name);
        self.looks_until = self.looks_until.saturating_add(self.clock.since_boot_ms() - began);
        match kept {
            Ok(Ok(bytes)) => {
                self.bytes += bytes;
                self.path_bytes += path.len();
                self.files.push((path, bytes));
            }
            Err(error) if is_disk_full(&error) => return Err(GitError::io("keep a file")(error)),
            Ok(Err(why)) => self.note(path.as_bytes(), why),
            Err(_) => self.note(path.as_bytes(), CHANGED),
        }
        Ok(())
    }

    fn unreadable(&mut self, path: &[u8], why: &'static str) {
        if self.wishes.may_be_met_below(path) {
            self.note(path, why);
        }
    }
}
