//! How much disk a worktree takes: counted in steps that somebody hostile cannot make long.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, Mode, fstatat};

use super::tree_walk::{DIR_FLAGS, open_below};

/// Unit of `st_blocks` (stat(3type)), whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// What a worktree may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeCaps {
    pub bytes_max: u64,
    pub files_max: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorktreeSize {
    /// Bytes on disk: a hole in a file takes none, a file with several names counts once.
    pub bytes: u64,
    /// Files, links and directories.
    pub files: u64,
}

impl SizeCaps {
    /// True when either is passed.
    #[must_use]
    pub fn are_passed_by(&self, size: &WorktreeSize) -> bool {
        size.bytes > self.bytes_max || size.files > self.files_max
    }
}

/// Counts what is in the worktree at `path`, and stops as soon as a cap is passed or `stop` is set: at most `files_max`
/// entries are looked at. The objects that worktrees share lie in the clone and are not counted. Follows no link. Blocks;
/// a million files take a second or two. A directory that cannot be read, or that goes away meanwhile, counts as empty.
#[must_use]
pub fn measure_worktree(path: &Path, caps: &SizeCaps, stop: &AtomicBool) -> WorktreeSize {
    let mut size = WorktreeSize::default();
    let Ok(root) = nix::fcntl::open(path, DIR_FLAGS, Mode::empty()) else { return size };
    let (mut pending, mut several_names) = (vec![Vec::new()], HashSet::new());
    while let Some(below) = pending.pop() {
        let opened =
            open_below(&root, &below).and_then(|dir| Dir::openat(&dir, ".", DIR_FLAGS, Mode::empty()));
        let Ok(mut dir) = opened else { continue };
        let Ok(handle) = open_below(&root, &below) else { continue };
        for entry in dir.iter() {
            let Ok(entry) = entry else { break };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if stop.load(Ordering::Relaxed) || caps.are_passed_by(&size) {
                return size;
            }
            let looked: Result<FileStat, Errno> =
                fstatat(&handle, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW);
            let Ok(stat) = looked else { continue };
            size.files += 1;
            if stat.st_nlink < 2 || is_dir(&stat) || several_names.insert((stat.st_dev, stat.st_ino)) {
                size.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES;
            }
            if is_dir(&stat) {
                let mut path = below.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                pending.push(path);
            }
        }
    }
    size
}

fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: SizeCaps = SizeCaps { bytes_max: 1 << 40, files_max: 1 << 40 };

    fn measure(path: &Path, caps: &SizeCaps) -> WorktreeSize {
        measure_worktree(path, caps, &AtomicBool::new(false))
    }

    #[test]
    fn holes_take_nothing_names_count_once_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/plain"), vec![7; 1 << 20]).unwrap();
        std::fs::hard_link(at("a/b/plain"), at("a/twin")).unwrap();
        std::fs::File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/usr", at("link")).unwrap();
        let size = measure(dir.path(), &WIDE);
        assert_eq!(size.files, 6);
        assert!((1 << 20..(1 << 20) + 65_536).contains(&size.bytes), "{size:?}");
    }

    #[test]
    fn it_stops_where_a_cap_is_passed_and_when_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..500 {
            std::fs::write(dir.path().join(number.to_string()), "x").unwrap();
        }
        let few = SizeCaps { files_max: 100, ..WIDE };
        assert_eq!(measure(dir.path(), &few).files, 101);
        let small = SizeCaps { bytes_max: 1, ..WIDE };
        assert!(small.are_passed_by(&measure(dir.path(), &small)));
        assert_eq!(measure_worktree(dir.path(), &WIDE, &AtomicBool::new(true)), WorktreeSize::default());
        assert_eq!(measure(&dir.path().join("nowhere"), &WIDE), WorktreeSize::default());
    }
}
