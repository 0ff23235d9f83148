//! A server under load for a while: what grows now grows for weeks. Memory, descriptors, threads, the write-ahead log and
//! temporary files are sampled, and the last quarter is compared with the one before it.

#![allow(clippy::print_stdout, reason = "whoever runs a soak wants its table")]

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, interval};

use crate::stand::{Answer, Plan, Stand};

/// Above what the last quarter may have over the quarter before it, and why.
#[rustfmt::skip] // one row a measure
const TOLERANCES: &[(&str, f64, &str)] = &[
    ("rss_kib", 4_096.0, "the allocator gives pages back late, and page caches of SQLite (2 MiB each) fill by and by"),
    ("descriptors", 8.0, "connections and child processes under way at the moment of the sample"),
    ("threads", 6.0, "threads for blocking work come with a burst and go ten idle seconds later"),
    ("temp_files", 12.0, "two running jobs: their sockets, prompts and worktrees"),
];
/// The bound of the log (16 MiB) and what 64 commits of this load write between two looks at it.
const WAL_KIB_MAX: f64 = 17.0 * 1024.0;

#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: f64,
    jobs: f64,
    rss_kib: f64,
    descriptors: f64,
    threads: f64,
    wal_kib: f64,
    db_kib: f64,
    temp_files: f64,
}

impl Sample {
    fn value(&self, name: &str) -> f64 {
        match name {
            "rss_kib" => self.rss_kib,
            "descriptors" => self.descriptors,
            "threads" => self.threads,
            "temp_files" => self.temp_files,
            other => panic!("{other} is not sampled"),
        }
    }

    async fn take(stand: &Stand, since: Instant) -> Self {
        let text = stand.get_text("/metrics").await;
        let value = |series: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {series}")).parse::<f64>().unwrap()
        };
        let ended = ["completed", "failed", "cancelled"];
        let jobs = ended.map(|status| value(&format!("offshoot_jobs{{status=\"{status}\"}}")));
        let temporary = ["data/scratch", "data/run", "worktrees"];
        Self {
            seconds: since.elapsed().as_secs_f64(),
            jobs: jobs.iter().sum(),
            rss_kib: value("process_resident_memory_bytes") / 1024.0,
            descriptors: value("process_open_fds"),
            threads: value("process_threads"),
            wal_kib: value("offshoot_db_wal_bytes") / 1024.0,
            db_kib: value("offshoot_db_bytes") / 1024.0,
            temp_files: f64::from(temporary.map(|dir| entries(&stand.path(dir), 4)).iter().sum::<u32>()),
        }
    }
}

/// Files and directories below `dir`, so many levels deep: what lies in a worktree is the job's own.
fn entries(dir: &Path, levels: u32) -> u32 {
    let Ok(found) = std::fs::read_dir(dir) else { return 0 };
    let below = |entry: std::fs::DirEntry| {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        1 + if is_dir && levels > 1 { entries(&entry.path(), levels - 1) } else { 0 }
    };
    found.flatten().map(below).sum()
}

