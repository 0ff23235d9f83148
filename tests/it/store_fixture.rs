//! A store on a real file under a clock that stands still, and the shortest words for what tests do with it.

use offshoot::clock::Clock;
use offshoot::domain::attempt::{Assignment, AttemptEnd, Lease};
use offshoot::domain::branch::BranchName;
use offshoot::domain::client::{Client, NewClient, RepositoryName};
use offshoot::domain::delivery::RenderedCallback;
use offshoot::domain::id::{ClientId, DeliveryId, EventId, JobNumber, JobRef};
use offshoot::domain::job::{JobView, NewJob, NewJobRequest, Outcome, Start, Waiting};
use offshoot::domain::options::RunOptions;
use offshoot::domain::reason::{Reason, ReasonCode};
use offshoot::domain::retention::Cutoffs;
use offshoot::domain::time::Timestamp;
use offshoot::store::{CancelRequest, Limits, Store, StoreError};

/// An instant in 2025, so that a test may also go back.
pub(crate) const NOW_MS: i64 = 1_750_000_000_000;

pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    limits: Limits,
}

impl Bench {
    pub(crate) fn new(running_max: u32) -> Self {
        Self::with(Limits {
            running_max,
            running_per_client_max: None,
            queued_max: 1_000,
            disk_free_bytes_min: 0,
        })
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW_MS, 7);
        let store = Store::open(dir.path(), clock.clone(), limits).unwrap();
        Self { dir, store, clock, limits }
    }

    /// What a restart of the server does: a new store on the same file, with the next epoch.
    pub(crate) fn reopen(&self) -> Store {
        Store::open(self.dir.path(), self.clock.clone(), self.limits).unwrap()
    }

    /// Ends the store, without a word of an orderly stop; what is needed to open it again.
    pub(crate) fn close(self) -> (tempfile::TempDir, Clock, Limits) {
        (self.dir, self.clock, self.limits)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.clock.now_ms())
    }

    pub(crate) async fn client(&self, repo: &str) -> Client {
        Self::client_of(&self.store, repo).await
    }

    pub(crate) async fn client_of(store: &Store, repo: &str) -> Client {
        let new = NewClient {
            os_client_id: None,
            name: repo.to_owned(),
            repository: RepositoryName::parse("acme", repo).unwrap(),
            default_branch: None,
            clone_url: None,
            options: RunOptions::default(),
        };
        store.create_client(new, None).await.unwrap()
    }

    pub(crate) async fn submit(&self, client: &Client, branch: &str) -> JobView {
        self.try_submit(job(&client.id, branch)).await.unwrap()
    }

    pub(crate) async fn try_submit(&self, new: NewJob) -> Result<JobView, StoreError> {
        self.store.submit_job(new, None, |_| None).await
    }

    pub(crate) async fn claim(&self) -> Assignment {
        self.store.claim().await.unwrap().expect("a job may start")
    }

    pub(crate) async fn claimed_number(&self) -> Option<i64> {
        self.store.claim().await.unwrap().map(|assignment| assignment.lease.job.0)
    }

    pub(crate) async fn end(&self, lease: Lease, end: AttemptEnd) -> JobView {
        self.store.finish(lease, end, |_| None).await.unwrap()
    }

    /// Forgets these jobs, those of them that may be; gives their number.
    pub(crate) async fn forget(&self, jobs: Vec<JobNumber>, before: Cutoffs) -> usize {
        self.store.begin_to_forget(jobs, before).await.unwrap();
        self.store.forget_jobs().await.unwrap()
    }

    pub(crate) async fn view(&self, number: JobNumber) -> JobView {
        self.store.get_job(&JobRef::Number(number)).await.unwrap()
    }

    pub(crate) async fn cancel(&self, number: JobNumber) -> Result<CancelRequest, StoreError> {
        self.store.request_cancel(&JobRef::Number(number), |_| None).await
    }
}

/// A job of the login `claude` with the plainest request.
pub(crate) async fn waiting(bench: &Bench, number: i64) -> Waiting {
    bench.view(JobNumber(number)).await.waiting.expect("the job is queued")
}

/// Whatever ended before, however it did.
pub(crate) fn ended_before(before: Timestamp) -> Cutoffs {
    Cutoffs { completed: before, dry_run: before, failed: before, cancelled: before }
}

pub(crate) fn job(client: &ClientId, branch: &str) -> NewJob {
    NewJob {
        client_id: client.clone(),
        request: NewJobRequest {
            prompt: "Add a file".to_owned(),
            branch: Some(BranchName::parse(branch).unwrap()),
            title: None,
            body: None,
            os_feature_id: None,
            callback_url: None,
            metadata: None,
            labels: Vec::new(),
            base_branch: None,
            priority: 0,
            run_at: None,
            depends_on: Vec::new(),
            attachments: Vec::new(),
            options: RunOptions::default(),
            profile: None,
            submitted_by: "admin".to_owned(),
        },
        chain: None,
        start: Start::Agent,
        done_by_hand: false,
        login: "claude".to_owned(),
        files: Vec::new(),
    }
}

pub(crate) fn done() -> AttemptEnd {
    AttemptEnd::Completed { outcome: Outcome::PullRequest }
}

pub(crate) fn fault(code: ReasonCode) -> AttemptEnd {
    fault_until(code, None)
}

pub(crate) fn fault_until(code: ReasonCode, until: Option<Timestamp>) -> AttemptEnd {
    let reason = Reason::new(code, "as the test wants it");
    AttemptEnd::Faulted { reason, until, window: None, spent: true }
}

/// A callback whose ids are made from `name`.
pub(crate) fn callback(name: &str, url: &str) -> RenderedCallback {
    RenderedCallback {
        event_id: EventId::from_random(name),
        delivery_id: DeliveryId::from_random(name),
        kind: "job.completed".to_owned(),
        url: url.to_owned(),
        body: format!("{{\"name\":\"{name}\"}}").into_bytes(),
    }
}
