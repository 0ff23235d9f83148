//! Locks in the directory of a clone itself, such as that of the packed refs, that killed programs have left.
//!
//! Agents take them as well, so whose one is nobody knows: one that stays as it is for longer than anybody needs it is nobody's.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::disk;
use super::error::GitError;
use super::leftovers::locks_in;
use super::repository::blocking;

/// Git writes one file while it holds such a lock, and waits no longer itself (`core.packedRefsTimeout` of git-config(1)).
const HELD_MAX: Duration = Duration::from_secs(1);

/// A lock is made anew each time it is taken, and changes while its file is written.
#[derive(PartialEq, Eq)]
struct Identity {
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(meta: &fs::Metadata) -> Self {
        Self { inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}

/// Removes the locks of these clones that nobody has touched for a second, and gives their number. Returns at once where
/// there is none.
///
/// # Errors
/// [`GitError::Io`].
pub(super) async fn remove(clones: Vec<PathBuf>) -> Result<usize, GitError> {
    let seen = blocking(move || look(&clones).map_err(GitError::io("look for stale locks"))).await?;
    if seen.is_empty() {
        return Ok(0);
    }
    tokio::time::sleep(HELD_MAX).await;
    blocking(move || remove_unchanged(&seen).map_err(GitError::io("remove stale locks"))).await
}

fn look(clones: &[PathBuf]) -> io::Result<Vec<(PathBuf, Identity)>> {
    let mut seen = Vec::new();
    for clone in clones {
        for lock in locks_in(clone, i64::MAX, false)? {
            // one that is gone again was somebody's
            if let Ok(meta) = lock.symlink_metadata() {
                seen.push((lock, Identity::of(&meta)));
            }
        }
    }
    Ok(seen)
}

fn remove_unchanged(seen: &[(PathBuf, Identity)]) -> io::Result<usize> {
    let mut removed = 0;
    for (lock, identity) in seen {
        if lock.symlink_metadata().is_ok_and(|meta| Identity::of(&meta) == *identity) {
            tracing::warn!(lock = %lock.display(), "a stale lock is removed");
            disk::remove_any(lock)?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_taken_again_meanwhile_is_somebodys() {
        let dir = tempfile::tempdir().unwrap();
        let [stale, held, released] =
            ["packed-refs.lock", "HEAD.lock", "config.lock"].map(|name| dir.path().join(name));
        for lock in [&stale, &held, &released] {
            fs::write(lock, "").unwrap();
        }
        let somebody = async {
            tokio::time::sleep(HELD_MAX / 2).await;
            fs::remove_file(&released).unwrap();
            // the next one is made before the last one goes: never the same inode
            fs::write(dir.path().join("new"), "").unwrap();
            fs::rename(dir.path().join("new"), &held).unwrap();
        };
        let (removed, ()) = tokio::join!(remove(vec![dir.path().to_owned()]), somebody);
        assert_eq!(removed.unwrap(), 1);
        assert!(!stale.exists() && held.exists());
        fs::remove_file(&held).unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(remove(vec![dir.path().to_owned()]).await.unwrap(), 0);
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for nothing");
    }
}
