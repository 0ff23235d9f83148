//! The agent as a process.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgrp, getpid};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::order::Order;

/// An agent whose input has ended stores its conversation and goes; gemini takes a second on a busy machine.
const GOES_WITHIN: Duration = Duration::from_secs(5);
/// The same once it was told to.
const GOES_AT_ONCE_WITHIN: Duration = Duration::from_secs(2);

/// The agent, in a process group of its own: what interrupts this process is told to it in the words of the protocol. One that is only
/// looked at stays in the group of this process, with which whoever looks ends everything.
pub(super) struct Agent {
    child: Child,
    is_looked_at: bool,
}

impl Agent {
    /// Starts it in this process's directory and environment; its standard error is this process's.
    pub(super) fn start(order: &Order) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let (program, arguments) =
            order.command.split_first().ok_or_else(|| io::Error::other("there is no command"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        if !order.is_probe {
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((Self { child, is_looked_at: order.is_probe }, stdin, stdout)),
            _ => Err(io::Error::other("there are no pipes")),
        }
    }

    /// Waits for its end, which its closed input asks for, and then brings it about. Whatever it has started is the supervisor's to
    /// end. `None`: it had to be told.
    pub(super) async fn leave(mut self) -> Option<ExitStatus> {
        let within = if self.is_looked_at { GOES_AT_ONCE_WITHIN } else { GOES_WITHIN };
        if let Ok(status) = timeout(within, self.child.wait()).await {
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
        let Some(pid) = pid.map(Pid::from_raw) else { return };
        let _ = if self.is_looked_at { kill(pid, sent) } else { killpg(pid, sent) };
    }
}

/// Ends this process with whatever an agent has left in its group, where the group is its own: nobody may be left who does.
pub(super) fn end_group() {
    if getpgrp() == getpid() {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    }
}

/// The exit of this process that tells how the agent's was.
pub(super) fn exit_code_of(status: Option<ExitStatus>) -> ExitCode {
    const SIGNALLED: i32 = 128;
    let code =
        status.and_then(|status| status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal)));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
