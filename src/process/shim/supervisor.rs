//! The poll loop around a running command.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{ChildStderr, ChildStdout};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::input::Input;
use super::ladder::{Ladder, Rung, Target, living};
use super::record::TEXT_BYTES_MAX;
use super::redact::{Held, Redactor};
use super::signals::Signals;
use super::sleep::StepTime;
use super::socket::{ControlSocket, Request};
use super::spawn::spawn;
use crate::failpoint::{self, Edge};
use crate::process::OomKills;
use crate::process::log::{FRAME_PAYLOAD_BYTES_MAX, LogWriter, Stream};
use crate::process::spec::{CommandSpec, ExitCause, ExitRecord, ExitUsage};
use crate::process::{StepDir, system};

/// A look around without any event: wall limit, sleep, gaps that wait for room.
const TICK_MS: u64 = 1_000;

/// The same while a tree is being ended.
const ENDING_TICK_MS: u64 = 20;

/// The exit code with which a shell tells that what it ran was killed.
const KILLED_CODE: i32 = 128 + libc::SIGKILL;

/// Reads of one pipe between two looks at everything else, so that a flood delays no cancel.
const READS_PER_TURN: usize = 16;

/// What a pipe can hold when its writer is gone: 64 KiB by default, 1 MiB at most for ordinary users.
const READS_AT_END: usize = 64;

/// Children waited for in one go; the rest comes in the next turn.
const REAPS_PER_TURN: usize = 10_000;

/// A step that is over, with what is still needed to write its record.
pub(super) struct Ended {
    pub(super) record: ExitRecord,
    pub(super) socket: Option<ControlSocket>,
}

pub(super) struct Supervisor {
    marker: Vec<u8>,
    socket: ControlSocket,
    signals: Signals,
    command: Command,
    stdout: Output<ChildStdout>,
    stderr: Output<ChildStderr>,
    redactor: Redactor,
    input: Input,
    ladder: Option<Ladder>,
    cause: Option<ExitCause>,
    /// The word that came with [`ExitCause::Ended`].
    word: Option<String>,
    grace_ms: u64,
    output_bytes: u64,
    output_bytes_end: u64,
    time: StepTime,
    oom_kills: OomKills,
    /// Awake time of the next look at them.
    oom_look_at: u64,
    /// The command was killed by the kernel.
    out_of_memory: bool,
}

/// One of the two pipes that the command writes to.
struct Output<P> {
    pipe: Option<P>,
    stream: Stream,
    /// Read, and not logged yet.
    held: Held,
}

struct Command {
    pid: Pid,
    /// It is a wrapper around the command.
    is_wrapper: bool,
    /// Exit code or signal, once it was waited for.
    ended: Option<(Option<i32>, Option<i32>)>,
}

impl Command {
    /// Whom to signal, as long as nobody else can have its pid.
    fn living(&self) -> Option<Target> {
        self.ended.is_none().then_some(Target { pid: self.pid, is_wrapper: self.is_wrapper })
    }
}

impl Ended {
    pub(super) fn not_started(
        log: LogWriter,
        mut text: String,
        no_program: bool,
        started_at_ms: i64,
    ) -> Self {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        let mut record = record_of(&log, ExitCause::SpawnFailed, started_at_ms);
        record.text = Some(text);
        record.no_program = no_program;
        Self { record, socket: None }
    }
}

impl Supervisor {
    /// Opens the socket, then starts the command: what runs can be reached.
    pub(super) fn start(step: &StepDir, spec: &CommandSpec, signals: Signals) -> std::io::Result<Self> {
        let socket = ControlSocket::bind(step)?;
        let wall_limit_ms = u64::try_from(spec.wall_limit.as_millis()).unwrap_or(u64::MAX);
        let spawned = failpoint::at(Edge::SpawnCommand, || spawn(step, spec));
        let mut child = spawned.inspect_err(|_| drop(std::fs::remove_file(step.socket())))?;
        let pid = i32::try_from(child.id()).map_err(|_| std::io::Error::other("impossible pid"))?;
        Ok(Self {
            marker: step.name().marker(),
            socket,
            signals,
            command: Command { pid: Pid::from_raw(pid), is_wrapper: !spec.wrapper.is_empty(), ended: None },
            stdout: Output { pipe: child.stdout.take(), stream: Stream::Stdout, held: Held::default() },
            stderr: Output { pipe: child.stderr.take(), stream: Stream::Stderr, held: Held::default() },
            redactor: Redactor::new(spec.redact.iter().cloned()),
            input: Input::new(child.stdin.take()),
            ladder: None,
            cause: None,
            word: None,
            grace_ms: u64::try_from(spec.stop_grace.as_millis()).unwrap_or(u64::MAX),
            output_bytes: 0,
            output_bytes_end: spec.output_bytes_end.unwrap_or(u64::MAX),
            time: StepTime::begin(wall_limit_ms, system::wall_ms(), system::awake_ms()),
            oom_kills: match &spec.memory_group {
                Some(dir) => OomKills::of_group(dir),
                None => OomKills::of_this_process(),
            },
            oom_look_at: 0,
            out_of_memory: false,
        })
    }

