//! What killed programs and vanished worktrees leave in a clone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::collect::resolve;
use super::disk;
use super::error::GitError;
use super::removal::detach;
use super::repository::Repository;
use super::worktree::{Head, Place, read_head};
use super::{refs, tamper};
use crate::failpoint::{self, Edge};

/// The server holds no lock of git beyond one step, and a fetch, the longest, is bounded to this and means that the clone
/// is in use.
const LOCK_OLD_MS: i64 = 3_600_000;
/// Of a worktree: a person may be at work in one that was kept, with an editor open in the middle of a commit.
const WORKTREE_LOCK_OLD_MS: i64 = 24 * 3_600_000;

/// What was removed from a clone, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Relative to the clone.
    pub name: String,
    pub why: &'static str,
}

/// What is looked for, at a moment.
struct Look<'a> {
    clone: &'a Path,
    worktrees: &'a Path,
    now_ms: i64,
    unique: &'a str,
    dry_run: bool,
}

impl Repository {
    /// Removes stale locks, half-made registrations, and registrations of worktrees that are gone from `worktrees`, where
    /// those of this clone are. Does nothing while somebody uses the clone, or `may_begin`, asked once it is had alone,
    /// says no. A commit that only such a registration knows is kept as `refs/offshoot/<worktree>/0-found`.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Io`], [`GitError::Library`].
    pub async fn sweep_leftovers(
        &self,
        worktrees: &Path,
        dry_run: bool,
        may_begin: impl Future<Output = bool>,
    ) -> Result<Vec<Leftover>, GitError> {
        let Some(alone) = self.lock.alone() else { return Ok(Vec::new()) };
        if !may_begin.await {
            return Ok(Vec::new());
        }
        let (worktrees, now_ms, unique) = (worktrees.to_owned(), self.git.now_ms(), self.git.unique("old"));
        // short, and held to its end: whoever comes waits for some directories to be listed
        let swept = self.blocking(move |clone| {
            let _alone = alone;
            tamper::verify(&clone)?;
            Look { clone: &clone, worktrees: &worktrees, now_ms, unique: &unique, dry_run }.sweep()
        });
        failpoint::around(Edge::SweepLeftovers, swept).await
    }
}

impl Look<'_> {
    fn sweep(&self) -> Result<Vec<Leftover>, GitError> {
        let failed = GitError::io("remove what is left over");
        let mut swept = Vec::new();
        let mut locks = locks_in(self.clone, self.now_ms - LOCK_OLD_MS, false).map_err(&failed)?;
        locks.extend(locks_in(&self.clone.join("refs"), self.now_ms - LOCK_OLD_MS, true).map_err(&failed)?);
        let dead = self.registrations().map_err(&failed)?;
        for (admin, is_dead) in &dead {
            if !is_dead {
                locks.extend(locks_in(admin, self.now_ms - WORKTREE_LOCK_OLD_MS, false).map_err(&failed)?);
            }
        }
        for path in locks {
            self.take(&mut swept, &path, "a lock that a killed program left").map_err(&failed)?;
        }
        for path in halves(&self.clone.join("offshoot"), self.now_ms - LOCK_OLD_MS).map_err(&failed)? {
            self.take(&mut swept, &path, "a step was interrupted").map_err(&failed)?;
        }
        for (number, (admin, _)) in dead.iter().filter(|(_, is_dead)| *is_dead).enumerate() {
            if !self.dry_run {
                self.forget(admin, number)?;
            }
            swept.push(Leftover { name: self.name(admin), why: "its worktree is gone" });
        }
        Ok(swept)
    }

    fn take(&self, swept: &mut Vec<Leftover>, path: &Path, why: &'static str) -> io::Result<()> {
        if !self.dry_run {
            disk::remove_any(path)?;
        }
        swept.push(Leftover { name: self.name(path), why });
        Ok(())
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(self.clone).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// Every registration, and whether its worktree has been gone for long enough. Without the directory of worktrees
    /// nothing is known: its disk may not be mounted.
    fn registrations(&self) -> io::Result<Vec<(PathBuf, bool)>> {
        let dir = self.clone.join("worktrees");
        let mut found = Vec::new();
        if !disk::is_real_dir(&dir) {
            return Ok(found);
        }
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let path = self.worktrees.join(entry.file_name()).symlink_metadata();
            let is_gone = path.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            let is_known = self.worktrees.is_dir()
                && Place::new(self.clone, &self.worktrees.join(entry.file_name())).is_ok();
            let is_old = is_untouched(&entry, self.now_ms - LOCK_OLD_MS);
            found.push((entry.path(), is_gone && is_known && is_old));
        }
        Ok(found)
    }

    fn forget(&self, admin: &Path, number: usize) -> Result<(), GitError> {
        let id = admin.file_name().unwrap_or_default();
        let place = Place::new(self.clone, &self.worktrees.join(id))?;
        if let head @ Head::Detached(_) = read_head(&place) {
            let library = refs::open(self.clone)?;
            if let Some(commit) = resolve(&library, &head)? {
                refs::set(&library, &format!("refs/offshoot/{}/0-found", id.to_string_lossy()), commit)?;
            }
        }
        let failed = GitError::io("forget a worktree");
        let away = detach(&place, &format!("{}-{number}", self.unique)).map_err(&failed)?;
        away.iter().try_for_each(|path| disk::remove_any(path)).map_err(&failed)
    }
}

/// Locks that nobody has touched since `before`.
pub(super) fn locks_in(dir: &Path, before: i64, deep: bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        if !disk::is_real_dir(&dir) {
            continue;
        }
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                open.extend(deep.then_some(path));
            } else if path.extension().is_some_and(|end| end == "lock") && is_untouched(&entry, before) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The name of a worktree's record is plain; what has a point in it is on its way, or was.
fn halves(dir: &Path, before: i64) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !disk::is_real_dir(dir) {
        return Ok(found);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains('.') && is_untouched(&entry, before) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A rename counts as a touch: what was renamed away may be being deleted just now.
fn is_untouched(entry: &fs::DirEntry, before: i64) -> bool {
    entry.metadata().is_ok_and(|meta| meta.ctime().saturating_mul(1_000) < before)
}

/// Removes objects and packs that were being written; with `before` (Unix milliseconds) only those that were last touched
/// before it. Without it the caller knows that nobody else writes. `git prune` knows only some of their names.
pub(super) fn drop_halves(clone: &Path, before: Option<i64>) -> io::Result<usize> {
    let objects = clone.join("objects");
    let mut dropped = drop_named(&objects.join("pack"), &[".tmp-", "tmp_"], before)?;
    for number in 0..=u8::MAX {
        dropped += drop_named(&objects.join(format!("{number:02x}")), &["tmp_obj_"], before)?;
    }
    Ok(dropped)
}

fn drop_named(dir: &Path, stems: &[&str], before: Option<i64>) -> io::Result<usize> {
    let mut dropped = 0;
    if !disk::is_real_dir(dir) {
        return Ok(0);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if stems.iter().any(|stem| name.as_encoded_bytes().starts_with(stem.as_bytes()))
            && is_older(&entry, before)
        {
            disk::remove_any(&entry.path())?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

/// What vanishes meanwhile is somebody's.
fn is_older(entry: &fs::DirEntry, before: Option<i64>) -> bool {
    before.is_none_or(|before| entry.metadata().is_ok_and(|meta| meta.mtime().saturating_mul(1_000) < before))
}
