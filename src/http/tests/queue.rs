//! What a caller meets who asks for more than there is room for, or for what is under way.

use serde_json::{Value, json};

use super::Bench;
use crate::domain::attempt::AttemptEnd;
use crate::domain::job::Outcome;

/// `queued_max` of a bench.
const ROOM: usize = 5;

fn job(branch: &str) -> Value {
    json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "Greet", "branchName": branch})
}

async fn complete_all(bench: &Bench) {
    while let Some(next) = bench.store.claim().await.unwrap() {
        let end = AttemptEnd::Completed { outcome: Outcome::NoChanges };
        bench.store.finish(next.lease, end, |_| None).await.unwrap();
    }
}

#[tokio::test]
async fn of_a_burst_as_many_are_taken_as_there_is_room_and_all_of_them_end() {
    let bench = Bench::new().await;
    let bodies: Vec<_> = (0..60).map(|number| job(&format!("b-{number}"))).collect();
    let calls = bodies.iter().map(|body| bench.post("/jobs", body));
    let answers = futures_util::future::join_all(calls).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((taken.len(), refused.len()), (ROOM, bodies.len() - ROOM));
    for answer in refused {
        answer.problem(429, "queue_full");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3_600).contains(&seconds), "{seconds}");
    }
    let queue = bench.get("/queue").await.json();
    assert_eq!(
        (queue["queued"].as_array().unwrap().len(), &bench.get("/jobs").await.json()["total"]),
        (ROOM, &ROOM.into())
    );
    complete_all(&bench).await;
    for answer in taken {
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(bench.get(&format!("/jobs/{id}")).await.json()["status"], "completed");
    }
    assert_eq!(bench.post("/jobs", &job("later")).await.status, 201, "there is room again");
}

#[tokio::test]
async fn branches_that_are_in_each_others_way_are_refused_until_the_first_is_over() {
    for (live, asked) in
        [("feat", "feat"), ("feat", "feat/y"), ("feat/y", "feat"), ("feat", "Feat"), ("feat/y", "FEAT/Y/z")]
    {
        let bench = Bench::new().await;
        let first = bench.post("/jobs", &job(live)).await.json();
        for state in ["queued", "running"] {
            let problem = bench.post("/jobs", &job(asked)).await.problem(409, "branch_busy");
            assert_eq!(problem["jobs"][0]["id"], first["id"], "{live} {asked} {state}");
            assert!(problem["detail"].as_str().unwrap().contains("#1"), "{problem}");
            if state == "queued" {
                assert_eq!(
                    bench.post("/jobs", &job("features")).await.status,
                    201,
                    "a name that only looks alike"
                );
                assert_eq!(bench.store.claim().await.unwrap().unwrap().lease.job.0, 1);
            }
        }
        // the same branch of another repository is another one
        let other =
            json!({"githubOrg": "acme", "githubRepo": "gadgets", "prompt": "Greet", "branchName": asked});
        assert_eq!(bench.post("/jobs", &other).await.status, 201);
        assert_eq!(bench.get("/jobs").await.json()["total"], 3);
    }
}

#[tokio::test]
async fn a_running_job_is_not_retried() {
    let bench = Bench::new().await;
    bench.post("/jobs", &job("a")).await;
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    for mode in ["auto", "fresh", "resume", "publish"] {
        bench.post("/jobs/1/retry", &json!({"mode": mode})).await.problem(409, "job_live");
    }
    bench.store.finish(lease, AttemptEnd::Cancelled, |_| None).await.unwrap();
    assert_eq!(bench.post("/jobs/1/retry", &json!({})).await.status, 201);
    assert_eq!(bench.get("/jobs").await.json()["total"], 2);
}
