//! Keeping a worktree's files as a commit that nothing else points at.

use std::io;
use std::path::Path;

use git2::Oid;

use super::collect::{Author, CommitSpec, commit_tree, resolve};
use super::commit_id::CommitId;
use super::copied::{Copied, carried};
use super::disk;
use super::error::GitError;
use super::give_up::GiveUp;
use super::measure::SizeCaps;
use super::refs;
use super::repository::Repository;
use super::shadow::met_bound;
use super::stage::{Note, StageRules, stage};
use super::worktree::{Place, read_head};
use crate::failpoint::{self, Edge};

/// Below which everything is that the server keeps, snapshots above all: no remote branch, no tag, never pushed.
pub const KEPT_REFS: &str = "refs/offshoot/";

/// How to take a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotSpec {
    /// The ref, below `refs/offshoot/`.
    pub name: String,
    /// Unix time in seconds.
    pub taken_at: i64,
    /// Larger files are left out with a note.
    pub file_bytes_max: u64,
    /// How much is kept beyond what the commit has; what comes later is left out with a note.
    pub new: SizeCaps,
}

/// A snapshot that is in the clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The ref.
    pub name: String,
    /// A commit whose tree is the worktree, and whose parent is where its HEAD was.
    pub commit: CommitId,
    /// Unix time in seconds.
    pub taken_at: i64,
    /// What was left out; empty for a snapshot that was found.
    pub notes: Vec<Note>,
}

const LARGE_FILES_LEFT: &str = "its own git-lfs has stored more large files, or more bytes of them, than are kept: its commits are kept without some of them";

/// Snapshots of one moment of one attempt: one more for each server that died over it, which ends an attempt after three.
const SAME_NAME_MAX: usize = 100;

impl Repository {
    /// Commits the worktree's files, without ignored and copied ones, under a ref of their own; a number is added to its name
    /// where that has other files already. Copied ones in the history since `base` are told in its message, for whoever goes
    /// on with it. Neither the worktree nor its branch changes. Where HEAD cannot be read, `base` is the parent. What cannot be taken is noted.
    ///
    /// # Errors
    /// [`GitError::Tampered`] (see [`Repository::repair`]), [`GitError::WorktreeBroken`], [`GitError::Library`].
    pub async fn snapshot(
        &self,
        worktree: &Path,
        base: &CommitId,
        spec: SnapshotSpec,
    ) -> Result<Snapshot, GitError> {
        check_name(&spec.name)?;
        let place = Place::new(&self.path, worktree)?;
        let base = base.oid()?;
        self.absorb(worktree).await?;
        let (scratch, large_bytes_max) = (self.git.scratch_path(), self.git.settings().large_bytes_max);
        let (name, taken_at) = (spec.name.clone(), spec.taken_at);
        let (commit, notes) = self
            .verified(move |_| {
                let library = refs::open(&place.clone)?;
                let parent = resolve(&library, &read_head(&place))?.unwrap_or(base);
                let rules = StageRules {
                    base,
                    file_bytes_max: spec.file_bytes_max,
                    new: spec.new,
                    large_bytes_max,
                    // whoever gives up wants it kept
                    give_up: GiveUp::default(),
                    strict: false,
                };
                let mut staged = stage(&library, &place, scratch, parent, &rules)?;
                if met_bound(&place)?.is_some() {
                    staged.notes.push(Note::new(b"", LARGE_FILES_LEFT));
                }
                let copied = Copied::recorded(&place)?.committed(&library, base, parent)?;
                let mut commit = commit_spec(&spec);
                commit.message.push_str(&carried(&library, base, &copied)?);
                let commit = failpoint::at(Edge::CommitSnapshot, || {
                    commit_tree(&place, staged.tree, parent, &commit)
                })?;
                Ok((commit, staged.notes))
            })
            .await?;
        let _held = self.lock.administer().await;
        let name = self
            .verified(move |clone| {
                let name = name_for(&refs::open(&clone)?, &name, commit)?;
                point(&clone, &name, commit, Edge::SetSnapshot, disk::sync_file_system)?;
                Ok(name)
            })
            .await?;
        Ok(Snapshot { name, commit: commit.into(), taken_at, notes })
    }

    /// Where the worktree's HEAD is; `None` where its registration does not say it, or names what is not there.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::InvalidArgument`], [`GitError::Library`].
    pub async fn worktree_head(&self, worktree: &Path) -> Result<Option<CommitId>, GitError> {
        self.absorb(worktree).await?;
        let place = Place::new(&self.path, worktree)?;
        let head = self.verified(move |_| resolve(&refs::open(&place.clone)?, &read_head(&place))).await?;
        Ok(head.map(CommitId::from))
    }

    /// Keeps `commit` and all before it under `name` (below `refs/offshoot/`), whatever becomes of its branch.
    ///
    /// # Errors
    /// [`GitError::InvalidArgument`], [`GitError::Tampered`], [`GitError::Library`].
    pub async fn keep(&self, name: &str, commit: &CommitId) -> Result<(), GitError> {
        check_name(name)?;
        let (name, commit) = (name.to_owned(), commit.oid()?);
        let _held = self.lock.administer().await;
        self.verified(move |clone| point_at_kept(&clone, &name, commit)).await
    }

