//! Content in the place of the pointers of a worktree that was just filled.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use git2::{Index, Oid};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::find::{self, Found};
use super::pointer::POINTER_BYTES_MAX;
use super::store::open_object;
use crate::git::error::GitError;
use crate::git::index::with_status;
use crate::git::refs;
use crate::git::stage::as_path;
use crate::git::tree_walk::{DIR_FLAGS, open_below, read_file};
use crate::git::worktree::Place;

/// Seconds by which a file is dated back. Git compares the content of a file that is as young as its index, and would take
/// content for a change of the pointer: it runs no filter here.
const DATED_BACK: i64 = 2;

/// Puts the objects that the clone has in the place of the pointers of `commit`, and tells the worktree's index so that git finds
/// nothing changed. What is not a pointer any more, and what has no object, stays as it is. `scratch` is a path of its own.
pub(in crate::git) fn check_out(place: &Place, scratch: PathBuf, commit: Oid) -> Result<(), GitError> {
    let library = refs::open(&place.clone)?;
    let failed = GitError::library("read the worktree's commit");
    let tree = library.find_commit(commit).map_err(failed)?.tree_id();
    let new = [b".offshoot.", scratch.file_name().unwrap_or_default().as_bytes()].concat();
    let files = find::in_tree(&library, &place.clone, scratch, tree)?;
    if files.is_empty() {
        return Ok(());
    }
    let (failed, library_failed) =
        (GitError::io("check out a large file"), GitError::library("note a large file in the index"));
    let root = nix::fcntl::open(&place.path, DIR_FLAGS, Mode::empty());
    let root = root.map_err(GitError::errno("open the worktree"))?;
    let mut index = Index::open(&place.admin.join("index")).map_err(&library_failed)?;
    for file in files {
        let Some(object) = open_object(&place.clone, &file.pointer).map_err(&failed)? else { continue };
        let Some(stat) = put_content(&root, &file, object, OsStr::from_bytes(&new)).map_err(&failed)? else {
            continue;
        };
        if let Some(entry) = index.get_path(as_path(&file.path), 0).filter(|entry| entry.id == file.blob) {
            index.add(&with_status(entry, &stat)).map_err(&library_failed)?;
        }
    }
    index.write().map_err(library_failed)
}

/// `None`: there is no such pointer any more.
/// `new` is a name that nothing has.
fn put_content(root: &OwnedFd, file: &Found, mut object: File, new: &OsStr) -> io::Result<Option<FileStat>> {
    let at = memchr::memrchr(b'/', &file.path);
    let (parent, name) = at.map_or((&b""[..], &file.path[..]), |at| (&file.path[..at], &file.path[at + 1..]));
    let dir = match open_below(root, parent) {
        Ok(dir) => dir,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if read_file(&dir, name, POINTER_BYTES_MAX)?.is_none_or(|now| now != file.pointer.text().as_bytes()) {
        return Ok(None);
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(if file.mode & 0o100 == 0 { 0o666 } else { 0o777 });
    let mut content = File::from(openat(&dir, new, flags, mode)?);
    let put = io::copy(&mut object, &mut content).and_then(|_| {
        let now = fstat(&content)?;
        let time = TimeSpec::new(now.st_mtime - DATED_BACK, now.st_mtime_nsec);
        futimens(content.as_fd(), &time, &time)?;
        Ok(renameat(dir.as_fd(), new, dir.as_fd(), OsStr::from_bytes(name))?)
    });
    if let Err(error) = put {
        let _ = unlinkat(&dir, new, UnlinkatFlags::NoRemoveDir);
        return Err(error);
    }
    // the rename is a change of the status
    Ok(Some(fstat(&content)?))
}
