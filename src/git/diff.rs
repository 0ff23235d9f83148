//! Differences between two commits, from the object database alone.

use git2::{Delta, DiffFormat, DiffOptions, Oid, Repository as Library};

use super::collect::is_new_gitlink;
use super::commit_id::CommitId;
use super::error::GitError;
use super::refs;
use super::repository::Repository;
use super::stage::shown;

/// Larger blobs are compared as a whole: a diff of their lines would take minutes and help nobody.
const BLOB_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// What to show.
#[derive(Clone, Debug)]
pub struct DiffRequest {
    /// Paths or directories to which the diff is limited, taken literally; empty for all.
    pub paths: Vec<String>,
    /// Unchanged lines around a change.
    pub context_lines: u32,
    /// At most so many bytes of patch; 0 for the list of files alone.
    pub patch_bytes_max: usize,
    /// At most so many files in the list.
    pub files_max: usize,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The changed files, in the order of their paths.
    pub files: Vec<ChangedFile>,
    /// How many there are, listed or not.
    pub files_changed: u64,
    /// Lines added.
    pub insertions: u64,
    /// Lines removed.
    pub deletions: u64,
    /// The patch in git's format, cut at a line's end.
    pub patch: Vec<u8>,
    /// Whether files or patch are incomplete.
    pub is_truncated: bool,
    /// Whether the patch is.
    pub is_patch_cut: bool,
}

/// One file of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFile {
    /// The path; unprintable bytes escaped.
    pub path: String,
    /// Where it was, if it was renamed.
    pub old_path: Option<String>,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Whether it has no lines to show.
    pub is_binary: bool,
    /// Lines added.
    pub insertions: u64,
    /// Lines removed.
    pub deletions: u64,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// New.
    Added,
    /// Gone.
    Deleted,
    /// Other content or another mode.
    Modified,
    /// At another path, with the same or similar content.
    Renamed,
    /// A link became a file, or the like.
    TypeChanged,
}

impl Repository {
    /// What lies between two commits of the clone, within the bounds of the request.
    ///
    /// # Errors
    /// [`GitError::CommitMissing`], [`GitError::Tampered`], [`GitError::Library`].
    pub async fn diff(
        &self,
        base: &CommitId,
        head: &CommitId,
        request: DiffRequest,
    ) -> Result<Diff, GitError> {
        let (base, head) = (base.oid()?, head.oid()?);
        self.verified(move |clone| build(&refs::open(&clone)?, base, head, &request)).await
    }
}

impl Repository {
    /// The paths that differ between two commits, as far as `sort` knows them; unprintable bytes escaped. Of what was renamed both.
    ///
    /// # Errors
    /// As of [`Self::diff`].
    pub async fn changed_paths<T: Send + 'static>(
        &self,
        base: &CommitId,
        head: &CommitId,
        sort: fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<(T, String)>, GitError> {
        let (base, head) = (base.oid()?, head.oid()?);
        self.verified(move |clone| {
            let library = refs::open(&clone)?;
            let diff = raw(&library, base, head, &mut DiffOptions::new())?;
            // without looking for renames each file stands for itself, and what is gone is named as if it were new
            let paths = diff.deltas().filter_map(|delta| delta.new_file().path_bytes().map(<[u8]>::to_vec));
            let found = paths.filter_map(|path| sort(&path).map(|sort| (sort, shown(&path)))).collect();
            Ok(found)
        })
        .await
    }
}

/// Size of a difference.
#[derive(Debug, Default)]
pub(super) struct Measure {
    pub(super) files_changed: u64,
    pub(super) insertions: u64,
    pub(super) deletions: u64,
    pub(super) new_gitlinks: Vec<Vec<u8>>,
}

pub(super) fn measure(library: &Library, base: Oid, head: Oid) -> Result<Measure, GitError> {
    let failed = GitError::library("measure the result");
    let diff = compare(library, base, head, &mut DiffOptions::new())?;
    let stats = diff.stats().map_err(&failed)?;
    let gitlinks = diff.deltas().filter(is_new_gitlink);
    Ok(Measure {
        files_changed: count(stats.files_changed()),
        insertions: count(stats.insertions()),
        deletions: count(stats.deletions()),
        new_gitlinks: gitlinks
            .filter_map(|delta| delta.new_file().path_bytes().map(<[u8]>::to_vec))
            .collect(),
    })
}

