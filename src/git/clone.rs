//! Making a clone: all of it, or nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::GitError;
use super::fetch::{Fetched, REMOTE_REFS, sweep_locks};
use super::leash::end_strays;
use super::leftovers::drop_halves;
use super::program::Git;
use super::remote::Remote;
use super::repository::{Repository, blocking};
use super::{disk, stale, tamper, unowned};
use crate::failpoint::{self, Edge};

/// The end of the name of a clone that is being made or deleted.
pub(super) const HALF_SUFFIX: &str = ".offshoot-half";

/// How often the directory above is made anew; a second failure at just that moment is next to impossible.
const PARENT_TRIES: u32 = 5;

impl Repository {
    /// Makes the clone if it is missing: laid out beside its place, filled by a fetch, synced, then renamed into
    /// place. Halves that a killed server left are removed. An error leaves nothing. True if it was made now.
    ///
    /// # Errors
    /// [`GitError::Remote`], [`GitError::Io`], [`GitError::Deadline`].
    pub async fn ensure_clone(&self, remote: &Remote) -> Result<bool, GitError> {
        let _held = self.lock.administer().await;
        if self.exists() {
            return Ok(false);
        }
        let parent = self.path.parent().map(Path::to_owned).ok_or(GitError::InvalidArgument("no parent"))?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let half = parent.join(format!(".{}{HALF_SUFFIX}", self.git.unique(&name)));
        let prefix = format!(".{name}.");
        let laid_out = Self { path: half.clone(), ..self.clone() };
        blocking({
            let (half, maker) = (half.clone(), self.git.settings().maker.clone());
            move || begin(&half, &parent, &prefix, &maker).map_err(GitError::io("lay out the clone"))
        })
        .await?;
        let half = RemoveOnDrop { half: Some(half), parent: self.path.parent().map(Path::to_owned) };
        let Fetched { .. } = laid_out.fetch_unshared(remote).await?;
        let place = self.path.clone();
        blocking(move || settle(half, &place).map_err(GitError::io("put the clone in place"))).await?;
        Ok(true)
    }
}

/// Sweeps older halves and lays out a new one.
fn begin(half: &Path, parent: &Path, prefix: &str, maker: &str) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        let made = fs::create_dir_all(parent)
            .and_then(|()| sweep_halves(parent, prefix))
            .and_then(|_| fs::create_dir(half));
        match made {
            // another clone of the same organisation has just failed and taken the empty directory along
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries < PARENT_TRIES => {}
            other => break other?,
        }
    }
    failpoint::at(Edge::LayOutClone, || tamper::lay_out(half).and_then(|()| unowned::mark(half, maker)))
}

/// Syncs what was fetched and renames it into place.
fn settle(mut half: RemoveOnDrop, place: &Path) -> std::io::Result<()> {
    let Some(path) = half.half.as_deref() else { return Ok(()) };
    sync_tree(path)?;
    failpoint::at(Edge::SettleClone, || fs::rename(path, place))?;
    half.half = None;
    disk::sync_parent(place)
}

/// Syncs every file and directory of a fresh clone: a few packs, refs and configuration.
fn sync_tree(root: &Path) -> std::io::Result<()> {
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                fs::File::open(entry.path())?.sync_all()?;
            }
        }
        fs::File::open(&dir)?.sync_all()?;
    }
    Ok(())
}

impl Git {
    /// Ends programs that a killed server has left running, and deletes what it has left below a directory of
    /// `<org>/<repo>.git`: half clones, and in each clone half packs, the registrations of worktrees that were being made
    /// or removed, the locks of refs and, but for clones in which an agent is `at_work`, of the clone itself. For start,
    /// when nothing of that is under way. Gives back how many things were deleted.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub async fn sweep_clones(&self, repos: &Path, at_work: HashSet<PathBuf>) -> Result<usize, GitError> {
        let (repos, scratch) = (repos.to_owned(), self.settings().scratch_dir.clone());
        let failed = GitError::io("sweep the clones");
        blocking(move || sweep(&repos, &scratch, &at_work).map_err(failed)).await
    }
}

