//! What became of a step, from its files and the process table; and the end of a tree without a shim.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::getpid;

use super::log::{BadFrame, LogReader, ReadFrame, Stream};
use super::spec::{ExitRecord, ShimIdentity};
use super::system::{self, Seen};
use super::{ProcessError, StepDir};
use crate::failpoint::{self, Edge};

/// Between two looks at a tree that was killed.
const KILLED_LOOK: Duration = Duration::from_millis(20);

/// Between two looks at a tree that was asked to end: it takes its time.
const ASKED_LOOK: Duration = Duration::from_millis(100);

/// How a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepState {
    /// No shim ever reached its barrier.
    NotStarted,
    /// The shim left or died before `go`: nothing ran, nothing was spent.
    NotReleased,
    /// The shim lives. It may still be at its barrier.
    Running(ShimIdentity),
    /// Over, with its record.
    Exited(ExitRecord),
    /// The shim died without a record; parts of the tree may live: [`end_lost_tree`].
    Lost(ShimIdentity),
}

/// A process of a step's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its process id.
    pub pid: i32,
    /// When it began, in the kernel's unit.
    pub started: u64,
}

impl From<Seen> for Survivor {
    fn from(seen: Seen) -> Self {
        Self { pid: seen.pid, started: seen.started }
    }
}

/// Looks at the step now. Reads at most three small files and one process; fast enough for async code.
///
/// An exit record counts more than a living shim: that one is about to leave.
///
/// # Errors
/// [`ProcessError::Io`], and [`ProcessError::Format`] for files of a newer program.
pub fn inspect(step: &StepDir) -> Result<StepState, ProcessError> {
    if let Some(record) = ExitRecord::find(step)? {
        return Ok(StepState::Exited(record));
    }
    let Some(identity) = ShimIdentity::find(step)? else { return Ok(StepState::NotStarted) };
    if is_shim_alive(&identity) {
        return Ok(StepState::Running(identity));
    }
    // It may have ended in order between the two looks above.
    if let Some(record) = ExitRecord::find(step)? {
        return Ok(StepState::Exited(record));
    }
    Ok(if was_released(step)? { StepState::Lost(identity) } else { StepState::NotReleased })
}

/// A name of this start of the machine; `None` where the kernel has none.
#[must_use]
pub fn machine_start() -> Option<String> {
    system::boot_id().ok()
}

/// All living processes that carry the step's marker. Reads the whole process table: milliseconds on an ordinary
/// machine, not for a hot path. Always empty on macOS.
#[must_use]
pub fn survivors(step: &StepDir) -> Vec<Survivor> {
    system::marked(&step.name().marker()).into_iter().map(Survivor::from).collect()
}

/// Asks all that carries the step's marker to end, and comes back when nothing is left of it or the time is over. Whoever has a
/// screen can put it right. A shell with a terminal takes no notice of the first word, and ends at the second.
pub async fn ask_to_end(step: &StepDir, each: Duration) {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let until = tokio::time::Instant::now() + each;
        let mut asked = Vec::new();
        while tokio::time::Instant::now() < until {
            let (marker, before) = (step.name().marker(), asked);
            let look = tokio::task::spawn_blocking(move || {
                let found: Vec<_> =
                    system::marked(&marker).into_iter().map(|seen| (seen.pid, seen.started)).collect();
                for (pid, started) in found.iter().filter(|one| !before.contains(*one)) {
                    system::signal(*pid, *started, signal);
                }
                found
            });
            // who cannot look asks nobody; the kill that follows says why
            asked = look.await.unwrap_or_default();
            if asked.is_empty() {
                return;
            }
            tokio::time::sleep(ASKED_LOOK).await;
        }
    }
}

