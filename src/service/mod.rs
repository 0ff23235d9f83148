//! The server as a service of one user: a unit of systemd, or an agent of launchd on macOS.
//!
//! Promises: what is written and what is run is a [`Plan`] first, so that it can be shown without being done; doing it twice
//! changes nothing; removing it takes away what installing it has made, lingering too where it was turned on here. A file
//! that somebody else wrote is never replaced or removed unless that is said. The files are the ones in `systemd/` and
//! `launchd/`, with the places of this machine put in.
//!
//! Must not know: terminals, arguments, the configuration, the server. Programs are looked for in the PATH that is given and
//! get the environment that is given; each has a deadline.
//!
//! Fails: with [`ServiceError`], which says what to type.
//!
//! Tested: files and plans beside the code; whole commands with a stand-in for `systemctl` and `loginctl` in
//! `tests/it/service.rs`. Nobody has run the launchd half on a Mac yet.

mod error;
mod launchd;
mod plan;
mod program;
mod systemd;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use error::ServiceError;
pub use plan::{Plan, Step};

/// Which program starts services here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    Systemd,
    Launchd,
}

impl Init {
    /// That of this system.
    #[must_use]
    pub const fn of_this_system() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }
}

/// Whose service it is, and where things are.
#[derive(Clone, Debug)]
pub struct Owner {
    pub init: Init,
    pub home: PathBuf,
    /// Where the user's own configuration is: `~/.config`.
    pub config_home: PathBuf,
    /// The user's number.
    pub uid: u32,
    /// The program that is to be started.
    pub program: PathBuf,
    /// Arguments behind `serve`.
    pub arguments: Vec<String>,
    /// Directories that PATH of the service needs before its usual ones.
    pub path_before: Vec<PathBuf>,
    /// For the programs that are run.
    pub environment: BTreeMap<OsString, OsString>,
}

/// How the service is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub installed: bool,
    pub running: bool,
    /// In the words of the system: `active (running)`.
    pub words: String,
    /// Started by itself at the next login or boot.
    pub enabled: bool,
    /// Whether it goes on without anybody logged in; `None`: the system has no such thing, or does not say.
    pub lingers: Option<bool>,
    pub pid: Option<u32>,
}

/// In the first line of a file that was written here.
const MARK: &str = "Installed by `offshoot service install`";

