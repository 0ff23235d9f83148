//! The name of a step and the places of its files.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{ProcessError, durable};

/// Longest path of a unix socket in bytes: 104 with the final NUL on macOS, 108 on Linux; the smaller one counts.
pub const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Longest step name in bytes. Keeps scope names and socket paths short; real names have about 25.
const NAME_BYTES_MAX: usize = 64;

/// The longest word of an order in bytes, as in an exit record.
const ORDER_BYTES_MAX: u64 = 32;

/// `<instance>-<job number>-<attempt>-<step>`, for example `x7k2-142-1-agent-1`.
///
/// Instance: letters `a-z` and digits. Job number and attempt: digits. Step: `a-z`, digits, inner `-`.
/// Safe as a file name, as part of a unit name and as the value of an environment variable.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StepName(String);

impl StepName {
    /// Builds and checks a name.
    ///
    /// # Errors
    /// [`ProcessError::Name`] says which part is wrong.
    pub fn new(instance: &str, job_number: u64, attempt: u32, step: &str) -> Result<Self, ProcessError> {
        format!("{instance}-{job_number}-{attempt}-{step}").parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What `environ` of a marked process contains.
    pub(super) fn marker(&self) -> Vec<u8> {
        format!("{}={}", super::MARKER_VARIABLE, self.0).into_bytes()
    }
}

impl FromStr for StepName {
    type Err = ProcessError;

    fn from_str(text: &str) -> Result<Self, ProcessError> {
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if text.len() > NAME_BYTES_MAX {
            return Err(ProcessError::Name("longer than 64 bytes"));
        }
        let mut parts = text.splitn(4, '-');
        let mut part = || parts.next().unwrap_or("");
        if !word(part()) {
            return Err(ProcessError::Name("the instance must be lower-case letters and digits"));
        }
        if !number(part()) || !number(part()) {
            return Err(ProcessError::Name("job number and attempt must be digits"));
        }
        if !part().split('-').all(word) {
            return Err(ProcessError::Name(
                "the step must be lower-case letters and digits joined by hyphens",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the files of one step are. Cheap to clone; touches no file by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepDir {
    dir: PathBuf,
    run_dir: PathBuf,
    name: StepName,
}

impl StepDir {
    /// `dir` holds the step's files and belongs to this step alone, `run_dir` the sockets of all steps.
    ///
    /// # Errors
    /// [`ProcessError::SocketPath`] when the socket address would be too long, [`ProcessError::Spec`] when a path
    /// is not absolute (the shim changes to `/`).
    pub fn new(
        dir: impl Into<PathBuf>,
        run_dir: impl Into<PathBuf>,
        name: StepName,
    ) -> Result<Self, ProcessError> {
        let step = Self { dir: dir.into(), run_dir: run_dir.into(), name };
        if !step.dir.is_absolute() || !step.run_dir.is_absolute() {
            return Err(ProcessError::Spec("the directories of a step must be absolute paths"));
        }
        let length = step.socket().as_os_str().as_bytes().len();
        if length > SOCKET_PATH_BYTES_MAX {
            return Err(ProcessError::SocketPath { length });
        }
        Ok(step)
    }

    /// The step's own directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the sockets.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The step's name.
    #[must_use]
    pub fn name(&self) -> &StepName {
        &self.name
    }

    /// The control socket, `<run_dir>/<name>.sock`.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join(format!("{}.sock", self.name))
    }

    /// The head of the log; complete for every step that stays under its output limit.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Where a caller may put the standard input of the command.
    #[must_use]
    pub fn prompt(&self) -> PathBuf {
        self.dir.join("prompt")
    }

    /// The exit record.
    #[must_use]
    pub fn exit(&self) -> PathBuf {
        self.dir.join("exit.json")
    }

    /// The word with which a server had the step stopped by a signal; `None`: none did.
    #[must_use]
    pub fn order(&self) -> Option<String> {
        let bytes = durable::read_up_to(&self.order_file(), ORDER_BYTES_MAX).ok().flatten()?;
        String::from_utf8(bytes).ok()
    }

    pub(super) fn order_file(&self) -> PathBuf {
        self.dir.join("order")
    }

    pub(super) fn exit_new(&self) -> PathBuf {
        self.dir.join("exit.json.new")
    }

    pub(super) fn spec(&self) -> PathBuf {
        self.dir.join("spec.json")
    }

    pub(super) fn shim(&self) -> PathBuf {
        self.dir.join("shim.json")
    }

    /// The tail file of a slot, 0 or 1.
    pub(super) fn tail(&self, slot: usize) -> PathBuf {
        self.dir.join(format!("log.tail.{slot}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["x7k2-142-1-agent-1", "a-0-0-setup-1", "x-1-2-verify"] {
            assert_eq!(good.parse::<StepName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "x",
            "x-1",
            "x-1-1",
            "x-1-1-",
            "X-1-1-a",
            "x-y-1-a",
            "x-1--a",
            "x-1-1-a-",
            "x-1-1-a/b",
            "x-1-1-a.b",
        ] {
            assert!(bad.parse::<StepName>().is_err(), "{bad}");
        }
        assert!(StepName::new("x7k2", 1, 1, &"a".repeat(80)).is_err());
    }

    #[test]
    fn a_socket_path_that_does_not_fit_is_refused_with_its_length() {
        let name: StepName = "x7k2-142-1-agent-1".parse().unwrap();
        let fits = format!("/{}", "d".repeat(SOCKET_PATH_BYTES_MAX - 1 - "/x7k2-142-1-agent-1.sock".len()));
        assert!(StepDir::new("/s", &fits, name.clone()).is_ok());
        let refused = StepDir::new("/s", format!("{fits}d"), name.clone()).unwrap_err();
        assert!(refused.to_string().contains("104 bytes"), "{refused}");
        assert!(StepDir::new("relative", "/run", name).is_err());
    }
}
