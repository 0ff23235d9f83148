//! What a job costs, where it can be counted and need not be timed: syncs of the disk, processes of git, bytes of an event, and
//! how often a server that has nothing to do wakes up. What it costs in time is in `benches/`.

use futures_util::future::join_all;
use offshoot::clock::Clock;
use offshoot::store::{Limits, Store};
use serde_json::json;

use crate::bad_disk::{Disk, quick_dir};
use crate::stand::{PATIENCE, Plan, Stand, install_program, poll};
use crate::store_fixture::{Bench, NOW_MS, done, job};

const LIMITS: Limits =
    Limits { running_max: 2, running_per_client_max: None, queued_max: 1_000, disk_free_bytes_min: 0 };

#[tokio::test]
async fn each_change_of_a_job_is_one_sync_and_a_look_is_none() {
    let (disk, dir) = (Disk::new(), quick_dir());
    let store = Store::open_through(Some(&disk.name), dir.path(), Clock::manual(NOW_MS, 9), LIMITS).unwrap();
    let client = Bench::client_of(&store, "widgets").await;
    // the first commit of a log syncs its head besides
    store.submit_job(job(&client.id, "first"), None, |_| None).await.unwrap();
    let mut last = disk.syncs();
    let mut syncs = || {
        let before = std::mem::replace(&mut last, disk.syncs());
        last - before
    };
    store.submit_job(job(&client.id, "second"), None, |_| None).await.unwrap();
    assert_eq!(syncs(), 1, "a submit");
    let lease = store.claim().await.unwrap().unwrap().lease;
    assert_eq!(syncs(), 1, "a claim");
    store.finish(lease, done(), |_| None).await.unwrap();
    assert_eq!(syncs(), 1, "an end");
    store.claim().await.unwrap().unwrap();
    assert_eq!(syncs(), 1, "another claim");
    for _ in 0..10 {
        assert!(store.claim().await.unwrap().is_none());
        store.next_due_in().await.unwrap();
        store.queue_page(None).await.unwrap();
    }
    assert_eq!(syncs(), 0, "nothing can start");
}

#[tokio::test]
async fn writes_that_wait_for_each_other_share_a_sync() {
    let (disk, dir) = (Disk::new(), quick_dir());
    let store = Store::open_through(Some(&disk.name), dir.path(), Clock::manual(NOW_MS, 9), LIMITS).unwrap();
    let client = Bench::client_of(&store, "widgets").await;
    store.submit_job(job(&client.id, "first"), None, |_| None).await.unwrap();
    let held = disk.hold("-wal");
    let before = disk.syncs();
    let submit = |n: u32| store.submit_job(job(&client.id, &format!("b/{n}")), None, |_| None);
    let behind = async {
        poll(PATIENCE, async || disk.holds().then_some(())).await.expect("the first one is being written");
        join_all((1..=64).map(submit)).await
    };
    let release = async {
        let wait = async || (store.readings().await.unwrap().writes_waiting == 64).then_some(());
        poll(PATIENCE, wait).await.expect("the others wait for it");
        drop(held);
    };
    let (first, behind, ()) = tokio::join!(submit(0), behind, release);
    assert!(first.is_ok() && behind.iter().all(Result::is_ok));
    assert_eq!(disk.syncs() - before, 2, "one of the first, one of the 64 behind it");
}

/// Programs called git that a server starts: for a job whose repository is cloned already.
#[tokio::test]
async fn a_job_starts_git_as_often_as_it_needs_and_no_more() {
    let mut stand = Stand::built(Plan::default()).await;
    let log = stand.path("git-runs");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\nPATH=/usr/local/bin:/usr/bin:/bin exec git \"$@\"\n",
        log.display()
    );
    std::fs::create_dir(stand.path("counting")).unwrap();
    install_program(&stand.path("counting/git"), &script);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", stand.path("counting").display());
    stand.set_env("PATH", path);
    stand.start().await;
    let first =
        stand.submit(json!({"prompt": "Greet", "branchName": "one", "options": {"publish": "branch"}})).await;
    stand.completed(&first).await;
    let runs = || std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let before = runs().len();
    let second =
        stand.submit(json!({"prompt": "Greet", "branchName": "two", "options": {"publish": "branch"}})).await;
    assert_eq!(stand.completed(&second).await["outcome"], "branch_pushed");
    let of_job = runs().split_off(before);
    let what: Vec<_> = of_job.iter().map(|run| run.split(' ').next().unwrap()).collect();
    assert_eq!(what, ["fetch", "read-tree", "push", "update-ref"], "{of_job:#?}");
    stand.finish().await;
}

#[tokio::test]
async fn an_event_is_small_whatever_the_agent_says() {
    let stand = Stand::new().await;
    let script = format!("for n in $(seq 500); do echo \"$n {}\"; done", "word ".repeat(100));
    let body =
        json!({"prompt": script, "branchName": "talks", "options": {"agent": "sh", "publish": "none"}});
    let id = stand.submit(body).await;
    stand.completed(&id).await;
    let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    let (events, bytes): (i64, i64) = database
        .query_row("SELECT count(*), sum(length(kind) + length(payload)) FROM events", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    // 250,000 characters were said; beside these bytes an event has six numbers
    assert!(events >= 5 && bytes / events <= 60, "{} bytes each", bytes / events);
    drop(database);
    stand.finish().await;
}

/// Times that threads of a server wanted a processor again: `voluntary_ctxt_switches` of proc(5), which others' load does
/// not raise.
#[cfg(target_os = "linux")]
fn wakes(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(Result::ok);
    let of_thread = |thread: std::fs::DirEntry| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_has_nothing_to_do_sleeps() {
    const LOOKED_AT: std::time::Duration = std::time::Duration::from_secs(6);
    let stand = Stand::new().await;
    let id = stand.submit_prompt("before", "Greet").await;
    stand.callback(&id).await;
    let pid = stand.server.as_ref().unwrap().pid();
    let commits = async || {
        let text = stand.get_text("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix("offshoot_db_commit_seconds_count "));
        line.unwrap().to_owned()
    };
    // what a start and a job leave to do is done when for once nothing has happened for that long
    let mut seen = Vec::new();
    let slept = poll(PATIENCE, async || {
        let before = (commits().await, wakes(pid));
        let began = tokio::time::Instant::now();
        poll(LOOKED_AT, async || None::<()>).await;
        let (woke, seconds) = (wakes(pid) - before.1, began.elapsed().as_secs());
        seen.push(woke);
        // a look at the metrics wakes some threads itself
        (woke <= seconds * 2 + 10 && commits().await == before.0).then_some(())
    });
    assert!(slept.await.is_some(), "it woke so often in each {LOOKED_AT:?}: {seen:?}");
    stand.finish().await;
}
