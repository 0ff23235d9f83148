//! Supervision of one step: a command that outlives the server which started it.
//!
//! Promises: a command runs under a small process of its own, the *shim*, which alone writes the step's framed
//! log, ends the whole tree of the command and leaves an exit record. The server that started it may be killed
//! or replaced meanwhile: [`inspect`] tells what became of the step, [`Tail`] reads on from a stored position,
//! [`Control`] reaches the living shim. Nothing is run before [`Launched::release`], so the caller can commit
//! the shim's identity first, and a process is signalled only while boot, pid and start time agree.
//!
//! Must not know: jobs, attempts, agents, what the output means, the store. It imports nothing of the crate but the
//! names of its failpoints.
//!
//! Fails: before the release with a [`ProcessError`] and nothing spent; after it never silently, as the
//! [`ExitRecord`] names the cause. A shim that was killed leaves no record: then [`StepState::Lost`], and
//! [`end_lost_tree`] does what can be done from outside (marker variable and working directory), which is best
//! effort where there is no systemd scope, and better the more often a [`TreeWatch`] looked at the tree before. On macOS the
//! tree is found by parentage only. Time that counts against a limit stands while the machine sleeps.
//!
//! Tested: frames, reader and writer beside the code, with properties; everything else by `tests/it/process.rs`
//! with real shims and shell scripts as commands. A golden file holds log format 1.

mod control;
mod durable;
pub(crate) mod group;
mod inspect;
mod launch;
mod log;
mod memory;
mod scope;
mod shim;
mod spec;
mod step;
mod system;
mod tail;
mod tree;
mod usage;

use std::io;

pub use control::{Control, MessageFate};
pub use group::OwnGroup;
pub use inspect::{StepState, Survivor, ask_to_end, end_lost_tree, inspect, machine_start, survivors};
pub use launch::{Launched, Launcher, ShimProgram};
pub use log::{BadFrame, LogPosition, LogReader, ReadFrame, Record, Stream};
pub use memory::OomKills;
pub use scope::{ScopeLimits, ScopeUse};
pub use shim::shim_main;
pub use spec::{CommandSpec, ExitCause, ExitRecord, ExitUsage, ShimIdentity, Stdin};
pub use step::{SOCKET_PATH_BYTES_MAX, StepDir, StepName};
pub use tail::{Tail, Tailed};
pub use tree::{TreeUse, TreeWatch};
pub use usage::{OwnUsage, own_usage};

/// The variable that marks every process of a step; its value is the [`StepName`].
pub const MARKER_VARIABLE: &str = "OFFSHOOT_STEP";

/// What can go wrong around a step, on the server's side. Texts carry no path.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The step name is not `<instance>-<job>-<attempt>-<step>`.
    #[error("invalid step name: {0}")]
    Name(&'static str),
    /// The control socket would not fit into a socket address.
    #[error(
        "the socket path is {length} bytes long and at most {SOCKET_PATH_BYTES_MAX} fit: use a shorter run directory"
    )]
    SocketPath {
        /// Its length in bytes.
        length: usize,
    },
    /// The command cannot be run as described.
    #[error("invalid command: {0}")]
    Spec(&'static str),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of the step directory is damaged, or written by a newer program.
    #[error("{0} cannot be read: damaged, or of a newer format")]
    Format(&'static str),
    /// The shim ended before it was ready; nothing was spent.
    #[error("the supervisor did not start: {0}")]
    Start(String),
    /// The shim did not answer in time.
    #[error("the supervisor did not answer within {0} s")]
    Deadline(u64),
    /// There is no shim to talk to.
    #[error("the supervisor is gone")]
    Gone,
    /// The shim answered no.
    #[error("the supervisor refused: {0}")]
    Refused(String),
}

impl ProcessError {
    /// Whether there was no room on the disk; a shim that could not begin says it in words.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Start(text) => {
                text.contains("No space left on device") || text.contains("Disk quota exceeded")
            }
            _ => false,
        }
    }

    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
