//! What the store takes and gives beside plain domain values: filters, pages, records.

use std::fmt;
use std::time::Duration;

use crate::domain::client::RepositoryName;
use crate::domain::delivery::{Delivery, DeliveryState, DeliveryTry};
use crate::domain::event::{Event, EventKind, Message, MessageKind};
use crate::domain::hold::Hold;
use crate::domain::id::{ClientId, DeliveryId, JobId, JobNumber};
use crate::domain::job::{JobView, Outcome, Phase, Status, Waiting};
use crate::domain::time::{Day, Timestamp};
use crate::domain::token::Reach;
use crate::domain::usage::{Grouping, UsageSums};
use crate::wire::told::Facts;

/// Which request an idempotency key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    /// Id of the token, or `admin`.
    pub token: String,
    pub method: String,
    pub path: String,
    /// What the caller sent, at most 255 bytes.
    pub key: String,
    /// SHA-256 of the body, in hex.
    pub body_hash: String,
}

/// A 2xx answer, kept for repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Vec<u8>,
    /// Of the request that got it: another body under the same key is a mistake of the caller.
    pub body_hash: String,
}

/// How to answer a request with an idempotency key, stored in the transaction of its result.
pub struct KeyedAnswer<T: ?Sized> {
    pub key: AnswerKey,
    pub render: Box<RenderAnswer<T>>,
}

/// Makes (status, location, body) of a result.
pub type RenderAnswer<T> = dyn FnOnce(&T) -> (u16, Option<String>, Vec<u8>) + Send;

/// Which jobs to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Empty: all.
    pub statuses: Vec<Status>,
    pub client: Option<ClientId>,
    /// Whose jobs may be listed at all.
    pub reach: Reach,
    /// A text in title, branch or prompt.
    pub q: Option<String>,
    pub label: Option<String>,
    pub branch: Option<String>,
    pub submitted_by: Option<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
    /// Only jobs with a smaller number: the cursor of the page before.
    pub after: Option<JobNumber>,
    /// 1 to 200.
    pub limit: u32,
    pub offset: u64,
}

#[derive(Clone, Debug)]
pub struct JobPage {
    pub jobs: Vec<JobView>,
    /// All that fit the filter, whatever the page.
    pub total: u64,
    pub next: Option<JobNumber>,
}

#[derive(Clone, Debug)]
pub struct RunningJob {
    pub id: JobId,
    pub number: JobNumber,
    pub client_name: String,
    pub branch: String,
    pub title: Option<String>,
    pub prompt: String,
    pub started_at: Option<Timestamp>,
    /// Since its first start, whatever became of the wall clock.
    pub running_for: Duration,
    pub phase: Phase,
    pub last_output_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct QueuedJob {
    pub id: JobId,
    pub number: JobNumber,
    pub client_name: String,
    pub branch: String,
    pub title: Option<String>,
    pub prompt: String,
    pub position: i64,
    pub created_at: Timestamp,
    pub waiting: Waiting,
}

/// Whether anything new is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    pub paused: bool,
    pub reason: Option<String>,
    pub since: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct QueuePage {
    pub running: Vec<RunningJob>,
    /// At most 200, beginning behind the place asked for.
    pub queued: Vec<QueuedJob>,
    pub state: QueueState,
    /// The place to ask for next; `None` on the last page.
    pub next: Option<QueuePlace>,
}

/// A place in the order of the queue. Unlike a position it stays where it is when jobs before it start, so pages that begin
/// there leave nobody out because of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePlace {
    pub(super) rank: i64,
    pub(super) turn: i64,
    pub(super) number: i64,
}

impl QueuePlace {
    /// What [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let place = Self { rank: parts.next()??, turn: parts.next()??, number: parts.next()?? };
        parts.next().is_none().then_some(place)
    }
}

impl fmt::Display for QueuePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.rank, self.turn, self.number)
    }
}

/// Which sums of usage are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// In this order, each once; empty: the total alone.
    pub by: Vec<Grouping>,
    /// The first day that counts.
    pub since: Option<Day>,
    /// The last day that counts.
    pub until: Option<Day>,
    /// Whose sums they are.
    pub reach: Reach,
    /// Only groups behind this one: the cursor of the page before.
    pub after: Option<UsagePlace>,
    /// Groups of one page, at least 1.
    pub limit: u32,
}

/// A group's place in the order of the groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsagePlace {
    pub(super) day: i64,
    pub(super) client: i64,
    pub(super) label: String,
}

impl UsagePlace {
    /// What [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (day, client) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { day, client, label: parts.next()?.to_owned() })
    }
}

impl fmt::Display for UsagePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.day, self.client, self.label)
    }
}

/// One line of a report; what it is not grouped by is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageGroup {
    /// Id and name.
    pub client: Option<(String, String)>,
    pub day: Option<Day>,
    /// `None` in a report by label: of jobs that have none.
    pub label: Option<String>,
    pub sums: UsageSums,
}

/// A page of groups in the order of what they are grouped by: days from old to new, clients as they were registered,
/// labels by their letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsagePage {
    pub groups: Vec<UsageGroup>,
    /// Of all pages, each run once.
    pub total: UsageSums,
    /// The place to ask for next; `None` on the last page.
    pub next: Option<UsagePlace>,
}

/// Counts for `/health`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    pub running: u64,
    pub queued: u64,
    pub deliveries_pending: u64,
    pub deliveries_dead: u64,
    /// The probe is `None` also where it is nobody's business.
    pub holds: Vec<Hold>,
}

