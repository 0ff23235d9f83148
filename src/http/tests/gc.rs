//! Clearing up: what goes when, with a clock that is told.

use serde_json::{Value, json};

use super::Bench;
use crate::domain::attempt::AttemptEnd;
use crate::domain::delivery::RenderedCallback;
use crate::domain::event::MessageKind;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::job::{JobView, Outcome};
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::retention::Cutoffs;
use crate::domain::time::Timestamp;
use crate::store::{Ingest, IngestedMessage};

const DAY_MS: i64 = 86_400_000;

/// A job that has ended, with a line of its agent's; `hook`: its callback is pending.
async fn ended(bench: &Bench, branch: &str, hook: bool) -> i64 {
    ended_as(bench, branch, hook, AttemptEnd::Completed { outcome: Outcome::NoChanges }).await
}

async fn ended_as(bench: &Bench, branch: &str, hook: bool, end: AttemptEnd) -> i64 {
    let client = json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"});
    bench.publish("acme", "widgets");
    bench.post("/clients", &client).await;
    let body = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "x", "branchName": branch});
    let job = bench.post("/jobs", &body).await.json();
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let said = |kind| IngestedMessage::output(kind, "word".to_owned(), Timestamp::from_ms(0));
    let messages = vec![said(MessageKind::Stdout), said(MessageKind::System)];
    bench.store.add_system_message(lease, "our own").await.unwrap();
    bench.store.begin_step(lease, "agent-1").await.unwrap();
    bench.store.ingest(lease, "agent-1", Ingest { messages, log_records: 2 }).await.unwrap();
    let render = move |_: &JobView| hook.then(callback);
    bench.store.finish(lease, end, render).await.unwrap();
    job["number"].as_i64().unwrap()
}

fn callback() -> RenderedCallback {
    RenderedCallback {
        delivery_id: DeliveryId::from_random("aaaa2222"),
        event_id: EventId::from_random("bbbb3333"),
        kind: "job.completed".to_owned(),
        url: "https://example.org/".to_owned(),
        body: Vec::new(),
    }
}

