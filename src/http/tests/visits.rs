//! Jobs that somebody takes over: who is told that a job is his, and what is written down of a visit.

use serde_json::{Value, json};

use super::Bench;
use crate::app::Caller;
use crate::domain::attempt::{AttemptEnd, Lease};
use crate::domain::id::JobRef;
use crate::domain::job::{Effects, Phase};
use crate::domain::visit::{GoesOn, Visitor};

const KEY: &str = "aaaaaaaaaaaaaaaa";
const OTHER_KEY: &str = "bbbbbbbbbbbbbbbb";

/// A job whose agent works, with the directory of the bench for a worktree.
async fn at_work(bench: &Bench) -> Lease {
    let body = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "Greet", "branchName": "a"});
    assert_eq!(bench.post("/jobs", &body).await.status, 201);
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let effects = Effects {
        worktree_path: Some(bench.dir.path().display().to_string()),
        base_sha: Some("b".to_owned()),
        branch_tip: Some(String::new()),
        ..Effects::default()
    };
    bench.store.record_effects(lease, effects).await.unwrap();
    bench.store.reach_phase(lease, Phase::Agent).await.unwrap();
    lease
}

/// Until that key has the job, or waits for it.
async fn until_of(bench: &Bench, lease: Lease, key: &str) {
    while bench.store.find_visit(lease.job).await.unwrap().is_none_or(|visit| visit.key != key) {
        tokio::task::yield_now().await;
    }
}

/// Whoever waited for the job to make way may have gone, and another come, before it has.
#[tokio::test]
async fn who_has_left_is_not_given_the_job_of_the_one_who_came_after() {
    let bench = Bench::new().await;
    let lease = at_work(&bench).await;
    let (job, body) = (JobRef::Number(lease.job), json!({"key": KEY}));
    let caller = Caller::built_in();
    let first = bench.app.attach_job(&caller, "1", &body);
    let meanwhile = async {
        until_of(&bench, lease, KEY).await;
        bench.store.hand_back(&job, KEY, GoesOn::Agent).await.unwrap();
        let other = Visitor { key: OTHER_KEY.to_owned(), by: "other".to_owned() };
        bench.store.attach(&job, other).await.unwrap();
        bench.store.finish(lease, AttemptEnd::Attached, |_| None).await.unwrap();
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    let refused = first.expect_err("it is the other's").to_string();
    assert!(refused.contains("the visit is over"), "{refused}");
    let again = bench.post("/jobs/1/attach", &json!({"key": OTHER_KEY})).await;
    assert_eq!(again.status, 200, "{}", again.json());
}

/// A visit says every few seconds that somebody is there, for as long as he likes: that would push out what is worth keeping.
#[tokio::test]
async fn being_there_is_no_change_that_is_written_down() {
    let bench = Bench::new().await;
    let lease = at_work(&bench).await;
    let visitor = Visitor { key: KEY.to_owned(), by: "admin".to_owned() };
    bench.store.attach(&JobRef::Number(lease.job), visitor).await.unwrap();
    bench.store.finish(lease, AttemptEnd::Attached, |_| None).await.unwrap();
    let calls = async || -> Vec<Value> {
        let page = bench.get("/audit?limit=200").await.json();
        page["entries"].as_array().unwrap().iter().map(|entry| entry["call"].clone()).collect()
    };
    let before = calls().await;
    for _ in 0..3 {
        let there = bench.post("/jobs/1/attach/prolong", &json!({"key": KEY})).await;
        assert_eq!(there.status, 200, "{}", there.json());
    }
    assert_eq!(calls().await, before);
    let read = bench.token(crate::domain::token::Scope::Read, None).await;
    let before = calls().await.len();
    let refused =
        bench.call_with(&read, axum::http::Method::POST, "/jobs/1/attach/prolong", &json!({})).await;
    refused.problem(403, "forbidden");
    let back = bench.post("/jobs/1/detach", &json!({"key": KEY, "goesOn": "agent"})).await;
    assert_eq!(back.status, 200, "{}", back.json());
    assert_eq!(
        calls().await[..calls().await.len() - before],
        ["POST /jobs/{id}/detach", "POST /jobs/{id}/attach/prolong"],
        "a refusal is, and so is its end"
    );
}
