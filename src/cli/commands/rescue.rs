//! `offshoot rescue`

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::Context;
use super::show::which_job;
use crate::api_client::{ApiError, Download};
use crate::cli::args::RescueFlags;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::cli::unpack::{Unpacked, unpack};
use crate::wire::snapshot::{Snapshot, SnapshotList};

/// Pieces that wait to be unpacked: the disk is mostly faster than the connection.
const PIECES_BUFFERED: usize = 16;

/// Paths that are named when some were left out; the rest is a number.
const LEFT_OUT_SHOWN: usize = 5;

pub(super) async fn run(flags: &RescueFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let list = context.api.list_snapshots(&flags.job).await.map_err(which_job)?;
    match &flags.into {
        Some(into) => restore(flags, &list, into, context).await,
        None => show(&flags.job, &list, context),
    }
}

fn show(job: &str, list: &SnapshotList, context: &mut Context<'_>) -> Result<Ended, CliError> {
    if context.out.is_json() {
        context.out.json(list)?;
        return Ok(Ended::Done);
    }
    let Some(newest) = newest(list) else { return Err(nothing_kept(job)) };
    let view = context.viewpoint();
    let rows = list.snapshots.iter().map(|one| {
        vec![
            one.name.clone(),
            view.clock(one.taken_at),
            one.files_changed.map_or_else(|| "-".to_owned(), |files| files.to_string()),
            one.why.clone(),
            one.commit[..one.commit.len().min(12)].to_owned(),
        ]
    });
    context.out.table(&["NAME", "TAKEN", "FILES", "WHAT", "COMMIT"], rows.collect(), &[])?;
    context.out.say(&format!(
        "  get its files:  offshoot rescue {job} {name} --into DIR\n  or with git:    git fetch {clone} {name_of_ref}",
        name = newest.name,
        clone = list.bare_repo_path,
        name_of_ref = newest.ref_,
    ));
    Ok(Ended::Done)
}

async fn restore(
    flags: &RescueFlags,
    list: &SnapshotList,
    into: &Path,
    context: &mut Context<'_>,
) -> Result<Ended, CliError> {
    let (job, chosen) = (&flags.job, flags.snapshot.as_deref());
    let again = || format!("offshoot rescue {job} --into {}-2", into.display());
    let snapshot = match chosen {
        Some(name) => list.snapshots.iter().find(|one| one.name == name).ok_or_else(|| {
            CliError::new(ErrorKind::NotFound, format!("job {job} has no snapshot {name}"))
                .hint("see which there are", format!("offshoot rescue {job}"))
        })?,
        None => newest(list).ok_or_else(|| nothing_kept(job))?,
    };
    refuse_existing(into, again)?;
    let half = half_of(into, &context.clock.random_text(8))?;
    std::fs::create_dir(&half).map_err(|error| cannot(into, &error))?;
    // on every way out but the good one nothing is left
    let half = RemoveOnDrop(Some(half));
    let download = context.api.read_snapshot(job, &snapshot.name).await.map_err(which_job)?;
    let unpacked = receive(download, half.path(), into).await?;
    refuse_existing(into, again)?;
    std::fs::rename(half.path(), into).map_err(|error| cannot(into, &error))?;
    half.keep();
    if context.out.is_json() {
        context.out.json(snapshot)?;
    } else {
        context.out.line(&format!(
            "Unpacked {} of #{job}: {} files in {}",
            snapshot.name,
            unpacked.files,
            into.display()
        ))?;
    }
    for path in unpacked.left_out.iter().take(LEFT_OUT_SHOWN) {
        context.out.say(&format!("warning: left out {}", human::printable(path)));
    }
    if let Some(more) = unpacked.left_out.len().checked_sub(LEFT_OUT_SHOWN).filter(|more| *more > 0) {
        context.out.say(&format!("warning: left out {more} more"));
    }
    Ok(Ended::Done)
}

/// The last work of the agent; its result only where there is nothing else.
fn newest(list: &SnapshotList) -> Option<&Snapshot> {
    list.snapshots.iter().find(|one| one.attempt.is_some()).or_else(|| list.snapshots.first())
}

fn nothing_kept(job: &str) -> CliError {
    CliError::new(
        ErrorKind::NotFound,
        format!("nothing is kept of job {job}: its work is published, or it did none"),
    )
    .hint("look", format!("offshoot show {job}"))
}

/// `again` is the command that was typed, with another name in it.
pub(super) fn refuse_existing(into: &Path, again: impl FnOnce() -> String) -> Result<(), CliError> {
    match into.symlink_metadata() {
        Ok(_) => Err(CliError::new(
            ErrorKind::Conflict,
            format!("{} exists already: nothing is overwritten", into.display()),
        )
        .hint("choose another name", again())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot(into, &error)),
    }
}

/// Beside the directory, so that a rename makes it whole at once.
fn half_of(into: &Path, unique: &str) -> Result<PathBuf, CliError> {
    let name =
        into.file_name().ok_or_else(|| CliError::usage(format!("{} is no new directory", into.display())))?;
    Ok(into.with_file_name(format!(".{}.{unique}", name.to_string_lossy())))
}

fn cannot(into: &Path, error: &io::Error) -> CliError {
    CliError::new(ErrorKind::Failed, format!("cannot unpack into {}: {error}", into.display()))
}

async fn receive(mut download: Download, half: &Path, into: &Path) -> Result<Unpacked, CliError> {
    let (sender, receiver) = mpsc::channel(PIECES_BUFFERED);
    let half = half.to_owned();
    let unpacking =
        tokio::task::spawn_blocking(move || unpack(Pieces { receiver, piece: Vec::new(), at: 0 }, &half));
    let broken: Option<ApiError> = loop {
        match download.next_piece().await {
            Ok(Some(piece)) => {
                // it has ended before the archive has: what it says counts
                if sender.send(Ok(piece)).await.is_err() {
                    break None;
                }
            }
            Ok(None) => break None,
            Err(error) => {
                let _ = sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                break Some(error);
            }
        }
    };
    drop(sender);
    let unpacked = unpacking.await.map_err(|error| CliError::new(ErrorKind::Failed, error.to_string()))?;
    match broken {
        Some(error) => Err(error.into()),
        None => unpacked.map_err(|error| cannot(into, &error)),
    }
}

/// What has been received, for somebody who reads.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receiver.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece?, 0),
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len() - self.at);
        into[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

struct RemoveOnDrop(Option<PathBuf>);

impl RemoveOnDrop {
    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(half) = &self.0 {
            let _ = std::fs::remove_dir_all(half);
        }
    }
}
