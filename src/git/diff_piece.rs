//! The lines of a difference, a bounded piece at a time: what a person looks at in one page.
//!
//! One file is compared at a time and let go before the next; of what is compared no more is kept than is asked for.

use git2::{DiffLineType, DiffOptions, FileMode, Oid, Patch, Repository as Library};

use super::commit_id::CommitId;
use super::diff::{ChangedFile, changed_file, compare};
use super::error::GitError;
use super::refs;
use super::repository::Repository;
use super::stage::shown;

/// Unchanged lines around a change.
const CONTEXT_LINES: u32 = 3;

/// Which piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All files in the order of their paths, from the one with this number (counted from 0) on.
    Files(usize),
    /// One file, by its path as it is shown, from the line of its difference with this number (counted from 0) on.
    File { path: String, line: usize },
}

/// What to give, and how much of it at most.
#[derive(Clone, Debug)]
pub struct PieceRequest {
    pub piece: Piece,
    pub files_max: usize,
    /// Of one file among others: one with more is given without its lines.
    pub file_lines_max: usize,
    /// Of all files together.
    pub lines_max: usize,
    /// Of all files together.
    pub bytes_max: usize,
    /// Of one line; the rest of it is counted.
    pub line_bytes_max: usize,
    /// Which files among others are given without their lines, by their path.
    pub is_folded: fn(&str) -> bool,
}

/// A piece of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffPiece {
    pub files: Vec<FileLines>,
    /// How many files differ altogether.
    pub files_changed: usize,
}

/// One file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLines {
    /// Its place among all that differ, counted from 0.
    pub at: usize,
    pub file: ChangedFile,
    /// Before and after, where both are there and differ: git's octal numbers.
    pub modes: Option<(String, String)>,
    /// Empty where the file was given without its lines.
    pub lines: Vec<DiffLine>,
    /// The number of the first line among those of the file.
    pub first: usize,
    /// How many lines its difference has; heads of hunks are not counted.
    pub total: usize,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    pub kind: LineKind,
    /// Its number in the file before, counted from 1.
    pub old: Option<u32>,
    /// Its number in the file after.
    pub new: Option<u32>,
    /// Without its end, of which a carriage return is shown as `␍`; what is no UTF-8 is replaced.
    pub text: String,
    /// So many bytes more were there.
    pub bytes_left_out: usize,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The head of a hunk: where it is, and in what.
    Hunk,
    Same,
    Added,
    Removed,
    /// The line before it has no end.
    NoEnd,
}

impl Repository {
    /// A piece of what lies between two commits of the clone. A path that does not differ gives no files.
    ///
    /// # Errors
    /// [`GitError::CommitMissing`], [`GitError::Tampered`], [`GitError::Library`].
    pub async fn diff_piece(
        &self,
        base: &CommitId,
        head: &CommitId,
        request: PieceRequest,
    ) -> Result<DiffPiece, GitError> {
        let (base, head) = (base.oid()?, head.oid()?);
        self.verified(move |clone| build(&refs::open(&clone)?, base, head, &request)).await
    }
}

/// How much may still be given.
struct Left {
    lines: usize,
    bytes: usize,
}

fn build(library: &Library, base: Oid, head: Oid, request: &PieceRequest) -> Result<DiffPiece, GitError> {
    let mut options = DiffOptions::new();
    options.context_lines(CONTEXT_LINES);
    let diff = compare(library, base, head, &mut options)?;
    let files_changed = diff.deltas().len();
    let mut left = Left { lines: request.lines_max, bytes: request.bytes_max };
    let mut files = Vec::new();
    match &request.piece {
        Piece::Files(first) => {
            let end = first.saturating_add(request.files_max).min(files_changed);
            for at in *first..end {
                files.extend(one_of_many(&diff, at, request, &mut left)?);
            }
        }
        Piece::File { path, line } => {
            let found = diff.deltas().position(|delta| {
                let bytes = delta.new_file().path_bytes().or_else(|| delta.old_file().path_bytes());
                bytes.is_some_and(|bytes| shown(bytes) == *path)
            });
            if let Some(at) = found {
                files.extend(alone(&diff, at, *line, request, &mut left)?);
            }
        }
    }
    Ok(DiffPiece { files, files_changed })
}

