//! The shim: one small process per step that outlives the server.
//!
//! Promises: *barrier, command, two pipes into the log, wall timer, control socket, end of the tree, exit record*,
//! from one thread and one poll loop, so that the command's parent-death signal is bound to the process itself.
//! The environment of the command comes through the pipe of the barrier and is in no file; values that come with it are
//! in the log as `[redacted]`. Nothing is spent before the
//! barrier opens. Once it has opened there is an exit record at the end, unless
//! somebody kills the shim or removes its directory.
//!
//! Must not know: what the output says, the server, the store. It reads no environment and prints one line.
//!
//! Fails: before the barrier with a text on standard error and exit code 1. Afterwards the record names the cause.
//!
//! Tested: `tests/it/process.rs` starts real shims. Exit codes: 0 the step has ended, 3 left before the barrier
//! opened, 1 could not start.

pub(super) mod environment;
mod input;
mod ladder;
mod record;
mod redact;
mod signals;
mod sleep;
mod socket;
mod spawn;
mod supervisor;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::log::{LogWriter, Stream};
use super::spec::{CommandSpec, ExitCause, ShimIdentity};
use super::{ProcessError, StepDir, StepName, durable, system};
use crate::failpoint::{self, Edge};
use record::ExitSlot;
use signals::Signals;
use spawn::is_without_program;
use supervisor::Supervisor;

/// What the server reads from the shim's standard output once the barrier is reached.
pub(super) const READY: &[u8] = b"ready\n";

/// What opens the barrier.
pub(super) const GO: u8 = b'g';

/// A server that neither sends `go` nor closes the pipe for so long hangs; a commit takes milliseconds.
const BARRIER_MS_MAX: u64 = 10 * 60 * 1000;

/// Runs one step: the hidden subcommand `shim <step directory> <run directory> <step name>`.
///
/// `arguments` are those behind the subcommand. To be called first thing in `main`, before any thread exists.
#[must_use]
#[expect(clippy::print_stderr, reason = "the launcher shows this text; there is no other way out yet")]
pub fn shim_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Start::prepare(arguments).and_then(Start::pass_barrier) {
        Ok(Some(start)) => start.run(),
        Ok(None) => ExitCode::from(3),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}

/// A shim up to the moment when it starts the command.
struct Start {
    step: StepDir,
    spec: CommandSpec,
    slot: ExitSlot,
}

impl Start {
    fn prepare(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ProcessError> {
        // Fails only for a process that leads its session already, which is as good.
        let _ = nix::unistd::setsid();
        system::close_inherited();
        std::env::set_current_dir("/").map_err(ProcessError::io("cannot leave the working directory"))?;
        let step = step_from(arguments)?;
        let mut spec = CommandSpec::load(&step)?;
        // in the file of an older program it is there
        if spec.env.is_empty() {
            let sent = environment::receive().map_err(ProcessError::io("cannot receive the environment"))?;
            (spec.env, spec.redact) = (sent.environment.into_owned(), sent.redact.into_owned());
        }
        spec.check()?;
        system::become_subreaper().map_err(ProcessError::io("cannot become the parent of orphans"))?;
        let slot = failpoint::at(Edge::ReserveExit, || ExitSlot::reserve(&step))
            .map_err(ProcessError::io("cannot reserve the exit record"))?;
        let identity = own_identity(&step)?;
        failpoint::at(Edge::StoreIdentity, || identity.store(&step))?;
        Ok(Self { step, spec, slot })
    }

    /// `None`: whoever started this shim has gone without sending `go`.
    fn pass_barrier(self) -> Result<Option<Self>, ProcessError> {
        let fail = ProcessError::io("cannot wait for the release");
        let mut told = io::stdout().lock();
        // Nobody reads: then nobody sends `go` either.
        if told.write_all(READY).and_then(|()| told.flush()).is_err() {
            return Ok(None);
        }
        let released = wait_for_go().map_err(fail)?;
        Ok(released.then_some(self))
    }

    fn run(self) -> ExitCode {
        let started_at_ms = system::wall_ms();
        // Before the log begins: a SIGTERM that kills the shim until here leaves a step that cost nothing, a later one
        // is heard. A step that has a log was released before; a second run would spend twice.
        let create_log = || LogWriter::create(&self.step, self.spec.output_bytes_max);
        let (Ok(signals), Ok(mut log)) = (Signals::install(), failpoint::at(Edge::CreateLog, create_log))
        else {
            return ExitCode::from(1);
        };
        let supervisor = detach_standard_streams()
            .and_then(|()| failpoint::at(Edge::WriteReleased, || write_released(&self.step, &mut log)))
            .and_then(|()| Supervisor::start(&self.step, &self.spec, signals));
        let ended = match supervisor {
            Ok(supervisor) => supervisor.run(log, started_at_ms),
            Err(error) => {
                let (text, no_program) = (format!("{error}"), is_without_program(&error));
                log.append(Stream::Note, text.as_bytes());
                supervisor::Ended::not_started(log, text, no_program, started_at_ms)
            }
        };
        debug_assert!(ended.record.cause != ExitCause::SpawnFailed || ended.record.text.is_some());
        self.slot.fill(&self.step, ended)
    }
}

fn step_from(arguments: impl IntoIterator<Item = OsString>) -> Result<StepDir, ProcessError> {
    let mut arguments = arguments.into_iter();
    let (Some(dir), Some(run_dir), Some(name), None) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next())
    else {
        return Err(ProcessError::Spec("the shim takes a step directory, a run directory and a step name"));
    };
    let name: StepName = name.to_str().unwrap_or("").parse()?;
    StepDir::new(dir, run_dir, name)
}

fn own_identity(step: &StepDir) -> Result<ShimIdentity, ProcessError> {
    let pid = nix::unistd::getpid().as_raw();
    let seen =
        system::look_at(pid).ok_or(ProcessError::Start("cannot look at its own process".to_owned()))?;
    let boot_id = system::boot_id().map_err(ProcessError::io("cannot read the boot id"))?;
    Ok(ShimIdentity { boot_id, pid, started: seen.started, marker: step.name().to_string() })
}

fn wait_for_go() -> io::Result<bool> {
    let stdin = io::stdin();
    let until = system::awake_ms() + BARRIER_MS_MAX;
    loop {
        let left = until.saturating_sub(system::awake_ms());
        if left == 0 {
            return Ok(false);
        }
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::try_from(left.min(60_000)).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => {
                let mut byte = [0_u8; 1];
                return Ok(stdin.lock().read(&mut byte)? == 1 && byte[0] == GO);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The three standard streams belonged to the server; from here on nothing of it is held.
fn detach_standard_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// On disk before the command exists: a step without this record has cost nothing.
fn write_released(step: &StepDir, log: &mut LogWriter) -> io::Result<()> {
    if !log.append(Stream::Released, &[]) {
        return Err(io::Error::other("the log cannot be written"));
    }
    log.sync()?;
    durable::sync_dir(step.dir())
}
