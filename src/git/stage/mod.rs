//! From the files of a worktree to a tree object, running nothing and trusting nothing that an agent wrote.
//!
//! **Promises.** Files are read through descriptors and links never followed; what is not taken, or taken in another form, is
//! noted. Large files become objects beside the repository (`large.rs`). The same files give the same tree.
//!
//! **Must not know** refs and commits beyond those that it is given: it moves nothing.
//!
//! **Fails** with [`GitError`]; a strict staging where a file cannot be taken over faithfully, another one notes that.
//!
//! **Tested** in `tests/it/git.rs`, `tests/it/git_hostile.rs` and `tests/it/git_lfs.rs`.

mod large;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::{Index, IndexEntry, ObjectType, Oid, Repository as Library};
use nix::sys::stat::FileStat;

use super::attributes::{clean, has_crlf};
use super::copied::Copied;
use super::error::GitError;
use super::give_up::GiveUp;
use super::index::{Baseline, bare_entry, with_status};
use super::measure::{SizeCaps, WorktreeSize};
use super::rules::{ContentRules, Rules};
use super::tree_walk::{Descend, Visit, read_file, read_link, walk};
use super::worktree::Place;

const LINK: u32 = 0o120_000;
const GITLINK: u32 = 0o160_000;

/// Names that other systems would take for the repository itself.
const FORBIDDEN: &str = "left out: git does not track this name";

const COPIED: &str = "left out: a file of copyFiles, which may hold secrets";

const CHANGED: &str = "left out: too large, or changed while it was read";

const NO_ROOM: &str = "left out: more new files or bytes than are kept";

/// Notes beyond this become one: they are read by people, with every job of a list.
const NOTES_MAX: usize = 20;

/// Something that a result does not contain, or contains in an unusual form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Relative to the worktree, unprintable bytes escaped; empty for the worktree itself.
    pub path: String,
    /// What was done about it and why.
    pub text: &'static str,
}

impl Note {
    pub(super) fn new(path: &[u8], text: &'static str) -> Self {
        Self { path: shown(path), text }
    }
}

/// How to stage.
#[derive(Clone, Debug)]
pub(super) struct StageRules {
    /// What the work began at.
    pub(super) base: Oid,
    pub(super) file_bytes_max: u64,
    /// Bytes and files that may be stored beyond what the commit has; what comes later is left out with a note.
    pub(super) new: SizeCaps,
    /// Of all large files that are read.
    pub(super) large_bytes_max: u64,
    pub(super) give_up: GiveUp,
    /// Whether what cannot be taken over faithfully fails the staging, or is noted.
    pub(super) strict: bool,
}

/// The outcome of a staging.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) tree: Oid,
    /// All files of the tree, with the status of those that were looked at.
    pub(super) entries: Vec<IndexEntry>,
    pub(super) notes: Vec<Note>,
    /// A file that has become an object of git-lfs: somebody has to be able to push it.
    pub(super) large: Option<Vec<u8>>,
}

/// Stages the files of `place` over the tree of `parent`.
pub(super) fn stage(
    library: &Library,
    place: &Place,
    scratch: PathBuf,
    parent: Oid,
    rules: &StageRules,
) -> Result<Staged, GitError> {
    let failed = GitError::library("read the worktree's commit");
    let tree = library.find_commit(parent).and_then(|commit| commit.tree()).map_err(&failed)?;
    let mut index = Index::new().map_err(&failed)?;
    index.read_tree(&tree).map_err(&failed)?;
    let room = large::Room::new(place, &scratch);
    let shadow = Rules::new(&place.clone, scratch)?;
    let mut stager = Stager::new(library, &index, Baseline::load(place), shadow, rules, room);
    stager.copied = Copied::load(place)?;
    walk(&place.path, &mut stager)?;
    stager.keep_what_was_not_looked_at();
    let Stager { tracked, taken, mut notes, large, .. } = stager;

    let failed = GitError::library("write the tree");
    let mut changed = false;
    for path in tracked.keys().filter(|path| !taken.contains_key(*path)) {
        index.remove(as_path(path), 0).map_err(&failed)?;
        changed = true;
    }
    let mut entries: Vec<IndexEntry> = taken.into_values().collect();
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut refused = Vec::new();
    for entry in &entries {
        if tracked.get(&entry.path) != Some(&(entry.id, entry.mode)) {
            match index.add(entry) {
                Ok(()) => changed = true,
                Err(error) if error.message().starts_with("invalid path") => refused.push(entry.path.clone()),
                Err(error) => return Err(failed(error)),
            }
        }
    }
    entries.retain(|entry| !refused.contains(&entry.path));
    notes.extend(refused.iter().take(NOTES_MAX + 1).map(|path| Note::new(path, FORBIDDEN)));
    if notes.len() > NOTES_MAX {
        notes.truncate(NOTES_MAX);
        notes.push(Note::new(b"*", "many more files like these"));
    }
    let tree = if changed { index.write_tree_to(library).map_err(&failed)? } else { tree.id() };
    Ok(Staged { tree, entries, notes, large })
}

