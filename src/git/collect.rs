//! The result of an agent's work as one commit id.

use std::io;
use std::path::{Path, PathBuf};

use git2::{Delta, Oid, Repository as Library, Signature, Time};

use super::commit_id::CommitId;
use super::copied::Copied;
use super::error::GitError;
use super::give_up::GiveUp;
use super::lfs::{ABSORBED_MAX, Beyond};
use super::measure::SizeCaps;
use super::repository::{Repository, descends};
use super::shadow::{met_bound, refusal};
use super::stage::{Note, StageRules, Staged, shown, stage};
use super::worktree::{Head, Place, mend, read_head};
use super::{diff, disk, index, refs, tamper};
use crate::failpoint::{self, Edge};

/// Who a commit is by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Not empty, without `<`, `>` and line ends.
    pub name: String,
    /// As above.
    pub email: String,
}

/// The commit to make of what was left uncommitted.
#[derive(Clone, Debug)]
pub struct CommitSpec {
    /// The whole message.
    pub message: String,
    /// Author and committer.
    pub author: Author,
    /// Unix time in seconds. The same time makes a repeated call give the same commit.
    pub committed_at: i64,
    /// A larger file fails the call; GitHub refuses more than 100 MiB.
    pub file_bytes_max: u64,
    /// Large files may take minutes.
    pub give_up: GiveUp,
}

/// The result of an agent's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The commit to publish.
    pub head: CommitId,
    /// Whether this call made a commit.
    pub committed: bool,
    /// Whether there is anything besides the base.
    pub changed: bool,
    /// Files that differ between base and head.
    pub files_changed: u64,
    /// Lines added between base and head.
    pub insertions: u64,
    /// Lines removed between base and head.
    pub deletions: u64,
    /// What the result does not contain, or contains in an unusual form.
    pub notes: Vec<Note>,
}

impl Repository {
    /// Commits what is uncommitted in the worktree on top of its HEAD, wherever the agent moved that, and gives the
    /// resulting commit. Repeated after a crash it gives the same commit and makes no second one.
    ///
    /// # Errors
    /// [`GitError::HistoryRewritten`], [`GitError::CopyCommitted`], [`GitError::UnsupportedFilter`], [`GitError::FileTooLarge`],
    /// [`GitError::LfsUnusable`], [`GitError::LargeFilesTooLarge`], [`GitError::LargeFilesTooMany`], [`GitError::GivenUp`], [`GitError::Tampered`], [`GitError::WorktreeBroken`], [`GitError::Library`], [`GitError::Io`].
    pub async fn collect(
        &self,
        worktree: &Path,
        base: &CommitId,
        spec: CommitSpec,
    ) -> Result<Collected, GitError> {
        let place = Place::new(&self.path, worktree)?;
        let base = base.oid()?;
        self.absorb_unless(worktree, &spec.give_up).await?;
        let unique = self.git.unique("mend");
        {
            let _held = self.lock.administer().await;
            let (place, bytes_max) = (place.clone(), self.git.settings().large_bytes_max);
            let settled = self.verified(move |_| {
                settle_registration(&place, &unique)?;
                met_bound(&place)?.map_or(Ok(()), |beyond| Err(too_large(beyond, bytes_max)))
            });
            failpoint::around(Edge::MendWorktree, settled).await?;
        }
        let scratch = self.git.scratch_path();
        let made = {
            let (place, spec) = (place.clone(), spec.clone());
            let large_bytes_max = self.git.settings().large_bytes_max;
            let made = self.blocking(move |_| make(&place, base, &spec, scratch, large_bytes_max));
            failpoint::around(Edge::MakeCommit, made).await?
        };
        if let Some(path) = &made.staged.large
            && let Some(lack) = self.git.lfs_lack().await?
        {
            return Err(GitError::LfsUnusable { path: shown(path), lack });
        }
        let _held = self.lock.administer().await;
        let finished = self.verified(move |_| finish(&place, base, &made, disk::sync_file_system));
        failpoint::around(Edge::FinishCommit, finished).await
    }
}