    /// Runs until the whole tree is gone and the log is on disk.
    pub(super) fn run(mut self, mut log: LogWriter, started_at_ms: i64) -> Ended {
        let mut told = log.sequence();
        let mut is_gone = false;
        while !is_gone {
            self.wait();
            if self.signals.take_terminate() {
                self.end(ExitCause::Stopped);
            }
            self.drain(&mut log, READS_PER_TURN);
            is_gone = self.follow_tree();
            self.input.write();
            self.answer(&mut log);
            self.look_at_clocks(&mut log);
            log.tell_gap();
            if log.sequence() != told {
                told = log.sequence();
                self.socket.ring();
            }
        }
        self.input.give_up();
        // Not until end-of-file: somebody outside of the tree may hold the other ends.
        self.drain(&mut log, READS_AT_END);
        self.stdout.finish(&self.redactor, &mut log);
        self.stderr.finish(&self.redactor, &mut log);
        log.tell_gap();
        let mut record = record_of(&log, self.cause.unwrap_or(ExitCause::Exited), started_at_ms);
        (record.code, record.signal) = self.command.ended.unwrap_or_default();
        record.output_bytes = self.output_bytes;
        record.text = self.word;
        record.out_of_memory = self.out_of_memory;
        record.survivors = u32::try_from(living(&self.marker).len()).unwrap_or(u32::MAX);
        Ended { record, socket: Some(self.socket) }
    }

    fn wait(&self) {
        let timeout = if self.ladder.is_some() { ENDING_TICK_MS } else { self.until_tick() };
        let mut ready: Vec<PollFd<'_>> =
            self.readable().map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        if let Some(pipe) = self.input.waiting() {
            ready.push(PollFd::new(pipe.as_fd(), PollFlags::POLLOUT));
        }
        // Whatever it says, everything is looked at: nothing here blocks.
        let _ = poll(&mut ready, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO));
    }

    fn until_tick(&self) -> u64 {
        self.time.left_ms(system::awake_ms()).min(TICK_MS)
    }

    fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pipes = [self.stdout.pipe.as_ref().map(AsFd::as_fd), self.stderr.pipe.as_ref().map(AsFd::as_fd)];
        std::iter::once(self.signals.as_fd())
            .chain(pipes.into_iter().flatten())
            .chain(self.socket.descriptors())
    }

    fn drain(&mut self, log: &mut LogWriter, reads: usize) {
        let before = self.output_bytes;
        self.output_bytes += self.stdout.drain(&self.redactor, log, reads);
        self.output_bytes += self.stderr.drain(&self.redactor, log, reads);
        if self.output_bytes > before && self.output_bytes > self.output_bytes_end {
            self.end(ExitCause::OutputLimit);
        }
    }

    /// Begins the end, if it has not begun.
    fn end(&mut self, cause: ExitCause) {
        if self.ladder.is_none() {
            self.cause = Some(cause);
            self.ladder =
                Some(Ladder::begin(Rung::Interrupt, self.grace_ms, self.command.living(), &self.marker));
        }
    }

    /// Waits for whoever has ended. True: the whole tree is gone, or what is left cannot be ended.
    fn follow_tree(&mut self) -> bool {
        let no_children = self.reap();
        if self.command.ended.is_none() {
            return self
                .ladder
                .as_mut()
                .is_some_and(|ladder| !ladder.go_on(self.command.living(), &self.marker));
        }
        self.cause.get_or_insert(ExitCause::Exited);
        if no_children && system::marked(&self.marker).is_empty() {
            return true;
        }
        match &mut self.ladder {
            None => {
                self.ladder = Some(Ladder::begin(Rung::Terminate, self.grace_ms, None, &self.marker));
                false
            }
            Some(ladder) => {
                ladder.command_ended(&self.marker);
                !ladder.go_on(None, &self.marker)
            }
        }
    }

    /// True: there is no child left, neither the command nor an orphan of its tree.
    fn reap(&mut self) -> bool {
        for _ in 0..REAPS_PER_TURN {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.command.pid => {
                    self.command.ended = Some((Some(code), None));
                    self.look_for_oom(code == KILLED_CODE);
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.command.pid => {
                    self.command.ended = Some((None, Some(signal as i32)));
                    self.look_for_oom(signal == Signal::SIGKILL);
                }
                Ok(WaitStatus::StillAlive) => return false,
                Err(nix::Error::ECHILD) => return true,
                Ok(_) | Err(_) => {}
            }
        }
        false
    }

    /// Why the command was killed, if it was: not by us before the ladder has begun.
    fn look_for_oom(&mut self, killed: bool) {
        self.out_of_memory = killed && self.ladder.is_none() && self.oom_kills.have_risen();
    }

    fn answer(&mut self, log: &mut LogWriter) {
        let (input, command) = (&mut self.input, &self.command);
        let mut asked = None;
        self.socket.serve(|request| match request {
            Request::Cancel => {
                asked = Some((ExitCause::Cancelled, None));
                "ok".to_owned()
            }
            Request::End(word) => {
                asked = Some((ExitCause::Ended, Some(word)));
                "ok".to_owned()
            }
            Request::Interrupt if command.living().is_some_and(Target::interrupt) => "ok".to_owned(),
            Request::Interrupt => "no the command has ended".to_owned(),
            Request::CloseStdin => {
                input.close();
                "ok".to_owned()
            }
            Request::Message { id, text } => match input.push(id, text, log) {
                Ok(fate) => fate.as_str().to_owned(),
                Err(why) => format!("no {why}"),
            },
            Request::Record | Request::Watch => "no the command has not ended".to_owned(),
        });
        if let Some((cause, word)) = asked
            && self.ladder.is_none()
        {
            self.word = word;
            self.end(cause);
        }
    }

    fn look_at_clocks(&mut self, log: &mut LogWriter) {
        let now = system::awake_ms();
        let looked = self.time.look(system::wall_ms(), now);
        if let Some(slept_ms) = looked.slept_ms {
            log.append(Stream::Slept, &slept_ms.to_le_bytes());
        }
        if looked.is_over {
            self.end(ExitCause::WallLimit);
        }
        if now >= self.oom_look_at {
            self.oom_look_at = now + TICK_MS;
            self.oom_kills.look();
        }
    }
}