    /// The snapshots whose ref begins with `prefix` (below `refs/offshoot/`), in the order of their names.
    ///
    /// # Errors
    /// [`GitError::InvalidArgument`], [`GitError::Tampered`], [`GitError::Library`].
    pub async fn find_snapshots(&self, prefix: &str) -> Result<Vec<Snapshot>, GitError> {
        if !prefix.starts_with(KEPT_REFS) || prefix.contains(['*', '?', '[', '\\']) {
            return Err(GitError::InvalidArgument("a snapshot's ref is below refs/offshoot/"));
        }
        let glob = format!("{prefix}*");
        self.verified(move |clone| {
            let failed = GitError::library("list the snapshots");
            let library = refs::open(&clone)?;
            let mut found = Vec::new();
            for reference in library.references_glob(&glob).map_err(&failed)? {
                let reference = reference.map_err(&failed)?;
                if let (Ok(name), Some(oid)) = (reference.name(), reference.target()) {
                    // one whose commit is damaged is listed all the same: it is there, and it is old
                    let taken_at = library.find_commit(oid).map_or(0, |commit| commit.time().seconds());
                    let name = name.to_owned();
                    found.push(Snapshot { name, commit: oid.into(), taken_at, notes: Vec::new() });
                }
            }
            found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
        .await
    }
}

pub(super) fn check_name(name: &str) -> Result<(), GitError> {
    if name.starts_with(KEPT_REFS) && refs::is_safe_name(name) {
        return Ok(());
    }
    Err(GitError::InvalidArgument("the ref of what is kept is below refs/offshoot/"))
}

/// The first of `name`, `name-2`, `name-3` … that is free, or has the same files on the same history. A preparation that was
/// cut off is made again under the same name, with a worktree that is fresh by then.
pub(super) fn name_for(library: &git2::Repository, name: &str, commit: Oid) -> Result<String, GitError> {
    let failed = GitError::library("compare snapshots");
    let new = library.find_commit(commit).map_err(&failed)?;
    let is_same = |old: Oid| {
        // one that cannot be read is not written over either
        library
            .find_commit(old)
            .is_ok_and(|old| old.tree_id() == new.tree_id() && old.parent_ids().eq(new.parent_ids()))
    };
    for number in 1..=SAME_NAME_MAX {
        let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
        if refs::find(library, &name)?.is_none_or(is_same) {
            return Ok(name);
        }
    }
    Err(GitError::InvalidArgument("too many snapshots of one name"))
}

/// Points the ref at the commit. What is left of a power cut is no ref to a commit that is not there.
fn point(
    clone: &Path,
    name: &str,
    commit: Oid,
    edge: Edge,
    sync: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), GitError> {
    let library = refs::open(clone)?;
    let durable = || sync(clone).map_err(GitError::io("make the snapshot durable"));
    durable()?;
    failpoint::at(edge, || refs::set(&library, name, commit))?;
    // Worktree and branch may be removed on the strength of this ref.
    durable()
}

pub(super) fn point_at_kept(clone: &Path, name: &str, commit: Oid) -> Result<(), GitError> {
    point(clone, name, commit, Edge::KeepHead, disk::sync_file_system)
}

fn commit_spec(spec: &SnapshotSpec) -> CommitSpec {
    CommitSpec {
        message: format!("Snapshot {}", spec.name.trim_start_matches(KEPT_REFS)),
        author: Author { name: String::from("offshoot"), email: String::from("offshoot@localhost") },
        committed_at: spec.taken_at,
        file_bytes_max: spec.file_bytes_max,
        give_up: GiveUp::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_snapshot_is_durable_before_its_ref_and_again_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let library = git2::Repository::init_bare(dir.path()).unwrap();
        let tree = library.treebuilder(None).unwrap().write().unwrap();
        let tree = library.find_tree(tree).unwrap();
        let by = git2::Signature::new("offshoot", "o@localhost", &git2::Time::new(0, 0)).unwrap();
        let commit = library.commit(None, &by, &by, "Snapshot", &tree, &[]).unwrap();
        let name = "refs/offshoot/job/1-end";
        let seen = RefCell::new(Vec::new());
        let sync = |clone: &Path| {
            seen.borrow_mut().push(clone.join(name).exists());
            Ok(())
        };
        point(dir.path(), name, commit, Edge::SetSnapshot, sync).unwrap();
        assert_eq!(*seen.borrow(), [false, true], "whether the ref was there at each sync");
        let other = "refs/offshoot/job/2-end";
        let full = |_: &Path| Err(io::ErrorKind::StorageFull.into());
        assert!(point(dir.path(), other, commit, Edge::SetSnapshot, full).is_err());
        assert!(!dir.path().join(other).exists());
    }
}
