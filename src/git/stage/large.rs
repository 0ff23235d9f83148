//! Files that their attributes give to git-lfs: an object in the clone, and a pointer in the tree.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use git2::{ObjectType, Oid};
use nix::sys::stat::FileStat;

use super::{CHANGED, COPIED, NO_ROOM, Stager, as_path, shown};
use crate::git::error::GitError;
use crate::git::lfs::{FILE_BYTES_MAX, Ingest, POINTER_BYTES_MAX, Pointer, pointer_at};
use crate::git::tree_walk::{open_file, read_file};
use crate::git::worktree::Place;

const RAW_IN_HISTORY: &str =
    "a pointer of git-lfs now; a commit of the agent has its whole content, which stays in the history";

/// Where objects go.
pub(super) struct Room {
    clone: PathBuf,
    new: PathBuf,
}

impl Room {
    /// `scratch` has a name of its own, which what is being written has as well.
    pub(super) fn new(place: &Place, scratch: &std::path::Path) -> Self {
        let new = place.clone.join("offshoot").join(scratch.file_name().unwrap_or_default());
        Self { clone: place.clone.clone(), new }
    }
}

impl Stager<'_> {
    /// Whether a file is to become an object: not an empty one, and not a pointer whose content never came.
    pub(super) fn is_large(&self, dir: &OwnedFd, name: &[u8], stat: &FileStat) -> bool {
        let bytes = u64::try_from(stat.st_size).unwrap_or_default();
        let is_pointer = || {
            let text = read_file(dir, name, POINTER_BYTES_MAX);
            text.is_ok_and(|text| text.is_some_and(|text| Pointer::parse(&text).is_some()))
        };
        bytes > 0 && (bytes > POINTER_BYTES_MAX || !is_pointer())
    }

    pub(super) fn large_file(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        stat: &FileStat,
        tracked: Option<(Oid, u32)>,
    ) -> Result<(), GitError> {
        let failed = GitError::io("store a large file");
        let bytes = u64::try_from(stat.st_size).unwrap_or_default();
        let mode = if stat.st_mode & 0o100 == 0 { 0o100_644 } else { 0o100_755 };
        if bytes > FILE_BYTES_MAX && self.rules.strict {
            return Err(GitError::FileTooLarge { path: shown(&path), bytes, bytes_max: FILE_BYTES_MAX });
        }
        self.rules.give_up.check()?;
        let together = self.large_bytes.saturating_add(bytes);
        let bytes_max = self.rules.large_bytes_max;
        if together > bytes_max {
            if self.rules.strict {
                return Err(GitError::LargeFilesTooLarge { path: shown(&path), bytes_max });
            }
            return self.leave(&path, NO_ROOM);
        }
        let mut file = match open_file(dir, name) {
            Ok(Some(file)) if bytes <= FILE_BYTES_MAX => file,
            Ok(_) => return self.leave(&path, CHANGED),
            Err(_) => return self.leave(&path, "left out: it cannot be read"),
        };
        self.large_bytes = together;
        if let Some((id, _)) = tracked {
            let odb = self.library.odb().map_err(GitError::library("read a file of the commit"))?;
            let pointer = pointer_at(self.library, &odb, id);
            if pointer.as_ref().is_some_and(|pointer| pointer.size() == bytes)
                && Ingest::look(&mut file).map_err(&failed)? == pointer
            {
                self.take(path, id, mode, stat);
                return Ok(());
            }
            if pointer.is_none() && self.is_content(dir, name, bytes, |content| content == id)? {
                if self.base_has(&path, id) {
                    self.take(path, id, mode, stat);
                    return Ok(());
                }
                self.note(&path, RAW_IN_HISTORY);
            }
        }
        if !self.has_room_for(bytes) {
            return self.leave(&path, NO_ROOM);
        }
        if self.is_content(dir, name, bytes, |content| self.copied.has_content(content))? {
            return self.leave(&path, COPIED);
        }
        let ingest = Ingest { clone: &self.room.clone, new: self.room.new.clone() };
        let Some(pointer) = ingest.put(file).map_err(failed)? else { return self.leave(&path, CHANGED) };
        self.new.files += 1;
        self.new.bytes += pointer.size();
        let id = self.library.blob(pointer.text().as_bytes()).map_err(GitError::library("store a file"))?;
        self.large.get_or_insert_with(|| path.clone());
        self.take(path, id, mode, stat);
        Ok(())
    }

    /// Whether the file, as git would store it without git-lfs, is wanted. Files that git would not be given are not.
    fn is_content(
        &self,
        dir: &OwnedFd,
        name: &[u8],
        bytes: u64,
        wanted: impl Fn(Oid) -> bool,
    ) -> Result<bool, GitError> {
        if bytes > self.rules.file_bytes_max {
            return Ok(false);
        }
        let Ok(Some(content)) = read_file(dir, name, self.rules.file_bytes_max) else { return Ok(false) };
        let id = Oid::hash_object(ObjectType::Blob, &content).map_err(GitError::library("hash a file"))?;
        Ok(wanted(id))
    }

    fn base_has(&self, path: &[u8], id: Oid) -> bool {
        let tree = self.library.find_commit(self.rules.base).and_then(|commit| commit.tree());
        tree.and_then(|tree| tree.get_path(as_path(path))).is_ok_and(|entry| entry.id() == id)
    }
}