impl<P: Read> Output<P> {
    /// Logs what the pipe has, in so many reads at most; gives how many bytes the command had written.
    fn drain(&mut self, redactor: &Redactor, log: &mut LogWriter, reads: usize) -> u64 {
        let mut buffer = [0_u8; FRAME_PAYLOAD_BYTES_MAX];
        let mut total = 0;
        for _ in 0..reads {
            let Some(open) = &mut self.pipe else { break };
            match open.read(&mut buffer) {
                Ok(0) => self.close(redactor, log),
                Ok(count) => {
                    total += count as u64;
                    let stream = self.stream;
                    redactor.pass(&mut self.held, &buffer[..count], |bytes| {
                        log.append(stream, bytes);
                    });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.close(redactor, log),
            }
        }
        total
    }

    fn close(&mut self, redactor: &Redactor, log: &mut LogWriter) {
        self.pipe = None;
        self.finish(redactor, log);
    }

    /// Nothing more is read from it.
    fn finish(&mut self, redactor: &Redactor, log: &mut LogWriter) {
        let stream = self.stream;
        redactor.finish(&mut self.held, |bytes| {
            log.append(stream, bytes);
        });
    }
}

/// Syncs the log, once: a failed sync is recorded, repeating it proves nothing.
fn record_of(log: &LogWriter, cause: ExitCause, started_at_ms: i64) -> ExitRecord {
    ExitRecord {
        cause,
        code: None,
        signal: None,
        out_of_memory: false,
        text: None,
        no_program: false,
        started_at_ms,
        log_synced: failpoint::at(Edge::SyncLog, || log.sync()).is_ok(),
        ended_at_ms: system::wall_ms(),
        output_bytes: 0,
        dropped_bytes: log.dropped_bytes(),
        survivors: 0,
        usage: usage(),
    }
}

fn usage() -> ExitUsage {
    // Linux counts resident memory in KiB, macOS in bytes (getrusage(2)).
    let rss_unit = if cfg!(target_os = "linux") { 1024 } else { 1 };
    let ms = |time: TimeVal| u64::try_from(time.num_milliseconds()).unwrap_or(0);
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or_else(
        |_| ExitUsage::default(),
        |usage| ExitUsage {
            user_ms: ms(usage.user_time()),
            system_ms: ms(usage.system_time()),
            max_rss_bytes: u64::try_from(usage.max_rss()).unwrap_or(0) * rss_unit,
        },
    )
}
