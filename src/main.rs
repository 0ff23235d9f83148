//! The program: puts the parts together, and is the only place that ends the process.
//!
//! Four verbs are not for people and come before everything else, before a thread or a runtime exists: the shim, which
//! supervises one step and must stay small; what draws a line around the sandbox of a step and becomes it; the speaker for agents of the Agent Client Protocol, which is the program of a step
//! itself; and the scripted agent of the demonstration and the tests.

use std::process::ExitCode;

use offshoot::cli::{self, CliError, ErrorKind, Local, Restored};
use offshoot::{daemon, demo};

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    offshoot::failpoint::take(offshoot::config::Environment::capture().get(offshoot::failpoint::VARIABLE));
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    let verb = arguments.next();
    match verb.as_deref().and_then(|verb| verb.to_str()) {
        Some("shim") => offshoot::process::shim_main(arguments),
        Some("walls") => offshoot::isolation::walls_main(arguments),
        Some("acp") => offshoot::acp::acp_main(arguments),
        Some("scripted-agent") => demo::agent::scripted_agent_main(),
        _ => cli::run(program.into_iter().chain(verb).chain(arguments), &LOCAL),
    }
}

/// What the command line starts in this process.
const LOCAL: Local = Local {
    serve: |config, env, flags, out| match daemon::run(config, env, flags.stop_agents) {
        Ok(code) => code,
        Err(error) => {
            let kind = ErrorKind::Configuration { exit_code: error.exit_code() };
            let mut shown = CliError::new(kind, error.to_string());
            if let Some((what, command)) = error.hint() {
                shown = shown.hint(what, command);
            }
            out.error(&shown);
            ExitCode::from(error.exit_code())
        }
    },
    restore: |config, backup| match daemon::restore(config, backup) {
        Ok(done) => Ok(Restored { last_job: done.verified.last_job.0, set_aside: done.set_aside }),
        Err(error) => {
            let (what, command) = error.hint();
            let kind = ErrorKind::Configuration { exit_code: error.exit_code() };
            Err(CliError::new(kind, error.to_string()).hint(what, command))
        }
    },
    demo: |flags, env, out| match demo::run(flags, env, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&CliError::new(ErrorKind::Failed, format!("the demonstration failed: {error:#}")));
            ExitCode::FAILURE
        }
    },
};
