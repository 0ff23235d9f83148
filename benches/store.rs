//! The store alone, as the server uses it: goal 3 without HTTP, and goal 6. A job here is claimed and finished, and nothing is run.

use std::path::Path;
use std::time::Instant;

use offshoot::clock::Clock;
use offshoot::domain::attempt::AttemptEnd;
use offshoot::domain::client::{NewClient, RepositoryName};
use offshoot::domain::id::ClientId;
use offshoot::domain::job::{NewJob, NewJobRequest, Outcome, Start};
use offshoot::domain::options::RunOptions;
use offshoot::store::{Limits, Store};
use tokio::task::JoinSet;

use crate::Plan;
use crate::baseline::commits;
use crate::figures::{Report, Samples, Wanted};

/// Jobs of one round and number of callers.
const JOBS: usize = 2_000;
const TURN: std::time::Duration = std::time::Duration::from_secs(1);
const SLOTS: usize = 8;

pub(crate) fn measure(plan: &Plan) -> Report {
    let mut report = Report::default();
    let (mut raw, mut raw_64) = (Samples::default(), Samples::default());
    let mut submitted: [Samples; 3] = Default::default();
    let mut dispatched = Samples::default();
    for _ in 0..plan.rounds {
        let dir = tempfile::Builder::new().prefix("ob-").tempdir_in(&plan.dir).unwrap();
        raw.push(commits(&dir.path().join("raw.db"), 1, TURN).0);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (submits, finishes) = runtime.block_on(round(dir.path()));
        for (all, figure) in submitted.iter_mut().zip(submits) {
            all.push(figure);
        }
        dispatched.push(finishes);
        raw_64.push(commits(&dir.path().join("raw.db"), 64, TURN).0);
    }
    let [one, eight, many] = &submitted;
    report.ratio("3", "submits by 1 caller, of raw FULL commits", (one, &raw), "/s", Wanted::AtLeast(0.75));
    report.ratio("3", "submits by 8 callers, of raw FULL commits", (eight, &raw), "/s", Wanted::AtLeast(3.0));
    report.ratio(
        "3",
        "submits by 64 callers, of raw batches of 64",
        (many, &raw_64),
        "/s",
        Wanted::AtLeast(0.6),
    );
    report.ratio(
        "6",
        "jobs claimed and finished by 8 slots, of raw FULL commits",
        (&dispatched, &raw),
        "/s",
        Wanted::Nothing,
    );
    report.note(
        "6",
        "the same, of effectum, huey and plainjobs",
        "not installed; quoted, beside 5,600 to 6,344 raw commits/s: 3,128, 3,135 and 13,089 (NORMAL): ≥ 5, ≥ 5 and ≥ 1.2 of these are wanted, \
         which are 2.5, 2.5 and 2.5 of raw commits",
    );
    report
}

async fn round(dir: &Path) -> ([f64; 3], f64) {
    let limits = Limits {
        running_max: u32::try_from(SLOTS).unwrap(),
        running_per_client_max: None,
        queued_max: 100_000,
        disk_free_bytes_min: 0,
    };
    let store = Store::open(dir, Clock::system(), limits).unwrap();
    let client = NewClient {
        os_client_id: None,
        name: "small".to_owned(),
        repository: RepositoryName::parse("org", "small").unwrap(),
        default_branch: None,
        clone_url: None,
        options: RunOptions::default(),
    };
    let client = store.create_client(client, None).await.unwrap().id;
    let mut submits = [0.0; 3];
    for (figure, callers) in submits.iter_mut().zip([1, 8, 64]) {
        // what one caller does takes a commit each
        let jobs = if callers == 1 { JOBS / 4 } else { JOBS };
        *figure = submit(&store, &client, callers, jobs).await;
    }
    (submits, dispatch(&store).await)
}

async fn submit(store: &Store, client: &ClientId, callers: usize, jobs: usize) -> f64 {
    let mut all = JoinSet::new();
    let began = Instant::now();
    for _ in 0..callers {
        let (store, client) = (store.clone(), client.clone());
        all.spawn(async move {
            for _ in 0..jobs / callers {
                store.submit_job(job(&client), None, |_| None).await.unwrap();
            }
        });
    }
    all.join_all().await;
    jobs as f64 / began.elapsed().as_secs_f64()
}

/// All that was submitted, by as many slots as there are.
async fn dispatch(store: &Store) -> f64 {
    let mut slots = JoinSet::new();
    let began = Instant::now();
    for _ in 0..SLOTS {
        let store = store.clone();
        slots.spawn(async move {
            let mut finished = 0_usize;
            while let Some(assignment) = store.claim().await.unwrap() {
                let end = AttemptEnd::Completed { outcome: Outcome::NoChanges };
                store.finish(assignment.lease, end, |_| None).await.unwrap();
                finished += 1;
            }
            finished
        });
    }
    let finished: usize = slots.join_all().await.into_iter().sum();
    finished as f64 / began.elapsed().as_secs_f64()
}

fn job(client: &ClientId) -> NewJob {
    NewJob {
        client_id: client.clone(),
        request: NewJobRequest {
            prompt: "x".repeat(500),
            branch: None,
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
        login: "sh".to_owned(),
        files: Vec::new(),
    }
}
