//! Random histories of the queue, told to a real store and to a small model of what it promises; after each step both
//! must say the same about every job, its place and why it waits.

mod plain;

use std::collections::{BTreeMap, BTreeSet};

use offshoot::domain::attempt::{AttemptEnd, Lease};
use offshoot::domain::client::Client;
use offshoot::domain::id::JobNumber;
use offshoot::domain::job::{Phase, Status, Usage, Waiting, WaitingFor};
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::time::Timestamp;
use offshoot::store::{Store, StoreError};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use self::plain::{End, LIMITS, Model};
use crate::store_fixture::{Bench, NOW_MS, done, fault, fault_until, job};

const BRANCHES: [&str; 7] = ["feat", "feat/y", "Feat/y/z", "FEAT", "fix", "fix-2", "feature"];
const LOGINS: [&str; 2] = ["claude", "codex"];

#[derive(Clone, Debug)]
enum Step {
    Submit {
        client: usize,
        branch: usize,
        priority: i8,
        login: usize,
        wish: Wish,
    },
    Claim,
    /// The attempt comes to its agent.
    Reach {
        which: usize,
    },
    Finish {
        which: usize,
        end: End,
    },
    Cancel {
        which: usize,
    },
    Pause(bool),
    PauseClient(usize, bool),
    TryNow(Option<usize>),
    Wait {
        ms: i64,
    },
    SetClock {
        ms: i64,
    },
    Restart,
}

/// When a job may start.
#[derive(Clone, Debug)]
struct Wish {
    /// Counted back from the newest job; what is not there is not asked for.
    after: Vec<usize>,
    in_ms: Option<i64>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        4 => Just(End::Done),
        1 => Just(End::Failed),
        2 => Just(End::Stopped),
        2 => (-20..100_i64).prop_map(End::Limit),
        1 => Just(End::LoggedOut),
        1 => Just(End::Away),
        1 => Just(End::Crashed),
        1 => Just(End::Cancelled),
    ];
    let after = prop_oneof![2 => Just(vec![]), 3 => prop::collection::vec(0..5_usize, 1..4)];
    let in_ms = prop_oneof![5 => Just(None), 1 => (-1_000..50_000_i64).prop_map(Some)];
    let wish = (after, in_ms).prop_map(|(after, in_ms)| Wish { after, in_ms });
    let priority = prop_oneof![6 => Just(0_i8), 1 => -1..=1_i8];
    let submit = (0..3_usize, 0..BRANCHES.len(), priority, 0..2_usize, wish);
    let step = prop_oneof![
        10 => submit.prop_map(|(client, branch, priority, login, wish)| {
            Step::Submit { client, branch, priority, login, wish }
        }),
        9 => Just(Step::Claim),
        3 => (0..3_usize).prop_map(|which| Step::Reach { which }),
        7 => (0..3_usize, end).prop_map(|(which, end)| Step::Finish { which, end }),
        2 => (0..20_usize).prop_map(|which| Step::Cancel { which }),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => (0..3_usize, any::<bool>()).prop_map(|(client, on)| Step::PauseClient(client, on)),
        2 => prop::option::of(0..2_usize).prop_map(Step::TryNow),
        3 => (0..60_000_i64).prop_map(|ms| Step::Wait { ms }),
        2 => prop_oneof![-60..60_i64, Just(86_400), Just(-86_400)]
            .prop_map(|seconds| Step::SetClock { ms: seconds * 1_000 }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
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
        bench.store.note_time().await.unwrap();
        let clients = vec![bench.client("a").await, bench.client("b").await, bench.client("c").await];
        let model = Model { now: NOW_MS, ..Model::default() };
        Self { bench, clients, leases: BTreeMap::new(), model }
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let store = self.bench.store.clone();
        match *step {
            Step::Submit { client, branch, priority, login, ref wish } => {
                self.submit((client, BRANCHES[branch]), priority, login, wish).await?;
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
            Step::Reach { which } => {
                let Some((&job, &lease)) = self.leases.iter().nth(which) else { return Ok(()) };
                store.reach_phase(lease, Phase::Agent).await.unwrap();
                let usage = Usage { output_tokens: 1, ..Usage::default() };
                store.record_usage(lease, "agent-1", None, usage).await.unwrap();
                self.model.jobs[job].agent = true;
                self.model.events += 1;
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
            Step::SetClock { ms } => {
                self.bench.clock.set_by_ms(ms);
                self.model.now += ms;
                self.model.set_back -= ms;
            }
            Step::Restart => self.restart().await?,
        }
        Ok(())
    }

    async fn submit(
        &mut self,
        (client, branch): (usize, &str),
        priority: i8,
        login: usize,
        wish: &Wish,
    ) -> Result<(), TestCaseError> {
        let count = self.model.jobs.len();
        let after: BTreeSet<_> = wish.after.iter().filter_map(|back| count.checked_sub(back + 1)).collect();
        let after: Vec<_> = after.into_iter().collect();
        let run_at = wish.in_ms.map(|ms| self.model.now + ms);
        let mut new = job(&self.clients[client].id, branch);
        new.request.run_at = run_at.map(Timestamp::from_ms);
        for job in &after {
            new.request.depends_on.push(self.bench.view(JobNumber(*job as i64 + 1)).await.job.id);
        }
        new.request.priority = priority;
        new.login = LOGINS[login].to_owned();
        let answer = self.bench.store.submit_job(new, None, |_| None).await;
        let accepted = self.model.submit((client, branch), priority, login, &after, run_at);
        prop_assert_eq!(answer.is_ok(), accepted, "{:?}", answer.map(|view| view.job.number));
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
                fault_until(ReasonCode::UsageLimit, Some(Timestamp::from_ms(now.as_ms() + s * 1_000)))
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
                self.model.leave(which, Status::Cancelled);
                self.model.events += 1;
                self.model.over(which);
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
        self.bench.store.note_time().await.unwrap();
        let adopted = self.bench.store.adopt_running("boot").await.unwrap();
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
        let page = store.queue_page(None).await.unwrap();
        let listed: Vec<_> =
            page.queued.iter().map(|job| (job.number.0 - 1, job.position, job.waiting)).collect();
        let slot = Waiting::plain(WaitingFor::Slot, None);
        let expected: Vec<_> = (1..)
            .zip(model.queue())
            .map(|(position, job)| (job as i64, position, model.obstacle(job).unwrap_or(slot)))
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
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..ProptestConfig::default() })]

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
