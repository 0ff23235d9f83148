//! What a job changed, line by line, as the dashboard shows it: a bounded piece at a time.

use serde::{Deserialize, Serialize};

use super::diff::ChangedFile;

/// A piece of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    pub base_sha: String,
    pub head_sha: String,
    /// Altogether, in this piece or not.
    pub files_changed: usize,
    /// The number of the first file of this piece, counted from 0.
    pub first: usize,
    pub files: Vec<FileChanges>,
    /// One file was asked for, by its path.
    pub is_one: bool,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileChanges {
    /// Its place among all, counted from 0.
    pub at: usize,
    #[serde(flatten)]
    pub file: ChangedFile,
    /// git's octal modes before and after, where they differ.
    pub modes: Option<(String, String)>,
    pub lines: Vec<ChangedLine>,
    /// The number of the first of `lines`, counted from 0.
    pub first: usize,
    /// Altogether.
    pub total: usize,
    /// Its path is that of something that is made by programs.
    pub generated: bool,
}

/// One line of a file, or the head of a hunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedLine {
    pub kind: ChangedLineKind,
    /// Counted from 1.
    pub old: Option<u32>,
    pub new: Option<u32>,
    pub text: String,
    /// So many bytes of it are not in `text`.
    pub bytes_left_out: usize,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangedLineKind {
    Hunk,
    Same,
    Added,
    Removed,
    /// The line before it has no end.
    NoEnd,
}
