//! What the checks look at, gathered once.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::api_client::{ApiClient, ApiError};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Environment};
use crate::wire::client::Client;
use crate::wire::health::Health;

/// A server on this machine answers within milliseconds; one that takes so long helps nobody.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// This machine, as far as it is known without looking.
#[derive(Debug)]
pub struct Patient<'a> {
    pub env: &'a Environment,
    pub config: Result<Config, ConfigError>,
    /// The file that was read, or would be.
    pub config_file: Option<PathBuf>,
    pub server: ServerLook,
    /// How long everything may take when it is the running server itself that looks; `None`: a shell does, and waits for each answer.
    pub within: Option<Duration>,
    /// `None`: none is installed.
    pub service: Option<InstalledService>,
    pub clock: Clock,
    /// Whether other hosts may be asked.
    pub online: bool,
}

/// The service as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledService {
    pub file: PathBuf,
    /// The PATH that it gets; `None`: no file names one.
    pub path: Option<OsString>,
    /// The file of variables beside it, where that one says the PATH: what `offshoot service install` writes does not count then.
    pub path_file: Option<PathBuf>,
    /// Whether it goes on without anybody logged in; `None`: the system has no such thing, or does not say.
    pub lingers: Option<bool>,
}

/// What became of asking the server.
#[derive(Debug)]
pub enum ServerLook {
    Answers {
        url: String,
        /// Whether it is the server of this configuration, and not one that somebody has named.
        own: bool,
        health: Box<Health>,
        clients: Vec<Client>,
    },
    Failed {
        /// As of [`Self::Answers`].
        own: bool,
        error: ApiError,
    },
    /// It could not be asked: no address, or no token for it.
    NotAsked { why: String },
}

impl ServerLook {
    /// Asks the server, once. `own`: it is the one of this configuration.
    pub async fn at(api: &ApiClient, own: bool) -> Self {
        let url = api.base_url().to_owned();
        let asked = async {
            let health = api.health().await?;
            Ok((health, api.list_clients().await?))
        };
        match tokio::time::timeout(ANSWERS_WITHIN, asked).await {
            Ok(Ok((health, clients))) => Self::Answers { url, own, health: Box::new(health), clients },
            Ok(Err(error)) => Self::Failed { own, error },
            Err(_) => Self::Failed { own, error: ApiError::TimedOut { url, limit: ANSWERS_WITHIN } },
        }
    }

    /// What the server says that was asked, wherever it is.
    pub(super) fn health(&self) -> Option<&Health> {
        match self {
            Self::Answers { health, .. } => Some(health),
            Self::Failed { .. } | Self::NotAsked { .. } => None,
        }
    }

    /// What the server of this configuration says, which can be compared with this machine.
    pub(super) fn own_health(&self) -> Option<&Health> {
        match self {
            Self::Answers { own: true, health, .. } => Some(health),
            Self::Answers { .. } | Self::Failed { .. } | Self::NotAsked { .. } => None,
        }
    }
}

impl Patient<'_> {
    /// Whether the running server looks: what it says of its health is then only an older look of its own.
    pub(super) fn is_server(&self) -> bool {
        self.within.is_some()
    }

    /// The configuration, or why a check that needs it cannot be made.
    pub(super) fn config(&self) -> Result<&Config, &'static str> {
        self.config.as_ref().map_err(|_| "the configuration cannot be read")
    }
}
