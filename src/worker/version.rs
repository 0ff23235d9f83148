//! An agent that is older than its adapter is made for is not started: it would be paid for and its words taken for something
//! else. Its version is asked before a turn begins, and again only when the file of the program has changed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::attempt::Line;
use super::halt::{Halt, Step};
use super::program::{ask_program, find_program};
use super::{AgentEntry, native_command, spoken_command};
use crate::agent::Agent;
use crate::domain::attempt::AttemptEnd;
use crate::domain::reason::ReasonCode;

/// Commands whose programs may be started, with the files that they were then: one for each `[agents.<name>]` entry at most.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<BTreeMap<Vec<String>, FileStamp>>);

/// Which file a program was: one that is replaced or written anew is another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    changed_at: (i64, i64),
}

impl FileStamp {
    /// `None`: there is no such program.
    fn of(command: &[String], path: &OsStr) -> Option<Self> {
        let path = find_program(command.first()?, path)?.canonicalize().ok()?;
        let found = path.metadata().ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            changed_at: (found.ctime(), found.ctime_nsec()),
            path,
        })
    }
}

impl Versions {
    fn may_start(&self, command: &[String], stamp: &FileStamp) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(command) == Some(stamp)
    }

    fn remember(&self, command: Vec<String>, stamp: FileStamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(command, stamp);
    }
}

impl Line<'_> {
    /// Holds the login of an agent whose program is nowhere, by its name or place: a supervisor could only say what the system says.
    /// A relative path is left to the system, for it may lead into the worktree.
    fn refuse_missing(&self, entry: &AgentEntry, agent: &dyn Agent, path: &OsStr) -> Step<()> {
        let Some(name) = entry.command.first() else { return Ok(()) };
        if name.contains('/') {
            let place = Path::new(name);
            if !place.is_absolute() || find_program(name, path).is_some() {
                return Ok(());
            }
            let what = if place.exists() { "is no program that can be run" } else { "is not there" };
            return Err(Halt::unspent(ReasonCode::AgentMissing, &format!("\"{name}\" {what}.")));
        }
        let own = self.own_environment(entry, agent);
        let own = own.get("PATH").map(OsStr::new);
        if own.into_iter().chain([path]).any(|path| find_program(name, path).is_some()) {
            return Ok(());
        }
        let detail = format!("\"{name}\" is in no directory of the server's PATH.");
        Err(Halt::unspent(ReasonCode::AgentMissing, &detail))
    }

    /// Holds the login of an agent that is too old. One that does not tell its version is started: how it ends says more. Whoever
    /// was found too old is asked again each time, for something else behind its file may have changed.
    pub(super) async fn refuse_too_old(&self, entry: &AgentEntry, agent: &dyn Agent) -> Step<()> {
        let path = self.tools.settings.environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        self.refuse_missing(entry, agent, &path)?;
        let command = native_command(agent, &entry.command, &path);
        let (Some(spec), Some(stamp)) =
            (agent.probe(&spoken_command(agent, command.clone())), FileStamp::of(&command, &path))
        else {
            return Ok(());
        };
        if self.tools.versions.may_start(&command, &stamp) {
            return Ok(());
        }
        let environment = self.own_environment(entry, agent);
        let asked = tokio::select! {
            asked = ask_program(&spec.version_argv, environment) => asked,
            () = self.signals.cancel.cancelled() => return Err(Halt::Ended(AttemptEnd::Cancelled)),
            () = self.signals.shutdown.cancelled() => return Err(Halt::Shutdown),
        };
        let told = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        match told.and_then(|text| (spec.parse_version)(&text)) {
            Some(found) if found < spec.version_min => {
                let least = spec.version_min;
                let detail = format!("It is version {found}, and {least} is the oldest that works.");
                Err(Halt::unspent(ReasonCode::AgentMissing, &detail))
            }
            _ => {
                self.tools.versions.remember(command, stamp);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_that_is_replaced_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let install = |text: &str| {
            let new = dir.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(new, dir.path().join("claude")).unwrap();
        };
        let command = ["claude".to_owned(), "--flag".to_owned()];
        let stamp = || FileStamp::of(&command, dir.path().as_os_str());
        assert_eq!(stamp(), None);
        install("one");
        let (versions, one) = (Versions::default(), stamp().unwrap());
        assert!(!versions.may_start(&command, &one));
        versions.remember(command.to_vec(), one.clone());
        assert!(versions.may_start(&command, &one) && !versions.may_start(&command[..1], &one));
        install("two");
        assert!(!versions.may_start(&command, &stamp().unwrap()));
    }
}
