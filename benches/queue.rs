//! Submitting and starting jobs through the whole server: goals 1, 2, 4 and 5.

use std::time::Duration;

use crate::Plan;
use crate::baseline::{Baseline, commits};
use crate::figures::{Report, Samples, Wanted};
use crate::footprint::{self, Process};
use crate::http::{Load, asking, load, request};
use crate::jobs::Caller;
use crate::repositories::small;
use crate::server::{Home, Server, job};

/// Of one side in one round.
const TURN: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 64;
/// Jobs whose start is awaited in one round.
const STARTS: usize = 40;
/// How long nobody asks for anything.
const IDLE: Duration = Duration::from_secs(20);
/// What a fresh server has still to do after it is ready.
const SETTLED: Duration = Duration::from_secs(12);

/// What comes of each round.
#[derive(Default)]
struct Submits {
    ours: Samples,
    ours_p99: Samples,
    plain: Samples,
    plain_p99: Samples,
    pooled: Samples,
    one: Samples,
    eight: Samples,
    raw: Samples,
    raw_64: Samples,
}

pub(crate) fn measure(plan: &Plan) -> Report {
    let mut report = Report::default();
    submits(plan, &mut report);
    starts(plan, &mut report);
    idle(plan, &mut report);
    report
}

fn submits(plan: &Plan, report: &mut Report) {
    let mut all = Submits::default();
    for _ in 0..plan.rounds {
        round(plan, &mut all);
    }
    let sides = |ours| (ours, &all.plain);
    report.ratio(
        "1",
        "POST /jobs, 64 connections, of the route without a database",
        sides(&all.ours),
        "requests/s",
        Wanted::AtLeast(0.55),
    );
    report.ratio(
        "2",
        "the same, of axum with a pool of 8 connections, FULL",
        (&all.ours, &all.pooled),
        "requests/s",
        Wanted::AtLeast(8.0),
    );
    report.ratio(
        "2",
        "99 % of them answered within, of the route without a database",
        (&all.ours_p99, &all.plain_p99),
        "ms",
        Wanted::AtMost(1.5),
    );
    report.note("2", "the same, of express and better-sqlite3, NORMAL", "not installed; quoted: 3,646 requests/s there beside 79,434 of the route without a database, so goal 1's ratio times 21.8; ≥ 10 is wanted");
    report.ratio(
        "3",
        "POST /jobs, 1 connection, of raw FULL commits",
        (&all.one, &all.raw),
        "rows/s",
        Wanted::AtLeast(0.75),
    );
    report.ratio(
        "3",
        "POST /jobs, 8 connections, of raw FULL commits",
        (&all.eight, &all.raw),
        "rows/s",
        Wanted::AtLeast(3.0),
    );
    report.ratio(
        "3",
        "POST /jobs, 64 connections, of raw batches of 64",
        (&all.ours, &all.raw_64),
        "rows/s",
        Wanted::AtLeast(0.6),
    );
}

fn round(plan: &Plan, all: &mut Submits) {
    let home = Home::new(&plan.dir, &plan.git_dir, 2);
    let server = home.start();
    server.pause();
    let baseline = Baseline::start(&home.path().join("pooled.db"));
    let body = job("small", "true", "none");
    let turn = |address, connections, path: &str| -> Load {
        asking(load(address, connections, TURN, &request(address, "POST", path, &body), 201))
    };
    // the client is made with the first job
    server.ask("POST", "/jobs", &body);
    let plain = turn(baseline.address, CONNECTIONS, "/plain");
    let ours = turn(server.address, CONNECTIONS, "/jobs");
    let pooled = turn(baseline.address, CONNECTIONS, "/pooled");
    let (raw, _) = commits(&home.path().join("raw.db"), 1, TURN);
    let one = turn(server.address, 1, "/jobs");
    let eight = turn(server.address, 8, "/jobs");
    let (raw_64, _) = commits(&home.path().join("raw.db"), 64, TURN);
    all.plain.push(plain.per_second);
    all.plain_p99.push(plain.latency.quantile(0.99));
    all.ours.push(ours.per_second);
    all.ours_p99.push(ours.latency.quantile(0.99));
    all.pooled.push(pooled.per_second);
    all.one.push(one.per_second);
    all.eight.push(eight.per_second);
    all.raw.push(raw);
    all.raw_64.push(raw_64);
}

/// From a request to the event that says that its job was started, and to the one that says that it is over.
fn starts(plan: &Plan, report: &mut Report) {
    let (mut median, mut p99, mut raw) = (Samples::default(), Samples::default(), Samples::default());
    let mut over = Samples::default();
    let home = Home::new(&plan.dir, &plan.git_dir, 2);
    small(&home.remote("small"));
    let server = home.start();
    first_job(&server);
    for _ in 0..plan.rounds {
        let (_, latency) = commits(&home.path().join("raw.db"), 1, TURN);
        raw.push(latency.median());
        let (started, ended) = asking(awaited(&server));
        median.push(started.median());
        p99.push(started.quantile(0.99));
        over.push(ended.median());
    }
    report.ratio(
        "4",
        "from POST to its started event, median, of one raw FULL commit",
        (&median, &raw),
        "ms",
        Wanted::AtMost(2.5),
    );
    report.ratio("4", "99 % of them within, of their median", (&p99, &median), "ms", Wanted::AtMost(3.0));
    report.note(
        "4",
        "the same, of effectum and of pueue",
        "not installed; quoted: effectum 1.87 ms, pueue 305 ms; ≤ 1/4 and ≤ 1/500 are wanted",
    );
    report.figure(
        "",
        "a whole job of a small repository that does nothing, from POST to its last event",
        &over,
        "ms",
        Wanted::Nothing,
    );
}

/// Clones, so that no other one has to.
fn first_job(server: &Server) {
    server.ask("POST", "/jobs", &job("small", "true", "none"));
    server.wait_until_idle(Duration::from_secs(60));
}

async fn awaited(server: &Server) -> (Samples, Samples) {
    let (mut started, mut ended) = (Samples::default(), Samples::default());
    let mut caller = Caller::new(server, &job("small", "true", "none")).await;
    for _ in 0..STARTS {
        let times = caller.run().await;
        started.push(times.started);
        ended.push(times.over);
    }
    (started, ended)
}

fn idle(plan: &Plan, report: &mut Report) {
    let (mut wakes, mut commits, mut busy) = (Samples::default(), Samples::default(), Samples::default());
    let home = Home::new(&plan.dir, &plan.git_dir, 2);
    let server = home.start();
    server.ask("GET", "/health", "");
    std::thread::sleep(SETTLED);
    for _ in 0..plan.rounds {
        let commits_before = server.metric("offshoot_db_commit_seconds_count");
        // threads that answered, and end when nobody needs them, would count
        std::thread::sleep(SETTLED);
        let before = Process::read(server.pid());
        std::thread::sleep(IDLE);
        let after = Process::read(server.pid());
        wakes.push((after.switches - before.switches) / IDLE.as_secs_f64());
        busy.push((after.cpu_ms - before.cpu_ms) / IDLE.as_secs_f64());
        commits.push(server.metric("offshoot_db_commit_seconds_count") - commits_before);
    }
    report.figure("5", "times that an idle server wakes up", &wakes, "/s", Wanted::AtMost(1.0));
    report.figure(
        "5",
        "transactions of an idle server in 32 s, empty ones too",
        &commits,
        "",
        Wanted::AtMost(2.0),
    );
    report.figure("", "processor time of an idle server", &busy, "ms/s", Wanted::Nothing);
    footprint::of_idle(&server, report);
}
