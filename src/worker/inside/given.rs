//! What a step was given of the agent's own that its walls alone cannot hold, and what becomes of it at the end: of the copy of a login
//! only renewed tokens go back, and what would be settings, made where there were none, goes away.
//!
//! It is written down beside the attempt before the step begins, so that a later server finds it too.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::git::remove_any;

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
        let said = given.absent.iter().filter_map(|path| take_away(path)).collect();
        // kept until here: whoever is killed on the way does it all again
        let _ = fs::remove_file(file);
        said
    }
}

/// Two steps that end at once would each write what the other has not read.
static RENEWING: Mutex<()> = Mutex::new(());

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
    let _alone = RENEWING.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut own, mut copy) = (open(own, true)?, open(copy, false)?);
    let Some(renewed) = agent.renewed_login(&read(&mut own)?, &read(&mut copy)?) else { return Ok(()) };
    own.rewind()?;
    own.write_all(&renewed)?;
    own.set_len(renewed.len() as u64)?;
    own.sync_all()
}

fn take_away(path: &Path) -> Option<String> {
    path.symlink_metadata().ok()?;
    Some(match remove_any(path) {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::agent::registry::find_agent;
    use crate::domain::agent_kind::AgentKind;

    /// Whoever was killed on the way finds it again, and nobody is led elsewhere.
    #[test]
    fn what_was_given_is_taken_back_once_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let agent = find_agent(AgentKind::Opencode);
        let login = |access: &str, expires: u32| {
            format!(
                r#"{{"a": {{"type": "oauth", "access": "{access}", "refresh": "r", "expires": {expires}}}}}"#
            )
        };
        fs::write(at("own"), login("old", 1)).unwrap();
        fs::write(at("other"), login("other", 1)).unwrap();
        symlink(at("other"), at("own-link")).unwrap();
        fs::write(at("copy"), login("new", 2)).unwrap();
        let logins = ["own", "own-link", "none"].map(|own| (at(own), at("copy")));
        let given =
            Given { logins: logins.into(), absent: vec![at("made"), at("not-made"), at("made-link")] };
        given.write(&at("notes/given")).unwrap();
        fs::create_dir_all(at("made/below")).unwrap();
        symlink(at("other"), at("made-link")).unwrap();

        let said = Given::take_back(&at("notes/given"), agent);
        assert_eq!(said.len(), 2, "{said:?}");
        let access = |name: &str| fs::read_to_string(at(name)).unwrap().contains("new");
        assert_eq!((access("own"), access("other")), (true, false));
        let left = ["made", "made-link", "notes/given"].map(|name| at(name).symlink_metadata().is_ok());
        assert_eq!(left, [false; 3]);
        assert_eq!(Given::take_back(&at("notes/given"), agent), Vec::<String>::new());
    }
}
