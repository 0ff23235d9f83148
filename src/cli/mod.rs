//! What a person or a script types, and what they read.
//!
//! Promises: answers on standard output, everything else on standard error; with `--json` one value in the API's
//! shapes, errors included; exit codes that scripts can rely on (`error.rs`); every error ends with what to type next;
//! nothing is asked for when nobody is there to answer; nothing waits in silence.
//!
//! Must not know: how the server works. Every verb but the local ones speaks to the API through `api_client`; the
//! local ones (`serve`, `demo`, `restore`) are handed in as [`Local`], because this folder lies below them.
//!
//! Fails: with [`CliError`], turned into words and an exit code here and nowhere else.
//!
//! Tested: arguments, wording and tables beside the code; whole commands in `tests/it/cli.rs` as processes.

mod args;
mod commands;
mod completion;
mod connection;
mod error;
mod human;
mod output;
mod typed;
mod unpack;
mod views;

pub use args::{DemoFlags, ServeFlags};
pub use error::{CliError, Ended, ErrorKind};
pub use output::{Output, Style};

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::clock::Clock;
use crate::config::{Config, Environment};
use args::{Cli, Colour, ConfigVerb, Global, Verb};

/// Runs the server with a checked configuration until it is told to stop; a server that cannot start says so.
pub type Serve = fn(Config, &Environment, &ServeFlags, &mut Output) -> ExitCode;

/// Runs the demonstration and prints what happens.
pub type Demo = fn(&DemoFlags, &Environment, &mut Output) -> ExitCode;

/// Puts a backup in the place of the database.
pub type Restore = fn(&Config, &Path) -> Result<Restored, CliError>;

/// What a restored backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The number of the job that was submitted last; 0: none.
    pub last_job: i64,
    /// Where the files are that were there before.
    pub set_aside: Option<PathBuf>,
}

/// What the command line starts in this process instead of asking a server.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    pub serve: Serve,
    pub demo: Demo,
    pub restore: Restore,
}

/// Runs one command line, the program's name first, and says how the process should end.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>, local: &Local) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let env = Environment::capture();
    if let Some(shell) = env.get(completion::VARIABLE) {
        return completion::answer(shell, &arguments, &env, &mut Output::to_terminal(Style::default()));
    }
    // https://no-color.org: set to anything but the empty text. A terminal that calls itself dumb has no colours.
    let plain = env.get("NO_COLOR").is_some() || env.get("TERM").is_some_and(|terminal| terminal == "dumb");
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let json = error.use_stderr() && arguments.iter().any(|argument| argument == "--json");
            return Output::to_terminal(Style::of_terminal(json, Colour::Auto, plain)).usage(&error);
        }
    };
    let mut out = Output::to_terminal(Style::of_terminal(cli.global.json, cli.global.color, plain));
    let verb = cli.verb.name();
    match dispatch(cli, &env, local, &mut out) {
        Ok(code) => code,
        Err(error) => {
            let error = error.in_typed_words(|flag| has_flag(verb, flag));
            let error = error.hint_if_none("see", format!("offshoot {verb} --help"));
            if error.kind != ErrorKind::ReaderGone {
                out.error(&error);
            }
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Whether the verb, or one below it, takes this long flag.
fn has_flag(verb: &str, flag: &str) -> bool {
    let command = Cli::command();
    let mut left: Vec<_> = command.find_subcommand(verb).into_iter().collect();
    while let Some(command) = left.pop() {
        if command.get_arguments().any(|argument| argument.get_long() == Some(flag)) {
            return true;
        }
        left.extend(command.get_subcommands());
    }
    false
}

fn dispatch(cli: Cli, env: &Environment, local: &Local, out: &mut Output) -> Result<ExitCode, CliError> {
    let done = |()| ExitCode::SUCCESS;
    match cli.verb {
        Verb::Demo(flags) => Ok((local.demo)(&flags, env, out)),
        Verb::Serve(flags) => commands::serve::run(&cli.global, &flags, env, local.serve, out),
        Verb::Config(ConfigVerb::Show { origin }) => {
            commands::config::show(&cli.global, origin, env, out).map(done)
        }
        Verb::Restore(flags) => {
            commands::restore::run(&cli.global, &flags, env, local.restore, out).map(done)
        }
        Verb::Doctor(flags) => commands::doctor::run(&cli.global, &flags, env, out),
        Verb::Init(flags) => {
            let Some(told) = commands::init::run(&cli.global, &flags, env, out)? else {
                return Ok(ExitCode::SUCCESS);
            };
            let before = Some(told.clone());
            let install = commands::ServiceVerb::Install { print: false, force: false, before };
            commands::service::run(install, &cli.global, env, out)
                .map_err(|error| commands::init::written_before(error, &told, env))
        }
        Verb::Service(verb) => commands::service::run(verb, &cli.global, env, out),
        Verb::Completions { shell } => commands::shell::completions(shell, out).map(done),
        Verb::Man { command } => commands::shell::man(&command, out).map(done),
        Verb::Version => commands::version::run(out).map(done),
        verb => speak(verb, &cli.global, env, out),
    }
}

/// What waits and speaks for a verb, on this thread.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(ErrorKind::Failed, format!("cannot start: {error}")))
}

/// Runs a verb that speaks to the server.
fn speak(verb: Verb, global: &Global, env: &Environment, out: &mut Output) -> Result<ExitCode, CliError> {
    let api = connection::connect(global, env)?;
    let runtime = runtime()?;
    // it is asked for by few, and what it says wrongly does not concern them
    let config = matches!(verb, Verb::Attach(_)).then(|| connection::load(global, env).ok()).flatten();
    let mut context = commands::Context {
        api,
        out,
        clock: Clock::system(),
        zone: jiff::tz::TimeZone::system(),
        local: commands::Local { env, config },
    };
    let ended = runtime.block_on(commands::speak(verb, &mut context))?;
    Ok(ExitCode::from(ended.exit_code()))
}

impl Verb {
    /// What was typed, for the hint that leads to its help.
    fn name(&self) -> &'static str {
        match self {
            Self::Demo(_) => "demo",
            Self::Doctor(_) => "doctor",
            Self::Man { .. } => "man",
            Self::Completions { .. } => "completions",
            Self::Openapi => "openapi",
            Self::Diff(_) => "diff",
            Self::Service(_) => "service",
            Self::Init(_) => "init",
            Self::Serve(_) => "serve",
            Self::Submit(_) => "submit",
            Self::Ls(_) => "ls",
            Self::Show(_) => "show",
            Self::Logs(_) => "logs",
            Self::Wait(_) => "wait",
            Self::Cancel(_) => "cancel",
            Self::Retry(_) => "retry",
            Self::FollowUp(_) => "follow-up",
            Self::Artifacts(_) => "artifacts",
            Self::Attach(_) => "attach",
            Self::Rescue(_) => "rescue",
            Self::Open(_) => "open",
            Self::Queue(_) => "queue",
            Self::Webhook(_) => "webhook",
            Self::Notify(_) => "notify",
            Self::Usage(_) => "usage",
            Self::Client(_) => "client",
            Self::Profile(_) => "profile",
            Self::Token(_) => "token",
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Gc { .. } => "gc",
            Self::Config(_) => "config",
            Self::Version => "version",
        }
    }
}

#[cfg(test)]
#[path = "hints_tests.rs"]
mod tests;