/// Which deliveries to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Empty: all.
    pub states: Vec<DeliveryState>,
    /// Exactly this one.
    pub url: Option<String>,
    /// Of whose jobs.
    pub reach: Reach,
    /// Only older ones than this number: the cursor of the page before.
    pub after: Option<i64>,
    /// 1 to 200.
    pub limit: u32,
}

/// A delivery and the id of its job.
#[derive(Clone, Debug)]
pub struct OwnedDelivery {
    pub job_id: JobId,
    pub delivery: Delivery,
}

/// What a look for due deliveries leaves out.
#[derive(Clone, Debug, Default)]
pub struct Occupied {
    /// Tried right now.
    pub deliveries: Vec<DeliveryId>,
    /// Receivers ([`Delivery::origin`]) that have as many tries as they may.
    pub origins: Vec<String>,
}

/// What the store knows about itself, for metrics.
#[derive(Clone, Debug)]
pub struct Readings {
    /// By status; a status without jobs is left out.
    pub jobs: Vec<(Status, u64)>,
    /// When the queued job was accepted that has waited longest.
    pub oldest_queued_at: Option<Timestamp>,
    pub paused: bool,
    /// By state, without what was delivered.
    pub deliveries: Vec<(DeliveryState, u64)>,
    pub holds: Vec<Hold>,
    pub database_bytes: u64,
    pub wal_bytes: u64,
    pub free_bytes: Option<u64>,
    /// Writes that wait for the writer.
    pub writes_waiting: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Queued and running.
    pub active: u64,
    pub total: u64,
}

/// What a request to cancel found.
#[derive(Clone, Debug, PartialEq)]
pub struct CancelRequest {
    pub job: JobId,
    pub number: JobNumber,
    /// It has a worker, which will end it; else it is cancelled already.
    pub was_running: bool,
    /// It had been cancelled before this request.
    pub was_cancelled: bool,
}

/// Whether a job has come from its agent to the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Yes,
    /// There is a word that no turn of the attempt had.
    Unheard,
    /// Somebody waits to take the job over.
    Awaited,
}

/// Somebody who has taken a job over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    pub key: String,
    /// The name of the token.
    pub by: String,
    /// Over by itself then.
    pub until: Timestamp,
    /// Only what it has left running is still to be ended.
    pub is_over: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePage {
    /// In the order of `seq`.
    pub messages: Vec<Message>,
    /// Older ones were left out.
    pub truncated: bool,
}

#[derive(Clone, Debug)]
pub struct DeliveryDetail {
    pub delivery: Delivery,
    pub tries: Vec<DeliveryTry>,
}

/// A message on its way into the store, and the event that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestedMessage {
    pub kind: MessageKind,
    /// Goes to the transcript file; the row keeps its place.
    pub text: String,
    pub at: Timestamp,
    pub event: EventKind,
    /// What the text does not tell programs.
    pub facts: Facts,
    /// False: there is nothing to read for people, only an event.
    pub is_listed: bool,
}

impl IngestedMessage {
    /// A line that is no more than that.
    #[must_use]
    pub fn output(kind: MessageKind, text: String, at: Timestamp) -> Self {
        let stderr = (kind == MessageKind::Stderr).then_some(true);
        let facts = Facts { stderr, ..Facts::default() };
        Self { kind, text, at, event: EventKind::AgentOutput, facts, is_listed: true }
    }

    /// A word of the server.
    #[must_use]
    pub fn note(text: String, at: Timestamp) -> Self {
        let (kind, event) = (MessageKind::System, EventKind::JobNote);
        Self { kind, text, at, event, facts: Facts::default(), is_listed: true }
    }
}

/// An event with what is kept elsewhere of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldEvent {
    pub event: Event,
    /// `None`: the job is forgotten.
    pub job_id: Option<String>,
    /// The text of its message; `None` also when that is forgotten.
    pub text: Option<String>,
}

/// A piece of the history, read in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// In the order of `seq`.
    pub events: Vec<ToldEvent>,
    /// Everything up to this number was looked at: where to go on.
    pub upto: i64,
    /// Nothing more was there.
    pub is_whole: bool,
    /// Events behind the asked place, up to this number, are forgotten.
    pub lost_to: Option<i64>,
    /// How the job ended, if it has, and if it is the history of one.
    pub over: Option<Over>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// `None`: the job is forgotten.
    pub status: Option<Status>,
    pub outcome: Option<Outcome>,
}

/// What there is to read of an attempt's transcript, and whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranscriptState {
    /// Bytes that the database vouches for.
    pub bytes: u64,
    /// The newest attempt of the job; 0 before the first.
    pub newest: u32,
    /// The job is not over.
    pub is_live: bool,
}

/// What one look at a step's log brought.
#[derive(Clone, Debug, Default)]
pub struct Ingest {
    pub messages: Vec<IngestedMessage>,
    /// So many records of the log are read.
    pub log_records: u64,
}

/// A supervised command as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// Within the attempt: `agent-1`, `verify-2`.
    pub name: String,
    /// Who the shim is, in the words of the process layer.
    pub shim: Option<String>,
    pub released: bool,
    pub log_records: u64,
}

/// The repository of a job, for the ones who only have the job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientFacts {
    pub(crate) name: String,
    pub(crate) repository: RepositoryName,
}

/// Why a backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupKind {
    /// By the server itself.
    Daily,
    Manual,
    /// By the server itself, before a new version changed the schema.
    BeforeMigration,
}

/// A backup beside the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    pub name: String,
    pub kind: BackupKind,
    pub taken_at: Timestamp,
    pub bytes: u64,
}
