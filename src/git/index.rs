//! Index files: the server's record of what was checked out, and the fresh index that a commit leaves behind.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{Index, IndexEntry, IndexTime};
use nix::sys::stat::FileStat;

use super::disk;
use super::error::GitError;
use super::worktree::Place;

/// Files as they were when the server last knew their content.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    entries: HashMap<Vec<u8>, IndexEntry>,
    /// A file with this time or a later one may have changed since without showing it.
    taken_at: (i64, i64),
}

impl Baseline {
    /// The record of a worktree; empty when there is none or it cannot be read, and then every file is read.
    pub(super) fn load(place: &Place) -> Self {
        let path = baseline_path(place);
        let Ok(meta) = path.symlink_metadata() else { return Self::default() };
        if !meta.is_file() {
            return Self::default();
        }
        let Ok(index) = Index::open(&path) else { return Self::default() };
        let entries = index.iter().map(|entry| (entry.path.clone(), entry)).collect();
        Self { entries, taken_at: (meta.mtime(), meta.mtime_nsec()) }
    }

    /// The blob and mode that a file has, if its status proves that it was not touched since the record.
    pub(super) fn unchanged(&self, path: &[u8], stat: &FileStat) -> Option<(git2::Oid, u32)> {
        let entry = self.entries.get(path)?;
        let now = with_status(bare_entry(Vec::new(), entry.id, entry.mode), stat);
        let same = entry.mtime == now.mtime
            && entry.ctime == now.ctime
            && entry.ino == now.ino
            && entry.file_size == now.file_size
            && entry.mode == now.mode;
        let settled = (stat.st_mtime, stat.st_mtime_nsec) < self.taken_at;
        (same && settled).then_some((entry.id, entry.mode))
    }
}

/// Where the record is.
pub(super) fn baseline_path(place: &Place) -> PathBuf {
    place.record.join("index")
}

/// Copies the index of a worktree that has just been filled into the record, which completes the worktree.
pub(super) fn save_baseline(place: &Place) -> Result<(), GitError> {
    let failed = GitError::io("record the worktree");
    let source = place.admin.join("index");
    let index = Index::open(&source).map_err(GitError::library("read the new worktree's index"))?;
    let newest = index.iter().map(|entry| time(entry.mtime)).max().unwrap_or_default();
    let new = place.record.join("index.new");
    // A copy within the same tick of the file system's clock as the newest file would leave that file in doubt. Ticks
    // are at most 10 ms; file systems with coarser times make the record merely less useful.
    for _ in 0..4 {
        disk::remove_any(&new).map_err(&failed)?;
        fs::copy(&source, &new).map_err(&failed)?;
        let meta = new.metadata().map_err(&failed)?;
        if (meta.mtime(), meta.mtime_nsec()) > newest {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::rename(&new, baseline_path(place)).map_err(&failed)
}

/// Replaces the worktree's index and the record after a commit, so that `git status` in the worktree is clean and the
/// next staging knows the files. `entries` carry the status of the files that were looked at.
pub(super) fn write_after_commit(place: &Place, entries: &[IndexEntry]) -> Result<(), GitError> {
    let failed = GitError::io("replace the worktree's index");
    let library = GitError::library("write the worktree's index");
    fs::create_dir_all(&place.record).map_err(&failed)?;
    let new = place.record.join("index.new");
    // a server that was killed here has left either
    for left in [&new, &new.with_extension("new.lock")] {
        disk::remove_any(left).map_err(&failed)?;
    }
    let mut index = Index::open(&new).map_err(&library)?;
    for entry in entries {
        index.add(entry).map_err(&library)?;
    }
    index.write().map_err(&library)?;
    drop(index);
    replace_with_copy(&new, &place.admin.join("index")).map_err(&failed)?;
    fs::rename(&new, baseline_path(place)).map_err(&failed)
}

/// Makes the worktree's index that of a commit, without looking at any file: git compares them when it is asked next.
pub(super) fn write_of_commit(
    place: &Place,
    library: &git2::Repository,
    commit: git2::Oid,
) -> Result<(), GitError> {
    let failed = GitError::library("write the index of a commit");
    let io_failed = GitError::io("replace the worktree's index");
    let new = place.record.join("index-of-commit");
    for left in [&new, &new.with_extension("lock")] {
        disk::remove_any(left).map_err(&io_failed)?;
    }
    let tree = library.find_commit(commit).and_then(|commit| commit.tree()).map_err(&failed)?;
    let mut index = Index::open(&new).map_err(&failed)?;
    index.read_tree(&tree).and_then(|()| index.write()).map_err(&failed)?;
    drop(index);
    replace_with_copy(&new, &place.admin.join("index")).map_err(&io_failed)?;
    disk::remove_any(&new).map_err(io_failed)
}

fn replace_with_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let bytes = fs::read(from)?;
    super::removal::discard_unless_file(to)?;
    disk::remove_any(&to.with_file_name("index.lock"))?;
    disk::replace_file(to, &bytes)
}

/// An entry without status: git compares the content of such a file.
pub(super) fn bare_entry(path: Vec<u8>, id: git2::Oid, mode: u32) -> IndexEntry {
    let zero = IndexTime::new(0, 0);
    let (flags, flags_extended) = (0, 0);
    IndexEntry {
        ctime: zero,
        mtime: zero,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags,
        flags_extended,
        path,
    }
}

/// The entry with the status of its file. An index keeps the low 32 bits of each number (index-format(5)).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the index format truncates")]
pub(super) fn with_status(entry: IndexEntry, stat: &FileStat) -> IndexEntry {
    let mode = if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
        if stat.st_mode & 0o100 == 0 { 0o100_644 } else { 0o100_755 }
    } else {
        entry.mode
    };
    IndexEntry {
        ctime: IndexTime::new(stat.st_ctime as i32, stat.st_ctime_nsec as u32),
        mtime: IndexTime::new(stat.st_mtime as i32, stat.st_mtime_nsec as u32),
        dev: stat.st_dev as u32,
        ino: stat.st_ino as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        file_size: stat.st_size as u32,
        mode,
        ..entry
    }
}

fn time(time: IndexTime) -> (i64, i64) {
    (i64::from(time.seconds()), i64::from(time.nanoseconds()))
}
