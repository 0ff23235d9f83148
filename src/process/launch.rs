//! Starts a shim and holds it at the barrier until its identity is committed.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use super::inspect::{StepState, inspect};
use super::scope::{Scope, ScopeUse};
use super::shim::{GO, READY, environment};
use super::spec::{CommandSpec, ShimIdentity};
use super::{ProcessError, StepDir};
use crate::failpoint::{self, Edge};

/// A shim is ready within milliseconds; a machine that swaps may need longer.
const READY_MAX: Duration = Duration::from_secs(30);

/// How much of a failing shim's message is shown.
const MESSAGE_BYTES_MAX: u64 = 2_000;

/// Which program has the `shim` subcommand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShimProgram {
    /// The running program itself, also after its file was replaced or removed (Linux).
    Own,
    /// This one.
    At(PathBuf),
}

/// Starts steps.
#[derive(Debug)]
pub struct Launcher {
    program: ShimProgram,
    scope: Scope,
}

impl Launcher {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(program: ShimProgram, scope: ScopeUse) -> Self {
        Self { program, scope: Scope::new(scope) }
    }

    /// True: steps get a systemd scope. Asks the user manager at the first call, at most for 5 s.
    pub async fn uses_scopes(&self) -> bool {
        self.scope.is_used().await
    }

    /// Whether the kernel killed in the step's scope for want of memory; false without scopes. To be asked before
    /// [`Self::stop_scope`]. At most 5 s.
    pub async fn ran_out_of_memory(&self, step: &StepDir) -> bool {
        self.scope.ran_out_of_memory(step.name()).await
    }

    /// Ends whatever is left in the scope of a step whose shim is gone; nothing without scopes. At most 20 s.
    pub async fn stop_scope(&self, step: &StepDir) {
        self.scope.stop(step.name()).await;
    }

    /// Starts the shim of a step and waits until it is at the barrier; creates the two directories if need be.
    /// The command does not run before [`Launched::release`].
    ///
    /// # Errors
    /// [`ProcessError::Spec`] for a command that cannot run, [`ProcessError::Start`] with the shim's own words,
    /// [`ProcessError::Gone`] when it was killed (nothing was spent then),
    /// [`ProcessError::Deadline`] after 30 s, [`ProcessError::Refused`] for a step that was released before.
    pub async fn launch(&self, step: &StepDir, spec: &CommandSpec) -> Result<Launched, ProcessError> {
        spec.check()?;
        ensure_dir(step.dir())?;
        ensure_dir(step.run_dir())?;
        match inspect(step)? {
            StepState::NotStarted => {}
            StepState::NotReleased => remove_empty_log(step)?,
            StepState::Running(_) => {
                return Err(ProcessError::Refused("a supervisor of this step lives".to_owned()));
            }
            StepState::Exited(_) | StepState::Lost(_) => {
                return Err(ProcessError::Refused("the step was released before".to_owned()));
            }
        }
        let environment = environment::to_bytes(spec)
            .map_err(|_| ProcessError::Spec("the environment is larger than a command can have"))?;
        failpoint::at(Edge::WriteSpec, || spec.store(step))?;
        let program = self.program_path()?;
        let mut command = self.scope.command(step.name(), &program).await;
        command.arg("shim").arg(step.dir()).arg(step.run_dir()).arg(step.name().as_str());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(failpoint::for_shim());
        let spawned = failpoint::at(Edge::SpawnShim, || command.spawn());
        let mut child = spawned.map_err(|error| ProcessError::Start(error.to_string()))?;
        let mut barrier = child.stdin.take().ok_or_else(|| ProcessError::Start("no barrier".to_owned()))?;
        let ready = async {
            // one that does not take it has gone, and says why in its own words
            let _ = barrier.write_all(&environment).await;
            wait_until_ready(&mut child).await
        };
        let Ok(ready) = tokio::time::timeout(READY_MAX, ready).await else {
            let _ = child.start_kill();
            return Err(ProcessError::Deadline(READY_MAX.as_secs()));
        };
        ready?;
        let identity = ShimIdentity::find(step)?.ok_or(ProcessError::Gone)?;
        Ok(Launched { identity, barrier, _child: child })
    }

    fn program_path(&self) -> Result<PathBuf, ProcessError> {
        match &self.program {
            ShimProgram::At(path) => Ok(path.clone()),
            // Not `self`: where systemd-run stands in between, that would be systemd-run.
            ShimProgram::Own if cfg!(target_os = "linux") => {
                Ok(format!("/proc/{}/exe", std::process::id()).into())
            }
            ShimProgram::Own => {
                std::env::current_exe().map_err(ProcessError::io("cannot find the own program"))
            }
        }
    }
}

/// A shim at its barrier. Dropped, it leaves without having run anything.
#[derive(Debug)]
pub struct Launched {
    identity: ShimIdentity,
    barrier: ChildStdin,
    /// Dropped with the rest; the runtime waits for it whenever it ends, so it leaves no zombie.
    _child: Child,
}

impl Launched {
    /// To be committed before [`Self::release`].
    #[must_use]
    pub fn identity(&self) -> &ShimIdentity {
        &self.identity
    }

    /// Lets the command start.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] when the shim has died at the barrier; nothing was spent then.
    pub async fn release(mut self) -> Result<ShimIdentity, ProcessError> {
        let sent = async {
            self.barrier.write_all(&[GO]).await?;
            self.barrier.flush().await
        };
        failpoint::around(Edge::Release, sent).await.map_err(|_| ProcessError::Gone)?;
        Ok(self.identity)
    }
}

async fn wait_until_ready(child: &mut Child) -> Result<(), ProcessError> {
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(ProcessError::Start("no pipes".to_owned()));
    };
    let mut line = [0_u8; READY.len()];
    if stdout.read_exact(&mut line).await.is_ok() && line == READY {
        return Ok(());
    }
    let mut message = String::new();
    let _ = stderr.take(MESSAGE_BYTES_MAX).read_to_string(&mut message).await;
    let message = message.trim();
    Err(match child.wait().await {
        Ok(status) if message.is_empty() && status.signal().is_some() => ProcessError::Gone,
        _ if message.is_empty() => ProcessError::Start("it ended".to_owned()),
        _ => ProcessError::Start(message.to_owned()),
    })
}

/// A shim that died between the beginning of the log and its first record has spent nothing, but its log would
/// stand in the way.
fn remove_empty_log(step: &StepDir) -> Result<(), ProcessError> {
    match std::fs::remove_file(step.log()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ProcessError::Io { what: "cannot remove an empty log", source })
        }
        _ => Ok(()),
    }
}

/// Only for the own user: what agents write may hold keys, sockets take orders.
fn ensure_dir(dir: &Path) -> Result<(), ProcessError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(ProcessError::Io { what: "cannot create a directory", source: error })
        }
        _ => Ok(()),
    }
}
