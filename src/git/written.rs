//! What the commits of a result bring along: each file of each of them that no parent has as it is. A push takes the whole
//! history, so what one commit adds and the next takes out again is in it.

use std::borrow::Cow;
use std::io::Read as _;
use std::ops::ControlFlow;

use git2::{Commit, Delta, DiffOptions, ObjectType, Oid, Repository as Library, Sort};

use super::commit_id::CommitId;
use super::error::GitError;
use super::lfs::{Pointer, open_object};
use super::refs;
use super::repository::Repository;
use super::stage::shown;

/// Files of a commit among which renamed ones are looked for, as git's own limit is; beyond it a renamed file is a new one.
const RENAMES_MAX: usize = 1_000;

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct WrittenBounds {
    pub commits_max: usize,
    /// Of all versions of all files together.
    pub bytes_max: u64,
    /// Larger files are passed over, and named.
    pub file_bytes_max: u64,
    /// Longer messages, with all else that a commit says of itself, are named too, and not looked at.
    pub words_bytes_max: u64,
}

/// A file that a commit writes, or the message of the commit.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    pub commit: &'a CommitId,
    /// Empty for the message, with the names of author and committer before it.
    pub path: &'a [u8],
    pub now: &'a [u8],
    /// The file as the parents have it, under its old name if it was renamed.
    pub before: &'a [&'a [u8]],
}

/// What a look at all of it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked<T> {
    pub found: Vec<T>,
    /// Paths of files of git-lfs that were passed over for their size; unprintable bytes escaped. At most 20.
    pub passed_over: Vec<String>,
    /// The same of files and commits in the history itself, where no remote that has bounds takes them.
    pub too_large: Vec<String>,
    /// False: there was more than the bounds allow, and the rest was not looked at.
    pub is_whole: bool,
}

/// Paths that are told by name.
const PASSED_OVER_MAX: usize = 20;

impl Repository {
    /// Shows `look` every file that a commit of `head` writes which neither `base` nor one of `published` has, the oldest commit
    /// first, until `look` says that nobody waits for the answer any more. Commits of `published` that are not in the clone are
    /// passed over.
    ///
    /// # Errors
    /// [`GitError::CommitMissing`], [`GitError::Tampered`], [`GitError::Library`], [`GitError::GivenUp`].
    pub async fn look_at_written<T: Send + 'static>(
        &self,
        base: &CommitId,
        head: &CommitId,
        published: &[CommitId],
        bounds: WrittenBounds,
        look: impl FnMut(&Written<'_>) -> ControlFlow<(), Vec<T>> + Send + 'static,
    ) -> Result<Looked<T>, GitError> {
        let published = published.iter().map(CommitId::oid).collect::<Result<Vec<_>, _>>()?;
        let (base, head) = (base.oid()?, head.oid()?);
        self.verified(move |clone| {
            let library = refs::open(&clone)?;
            let commits = commits(&library, base, head, &published)?;
            let looked =
                Looked { found: Vec::new(), passed_over: Vec::new(), too_large: Vec::new(), is_whole: true };
            let mut walk = Walk { library: &library, bounds, bytes: 0, look, looked };
            for (at, oid) in commits.into_iter().enumerate() {
                if at == bounds.commits_max || !walk.looked.is_whole {
                    walk.looked.is_whole = false;
                    break;
                }
                walk.commit(oid)?;
            }
            Ok(walk.looked)
        })
        .await
    }

    /// Whether one of the commits between `base` and `head` joins histories: then others' commits may be among them.
    ///
    /// # Errors
    /// As of [`Self::look_at_written`].
    pub async fn has_merges(&self, base: &CommitId, head: &CommitId) -> Result<bool, GitError> {
        let (base, head) = (base.oid()?, head.oid()?);
        self.verified(move |clone| {
            let library = refs::open(&clone)?;
            let mut commits = commits(&library, base, head, &[])?.into_iter();
            Ok(commits.any(|oid| library.find_commit(oid).is_ok_and(|commit| commit.parent_count() > 1)))
        })
        .await
    }
}

fn commits(library: &Library, base: Oid, head: Oid, hidden: &[Oid]) -> Result<Vec<Oid>, GitError> {
    let failed = GitError::library("list the commits of the result");
    for oid in [base, head] {
        library.find_commit(oid).map_err(|_| GitError::CommitMissing(oid.into()))?;
    }
    let mut walk = library.revwalk().map_err(&failed)?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(&failed)?;
    walk.push(head).and_then(|()| walk.hide(base)).map_err(&failed)?;
    for oid in hidden.iter().filter(|oid| library.find_commit(**oid).is_ok()) {
        walk.hide(*oid).map_err(&failed)?;
    }
    walk.collect::<Result<_, _>>().map_err(failed)
}

struct Walk<'l, T, L> {
    library: &'l Library,
    bounds: WrittenBounds,
    bytes: u64,
    look: L,
    looked: Looked<T>,
}

