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
//! and recovers at its next start. A damaged database is never replaced by itself: it is opened for what can still be
//! read ([`Store::open_damaged`]), and a person decides ([`restore`]). Tested: on real files; the writer, the migrations
//! and the transcripts beside the code, the rest through the router in `http` and through the whole server in `tests/it`.

mod artifacts;
mod audit;
pub mod backup;
mod damage;
mod error;
pub mod logs;
mod restore;
mod session_view;
pub(crate) mod sqlite;
pub(crate) mod steady;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::domain::id::JobNumber;
use crate::domain::notice::Subscription;
use crate::domain::time::Timestamp;
use sqlite::Place;

pub use artifacts::ArtifactFiles;
pub use audit::{Asked, AuditEntry, Call};
pub use backup::Backup;
pub use damage::Damage;
pub use error::{BranchConflict, StoreError};
pub use restore::{Restored, restore};
pub use session_view::{Forgotten, SessionFilter, SessionJob, SessionName, SessionView};
pub use sqlite::{Forgettable, SCHEMA_VERSION, Stray, Verified};
pub use view::{
    Accounts, AnswerKey, BackupFile, BackupKind, CancelRequest, ClientCounts, DeliveryDetail, DeliveryFilter,
    EventPage, Ingest, IngestedMessage, JobFilter, JobPage, KeyedAnswer, Left, MessagePage, Occupied,
    OwnedDelivery, QueuePage, QueuePlace, QueueState, QueuedJob, Readings, RenderAnswer, RunningJob,
    StepRecord, StoredAnswer, ToldEvent, TranscriptState, UsageGroup, UsagePage, UsagePlace, UsageQuery,
    Visit,
};

/// A reader that lags behind by more than this many hints is told so and looks at the rows. Hints are 16 bytes.
const CHANGES_BUFFERED: usize = 1_024;

/// The name of the database below the data directory.
const DATABASE: &str = "offshoot.db";

/// A hint that rows have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something may be claimable: a new job, an ended one, a lifted hold, an unpaused client.
    Queue,
    /// Status, phase or effects of a job.
    JobMoved(JobNumber),
    CancelRequested(JobNumber),
    /// Something was said to its agent, or somebody takes the job over.
    Said(JobNumber),
    /// A job ended without a worker: what its earlier attempts left can go.
    Abandoned(JobNumber),
    /// A client was unpaused, its clone put right: worktrees that could not be swept can be.
    Unpaused,
    /// New messages of a job.
    Messages(JobNumber),
    /// A delivery is due, or its state changed.
    Deliveries,
}

impl Change {
    /// Whether there may be events or output of this job since; `None` asks about any job.
    #[must_use]
    pub fn tells_of(self, job: Option<JobNumber>) -> bool {
        match self {
            Self::JobMoved(moved) | Self::Messages(moved) => job.is_none_or(|job| job == moved),
            Self::Deliveries => true,
            Self::Queue | Self::CancelRequested(_) | Self::Said(_) | Self::Abandoned(_) | Self::Unpaused => {
                false
            }
        }
    }
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
    /// Nothing starts while the disk of the data directory, or of one of [`Store::with_places`], has less room, bytes.
    pub disk_free_bytes_min: u64,
}

/// The store. Cheap to clone; all clones share one writer thread.
#[derive(Clone)]
pub struct Store {
    database: Arc<sqlite::Database>,
    changes: broadcast::Sender<Change>,
    clock: Clock,
    bounds: sqlite::Bounds,
    logs: logs::Logs,
    artifacts: ArtifactFiles,
    instance: Arc<str>,
    epoch: i64,
    steady: Arc<steady::Steady>,
    damage: Option<Arc<Damage>>,
    /// Held while a backup is written.
    backing_up: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// Opens (or makes) the store below `data_dir`, brings its schema up to date and takes a new epoch. The caller
    /// holds the lock of the data directory.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], [`StoreError::OldSqlite`], [`StoreError::Corrupt`], or what the file system said.
    pub fn open(data_dir: &Path, clock: Clock, limits: Limits) -> Result<Self, StoreError> {
        Self::open_through(None, data_dir, clock, limits)
    }

