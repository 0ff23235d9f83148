//! What is to be done, before it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::error::ServiceError;
use super::program;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Directories above it are made.
    Write {
        file: PathBuf,
        text: String,
    },
    /// Also when it is not there.
    Remove {
        file: PathBuf,
    },
    MakeDir {
        dir: PathBuf,
    },
    /// Must succeed.
    Run {
        command: Vec<String>,
    },
    /// May fail: there is nothing to be done where it does.
    Try {
        command: Vec<String>,
    },
}

/// Steps, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

impl Plan {
    pub(super) fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect() }
    }

    /// Does all steps in this environment; stops at the first that fails.
    ///
    /// # Errors
    /// What failed.
    pub async fn carry_out(&self, environment: &BTreeMap<OsString, OsString>) -> Result<(), ServiceError> {
        for step in &self.steps {
            match step {
                Step::Write { file, text } => {
                    write(file, text).map_err(|source| failed("write", file, source))?;
                }
                Step::Remove { file } => match std::fs::remove_file(file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("remove", file, error));
                    }
                    _ => {}
                },
                Step::MakeDir { dir } => {
                    std::fs::create_dir_all(dir).map_err(|source| failed("make", dir, source))?;
                }
                Step::Run { command } => drop(program::run(command, environment).await?),
                Step::Try { command } => drop(program::run(command, environment).await),
            }
        }
        Ok(())
    }

    /// As a person would type it; files with what is in them.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for step in &self.steps {
            match step {
                Step::Write { file, text } => {
                    lines.push(format!("# {}", file.display()));
                    lines.extend(text.lines().map(|line| format!("    {line}").trim_end().to_owned()));
                }
                Step::Remove { file } => lines.push(format!("rm -f {}", file.display())),
                Step::MakeDir { dir } => lines.push(format!("mkdir -p {}", dir.display())),
                Step::Run { command } => lines.push(command.join(" ")),
                Step::Try { command } => lines.push(format!("{} || true", command.join(" "))),
            }
        }
        lines
    }
}

fn failed(what: &'static str, file: &Path, source: io::Error) -> ServiceError {
    ServiceError::File { what, file: file.to_path_buf(), source }
}

/// Beside the file first, so that whoever reads it meanwhile sees the whole of one of both.
fn write(file: &Path, text: &str) -> io::Result<()> {
    if std::fs::read_to_string(file).is_ok_and(|found| found == text) {
        return Ok(());
    }
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let beside = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options.write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
    io::Write::write_all(&mut opened, text.as_bytes())?;
    std::fs::rename(&beside, file)
}
