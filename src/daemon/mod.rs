//! The server as a whole: puts the parts together, starts them in the right order, ends them in stages.
//!
//! Promises: one server per data directory. Order of start: lock, migrate, listen, empty the trash, adopt, sweep, then
//! accept and claim; readiness is told after that. A first SIGTERM or SIGINT stops intake, lets git and forge steps
//! finish within the drain, and leaves agents to the next server; a second one leaves at once. A store that can no
//! longer promise durability ends the server. With a damaged database it starts all the same, for reading: nothing acts
//! by itself then, every change is refused with what helps, and [`restore`] puts a backup back while it is stopped.
//!
//! Must not know: what the parts do. Fails: with a [`StartError`] that has an exit code for service managers. Tested: by
//! real processes in `tests/it`.

mod held;
mod lock;
mod parts;
mod restore;
mod server;
mod signals;
mod watchdog;

use std::process::ExitCode;

use crate::config::{Config, ConfigError, Environment};
use crate::store::StoreError;
use crate::telemetry::{self, LogError};

pub use parts::Override;
pub use restore::{RestoreError, restore};
pub use server::Server;

/// Another server holds the data directory (`EX_TEMPFAIL` of sysexits.h).
const EXIT_LOCKED: u8 = 75;
/// Files that may not be read or written (`EX_NOPERM`).
const EXIT_PERMISSION: u8 = 77;
/// Configuration, schema or version (`EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("another offshoot server (pid {pid}) uses the data directory {dir}")]
    Locked { pid: String, dir: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the database cannot be opened: {0}")]
    Store(#[from] StoreError),
    #[error("git cannot be used: {0}")]
    Git(#[from] crate::git::GitError),
    #[error("the forge cannot be set up: {0}")]
    Forge(#[from] crate::forge::ForgeError),
    #[error("cannot listen on {address}: {reason}")]
    Listen { address: std::net::SocketAddr, reason: String },
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
}

impl StartError {
    /// 75 another server, 77 permissions, 78 configuration, schema or version, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => EXIT_LOCKED,
            Self::Config(error) => error.exit_code(),
            Self::Store(StoreError::NewerSchema { .. } | StoreError::OldSqlite(_)) => EXIT_CONFIG,
            Self::Git(crate::git::GitError::TooOld { .. })
            | Self::Forge(crate::forge::ForgeError::Setup { .. }) => EXIT_CONFIG,
            Self::Io { source, .. } | Self::Store(StoreError::Io(source)) if is_permission(source) => {
                EXIT_PERMISSION
            }
            Self::Store(_) | Self::Git(_) | Self::Forge(_) | Self::Listen { .. } | Self::Io { .. } => 1,
        }
    }

    /// What to do about it, and the command for that.
    #[must_use]
    pub fn hint(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Locked { .. } => Some(("look at the other one", "offshoot ls".to_owned())),
            Self::Listen { address, .. } => Some((
                "use another port",
                format!("offshoot serve --port {}", address.port().wrapping_add(1)),
            )),
            Self::Store(StoreError::NewerSchema { .. }) => {
                Some(("use the offshoot that wrote it, or a newer one", "offshoot version".to_owned()))
            }
            Self::Forge(crate::forge::ForgeError::Setup { .. }) => Some((
                "look at github.api_url and github.app_key_file",
                "offshoot config show --origin".to_owned(),
            )),
            Self::Store(StoreError::DiskFull) => Some(("see what fills it", "df -h".to_owned())),
            _ => None,
        }
    }
}

fn is_permission(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub fn run(config: Config, env: &Environment, stop_agents: bool) -> Result<ExitCode, StartError> {
    match telemetry::init(&config.log) {
        // a second subscriber in one process (the tests') keeps the first
        Ok(()) | Err(LogError::AlreadySet) => {}
        Err(LogError::File(source)) => {
            return Err(StartError::Io { what: "the log file (log.file) cannot be opened", source });
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| StartError::Io { what: "the runtime cannot be started", source })?;
    let code = runtime.block_on(async {
        let server = Server::start(config, env, Override::default()).await?;
        Ok(server.run_until_signalled(stop_agents).await)
    });
    // blocking file work of a second SIGTERM is not waited for
    runtime.shutdown_background();
    code
}