fn sweep(repos: &Path, scratch: &Path, at_work: &HashSet<PathBuf>) -> std::io::Result<usize> {
    let mut swept = 0;
    // agents that go on may be writing to any other clone
    for clone in end_strays(scratch)?.iter().filter(|clone| clone.starts_with(repos)) {
        swept += drop_halves(clone, None)?;
    }
    for org in real_dirs_in(repos)? {
        swept += sweep_halves(&org, ".")?;
    }
    for clone in clones_below(repos)? {
        swept += sweep_registrations(&clone.join("offshoot"))?;
        // snapshots are written by the server alone, and it is only just starting
        for refs in [REMOTE_REFS, "refs/offshoot"] {
            swept += sweep_locks(&clone.join(refs))?;
        }
        if !at_work.contains(&clone) {
            swept += stale::remove_all(&clone)?;
        }
    }
    Ok(swept)
}

/// What lies two directories deep, whatever it is.
pub(super) fn clones_below(repos: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut clones = Vec::new();
    for org in real_dirs_in(repos)? {
        clones.extend(real_dirs_in(&org)?);
    }
    Ok(clones)
}

fn real_dirs_in(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !disk::is_real_dir(dir) {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter(|path| disk::is_real_dir(path)).collect())
}

/// The name of a worktree's record is plain; what has a point in it is on its way.
fn sweep_registrations(dir: &Path) -> std::io::Result<usize> {
    let mut swept = 0;
    if !disk::is_real_dir(dir) {
        return Ok(0);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains('.') {
            disk::remove_any(&entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Removes halves of this one repository; the administration lock is held, so none of them is in use.
fn sweep_halves(parent: &Path, prefix: &str) -> std::io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(prefix) && name.ends_with(HALF_SUFFIX) {
            disk::remove_any(&entry.path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// A half clone, removed on every way out but the good one.
struct RemoveOnDrop {
    half: Option<PathBuf>,
    /// The organisation's directory, which goes too when nothing else is in it.
    parent: Option<PathBuf>,
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(half) = &self.half {
            // The next attempt sweeps what this cannot remove.
            let _ = disk::remove_any(half);
            if let Some(parent) = &self.parent {
                let _ = fs::remove_dir(parent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_done_is_swept_from_all_repositories_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let repos = dir.path().join("repos");
        let scratch = dir.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        assert_eq!(sweep(&repos, &scratch, &HashSet::new()).unwrap(), 0, "nothing was ever cloned");
        let half = repos.join("acme").join(format!(".gone.git.x1{HALF_SUFFIX}"));
        let own = repos.join("acme/widgets.git/offshoot");
        let (record, removed) = (own.join("job-aaaa2222"), own.join("old.x2.admin"));
        let refs = repos.join("acme/widgets.git/refs");
        let locks = [refs.join("remotes/origin/a.lock"), refs.join("offshoot/job-a/1-end.lock")];
        for lock in &locks {
            fs::create_dir_all(lock.parent().unwrap()).unwrap();
            fs::write(lock, "").unwrap();
        }
        for made in [&half, &record, &removed] {
            fs::create_dir_all(made).unwrap();
            fs::write(made.join("file"), "x").unwrap();
        }
        fs::write(repos.join("note"), "somebody's").unwrap();
        // packing was under way in one clone; in the other an agent may be writing
        let pack = |clone: &str| repos.join("acme").join(clone).join("objects/pack/tmp_pack_x");
        for clone in ["widgets.git", "gadgets.git"] {
            fs::create_dir_all(pack(clone).parent().unwrap()).unwrap();
            fs::write(pack(clone), "half").unwrap();
        }
        fs::write(scratch.join("leash.x"), format!("0\n{}", repos.join("acme/widgets.git").display()))
            .unwrap();
        let packed = ["widgets.git", "gadgets.git"]
            .map(|clone| repos.join("acme").join(clone).join("packed-refs.lock"));
        packed.iter().for_each(|lock| fs::write(lock, "").unwrap());
        let at_work = HashSet::from([repos.join("acme/gadgets.git")]);
        assert_eq!(sweep(&repos, &scratch, &at_work).unwrap(), 6);
        assert!(!packed[0].exists() && packed[1].exists(), "the agent in the second may hold its lock");
        assert!(!pack("widgets.git").exists() && pack("gadgets.git").exists());
        assert!(!half.exists() && !removed.exists() && locks.iter().all(|lock| !lock.exists()));
        assert!(record.join("file").exists() && repos.join("note").exists());
    }
}