/// A commit that is in the object database and that nothing points at yet.
struct Made {
    parent: Oid,
    head: Oid,
    at: Head,
    staged: Staged,
}

/// Mends what an agent, or another worktree's agent, did to the registration of a finished worktree.
fn settle_registration(place: &Place, unique: &str) -> Result<(), GitError> {
    if !disk::is_real_dir(&place.path) {
        return Err(GitError::WorktreeBroken("it is missing"));
    }
    let branch = place.recorded_branch().ok_or(GitError::WorktreeBroken("it was not made by this server"))?;
    mend(place, &branch, unique).map_err(GitError::io("mend the worktree"))
}

/// Of what an agent's own git-lfs has stored, for its own commits: without them those would point at nothing.
fn too_large(beyond: Beyond, bytes_max: u64) -> GitError {
    match beyond {
        Beyond::Bytes => {
            let path = "an object that the agent's own git-lfs has stored".to_owned();
            GitError::LargeFilesTooLarge { path, bytes_max }
        }
        Beyond::Files => GitError::LargeFilesTooMany { files_max: ABSORBED_MAX },
    }
}

fn make(
    place: &Place,
    base: Oid,
    spec: &CommitSpec,
    scratch: PathBuf,
    large_bytes_max: u64,
) -> Result<Made, GitError> {
    let library = refs::open(&place.clone)?;
    let at = read_head(place);
    let found = resolve(&library, &at)?;
    let parent = found.unwrap_or(base);
    if !descends(&library, parent, base)? {
        return Err(GitError::HistoryRewritten { head: parent.into(), base: base.into() });
    }
    Copied::recorded(place)?.refuse_committed(&library, base, parent)?;
    let rules = StageRules {
        base,
        file_bytes_max: spec.file_bytes_max,
        // whoever may have a worktree of this size may publish it
        new: SizeCaps { bytes_max: u64::MAX, files_max: u64::MAX },
        large_bytes_max,
        give_up: spec.give_up.clone(),
        strict: true,
    };
    let mut staged = stage(&library, place, scratch, parent, &rules)?;
    if found.is_none() {
        staged.notes.push(Note::new(b"", "its branch was gone: the files were committed on top of the base"));
    }
    if let Some(refused) = refusal(place) {
        staged.notes.push(Note::new(&refused.path, refused.why.told()));
    }
    let parent_tree = library.find_commit(parent).map_err(GitError::library("read a commit"))?.tree_id();
    let head = if parent_tree == staged.tree { parent } else { commit(&library, staged.tree, parent, spec)? };
    Ok(Made { parent, head, at, staged })
}

