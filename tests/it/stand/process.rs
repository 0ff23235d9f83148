//! The server's process.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{PATIENCE, poll};

/// Killed when dropped.
pub(crate) struct Running {
    /// Empty until it is ready.
    pub(crate) url: String,
    child: Child,
    log: PathBuf,
    /// Where its own lines begin in the log.
    log_start: usize,
}

impl Running {
    pub(super) fn spawn(dir: &Path, env: Vec<(String, String)>, flags: &[&str]) -> Self {
        let log = dir.join("server.log");
        let file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let log_start = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let child = program()
            .arg("serve")
            .args(flags)
            .current_dir(dir)
            .env_clear()
            .envs(env)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        Self { url: String::new(), child, log, log_start }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&bytes[self.log_start..]).into_owned()
    }

    pub(super) async fn wait_until_ready(&mut self) {
        let ready = poll(PATIENCE, async || {
            let is_ready = self.is_ready();
            if !is_ready && let Some(status) = self.try_ended() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            is_ready.then_some(())
        });
        ready.await.expect("the server never became ready");
    }

    /// Looks whether it has become ready.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.url.is_empty()
            && let Some(address) = self.log().lines().find_map(ready_address)
        {
            self.url = format!("http://{address}");
        }
        !self.url.is_empty()
    }

    /// How it ended, if it has.
    pub(crate) fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// SIGKILL, and the process is gone.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.exited(Duration::from_secs(20)).await;
    }

    /// # Panics
    /// When it does not end in time.
    pub(crate) async fn wait_for_exit(&mut self, limit: Duration) -> Option<i32> {
        self.exited(limit).await.code()
    }

    async fn exited(&mut self, limit: Duration) -> ExitStatus {
        let ended = poll(limit, async || self.child.try_wait().unwrap()).await;
        ended.unwrap_or_else(|| panic!("the server did not end within {limit:?}:\n{}", self.log()))
    }
}

/// Of util-linux.
pub(crate) const SETPRIV: &str = "/usr/bin/setpriv";

/// Where there is setpriv the server is killed with the thread that starts it: a test process that is killed has no time
/// to drop anything.
fn program() -> Command {
    let own = env!("CARGO_BIN_EXE_offshoot");
    if !Path::new(SETPRIV).exists() {
        return Command::new(own);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL", own]);
    command
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready_address(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "ready").then(|| line["address"].as_str().map(str::to_owned))?
}
