//! `offshoot doctor`

use std::process::ExitCode;

use clap::Args;
use url::Url;

use super::service;
use crate::api_client::ApiClient;
use crate::cli::args::Global;
use crate::cli::connection;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::human;
use crate::cli::output::{Output, Tone};
use crate::cli::views::plural;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Environment, Flags};
use crate::doctor::{Patient, ServerLook, examine};
use crate::wire::doctor::{Finding, Report, Verdict};

/// The longest name of a check, and that of an agent behind it.
const NAME_CHARS: usize = 18;

#[derive(Debug, Args)]
#[command(after_help = "Exits with 1 when something keeps jobs from being done; warnings do not count. \
                        Every code: docs/doctor.md")]
pub(in crate::cli) struct DoctorFlags {
    /// Also ask GitHub whether it accepts the token; without it no other host is spoken to.
    #[arg(long)]
    online: bool,
}

/// Looks at this machine and at the server, and prints each finding as it comes.
pub(in crate::cli) fn run(
    global: &Global,
    flags: &DoctorFlags,
    env: &Environment,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let runtime = crate::cli::runtime()?;
    let mut written = Ok(());
    let report = runtime.block_on(async {
        let patient = Patient {
            env,
            config: as_served(global, env),
            config_file: Config::file(env, global.config.as_deref()).map(|(path, _)| path),
            server: ask_server(global, env).await,
            within: None,
            service: service::installed(global, env).await,
            clock: Clock::system(),
            online: flags.online,
        };
        examine(&patient, |finding| {
            if !out.is_json() && written.is_ok() {
                written = print(finding, out);
            }
        })
        .await
    });
    written?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        out.say(&sum(&report));
    }
    Ok(ExitCode::from(u8::from(report.problems > 0)))
}

/// With what a server would warn of. What it would not start with alone, each check says for itself.
fn as_served(global: &Global, env: &Environment) -> Result<Config, ConfigError> {
    let load = |serving| Config::load(&Flags { serving, ..Flags::default() }, env, global.config.as_deref());
    load(true).or_else(|_| load(false))
}

async fn ask_server(global: &Global, env: &Environment) -> ServerLook {
    let is_own = |api: &ApiClient| {
        let (config, url) = (as_served(global, env).ok(), Url::parse(api.base_url()).ok());
        config.zip(url).is_some_and(|(config, url)| config.server.is_reached_at(&url))
    };
    match connection::connect(global, env) {
        Ok(api) => ServerLook::at(&api, is_own(&api)).await,
        Err(CliError { kind: ErrorKind::Configuration { .. }, .. }) => ServerLook::NotAsked {
            why: "the configuration cannot be read, which says where it is".to_owned(),
        },
        Err(error) => ServerLook::NotAsked { why: error.message },
    }
}

fn print(finding: &Finding, out: &mut Output) -> Result<(), CliError> {
    let (word, tone) = match finding.verdict {
        Verdict::Ok => ("ok", Tone::Good),
        Verdict::Skipped => ("-", Tone::Quiet),
        Verdict::Warn => ("warn", Tone::Busy),
        Verdict::Fail => ("FAIL", Tone::Bad),
    };
    let word = out.toned(&format!("{word:<4}"), tone);
    let name = match &finding.subject {
        Some(subject) => format!("{} {subject}", finding.check),
        None => finding.check.to_owned(),
    };
    out.line(&format!(
        "{word}  {:<NAME_CHARS$}  {}",
        human::printable(&name),
        human::printable(&finding.detail)
    ))?;
    let Some(mend) = &finding.mend else { return Ok(()) };
    out.line(&format!("        to mend it:  {}", human::printable(mend)))
}

fn sum(report: &Report) -> String {
    let count = |count: usize, noun| {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        format!("{count} {}", plural(count, noun))
    };
    match (report.problems, report.warnings) {
        (0, 0) => "All is well.".to_owned(),
        (problems, warnings) => format!("{}, {}.", count(problems, "problem"), count(warnings, "warning")),
    }
}
