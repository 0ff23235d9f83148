//! Bringing commits onto where their branch is now, in the object database alone: no worktree, no hook, no program.

use git2::{Commit, Index, Oid, Repository as Library, Sort};

use super::commit_id::CommitId;
use super::error::GitError;
use super::repository::Repository;
use super::stage::shown;
use super::{diff, disk, refs};
use crate::failpoint::{self, Edge};

/// Commits of one piece of work; more are brought over as one. Each costs a merge of trees.
const COMMITS_MAX: usize = 500;

/// What became of commits on their new ground.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// They are on it.
    Onto {
        /// The last of them; the new ground itself where it holds all of them already.
        head: CommitId,
        /// Commits that were made.
        commits: usize,
        /// Files that differ from the new ground.
        files_changed: u64,
        /// Lines added to it.
        insertions: u64,
        /// Lines removed from it.
        deletions: u64,
    },
    /// A file was changed on both sides in a way that only a person or an agent can bring together.
    Conflict {
        /// The first of them, unprintable bytes escaped.
        path: String,
    },
}

impl Repository {
    /// Repeats the commits between `base` and `head` on top of `onto`, with their authors, times and messages. Where there
    /// are merges among them their sum becomes one commit. Repeated it gives the same commits.
    ///
    /// # Errors
    /// [`GitError::CommitMissing`], [`GitError::Tampered`], [`GitError::Library`].
    pub async fn replay(
        &self,
        base: &CommitId,
        head: &CommitId,
        onto: &CommitId,
    ) -> Result<Replayed, GitError> {
        let (base, head, onto) = (base.oid()?, head.oid()?, onto.oid()?);
        let replayed = self.verified(move |clone| {
            let replayed = replay(&refs::open(&clone)?, base, head, onto)?;
            disk::sync_file_system(&clone).map_err(GitError::io("make the commits durable"))?;
            Ok(replayed)
        });
        failpoint::around(Edge::ReplayCommits, replayed).await
    }
}

fn replay(library: &Library, base: Oid, head: Oid, onto: Oid) -> Result<Replayed, GitError> {
    let failed = GitError::library("replay the commits");
    let find = |oid: Oid| library.find_commit(oid).map_err(|_| GitError::CommitMissing(oid.into()));
    let (base, head, ground) = (find(base)?, find(head)?, find(onto)?);
    let mut walk = library.revwalk().map_err(&failed)?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(&failed)?;
    walk.push(head.id()).map_err(&failed)?;
    for known in [base.id(), onto] {
        walk.hide(known).map_err(&failed)?;
    }
    let ids = walk.collect::<Result<Vec<_>, _>>().map_err(&failed)?;
    let commits = ids.into_iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let mut tip = ground;
    let mut made = 0;
    if commits.len() <= COMMITS_MAX && commits.iter().all(|commit| commit.parent_count() == 1) {
        for commit in &commits {
            let index = library.cherrypick_commit(commit, &tip, 0, None).map_err(&failed)?;
            match settle(library, index, commit, &tip)? {
                Step::Made(next) => (tip, made) = (next, made + 1),
                Step::Nothing => {}
                Step::Conflict(path) => return Ok(Replayed::Conflict { path }),
            }
        }
    } else {
        let (from, ours, theirs) = (base.tree(), tip.tree(), head.tree());
        let (from, ours, theirs) = (from.map_err(&failed)?, ours.map_err(&failed)?, theirs.map_err(&failed)?);
        let index = library.merge_trees(&from, &ours, &theirs, None).map_err(&failed)?;
        match settle(library, index, &head, &tip)? {
            Step::Made(next) => (tip, made) = (next, 1),
            Step::Nothing => {}
            Step::Conflict(path) => return Ok(Replayed::Conflict { path }),
        }
    }
    let stat = diff::measure(library, onto, tip.id())?;
    Ok(Replayed::Onto {
        head: tip.id().into(),
        commits: made,
        files_changed: stat.files_changed,
        insertions: stat.insertions,
        deletions: stat.deletions,
    })
}

enum Step<'a> {
    Made(Commit<'a>),
    /// The ground has the change already.
    Nothing,
    Conflict(String),
}

/// The merged index as a commit on `tip` that says what `commit` said.
fn settle<'a>(
    library: &'a Library,
    mut index: Index,
    commit: &Commit<'_>,
    tip: &Commit<'_>,
) -> Result<Step<'a>, GitError> {
    let failed = GitError::library("replay a commit");
    if index.has_conflicts() {
        let mut conflicts = index.conflicts().map_err(&failed)?;
        let first = conflicts.next().transpose().map_err(&failed)?;
        let side = first.and_then(|found| found.our.or(found.their).or(found.ancestor));
        return Ok(Step::Conflict(side.map_or_else(String::new, |side| shown(&side.path))));
    }
    let tree = index.write_tree_to(library).map_err(&failed)?;
    if tree == tip.tree_id() {
        return Ok(Step::Nothing);
    }
    let tree = library.find_tree(tree).map_err(&failed)?;
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let made = library
        .commit(None, &commit.author(), &commit.committer(), &message, &tree, &[tip])
        .map_err(&failed)?;
    Ok(Step::Made(library.find_commit(made).map_err(&failed)?))
}
