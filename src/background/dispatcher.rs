//! Starts queued jobs on free slots, and passes on what the outside wants of the running ones.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Pulse, REPAIR_PERIOD, Woken, next_change};
use crate::domain::attempt::{Assignment, Lease};
use crate::domain::id::JobNumber;
use crate::domain::limit::Limit;
use crate::metrics;
use crate::store::{Change, Store, StoreError};
use crate::worker::{Runner, Signals, Worker};

/// Owns the workers.
pub struct Dispatcher<R = Worker> {
    store: Store,
    runner: R,
    attempts: JoinSet<()>,
    /// In the order of their start; as few as there are slots.
    running: Vec<(Id, Lease, CancellationToken)>,
    /// Visits that are being ended.
    visits: JoinSet<JobNumber>,
    ending: HashSet<JobNumber>,
    /// Workers that left without an end in the rows, as when the disk was full: their jobs are taken up again.
    left: Vec<Lease>,
    left_at: Instant,
    /// Subscribed before anything is adopted, so that no hint falls between.
    changes: broadcast::Receiver<Change>,
    looked_at: Instant,
    pulse: Pulse,
    shutdown: CancellationToken,
    stop_agents: CancellationToken,
}

impl<R: Runner> Dispatcher<R> {
    /// `shutdown` ends the starting of jobs and asks workers to leave; `stop_agents` makes them take the agents along.
    #[must_use]
    pub fn new(store: Store, runner: R, shutdown: CancellationToken, stop_agents: CancellationToken) -> Self {
        let changes = store.watch();
        Self {
            store,
            runner,
            attempts: JoinSet::new(),
            running: Vec::new(),
            visits: JoinSet::new(),
            ending: HashSet::new(),
            left: Vec::new(),
            left_at: Instant::now(),
            changes,
            looked_at: Instant::now(),
            pulse: Pulse::default(),
            shutdown,
            stop_agents,
        }
    }

    /// Beats with each round in which the database answered.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Takes over what an earlier server left running. Before anything is claimed. `boot` names this start of the machine.
    ///
    /// # Errors
    /// What the store said.
    pub async fn adopt(&mut self, boot: &str) -> Result<usize, StoreError> {
        let adopted = self.store.adopt_running(boot).await?;
        let count = adopted.len();
        for assignment in adopted {
            self.start(assignment);
        }
        Ok(count)
    }

    /// Runs until told to shut down, then gives the workers `drain` to come to a point at which the next server can go
    /// on. What is not there by then is dropped: it is found again as after a crash.
    pub async fn run(mut self, drain: Duration) {
        while !self.shutdown.is_cancelled() {
            let due = match self.tick().await {
                Ok(due) => {
                    metrics::SCHEDULER_ROUNDS.increment([]);
                    self.pulse.beat();
                    due
                }
                Err(error) => {
                    tracing::error!(%error, "jobs could not be started");
                    None
                }
            };
            self.wait(due).await;
            if self.looked_at.elapsed() >= REPAIR_PERIOD {
                self.look_for_cancels().await;
            }
            if !self.left.is_empty()
                && self.left_at.elapsed() >= REPAIR_PERIOD
                && !self.shutdown.is_cancelled()
            {
                self.take_up_what_was_left().await;
            }
        }
        self.drain(drain).await;
    }

    /// Starts what may start; says when the next job comes due by time.
    async fn tick(&mut self) -> Result<Option<Duration>, StoreError> {
        if let Err(error) = self.store.note_time().await {
            tracing::warn!(%error, "the time could not be noted");
        }
        self.end_visits().await?;
        while !self.shutdown.is_cancelled() {
            let Some(assignment) = self.store.claim().await? else { break };
            self.start(assignment);
        }
        self.store.next_due_in().await
    }

