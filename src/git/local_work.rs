//! What agents have made in a clone beside the work of their jobs: other branches, tags, stashed files. Nothing takes it away
//! while the clone is there (what is made in a sandbox is made in a shadow, and goes with that); whoever takes the clone away asks for it here.

use std::collections::HashSet;
use std::path::Path;

use git2::{ObjectType, Oid, Repository as Library};

use super::commit_id::CommitId;
use super::disk;
use super::error::GitError;
use super::fetch::REMOTE_REFS;
use super::repository::Repository;
use super::snapshot::{KEPT_REFS, Snapshot};
use super::worktree::{Head, head_in};
use super::{ref_files, refs};

const STASH: &str = "refs/stash";

impl Repository {
    /// The refs of the clone, but for the remote's and those below `refs/offshoot/`, that have commits which neither the remote's
    /// branches lead to nor those of `known`. Commits that no ref names, of older stashes and of worktrees, are given the
    /// name below `refs/offshoot/` under which [`Repository::keep`] may keep them.
    ///
    /// # Errors
    /// [`GitError::Tampered`], [`GitError::Library`].
    pub async fn find_local_work(&self, known: Vec<CommitId>) -> Result<Vec<Snapshot>, GitError> {
        self.verified(move |clone| {
            let library = refs::open(&clone)?;
            // what cannot be read has no commit to save
            let (named, _) = ref_files::read(&clone, "refs", &[REMOTE_REFS, KEPT_REFS.trim_end_matches('/')]);
            let mut found: Vec<_> = named.into_iter().collect();
            found.extend(stashed(&clone, &library));
            found.extend(detached(&clone));
            // of what is not there nothing can be saved
            found.retain(|(_, oid)| library.find_object(*oid, None).is_ok());
            let tips: Vec<_> = found.iter().filter_map(|(_, oid)| commit_of(&library, *oid)).collect();
            // where that cannot be told, all of it counts
            let fresh = beyond(&library, &tips, &known).ok();
            let is_fresh = |oid: Oid| fresh.as_ref().is_none_or(|fresh| fresh.contains(&oid));
            let mut work = Vec::new();
            for (name, oid) in found {
                let commit = commit_of(&library, oid);
                if commit.is_none_or(is_fresh) {
                    let taken_at = commit.and_then(|commit| library.find_commit(commit).ok());
                    let taken_at = taken_at.map_or(0, |commit| commit.time().seconds());
                    work.push(Snapshot { name, commit: oid.into(), taken_at, notes: Vec::new() });
                }
            }
            work.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Ok(work)
        })
        .await
    }
}

/// Stashes but the newest, which has the ref: the log of that ref has them.
pub(super) fn stashed(clone: &Path, library: &Library) -> Vec<(String, Oid)> {
    let is_file = |name: &str| clone.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file());
    let is_plain = disk::is_real_dir(&clone.join("logs")) && disk::is_real_dir(&clone.join("logs/refs"));
    if !(is_plain && is_file("logs/refs/stash")) {
        return Vec::new();
    }
    let Ok(log) = library.reflog(STASH) else { return Vec::new() };
    // the newest is the first
    log.iter().skip(1).map(|entry| (nameless("stash", entry.id_new()), entry.id_new())).collect()
}

/// Where worktrees are that are on no branch.
fn detached(clone: &Path) -> Vec<(String, Oid)> {
    let dir = clone.join("worktrees");
    if !disk::is_real_dir(&dir) {
        return Vec::new();
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let head = |entry: std::fs::DirEntry| match head_in(&entry.path()) {
        Head::Detached(oid) => Some((nameless(entry.file_name().to_str()?, oid), oid)),
        Head::Branch(_) | Head::Unreadable => None,
    };
    entries.filter_map(head).filter(|(name, _)| refs::is_safe_name(name)).collect()
}

fn nameless(whose: &str, oid: Oid) -> String {
    format!("{KEPT_REFS}{whose}/{oid}")
}

fn commit_of(library: &Library, oid: Oid) -> Option<Oid> {
    let object = library.find_object(oid, None).ok()?;
    object.peel(ObjectType::Commit).ok().map(|commit| commit.id())
}

/// The commits that lead to `tips` and neither to a branch of the remote nor to one of `known`.
fn beyond(library: &Library, tips: &[Oid], known: &[CommitId]) -> Result<HashSet<Oid>, git2::Error> {
    let mut walk = library.revwalk()?;
    for tip in tips {
        walk.push(*tip)?;
    }
    walk.hide_glob(&format!("{REMOTE_REFS}/*"))?;
    for commit in known.iter().filter_map(|commit| commit.oid().ok()) {
        if library.find_commit(commit).is_ok() {
            walk.hide(commit)?;
        }
    }
    walk.collect()
}