struct Stager<'a> {
    library: &'a Library,
    rules: &'a StageRules,
    /// What was copied in, never taken.
    copied: Copied,
    shadow: Rules,
    baseline: Baseline,
    tracked: HashMap<Vec<u8>, (Oid, u32)>,
    /// Every directory that holds a tracked path.
    tracked_dirs: HashSet<Vec<u8>>,
    taken: HashMap<Vec<u8>, IndexEntry>,
    /// Paths below which tracked entries stay as they are.
    kept_below: Vec<Vec<u8>>,
    /// Nested repositories that hold tracked files: only those are taken.
    nested: Vec<Vec<u8>>,
    /// Stored so far beyond what the commit has.
    new: WorktreeSize,
    notes: Vec<Note>,
    room: large::Room,
    large: Option<Vec<u8>>,
    /// Of large files that were read.
    large_bytes: u64,
}

impl<'a> Stager<'a> {
    fn new(
        library: &'a Library,
        index: &Index,
        baseline: Baseline,
        shadow: Rules,
        rules: &'a StageRules,
        room: large::Room,
    ) -> Self {
        let tracked: HashMap<_, _> = index.iter().map(|entry| (entry.path, (entry.id, entry.mode))).collect();
        let mut tracked_dirs = HashSet::new();
        for path in tracked.keys() {
            let mut dir = parent_of(path);
            while !dir.is_empty() && tracked_dirs.insert(dir.to_vec()) {
                dir = parent_of(dir);
            }
        }
        Self {
            library,
            rules,
            copied: Copied::default(),
            shadow,
            baseline,
            tracked,
            tracked_dirs,
            taken: HashMap::new(),
            kept_below: Vec::new(),
            nested: Vec::new(),
            new: WorktreeSize::default(),
            notes: Vec::new(),
            room,
            large: None,
            large_bytes: 0,
        }
    }

    fn note(&mut self, path: &[u8], text: &'static str) {
        // one more tells that there are more
        if self.notes.len() <= NOTES_MAX {
            self.notes.push(Note::new(path, text));
        }
    }

    fn take(&mut self, path: Vec<u8>, id: Oid, mode: u32, stat: &FileStat) {
        let entry = with_status(bare_entry(path.clone(), id, mode), stat);
        self.taken.insert(path, IndexEntry { mode, ..entry });
    }

    /// Whether one more file of this size may be stored.
    fn has_room_for(&self, bytes: u64) -> bool {
        let more = WorktreeSize { bytes: self.new.bytes.saturating_add(bytes), files: self.new.files + 1 };
        !self.rules.new.are_passed_by(&more)
    }

    /// Leaves a tracked path as its commit has it; an untracked one is left out.
    fn keep(&mut self, path: &[u8]) {
        if let Some((id, mode)) = self.tracked.get(path) {
            self.taken.insert(path.to_vec(), bare_entry(path.to_vec(), *id, *mode));
        }
    }

    fn keep_what_was_not_looked_at(&mut self) {
        let kept_below = std::mem::take(&mut self.kept_below);
        let paths: Vec<_> = self.tracked.keys().filter(|path| is_below(path, &kept_below)).cloned().collect();
        for path in paths {
            if !self.taken.contains_key(&path) {
                self.keep(&path);
            }
        }
    }

