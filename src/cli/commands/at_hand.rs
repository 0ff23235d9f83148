//! The program of a visit, in this terminal: how long it may run, and what its end says of the work.
//!
//! Only an end that a person meant calls the work done. A terminal that goes away ends its programs as well, most of them with 0,
//! for they read an end of input; and a shell that cannot be used ends at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::api_client::{ApiClient, ApiError};
use crate::wire::visit::Attached;

/// Between the signal and the kill of a program whose job is not the visitor's any more: it may put the terminal right.
const GRACE: Duration = Duration::from_secs(5);

/// A server on this machine answers at once, or is away.
const PROLONG_MAX: Duration = Duration::from_secs(5);

/// The signal of a terminal that goes away comes behind the end of input that it makes, by as much as its session's leader takes.
const HANG_UP_WITHIN: Duration = Duration::from_millis(200);

/// A shell that ends with an error so soon was no shell to work in, such as nologin(8).
const USABLE_AFTER: Duration = Duration::from_secs(2);

/// Why a visit ended.
pub(super) enum End {
    /// The program did, this long after its start.
    Program { status: ExitStatus, after: Duration },
    /// The job was cancelled, or the visit had not been prolonged in time.
    Lost(Box<ApiError>),
    /// This process is to end, or its terminal is gone.
    Told,
}

impl End {
    /// Why nobody has called the work done; `None`: somebody has. Of a shell the code is that of its last command.
    pub(super) fn is_unmeant(&self, is_shell: bool) -> Option<String> {
        match self {
            Self::Program { status, after } => {
                let is_used = is_shell && status.code().is_some() && *after >= USABLE_AFTER;
                (!status.success() && !is_used).then(|| format!("the program ended with {status}"))
            }
            Self::Lost(error) => Some(error.to_string()),
            Self::Told => Some("the terminal is gone, or this was told to end".to_owned()),
        }
    }
}

/// The signals that end a visit, or would end this process. They are taken from before the job is asked for.
pub(super) struct Signals {
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    pub(super) fn watch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Any of them, for a time in which no program has the terminal.
    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// Those that no program in the terminal could be meant by.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

pub(super) fn start(attached: &Attached, env: &BTreeMap<String, OsString>) -> io::Result<Child> {
    let (program, arguments) = attached.command.split_first().ok_or(io::ErrorKind::InvalidData)?;
    Command::new(program)
        .args(arguments)
        .current_dir(&attached.worktree_path)
        .env_clear()
        .envs(env)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
}

/// Until the program ends, or has to. Ctrl-C is for it alone, and nothing is printed: the screen is its.
pub(super) async fn stay(
    mut child: Child,
    attached: &Attached,
    key: &str,
    api: &ApiClient,
    signals: &mut Signals,
) -> io::Result<End> {
    let began = Instant::now();
    let every = Duration::from_secs(attached.prolong_every_seconds.max(1));
    let mut prolong = interval_at(Instant::now() + every, every);
    prolong.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        tokio::select! {
            ended = child.wait() => {
                let (status, after) = (ended?, began.elapsed());
                let hung_up = timeout(HANG_UP_WITHIN, signals.told()).await.is_ok();
                return Ok(if hung_up || !io::stdin().is_terminal() {
                    End::Told
                } else {
                    End::Program { status, after }
                });
            }
            _ = signals.interrupt.recv() => {}
            _ = signals.quit.recv() => {}
            _ = signals.terminate.recv() => break End::Told,
            _ = signals.hang_up.recv() => break End::Told,
            _ = prolong.tick() => {
                // a server that is being restarted comes back
                if let Ok(Err(error @ (ApiError::Conflict(_) | ApiError::NotFound(_)))) =
                    timeout(PROLONG_MAX, api.prolong_visit(&attached.id, key)).await
                {
                    break End::Lost(Box::new(error));
                }
            },
        }
    };
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // gone by now is as good
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn only_an_end_that_a_person_meant_calls_the_work_done() {
        let (at_once, later) = (Duration::from_millis(50), Duration::from_secs(60));
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        for (status, after, is_shell, is_meant) in [
            (exit(0), at_once, false, true),
            (exit(3), later, false, false),
            // the code of its last command
            (exit(3), later, true, true),
            (exit(0), at_once, true, true),
            // it cannot be used
            (exit(1), at_once, true, false),
            (ExitStatus::from_raw(9), later, true, false),
            (ExitStatus::from_raw(9), later, false, false),
        ] {
            let end = End::Program { status, after };
            assert_eq!(end.is_unmeant(is_shell).is_none(), is_meant, "{status} after {after:?}, {is_shell}");
        }
        assert!(End::Told.is_unmeant(true).is_some());
    }
}
