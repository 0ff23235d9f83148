//! What a step was given of the agent's own that its walls alone cannot hold, and what becomes of it at the end: of the copy of a login
//! only renewed tokens go back, and what would be settings, made where there were none, goes away.
//!
//! It is written down beside the attempt before the step begins, so that a later server finds it too.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::agent::Agent;

/// A file of logins has some kilobytes.
const LOGIN_BYTES_MAX: u64 = 1 << 20;

/// Of one step.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// The owner's file and the copy that the step has.
    pub(super) logins: Vec<(PathBuf, PathBuf)>,
    /// Not there when it began.
    pub(super) absent: Vec<PathBuf>,
}

impl Given {
    /// # Errors
    /// When it cannot be written down; then the step must not begin.
    pub(super) fn write(&self, file: &Path) -> Result<(), String> {
        if *self == Self::default() {
            return Ok(());
        }
        let failed = |error: std::io::Error| format!("{} cannot be written: {error}", file.display());
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        file.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        fs::write(file, text).map_err(failed)
    }

    /// Does what is to be done when nobody is in there any more, once; gives a sentence for each thing that was taken away.
    pub(super) fn take_back(file: &Path, agent: &dyn Agent) -> Vec<String> {
        let Some(given) = fs::read(file).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok())
        else {
            return Vec::new();
        };
        for (own, copy) in &given.logins {
            if let Err(error) = renew(own, copy, agent) {
                tracing::warn!(%error, file = %own.display(), "a login that the agent may have renewed could not be kept");
            }
        }
        let made = given.absent.iter().filter(|path| path.symlink_metadata().is_ok());
        let said = made.filter_map(|path| take_away(path));
        let said = said.collect();
        // kept until here: whoever is killed on the way does it all again
        let _ = fs::remove_file(file);
        said
    }
}

/// In its place and not by a new file: the other steps have this one behind their walls, and would lose them with it.
fn renew(own: &Path, copy: &Path, agent: &dyn Agent) -> std::io::Result<()> {
    let open = |path: &Path, writes: bool| {
        OpenOptions::new()
            .read(true)
            .write(writes)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
    };
    let read = |file: &mut fs::File| -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if file.metadata()?.is_file() {
            file.take(LOGIN_BYTES_MAX).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let (mut own, mut copy) = (open(own, true)?, open(copy, false)?);
    let Some(renewed) = agent.renewed_login(&read(&mut own)?, &read(&mut copy)?) else { return Ok(()) };
    own.rewind()?;
    own.write_all(&renewed)?;
    own.set_len(renewed.len() as u64)?;
    own.sync_all()
}

fn take_away(path: &Path) -> Option<String> {
    let is_dir = path.symlink_metadata().ok()?.is_dir();
    let gone = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    Some(match gone {
        Ok(()) => format!(
            "A program of the job made {}, which would be settings of the agent: it was removed.",
            path.display()
        ),
        Err(error) => {
            format!(
                "A program of the job made {}, which may be settings of the agent, and it cannot be removed: {error}. Look at it before you start the agent yourself.",
                path.display()
            )
        }
    })
}