    fn file(&mut self, dir: &OwnedFd, name: &[u8], path: Vec<u8>, stat: &FileStat) -> Result<(), GitError> {
        let mode = if stat.st_mode & 0o100 == 0 { 0o100_644 } else { 0o100_755 };
        let tracked = self.tracked.get(&path).copied();
        if let Some((id, mode)) = self.baseline.unchanged(&path, stat)
            && tracked.is_some_and(|(tracked_id, _)| tracked_id == id)
        {
            self.take(path, id, mode, stat);
            return Ok(());
        }
        let rules = self.shadow.content(&path);
        if rules.is_lfs && self.is_large(dir, name, stat) {
            return self.large_file(dir, name, path, stat, tracked);
        }
        let bytes_max = self.rules.file_bytes_max;
        let bytes = u64::try_from(stat.st_size).unwrap_or_default();
        if tracked.is_none() && !self.has_room_for(bytes.min(bytes_max)) {
            return self.leave(&path, NO_ROOM);
        }
        let content = if bytes > bytes_max { Ok(None) } else { read_file(dir, name, bytes_max) };
        let content = match content {
            Ok(Some(content)) => content,
            Ok(None) if bytes > bytes_max && self.rules.strict => {
                return Err(GitError::FileTooLarge { path: shown(&path), bytes, bytes_max });
            }
            Ok(None) => return self.leave(&path, CHANGED),
            Err(_) => return self.leave(&path, "left out: it cannot be read"),
        };
        let (id, stored) = self.stored_form(&content, &rules, tracked)?;
        if tracked.is_none_or(|(tracked_id, _)| tracked_id != id) {
            if self.copied.has_content(id) {
                return self.leave(&path, COPIED);
            }
            if !self.has_room_for(stored.len() as u64) {
                return self.leave(&path, NO_ROOM);
            }
            self.new.files += 1;
            self.new.bytes += stored.len() as u64;
            if let Some(filter) = rules.unsupported {
                if self.rules.strict {
                    return Err(GitError::UnsupportedFilter { path: shown(&path), filter });
                }
                self.note(&path, "taken as it is: its filter is not run");
            }
            let written = self.library.odb().and_then(|odb| odb.write(ObjectType::Blob, &stored));
            written.map_err(GitError::library("store a file"))?;
        }
        self.take(path, id, mode, stat);
        Ok(())
    }

    /// The blob that git would make of a file's content, and its id.
    fn stored_form<'c>(
        &self,
        content: &'c [u8],
        rules: &ContentRules,
        tracked: Option<(Oid, u32)>,
    ) -> Result<(Oid, std::borrow::Cow<'c, [u8]>), GitError> {
        let stored_has_crlf = || {
            tracked
                .and_then(|(id, _)| self.library.find_blob(id).ok())
                .is_some_and(|blob| has_crlf(blob.content()))
        };
        let stored = clean(content, rules, stored_has_crlf);
        let id = Oid::hash_object(ObjectType::Blob, &stored).map_err(GitError::library("hash a file"))?;
        Ok((id, stored))
    }

    fn link(&mut self, dir: &OwnedFd, name: &[u8], path: Vec<u8>, stat: &FileStat) -> Result<(), GitError> {
        let Some(target) = read_link(dir, name) else {
            return self.leave(&path, "left out: changed while it was read");
        };
        let written = self.library.odb().and_then(|odb| odb.write(ObjectType::Blob, &target));
        let id = written.map_err(GitError::library("store a link"))?;
        self.take(path, id, LINK, stat);
        Ok(())
    }

    /// Another name of a copied file. Under one that the agent has committed, its history has it.
    fn copied(&mut self, dir: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), GitError> {
        let tracked = self.tracked.get(path).copied();
        if let (Some((id, _)), true) = (tracked, self.rules.strict && self.copied.has_as_copied(dir, name))
            && let Ok(Some(content)) = read_file(dir, name, self.rules.file_bytes_max)
            && self.stored_form(&content, &self.shadow.content(path), tracked)?.0 == id
        {
            return Err(GitError::CopyCommitted { path: shown(path) });
        }
        self.leave(path, COPIED)
    }

    fn leave(&mut self, path: &[u8], why: &'static str) -> Result<(), GitError> {
        self.note(path, why);
        self.keep(path);
        Ok(())
    }
}

