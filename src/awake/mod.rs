//! Keeps this machine from going to sleep, by the program that its system has for that.
//!
//! Promises: for as long as there is a [`Hold`] and no longer, also when this process is killed: on Linux the program's program reads
//! a pipe that ends with this process, on macOS it watches this process itself. Nothing is asked of anybody who sits there, and nothing
//! needs rights that this process has not.
//!
//! Must not know: jobs, the store, when the machine has to be awake.
//!
//! Fails: with an [`io::Error`] when the program cannot be started; [`Hold::lost`] says why one has ended by itself, such as a
//! system that lets nobody do this. Tested: the arguments beside the code, the rest in `tests/it/keep_awake.rs` with a program in its
//! place. Nobody has tried it on macOS, or with a real logind.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::process::OwnGroup;

/// What has to be in PATH on this system.
pub const PROGRAM: &str = if IS_MACOS { "caffeinate" } else { "systemd-inhibit" };
const IS_MACOS: bool = cfg!(target_os = "macos");

/// What is read of its complaints.
const SAID_BYTES_MAX: u64 = 4 * 1024;
/// Who has left its standard error to somebody else is not waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// It was killed; a system that is slow to take it away is not waited for.
const REAPED_WITHIN: Duration = Duration::from_secs(2);

/// How the machine is kept awake.
#[derive(Clone, Debug)]
pub struct Keeper {
    program: PathBuf,
    environment: BTreeMap<OsString, OsString>,
}

impl Keeper {
    /// By `program`, which is [`PROGRAM`], in this environment alone.
    #[must_use]
    pub fn new(program: PathBuf, environment: BTreeMap<OsString, OsString>) -> Self {
        Self { program, environment }
    }

    /// From now on.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn hold(&self) -> io::Result<Hold> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments(IS_MACOS, std::process::id()))
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (mut child, group) = OwnGroup::spawn(&mut command)?;
        Ok(Hold { group: Some(group), _pipe: child.stdin.take(), child })
    }
}

fn arguments(is_macos: bool, own: u32) -> Vec<String> {
    if is_macos {
        // idle sleep alone: who closes the lid means it
        return ["-i", "-w", &own.to_string()].map(str::to_owned).to_vec();
    }
    let words = ["--what=idle:sleep", "--who=offshoot", "--why=jobs are running", "--mode=block", "cat"];
    words.map(str::to_owned).to_vec()
}

/// The machine is awake until this is dropped or [released](Self::release).
pub struct Hold {
    /// Before the child: the group is ended while its leader is still there.
    group: Option<OwnGroup>,
    /// Ends with this process, and with it what reads it.
    _pipe: Option<ChildStdin>,
    child: Child,
}

impl Hold {
    /// Resolves when the program has ended by itself, with what it said. May be dropped and asked again.
    pub async fn lost(&mut self) -> String {
        let status = self.child.wait().await;
        // it is gone, and its number may be somebody else's
        std::mem::forget(self.group.take());
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = timeout(LAST_WORDS, stderr.take(SAID_BYTES_MAX).read_to_end(&mut said)).await;
        }
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match status {
            Ok(status) if said.is_empty() => status.to_string(),
            Ok(_) => said,
            Err(error) => error.to_string(),
        }
    }

    /// The machine may sleep again.
    pub async fn release(mut self) {
        drop(self.group.take());
        let _ = timeout(REAPED_WITHIN, self.child.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_own_words() {
        let linux = arguments(false, 7);
        assert_eq!(
            linux,
            ["--what=idle:sleep", "--who=offshoot", "--why=jobs are running", "--mode=block", "cat"]
        );
        assert_eq!(arguments(true, 7), ["-i", "-w", "7"]);
    }
}
