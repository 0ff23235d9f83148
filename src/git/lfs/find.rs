//! Which files of a commit are pointers, by their attributes and their content.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use git2::{Index, ObjectType, Oid, Repository as Library, Sort, TreeWalkMode, TreeWalkResult};

use super::pointer::{POINTER_BYTES_MAX, Pointer};
use super::store::open_object;
use crate::git::error::GitError;
use crate::git::rules::{RULE_BYTES_MAX, Rules};

/// Commits of one push that are looked at: a result is some, so many are a history that somebody has joined in.
pub(super) const COMMITS_MAX: usize = 10_000;

/// A file that stands for an object.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) blob: Oid,
    pub(super) pointer: Pointer,
}

/// The pointers among the files of a tree. `scratch` is a path of its own.
pub(super) fn in_tree(
    library: &Library,
    clone: &Path,
    scratch: PathBuf,
    tree: Oid,
) -> Result<Vec<Found>, GitError> {
    let failed = GitError::library("list the files of a commit");
    let mut index = Index::new().map_err(&failed)?;
    library.find_tree(tree).and_then(|tree| index.read_tree(&tree)).map_err(&failed)?;
    let odb = library.odb().map_err(&failed)?;
    // not read before it is known how much there is
    let is_small = |id: Oid| odb.read_header(id).is_ok_and(|(bytes, _)| bytes as u64 <= RULE_BYTES_MAX);
    let rule_files: Vec<_> = index
        .iter()
        .filter(|entry| is_rule_file(&entry.path) && is_file(entry.mode) && is_small(entry.id))
        .filter_map(|entry| Some((entry.path, library.find_blob(entry.id).ok()?)))
        .collect();
    // what almost every repository ends with
    if !rule_files.iter().any(|(_, blob)| memchr::memmem::find(blob.content(), b"filter=lfs").is_some()) {
        return Ok(Vec::new());
    }
    let rules = Rules::new(clone, scratch)?;
    for (path, blob) in &rule_files {
        rules.put(path, blob.content());
    }
    let mut found = Vec::new();
    for entry in index.iter().filter(|entry| is_file(entry.mode)) {
        let Some(pointer) = pointer_at(library, &odb, entry.id) else { continue };
        if rules.content(&entry.path).is_lfs {
            found.push(Found { path: entry.path, mode: entry.mode, blob: entry.id, pointer });
        }
    }
    Ok(found)
}

/// The pointer that a blob is.
pub(in crate::git) fn pointer_at(library: &Library, odb: &git2::Odb<'_>, id: Oid) -> Option<Pointer> {
    let (bytes, kind) = odb.read_header(id).ok()?;
    if kind != ObjectType::Blob || bytes as u64 > POINTER_BYTES_MAX {
        return None;
    }
    Pointer::parse(library.find_blob(id).ok()?.content())
}

fn is_rule_file(path: &[u8]) -> bool {
    path == b".gitattributes" || path.ends_with(b"/.gitattributes")
}

fn is_file(mode: u32) -> bool {
    mode & 0o170_000 == 0o100_000
}

/// A pointer that is new for the remote.
#[derive(Clone, Debug)]
pub(super) struct New {
    /// One of the paths that it has.
    pub(super) path: Vec<u8>,
    /// A commit's own attributes say that it is one. Otherwise it is one only when there is something that it points at: files
    /// are staged by the rules of the worktree, which a commit need not have, and any text may look like a pointer.
    pub(super) is_ruled: bool,
}

/// What a push of `head` makes public that no branch of the remote has: each object once. `None`: more than [`COMMITS_MAX`] commits,
/// in a history that has large files. `scratch` gives a path of its own each time.
pub(super) fn new_for_remote(
    library: &Library,
    clone: &Path,
    scratch: impl Fn() -> PathBuf,
    head: Oid,
) -> Result<Option<BTreeMap<Pointer, New>>, GitError> {
    let failed = GitError::library("list the commits of a push");
    let mut walk = library.revwalk().map_err(&failed)?;
    walk.set_sorting(Sort::TOPOLOGICAL).map_err(&failed)?;
    walk.push(head).map_err(&failed)?;
    for reference in library.references_glob("refs/remotes/origin/*").map_err(&failed)? {
        let target = reference.ok().and_then(|reference| reference.target());
        if let Some(tip) = target.filter(|tip| library.find_commit(*tip).is_ok()) {
            walk.hide(tip).map_err(&failed)?;
        }
    }
    let commits = walk.take(COMMITS_MAX + 1).collect::<Result<HashSet<Oid>, _>>().map_err(&failed)?;
    if commits.len() > COMMITS_MAX {
        // not looked through; without large files nothing can be missing
        let tree = library.find_commit(head).map_err(&failed)?.tree_id();
        return Ok(in_tree(library, clone, scratch(), tree)?.is_empty().then(BTreeMap::new));
    }
    let mut found = HashMap::new();
    let mut grounds = HashSet::new();
    for oid in &commits {
        let commit = library.find_commit(*oid).map_err(&failed)?;
        grounds.extend(commit.parent_ids().filter(|parent| !commits.contains(parent)));
        let changed = changed_pointers(library, &commit)?;
        if changed.is_nothing() {
            continue;
        }
        for file in in_tree(library, clone, scratch(), commit.tree_id())? {
            found.insert(file.blob, (file.pointer, New { path: file.path, is_ruled: true }));
        }
        for (blob, pointer, path) in changed.pointers {
            found.entry(blob).or_insert((pointer, New { path, is_ruled: false }));
        }
    }
    if !found.is_empty() {
        for ground in grounds {
            forget_those_of(library, ground, &mut found)?;
        }
    }
    Ok(Some(found.into_values().collect()))
}

