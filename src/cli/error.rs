//! What a command fails with: a kind that decides the exit code, a sentence, and what to type next.

use std::io;

use crate::api_client::ApiError;
use crate::wire::problem::Problem;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// None of the others.
    Failed,
    /// The command line itself is at fault.
    Usage,
    Unreachable,
    Unauthorised,
    NotFound,
    /// Something else is in the way, or it is in the wrong state.
    Conflict,
    TimedOut,
    /// The job went on, its watcher was interrupted.
    Interrupted,
    /// The configuration cannot be used; with sysexits' own codes, because service managers know them.
    Configuration {
        exit_code: u8,
    },
    /// The reader of our output went away: nothing is said and nothing failed.
    ReaderGone,
}

impl ErrorKind {
    /// The exit code that scripts rely on.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Unauthorised => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::TimedOut => 7,
            Self::Configuration { exit_code } => exit_code,
            // 128 + SIGINT, as shells count.
            Self::Interrupted => 130,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Failed | Self::ReaderGone => "failed",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::Unauthorised => "unauthorised",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Configuration { .. } => "configuration",
        }
    }
}

/// How a command ended that did what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// The job that was waited for failed.
    JobFailed,
    /// The job that was waited for was cancelled.
    JobCancelled,
}

impl Ended {
    /// The exit code that scripts rely on.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::JobFailed => 10,
            Self::JobCancelled => 11,
        }
    }
}

/// A reason to type something, and what to type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hint {
    label: String,
    command: String,
}

/// A command that did not do what it was told.
#[derive(Debug)]
pub struct CliError {
    pub kind: ErrorKind,
    /// What happened and why, in lower case, without a full stop.
    pub message: String,
    /// Further lines that belong to the message.
    details: Vec<String>,
    hints: Vec<Hint>,
    problem: Option<Problem>,
}

impl CliError {
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Vec::new(), hints: Vec::new(), problem: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Adds what to type next.
    #[must_use]
    pub fn hint(mut self, label: &str, command: impl Into<String>) -> Self {
        self.hints.push(Hint { label: label.to_owned(), command: command.into() });
        self
    }

    /// As [`Self::hint`], unless something to type is there already.
    pub(super) fn hint_if_none(self, label: &str, command: impl Into<String>) -> Self {
        if self.hints.is_empty() { self.hint(label, command) } else { self }
    }

    /// What became of standard output.
    pub(super) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(ErrorKind::ReaderGone, "the reader went away");
        }
        Self::new(ErrorKind::Failed, format!("cannot write to standard output: {error}"))
    }

    /// A file that was named on the command line.
    pub(super) fn file(path: &std::path::Path, error: &io::Error) -> Self {
        Self::new(ErrorKind::Usage, format!("cannot read {}: {error}", path.display()))
            .hint("look", format!("ls -l {}", path.display()))
    }

    /// The message, its details, and what to type next, one per line.
    pub(super) fn to_text(&self) -> String {
        let mut text = self.message.clone();
        for detail in &self.details {
            text.push_str("\n  ");
            text.push_str(detail);
        }
        let width = self.hints.iter().map(|hint| hint.label.chars().count()).max().unwrap_or(0) + 1;
        for Hint { label, command } in &self.hints {
            let label = format!("{label}:");
            text.push_str(&format!("\n  {label:width$}  {command}"));
        }
        super::human::printable(&text)
    }

    /// The problem document of the server, or one of our own in its shape (`status` 0: no server spoke).
    pub(super) fn to_problem(&self) -> Problem {
        self.problem.clone().unwrap_or_else(|| {
            let detail = self.details.iter().fold(self.message.clone(), |text, line| format!("{text}; {line}"));
            Problem::new(0, self.kind.code(), "The command failed", &detail)
        })
    }
}

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        let kind = kind_of(&error);
        let mut cli_error = Self::new(kind, error.to_string());
        if let Some(problem) = error.problem() {
            cli_error.details = problem.errors.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect();
            if let Some(id) = problem.request_id.as_deref().filter(|_| problem.status >= 500) {
                cli_error.details.push(format!("request {id}, as the server's log names it"));
            }
        }
        let cli_error = match &error {
            ApiError::Unreachable { .. } => cli_error
                .hint("start it", "offshoot serve")
                .hint("or name another", "offshoot --url http://HOST:PORT ..."),
            ApiError::BadAddress { .. } | ApiError::Unintelligible { .. } => {
                cli_error.hint("name another", "offshoot --url http://127.0.0.1:3456 ...")
            }
            ApiError::Unauthorised(problem) if problem.status == 401 => cli_error
                .hint("give the server's token", "export OFFSHOOT_TOKEN=...")
                .hint("or see which is used", "offshoot config show --origin"),
            ApiError::Unauthorised(_) => cli_error.hint("use a token that may", "export OFFSHOOT_TOKEN=..."),
            ApiError::Conflict(problem) => problem.jobs.iter().take(3).fold(cli_error, |cli_error, job| {
                cli_error.hint("look at it", format!("offshoot show {}", job.number))
            }),
            ApiError::Busy { retry_after: Some(after), .. } => {
                let command = format!("sleep {}; offshoot ...", after.as_secs().max(1));
                cli_error.hint("try again", command).hint("see what it does", "offshoot queue status")
            }
            ApiError::TimedOut { .. } | ApiError::Busy { .. } | ApiError::Server(_) => {
                cli_error.hint("see what it does", "offshoot queue status")
            }
            ApiError::NotFound(_) | ApiError::Invalid { .. } => cli_error,
        };
        Self { problem: error.problem().cloned(), ..cli_error }
    }
}

fn kind_of(error: &ApiError) -> ErrorKind {
    match error {
        ApiError::Unreachable { .. } | ApiError::Unintelligible { .. } => ErrorKind::Unreachable,
        ApiError::TimedOut { .. } => ErrorKind::TimedOut,
        ApiError::BadAddress { .. } => ErrorKind::Usage,
        ApiError::Unauthorised(_) => ErrorKind::Unauthorised,
        ApiError::NotFound(_) => ErrorKind::NotFound,
        ApiError::Conflict(_) => ErrorKind::Conflict,
        ApiError::Invalid { problem } if problem.status == 422 => ErrorKind::Usage,
        ApiError::Invalid { .. } | ApiError::Busy { .. } | ApiError::Server(_) => ErrorKind::Failed,
    }
}

