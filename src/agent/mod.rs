//! Coding agents as pure adapters: what to start, how to read what it says, how to judge how it ended.
//!
//! Promises: an [`Agent`] turns an [`Invocation`] into one argument vector with the prompt on standard input, and
//! its [`StreamParser`] turns lines of output into [`AgentEvent`]s and, together with the exit, into one
//! [`AgentVerdict`]. Adding an agent is one file here and one line in [`registry`].
//!
//! Must not know: processes, files, clocks, jobs, git, the database. Nothing here starts a program or reads one
//! byte; whoever runs the command feeds the bytes in. Of the crate it imports `domain` alone.
//!
//! Fails: building a command is refused with an [`AgentError`]. Reading never fails: what is not understood
//! becomes [`AgentEvent::Output`], so a newer agent with new event types still works. Memory is bounded by the line
//! cap of [`LineSplitter`] and the element caps of the JSON shapes, however hostile the output is.
//!
//! Tested: beside the code by tables and properties; in `tests/it/agent_transcripts.rs` against recorded output
//! of the real programs; in `tests/it/agent.rs` against the scripted agent as a real process.

mod acp;
mod capabilities;
mod claude;
mod codex;
mod command;
mod event;
mod gemini;
mod invocation;
mod json_lines;
mod last_words;
mod lenient;
mod lines;
mod newest;
mod opencode;
mod output;
mod probe;
mod reader;
pub mod registry;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod verdict;

pub use acp::Acp;
pub use capabilities::{AGENT_OPTIONS, Capabilities};
pub use claude::{ALWAYS_DISALLOWED_TOOLS, Claude, DEFAULT_ALLOWED_TOOLS};
pub use codex::Codex;
pub use command::Command;
pub use event::{AgentEvent, Channel, EVENT_TEXT_BYTES_MAX, tool_name};
pub use gemini::Gemini;
pub use invocation::{AgentCommand, AgentError, Invocation, Session};
pub(crate) use invocation::{SESSION_ID_BYTES_MAX, is_session_id};
pub(crate) use json_lines::parse as parse_line;
pub use lines::{LINE_BYTES_MAX, Line, LineSplitter};
pub(crate) use newest::Newest;
pub use opencode::Opencode;
pub use output::command_output;
pub use probe::{AuthProbe, AuthState, ProbeSpec, Version};

pub use reader::AgentReader;
pub use text::one_line;
pub use verdict::{AgentOutcome, AgentVerdict, Denial, Fault, StepExit, ToolUses, Usage};

use crate::domain::agent_kind::AgentKind;
use probe::with_arguments;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One kind of coding agent. Implementations hold no state: one value serves all attempts at once.
pub trait Agent: Send + Sync {
    fn kind(&self) -> AgentKind;

    fn capabilities(&self) -> Capabilities;

    /// The program to start for this invocation.
    ///
    /// # Errors
    /// When the agent is known to refuse such a start: see [`AgentError`].
    fn command(&self, invocation: &Invocation) -> Result<AgentCommand, AgentError>;

