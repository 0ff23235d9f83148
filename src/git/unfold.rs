//! How many paths directories are when each is written out where it is named: a few that name each other are more than any machine has
//! room for, and whoever reads a commit whole has them all.

use std::collections::HashMap;

use git2::{ErrorCode, ObjectType, Oid, Repository as Library};

use super::error::GitError;
use super::measured::TREES_MAX;

/// As many as a worktree may have files without a setting; each costs the server some hundred bytes.
const PATHS_MAX: u64 = 1_000_000;
/// Of all paths together.
const BYTES_MAX: u64 = 256 << 20;
/// What is larger is no change of a repository any more.
const GROWS_BY: u64 = 2;

/// Of a directory; more than can be counted is the most that can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unfolded {
    /// Below it, directories too.
    pub(super) paths: u64,
    /// Their names with those of the directories above them, up to here.
    pub(super) bytes: u64,
}

impl Unfolded {
    /// One entry, with the byte that separates it from others.
    pub(super) fn of_name(name: u64) -> Self {
        Self { paths: 1, bytes: name + 1 }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.paths = self.paths.saturating_add(other.paths);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Under a name in the directory above.
    pub(super) fn below(self, name: u64) -> Self {
        let mut all = Self::of_name(name);
        all.add(Self {
            paths: self.paths,
            bytes: self.bytes.saturating_add(self.paths.saturating_mul(name + 1)),
        });
        all
    }

    pub(super) fn is_small(self) -> bool {
        self.paths <= PATHS_MAX && self.bytes <= BYTES_MAX
    }

    /// Of a commit that follows one with this.
    pub(super) fn is_near(self, known: Self) -> bool {
        let near = |mine: u64, known: u64, most: u64| mine <= known.saturating_mul(GROWS_BY).max(most);
        near(self.paths, known.paths, PATHS_MAX) && near(self.bytes, known.bytes, BYTES_MAX)
    }
}

/// Of directories in the clone, each of which is read once; `None`: there are too many. One that is missing has nothing: git finds out.
pub(super) fn sizes(library: &Library, trees: &[Oid]) -> Result<Option<HashMap<Oid, Unfolded>>, GitError> {
    let mut sizes: HashMap<Oid, Unfolded> = HashMap::new();
    let mut pending: Vec<Oid> = trees.to_vec();
    while let Some(tree) = pending.last().copied() {
        if sizes.contains_key(&tree) {
            pending.pop();
            continue;
        }
        let found = match library.find_tree(tree) {
            Ok(found) => found,
            Err(error) if error.code() == ErrorCode::NotFound => {
                sizes.insert(tree, Unfolded::default());
                continue;
            }
            Err(error) => return Err(GitError::library("read a directory of the clone")(error)),
        };
        let (mut sum, before) = (Unfolded::default(), pending.len());
        for entry in &found {
            let name = entry.name_bytes().len() as u64;
            if entry.kind() != Some(ObjectType::Tree) {
                sum.add(Unfolded::of_name(name));
            } else if let Some(size) = sizes.get(&entry.id()) {
                sum.add(size.below(name));
            } else {
                pending.push(entry.id());
            }
        }
        if pending.len() == before {
            sizes.insert(tree, sum);
        }
        if sizes.len() > TREES_MAX || pending.len() > TREES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(sizes))
}
