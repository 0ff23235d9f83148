//! Random histories of the queue, told to a real store and to a small model of what it promises; after each step both
//! must say the same about every job, its place and why it waits.

use std::collections::BTreeMap;
use std::time::Duration;

use offshoot::domain::attempt::{AttemptEnd, Lease};
use offshoot::domain::client::Client;
use offshoot::domain::id::JobNumber;
use offshoot::domain::job::{Status, Waiting, WaitingFor};
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::time::Timestamp;
use offshoot::store::{Limits, Store, StoreError};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::store_fixture::{Bench, NOW_MS, done, fault, fault_until, job};

const LIMITS: Limits =
    Limits { running_max: 3, running_per_client_max: Some(2), queued_max: 12, disk_free_bytes_min: 0 };
const BRANCHES: [&str; 7] = ["feat", "feat/y", "Feat/y/z", "FEAT", "fix", "fix-2", "feature"];
const LOGINS: [&str; 2] = ["claude", "codex"];

#[derive(Clone, Debug)]
enum Step {
    Submit { client: usize, branch: usize, priority: i8, login: usize },
    Claim,
    Finish { which: usize, end: End },
    Cancel { which: usize },
    Pause(bool),
    PauseClient(usize, bool),
    TryNow(Option<usize>),
    Wait { ms: i64 },
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Failed,
    Stopped,
    /// A limit that is over after so many seconds.
    Limit(i64),
    LoggedOut,
    Away,
    Crashed,
    Cancelled,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        4 => Just(End::Done),
        1 => Just(End::Failed),
        2 => Just(End::Stopped),
        2 => (1..100_i64).prop_map(End::Limit),
        1 => Just(End::LoggedOut),
        1 => Just(End::Away),
        1 => Just(End::Crashed),
        1 => Just(End::Cancelled),
    ];
    let submit = (0..3_usize, 0..BRANCHES.len(), prop_oneof![6 => Just(0_i8), 1 => -1..=1_i8], 0..2_usize);
    let step = prop_oneof![
        10 => submit.prop_map(|(client, branch, priority, login)| Step::Submit { client, branch, priority, login }),
        9 => Just(Step::Claim),
        7 => (0..3_usize, end).prop_map(|(which, end)| Step::Finish { which, end }),
        2 => (0..20_usize).prop_map(|which| Step::Cancel { which }),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => (0..3_usize, any::<bool>()).prop_map(|(client, on)| Step::PauseClient(client, on)),
        2 => prop::option::of(0..2_usize).prop_map(Step::TryNow),
        3 => (-5_000..60_000_i64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

/// What is believed about one job.
#[derive(Clone, Debug)]
struct Believed {
    client: usize,
    branch: String,
    rank: i64,
    turn: i64,
    login: usize,
    status: Status,
    attempts: u32,
    counted: u32,
    tries: u32,
    not_before: Option<i64>,
    cancel: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    for_: WaitingFor,
    until: Option<i64>,
    probe: Option<usize>,
}

/// The queue in its plainest form; jobs are counted from 0, their numbers from 1.
#[derive(Default)]
struct Model {
    jobs: Vec<Believed>,
    paused: bool,
    paused_clients: [bool; 3],
    holds: BTreeMap<usize, Held>,
    served: BTreeMap<i64, i64>,
    now: i64,
    events: usize,
}

impl Model {
    fn of(&self, status: Status) -> Vec<usize> {
        (0..self.jobs.len()).filter(|job| self.jobs[*job].status == status).collect()
    }

    /// The queued jobs in their order.
    fn queue(&self) -> Vec<usize> {
        let mut queued = self.of(Status::Queued);
        queued.sort_by_key(|job| (self.jobs[*job].rank, self.jobs[*job].turn, *job));
        queued
    }

    /// A live job of the client on a branch that `branch` cannot exist beside: equal, or one a directory of the other.
    fn in_the_way(&self, client: usize, branch: &str) -> bool {
        let parts: Vec<_> = branch.split('/').collect();
        self.jobs.iter().filter(|job| job.client == client && job.status.is_live()).any(|job| {
            let others: Vec<_> = job.branch.split('/').collect();
            let common = parts.len().min(others.len());
            parts[..common] == others[..common]
        })
    }

    fn submit(&mut self, client: usize, branch: &str, priority: i8, login: usize) -> bool {
        let branch = branch.to_lowercase();
        if self.of(Status::Queued).len() >= LIMITS.queued_max as usize || self.in_the_way(client, &branch) {
            return false;
        }
        let rank = -i64::from(priority);
        let own =
            self.jobs.iter().filter(|job| job.client == client && job.rank == rank && job.status.is_live());
        let after_own = own.map(|job| job.turn + 1).max().unwrap_or(0);
        let turn = after_own.max(self.served.get(&rank).copied().unwrap_or(0));
        self.jobs.push(Believed {
            client,
            branch,
            rank,
            turn,
            login,
            status: Status::Queued,
            attempts: 0,
            counted: 0,
            tries: 0,
            not_before: None,
            cancel: false,
        });
        self.events += 1;
        true
    }

    fn running_of(&self, client: usize) -> usize {
        self.of(Status::Running).into_iter().filter(|job| self.jobs[*job].client == client).count()
    }

    /// Why a queued job may not go, slots apart.
    fn obstacle(&self, at: usize) -> Option<Waiting> {
        let job = &self.jobs[at];
        let waiting = |for_, until: Option<i64>| Some(Waiting { for_, until: until.map(Timestamp::from_ms) });
        if self.paused || self.paused_clients[job.client] {
            return waiting(WaitingFor::Paused, None);
        }
        if let Some(held) = self.holds.get(&job.login) {
            let due = held.probe.is_none() && held.until.is_some_and(|until| until <= self.now);
            if !due {
                return waiting(held.for_, held.until);
            }
        }
        if let Some(until) = job.not_before.filter(|until| *until > self.now) {
            return waiting(WaitingFor::Backoff, Some(until));
        }
        if self.running_of(job.client) >= LIMITS.running_per_client_max.unwrap_or(u32::MAX) as usize {
            return waiting(WaitingFor::ClientLimit, None);
        }
        None
    }

    fn claim(&mut self) -> Option<usize> {
        if self.of(Status::Running).len() >= LIMITS.running_max as usize {
            return None;
        }
        let next = self.queue().into_iter().find(|job| self.obstacle(*job).is_none())?;
        let job = &mut self.jobs[next];
        job.status = Status::Running;
        job.attempts += 1;
        job.not_before = None;
        let served = self.served.entry(job.rank).or_insert(job.turn);
        *served = job.turn.max(*served);
        if let Some(held) = self.holds.get_mut(&job.login) {
            held.probe = Some(next);
        }
        self.events += 1;
        Some(next)
    }

    fn finish(&mut self, at: usize, end: End) {
        self.events += 1;
        let job = &mut self.jobs[at];
        let fault = matches!(end, End::Limit(_) | End::LoggedOut) && !job.cancel;
        job.status = match end {
            End::Done => Status::Completed,
            End::Cancelled => Status::Cancelled,
            _ if job.cancel => Status::Cancelled,
            End::Failed => Status::Failed,
            End::Stopped | End::Limit(_) | End::LoggedOut => Status::Queued,
            End::Away => {
                job.tries += 1;
                let wait = (15_000 << (job.tries - 1)).min(1_800_000);
                job.not_before = (job.tries <= 8).then_some(self.now + wait);
                if job.tries <= 8 { Status::Queued } else { Status::Failed }
            }
            End::Crashed => {
                job.counted += 1;
                if job.counted < 3 { Status::Queued } else { Status::Failed }
            }
        };
        let login = job.login;
        if fault {
            let (for_, until) = match end {
                End::Limit(seconds) => (WaitingFor::UsageLimit, Some(self.now + seconds * 1_000)),
                _ => (WaitingFor::Login, None),
            };
            let other_probe = self.holds.get(&login).and_then(|held| held.probe).filter(|probe| *probe != at);
            self.holds.insert(login, Held { for_, until, probe: other_probe });
        } else if self.holds.get(&login).is_some_and(|held| held.probe == Some(at)) {
            self.holds.remove(&login);
        }
    }

    fn try_now(&mut self, login: Option<usize>) {
        for (of, held) in &mut self.holds {
            if login.is_none_or(|login| login == *of) {
                (held.until, held.probe) = (Some(self.now), None);
            }
        }
    }

    fn next_due_in(&self) -> Option<Duration> {
        let backoffs = self.of(Status::Queued).into_iter().filter_map(|job| self.jobs[job].not_before);
        let holds = self.holds.values().filter(|held| held.probe.is_none()).filter_map(|held| held.until);
        let next = backoffs.chain(holds).filter(|at| *at > self.now).min()?;
        Some(Duration::from_millis(u64::try_from(next - self.now).unwrap()))
    }
}

/// The store, its model, and the leases of what runs.
struct Told {
    bench: Bench,
    clients: Vec<Client>,
    leases: BTreeMap<usize, Lease>,
    model: Model,
}

impl Told {
    async fn new() -> Self {
        let bench = Bench::with(LIMITS);
        let clients = vec![bench.client("a").await, bench.client("b").await, bench.client("c").await];
        let model = Model { now: NOW_MS, ..Model::default() };
        Self { bench, clients, leases: BTreeMap::new(), model }
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let store = self.bench.store.clone();
        match *step {
            Step::Submit { client, branch, priority, login } => {
                let mut new = job(&self.clients[client].id, BRANCHES[branch]);
                new.request.priority = priority;
                new.login = LOGINS[login].to_owned();
                let answer = store.submit_job(new, None, |_| None).await;
                let accepted = self.model.submit(client, BRANCHES[branch], priority, login);
                prop_assert_eq!(answer.is_ok(), accepted, "{:?}", answer.map(|view| view.job.number));
            }
            Step::Claim => {
                let claimed = store.claim().await.unwrap();
                let expected = self.model.claim();
                prop_assert_eq!(claimed.as_ref().map(|a| a.lease.job.0 - 1), expected.map(|job| job as i64));
                if let (Some(claimed), Some(job)) = (claimed, expected) {
                    prop_assert_eq!(claimed.lease.attempt, self.model.jobs[job].attempts);
                    self.leases.insert(job, claimed.lease);
                }
            }
            Step::Finish { which, end } => self.finish(&store, which, end).await?,
            Step::Cancel { which } => self.cancel(&store, which).await?,
            Step::Pause(true) => {
                store.pause_queue(None).await.unwrap();
                self.model.paused = true;
            }
            Step::Pause(false) => {
                store.resume_queue().await.unwrap();
                self.model.paused = false;
            }
            Step::PauseClient(client, on) => {
                let patch = offshoot::domain::client::ClientPatch { paused: Some(on), ..Default::default() };
                store.update_client(&self.clients[client].id, patch).await.unwrap();
                self.model.paused_clients[client] = on;
            }
            Step::TryNow(login) => {
                store.try_now(login.map(|login| LOGINS[login])).await.unwrap();
                self.model.try_now(login);
            }
            Step::Wait { ms } => {
                self.bench.clock.advance_ms(ms);
                self.model.now += ms;
            }
            Step::Restart => self.restart().await?,
        }
        Ok(())
    }

    async fn finish(&mut self, store: &Store, which: usize, end: End) -> Result<(), TestCaseError> {
        let Some((&job, &lease)) = self.leases.iter().nth(which) else { return Ok(()) };
        let now = self.bench.now();
        let attempt_end = match end {
            End::Done => done(),
            End::Failed => fault(ReasonCode::VerifyFailed),
            End::Stopped => fault(ReasonCode::Stopped),
            End::Limit(s) => {
                fault_until(ReasonCode::UsageLimit, Some(now + Duration::from_secs(s.unsigned_abs())))
            }
            End::LoggedOut => fault(ReasonCode::NotLoggedIn),
            End::Away => fault(ReasonCode::RemoteUnavailable),
            End::Crashed => fault(ReasonCode::Crashed),
            End::Cancelled => AttemptEnd::Cancelled,
        };
        store.finish(lease, attempt_end.clone(), |_| None).await.unwrap();
        self.leases.remove(&job);
        self.model.finish(job, end);
        let again = store.finish(lease, attempt_end, |_| None).await;
        prop_assert!(matches!(again, Err(StoreError::LeaseLost(_))));
        Ok(())
    }

    async fn cancel(&mut self, store: &Store, which: usize) -> Result<(), TestCaseError> {
        let Some(job) = self.model.jobs.get_mut(which) else { return Ok(()) };
        let name = offshoot::domain::id::JobRef::Number(JobNumber(which as i64 + 1));
        let answer = store.request_cancel(&name, |_| None).await;
        match job.status {
            Status::Queued => {
                prop_assert!(answer.is_ok_and(|found| !found.was_running && !found.was_cancelled));
                job.status = Status::Cancelled;
                self.model.events += 1;
            }
            Status::Running => {
                prop_assert!(answer.is_ok_and(|found| found.was_running));
                job.cancel = true;
            }
            Status::Cancelled => prop_assert!(answer.is_ok_and(|found| found.was_cancelled)),
            Status::Completed | Status::Failed => prop_assert!(matches!(answer, Err(StoreError::Refused(_)))),
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), TestCaseError> {
        self.bench.store = self.bench.reopen();
        let adopted = self.bench.store.adopt_running().await.unwrap();
        let numbers: Vec<_> = adopted.iter().map(|assignment| assignment.lease.job.0 - 1).collect();
        prop_assert_eq!(numbers, self.leases.keys().map(|job| *job as i64).collect::<Vec<_>>());
        for (lease, assignment) in self.leases.values_mut().zip(adopted) {
            let lost = self.bench.store.add_warning(*lease, "late").await;
            prop_assert!(matches!(lost, Err(StoreError::LeaseLost(_))));
            *lease = assignment.lease;
        }
        Ok(())
    }

    async fn compare(&self) -> Result<(), TestCaseError> {
        let (store, model) = (&self.bench.store, &self.model);
        let page = store.queue_page(0).await.unwrap();
        let listed: Vec<_> =
            page.queued.iter().map(|job| (job.number.0 - 1, job.position, job.waiting)).collect();
        let slot = Waiting { for_: WaitingFor::Slot, until: None };
        let expected: Vec<_> = (1..)
            .zip(model.queue())
            .map(|(position, job)| (job as i64, position, model.obstacle(job)))
            // a hold that is due waits for nothing but a slot, and keeps telling why it is there
            .map(|(job, position, obstacle)| {
                let due = model.holds.get(&model.jobs[usize::try_from(job).unwrap()].login);
                let told =
                    due.map(|held| Waiting { for_: held.for_, until: held.until.map(Timestamp::from_ms) });
                (
                    job,
                    position,
                    obstacle.filter(|o| o.for_ == WaitingFor::Paused).or(told).or(obstacle).unwrap_or(slot),
                )
            })
            .collect();
        prop_assert_eq!(listed, expected);
        prop_assert_eq!(store.next_due_in().await.unwrap(), model.next_due_in());
        for (at, believed) in model.jobs.iter().enumerate() {
            let name = offshoot::domain::id::JobRef::Number(JobNumber(at as i64 + 1));
            let view = store.get_job(&name).await.unwrap();
            let place = model.queue().iter().position(|job| *job == at).map(|before| before as i64 + 1);
            prop_assert_eq!((view.job.status, view.position), (believed.status, place), "job {}", at + 1);
            prop_assert_eq!(
                (view.job.attempt, view.job.attempts_counted),
                (believed.attempts, believed.counted)
            );
        }
        let running = model.of(Status::Running);
        prop_assert!(running.len() <= 3 && (0..3).all(|client| model.running_of(client) <= 2));
        let events = store.list_events(None, 0, 10_000).await.unwrap();
        prop_assert_eq!(events.len(), model.events);
        prop_assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        Ok(())
    }
}

proptest! {
    // each case is a file, some 60 commits and as many comparisons: half a minute would be too much of a test run
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_and_its_model_agree(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut told = Told::new().await;
            for step in &steps {
                told.take(step).await?;
                told.compare().await?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}
