//! The agent as a process.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::order::Order;

/// An agent whose input has ended stores its conversation and goes; gemini takes a second on a busy machine.
const GOES_WITHIN: Duration = Duration::from_secs(5);
/// The same once it was told to.
const GOES_AT_ONCE_WITHIN: Duration = Duration::from_secs(2);

/// The agent, in a process group of its own: what interrupts this process is told to it in the words of the protocol.
pub(super) struct Agent {
    child: Child,
}

impl Agent {
    /// Starts it in this process's directory and environment; its standard error is this process's.
    pub(super) fn start(order: &Order) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let (program, arguments) =
            order.command.split_first().ok_or_else(|| io::Error::other("there is no command"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((Self { child }, stdin, stdout)),
            _ => Err(io::Error::other("there are no pipes")),
        }
    }

    /// Waits for its end, which its closed input asks for, and then brings it about. Whatever it has started is the supervisor's to
    /// end. `None`: it had to be told.
    pub(super) async fn leave(mut self) -> Option<ExitStatus> {
        if let Ok(status) = timeout(GOES_WITHIN, self.child.wait()).await {
            return status.ok();
        }
        for sent in [Signal::SIGTERM, Signal::SIGKILL] {
            self.signal(sent);
            if timeout(GOES_AT_ONCE_WITHIN, self.child.wait()).await.is_ok() {
                break;
            }
        }
        None
    }

    fn signal(&self, sent: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            let _ = killpg(Pid::from_raw(pid), sent);
        }
    }
}

/// The exit of this process that tells how the agent's was.
pub(super) fn exit_code_of(status: Option<ExitStatus>) -> ExitCode {
    const SIGNALLED: i32 = 128;
    let code =
        status.and_then(|status| status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal)));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