pub(super) fn compare<'a>(
    library: &'a Library,
    base: Oid,
    head: Oid,
    options: &mut DiffOptions,
) -> Result<git2::Diff<'a>, GitError> {
    let mut diff = raw(library, base, head, options)?;
    diff.find_similar(None).map_err(GitError::library("compare two commits"))?;
    Ok(diff)
}

/// Without looking for renames.
fn raw<'a>(
    library: &'a Library,
    base: Oid,
    head: Oid,
    options: &mut DiffOptions,
) -> Result<git2::Diff<'a>, GitError> {
    let tree = |oid: Oid| {
        let commit = library.find_commit(oid).map_err(|_| GitError::CommitMissing(oid.into()))?;
        commit.tree().map_err(GitError::library("read a tree"))
    };
    let (base, head) = (tree(base)?, tree(head)?);
    options.max_size(BLOB_BYTES_MAX).include_typechange(true).ignore_submodules(false);
    let diff = library.diff_tree_to_tree(Some(&base), Some(&head), Some(options));
    diff.map_err(GitError::library("compare two commits"))
}

fn build(library: &Library, base: Oid, head: Oid, request: &DiffRequest) -> Result<Diff, GitError> {
    let failed = GitError::library("compare two commits");
    let mut options = DiffOptions::new();
    options.context_lines(request.context_lines).disable_pathspec_match(true);
    for path in &request.paths {
        options.pathspec(path);
    }
    let diff = compare(library, base, head, &mut options)?;
    let stats = diff.stats().map_err(&failed)?;
    let mut files = Vec::new();
    for at in 0..diff.deltas().len().min(request.files_max) {
        files.extend(changed_file(&diff, at)?.map(|(file, _)| file));
    }
    let mut is_patch_cut = false;
    let mut patch = Vec::new();
    if request.patch_bytes_max > 0 {
        let printed = diff.print(DiffFormat::Patch, |_, _, line| {
            let origin = line.origin();
            let sign = matches!(origin, '+' | '-' | ' ');
            if patch.len() + line.content().len() + usize::from(sign) > request.patch_bytes_max {
                is_patch_cut = true;
                return false;
            }
            if sign {
                patch.extend(u8::try_from(origin));
            }
            patch.extend_from_slice(line.content());
            true
        });
        if !is_patch_cut {
            printed.map_err(&failed)?;
        }
    }
    let (insertions, deletions) = (count(stats.insertions()), count(stats.deletions()));
    Ok(Diff {
        is_truncated: is_patch_cut || stats.files_changed() > files.len(),
        is_patch_cut,
        files,
        files_changed: count(stats.files_changed()),
        insertions,
        deletions,
        patch,
    })
}

pub(super) fn changed_file<'d>(
    diff: &'d git2::Diff<'_>,
    at: usize,
) -> Result<Option<(ChangedFile, Option<git2::Patch<'d>>)>, GitError> {
    let failed = GitError::library("compare two files");
    let Some(delta) = diff.get_delta(at) else { return Ok(None) };
    let patch = git2::Patch::from_diff(diff, at).map_err(&failed)?;
    let lines = patch.as_ref().map(git2::Patch::line_stats).transpose().map_err(&failed)?;
    let (_, insertions, deletions) = lines.unwrap_or_default();
    let is_binary = patch
        .as_ref()
        .is_some_and(|patch| patch.delta().new_file().is_binary() || patch.delta().old_file().is_binary());
    let kind = match delta.status() {
        Delta::Added | Delta::Copied => ChangeKind::Added,
        Delta::Deleted => ChangeKind::Deleted,
        Delta::Renamed => ChangeKind::Renamed,
        Delta::Typechange => ChangeKind::TypeChanged,
        _ => ChangeKind::Modified,
    };
    let path = delta.new_file().path_bytes().or_else(|| delta.old_file().path_bytes()).unwrap_or_default();
    let old_path = (kind == ChangeKind::Renamed).then(|| delta.old_file().path_bytes().map(shown)).flatten();
    let (path, insertions, deletions) = (shown(path), count(insertions), count(deletions));
    Ok(Some((ChangedFile { path, old_path, kind, is_binary, insertions, deletions }, patch)))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