impl Owner {
    /// The file that makes it a service.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        match self.init {
            Init::Systemd => systemd::file(self),
            Init::Launchd => launchd::file(self),
        }
    }

    /// What installing it writes and runs.
    ///
    /// # Errors
    /// Somebody else's file is in the place and `force` is not given; or a path that the file cannot name.
    pub async fn install(&self, force: bool) -> Result<Plan, ServiceError> {
        self.spare_foreign(force)?;
        match self.init {
            Init::Systemd => systemd::install(self).await,
            Init::Launchd => launchd::install(self),
        }
    }

    /// What removing it removes and runs; empty when there is nothing.
    ///
    /// # Errors
    /// Somebody else's file is in the place and `force` is not given.
    pub fn uninstall(&self, force: bool) -> Result<Plan, ServiceError> {
        self.spare_foreign(force)?;
        if !self.file().exists() {
            return Ok(Plan::default());
        }
        Ok(match self.init {
            Init::Systemd => systemd::uninstall(self),
            Init::Launchd => launchd::uninstall(self),
        })
    }

    /// What starting it runs.
    ///
    /// # Errors
    /// It is not installed.
    pub fn start(&self) -> Result<Plan, ServiceError> {
        self.installed()?;
        Ok(match self.init {
            Init::Systemd => systemd::start(),
            Init::Launchd => launchd::start(self),
        })
    }

    /// What stopping it runs.
    ///
    /// # Errors
    /// It is not installed.
    pub fn stop(&self) -> Result<Plan, ServiceError> {
        self.installed()?;
        Ok(match self.init {
            Init::Systemd => systemd::stop(),
            Init::Launchd => launchd::stop(self),
        })
    }

    /// The command that prints its log: the last `lines`, and what comes.
    ///
    /// # Errors
    /// It is not installed.
    pub fn logs(&self, lines: u32, follow: bool) -> Result<Vec<String>, ServiceError> {
        self.installed()?;
        Ok(match self.init {
            Init::Systemd => systemd::logs(lines, follow),
            Init::Launchd => launchd::logs(self, lines, follow),
        })
    }

    /// How it is.
    ///
    /// # Errors
    /// The system's program cannot be asked.
    pub async fn state(&self) -> Result<State, ServiceError> {
        if !self.file().exists() {
            return Ok(State { words: "not installed".to_owned(), ..State::default() });
        }
        match self.init {
            Init::Systemd => systemd::state(self).await,
            Init::Launchd => launchd::state(self).await,
        }
    }

    /// The variables that the service gets from a file beside its own, where the system has such a file: they win over those of its own.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let text = self.file_of_variables().and_then(|file| std::fs::read_to_string(file).ok());
        text.map(|text| systemd::variables(&text)).unwrap_or_default()
    }

    /// Where [`Self::variables`] stand.
    #[must_use]
    pub fn file_of_variables(&self) -> Option<PathBuf> {
        (self.init == Init::Systemd).then(|| systemd::env_file(self))
    }

    /// The PATH that the service gets, and with it the agents: of [`Self::variables`], else of the installed file.
    #[must_use]
    pub fn path_of_installed(&self) -> Option<OsString> {
        if let Some((_, path)) = self.variables().into_iter().rev().find(|(name, _)| name == "PATH") {
            return Some(path.into());
        }
        let text = std::fs::read_to_string(self.file()).ok()?;
        match self.init {
            Init::Systemd => systemd::path_in(&text, &self.home),
            Init::Launchd => launchd::path_in(&text),
        }
    }

    /// The arguments behind `serve` in the installed file; none without one.
    #[must_use]
    pub fn arguments_of_installed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        match self.init {
            Init::Systemd => systemd::arguments_in(&text, &self.home),
            Init::Launchd => launchd::arguments_in(&text),
        }
    }

    /// Whether the user's services go on without anybody logged in; `None`: the system has no such thing, or does not say.
    pub async fn lingers(&self) -> Option<bool> {
        match self.init {
            Init::Systemd => systemd::lingers(self).await,
            Init::Launchd => None,
        }
    }

    fn installed(&self) -> Result<(), ServiceError> {
        if self.file().exists() { Ok(()) } else { Err(ServiceError::NotInstalled) }
    }

    fn spare_foreign(&self, force: bool) -> Result<(), ServiceError> {
        let file = self.file();
        match std::fs::read_to_string(&file) {
            Ok(text) if !force && !text.contains(MARK) => Err(ServiceError::Foreign { file }),
            _ => Ok(()),
        }
    }

    /// Whether a directory of [`Self::path_before`] can stand in both kinds of file.
    #[must_use]
    pub fn can_name_in_path(dir: &Path) -> bool {
        nameable(dir).is_ok_and(|dir| !dir.contains(':'))
    }

    /// PATH of the service: what is needed first, then what the file has by itself.
    fn path(&self, usual: &str) -> Result<String, ServiceError> {
        let mut dirs: Vec<String> = Vec::new();
        for dir in &self.path_before {
            let dir = nameable(dir)?;
            if !dir.contains(':') && !dirs.contains(&dir) && !usual.split(':').any(|known| known == dir) {
                dirs.push(dir);
            }
        }
        dirs.push(usual.to_owned());
        Ok(dirs.join(":"))
    }
}

/// A path as text that both kinds of file can hold as it is.
fn nameable(path: &Path) -> Result<String, ServiceError> {
    let text = path.to_str().filter(|text| {
        !text.chars().any(|one| one.is_control() || one.is_whitespace() || "\"'\\%$<>&#".contains(one))
    });
    text.map(str::to_owned).ok_or_else(|| ServiceError::Unnameable { path: path.to_path_buf() })
}
