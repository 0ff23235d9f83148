//! Why a service is not installed, started or asked.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// In words for people.
#[derive(Debug, Error)]
pub enum ServiceError {
    #[error("the service is not installed")]
    NotInstalled,
    #[error("{} was not written by this command", file.display())]
    Foreign { file: PathBuf },
    #[error("{} holds characters that a service file cannot name", path.display())]
    Unnameable { path: PathBuf },
    #[error("{program} was not found in PATH")]
    NoProgram { program: String },
    #[error("{command} said: {said}")]
    Refused { command: String, said: String },
    #[error("{command} did not end within {seconds} s")]
    Silent { command: String, seconds: u64 },
    #[error("cannot {what} {}: {source}", file.display())]
    File { what: &'static str, file: PathBuf, source: io::Error },
}

impl ServiceError {
    /// What to type, and why.
    #[must_use]
    pub fn hint(&self) -> (&'static str, String) {
        match self {
            Self::NotInstalled => ("install it", "offshoot service install".to_owned()),
            Self::Foreign { file } => ("look at it, then say --force", format!("less {}", file.display())),
            Self::Unnameable { .. } => {
                ("install the program elsewhere", "cargo install --locked --path .".to_owned())
            }
            Self::NoProgram { .. } => ("run it by hand instead", "offshoot serve".to_owned()),
            Self::Refused { said, .. } if said.contains("bus") || said.contains("XDG_RUNTIME_DIR") => (
                "this shell is not a login of its user; give it one",
                "export XDG_RUNTIME_DIR=/run/user/$(id -u)".to_owned(),
            ),
            Self::Refused { .. } | Self::Silent { .. } => {
                ("see what it said", "offshoot service logs -n 50".to_owned())
            }
            Self::File { file, .. } => ("look", format!("ls -ld {}", file.display())),
        }
    }
}