/// With all of its lines, or with none where it is too long, or not worth reading.
fn one_of_many(
    diff: &git2::Diff<'_>,
    at: usize,
    request: &PieceRequest,
    left: &mut Left,
) -> Result<Option<FileLines>, GitError> {
    let Some((mut file, patch)) = begin(diff, at)? else { return Ok(None) };
    let is_short = file.total <= request.file_lines_max.min(left.lines);
    if let Some(patch) = patch.filter(|_| is_short && !(request.is_folded)(&file.file.path)) {
        let before = left.bytes;
        file.lines = lines(&patch, 0, request.line_bytes_max, left)?;
        if given(&file.lines) < file.total {
            // half of a short file helps nobody
            file.lines = Vec::new();
            left.bytes = before;
        } else {
            left.lines -= file.total;
        }
    }
    Ok(Some(file))
}

fn alone(
    diff: &git2::Diff<'_>,
    at: usize,
    line: usize,
    request: &PieceRequest,
    left: &mut Left,
) -> Result<Option<FileLines>, GitError> {
    let Some((mut file, patch)) = begin(diff, at)? else { return Ok(None) };
    file.first = line;
    if let Some(patch) = patch {
        file.lines = lines(&patch, line, request.line_bytes_max, left)?;
    }
    Ok(Some(file))
}

/// Without its lines, and where they come from if it has any.
fn begin<'d>(
    diff: &'d git2::Diff<'_>,
    at: usize,
) -> Result<Option<(FileLines, Option<Patch<'d>>)>, GitError> {
    let failed = GitError::library("compare two files");
    let Some(((file, patch), delta)) = changed_file(diff, at)?.zip(diff.get_delta(at)) else {
        return Ok(None);
    };
    let patch = patch.filter(|_| !file.is_binary);
    let mut total = 0;
    if let Some(patch) = &patch {
        for hunk in 0..patch.num_hunks() {
            total += patch.num_lines_in_hunk(hunk).map_err(&failed)?;
        }
    }
    let (old, new) = (delta.old_file().mode(), delta.new_file().mode());
    let both = old != new && old != FileMode::Unreadable && new != FileMode::Unreadable;
    let modes = both.then(|| (octal(old), octal(new)));
    Ok(Some((FileLines { at, file, modes, lines: Vec::new(), first: 0, total }, patch)))
}

fn octal(mode: FileMode) -> String {
    format!("{:o}", u32::from(mode))
}

/// How many of the lines are of the files.
fn given(lines: &[DiffLine]) -> usize {
    lines.iter().filter(|line| line.kind != LineKind::Hunk).count()
}

/// From the line `first` on, as far as there is room.
fn lines(
    patch: &Patch<'_>,
    first: usize,
    line_bytes_max: usize,
    left: &mut Left,
) -> Result<Vec<DiffLine>, GitError> {
    let failed = GitError::library("read a difference");
    let mut taken = Vec::new();
    let (mut passed, mut room) = (0, left.lines);
    for hunk in 0..patch.num_hunks() {
        let count = patch.num_lines_in_hunk(hunk).map_err(&failed)?;
        let skip = first.saturating_sub(passed).min(count);
        passed += count;
        for at in skip..count {
            if at == skip {
                let (head, _) = patch.hunk(hunk).map_err(&failed)?;
                taken.push(line(LineKind::Hunk, head.header(), line_bytes_max));
            }
            let given = patch.line_in_hunk(hunk, at).map_err(&failed)?;
            let mut one = line(kind(given.origin_value()), given.content(), line_bytes_max);
            (one.old, one.new) = (given.old_lineno(), given.new_lineno());
            if room == 0 || one.text.len() > left.bytes {
                if at == skip {
                    taken.pop();
                }
                return Ok(taken);
            }
            room -= 1;
            left.bytes -= one.text.len();
            taken.push(one);
        }
    }
    Ok(taken)
}

const fn kind(origin: DiffLineType) -> LineKind {
    match origin {
        DiffLineType::Addition => LineKind::Added,
        DiffLineType::Deletion => LineKind::Removed,
        DiffLineType::ContextEOFNL | DiffLineType::AddEOFNL | DiffLineType::DeleteEOFNL => LineKind::NoEnd,
        _ => LineKind::Same,
    }
}

fn line(kind: LineKind, content: &[u8], bytes_max: usize) -> DiffLine {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    // a line that differs in its end alone would look the same before and after
    let (content, end) = content.strip_suffix(b"\r").map_or((content, ""), |content| (content, "␍"));
    let shown = &content[..content.len().min(bytes_max)];
    DiffLine {
        kind,
        old: None,
        new: None,
        text: String::from_utf8_lossy(shown).into_owned() + end,
        bytes_left_out: content.len() - shown.len(),
    }
}
