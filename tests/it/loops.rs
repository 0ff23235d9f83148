//! The loops over a real store, with stand-ins for whoever works and whoever is called back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offshoot::background::{AgentProgram, Deliverer, DelivererSettings, Dispatcher, Prober};
use offshoot::domain::agent_kind::AgentKind;
use offshoot::domain::attempt::{Assignment, AttemptEnd, Lease};
use offshoot::domain::id::{JobNumber, JobRef};
use offshoot::domain::job::{Phase, Status};
use offshoot::domain::reason::ReasonCode;
use offshoot::domain::visit::Visitor;
use offshoot::store::{Store, StoreError};
use offshoot::webhook::{Carrier, SendRequest, SendResult, SigningSecrets, Style};
use offshoot::worker::{Runner, Signals};
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::stand::{PATIENCE, poll};
use crate::store_fixture::{Bench, callback, fault};

/// Works until it is told to stop.
#[derive(Clone)]
struct Patient(Store);

impl Runner for Patient {
    async fn run(&self, assignment: Assignment, signals: Signals) {
        tokio::select! {
            () = signals.cancel.cancelled() => {
                self.0.finish(assignment.lease, AttemptEnd::Cancelled, |_| None).await.unwrap();
            }
            () = signals.shutdown.cancelled() => {}
        }
    }

    async fn give_up(&self, _: Lease) {}

    async fn end_visit(&self, job: JobNumber) {
        self.0.end_visit(job, None, |_| None).await.unwrap();
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn sweep_of(&self, _: JobNumber) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Nobody says that a visit is over which ends by time: the loop finds it, and the job goes on.
#[tokio::test(start_paused = true)]
async fn a_visit_that_nobody_prolongs_is_ended() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    bench.store.reach_phase(lease, Phase::Agent).await.unwrap();
    let job = JobRef::Number(JobNumber(1));
    let visitor = Visitor { key: "k".to_owned(), by: "admin".to_owned() };
    bench.store.attach(&job, visitor).await.unwrap();
    bench.end(lease, AttemptEnd::Attached).await;
    let stop = CancellationToken::new();
    let runner = Patient(bench.store.clone());
    let dispatcher = Dispatcher::new(bench.store.clone(), runner, stop.clone(), CancellationToken::new());
    let mut running = JoinSet::new();
    running.spawn(dispatcher.run(Duration::from_secs(5)));
    let hour = Duration::from_secs(3_600);
    let status = async || bench.view(JobNumber(1)).await.job.status;
    // rounds go by
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(status().await, Status::Queued);
    bench.clock.advance_ms(120_000);
    poll(hour, async || (status().await == Status::Running).then_some(())).await.expect("it goes on");
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
}

/// The row is the truth: whoever asks through another store on the same file gives no hint that the loop could hear.
#[tokio::test(start_paused = true)]
async fn a_cancel_of_which_no_hint_came_is_found() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let stop = CancellationToken::new();
    let runner = Patient(bench.store.clone());
    let dispatcher = Dispatcher::new(bench.store.clone(), runner, stop.clone(), CancellationToken::new());
    let mut running = JoinSet::new();
    running.spawn(dispatcher.run(Duration::from_secs(5)));
    let status = async |number| bench.view(JobNumber(number)).await.job.status;
    // an hour of a clock that jumps to whatever is awaited next
    let hour = Duration::from_secs(3_600);
    let began =
        async || (status(1).await == Status::Running && status(2).await == Status::Running).then_some(());
    poll(hour, began).await.expect("both are started");
    let other = bench.reopen();
    other.request_cancel(&JobRef::Number(JobNumber(1)), |_| None).await.unwrap();
    let over = async || (status(1).await == Status::Cancelled).then_some(());
    poll(hour, over).await.expect("the request is found in the row");
    assert_eq!(status(2).await, Status::Running, "and nobody else's");
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
}

