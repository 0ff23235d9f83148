//! `offshoot serve`

use std::process::ExitCode;

use crate::cli::args::{Global, ServeFlags};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::{ErrorKind, Serve};
use crate::config::{Config, Environment, Flags};

/// Checks the configuration for serving, and serves until told to stop.
pub(in crate::cli) fn run(
    global: &Global,
    flags: &ServeFlags,
    env: &Environment,
    serve: Serve,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    if global.url.is_some() {
        return Err(CliError::new(ErrorKind::Usage, "serve is the server: it takes no --url")
            .hint("choose its address", "offshoot serve --bind ADDRESS --port PORT"));
    }
    let overrides = Flags {
        bind: flags.bind.clone(),
        port: flags.port,
        max_concurrent_jobs: flags.max_concurrent_jobs,
        data_dir: flags.data_dir.clone(),
        log_level: flags.log_level.clone(),
        log_format: flags.log_format.clone(),
        serving: true,
    };
    let config = Config::load(&overrides, env, global.config.as_deref())?;
    for warning in config.warnings() {
        out.say(&format!("warning: {}", warning.text));
    }
    Ok(serve(config, env, flags, out))
}