    /// Names of environment variables that are passed on from the server's own environment. Everything else is
    /// withheld, above all keys and tokens, unless the owner names it in the entry's `env`.
    fn environment_names(&self) -> &'static [&'static str] {
        BASE_ENVIRONMENT_NAMES
    }

    /// Where the agent needs somebody to speak with: what this program is called with to be that, behind its own name; the agent's
    /// command follows. Empty: it is started itself.
    fn speaker(&self) -> &'static [&'static str] {
        &[]
    }

    /// Where the program keeps its settings, its login and its conversations, for a sandbox in which only that can be
    /// written. `env` is the environment that it will have.
    fn own_places(&self, _env: &BTreeMap<String, String>) -> OwnPlaces {
        OwnPlaces::default()
    }

    /// The same of `program`, a command with its arguments, for a kind that stands for several programs.
    fn own_places_of(&self, _program: &[String], env: &BTreeMap<String, String>) -> OwnPlaces {
        self.own_places(env)
    }

    /// The arguments behind the program with which a person opens this conversation in a terminal; `None`: nobody can.
    fn by_hand(&self, _session_id: &str) -> Option<Vec<String>> {
        None
    }

    /// Where the program itself may stand when `program`, a file without symbolic links, is only a script that starts
    /// it: a script that is killed can leave it running. Where none of these exists, the script is started.
    fn native_programs(&self, _program: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What its file of logins is to be when a run has ended that had a copy: `own` as it is, with the tokens that the run has
    /// renewed; `None` where there is nothing to change. Nothing else of `copy` may come through, since anybody may have written it.
    fn renewed_login(&self, _own: &[u8], _copy: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// A fresh reader for one step's output; paths below `working_dir` are shown without it.
    fn parser(&self, working_dir: &Path) -> Box<dyn StreamParser>;

    /// How to ask the installed program for its version and login, or `None` where there is nothing to ask.
    fn probe(&self, program: &[String]) -> Option<ProbeSpec>;
}

/// What a program of this kind has of its own. Absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPlaces {
    /// Directories that it writes; a missing one is the program's to make, where it may.
    pub dirs: Vec<PathBuf>,
    /// Files that it rewrites at every start, and that say what it runs: it gets a copy, and what it writes there is dropped.
    pub files: Vec<PathBuf>,
    /// Files of logins that can say more than a login: it gets a copy, of which [`Agent::renewed_login`] comes back.
    pub logins: Vec<PathBuf>,
    /// What it would take for its settings wherever it is, and for which nothing can stand: removed at the end where there was none.
    pub absent: Vec<PathBuf>,
    /// What makes it run programs or says what it is told, for every later run of the owner's too: only to be read.
    pub kept: Vec<Kept>,
    /// Directories of programs and scripts that it makes itself and then runs: empty at every start.
    pub fresh: Vec<PathBuf>,
}

/// Something that its program must not write, nor make where it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub path: PathBuf,
    pub missing: Missing,
}

/// What stands for something that is not there, so that nobody else can put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// An empty directory.
    Dir,
    /// A file with this text, which says nothing to the program.
    File(&'static str),
    /// Nothing: the program would take anything there for something.
    Nothing,
}

/// What stands in the first of `dirs` under these names, for [`OwnPlaces::kept`].
fn kept(dirs: &[PathBuf], names: &[(&str, Missing)]) -> Vec<Kept> {
    let Some(dir) = dirs.first() else { return Vec::new() };
    names.iter().map(|(name, missing)| Kept { path: dir.join(name), missing: *missing }).collect()
}

/// The same for [`OwnPlaces::fresh`].
fn below(dirs: &[PathBuf], names: &[&str]) -> Vec<PathBuf> {
    let Some(dir) = dirs.first() else { return Vec::new() };
    names.iter().map(|name| dir.join(name)).collect()
}

/// `below` in the directory that a variable names, or in `usual` below the home directory; nothing without either.
fn place(env: &BTreeMap<String, String>, variable: &str, usual: &str, below: &str) -> Option<PathBuf> {
    let named = env.get(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = named.or_else(|| Some(Path::new(env.get("HOME")?).join(usual)))?;
    let place = if below.is_empty() { dir } else { dir.join(below) };
    place.is_absolute().then_some(place)
}

/// Which of the two output streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Reads one step's output, line by line, and judges it at the end.
pub trait StreamParser: Send + Sync {
    /// Takes one line without its newline and gives the events it holds, often none or one. Never panics.
    fn line(&mut self, stream: Stream, line: &[u8]) -> Vec<AgentEvent>;

    /// The judgement from everything read so far and the way the process ended.
    fn finish(&self, exit: StepExit) -> AgentVerdict;
}

/// What any program needs to find its home, its tools, its language and its certificates. Left out on purpose:
/// everything that is a key or leads to one (`*_API_KEY`, `*_TOKEN`, `SSH_AUTH_SOCK`, proxy URLs, which may hold
/// passwords) and what would let an agent start services outside its tree (`XDG_RUNTIME_DIR`,
/// `DBUS_SESSION_BUS_ADDRESS`).
pub const BASE_ENVIRONMENT_NAMES: &[&str] = &[
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TERM",
    "TZ",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
];

/// [`BASE_ENVIRONMENT_NAMES`] and `more`; `N` is the length of both together.
const fn base_names_and<const N: usize>(more: &[&'static str]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = if at < BASE_ENVIRONMENT_NAMES.len() {
            BASE_ENVIRONMENT_NAMES[at]
        } else {
            more[at - BASE_ENVIRONMENT_NAMES.len()]
        };
        at += 1;
    }
    names
}