/// The server finds by itself that the program is there: that is no reason for a second probe beside the one that is out.
#[tokio::test(start_paused = true)]
async fn a_look_at_the_agents_leaves_a_probe_alone() {
    let bench = Bench::new(2);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    bench.submit(&client, "2").await;
    let (first, straggler) = (bench.claim().await.lease, bench.claim().await.lease);
    bench.end(first, fault(ReasonCode::AgentMissing)).await;
    bench.store.try_now(None).await.unwrap();
    let probe = bench.claim().await.lease;
    bench.end(straggler, fault(ReasonCode::AgentMissing)).await;
    let hold = async || bench.store.accounts().await.unwrap().holds.remove(0);
    let stop = CancellationToken::new();
    let (prober, mut found) =
        Prober::new(bench.store.clone(), bench.clock.clone(), program("/bin/sh"), stop.clone());
    let mut running = JoinSet::new();
    running.spawn(prober.run());
    // the first look is told before the holds are looked at, and once more afterwards; the second one would try the login
    for _ in 0..3 {
        found.changed().await.unwrap();
    }
    assert_eq!((hold().await.probe, hold().await.until), (Some(probe.job), None));
    bench.end(probe, fault(ReasonCode::Stopped)).await;
    let is_due = async || hold().await.until.is_some().then_some(());
    poll(Duration::from_secs(3_600), is_due).await.expect("the next one goes out");
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
}

fn program(path: &str) -> Vec<AgentProgram> {
    vec![AgentProgram {
        name: "claude".to_owned(),
        kind: AgentKind::Command,
        command: vec![path.to_owned()],
        environment: BTreeMap::new(),
    }]
}

/// A program that is there and cannot be run looks well at each look. Once it has gone and come again it is tried at once.
#[tokio::test(start_paused = true)]
async fn a_login_that_only_looks_well_is_tried_less_and_less() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    bench.submit(&client, "1").await;
    let lease = bench.claim().await.lease;
    bench.end(lease, fault(ReasonCode::AgentMissing)).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent");
    std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
    let stop = CancellationToken::new();
    let programs = program(&path.display().to_string());
    let (prober, mut found) = Prober::new(bench.store.clone(), bench.clock.clone(), programs, stop.clone());
    let mut running = JoinSet::new();
    running.spawn(prober.run());
    let (mut tries, began) = (0, tokio::time::Instant::now());
    // at least eight hours: one look a minute, and the clock may jump over several while the database is asked
    for _ in 0..500 {
        found.changed().await.unwrap();
        if let Some(assignment) = bench.store.claim().await.unwrap() {
            tries += 1;
            bench.end(assignment.lease, fault(ReasonCode::AgentMissing)).await;
        }
    }
    let looks = began.elapsed().as_secs() / 60;
    // after 1, 3, 7, 15, 31 and 63 of them, then after every 64
    assert!((6..=7 + looks / 64).contains(&tries), "{tries} tries at {looks} looks");
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
    // a look that was under way when the last job was asked for may have made one due
    if let Some(assignment) = bench.store.claim().await.unwrap() {
        bench.end(assignment.lease, fault(ReasonCode::AgentMissing)).await;
    }

    // the next server knows nothing of that; the program is away at its first look
    std::fs::remove_file(&path).unwrap();
    let (stop, programs) = (CancellationToken::new(), program(&path.display().to_string()));
    let (prober, mut found) = Prober::new(bench.store.clone(), bench.clock.clone(), programs, stop.clone());
    running.spawn(prober.run());
    for _ in 0..20 {
        found.changed().await.unwrap();
        assert!(bench.store.claim().await.unwrap().is_none(), "what is not there is not tried");
    }
    std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
    found.mark_unchanged();
    // one look may be under way; by the end of the next one the job is due
    for _ in 0..2 {
        found.changed().await.unwrap();
    }
    assert!(bench.store.claim().await.unwrap().is_some(), "it has come: it is tried at the next look");
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
}

#[derive(Default)]
struct Counted {
    under_way: BTreeMap<String, usize>,
    most: usize,
    most_of_one: BTreeMap<String, usize>,
}

impl Counted {
    fn begins(&mut self, url: &str) {
        let of_one = self.under_way.entry(url.to_owned()).or_default();
        *of_one += 1;
        let most = self.most_of_one.entry(url.to_owned()).or_default();
        *most = (*most).max(*of_one);
        self.most = self.most.max(self.under_way.values().sum());
    }
}

/// Receivers that hang until they are let go on.
struct Hanging {
    counted: Arc<Mutex<Counted>>,
    go_on: Arc<Semaphore>,
}

impl Carrier for Hanging {
    fn send(&self, request: &SendRequest<'_>) -> impl Future<Output = SendResult> + Send {
        let (counted, go_on, url) = (self.counted.clone(), self.go_on.clone(), request.url.to_owned());
        async move {
            counted.lock().unwrap().begins(&url);
            go_on.acquire().await.unwrap().forget();
            *counted.lock().unwrap().under_way.get_mut(&url).unwrap() -= 1;
            SendResult::Accepted { status: 204 }
        }
    }
}

/// Counts the signatures of each try.
struct Counting(Arc<Mutex<Vec<usize>>>);

