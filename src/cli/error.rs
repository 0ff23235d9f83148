//! What a command fails with: a kind that decides the exit code, a sentence, and what to type next.

use std::io;

use super::typed;
use crate::api_client::ApiError;
use crate::domain::id::ClientId;
use crate::domain::phrases::path_word;
use crate::wire::problem::{JobName, Problem};

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
    /// The answer, which was told, says what of it failed.
    InPart,
}

impl Ended {
    /// The exit code that scripts rely on.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::JobFailed => 10,
            Self::JobCancelled => 11,
            Self::InPart => 1,
        }
    }

    /// With `--json`, where the answer is the one value on standard output and an error beside it would be a second one.
    pub(super) const fn in_part_if(failed: bool) -> Self {
        if failed { Self::InPart } else { Self::Done }
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
    problem: Option<Box<Problem>>,
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

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

    /// The same words with another exit code, where a verb knows better what a status means.
    pub(super) fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Adds a line to the message.
    pub(super) fn detail(mut self, line: String) -> Self {
        self.details.push(line);
        self
    }

    /// Says first what it is about.
    pub(super) fn about(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// As [`Self::hint`], unless something to type is there already.
    pub(super) fn hint_if_none(self, label: &str, command: impl Into<String>) -> Self {
        if self.hints.is_empty() { self.hint(label, command) } else { self }
    }

    /// Calls members of a request by the flags that set them, as far as the command has such a flag: who has typed `--timeout` knows
    /// of no `/options/timeoutSeconds`. With `--json` the server's own words stay.
    pub(super) fn in_typed_words(mut self, has_flag: impl Fn(&str) -> bool) -> Self {
        let Some(problem) = &self.problem else { return self };
        for (place, fault) in problem.errors.iter().enumerate() {
            let name = typed::flag_of(&fault.pointer).filter(|flag| has_flag(flag));
            let name = name.map_or_else(|| typed::member(&fault.pointer), |flag| format!("--{flag}"));
            let (said, typed) = (typed::told(fault), format!("{name} {}", fault.detail));
            for line in &mut self.details {
                if *line == format!("{} {}", fault.pointer, fault.detail) {
                    line.clone_from(&typed);
                }
            }
            // the first stands for all in the message, which may say before it what it is about, and behind it how many there are
            if place == 0
                && let Some(at) = said_at(&self.message, &said)
            {
                self.message.replace_range(at..at + said.len(), &typed);
            }
        }
        self
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
            .hint("look", format!("ls -l {}", path_word(path)))
    }

    /// Where files are meant to be below it.
    pub(super) fn no_home() -> Self {
        Self::new(ErrorKind::Failed, "there is no home directory").hint("say where it is", "export HOME=...")
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
        self.problem.as_deref().cloned().unwrap_or_else(|| {
            let detail =
                self.details.iter().fold(self.message.clone(), |text, line| format!("{text}; {line}"));
            Problem::new(0, self.kind.code(), "The command failed", &detail)
        })
    }
}

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        let kind = kind_of(&error);
        let mut cli_error = Self::new(kind, error.to_string());
        if let Some(problem) = error.problem() {
            // the first is in the message already
            let is_told =
                |place, fault| place == 0 && said_at(&cli_error.message, &typed::told(fault)).is_some();
            let others = problem.errors.iter().enumerate().filter(|&(place, fault)| !is_told(place, fault));
            cli_error.details =
                others.map(|(_, fault)| format!("{} {}", fault.pointer, fault.detail)).collect();
            if let Some(id) = problem.request_id.as_deref().filter(|_| problem.status >= 500) {
                cli_error.details.push(format!("request {id}, as the server's log names it"));
            }
        }
        if let ApiError::Busy { retry_after: Some(after), .. } = &error {
            cli_error.details.push(format!("it asks to be tried again in {} s", after.as_secs().max(1)));
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
                .hint("or use the configured secret", "unset OFFSHOOT_TOKEN"),
            ApiError::Unauthorised(_) => cli_error.hint("use a token that may", "export OFFSHOOT_TOKEN=..."),
            ApiError::Conflict(problem) if problem.existing_id.is_some() => {
                let id = problem.existing_id.as_deref().unwrap_or_default();
                let noun = if id.starts_with(ClientId::PREFIX) { "client show" } else { "show" };
                cli_error.hint("look at it", format!("offshoot {noun} {id}"))
            }
            ApiError::Conflict(problem) => {
                let look = |cli_error: Self, job: &JobName| {
                    cli_error.hint("look at it", format!("offshoot show {}", job.number))
                };
                let cli_error = problem.jobs.iter().take(3).fold(cli_error, look);
                match problem.jobs.first().filter(|_| problem.code == "branch_busy") {
                    Some(job) => cli_error
                        .hint("or go on behind it", format!("offshoot follow-up {} \"...\"", job.number)),
                    None => cli_error,
                }
            }
            ApiError::Server(problem) if problem.code == "remote_refused" => cli_error
                .hint("see whether git itself gets there", "git ls-remote git@github.com:ORG/REPO.git")
                .hint("or name another address", "offshoot client add ORG/REPO --clone-url ..."),
            ApiError::TimedOut { .. } | ApiError::Busy { .. } | ApiError::Server(_) => {
                cli_error.hint("see what it does", "offshoot queue status")
            }
            ApiError::NotFound(_) | ApiError::Invalid { .. } => cli_error,
        };
        Self { problem: error.problem().cloned().map(Box::new), ..cli_error }
    }
}

