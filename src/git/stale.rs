//! Locks in the directory of a clone itself, such as that of the packed refs, that killed programs have left.
//!
//! Agents take them as well. A file of the lock's name says nothing of its owner: git closes it at once and writes
//! `packed-refs.new`. So where an agent may be at work, one counts as left behind only after a time that nobody needs.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::disk;
use super::error::GitError;
use super::leftovers::locks_in;
use super::repository::blocking;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// How often the patience begins anew because of a change.
const ROUNDS_MAX: u32 = 5;
/// What is written under the lock of `packed-refs`.
const WRITTEN: &str = "packed-refs.new";

/// A file as it is now: made anew, or written to, it is another.
#[derive(PartialEq, Eq)]
struct State {
    path: PathBuf,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl State {
    fn of(path: PathBuf) -> Option<Self> {
        let meta = path.symlink_metadata().ok()?;
        Some(Self { path, inode: meta.ino(), bytes: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) })
    }
}

/// Removes the locks of a clone in which nobody is at work, with what was being written under them, which git would not write over
/// either; gives their number.
pub(super) fn remove_all(clone: &Path) -> io::Result<usize> {
    let mut locks = locks_in(clone, i64::MAX, false)?;
    locks.extend(State::of(clone.join(WRITTEN)).map(|written| written.path));
    for lock in &locks {
        tracing::warn!(lock = %lock.display(), "a lock that a killed program left is removed");
        disk::remove_any(lock)?;
    }
    Ok(locks.len())
}

/// Waits until the clone has no lock any more, or nothing of it has changed for `patience`: then what is left is removed. At
/// most five times as long.
///
/// # Errors
/// [`GitError::Io`].
pub(super) async fn outlast(clone: &Path, patience: Duration) -> Result<(), GitError> {
    let failed = GitError::io("look for stale locks");
    let mut seen = look(clone).map_err(&failed)?;
    let began = Instant::now();
    let mut since = began;
    // somebody who is at it all the time is left to the caller, who fails and tries again later
    while !seen.is_empty() && began.elapsed() < patience * ROUNDS_MAX {
        if since.elapsed() >= patience {
            let clone = clone.to_owned();
            return blocking(move || remove_all(&clone).map(|_| ()).map_err(failed)).await;
        }
        sleep(LOOK).await;
        let now = look(clone).map_err(&failed)?;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// The locks, and what is being written under them; empty without a lock. One directory of a few files.
fn look(clone: &Path) -> io::Result<Vec<State>> {
    let mut found: Vec<_> = locks_in(clone, i64::MAX, false)?.into_iter().filter_map(State::of).collect();
    if !found.is_empty() {
        found.extend(State::of(clone.join(WRITTEN)));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_lock_goes_once_nothing_has_changed_for_long_enough() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, written) = (dir.path().join("packed-refs.lock"), dir.path().join(WRITTEN));
        let began = Instant::now();
        outlast(dir.path(), PATIENCE).await.unwrap();
        fs::write(&written, "of a dead one").unwrap();
        outlast(dir.path(), PATIENCE).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits where there is no lock");

        fs::write(&lock, "").unwrap();
        let somebody = async {
            sleep(PATIENCE * 2 / 3).await;
            // as git does: the lock itself stays as it is
            fs::write(&written, "more and more").unwrap();
            sleep(PATIENCE * 2 / 3).await;
            assert!(lock.exists(), "somebody was at work");
        };
        let (waited, ()) = tokio::join!(outlast(dir.path(), PATIENCE), somebody);
        waited.unwrap();
        assert!(!lock.exists() && began.elapsed() >= PATIENCE * 5 / 3);

        fs::write(&lock, "").unwrap();
        let began = Instant::now();
        let busy = async {
            loop {
                sleep(PATIENCE / 2).await;
                fs::write(&written, format!("{:?}", began.elapsed())).unwrap();
            }
        };
        tokio::select! {
            waited = outlast(dir.path(), PATIENCE) => waited.unwrap(),
            () = busy => {}
        }
        assert!(
            lock.exists() && began.elapsed() <= PATIENCE * (ROUNDS_MAX + 1),
            "the caller has not for ever"
        );
        fs::remove_file(&lock).unwrap();

        fs::write(&lock, "").unwrap();
        let released = async {
            sleep(PATIENCE / 2).await;
            fs::remove_file(&lock).unwrap();
        };
        let began = Instant::now();
        let (waited, ()) = tokio::join!(outlast(dir.path(), PATIENCE), released);
        waited.unwrap();
        assert!(began.elapsed() < PATIENCE);
    }
}
