//! Refs of a clone, read without trusting that they are ordinary files.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, Oid, Reference, Repository as Library};

use super::disk;
use super::error::GitError;

/// Opens the clone's objects and refs. The caller has verified the clone.
pub(super) fn open(clone: &Path) -> Result<Library, GitError> {
    Library::open_bare(clone).map_err(GitError::library("open the clone"))
}

/// What a full ref name points at, links between refs followed as libgit2 does; `None` when absent or unreadable.
pub(super) fn find(library: &Library, name: &str) -> Result<Option<Oid>, GitError> {
    if !is_safe_name(name) || !is_plain_or_absent(&library.path().join(name)) {
        return Ok(None);
    }
    let reference = match library.find_reference(name) {
        Ok(reference) => reference,
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => {
            return Ok(None);
        }
        Err(error) => return Err(GitError::library("read a ref")(error)),
    };
    Ok(reference.resolve().ok().and_then(|resolved| resolved.target()))
}

/// Points a ref at a commit, whatever it pointed at. A lock left behind by a killed process is removed: within one
/// clone only the holder of the administration lock and dead agents write the refs that this is called for.
pub(super) fn set(library: &Library, name: &str, oid: Oid) -> Result<(), GitError> {
    if !is_safe_name(name) {
        return Err(GitError::InvalidArgument("not a valid ref name"));
    }
    let path = library.path().join(name);
    if !is_plain_or_absent(&path) {
        disk::remove_any(&path).map_err(GitError::io("replace a ref"))?;
    }
    match library.reference(name, oid, true, "offshoot") {
        Ok(_) => Ok(()),
        Err(_) => {
            clear_way(library.path(), name)?;
            library
                .reference(name, oid, true, "offshoot")
                .map(|_| ())
                .map_err(GitError::library("write a ref"))
        }
    }
}

/// Whether a ref is there that may be deleted. A lock of it that a killed process has left is removed: for refs that only
/// the holder of the administration lock and dead agents write.
pub(super) fn is_to_delete(library: &Library, name: &str) -> Result<bool, GitError> {
    if !is_safe_name(name) {
        return Err(GitError::InvalidArgument("not a valid ref name"));
    }
    clear_dirs(library.path(), name)?;
    let lock = library.path().join(format!("{name}.lock"));
    disk::remove_any(&lock).map_err(GitError::io("remove a stale lock"))?;
    let path = library.path().join(name);
    if !is_plain_or_absent(&path) {
        disk::remove_any(&path).map_err(GitError::io("remove what is no ref"))?;
    }
    match library.find_reference(name) {
        Ok(_) => Ok(true),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(GitError::library("read a ref")(error)),
    }
}

/// Below `refs/`, valid for git, and no way out of the directory.
pub(super) fn is_safe_name(name: &str) -> bool {
    name.starts_with("refs/") && Reference::is_valid_name(name)
}

/// A FIFO in the place of a ref would stop a reader for ever.
fn is_plain_or_absent(path: &Path) -> bool {
    path.symlink_metadata().map_or(true, |meta| meta.is_file() || meta.is_dir())
}

/// Removes links in the place of the directories of a ref: what is behind them is not the clone's.
fn clear_dirs(clone: &Path, name: &str) -> Result<(), GitError> {
    let mut path = PathBuf::from(clone);
    let Some((dirs, _)) = name.rsplit_once('/') else { return Ok(()) };
    for part in dirs.split('/') {
        path.push(part);
        if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
            disk::remove_any(&path).map_err(GitError::io("clear the way to a ref"))?;
        }
    }
    Ok(())
}

/// Removes stale locks on the way to a ref, an unreadable ref, and links in the place of directories.
fn clear_way(clone: &Path, name: &str) -> Result<(), GitError> {
    clear_dirs(clone, name)?;
    let failed = GitError::io("clear the way to a ref");
    let path = clone.join(name);
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
        disk::remove_any(&path).map_err(&failed)?;
    }
    for stale in [clone.join(format!("{name}.lock")), clone.join("logs").join(name)] {
        disk::remove_any(&stale).map_err(&failed)?;
    }
    Ok(())
}
