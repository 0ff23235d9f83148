//! A systemd scope per step, where a user manager answers: then a step survives a stop of the service, has its
//! own limits, and stopping the scope clears what a killed shim left behind.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::StepName;

/// Starting a scope takes about 10 ms; a user manager that needs longer than this hangs.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// Ending a scope includes its own kill delay; after this we go on without an answer.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The shim's environment is otherwise empty.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin";

/// Whether steps get a systemd scope.
#[derive(Clone, Debug, Default)]
pub enum ScopeUse {
    /// Started plainly.
    #[default]
    Never,
    /// In a scope where a user manager answers, else plainly.
    WhereAnswered {
        /// What `systemd-run --user` needs to find the manager: `XDG_RUNTIME_DIR`, `DBUS_SESSION_BUS_ADDRESS`; a
        /// `PATH` where the program is in none of the usual places. The command under the shim gets none of it.
        environment: BTreeMap<String, String>,
        /// Limits of each scope.
        limits: ScopeLimits,
    },
}

/// Limits of one scope; `None` leaves the manager's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeLimits {
    /// Processes and threads.
    pub processes_max: Option<u64>,
    /// Bytes.
    pub memory_bytes_max: Option<u64>,
}

/// [`ScopeUse`] and what the probe said, once it was asked.
#[derive(Debug)]
pub(super) struct Scope {
    usage: ScopeUse,
    answered: OnceCell<bool>,
}

impl Scope {
    pub(super) fn new(usage: ScopeUse) -> Self {
        Self { usage, answered: OnceCell::new() }
    }

    /// True: steps get a scope. Asks once, by starting an empty one.
    pub(super) async fn is_used(&self) -> bool {
        let ScopeUse::WhereAnswered { environment, .. } = &self.usage else { return false };
        *self
            .answered
            .get_or_init(|| async {
                let mut probe = bare("systemd-run", environment);
                probe.args(["--user", "--scope", "--collect", "--quiet", "--", "true"]);
                succeeds(probe, PROBE_MAX).await
            })
            .await
    }

    /// The command that starts `program` as the shim of this step; its arguments are still to be added.
    pub(super) async fn command(&self, name: &StepName, program: &std::path::Path) -> Command {
        let ScopeUse::WhereAnswered { environment, limits } = &self.usage else { return plain(program) };
        if !self.is_used().await {
            return plain(program);
        }
        let mut command = bare("systemd-run", environment);
        command.args(["--user", "--scope", "--collect", "--quiet"]).arg(format!("--unit={}", unit(name)));
        if let Some(processes) = limits.processes_max {
            command.arg(format!("--property=TasksMax={processes}"));
        }
        if let Some(bytes) = limits.memory_bytes_max {
            command.arg(format!("--property=MemoryMax={bytes}"));
        }
        command.arg("--").arg(program);
        command
    }

    /// Whether the manager knows that the kernel killed in the step's scope for want of memory (systemd 253). To be asked
    /// before the scope is stopped: then it is forgotten.
    pub(super) async fn ran_out_of_memory(&self, name: &StepName) -> bool {
        let ScopeUse::WhereAnswered { environment, .. } = &self.usage else { return false };
        if !self.is_used().await {
            return false;
        }
        let mut command = bare("systemctl", environment);
        command.args(["--user", "show", "--property=Result", "--value", "--"]);
        command
            .arg(format!("{}.scope", unit(name)))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let answered = tokio::time::timeout(PROBE_MAX, command.output()).await;
        matches!(answered, Ok(Ok(output)) if output.stdout.trim_ascii() == b"oom-kill")
    }

    /// Ends whatever is left in the step's scope. Nothing without scopes.
    pub(super) async fn stop(&self, name: &StepName) {
        let ScopeUse::WhereAnswered { environment, .. } = &self.usage else { return };
        if self.is_used().await {
            let mut command = bare("systemctl", environment);
            command.args(["--user", "stop", "--"]).arg(format!("{}.scope", unit(name)));
            // A scope that is gone already is an error too, and just as good.
            succeeds(command, STOP_MAX).await;
        }
    }
}

fn unit(name: &StepName) -> String {
    format!("offshoot-{name}")
}

fn plain(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.arg0("offshoot").env_clear();
    command
}

fn bare(program: &str, environment: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).envs(environment);
    command
}

async fn succeeds(mut command: Command, limit: Duration) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    matches!(tokio::time::timeout(limit, command.status()).await, Ok(Ok(status)) if status.success())
}