/// Paths of the large files whose content a push of one of `heads` would need and the clone has not.
pub(in crate::git) fn without_content(
    library: &Library,
    clone: &Path,
    scratch: impl Fn() -> PathBuf,
    heads: &[Oid],
) -> Result<BTreeSet<Vec<u8>>, GitError> {
    let mut paths = BTreeSet::new();
    for head in heads {
        let commit = library.find_object(*head, None).and_then(|object| object.peel_to_commit());
        let Ok(commit) = commit else { continue };
        let Some(new) = new_for_remote(library, clone, &scratch, commit.id())? else {
            paths.insert(format!("some of the large files before {head}").into_bytes());
            continue;
        };
        // whoever's rules made it one: rather name a text too much than lose work unseen
        for (pointer, New { path, .. }) in new {
            if open_object(clone, &pointer).map_err(GitError::io("look for a large file"))?.is_none() {
                paths.insert(path);
            }
        }
    }
    Ok(paths)
}

/// What the remote has in a commit of its own is its own affair.
fn forget_those_of(
    library: &Library,
    commit: Oid,
    found: &mut HashMap<Oid, (Pointer, New)>,
) -> Result<(), GitError> {
    let failed = GitError::library("list the files of a commit");
    let tree = library.find_commit(commit).and_then(|commit| commit.tree()).map_err(&failed)?;
    tree.walk(TreeWalkMode::PreOrder, |_, entry| {
        found.remove(&entry.id());
        TreeWalkResult::Ok
    })
    .map_err(failed)
}

/// What a commit has that its first parent has not.
#[derive(Default)]
struct Changed {
    /// Blob, what it says, and where it is.
    pointers: Vec<(Oid, Pointer, Vec<u8>)>,
    has_rules: bool,
}

impl Changed {
    fn is_nothing(&self) -> bool {
        self.pointers.is_empty() && !self.has_rules
    }
}

fn changed_pointers(library: &Library, commit: &git2::Commit<'_>) -> Result<Changed, GitError> {
    let failed = GitError::library("compare a commit with its parent");
    let parent = commit.parent(0).and_then(|parent| parent.tree()).ok();
    let tree = commit.tree().map_err(&failed)?;
    let diff = library.diff_tree_to_tree(parent.as_ref(), Some(&tree), None).map_err(&failed)?;
    let odb = library.odb().map_err(&failed)?;
    let mut changed = Changed::default();
    for file in diff.deltas().map(|delta| delta.new_file()).filter(git2::DiffFile::exists) {
        let Some(path) = file.path_bytes() else { continue };
        changed.has_rules |= is_rule_file(path);
        if let Some(pointer) = pointer_at(library, &odb, file.id()) {
            changed.pointers.push((file.id(), pointer, path.to_vec()));
        }
    }
    Ok(changed)
}

/// A commit of nothing but pointers, in a repository that is made for a transfer.
pub(super) fn commit_pointers<'p>(
    library: &Library,
    pointers: impl Iterator<Item = &'p Pointer>,
) -> Result<Oid, GitError> {
    let failed = GitError::library("list what is to be transferred");
    let mut index = Index::new().map_err(&failed)?;
    for pointer in pointers {
        let id = library.blob(pointer.text().as_bytes()).map_err(&failed)?;
        let path = pointer.oid().as_bytes().to_vec();
        index.add(&crate::git::index::bare_entry(path, id, 0o100_644)).map_err(&failed)?;
    }
    let tree = index.write_tree_to(library).and_then(|tree| library.find_tree(tree)).map_err(&failed)?;
    let who = git2::Signature::new("offshoot", "offshoot@localhost", &git2::Time::new(0, 0));
    let who = who.map_err(&failed)?;
    library.commit(Some(super::transfer::WANTED), &who, &who, "wanted", &tree, &[]).map_err(failed)
}