impl<T, L: FnMut(&Written<'_>) -> ControlFlow<(), Vec<T>>> Walk<'_, T, L> {
    fn commit(&mut self, oid: Oid) -> Result<(), GitError> {
        let failed = GitError::library("read a commit of the result");
        let (bytes, _) = self.library.odb().and_then(|odb| odb.read_header(oid)).map_err(&failed)?;
        let id = CommitId::from(oid);
        let commit = self.library.find_commit(oid).map_err(&failed)?;
        if bytes as u64 > self.bounds.words_bytes_max {
            name(&mut self.looked.too_large, format!("the message of commit {}", &id.as_str()[..12]));
        } else {
            let message = words(&commit);
            self.show(&Written { commit: &id, path: b"", now: &message, before: &[] })?;
        }
        let trees =
            commit.parents().map(|parent| parent.tree()).collect::<Result<Vec<_>, _>>().map_err(&failed)?;
        let tree = commit.tree().map_err(&failed)?;
        let mut options = DiffOptions::new();
        options.include_typechange(true);
        let diff = self.library.diff_tree_to_tree(trees.first(), Some(&tree), Some(&mut options));
        let mut diff = diff.map_err(&failed)?;
        if diff.deltas().len() <= RENAMES_MAX {
            diff.find_similar(None).map_err(&failed)?;
        }
        for delta in diff.deltas().filter(|delta| delta.status() != Delta::Deleted) {
            let (new, old) = (delta.new_file(), delta.old_file());
            let Some(path) = new.path_bytes() else { continue };
            let others = trees.iter().skip(1).map(|tree| {
                let entry = tree.get_path(super::stage::as_path(path)).ok()?;
                (entry.kind() == Some(ObjectType::Blob)).then(|| entry.id())
            });
            let mut parents: Vec<Option<Oid>> = others.collect();
            parents.push(old.exists().then(|| old.id()));
            if parents.contains(&Some(new.id())) {
                continue;
            }
            self.file(&id, path, new.id(), &parents)?;
        }
        Ok(())
    }

    /// A file of a commit that differs from that of all parents.
    fn file(
        &mut self,
        commit: &CommitId,
        path: &[u8],
        now: Oid,
        parents: &[Option<Oid>],
    ) -> Result<(), GitError> {
        let failed = GitError::library("read a file of the result");
        let odb = self.library.odb().map_err(&failed)?;
        let size = |oid: Oid| odb.read_header(oid).map(|(bytes, kind)| (bytes as u64, kind));
        // what is a commit of another repository is not in this one
        let Ok((bytes, ObjectType::Blob)) = size(now) else { return Ok(()) };
        if bytes > self.bounds.file_bytes_max {
            name(&mut self.looked.too_large, shown(path));
            return Ok(());
        }
        self.bytes += bytes;
        if self.bytes > self.bounds.bytes_max {
            self.looked.is_whole = false;
            return Ok(());
        }
        let fits = |oid: &Oid| matches!(size(*oid), Ok((bytes, ObjectType::Blob)) if bytes <= self.bounds.file_bytes_max);
        let before = parents.iter().flatten().filter(|oid| fits(oid));
        let before = before.filter_map(|oid| self.library.find_blob(*oid).ok()).collect::<Vec<_>>();
        let blob = self.library.find_blob(now).map_err(&failed)?;
        let now = match self.behind(blob.content())? {
            Behind::Nothing => Cow::Borrowed(blob.content()),
            Behind::Content(content) => Cow::Owned(content),
            Behind::TooLarge => {
                name(&mut self.looked.passed_over, shown(path));
                return Ok(());
            }
            Behind::TooMuch => {
                self.looked.is_whole = false;
                return Ok(());
            }
        };
        let mut contents = Vec::new();
        for blob in &before {
            contents.push(match self.behind(blob.content())? {
                Behind::Content(content) => Cow::Owned(content),
                // without it more counts as new than is
                Behind::Nothing | Behind::TooLarge | Behind::TooMuch => Cow::Borrowed(blob.content()),
            });
        }
        let before: Vec<&[u8]> = contents.iter().map(|content| &**content).collect();
        self.show(&Written { commit, path, now: &now, before: &before })
    }

    /// What a pointer of git-lfs stands for: it is pushed with it.
    fn behind(&mut self, text: &[u8]) -> Result<Behind, GitError> {
        let Some(pointer) = Pointer::parse(text) else { return Ok(Behind::Nothing) };
        if pointer.size() > self.bounds.file_bytes_max {
            return Ok(Behind::TooLarge);
        }
        if self.bytes.saturating_add(pointer.size()) > self.bounds.bytes_max {
            return Ok(Behind::TooMuch);
        }
        let failed = GitError::io("read a large file of the result");
        let Some(mut object) = open_object(self.library.path(), &pointer).map_err(&failed)? else {
            return Ok(Behind::Nothing);
        };
        self.bytes += pointer.size();
        let mut content = Vec::new();
        object.by_ref().take(pointer.size()).read_to_end(&mut content).map_err(failed)?;
        Ok(Behind::Content(content))
    }

    fn show(&mut self, written: &Written<'_>) -> Result<(), GitError> {
        match (self.look)(written) {
            ControlFlow::Continue(found) => self.looked.found.extend(found),
            ControlFlow::Break(()) => return Err(GitError::GivenUp),
        }
        Ok(())
    }
}

fn name(list: &mut Vec<String>, one: String) {
    if list.len() < PASSED_OVER_MAX {
        list.push(one);
    }
}

/// What a file of a commit stands for.
enum Behind {
    Nothing,
    Content(Vec<u8>),
    /// For one file.
    TooLarge,
    /// For all of them together.
    TooMuch,
}

/// All of a commit that somebody wrote, files apart.
fn words(commit: &Commit<'_>) -> Vec<u8> {
    let (author, committer) = (commit.author(), commit.committer());
    let names = [author.name_bytes(), author.email_bytes(), committer.name_bytes(), committer.email_bytes()];
    [&names.join(&b'\n')[..], commit.message_raw_bytes()].join(&b'\n')
}
