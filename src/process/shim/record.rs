//! The exit record: its room is reserved before anything is spent, so that it can be written on a full disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::socket::{ControlSocket, Request};
use super::supervisor::Ended;
use crate::failpoint::{self, Edge};
use crate::process::{StepDir, durable};

/// More than any record has: its only free text is cut to [`TEXT_BYTES_MAX`].
const SLOT_BYTES: usize = 4096;

/// Longest reason why a command could not be started.
pub(super) const TEXT_BYTES_MAX: usize = 500;

/// Between two tries to write a record that cannot be written.
const RETRY_MS: u16 = 1_000;

pub(super) struct ExitSlot {
    file: File,
}

impl ExitSlot {
    /// Fills the room with blanks, which a JSON reader skips: whatever is written over them takes no new space.
    pub(super) fn reserve(step: &StepDir) -> io::Result<Self> {
        let path = step.exit_new();
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(&[b' '; SLOT_BYTES])?;
        file.sync_all()?;
        Ok(Self { file })
    }

    /// Writes the record and leaves. While that fails the shim stays, tries again and answers on its socket; when
    /// the step directory is gone nobody wants the record any more.
    pub(super) fn fill(&self, step: &StepDir, mut ended: Ended) -> ExitCode {
        let bytes = ended.record.to_bytes();
        while self.try_fill(step, &bytes).is_err() {
            if !step.dir().is_dir() {
                return ExitCode::from(1);
            }
            answer_for_a_while(ended.socket.as_mut(), &bytes);
        }
        let _ = failpoint::at(Edge::RemoveSocket, || std::fs::remove_file(step.socket()));
        ExitCode::SUCCESS
    }

    fn try_fill(&self, step: &StepDir, bytes: &[u8]) -> io::Result<()> {
        failpoint::at(Edge::FillExit, || self.file.write_all_at(bytes, 0))?;
        self.file.sync_all()?;
        failpoint::at(Edge::RenameExit, || durable::rename(&step.exit_new(), &step.exit()))
    }
}

fn answer_for_a_while(socket: Option<&mut ControlSocket>, record: &[u8]) {
    let Some(socket) = socket else {
        let _ = poll(&mut [], PollTimeout::from(RETRY_MS));
        return;
    };
    let mut ready: Vec<PollFd<'_>> =
        socket.descriptors().map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
    let _ = poll(&mut ready, PollTimeout::from(RETRY_MS));
    socket.serve(|request| match request {
        Request::Record => String::from_utf8_lossy(record).trim_end().to_owned(),
        _ => "no the command has ended".to_owned(),
    });
}