/// Moves the worktree to the result, so that what it shows is clean, makes the result durable with `sync`, and measures it.
fn finish(
    place: &Place,
    base: Oid,
    made: &Made,
    sync: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<Collected, GitError> {
    let library = refs::open(&place.clone)?;
    if made.head != made.parent {
        index::write_after_commit(place, &made.staged.entries)?;
    }
    advance(&library, place, &made.at, made.head)?;
    // Whoever is told of the commit records it durably, and an agent's own git writes its commits unsynced.
    if made.head != base {
        sync(&place.clone).map_err(GitError::io("make the commit durable"))?;
    }
    let stat = diff::measure(&library, base, made.head)?;
    let mut notes = made.staged.notes.clone();
    notes.extend(stat.new_gitlinks.iter().map(|path| Note::new(path, "a submodule was added or moved")));
    Ok(Collected {
        head: made.head.into(),
        committed: made.head != made.parent,
        changed: made.head != base,
        files_changed: stat.files_changed,
        insertions: stat.insertions,
        deletions: stat.deletions,
        notes,
    })
}

pub(super) fn resolve(library: &Library, at: &Head) -> Result<Option<Oid>, GitError> {
    let oid = match at {
        Head::Branch(name) => refs::find(library, name)?,
        Head::Detached(oid) => Some(*oid),
        Head::Unreadable => None,
    };
    Ok(oid.filter(|oid| library.find_commit(*oid).is_ok()))
}

/// Only the worktree's own branch is moved: HEAD may name any other ref of the clone, and those belong to others.
fn advance(library: &Library, place: &Place, at: &Head, head: Oid) -> Result<(), GitError> {
    if resolve(library, at)? == Some(head) {
        return Ok(());
    }
    match at {
        Head::Branch(name) if place.recorded_branch().as_ref() == Some(name) => {
            refs::set(library, name, head)
        }
        _ => disk::replace_file(&place.admin.join("HEAD"), format!("{head}\n").as_bytes())
            .map_err(GitError::io("move the worktree's HEAD")),
    }
}

fn commit(library: &Library, tree: Oid, parent: Oid, spec: &CommitSpec) -> Result<Oid, GitError> {
    let failed = GitError::library("make the commit");
    let time = Time::new(spec.committed_at, 0);
    let author = Signature::new(&spec.author.name, &spec.author.email, &time).map_err(&failed)?;
    let tree = library.find_tree(tree).map_err(&failed)?;
    let parent = library.find_commit(parent).map_err(&failed)?;
    let mut message = spec.message.clone();
    if !message.ends_with('\n') {
        message.push('\n');
    }
    library.commit(None, &author, &author, &message, &tree, &[&parent]).map_err(&failed)
}

/// As [`commit`], for callers of this folder that have verified the clone.
pub(super) fn commit_tree(place: &Place, tree: Oid, parent: Oid, spec: &CommitSpec) -> Result<Oid, GitError> {
    tamper::verify(&place.clone)?;
    commit(&refs::open(&place.clone)?, tree, parent, spec)
}

/// Whether a change brings in a pointer to a commit of another repository.
pub(super) fn is_new_gitlink(delta: &git2::DiffDelta<'_>) -> bool {
    delta.status() != Delta::Deleted && delta.new_file().mode() == git2::FileMode::Commit
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clone with two commits, and the place of a worktree on the second.
    fn clone(dir: &Path) -> (Place, Oid, Oid) {
        let library = Library::init_bare(dir).unwrap();
        let tree = library.treebuilder(None).unwrap().write().unwrap();
        let tree = library.find_tree(tree).unwrap();
        let by = Signature::new("Agent", "agent@localhost", &Time::new(0, 0)).unwrap();
        let base = library.commit(None, &by, &by, "base", &tree, &[]).unwrap();
        let parent = library.find_commit(base).unwrap();
        let head = library.commit(None, &by, &by, "the agent's own", &tree, &[&parent]).unwrap();
        (Place::new(dir, &dir.join("job")).unwrap(), base, head)
    }

    fn found(library: &Library, head: Oid) -> Made {
        let tree = library.find_commit(head).unwrap().tree_id();
        let staged = Staged { tree, entries: Vec::new(), notes: Vec::new(), large: None };
        Made { parent: head, head, at: Head::Detached(head), staged }
    }

    #[test]
    fn commits_of_the_agents_own_git_are_durable_before_anybody_is_told_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let (place, base, head) = clone(dir.path());
        let library = Library::open_bare(dir.path()).unwrap();
        let syncs = Cell::new(0);
        let count = |synced: &Path| {
            assert_eq!(synced, dir.path());
            syncs.set(syncs.get() + 1);
            Ok(())
        };
        let collected = finish(&place, base, &found(&library, head), count).unwrap();
        assert_eq!((collected.committed, collected.changed, syncs.get()), (false, true, 1));
        let unchanged = finish(&place, base, &found(&library, base), count).unwrap();
        assert_eq!((unchanged.changed, syncs.get()), (false, 1), "nothing is recorded");
        let failed = finish(&place, base, &found(&library, head), |_| Err(io::ErrorKind::StorageFull.into()));
        assert!(matches!(failed, Err(GitError::Io { .. })), "{failed:?}");
    }
}