impl Carrier for Counting {
    fn send(&self, request: &SendRequest<'_>) -> impl Future<Output = SendResult> + Send {
        let secrets = request.secrets.expect("they are signed");
        let signed = secrets.standard_signature(request.event_id, request.timestamp_s, request.body);
        self.0.lock().unwrap().push(signed.split(' ').count());
        std::future::ready(SendResult::Accepted { status: 204 })
    }
}

/// How many secrets sign a callback now, for a server that starts now.
async fn signatures(bench: &Bench, store: &Store, branch: &str, current: &str) -> usize {
    let previous = SecretString::from("the one before");
    let secrets = SigningSecrets::new(SecretString::from(current), Some(&previous), Style::Hex).unwrap();
    let since = store.note_rotation(secrets.rotation().unwrap()).await.unwrap();
    let client = store.list_clients().await.unwrap().remove(0);
    let view = bench.submit(&client, branch).await;
    let told = callback(branch, "https://example.org");
    let job = JobRef::Number(view.job.number);
    store.request_cancel(&job, move |_| Some(told.clone())).await.unwrap();
    let (counted, stop) = (Arc::default(), CancellationToken::new());
    let settings = DelivererSettings {
        sender: Counting(Arc::clone(&counted)),
        secrets: Some(secrets.rotated_at(since)),
    };
    let mut running = JoinSet::new();
    running.spawn(Deliverer::new(store.clone(), bench.clock.clone(), settings, stop.clone()).run());
    let delivered = async || (store.accounts().await.unwrap().deliveries_pending == 0).then_some(());
    poll(PATIENCE, delivered).await.expect("it is delivered");
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
    let counted = counted.lock().unwrap();
    assert_eq!(counted.len(), 1);
    counted[0]
}

#[tokio::test]
async fn a_previous_secret_signs_for_a_day_over_restarts_whoever_sets_the_clock() {
    const DAY_MS: i64 = 86_400_000;
    let bench = Bench::new(1);
    bench.client("a").await;
    assert_eq!(signatures(&bench, &bench.store, "1", "new").await, 2);
    bench.clock.set_by_ms(10 * DAY_MS);
    assert_eq!(signatures(&bench, &bench.store, "2", "new").await, 2, "nothing has passed");
    // as a server does while it runs: a later start goes on from there
    bench.store.note_time().await.unwrap();
    bench.clock.advance_ms(DAY_MS - 1);
    assert_eq!(signatures(&bench, &bench.reopen(), "3", "new").await, 2, "a millisecond is left");
    bench.clock.set_by_ms(-20 * DAY_MS);
    bench.clock.advance_ms(1);
    assert_eq!(signatures(&bench, &bench.store, "4", "new").await, 1, "a start begins no new day");
    assert_eq!(signatures(&bench, &bench.store, "5", "newer").await, 2, "another rotation");
}

/// As after a night in which the machine slept: everything is due at the same time.
#[tokio::test]
async fn callbacks_that_are_due_together_go_out_a_few_at_a_time() {
    const ALL: usize = 100;
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    for number in 0..ALL {
        let view = bench.submit(&client, &format!("{number}")).await;
        // the first twenty to one receiver, then four to each
        let receiver = if number < 20 { 0 } else { number / 4 };
        let told = callback(&format!("job{number}"), &format!("https://r{receiver}.example.org"));
        let job = JobRef::Number(view.job.number);
        bench.store.request_cancel(&job, move |_| Some(told.clone())).await.unwrap();
    }
    let (counted, go_on, stop) = (Arc::default(), Arc::new(Semaphore::new(0)), CancellationToken::new());
    let sender = Hanging { counted: Arc::clone(&counted), go_on: go_on.clone() };
    let settings = DelivererSettings { sender, secrets: None };
    let deliverer = Deliverer::new(bench.store.clone(), bench.clock.clone(), settings, stop.clone());
    let mut running = JoinSet::new();
    running.spawn(deliverer.run());
    let full = async || (counted.lock().unwrap().most >= 32).then_some(());
    poll(PATIENCE, full).await.expect("as many as may be under way are");
    go_on.add_permits(ALL);
    let delivered = async || (bench.store.accounts().await.unwrap().deliveries_pending == 0).then_some(());
    poll(PATIENCE, delivered).await.expect("all are delivered");
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
    let counted = counted.lock().unwrap();
    assert_eq!(counted.most, 32);
    assert_eq!(counted.most_of_one.values().max(), Some(&4), "{:?}", counted.most_of_one);
    assert_eq!(counted.most_of_one.len(), 21);
}