    async fn wait(&mut self, due: Option<Duration>) {
        let matters = |change| matches!(change, Change::Queue | Change::CancelRequested(_));
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {}
            () = self.pulse.asked() => {}
            Some(ended) = self.attempts.join_next_with_id() => self.ended(ended).await,
            woken = next_change(&mut self.changes, due, matters) => match woken {
                Woken::By(Change::CancelRequested(job)) => self.cancel(job),
                Woken::HintsLost => self.look_for_cancels().await,
                // a round looks at all rows: one is enough for all the hints that are there
                Woken::By(_) => self.take_waiting_hints().await,
                Woken::ByTime => {}
            },
        }
    }

    async fn take_waiting_hints(&mut self) {
        loop {
            match self.changes.try_recv() {
                Ok(Change::CancelRequested(job)) => self.cancel(job),
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) => {
                    metrics::LIMITS.increment([Limit::Hints.as_str()]);
                    self.look_for_cancels().await;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Beside everything else: it takes seconds where somebody holds out. One that could not be ended is taken up in a later round.
    async fn end_visits(&mut self) -> Result<(), StoreError> {
        while let Some(ended) = self.visits.try_join_next() {
            match ended {
                Ok(job) => drop(self.ending.remove(&job)),
                Err(error) => {
                    tracing::error!(%error, "the end of a visit panicked");
                    self.ending.clear();
                }
            }
        }
        for job in self.store.visits_to_end().await? {
            if self.ending.insert(job) {
                let runner = self.runner.clone();
                self.visits.spawn(async move {
                    runner.end_visit(job).await;
                    job
                });
            }
        }
        Ok(())
    }

    fn start(&mut self, assignment: Assignment) {
        let cancel = CancellationToken::new();
        let signals = Signals {
            cancel: cancel.clone(),
            shutdown: self.shutdown.clone(),
            stop_agents: self.stop_agents.clone(),
        };
        let (runner, lease) = (self.runner.clone(), assignment.lease);
        let handle = self.attempts.spawn(async move { runner.run(assignment, signals).await });
        self.running.push((handle.id(), lease, cancel));
    }

    async fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let (id, panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(at) = self.running.iter().position(|(running, ..)| *running == id) else { return };
        let (_, lease, _) = self.running.remove(at);
        if panicked {
            // a bug of ours must not leave the job running for ever
            self.runner.give_up(lease).await;
        }
        if !matches!(self.store.find_assignment(lease).await, Ok(None)) {
            tracing::warn!(job.number = lease.job.0, "the attempt was left without an end");
            self.left.push(lease);
            self.left_at = Instant::now();
        }
    }

    /// Starts a worker again for every lease that is still good though its worker is gone: a while later, because what
    /// drove the first one away has to pass.
    async fn take_up_what_was_left(&mut self) {
        for lease in std::mem::take(&mut self.left) {
            match self.store.find_assignment(lease).await {
                Ok(Some(assignment)) => {
                    tracing::info!(job.number = lease.job.0, "the attempt that was left goes on");
                    self.start(assignment);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, job.number = lease.job.0, "an attempt could not be looked at");
                    self.left.push(lease);
                }
            }
        }
        self.left_at = Instant::now();
    }

    fn cancel(&self, job: JobNumber) {
        for (_, lease, cancel) in &self.running {
            if lease.job == job {
                cancel.cancel();
            }
        }
    }

    /// The rows are the truth: a request whose hint was lost is found here, however busy the queue is.
    async fn look_for_cancels(&mut self) {
        self.looked_at = Instant::now();
        for (_, lease, cancel) in &self.running {
            if !cancel.is_cancelled() && self.store.is_cancel_requested(lease.job).await.unwrap_or(false) {
                cancel.cancel();
            }
        }
    }

    async fn drain(&mut self, drain: Duration) {
        tracing::info!(running = self.running.len(), "waiting for the steps under way");
        let all = async { while self.attempts.join_next().await.is_some() {} };
        if timeout(drain, all).await.is_err() {
            tracing::warn!(
                left = self.attempts.len(),
                "some steps did not end in time; the next start goes on with them"
            );
        }
        self.attempts.shutdown().await;
        self.visits.shutdown().await;
    }
}
