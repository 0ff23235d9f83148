//! What a clone's administration looks like, and the proof that it still does.
//!
//! Git takes programs to run from a repository's configuration, hooks and `info` files. All of these are constants
//! here, so the comparison needs no stored copy.

use std::fs;
use std::io;
use std::path::Path;

use super::disk;
use super::error::GitError;

/// The clone's whole configuration. No address: every run names its own, and an agent's `git push` finds none.
/// Remote branches are kept apart from local ones, so pruning never touches a worktree's branch.
pub(super) const CONFIG: &str = "[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[remote \"origin\"]
\tfetch = +refs/heads/*:refs/remotes/origin/*
[branch]
\tautoSetupMerge = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
";

/// A branch that never exists: the clone itself has nothing checked out.
pub(super) const HEAD: &str = "ref: refs/heads/offshoot/none\n";

/// Never there in a clone of ours, and each able to redirect git or to lend it foreign objects or parents.
const ABSENT: &[&str] = &[
    "config.worktree",
    "commondir",
    "gitdir",
    "shallow",
    "index",
    "objects/info/alternates",
    "objects/info/http-alternates",
];

/// Directories in which worktrees are registered and recorded and large files are, once there are any.
const OURS: &[&str] = &["worktrees", "offshoot", "lfs"];

/// Compares everything that could make git or libgit2 run a program, read elsewhere, or see other history.
///
/// # Errors
/// [`GitError::Tampered`] naming the first difference; [`GitError::Damaged`] if something is only missing; [`GitError::Io`] when it cannot be read.
pub(super) fn verify(clone: &Path) -> Result<(), GitError> {
    let tampered = |what: &str| Err(GitError::Tampered { what: what.to_owned() });
    // told only when nothing was changed: whoever changes a clone may have removed something too
    let mut damaged = None;
    for name in ["", "objects", "refs"] {
        let path = clone.join(name);
        let shown = if name.is_empty() { "the clone" } else { name };
        if is_absent(&path) {
            damaged.get_or_insert(shown);
        } else if !disk::is_real_dir(&path) {
            return tampered(shown);
        }
    }
    for (name, expected) in [("config", CONFIG), ("HEAD", HEAD)] {
        match disk::read_small(&clone.join(name)) {
            Ok(Some(bytes)) if bytes == expected.as_bytes() => {}
            // as after a power cut
            Ok(Some(bytes)) if bytes.iter().all(|byte| *byte == 0) => drop(damaged.get_or_insert(name)),
            Ok(None) if is_absent(&clone.join(name)) => drop(damaged.get_or_insert(name)),
            Ok(_) => return tampered(name),
            Err(error) => return Err(GitError::io("compare the clone")(error)),
        }
    }
    for name in ABSENT {
        if clone.join(name).symlink_metadata().is_ok() {
            return tampered(name);
        }
    }
    for (name, allowed) in [("hooks", &[][..]), ("info", &["refs"][..])] {
        if !holds_only(&clone.join(name), allowed).map_err(GitError::io("compare the clone"))? {
            return tampered(name);
        }
    }
    for name in OURS {
        if clone.join(name).symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            return tampered(name);
        }
    }
    if clone.join("packed-refs").symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        return tampered("packed-refs");
    }
    damaged.map_or(Ok(()), |what| Err(GitError::Damaged { what: what.to_owned() }))
}

fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Writes the administration anew and drops what must not be there. Objects, refs and worktrees stay.
pub(super) fn repair(clone: &Path) -> io::Result<()> {
    for name in ABSENT.iter().copied().chain(["hooks", "info"]) {
        disk::remove_any(&clone.join(name))?;
    }
    if clone.join("packed-refs").symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        disk::remove_any(&clone.join("packed-refs"))?;
    }
    for name in OURS {
        if clone.join(name).symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            disk::remove_any(&clone.join(name))?;
        }
    }
    for name in ["objects", "refs"] {
        if !disk::is_real_dir(&clone.join(name)) {
            disk::remove_any(&clone.join(name))?;
            fs::create_dir_all(clone.join(name))?;
        }
    }
    for (name, text) in [("config", CONFIG), ("HEAD", HEAD)] {
        if clone.join(name).symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            disk::remove_any(&clone.join(name))?;
        }
        disk::replace_file(&clone.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// Writes the clone's settings anew where a file has others.
pub(super) fn put_settings_back(clone: &Path) -> io::Result<bool> {
    let path = clone.join("config");
    let is_changed = path.symlink_metadata().is_ok_and(|meta| meta.is_file())
        && disk::read_small(&path)?.is_none_or(|bytes| bytes != CONFIG.as_bytes());
    if is_changed {
        disk::replace_file(&path, CONFIG.as_bytes())?;
    }
    Ok(is_changed)
}

/// Lays out an empty clone in an existing empty directory (gitrepository-layout(5)).
pub(super) fn lay_out(clone: &Path) -> io::Result<()> {
    for name in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        fs::create_dir_all(clone.join(name))?;
    }
    repair(clone)
}

/// Whether a directory is missing, or a real one that holds regular files of these names only. `git repack` leaves
/// `info/refs` behind, which only names refs.
fn holds_only(dir: &Path, allowed: &[&str]) -> io::Result<bool> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(meta) if !meta.is_dir() => return Ok(false),
        Ok(_) => {}
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let known = entry.file_name().to_str().is_some_and(|name| allowed.contains(&name));
        if !known || !entry.file_type()?.is_file() {
            return Ok(false);
        }
    }
    Ok(true)
}