async fn gc(bench: &Bench, dry_run: bool) -> Vec<(String, String)> {
    let report = bench.post("/gc", &json!({"dryRun": dry_run})).await.json();
    assert_eq!(report["dryRun"], dry_run, "{report:#}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let removed = report["removed"].as_array().unwrap().iter();
    removed.map(|one| (text(&one["kind"]), text(&one["what"]))).collect()
}

fn kinds(removed: &[(String, String)]) -> Vec<&str> {
    removed.iter().map(|(kind, _)| kind.as_str()).collect()
}

#[tokio::test]
async fn each_thing_goes_after_its_days_and_a_dry_run_only_tells() {
    let bench = Bench::new().await;
    let job = ended(&bench, "a", false).await;
    let log = bench.store.logs().job_dir(crate::domain::id::JobNumber(job));
    assert_eq!(gc(&bench, false).await, []);

    bench.clock.advance_ms(61 * DAY_MS);
    let told = gc(&bench, true).await;
    assert_eq!(kinds(&told), ["events"]);
    assert_eq!(bench.store.events_forgotten_to().await.unwrap(), 0);
    assert_eq!(gc(&bench, false).await, told);
    assert_eq!(gc(&bench, false).await, []);
    assert!(bench.store.list_events(None, 0, 10).await.unwrap().is_empty());
    assert!(bench.store.events_forgotten_to().await.unwrap() > 0);

    bench.clock.advance_ms(30 * DAY_MS);
    assert_eq!(kinds(&gc(&bench, true).await), ["output"]);
    assert!(log.exists());
    assert_eq!(kinds(&gc(&bench, false).await), ["output"]);
    assert!(!log.exists());
    let messages = bench.get(&format!("/jobs/{job}/messages")).await.json()["messages"].clone();
    assert_eq!(messages.as_array().unwrap().len(), 1, "the server's own words stay: {messages}");
    bench.get(&format!("/jobs/{job}/log")).await.problem(404, "not_found");

    bench.clock.advance_ms(275 * DAY_MS);
    assert_eq!(kinds(&gc(&bench, true).await), ["job"]);
    assert_eq!(bench.get("/jobs").await.json()["total"], 1);
    assert_eq!(kinds(&gc(&bench, false).await), ["job"]);
    assert_eq!(bench.get("/jobs").await.json()["total"], 0);
    bench.get(&format!("/jobs/{job}")).await.problem(404, "not_found");
    // numbers are never given again
    assert_eq!(ended(&bench, "a", false).await, job + 1);
}

/// What goes of output and jobs one millisecond after so many days, and nothing at the days themselves.
async fn goes_after(bench: &Bench, now_day: &mut i64, day: i64) -> Vec<(String, String, String)> {
    let told = async || {
        let report = bench.post("/gc", &json!({"dryRun": true})).await.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = report["removed"].as_array().unwrap().iter();
        let all = all.map(|one| (text(&one["kind"]), text(&one["what"]), text(&one["why"])));
        all.filter(|(kind, ..)| kind == "output" || kind == "job").collect::<Vec<_>>()
    };
    bench.clock.advance_ms((day - *now_day) * DAY_MS - i64::from(*now_day > 0));
    *now_day = day;
    assert_eq!(told().await, [], "at day {day}");
    bench.clock.advance_ms(1);
    let told = told().await;
    gc(bench, false).await;
    told
}

#[tokio::test]
async fn what_is_kept_depends_on_how_the_job_ended_and_unpublished_work_stays_listed() {
    let bench = Bench::new().await;
    let fault = Reason::new(ReasonCode::SetupFailed, "");
    let failed = AttemptEnd::Faulted { reason: fault, until: None, window: None, spent: true };
    ended(&bench, "a", false).await;
    ended_as(&bench, "b", false, failed).await;
    ended_as(&bench, "c", false, AttemptEnd::Cancelled).await;
    let mut day = 0;
    let table = [
        (9, "output", "#2", "older than retention.failed_log_days"),
        // retention.failed_job_days is 10, and the work may be in a worktree for 7 and in a snapshot for 30 days after it
        (37, "job", "#2", "older than retention.worktree_days and git.snapshot_days together"),
        (90, "output", "#1", "older than retention.log_days"),
        (99, "output", "#3", "older than retention.cancelled_log_days"),
        (100, "job", "#3", "older than retention.cancelled_job_days"),
        (365, "job", "#1", "older than retention.job_days"),
    ];
    for (at, kind, what, why) in table {
        let told = goes_after(&bench, &mut day, at).await;
        let [(a, b, c)] = told.as_slice() else { panic!("{at}: {told:?}") };
        assert!((a.as_str(), c.as_str()) == (kind, why) && b.starts_with(what), "{at}: {told:?}");
    }
}

#[tokio::test]
async fn a_dry_run_is_forgotten_by_a_time_of_its_own() {
    let bench = Bench::new().await;
    ended(&bench, "a", false).await;
    ended_as(&bench, "b", false, AttemptEnd::Completed { outcome: Outcome::DryRun }).await;
    bench.clock.advance_ms(1);
    let (now, never) = (bench.store.cautious_now(), Timestamp::from_ms(0));
    for (completed, dry_run, expected) in [(now, never, 1), (never, now, 2)] {
        let before = Cutoffs { completed, dry_run, failed: never, cancelled: never };
        let told = bench.store.forgettable_jobs(before).await.unwrap();
        let told: Vec<_> = told.iter().map(|job| job.number.0).collect();
        assert_eq!(told, [expected]);
    }
}

#[tokio::test]
async fn a_job_stays_as_long_as_its_callback_is_pending() {
    let bench = Bench::new().await;
    ended(&bench, "a", true).await;
    bench.clock.advance_ms(400 * DAY_MS);
    assert!(!kinds(&gc(&bench, false).await).contains(&"job"));
    assert_eq!(bench.get("/jobs").await.json()["total"], 1);
    assert_eq!(bench.get("/health").await.json()["callbacks"]["pending"], 1);
}

#[tokio::test]
async fn a_chain_goes_as_a_whole() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let client = json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"});
    bench.post("/clients", &client).await;
    let job = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "x", "branchName": "b"});
    bench.post("/jobs", &job).await;
    let fails = async |hook: bool| {
        let lease = bench.store.claim().await.unwrap().unwrap().lease;
        let reason = Reason::new(ReasonCode::SetupFailed, "");
        let end = AttemptEnd::Faulted { reason, until: None, window: None, spent: true };
        bench.store.finish(lease, end, move |_: &JobView| hook.then(callback)).await.unwrap();
    };
    fails(false).await;
    bench.clock.advance_ms(400 * DAY_MS);
    bench.post("/jobs/1/retry", &json!({})).await;
    assert!(!kinds(&gc(&bench, false).await).contains(&"job"), "its retry is live");
    fails(true).await;
    assert!(!kinds(&gc(&bench, false).await).contains(&"job"), "its retry is young");
    bench.clock.advance_ms(400 * DAY_MS);
    assert!(!kinds(&gc(&bench, false).await).contains(&"job"), "its retry's callback is pending");
    assert_eq!(bench.get("/jobs").await.json()["total"], 2);
}

#[tokio::test]
async fn a_clock_that_is_set_forward_takes_nothing_away() {
    let bench = Bench::new().await;
    ended(&bench, "a", false).await;
    bench.clock.set_by_ms(20_000 * DAY_MS);
    assert_eq!(gc(&bench, false).await, []);
}

#[tokio::test]
async fn who_may_not_is_refused_and_a_wrong_body_too() {
    let bench = Bench::new().await;
    assert_eq!(bench.post("/gc", &json!({"dryRun": "yes"})).await.pointers(422, "invalid"), ["/dryRun"]);
    let bare = bench.post("/gc", &json!({})).await.json();
    assert_eq!((&bare["dryRun"], &bare["removed"], &bare["bytes"]), (&json!(false), &json!([]), &json!(0)));
}

#[tokio::test]
async fn a_stale_lock_in_an_idle_clone_goes_when_it_is_old() {
    let bench = Bench::new().await;
    ended(&bench, "a", false).await;
    let lock = bench.dir.path().join("repos/acme/widgets.git/packed-refs.lock");
    std::fs::write(&lock, "").unwrap();
    assert_eq!(gc(&bench, false).await, [], "somebody may hold it");
    bench.clock.advance_ms(30 * DAY_MS);
    let expected = [("leftover".to_owned(), "acme/widgets: packed-refs.lock".to_owned())];
    assert_eq!(gc(&bench, true).await, expected);
    assert!(lock.exists());
    let job = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "x", "branchName": "b"});
    bench.post("/jobs", &job).await;
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    assert_eq!(gc(&bench, false).await, [], "a job runs");
    let end = AttemptEnd::Completed { outcome: Outcome::NoChanges };
    bench.store.finish(lease, end, |_: &JobView| None).await.unwrap();
    assert_eq!(gc(&bench, false).await, expected);
    assert_eq!((lock.exists(), gc(&bench, false).await), (false, vec![]));
}