/// Kills what a shim that died without a record has left: everything that carries the step's marker, works under
/// `worktree`, or is among `known`, which [`TreeWatch::members`](super::TreeWatch::members) remembers; and whatever
/// descends from these. Returns what still lives at the deadline; empty is the normal case. Best effort: a process that
/// cleared its environment, moved elsewhere, lost its parent and was never looked at is not found.
///
/// # Errors
/// [`ProcessError::Refused`] while the shim lives: it ends its tree better.
pub async fn end_lost_tree(
    step: &StepDir,
    worktree: &Path,
    known: &[Survivor],
    deadline: Duration,
) -> Result<Vec<Survivor>, ProcessError> {
    if let StepState::Running(_) = inspect(step)? {
        return Err(ProcessError::Refused("the supervisor lives".to_owned()));
    }
    // As the kernel shows it; a worktree that is gone keeps its written path.
    let worktree = worktree.canonicalize().unwrap_or_else(|_| worktree.to_owned());
    let until = tokio::time::Instant::now() + deadline;
    loop {
        let (marker, worktree, known) = (step.name().marker(), worktree.clone(), known.to_vec());
        let killed = tokio::task::spawn_blocking(move || kill_once(&marker, &worktree, &known));
        let left = failpoint::around(Edge::EndLostTree, killed).await.map_err(|error| ProcessError::Io {
            what: "cannot search for processes",
            source: error.into(),
        })?;
        if left.is_empty() || tokio::time::Instant::now() >= until {
            return Ok(left);
        }
        tokio::time::sleep(KILLED_LOOK).await;
    }
}

pub(super) fn is_shim_alive(identity: &ShimIdentity) -> bool {
    system::is_alive(&identity.boot_id, identity.pid, identity.started)
}

/// Sends SIGKILL to every process of the lost tree and returns whom it was sent to.
fn kill_once(marker: &[u8], worktree: &Path, known: &[Survivor]) -> Vec<Survivor> {
    let mut found: HashMap<i32, Seen> =
        system::marked(marker).into_iter().map(|seen| (seen.pid, seen)).collect();
    let own_line = own_line();
    for pid in system::pids() {
        if !own_line.contains(&pid)
            && system::working_directory(pid).is_some_and(|dir| undeleted(dir).starts_with(worktree))
            && let Some(seen) = system::look_at(pid).filter(|seen| !seen.zombie)
        {
            found.insert(pid, seen);
        }
    }
    for known in known {
        let lives = system::look_at(known.pid).filter(|seen| seen.started == known.started && !seen.zombie);
        found.extend(lives.map(|seen| (seen.pid, seen)));
    }
    let roots = found.keys().copied().filter(|pid| !own_line.contains(pid)).collect();
    found.extend(system::descendants_of(roots).into_iter().map(|seen| (seen.pid, seen)));
    found.retain(|pid, seen| !own_line.contains(pid) && system::signal(*pid, seen.started, Signal::SIGKILL));
    found.into_values().map(Survivor::from).collect()
}

/// This process and those it descends from: whoever starts the server inside a worktree keeps his shell.
fn own_line() -> Vec<i32> {
    let mut line = vec![getpid().as_raw()];
    while let Some(seen) = line.last().and_then(|pid| system::look_at(*pid)) {
        if seen.parent <= 0 || line.contains(&seen.parent) {
            break;
        }
        line.push(seen.parent);
    }
    line
}

/// The kernel marks a removed working directory at the end of its path.
fn undeleted(dir: PathBuf) -> PathBuf {
    match dir.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(text) => PathBuf::from(text),
        None => dir,
    }
}

/// The `released` record is the first of a log and is on disk before the command exists.
fn was_released(step: &StepDir) -> Result<bool, ProcessError> {
    let io = |source| ProcessError::Io { what: "cannot read the log", source };
    let mut log = match LogReader::open(&step.log(), 0) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(io)?,
    };
    match log.next().map_err(io)? {
        ReadFrame::Record(record) => Ok(record.stream == Stream::Released),
        // taken for a log that never began its command would be run twice
        ReadFrame::Bad(BadFrame::Format) => Err(ProcessError::Format("the log")),
        ReadFrame::End | ReadFrame::Incomplete | ReadFrame::Bad(_) => Ok(false),
    }
}
