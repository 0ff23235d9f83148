//! Walking a directory that somebody hostile may be changing: by descriptors, following no link.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::error::GitError;

/// Longer relative paths cannot be checked out anywhere (PATH_MAX, limits.h).
const PATH_BYTES_MAX: usize = 4096;
pub(super) const DIR_FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What the walker is told about a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descend {
    No,
    Yes,
}

/// Receives what the walk meets. Paths are relative, `/`-separated bytes.
pub(super) trait Visit {
    /// A directory is about to be read; its names are known. The root is the empty path.
    fn enter(&mut self, dir: &OwnedFd, path: &[u8], names: &[Vec<u8>]) -> Result<Descend, GitError>;
    /// Something that is no directory.
    fn leaf(&mut self, dir: &OwnedFd, name: &[u8], path: Vec<u8>, stat: &FileStat) -> Result<(), GitError>;
    /// Something that could not be looked at.
    fn unreadable(&mut self, path: &[u8], why: &'static str);
}

/// Walks everything below `root`, which must itself be a directory and no link.
///
/// Each directory is opened from the root, name by name, without following links: one that is swapped for a link
/// meanwhile is not entered. Neither descriptors nor stack grow with depth.
pub(super) fn walk(root: &Path, visitor: &mut impl Visit) -> Result<(), GitError> {
    // only what holds no files may be given up; too many open files or a lack of permission says nothing about them
    let root = nix::fcntl::open(root, DIR_FLAGS, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => GitError::WorktreeBroken("it is missing"),
        other => GitError::errno("read the worktree")(other),
    })?;
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let opened = open_below(&root, &path).and_then(|dir| Ok((list(&dir)?, dir)));
        let (names, dir) = match opened {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
                visitor.unreadable(&path, "changed while it was read");
                continue;
            }
            Err(Errno::EACCES | Errno::EPERM) => {
                visitor.unreadable(&path, "no permission to read it");
                continue;
            }
            Err(errno) => return Err(GitError::errno("read the worktree")(errno)),
        };
        if visitor.enter(&dir, &path, &names)? == Descend::No {
            continue;
        }
        for name in names {
            let below = join(&path, &name);
            if below.len() > PATH_BYTES_MAX {
                visitor.unreadable(&below, "its path is too long");
                continue;
            }
            match fstatat(&dir, OsStr::from_bytes(&name), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => {
                    // At the root this is the pointer to the clone, or what an agent put in its place.
                    if !(path.is_empty() && name == b".git") {
                        pending.push(below);
                    }
                }
                Ok(stat) => visitor.leaf(&dir, &name, below, &stat)?,
                Err(Errno::ENOENT) => {}
                Err(_) => visitor.unreadable(&below, "it cannot be looked at"),
            }
        }
    }
    Ok(())
}

/// The content of a regular file of at most `bytes_max` bytes; `None` when it is something else by now, or longer.
pub(super) fn read_file(dir: &OwnedFd, name: &[u8], bytes_max: u64) -> Result<Option<Vec<u8>>, Errno> {
    let Some(file) = open_file(dir, name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok((u64::try_from(bytes.len()).unwrap_or(u64::MAX) <= bytes_max).then_some(bytes))
}

/// A regular file; `None` when it is something else by now.
pub(super) fn open_file(dir: &OwnedFd, name: &[u8]) -> Result<Option<File>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = match openat(dir, OsStr::from_bytes(name), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ELOOP | Errno::ENOENT | Errno::ENXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if fstat(&fd)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(None);
    }
    Ok(Some(File::from(fd)))
}

/// The text of a link; `None` when it is no link by now.
pub(super) fn read_link(dir: &OwnedFd, name: &[u8]) -> Option<Vec<u8>> {
    readlinkat(dir, OsStr::from_bytes(name)).ok().map(OsStringExt::into_vec)
}

pub(super) fn open_below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut dir = root.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        dir = openat(&dir, OsStr::from_bytes(name), DIR_FLAGS, Mode::empty())?;
    }
    Ok(dir)
}

pub(super) fn list(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    // A descriptor of its own: reading a directory moves the descriptor's position.
    let mut stream = Dir::openat(dir, ".", DIR_FLAGS, Mode::empty())?;
    let mut names = Vec::new();
    for entry in stream.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
