//! The program: puts the parts together, and is the only place that ends the process.
//!
//! Two verbs are not for people and come before everything else, before a thread or a runtime exists: the shim, which
//! supervises one step and must stay small, and the scripted agent of the demonstration and the tests.

use std::process::ExitCode;

use offshoot::cli::{self, CliError, ErrorKind, Local, Output};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    let verb = arguments.next();
    match verb.as_deref().and_then(|verb| verb.to_str()) {
        Some("shim") => offshoot::process::shim_main(arguments),
        Some("scripted-agent") => offshoot::demo::agent::scripted_agent_main(),
        _ => cli::run(program.into_iter().chain(verb).chain(arguments), &LOCAL),
    }
}

/// What the command line starts in this process.
const LOCAL: Local =
    Local { serve: |_, _, _, out| absent("server", out), demo: |_, _, out| absent("demonstration", out) };

fn absent(what: &str, out: &mut Output) -> ExitCode {
    let error = CliError::new(ErrorKind::Failed, format!("this build has no {what}"));
    out.error(&error.hint("see what it has", "offshoot --help"));
    ExitCode::FAILURE
}
