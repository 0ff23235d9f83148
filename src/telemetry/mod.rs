//! Logging: to standard error, or to a file of ours that turns by itself, for people or as one JSON object a line.
//!
//! Promises: fields of ours are `job.id`, `job.number`, `attempt`, `step` and `client.id`, by these names everywhere, so
//! that one search finds all that happened to a job. Secrets are `SecretString`s, whose `Debug` shows none of them. A file
//! stays within its bound, and a full disk costs lines, never work.
//!
//! Must not know: what is logged. Fails: when logging was set up before, or the file cannot be opened at the start; never
//! later. Tested: the file beside the code, the whole by `tests/it/life_weeks*.rs` and `tests/it/config_secrets.rs`.

mod rotation;

use std::io;

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogSettings;

/// Libraries that say too much below warnings to be of use in a queue's log; `trace` lets all of them speak.
const QUIET: &[&str] =
    &["h2", "hyper", "hyper_util", "octocrab", "reqwest", "rustls", "tower", "refinery_core", "globset"];
/// Says of every refused certificate that it is an error of this program; whoever made the connection says it with the
/// peer's name, and knows how bad it is.
const SILENT: &str = "rustls_platform_verifier";

pub use rotation::LogFile;

/// Why nothing is logged.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("logging is set up already")]
    AlreadySet,
    #[error("the log file cannot be opened: {0}")]
    File(#[from] io::Error),
}

/// Sends everything that is logged from now on to the file of the settings, or to standard error.
///
/// # Errors
/// When this process logs already, or the file cannot be opened.
pub fn init(settings: &LogSettings) -> Result<(), LogError> {
    let subscriber = match &settings.file {
        Some(file) => subscriber(settings, LogFile::open(file.clone())?),
        None => subscriber(settings, io::stderr),
    };
    subscriber.try_init().map_err(|_| LogError::AlreadySet)
}

/// The same into `writer`, for one thread at a time (`tracing::subscriber::with_default`). Without colours, which a
/// journal keeps as rubbish.
pub fn subscriber<W>(settings: &LogSettings, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let shared = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(false)
        .with_env_filter(filter(&settings.level));
    if settings.json {
        Box::new(shared.json().flatten_event(true).with_current_span(true).with_span_list(false).finish())
    } else {
        Box::new(shared.with_target(false).finish())
    }
}

fn filter(level: &str) -> EnvFilter {
    let mut directives = level.to_owned();
    if level != "trace" {
        let ceiling = if level == "error" { "error" } else { "warn" };
        for name in QUIET {
            directives.push_str(&format!(",{name}={ceiling}"));
        }
        directives.push_str(&format!(",{SILENT}=off"));
    }
    // Every word here is ours or has been checked, so nothing is lost by leaving out what does not parse.
    EnvFilter::builder().parse_lossy(directives)
}
