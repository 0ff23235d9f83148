//! What a job changed, line by line and a page at a time, for whoever looks instead of fetching the patch.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use super::job_reads::{result_of, shown_file};
use crate::git::{CommitId, DiffLine, DiffPiece, FileLines, GitError, LineKind, Piece, PieceRequest};
use crate::wire::changes::{ChangedLine, ChangedLineKind, Changes, FileChanges};

/// Files on one page.
const FILES_MAX: usize = 50;
/// A file with more is folded among others: it is looked at for itself, or not at all.
const FILE_LINES_MAX: usize = 400;
/// On one page.
const LINES_MAX: usize = 3_000;
/// On one page.
const BYTES_MAX: usize = 512 * 1024;
/// Longer lines are made by programs.
const LINE_BYTES_MAX: usize = 2_000;

/// Which piece somebody looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangesQuery {
    /// This file alone.
    pub path: Option<String>,
    /// Of all files: from this one on, counted from 0.
    pub file: Option<i64>,
    /// Of one file: from this line of its difference on, counted from 0.
    pub line: Option<i64>,
}

impl App {
    /// A piece of what lies between the job's base and its result. `None` while there is no result, and where the clone or a commit
    /// of it is gone.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job, or for a file that it did not change; [`AppError::Invalid`] for numbers below 0.
    pub async fn job_changes(
        &self,
        caller: &Caller,
        job: &str,
        query: &ChangesQuery,
    ) -> Result<Option<Changes>, AppError> {
        let number = |pointer: &str, number: Option<i64>| {
            usize::try_from(number.unwrap_or(0)).map_err(|_| AppError::invalid(pointer, "must be at least 0"))
        };
        let (file, line) = (number("?file", query.file)?, number("?line", query.line)?);
        let view = self.view(caller, job).await?;
        let Some((base_sha, head_sha)) = result_of(&view) else { return Ok(None) };
        let repository = self.repository(&view.repository)?;
        if !repository.exists() {
            return Ok(None);
        }
        let commit = |sha: &str| sha.parse::<CommitId>().map_err(AppError::git);
        let piece = query.path.clone().map_or(Piece::Files(file), |path| Piece::File { path, line });
        let request = PieceRequest {
            piece,
            files_max: FILES_MAX,
            file_lines_max: FILE_LINES_MAX,
            lines_max: LINES_MAX,
            bytes_max: BYTES_MAX,
            line_bytes_max: LINE_BYTES_MAX,
            is_folded: is_generated,
        };
        let found = match repository.diff_piece(&commit(base_sha)?, &commit(head_sha)?, request).await {
            Err(GitError::CommitMissing(_)) => return Ok(None),
            found => found.map_err(AppError::git)?,
        };
        if found.files.is_empty() && (query.path.is_some() || file > 0) {
            return Err(AppError::NotFound("changed file"));
        }
        Ok(Some(shown(base_sha, head_sha, found, query.path.is_some())))
    }
}

fn shown(base_sha: &str, head_sha: &str, piece: DiffPiece, is_one: bool) -> Changes {
    Changes {
        base_sha: base_sha.to_owned(),
        head_sha: head_sha.to_owned(),
        files_changed: piece.files_changed,
        first: piece.files.first().map_or(0, |file| file.at),
        files: piece.files.into_iter().map(file_changes).collect(),
        is_one,
    }
}

fn file_changes(file: FileLines) -> FileChanges {
    FileChanges {
        at: file.at,
        generated: is_generated(&file.file.path),
        file: shown_file(&file.file),
        modes: file.modes,
        lines: file.lines.into_iter().map(changed_line).collect(),
        first: file.first,
        total: file.total,
    }
}

fn changed_line(line: DiffLine) -> ChangedLine {
    ChangedLine {
        kind: match line.kind {
            LineKind::Hunk => ChangedLineKind::Hunk,
            LineKind::Same => ChangedLineKind::Same,
            LineKind::Added => ChangedLineKind::Added,
            LineKind::Removed => ChangedLineKind::Removed,
            LineKind::NoEnd => ChangedLineKind::NoEnd,
        },
        old: line.old,
        new: line.new,
        text: line.text,
        bytes_left_out: line.bytes_left_out,
    }
}

/// What programs write and nobody reads: lock files, what was bundled, what others have written.
fn is_generated(path: &str) -> bool {
    const NAMES: &[&str] =
        &["package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "go.sum", "packages.lock.json"];
    const ENDS: &[&str] = &[".lock", ".lockb", ".min.js", ".min.css", ".map", ".pb.go", "_pb2.py"];
    const FOLDERS: &[&str] = &["node_modules", "vendor", "third_party"];
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str())
        || ENDS.iter().any(|end| name.ends_with(end))
        || folders.split('/').any(|folder| FOLDERS.contains(&folder))
}

#[cfg(test)]
mod tests {
    use super::is_generated;

    #[test]
    fn what_programs_write_is_folded() {
        for path in ["Cargo.lock", "a/package-lock.json", "yarn.lock", "web/app.min.js", "vendor/x/y.go"] {
            assert!(is_generated(path), "{path}");
        }
        for path in ["src/lock.rs", "lock", "a/vendors/x.go", "map", "package.json"] {
            assert!(!is_generated(path), "{path}");
        }
    }
}