/// Where `message` says this, as words of its own.
fn said_at(message: &str, said: &str) -> Option<usize> {
    let is_bounded = |at: usize| {
        let (before, behind) = (&message[..at], &message[at + said.len()..]);
        (before.is_empty() || before.ends_with(' ')) && (behind.is_empty() || behind.starts_with(" (and "))
    };
    message.match_indices(said).map(|(at, _)| at).find(|at| is_bounded(*at))
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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::wire::problem::Fault;

    fn refused(status: u16, code: &str, detail: &str) -> Problem {
        Problem::new(status, code, "Title", detail)
    }

    #[test]
    fn exit_codes_are_those_that_scripts_know() {
        let table = [
            (ErrorKind::ReaderGone, 0),
            (ErrorKind::Failed, 1),
            (ErrorKind::Usage, 2),
            (ErrorKind::Unreachable, 3),
            (ErrorKind::Unauthorised, 4),
            (ErrorKind::NotFound, 5),
            (ErrorKind::Conflict, 6),
            (ErrorKind::TimedOut, 7),
            (ErrorKind::Configuration { exit_code: 78 }, 78),
            (ErrorKind::Interrupted, 130),
        ];
        for (kind, code) in table {
            assert_eq!(kind.exit_code(), code, "{kind:?}");
        }
        let ended = [Ended::Done, Ended::JobFailed, Ended::JobCancelled].map(Ended::exit_code);
        assert_eq!(ended, [0, 10, 11]);
    }

    #[test]
    fn statuses_of_answers_become_exit_codes() {
        for (status, code) in [
            (400, 1),
            (401, 4),
            (403, 4),
            (404, 5),
            (409, 6),
            (422, 2),
            (429, 1),
            (500, 1),
            (502, 1),
            (503, 1),
        ] {
            let error = CliError::from(ApiError::from_problem(refused(status, "code", "why"), None));
            assert_eq!(error.kind.exit_code(), code, "{status}");
            assert_eq!(error.to_problem().status, status);
        }
    }

    #[test]
    fn an_error_says_what_why_and_what_to_type() {
        let away = ApiError::Unreachable {
            url: "http://127.0.0.1:3456".to_owned(),
            why: "connection refused".to_owned(),
            maybe_done: false,
        };
        assert_snapshot!(CliError::from(away).to_text(), @r"
        cannot reach offshoot at http://127.0.0.1:3456 (connection refused)
          start it:         offshoot serve
          or name another:  offshoot --url http://HOST:PORT ...
        ");
        let mut busy = refused(409, "branch_busy", "branch \"feature/x\" is in use by job #142");
        busy.jobs = vec![JobName { id: "job-abcd".to_owned(), number: 142 }];
        assert_snapshot!(CliError::from(ApiError::from_problem(busy, None)).to_text(), @r#"
        branch "feature/x" is in use by job #142
          look at it:          offshoot show 142
          or go on behind it:  offshoot follow-up 142 "..."
        "#);
        let unreached = refused(502, "remote_refused", "no such repository");
        let text = CliError::from(ApiError::from_problem(unreached, None)).to_text();
        assert!(text.contains("git ls-remote") && !text.contains("queue status"), "{text}");
        let mut alone = refused(422, "invalid", "title is too long");
        alone.errors = vec![Fault::new("/title", "is too long")];
        let error = CliError::from(ApiError::from_problem(alone, None));
        assert_eq!(error.about("acme/widgets").to_text(), "acme/widgets: title is too long");
        let detail = "branchName must not begin with \u{1b}[2J (and one more fault)";
        let mut invalid = refused(422, "invalid", detail);
        invalid.errors = vec![
            Fault::new("/branchName", "must not begin with \u{1b}[2J"),
            Fault::new("/title", "is too long"),
        ];
        let error = CliError::from(ApiError::from_problem(invalid, None));
        assert_snapshot!(error.hint("see the rules", "offshoot submit --help").to_text(), @r"
        branchName must not begin with  [2J (and one more fault)
          /title is too long
          see the rules:  offshoot submit --help
        ");
    }

    /// The server's own forms (`AppError::Invalid`), with what a command says before them.
    #[test]
    fn the_first_fault_is_told_once_and_in_typed_words_wherever_it_stands() {
        let faults = [
            Fault::new("/options/title", "is too long"),
            Fault::new("/title", "is too long"),
            Fault::new("/title", "is too long (and odd)"),
        ];
        let told = |faults: &[Fault], detail: &str| {
            let mut problem = refused(422, "invalid", detail);
            problem.errors = faults.to_vec();
            let error = CliError::from(ApiError::from_problem(problem, None)).about("acme/widgets");
            error.in_typed_words(|flag| flag == "title").to_text()
        };
        let rows = [
            (told(&faults[1..2], "title is too long"), "acme/widgets: --title is too long"),
            (
                told(&faults[..2], "options/title is too long (and one more fault)"),
                "acme/widgets: options.title is too long (and one more fault)\n  --title is too long",
            ),
            (
                told(&faults, "options/title is too long (and 2 more faults)"),
                "acme/widgets: options.title is too long (and 2 more faults)\n  --title is too long\n  --title is too long (and odd)",
            ),
            (
                told(&[Fault::new("", "must be an object")], "the body must be an object"),
                "acme/widgets: the body must be an object",
            ),
            // what another server sends stands as it is
            (told(&faults[1..2], "one is wrong"), "acme/widgets: one is wrong\n  --title is too long"),
        ];
        for (told, expected) in rows {
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_failure_of_ours_has_the_shape_of_the_servers() {
        let problem = CliError::usage("there is no prompt").to_problem();
        assert_eq!((problem.code.as_str(), problem.status), ("usage", 0));
        assert_eq!(
            (problem.detail.as_str(), problem.error.as_str()),
            ("there is no prompt", "there is no prompt")
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = CliError::output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((gone.kind, gone.kind.exit_code()), (ErrorKind::ReaderGone, 0));
        assert_eq!(CliError::output(&io::ErrorKind::StorageFull.into()).kind.exit_code(), 1);
    }
}
