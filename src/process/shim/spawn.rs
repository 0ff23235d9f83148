//! Starts the command.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, access};

use crate::process::spec::{CommandSpec, Stdin};
use crate::process::{MARKER_VARIABLE, StepDir, system};

/// The program itself is missing, or nobody may run it.
#[derive(Debug, thiserror::Error)]
#[error("cannot run the program: {0}")]
pub(super) struct NoProgram(io::Error);

/// Whether a command could not be started for want of its program.
pub(super) fn is_without_program(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.downcast_ref::<NoProgram>().is_some())
}

/// Starts the command in a session of its own, bound to the life of this process, with pipes that do not block.
pub(super) fn spawn(step: &StepDir, spec: &CommandSpec) -> io::Result<Child> {
    let mut argv = spec.wrapper.iter().chain(&spec.argv);
    let Some(program) = argv.next() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program"));
    };
    if !spec.wrapper.is_empty() {
        look_for_program(spec)?;
    }
    if !spec.working_dir.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the working directory does not exist"));
    }
    let mut command = Command::new(program);
    command
        .args(argv)
        .env_clear()
        .envs(&spec.env)
        .env("PWD", &spec.working_dir)
        .env(MARKER_VARIABLE, step.name().as_str())
        .current_dir(&spec.working_dir)
        .stdin(open_stdin(&spec.stdin)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    prepare_child(&mut command, open_files(spec.open_files_max)?);
    let child = command.spawn().map_err(|error| refused(error, &spec.working_dir))?;
    for end in [
        child.stdout.as_ref().map(AsFd::as_fd),
        child.stderr.as_ref().map(AsFd::as_fd),
        child.stdin.as_ref().map(AsFd::as_fd),
    ]
    .into_iter()
    .flatten()
    {
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok(child)
}

/// A wrapper that cannot find the command says so in words and by an exit code of its own, which say nothing certain.
fn look_for_program(spec: &CommandSpec) -> io::Result<()> {
    let Some(program) = spec.argv.first() else { return Ok(()) };
    let is_program = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let found = if program.contains('/') {
        is_program(&spec.working_dir.join(program))
    } else {
        let dirs = spec.env.get("PATH").map_or("", String::as_str);
        std::env::split_paths(dirs).any(|dir| is_program(&spec.working_dir.join(dir).join(program)))
    };
    if found { Ok(()) } else { Err(io::Error::other(NoProgram(io::Error::from_raw_os_error(libc::ENOENT)))) }
}

/// What it means that the system did not start the command. execve(2) and chdir(2) fail with the same numbers, so the
/// directory is looked at once more.
fn refused(error: io::Error, working_dir: &Path) -> io::Error {
    let of_program = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EACCES | libc::ENOEXEC));
    if !of_program {
        return io::Error::new(error.kind(), format!("cannot start the program: {error}"));
    }
    match access(working_dir, AccessFlags::X_OK) {
        Ok(()) => io::Error::other(NoProgram(error)),
        Err(_) => io::Error::new(error.kind(), format!("cannot enter the working directory: {error}")),
    }
}

fn open_stdin(stdin: &Stdin) -> io::Result<Stdio> {
    let path = match stdin {
        Stdin::Null => return Ok(Stdio::null()),
        Stdin::Messages => return Ok(Stdio::piped()),
        Stdin::File(path) => path,
    };
    // Not blocking on a fifo that somebody put there; for a plain file the flag means nothing.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the input is not a plain file"));
    }
    Ok(system::sealed(file)?.into())
}

/// Soft and hard limit of open files for the command: never more than this process has, because nobody may raise that.
fn open_files(wanted: Option<u64>) -> io::Result<(rlim_t, rlim_t)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let hard = wanted.map_or(hard, |wanted| wanted.min(hard));
    Ok((soft.min(hard), hard))
}

/// A session of its own, no inherited signal settings, its limits, and an end together with this process.
#[expect(unsafe_code, reason = "code between fork and exec is unsafe in every wrapper")]
fn prepare_child(command: &mut Command, (soft, hard): (rlim_t, rlim_t)) {
    let parent = nix::unistd::getpid();
    let volunteers = system::may_volunteer_for_oom();
    // SAFETY: only signal, setsid, setrlimit, open, write, close, prctl and getppid are called, all async-signal-safe;
    // nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            // Ignored signals are inherited: a server begun in the background of a shell ignores SIGQUIT.
            for signal in Signal::iterator() {
                libc::signal(signal as libc::c_int, libc::SIG_DFL);
            }
            nix::unistd::setsid()?;
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
            if volunteers {
                system::volunteer_for_oom();
            }
            system::die_with_parent(parent)
        });
    }
}
