//! The queue and everything that must survive: one SQLite file behind one facade.
//!
//! Promises: an answered write is on disk (`synchronous=FULL`) before its future resolves. A status moves only through
//! `domain::lifecycle`, guarded by the lease, in one transaction with its event, its attempt row and its callback.
//! [`Change`] hints are sent after the commit; they may be lost, rows are the truth.
//!
//! Must not know: HTTP, git, processes, agents. Callers see domain types only; JSON columns use the shapes of `wire`,
//! because both promise the same: only ever additions.
//!
//! Fails: with a [`StoreError`]; a failed `fsync` stops the store for good ([`Store::failure`]), the server then ends
//! and recovers at its next start. Tested: on real files; the writer, the migrations and
//! the transcripts beside the code, the rest through the router in `http` and through the whole server in `tests/it`.

mod error;
pub mod logs;
pub(crate) mod sqlite;
pub(crate) mod steady;
mod view;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::domain::id::JobNumber;
use crate::domain::time::Timestamp;

pub use error::{BranchConflict, StoreError};
pub use sqlite::SCHEMA_VERSION;
pub use view::{
    Accounts, AnswerKey, CancelRequest, ClientCounts, DeliveryDetail, Ingest, IngestedMessage, JobFilter,
    JobPage, KeyedAnswer, MessagePage, QueuePage, QueueState, QueuedJob, Readings, RenderAnswer, RunningJob,
    StepRecord, StoredAnswer,
};

/// A reader that lags behind by more than this many hints is told so and looks at the rows. Hints are 16 bytes.
const CHANGES_BUFFERED: usize = 1_024;

/// A hint that rows have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something may be claimable: a new job, an ended one, a lifted hold, an unpaused client.
    Queue,
    /// Status, phase or effects of a job.
    JobMoved(JobNumber),
    CancelRequested(JobNumber),
    /// A job ended without a worker: what its earlier attempts left can go.
    Abandoned(JobNumber),
    /// New messages of a job.
    Messages(JobNumber),
    /// A delivery is due, or its state changed.
    Deliveries,
}

/// Numbers the store needs to decide who may start.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs that run at once, at least 1.
    pub running_max: u32,
    /// Jobs of one client that run at once; `None`: no limit of its own.
    pub running_per_client_max: Option<u32>,
    /// Queued jobs; a further submit is refused with [`StoreError::QueueFull`].
    pub queued_max: u32,
    /// Nothing starts while the data directory's disk has less room, bytes.
    pub disk_free_bytes_min: u64,
}

/// The store. Cheap to clone; all clones share one writer thread.
#[derive(Clone)]
pub struct Store {
    database: Arc<sqlite::Database>,
    changes: broadcast::Sender<Change>,
    clock: Clock,
    limits: Limits,
    logs: logs::Logs,
    instance: Arc<str>,
    epoch: i64,
    steady: Arc<steady::Steady>,
}

impl Store {
    /// Opens (or makes) the store below `data_dir`, brings its schema up to date and takes a new epoch. The caller
    /// holds the lock of the data directory.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], [`StoreError::OldSqlite`], [`StoreError::Corrupt`], or what the file system said.
    pub fn open(data_dir: &Path, clock: Clock, limits: Limits) -> Result<Self, StoreError> {
        let (file, attempts) = (data_dir.join("offshoot.db"), data_dir.join("attempts"));
        refuse_lost_history(&file, &attempts)?;
        let (database, instance, epoch, steady) = sqlite::Database::open(&file, &clock)?;
        Ok(Self {
            database: Arc::new(database),
            changes: broadcast::Sender::new(CHANGES_BUFFERED),
            clock,
            limits,
            logs: logs::Logs::new(attempts),
            instance: instance.into(),
            epoch,
            steady: Arc::new(steady),
        })
    }

    /// Hints about changes, from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Turns to `true` when the store can no longer promise durability; the server has to end.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<bool> {
        self.database.failure()
    }

    /// Random name of this installation: part of every step's name, so that two installations never mix up processes.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The number of this start of the server.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Where the attempts keep their files.
    #[must_use]
    pub fn logs(&self) -> &logs::Logs {
        &self.logs
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.clock.now_ms())
    }

    fn moment(&self) -> steady::Moment {
        self.steady.moment()
    }

    fn tell(&self, change: Change) {
        // nobody listening is fine: the rows are the truth
        let _ = self.changes.send(change);
    }
}

/// An empty or missing database beside files of attempts is a loss, not a first start: its numbers would begin again at
/// 1, and the first jobs would meet the exit records of others.
fn refuse_lost_history(file: &Path, attempts: &Path) -> Result<(), StoreError> {
    let empty = file.metadata().map_or(true, |found| found.len() == 0);
    let has_history = std::fs::read_dir(attempts).is_ok_and(|mut entries| entries.next().is_some());
    if empty && has_history {
        return Err(StoreError::Corrupt(
            "it is empty or missing, though jobs have run here; restore it from a backup, or begin anew in another data directory"
                .to_owned(),
        ));
    }
    Ok(())
}