    /// As [`Self::open`], with the file system layer that is registered with SQLite under the name `vfs`.
    ///
    /// # Errors
    /// As there.
    pub fn open_through(
        vfs: Option<&str>,
        data_dir: &Path,
        clock: Clock,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let logs = logs::Logs::new(data_dir.join("attempts"));
        let artifacts = ArtifactFiles::new(data_dir.join("artifacts"));
        let place = Place::new(data_dir.join(DATABASE), vfs);
        let opened = sqlite::Database::open(place, &clock, &logs, &artifacts)?;
        Ok(Self::of(opened, logs, artifacts, clock, limits, None))
    }

    /// What can still be read of a database that [`Self::open`] refused with `error`. Every write is refused with
    /// [`StoreError::ReadOnly`], and so is every read that meets the damage.
    #[must_use]
    pub fn open_damaged(data_dir: &Path, clock: Clock, limits: Limits, error: &StoreError) -> Self {
        let logs = logs::Logs::new(data_dir.join("attempts"));
        let damage = Damage::found(data_dir, error, Timestamp::from_ms(clock.now_ms()));
        let place = Place::new(data_dir.join(DATABASE), None);
        let opened = sqlite::Database::open_damaged(place, &clock, Arc::clone(&damage.guide));
        let artifacts = ArtifactFiles::new(data_dir.join("artifacts"));
        Self::of(opened, logs, artifacts, clock, limits, Some(Arc::new(damage)))
    }

    fn of(
        opened: sqlite::Opened,
        logs: logs::Logs,
        artifacts: ArtifactFiles,
        clock: Clock,
        limits: Limits,
        damage: Option<Arc<Damage>>,
    ) -> Self {
        let notices = sqlite::Notices { subscriptions: Arc::default(), clock: clock.clone() };
        Self {
            database: Arc::new(opened.database),
            changes: broadcast::Sender::new(CHANGES_BUFFERED),
            clock,
            bounds: sqlite::Bounds { limits, places: Arc::default(), notices },
            logs,
            artifacts,
            instance: opened.instance.into(),
            epoch: opened.epoch,
            steady: Arc::new(opened.steady),
            damage,
            backing_up: Arc::default(),
        }
    }

    /// Has the floor hold on the disks of these directories too, in which jobs need room.
    #[must_use]
    pub fn with_places(mut self, places: Vec<PathBuf>) -> Self {
        self.bounds.places = places.into();
        self
    }

    /// Has people told of ends and holds: a delivery each, in the transaction of what it tells.
    #[must_use]
    pub fn with_subscriptions(mut self, subscriptions: Vec<Subscription>) -> Self {
        self.bounds.notices.subscriptions = subscriptions.into();
        self
    }

    /// Notes that this server has ended everything in order: the next start need not look at every row. The last write.
    ///
    /// # Errors
    /// What the database said; the next start is only slower then.
    pub async fn note_orderly_stop(&self) -> Result<(), StoreError> {
        self.database.note_orderly_stop().await
    }

    /// Notes that the database was opened and nothing was begun with it, so that the next start need not look it all through.
    ///
    /// # Errors
    /// What the database said.
    pub async fn note_unused(&self) -> Result<(), StoreError> {
        self.database.note_unused().await
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
        self.bounds.limits
    }

    fn bounds(&self) -> sqlite::Bounds {
        self.bounds.clone()
    }

    /// Where the attempts keep their files.
    #[must_use]
    pub fn logs(&self) -> &logs::Logs {
        &self.logs
    }

    /// Where the files are that jobs have kept.
    #[must_use]
    pub fn artifacts(&self) -> &ArtifactFiles {
        &self.artifacts
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.clock.now_ms())
    }

    /// Now for things that expire: the earlier of the wall clock and the time that passes evenly, so that nobody who sets
    /// the clock forward takes away what is to be kept.
    #[must_use]
    pub fn cautious_now(&self) -> Timestamp {
        let moment = self.moment();
        moment.wall.min(Timestamp::from_ms(moment.steady_ms()))
    }

    /// Now by the clock that passes evenly, whoever sets the other one, over restarts too.
    #[must_use]
    pub fn steady_ms(&self) -> i64 {
        self.moment().steady_ms()
    }

    fn moment(&self) -> steady::Moment {
        self.steady.moment()
    }

    fn tell(&self, change: Change) {
        // nobody listening is fine: the rows are the truth
        let _ = self.changes.send(change);
    }
}