impl Visit for Stager<'_> {
    fn enter(&mut self, dir: &OwnedFd, path: &[u8], names: &[Vec<u8>]) -> Result<Descend, GitError> {
        if path.is_empty() {
            if self.shadow.take(dir, path, names)? {
                self.note(path, "a rule file was left out: not a regular file of at most 1 MiB");
            }
            return Ok(Descend::Yes);
        }
        if let Some((_, GITLINK)) = self.tracked.get(path) {
            self.keep(path);
            return Ok(Descend::No);
        }
        if has_git_name(path) {
            // The name itself belongs to a nested repository, which has its own note.
            if !path.ends_with(b"/.git") {
                self.note(path, FORBIDDEN);
            }
            return Ok(Descend::No);
        }
        if self.copied.is_at(path) {
            self.kept_below.push(path.to_vec());
            return Ok(Descend::No);
        }
        let holds_tracked = self.tracked_dirs.contains(path);
        if !holds_tracked && self.shadow.is_ignored(&[path, b"/"].concat()) {
            return Ok(Descend::No);
        }
        if names.iter().any(|name| is_git_name(name)) {
            self.note(path, "a nested repository: its own files were left out");
            if !holds_tracked {
                return Ok(Descend::No);
            }
            self.nested.push(path.to_vec());
        }
        if self.shadow.take(dir, path, names)? {
            self.note(path, "a rule file was left out: not a regular file of at most 1 MiB");
        }
        Ok(Descend::Yes)
    }

    fn leaf(&mut self, dir: &OwnedFd, name: &[u8], path: Vec<u8>, stat: &FileStat) -> Result<(), GitError> {
        if is_git_name(name) {
            if path != b".git" {
                self.note(&path, FORBIDDEN);
            }
            return Ok(());
        }
        if self.copied.is_at(&path) {
            self.keep(&path);
            return Ok(());
        }
        let is_tracked = self.tracked.get(&path).is_some_and(|(_, mode)| *mode != GITLINK);
        if !is_tracked && (is_below(&path, &self.nested) || self.shadow.is_ignored(&path)) {
            return Ok(());
        }
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG if self.copied.has(dir, name, stat) => self.copied(dir, name, &path),
            libc::S_IFREG => self.file(dir, name, path, stat),
            libc::S_IFLNK => self.link(dir, name, path, stat),
            _ => {
                self.note(&path, "left out: neither file, directory nor link");
                Ok(())
            }
        }
    }

    fn unreadable(&mut self, path: &[u8], why: &'static str) {
        self.note(path, why);
        self.kept_below.push(path.to_vec());
    }
}

pub(super) fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn parent_of(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(&[], |at| &path[..at])
}

/// Whether `path` is one of `roots` or below one.
pub(super) fn is_below(path: &[u8], roots: &[Vec<u8>]) -> bool {
    roots.iter().any(|root| {
        path.strip_prefix(root.as_slice())
            .is_some_and(|rest| root.is_empty() || rest.is_empty() || rest[0] == b'/')
    })
}

pub(super) fn has_git_name(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(is_git_name)
}

/// The name that git keeps for itself, in any case: other systems fold it.
fn is_git_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b".git")
}

/// A path for people: whatever is not printable ASCII or valid UTF-8 is escaped.
pub(super) fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => path.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_below_ends_at_a_slash() {
        let roots = [b"a/b".to_vec()];
        for (path, below) in [("a/b", true), ("a/b/c", true), ("a/bc", false), ("a", false)] {
            assert_eq!(is_below(path.as_bytes(), &roots), below, "{path}");
        }
    }

    #[test]
    fn unprintable_names_are_shown_escaped() {
        assert_eq!(shown("ä b".as_bytes()), "ä b");
        assert_eq!(shown(b"a\nb\xff"), "a\\nb\\xff");
    }
}
