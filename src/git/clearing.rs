//! Removing a tree, whatever somebody hostile has made of it: by descriptors and following nothing, and neither the stack nor the
//! descriptors that are open grow with its depth. The way of the standard library takes one of each a level: fifteen thousand
//! directories in each other end the process that removes them, two thousand take every descriptor that most servers have.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{openat, renameat};
use nix::libc;
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::tree_walk::{DIR_FLAGS, list};

/// Directories in each other that are open at once. What lies deeper is moved up first, which no usual repository needs.
const LEVELS: usize = 32;

/// So many directories are moved up. More of them have to be of somebody who makes them meanwhile.
const MOVED_MAX: u64 = 4_000_000;

/// What lies in a directory that is removed: to be read, written and searched by us.
const OPEN: Mode = Mode::S_IRWXU;

/// Removes a file, a link or a whole tree, following nothing; directories without permission are opened up first.
/// Absence is success.
///
/// # Errors
/// What the file system said, and [`io::ErrorKind::DirectoryNotEmpty`] where somebody makes more than is removed.
pub fn remove_any(path: &Path) -> io::Result<()> {
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !meta.is_dir() {
        return fs::remove_file(path);
    }
    let root = open(&nix::fcntl::AT_FDCWD, path.as_os_str())?;
    let mut moved = 0;
    while clear(&root, &root, 1, &mut moved)? {}
    drop(root);
    fs::remove_dir(path)
}

/// Removes what is in the directory; whether some of it was moved to the root, to be removed from there.
fn clear(dir: &OwnedFd, root: &OwnedFd, level: usize, moved: &mut u64) -> io::Result<bool> {
    let mut has_moved = false;
    for name in list(dir)? {
        let name = OsStr::from_bytes(&name);
        match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            // Linux says the first of a directory, POSIX and macOS the second
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        let below = match open(dir, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            below => below?,
        };
        if level == LEVELS {
            drop(below);
            move_up(dir, name, root, moved)?;
            has_moved = true;
            continue;
        }
        has_moved |= clear(&below, root, level + 1, moved)?;
        unlinkat(dir, name, UnlinkatFlags::RemoveDir)?;
    }
    Ok(has_moved)
}

/// A directory and no link, with every right of its owner: it is read, emptied, and perhaps moved, which needs the right to write it.
fn open(dir: &impl std::os::fd::AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let opened = match openat(dir, name, DIR_FLAGS, Mode::empty()) {
        Err(Errno::EACCES) => {
            fchmodat(dir, name, OPEN, FchmodatFlags::FollowSymlink)?;
            openat(dir, name, DIR_FLAGS, Mode::empty())?
        }
        opened => opened?,
    };
    if fstat(&opened)?.st_mode & libc::S_IRWXU != libc::S_IRWXU {
        fchmod(&opened, OPEN)?;
    }
    Ok(opened)
}

fn move_up(dir: &OwnedFd, name: &OsStr, root: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        if *moved > MOVED_MAX {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let to = OsString::from(format!("moved-{moved}"));
        match renameat(dir.as_fd(), name, root.as_fd(), to.as_os_str()) {
            Ok(()) => return Ok(()),
            // the tree has something of that name itself
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use super::*;

    /// Directories in each other, each with a file, by descriptors: no path is long enough for them.
    fn nest(root: &Path, levels: usize) {
        fs::create_dir(root).unwrap();
        let mut dir = open(&nix::fcntl::AT_FDCWD, root.as_os_str()).unwrap();
        for _ in 0..levels {
            nix::sys::stat::mkdirat(&dir, "d", OPEN).unwrap();
            let file = nix::fcntl::OFlag::O_CREAT | nix::fcntl::OFlag::O_WRONLY;
            drop(openat(&dir, "moved-1", file, OPEN).unwrap());
            dir = open(&dir, OsStr::new("d")).unwrap();
        }
    }

    #[test]
    fn depth_costs_neither_stack_nor_descriptors() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("deep");
        for levels in [LEVELS - 2, LEVELS - 1, LEVELS, 3 * LEVELS, 8_000] {
            nest(&root, levels);
            let small = std::thread::Builder::new().stack_size(256 * 1024);
            let path = root.clone();
            small.spawn(move || remove_any(&path)).unwrap().join().unwrap().unwrap();
            assert!(!root.exists(), "{levels}");
        }
    }

    #[test]
    fn nothing_is_followed_and_what_is_closed_is_opened_up() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| -> PathBuf { home.path().join(name) };
        fs::create_dir(at("outside")).unwrap();
        fs::write(at("outside/kept"), "x").unwrap();
        fs::create_dir_all(at("tree/closed/below")).unwrap();
        fs::write(at("tree/closed/below/file"), "x").unwrap();
        symlink(at("outside"), at("tree/link")).unwrap();
        symlink(at("outside"), at("tree/closed/below/link")).unwrap();
        for closed in ["tree/closed/below", "tree/closed", "tree"] {
            fs::set_permissions(at(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        symlink(at("outside"), at("link")).unwrap();
        for name in ["tree", "link", "absent"] {
            remove_any(&at(name)).unwrap();
            assert!(at(name).symlink_metadata().is_err(), "{name}");
        }
        assert_eq!(fs::read(at("outside/kept")).unwrap(), b"x");
    }
}
