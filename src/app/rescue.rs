//! Work that is kept although its worktree is gone: what there is of a job, and its files.

use std::io::{self, Write};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::job::JobView;
use crate::domain::time::Timestamp;
use crate::git::{CommitId, DiffRequest, Repository};
use crate::wire::snapshot::{Snapshot, SnapshotList};

/// Pieces of an archive that wait for a slow reader, of [`PIECE_BYTES`] each: half a megabyte per download.
const PIECES_BUFFERED: usize = 8;
const PIECE_BYTES: usize = 64 * 1024;

/// Work of one job that is found at once. A job has two per attempt, and attempts are few.
const SNAPSHOTS_MAX: usize = 1_000;

impl App {
    /// The snapshots of a job and its result, newest first.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job or its clone.
    pub async fn list_snapshots(&self, caller: &Caller, job: &str) -> Result<SnapshotList, AppError> {
        let view = self.view(caller, job).await?;
        let repository = self.clone_of(&view)?;
        let prefix = prefix(&view);
        let mut found = repository.find_snapshots(&prefix).await.map_err(AppError::git)?;
        found.sort_by(|a, b| (b.taken_at, &b.name).cmp(&(a.taken_at, &a.name)));
        found.truncate(SNAPSHOTS_MAX);
        let mut snapshots = Vec::new();
        for one in found {
            let name = one.name[prefix.len()..].to_owned();
            let files_changed = files_changed(&repository, &view, &one.commit).await;
            snapshots.push(Snapshot {
                attempt: name.split_once('-').and_then(|(attempt, _)| attempt.parse().ok()),
                why: why(&name).to_owned(),
                name,
                ref_: one.name,
                taken_at: Timestamp::from_ms(one.taken_at.saturating_mul(1_000)).into(),
                commit: one.commit.as_str().to_owned(),
                files_changed,
            });
        }
        Ok(SnapshotList { snapshots, bare_repo_path: repository.path().display().to_string() })
    }

    /// The files of one snapshot as tar(5), while they are read.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job, its clone or the snapshot.
    pub async fn snapshot_files(
        &self,
        caller: &Caller,
        job: &str,
        name: &str,
    ) -> Result<impl Stream<Item = io::Result<Vec<u8>>> + Send + use<>, AppError> {
        let view = self.view(caller, job).await?;
        let repository = self.clone_of(&view)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(AppError::NotFound("snapshot"));
        }
        let found = repository.find_ref(&format!("{}{name}", prefix(&view))).await.map_err(AppError::git)?;
        let commit = found.ok_or(AppError::NotFound("snapshot"))?;
        let (sender, receiver) = mpsc::channel(PIECES_BUFFERED);
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (Ok(piece), receiver))
        });
        // a fault breaks the answer off, so that nobody takes half an archive for a whole one
        let fault =
            stream::once(
                async move { repository.write_tar(&commit, Pieces { sender, piece: Vec::new() }).await },
            );
        let fault = fault.filter_map(|done| async move {
            done.err().map(|error| {
                tracing::warn!(%error, "a snapshot could not be handed out");
                Err(io::Error::other(error))
            })
        });
        Ok(stream::select(pieces, fault))
    }

    fn clone_of(&self, view: &JobView) -> Result<Repository, AppError> {
        let repository = self.repository(&view.repository)?;
        if repository.exists() {
            Ok(repository)
        } else {
            Err(AppError::NotFound("the clone of this job's client"))
        }
    }
}

fn prefix(view: &JobView) -> String {
    format!("refs/offshoot/{}/", view.job.id)
}

async fn files_changed(repository: &Repository, view: &JobView, commit: &CommitId) -> Option<u64> {
    let base: CommitId = view.job.effects.base_sha.as_deref()?.parse().ok()?;
    let request = DiffRequest { paths: Vec::new(), context_lines: 0, patch_bytes_max: 0, files_max: 0 };
    repository.diff(&base, commit, request).await.ok().map(|diff| diff.files_changed)
}

fn why(name: &str) -> &'static str {
    // `<attempt>-<when>`, and a number where there is more than one
    match name.split('-').nth(1).unwrap_or(name) {
        "head" => "the result, as it was committed",
        "end" => "when the attempt had ended",
        "before" => "what was there before the attempt began",
        "left" => "what it had left when another job of its chain began",
        "branch" => "what its branch had here beside the files",
        "swept" => "what an ended job had left",
        _ => "kept",
    }
}

/// Hands out what is written to it in pieces.
struct Pieces {
    sender: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.send() }
    }
}
