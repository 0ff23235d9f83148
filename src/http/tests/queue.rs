//! What a caller meets who asks for more than there is room for, or for what is under way.

use serde_json::{Value, json};

use super::Bench;
use crate::domain::attempt::AttemptEnd;
use crate::domain::job::Outcome;
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::time::Timestamp;

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

#[tokio::test]
async fn a_full_or_leaving_server_takes_no_retry_either() {
    let bench = Bench::new().await;
    bench.post("/jobs", &job("a")).await;
    bench.post("/jobs/1/cancel", &json!({})).await;
    for number in 0..ROOM {
        assert_eq!(bench.post("/jobs", &job(&format!("b-{number}"))).await.status, 201);
    }
    let full = bench.post("/jobs/1/retry", &json!({})).await;
    full.problem(429, "queue_full");
    assert!(full.header("retry-after").is_some());
    bench.store.claim().await.unwrap().unwrap();
    bench.app.start_draining();
    let leaving = bench.post("/jobs/1/retry", &json!({})).await;
    leaving.problem(503, "draining");
    assert!(leaving.header("retry-after").is_some());
    assert_eq!(bench.get("/jobs").await.json()["total"], ROOM + 1);
}

#[tokio::test]
async fn a_branch_that_cannot_exist_beside_its_base_is_refused() {
    let bench = Bench::new().await;
    for (branch, base) in [("dev", "dev"), ("dev", "dev/x"), ("dev/x", "dev"), ("Dev", "dev")] {
        let mut body = job(branch);
        body["baseBranch"] = json!(base);
        assert_eq!(
            bench.post("/jobs", &body).await.pointers(422, "invalid"),
            ["/branchName"],
            "{branch} {base}"
        );
    }
    let mut body = job("dev-x");
    body["baseBranch"] = json!("dev");
    assert_eq!(bench.post("/jobs", &body).await.status, 201);
}

/// Nothing is read from these bodies; but what is no JSON was meant otherwise, and what nobody knows is said.
#[tokio::test]
async fn a_body_of_which_nothing_is_wanted_is_read_all_the_same() {
    let bench = Bench::new().await;
    bench.post("/jobs", &job("a")).await;
    bench.post("/queue/pause", &json!({})).await;
    let send = |path: &'static str, body: &'static str| {
        let kind = [("content-type", "application/json")];
        bench.send(super::request(axum::http::Method::POST, path, &kind, body.into()))
    };
    for path in ["/queue/resume", "/jobs/1/cancel"] {
        send(path, "{\"a\":").await.problem(400, "malformed");
    }
    assert_eq!(bench.get("/queue").await.json()["paused"], true);
    assert_eq!(bench.get("/jobs/1").await.json()["status"], "queued");
    let resumed = send("/queue/resume", "{\"x\": 1}").await.json();
    assert_eq!(resumed["warnings"], json!(["unknown member /x was ignored"]));
    assert_eq!(resumed["paused"], false);
    assert_eq!(send("/queue/resume", "").await.status, 200);
    assert_eq!(send("/jobs/1/cancel", "").await.status, 200);
}

/// Per method and path, for a day, and only for what succeeded.
#[tokio::test]
async fn a_key_stands_for_one_call_for_a_day() {
    let bench = Bench::new().await;
    let key = [("idempotency-key", "k")];
    let mut body = job("a");
    body.as_object_mut().unwrap().remove("branchName");
    let post = async |path: &str, body: &Value| {
        let answer = bench.call(axum::http::Method::POST, path, &key, body).await;
        (answer.status.as_u16(), answer.header("idempotency-replayed").is_some(), answer.json())
    };
    let (status, replayed, first) = post("/jobs", &body).await;
    assert_eq!((status, replayed), (201, false));
    assert!(matches!(post("/queue/pause", &json!({})).await, (200, false, _)), "another path, another call");
    assert!(matches!(post("/jobs/1/cancel", &json!({})).await, (200, false, _)));
    bench.clock.advance_ms(24 * 3_600_000 - 1);
    assert_eq!(
        post("/jobs", &body).await,
        (201, true, first.clone()),
        "as it was answered, though it is cancelled by now"
    );
    bench.clock.advance_ms(1);
    let (status, replayed, second) = post("/jobs", &body).await;
    assert_eq!((status, replayed), (201, false));
    assert_ne!(second["id"], first["id"]);
    assert_eq!(bench.get("/jobs").await.json()["total"], 2);
}

/// Nobody is left that it holds.
#[tokio::test]
async fn a_hold_that_is_over_counts_nowhere_and_one_that_is_being_tried_says_so() {
    let bench = Bench::new().await;
    bench.post("/jobs", &job("a")).await;
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let until = Some(Timestamp::from_ms(bench.clock.now_ms() + 60_000));
    let reason = Reason::new(ReasonCode::UsageLimit, "");
    let end = AttemptEnd::Faulted { reason, until, window: None, spent: true };
    bench.store.finish(lease, end, |_| None).await.unwrap();
    let seen = async || {
        let health = bench.get("/health").await.json();
        let metrics = String::from_utf8(bench.get("/metrics").await.body).unwrap();
        let holds = health["holds"].as_array().unwrap().len();
        (health["status"].as_str().unwrap().to_owned(), holds, metrics.contains("offshoot_holds{"))
    };
    assert_eq!(seen().await, ("degraded".to_owned(), 1, true));
    bench.clock.advance_ms(60_000);
    assert_eq!(seen().await, ("ok".to_owned(), 0, false));
    bench.post("/jobs", &job("b")).await;
    assert_eq!(bench.get("/jobs/2").await.json()["waiting"]["for"], "slot");
    bench.store.claim().await.unwrap().unwrap();
    assert_eq!(seen().await, ("degraded".to_owned(), 1, true));
    let answer = bench.post("/queue/try-now", &json!({"login": "claude"})).await.json();
    assert!(
        answer["warnings"][0].as_str().unwrap().contains("is being tried already, by job #1"),
        "{answer}"
    );
}
