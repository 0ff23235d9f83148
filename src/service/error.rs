//! Why a service is not installed, started or asked.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::domain::phrases::path_word;

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
            Self::Foreign { file } => ("look at it, then say --force", format!("less {}", path_word(file))),
            Self::Unnameable { path } => (
                "give it a name of letters, digits and /._- only; look",
                format!("ls -ld {}", path_word(path)),
            ),
            Self::NoProgram { .. } => ("run it by hand instead", "offshoot serve".to_owned()),
            Self::Refused { command, .. } if command.starts_with("loginctl") => (
                "let somebody do it who may, then repeat",
                "sudo loginctl enable-linger \"$USER\"".to_owned(),
            ),
            Self::Refused { said, .. } if is_of_the_bus(said) => (
                "this shell is not a login of its user; give it one",
                "export XDG_RUNTIME_DIR=/run/user/$(id -u)".to_owned(),
            ),
            Self::Refused { .. } | Self::Silent { .. } => {
                ("see what it said", "offshoot service logs -n 50".to_owned())
            }
            Self::File { file, .. } => ("look", format!("ls -ld {}", path_word(file))),
        }
    }
}

/// Both ways in which systemctl says that it did not reach the user's own manager.
fn is_of_the_bus(said: &str) -> bool {
    (said.contains("connect to") && said.contains(" bus")) || said.contains("XDG_RUNTIME_DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_that_is_not_reached_is_told_from_one_that_is_busy() {
        let hint = |said: &str| {
            let command = "systemctl --user start offshoot.service".to_owned();
            ServiceError::Refused { command, said: said.to_owned() }.hint().1
        };
        for said in [
            "Failed to connect to bus: No medium found",
            "Failed to connect to user scope bus via local transport: Connection refused",
        ] {
            assert_eq!(hint(said), "export XDG_RUNTIME_DIR=/run/user/$(id -u)");
        }
        assert_eq!(hint("Device or resource busy"), "offshoot service logs -n 50");
    }
}
