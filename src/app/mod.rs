//! What callers can do, one file per thing they do it to. HTTP today and other doors later call this and nothing below it.
//!
//! Promises: a request is checked whole, all faults at once, before anything is written; what is documented but not
//! built is refused by name, never ignored; an accepted job is on disk. Long work that others may wait for too (a first
//! clone, a removal) goes on when its caller leaves, and a second caller joins it.
//!
//! Must not know: axum, clap, SQL, octocrab. It sees the store, git, the log of a step and the webhook address rules
//! through their facades.
//!
//! Fails: with an [`AppError`], whose text is fit for the caller: no paths, no secrets. Tested: rules by tables beside
//! the code, the use cases through the router in `http` and in `tests/it`.

mod artifacts;
mod attach;
mod audit;
mod backups;
mod caller;
mod cancel;
mod changes;
mod client_removal;
mod clients;
mod deliveries;
mod doctor;
mod error;
mod events;
mod follow_up;
mod gc;
mod health;
mod job_log;
mod job_reads;
mod jobs;
mod keyring;
mod live;
mod metrics;
mod notify;
mod operations;
mod passes;
mod patches;
mod profiles;
mod prompts;
mod queue;
mod raw_log;
mod rescue;
mod retry;
mod rules;
mod scheduling;
mod sessions;
mod settings;
mod shares;
mod story;
mod streams;
mod sync;
mod tokens;
mod usage;
mod webhooks;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

pub use caller::Caller;
pub use changes::ChangesQuery;
pub use doctor::Examine;
pub use error::AppError;
pub use events::{After, Follower};
pub use health::AgentProbe;
pub use job_log::{LogFollower, Pieces};
pub use job_reads::{DiffFormat, DiffQuery, JobQuery, Patch};
pub use sessions::{SessionChoice, SessionQuery};
pub use settings::{Settings, callback_policy};
pub use shares::{Full, Rule, Share, Shares};
pub use story::{Piece, Story};
pub use usage::UsageParameters;
pub use webhooks::DeliveryQuery;

use crate::clock::Clock;
use crate::domain::client::{Client, RepositoryName};
use crate::domain::time::Timestamp;
use crate::git::{Git, Repository, RepositoryLocks};
use crate::store::Store;
use crate::upkeep::Upkeep;
use crate::worker::{Remotes, Worker};
use keyring::Keyring;
use operations::Operations;
use passes::Passes;
use streams::Streams;

/// A body for the caller, and where the thing it speaks of is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Created<T> {
    pub location: String,
    pub body: T,
}

/// The use cases. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    store: Store,
    settings: Settings,
    git: Git,
    locks: RepositoryLocks,
    remotes: Remotes,
    clock: Clock,
    probes: watch::Receiver<Vec<AgentProbe>>,
    upkeep: OnceLock<Upkeep>,
    worker: OnceLock<Worker>,
    doctor: OnceLock<Arc<Examine>>,
    /// Held while the machine is looked at.
    examining: tokio::sync::Mutex<()>,
    operations: Operations,
    streams: Streams,
    keyring: Keyring,
    passes: Passes,
    draining: AtomicBool,
    started_at: Timestamp,
}

impl App {
    /// `locks` and `remotes` are shared with everybody else who uses the clones; `probes` holds the last look at the agents.
    #[must_use]
    pub fn new(
        store: Store,
        settings: Settings,
        git: Git,
        locks: RepositoryLocks,
        remotes: Remotes,
        clock: Clock,
        probes: watch::Receiver<Vec<AgentProbe>>,
    ) -> Self {
        let started_at = Timestamp::from_ms(clock.now_ms());
        Self(Arc::new(Inner {
            store,
            settings,
            git,
            locks,
            remotes,
            clock,
            probes,
            upkeep: OnceLock::new(),
            worker: OnceLock::new(),
            doctor: OnceLock::new(),
            examining: tokio::sync::Mutex::default(),
            operations: Operations::default(),
            streams: Streams::default(),
            keyring: Keyring::default(),
            passes: Passes::default(),
            draining: AtomicBool::new(false),
            started_at,
        }))
    }

    /// Has it clear up on demand; the first one counts.
    #[must_use]
    pub fn with_upkeep(self, upkeep: Upkeep) -> Self {
        // a second one would be the same, as all clones of this are
        let _ = self.0.upkeep.set(upkeep);
        self
    }

    /// Has it put out for people what they may run in a worktree; the first one counts.
    #[must_use]
    pub fn with_worker(self, worker: Worker) -> Self {
        // as there
        let _ = self.0.worker.set(worker);
        self
    }

    /// From now on no job is accepted; everything else goes on answering.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::SeqCst)
    }

    /// Does `work` to its end, also when whoever waits for it here goes away.
    ///
    /// # Errors
    /// [`AppError::Draining`] when the server stopped before that.
    pub async fn carry_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, AppError> {
        self.0.operations.detached(async move { Ok(work.await) }).await
    }

    /// Gives what goes on without a caller at most `limit`, then ends it. An ended clone leaves nothing behind.
    pub async fn stop_operations(&self, limit: Duration) {
        self.0.operations.stop(limit).await;
    }

    /// The store, for answers to repeated requests.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.clock.now_ms())
    }

    fn clone_path(&self, name: &RepositoryName) -> PathBuf {
        let (org, repo) = name.key();
        self.0.settings.repos_dir.join(org).join(format!("{repo}.git"))
    }

    fn repository(&self, name: &RepositoryName) -> Result<Repository, AppError> {
        Repository::new(self.0.git.clone(), self.clone_path(name), &self.0.locks).map_err(AppError::git)
    }

    fn repo_exists(&self, client: &Client) -> bool {
        self.repository(&client.repository).is_ok_and(|repository| repository.exists())
    }
}
