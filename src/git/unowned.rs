//! Clones of which nobody knows whose they are, and whether they may hold anything that their remote has not.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::clone::clones_below;
use super::error::GitError;
use super::fetch::REMOTE_REFS;
use super::repository::{Repository, blocking};
use super::{disk, refs, tamper};

/// A file in a clone: which installation made it. The directory of clones may be shared, and a clone of which another server has
/// the client looks to this one as if nobody had.
const MADE_BY: &str = "offshoot-made-by";

/// The clones below a directory of `<org>/<repo>.git` that are none of the `known`. What is half made, or was set aside, has
/// another name.
///
/// # Errors
/// [`GitError::Io`].
pub async fn unowned_clones(repos: &Path, known: HashSet<PathBuf>) -> Result<Vec<PathBuf>, GitError> {
    let repos = repos.to_owned();
    blocking(move || {
        let mut found = clones_below(&repos).map_err(GitError::io("look for clones"))?;
        found.retain(|path| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            name.ends_with(b".git") && !name.starts_with(b".") && !known.contains(path)
        });
        found.sort();
        Ok(found)
    })
    .await
}

/// Writes into a clone that is being made whose it is.
pub(super) fn mark(clone: &Path, maker: &str) -> io::Result<()> {
    if maker.is_empty() { Ok(()) } else { disk::replace_file(&clone.join(MADE_BY), maker.as_bytes()) }
}

impl Repository {
    /// Whether this installation made the clone, and it is as it was made: written by us, with branches of its remote and nothing
    /// else. No agent has ever had a worktree of it, whose registrations leave their directories behind. False where that
    /// cannot be told.
    ///
    /// # Errors
    /// [`GitError::Abandoned`].
    pub async fn is_as_we_cloned(&self) -> Result<bool, GitError> {
        let maker = self.git.settings().maker.clone();
        self.blocking(move |clone| Ok(is_marked(&clone, &maker) && is_as_cloned(&clone))).await
    }
}

fn is_marked(clone: &Path, maker: &str) -> bool {
    let mark = disk::read_small(&clone.join(MADE_BY)).ok().flatten();
    !maker.is_empty() && mark.is_some_and(|mark| mark == maker.as_bytes())
}

fn is_as_cloned(clone: &Path) -> bool {
    let had_worktrees =
        ["worktrees", "offshoot"].iter().any(|name| clone.join(name).symlink_metadata().is_ok());
    if had_worktrees || tamper::verify(clone).is_err() {
        return false;
    }
    let Ok(library) = refs::open(clone) else { return false };
    let Ok(mut all) = library.references() else { return false };
    let below = format!("{REMOTE_REFS}/");
    all.names().all(|name| name.is_ok_and(|name| name.starts_with(&below)))
}