fn median(samples: &[Sample], name: &str) -> f64 {
    let mut values: Vec<_> = samples.iter().map(|sample| sample.value(name)).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What is not flat, each with its figures.
fn faults(samples: &[Sample]) -> Vec<String> {
    let quarter = samples.len() / 4;
    assert!(quarter >= 5, "too few samples: {}", samples.len());
    let (third, fourth) = (&samples[2 * quarter..3 * quarter], &samples[3 * quarter..]);
    let mut faults = Vec::new();
    for (name, tolerance, why) in TOLERANCES {
        let (before, after) = (median(third, name), median(fourth, name));
        if after > before + tolerance {
            faults.push(format!("{name} grew from {before} to {after}; {tolerance} more are allowed: {why}"));
        }
    }
    let largest = samples.iter().map(|sample| sample.wal_kib).fold(0.0, f64::max);
    if largest > WAL_KIB_MAX {
        faults.push(format!("the write-ahead log had {largest} KiB, {WAL_KIB_MAX} are allowed"));
    }
    faults
}

fn show(samples: &[Sample]) {
    println!("| s | jobs | rss MiB | descriptors | threads | WAL KiB | database KiB | temporary files |");
    println!("|---|---|---|---|---|---|---|---|");
    for at in samples.iter().step_by((samples.len() / 20).max(1)).chain(samples.last()) {
        let rss = at.rss_kib / 1024.0;
        println!(
            "| {:.0} | {} | {rss:.1} | {} | {} | {:.0} | {:.0} | {:.0} |",
            at.seconds, at.jobs, at.descriptors, at.threads, at.wal_kib, at.db_kib, at.temp_files
        );
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Without what takes minutes to become flat.
    Plain,
    /// With agents that write 2 MiB at once: each arena of the allocator keeps the 10 MiB that this needs once, so memory
    /// grows until every thread has had its turn.
    WithFloods,
}

/// Jobs of every kind, as many as the queue takes; gives their ids.
async fn work(stand: &Stand, load: Load, is_over: &Cell<bool>, newest: &RefCell<String>) -> Vec<String> {
    let mut ids = Vec::new();
    let mut ticks = interval(Duration::from_millis(20));
    while !is_over.get() {
        ticks.tick().await;
        let number = ids.len();
        let branch = format!("soak/{number}");
        let body = match number % 8 {
            0 => json!({"branchName": branch, "prompt": "Greet"}),
            1 if load == Load::WithFloods => {
                json!({"branchName": branch, "prompt": "[[scenario:huge-output mib=2]]"})
            }
            2 => json!({"branchName": branch, "prompt": "[[scenario:api-error]]"}),
            3 => json!({"branchName": branch, "prompt": "[[scenario:slow seconds=30]]"}),
            _ => json!({"branchName": branch, "prompt": format!("echo {number} > soak.txt"),
                        "options": {"agent": "sh"}}),
        };
        let (status, answer) = stand.try_submit(body).await;
        if status == 429 {
            continue;
        }
        assert_eq!(status, 201, "{answer}");
        let id = answer["id"].as_str().unwrap().to_owned();
        if number % 8 == 3 {
            stand.cancel(&id).await;
        }
        if number % 4 == 0 {
            stand.receiver.order([Answer::Late(Duration::from_millis(300))]);
        }
        newest.replace(id.clone());
        ids.push(id);
    }
    ids
}

/// Callers that come, ask and go, some in the middle of a word.
async fn ask(stand: &Stand, is_over: &Cell<bool>, newest: &RefCell<String>) {
    let mut ticks = interval(Duration::from_millis(50));
    let address = stand.base_url().replace("http://", "");
    while !is_over.get() {
        ticks.tick().await;
        let id = newest.borrow().clone();
        // each round has connections of its own
        let caller = reqwest::Client::builder().no_proxy().build().unwrap();
        for path in ["/jobs?limit=50", "/queue", "/health", &format!("/jobs/{id}?includeMessages=true")] {
            let url = format!("{}{path}", stand.base_url());
            let answer = caller.get(url).bearer_auth(crate::stand::SECRET).send().await.unwrap();
            let answer: Value = answer.json().await.unwrap();
            assert!(answer.is_object());
        }
        let mut half = tokio::net::TcpStream::connect(&address).await.unwrap();
        half.write_all(b"GET /jobs HTTP/1.1\r\nHost:").await.unwrap();
    }
}

async fn watch(stand: &Stand, is_over: &Cell<bool>, duration: Duration) -> Vec<Sample> {
    let began_at = Instant::now();
    let mut ticks = interval((duration / 200).max(Duration::from_millis(250)));
    let mut samples = Vec::new();
    while began_at.elapsed() < duration {
        ticks.tick().await;
        samples.push(Sample::take(stand, began_at).await);
    }
    is_over.set(true);
    samples
}

async fn soak(duration: Duration, load: Load) {
    let stand = Stand::with(Plan { server: "queue_max = 6".into(), ..Plan::default() }).await;
    let first = stand.submit_prompt("soak/first", "Greet").await;
    let (is_over, newest) = (Cell::new(false), RefCell::new(first));
    let (ids, (), samples) = tokio::join!(
        work(&stand, load, &is_over, &newest),
        ask(&stand, &is_over, &newest),
        watch(&stand, &is_over, duration)
    );
    for id in &ids {
        let over = |job: &Value| !matches!(job["status"].as_str(), Some("queued" | "running"));
        stand.wait_for(id, "over", over).await;
        stand.wait_for(id, "told", |job| job["callback"]["state"] == "delivered").await;
    }
    show(&samples);
    println!("{} jobs in {:.0} s", ids.len(), duration.as_secs_f64());
    let faults = faults(&samples);
    stand.finish().await;
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn a_short_soak_is_flat() {
    soak(Duration::from_secs(40), Load::Plain).await;
}

/// `just long-soak 60` for an hour.
#[tokio::test]
#[ignore = "as long as one likes"]
async fn long_soak() {
    #[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the tests")]
    let minutes = std::env::var("OFFSHOOT_SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
    soak(Duration::from_secs_f64(minutes.unwrap_or(10.0_f64) * 60.0), Load::WithFloods).await;
}

/// The judgement itself: a server that leaks a descriptor a second is found out.
#[test]
fn growth_is_found() {
    let sample = |second: u32, grows: f64| Sample {
        seconds: second.into(),
        jobs: 0.0,
        rss_kib: 50_000.0 + 200.0 * grows * f64::from(second),
        descriptors: 40.0 + grows * f64::from(second) + f64::from(second % 3),
        threads: 10.0,
        wal_kib: 4_096.0 + 1_000.0 * grows * f64::from(second),
        db_kib: 0.0,
        temp_files: 3.0,
    };
    let run = |grows| (0..120).map(|second| sample(second, grows)).collect::<Vec<_>>();
    assert_eq!(faults(&run(0.0)), Vec::<String>::new());
    assert_eq!(faults(&run(1.0)).len(), 3);
}
