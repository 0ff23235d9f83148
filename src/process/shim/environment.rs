//! The environment of the command and what must not be in its log, which are sent through the pipe of the barrier and are in no
//! file: they hold keys.
//!
//! Eight bytes with the length, the lowest first, then a JSON object of that length. The sender is always a server of the
//! same program, or of an older one, which wrote the environment into the file of the command instead.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::BARRIER_MS_MAX;
use crate::process::spec::CommandSpec;
use crate::process::system;

/// The kernel takes about 2 MiB of arguments and environment (execve(2)); escaping may double that.
const BYTES_MAX: u64 = 4 << 20;

/// What goes through the pipe. Sender and receiver are the same program.
#[derive(Serialize, Deserialize)]
pub(super) struct Sent<'s> {
    pub(super) environment: std::borrow::Cow<'s, BTreeMap<String, String>>,
    pub(super) redact: std::borrow::Cow<'s, [String]>,
}

/// The bytes of it.
pub(in crate::process) fn to_bytes(spec: &CommandSpec) -> io::Result<Vec<u8>> {
    let sent = Sent {
        environment: std::borrow::Cow::Borrowed(&spec.env),
        redact: std::borrow::Cow::Borrowed(&spec.redact),
    };
    let text = serde_json::to_vec(&sent).map_err(io::Error::other)?;
    let length = text.len() as u64;
    if length > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the environment is too large"));
    }
    let mut bytes = Vec::with_capacity(text.len() + 8);
    bytes.write_all(&length.to_le_bytes())?;
    bytes.write_all(&text)?;
    Ok(bytes)
}

/// Reads it from the pipe of the barrier, without a byte of what comes behind it.
///
/// # Errors
/// The sender is gone, hangs, or sends something else.
pub(super) fn receive() -> io::Result<Sent<'static>> {
    // not through the buffer of the standard library: it would take what comes next
    let mut pipe = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let until = system::awake_ms() + BARRIER_MS_MAX;
    let mut length = [0_u8; 8];
    fill(&mut pipe, &mut length, until)?;
    let length = u64::from_le_bytes(length);
    let size = usize::try_from(length).ok().filter(|_| length <= BYTES_MAX);
    let size = size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an environment"))?;
    let mut text = vec![0_u8; size];
    fill(&mut pipe, &mut text, until)?;
    serde_json::from_slice(&text)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not an environment"))
}

fn fill(pipe: &mut File, mut buffer: &mut [u8], until: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = until.saturating_sub(system::awake_ms());
        if left == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut ready = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::try_from(left.min(60_000)).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => match pipe.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
