//! Jobs through the router.

use axum::http::Method;
use serde_json::{Value, json};

use super::Bench;
use crate::domain::attempt::AttemptEnd;
use crate::domain::job::Outcome;
use crate::domain::reason::{Reason, ReasonCode};

fn job(branch: &str) -> Value {
    json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": " Fix the login ", "branchName": branch})
}

#[tokio::test]
async fn a_job_by_repository() {
    let bench = Bench::new().await;
    let mut body = job("fix/login");
    body["osFeatureId"] = json!("feat-1");
    body["metadata"] = json!({"ticket": 7});
    body["colour"] = json!("blue");
    let answer = bench.post("/jobs", &body).await;
    let made = answer.json();
    assert_eq!(answer.status, 201, "{made}");
    assert_eq!(answer.header("location"), Some(format!("/jobs/{}", made["id"].as_str().unwrap()).as_str()));
    assert_eq!(
        (&made["status"], &made["position"], &made["prompt"]),
        (&"queued".into(), &1.into(), &"Fix the login".into())
    );
    assert_eq!(made["warnings"], json!(["unknown member /colour was ignored"]));
    assert_eq!((&made["metadata"]["ticket"], &made["client"]["githubRepo"]), (&7.into(), &"widgets".into()));
    for by in [made["id"].as_str().unwrap(), "1", &made["id"].as_str().unwrap()[..10]] {
        assert_eq!(bench.get(&format!("/jobs/{by}")).await.json()["id"], made["id"]);
    }
    let clients = bench.get("/clients").await.json();
    assert_eq!(
        (&clients["clients"][0]["repoExists"], &clients["clients"][0]["defaultBranch"]),
        (&false.into(), &Value::Null)
    );
    let queue = bench.get("/queue").await.json();
    assert_eq!((&queue["queued"][0]["number"], &queue["maxConcurrent"]), (&1.into(), &2.into()));
    let list = bench.get("/jobs").await.json();
    assert_eq!(list["total"], 1);
    assert!(list["jobs"][0].get("prompt").is_none());
}

#[tokio::test]
async fn wrong_jobs_leave_nothing() {
    let bench = Bench::new().await;
    let table = [
        (json!({}), vec!["/clientId", "/prompt"]),
        (json!({"githubOrg": "../..", "githubRepo": "x", "prompt": "x"}), vec!["/githubOrg"]),
        (json!({"clientId": "cli-zzzz", "prompt": ""}), vec!["/clientId", "/prompt"]),
        (
            json!({"githubOrg": "a", "githubRepo": "b", "prompt": 1, "branchName": "a..b", "title": "a\nb",
                "priority": 11, "osCallbackUrl": "http://127.0.0.1/", "options": {"maxTurns": 0}}),
            vec!["/prompt", "/branchName", "/title", "/osCallbackUrl", "/priority", "/options/maxTurns"],
        ),
        (
            json!({"githubOrg": "a", "githubRepo": "b", "prompt": "x", "branchName": "release/1"}),
            vec!["/branchName"],
        ),
    ];
    for (body, pointers) in table {
        assert_eq!(bench.post("/jobs", &body).await.pointers(422, "invalid"), pointers, "{body}");
    }
    assert_eq!(bench.get("/jobs").await.json()["total"], 0);
    assert_eq!(bench.get("/clients").await.json()["clients"], json!([]));
    assert!(!bench.dir.path().join("repos").exists());
}

#[tokio::test]
async fn attachments_have_plain_names_and_a_size() {
    let bench = Bench::new().await;
    let with = |attachments: Value| {
        let mut body = job("files");
        body["attachments"] = attachments;
        body
    };
    let file = |name: &str| json!({"name": name, "contentBase64": "AA=="});
    let five_mib = "A".repeat(5 * 1024 * 1024 / 3 * 4 + 4);
    let half = |name: &str| json!({"name": name, "contentBase64": five_mib});
    let table = [
        (json!("x"), vec!["/attachments"]),
        (
            json!([file("../x"), {"name": 1}, file("A.txt"), file("a.txt")]),
            vec![
                "/attachments/1/name",
                "/attachments/1/contentBase64",
                "/attachments/0/name",
                "/attachments/3/name",
            ],
        ),
        (json!([half("a"), half("b")]), vec!["/attachments"]),
        (json!((0..21).map(|index| file(&index.to_string())).collect::<Vec<_>>()), vec!["/attachments"]),
    ];
    for (attachments, pointers) in table {
        let answer = bench.post("/jobs", &with(attachments)).await;
        assert_eq!(answer.pointers(422, "invalid"), pointers);
    }
    assert_eq!(bench.get("/jobs").await.json()["total"], 0);
    let made = bench.post("/jobs", &with(json!([half("a.bin"), file("b")]))).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["attachments"][1], json!({"name": "b", "bytes": 1}));
    // only where files may come
    let answer = bench.post("/queue/pause", &json!({"reason": five_mib})).await;
    answer.problem(413, "body_too_large");
}

/// Whatever a body is made of, the answer is smaller.
#[tokio::test]
async fn of_many_faults_the_first_are_told_and_the_others_counted() {
    let bench = Bench::new().await;
    let zeros = |count: usize| Value::from(vec![0; count]);
    for (member, count, told) in [
        ("attachments", 200_000, 1),
        ("labels", 200_000, 1),
        ("dependsOn", 200_000, 1),
        ("labels", 900, 101),
        ("options", 900, 101),
    ] {
        let mut body = job("many");
        body[member] = if member == "options" { json!({"verify": zeros(count)}) } else { zeros(count) };
        let answer = bench.post("/jobs", &body).await;
        let faults = answer.pointers(422, "invalid");
        assert_eq!(faults.len(), told, "{count} of {member}");
        let answer = answer.json().to_string();
        assert!(answer.len() < 20_000, "{}", answer.len());
        assert_eq!(answer.contains("has 800 faults more"), told == 101, "{answer}");
    }
}

#[tokio::test]
async fn disagreement_and_default_branch() {
    let bench = Bench::new().await;
    let made = bench.post("/jobs", &job("one")).await.json();
    let client = made["clientId"].clone();
    let body = json!({"clientId": client, "githubOrg": "other", "githubRepo": "widgets", "prompt": "x"});
    assert_eq!(bench.post("/jobs", &body).await.pointers(422, "invalid"), ["/githubOrg"]);
    let path = format!("/clients/{}", client.as_str().unwrap());
    let patch = bench.call(Method::PATCH, &path, &[], &json!({"defaultBranch": "trunk"})).await;
    assert_eq!(patch.json()["defaultBranch"], "trunk");
    // what cannot exist beside it is as bad
    for branch in ["trunk", "TRUNK", "trunk/x"] {
        assert_eq!(
            bench.post("/jobs", &job(branch)).await.pointers(422, "invalid"),
            ["/branchName"],
            "{branch}"
        );
    }
    // case does not make another repository
    let body = json!({"clientId": client, "githubOrg": "ACME", "githubRepo": "Widgets", "prompt": "x"});
    assert_eq!(bench.post("/jobs", &body).await.status, 201);
}

#[tokio::test]
async fn one_live_job_per_branch_and_a_bounded_queue() {
    let bench = Bench::new().await;
    let first = bench.post("/jobs", &job("feat")).await.json();
    for branch in ["feat", "feat/y", "FEAT"] {
        let problem = bench.post("/jobs", &job(branch)).await.problem(409, "branch_busy");
        assert_eq!(problem["jobs"][0]["id"], first["id"]);
    }
    for number in 0..4 {
        assert_eq!(bench.post("/jobs", &job(&format!("b{number}"))).await.status, 201);
    }
    let answer = bench.post("/jobs", &json!({"githubOrg": "new", "githubRepo": "one", "prompt": "x"})).await;
    answer.problem(429, "queue_full");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(bench.get("/clients").await.json()["clients"].as_array().unwrap().len(), 1);
    bench.app.start_draining();
    let answer = bench.post("/jobs", &job("late")).await;
    answer.problem(503, "draining");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(bench.get("/health").await.json()["status"], "draining");
}

#[tokio::test]
async fn without_a_forge_no_pull_request() {
    let bench = Bench::with(|settings| settings.opens_pull_requests = false).await;
    assert_eq!(bench.post("/jobs", &job("a")).await.pointers(422, "invalid"), ["/options/publish"]);
    let mut body = job("a");
    body["options"] = json!({"publish": "branch"});
    assert_eq!(bench.post("/jobs", &body).await.status, 201);
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer() {
    let bench = Bench::new().await;
    let key = [("idempotency-key", "k-1")];
    let first = bench.call(Method::POST, "/jobs", &key, &job("a")).await;
    let again = bench.call(Method::POST, "/jobs", &key, &job("a")).await;
    assert_eq!((again.status.as_u16(), &again.body), (201, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(first.header("idempotency-replayed"), None);
    let other = bench.call(Method::POST, "/jobs", &key, &job("b")).await;
    other.problem(422, "idempotency_key_reused");
    assert_eq!(bench.get("/jobs").await.json()["total"], 1);
    // a refusal is not kept
    let bad = [("idempotency-key", "k-2")];
    bench.call(Method::POST, "/jobs", &bad, &job("a")).await.problem(409, "branch_busy");
    assert_eq!(bench.call(Method::POST, "/jobs", &bad, &job("c")).await.status, 201);
    // answers of other calls are kept as well
    let pause = [("idempotency-key", "k-3")];
    bench.call(Method::POST, "/queue/pause", &pause, &json!({})).await;
    let again = bench.call(Method::POST, "/queue/pause", &pause, &json!({})).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    bench.call(Method::POST, "/jobs", &[("idempotency-key", " ")], &job("d")).await.problem(400, "malformed");
}

#[tokio::test]
async fn many_at_once_under_one_key_are_one_job() {
    let bench = Bench::new().await;
    let key = [("idempotency-key", "burst")];
    // without a branch of its own nothing else would stop a second one
    let mut body = job("a");
    body.as_object_mut().unwrap().remove("branchName");
    let calls = (0..50).map(|_| bench.call(Method::POST, "/jobs", &key, &body));
    let answers = futures_util::future::join_all(calls).await;
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "idempotency_in_flight");
    }
    assert!(answers.iter().any(|answer| answer.status == 201));
    assert_eq!(bench.get("/jobs").await.json()["total"], 1);
}

#[tokio::test]
async fn cancelling() {
    let bench = Bench::new().await;
    bench.post("/jobs", &job("a")).await;
    for _ in 0..2 {
        let cancelled = bench.post("/jobs/1/cancel", &json!({})).await;
        assert_eq!(cancelled.status, 200);
        let body = cancelled.json();
        assert_eq!((&body["status"], &body["wasRunning"]), (&"cancelled".into(), &false.into()));
    }
    bench.get("/jobs/1").await;
    bench.post("/jobs/77/cancel", &json!({})).await.problem(404, "not_found");
    // a running one is over when its worker says so
    bench.post("/jobs", &job("b")).await;
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let no_body = json!({});
    let cancel = bench.post("/jobs/2/cancel", &no_body);
    let worker = async {
        while !bench.store.is_cancel_requested(lease.job).await.unwrap() {
            tokio::task::yield_now().await;
        }
        bench.store.finish(lease, AttemptEnd::Cancelled, |_| None).await.unwrap();
    };
    let (cancelled, ()) = tokio::join!(cancel, worker);
    assert_eq!(cancelled.json()["wasRunning"], true);
    assert_eq!(bench.post("/jobs/2/cancel", &json!({})).await.json()["wasRunning"], true);
}

async fn ended(bench: &Bench, branch: &str, end: AttemptEnd) -> i64 {
    assert_eq!(bench.post("/jobs", &job(branch)).await.status, 201);
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    bench.store.finish(lease, end, |_| None).await.unwrap();
    lease.job.0
}

fn fault(code: ReasonCode) -> AttemptEnd {
    AttemptEnd::Faulted { reason: Reason::new(code, ""), until: None, window: None, spent: true }
}

#[tokio::test]
async fn finished_jobs_are_not_cancelled_but_retried() {
    let bench = Bench::new().await;
    let done = ended(&bench, "a", AttemptEnd::Completed { outcome: Outcome::PullRequest }).await;
    let problem = bench.post(&format!("/jobs/{done}/cancel"), &json!({})).await.problem(400, "job_over");
    assert_eq!(problem["error"], "Job already completed");
    bench.post(&format!("/jobs/{done}/retry"), &json!({})).await.problem(409, "job_completed");
    let failed = ended(&bench, "b", fault(ReasonCode::Timeout)).await;
    let problem = bench.post(&format!("/jobs/{failed}/cancel"), &json!({})).await.problem(400, "job_over");
    assert_eq!(problem["error"], "Job already failed");
    let path = format!("/jobs/{failed}/retry");
    assert_eq!(bench.post(&path, &json!({"mode": "x"})).await.pointers(422, "invalid"), ["/mode"]);
    bench.post(&path, &json!({"mode": "publish"})).await.problem(409, "nothing_to_publish");
    let key = [("idempotency-key", "again")];
    let retried = bench.call(Method::POST, &path, &key, &json!({"prompt": "Try harder"})).await;
    let job = retried.json();
    assert_eq!(retried.status, 201, "{job}");
    let first = bench.get(&format!("/jobs/{failed}")).await.json();
    assert_eq!((&job["originalJobId"], &job["rootJobId"]), (&first["id"], &first["id"]));
    assert_eq!((&job["branchName"], &job["prompt"]), (&"b".into(), &"Try harder".into()));
    assert_eq!(
        bench.call(Method::POST, &path, &key, &json!({"prompt": "Try harder"})).await.json()["id"],
        job["id"]
    );
    bench.post(&path, &json!({})).await.problem(409, "branch_busy");
    let live = format!("/jobs/{}/retry", job["number"]);
    bench.post(&live, &json!({})).await.problem(409, "job_live");
}

#[tokio::test]
async fn waiting_for_a_change() {
    let bench = Bench::new().await;
    bench.post("/jobs", &job("a")).await;
    let first = bench.get("/jobs/1").await;
    let tag = first.header("etag").unwrap().to_owned();
    let seen = [("if-none-match", tag.as_str())];
    let no_body = Value::Null;
    assert_eq!(bench.call(Method::GET, "/jobs/1", &seen, &no_body).await.status, 304);
    assert_eq!(bench.call(Method::GET, "/jobs/1?wait=1", &seen, &no_body).await.status, 304);
    bench.get("/jobs/1?wait=61").await.problem(422, "invalid");
    bench.store.claim().await.unwrap().unwrap();
    let changed = bench.call(Method::GET, "/jobs/1?wait=60", &seen, &no_body).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["status"]), (200, &"running".into()));
}

#[tokio::test]
async fn reading_what_is_not_there_yet() {
    let bench = Bench::new().await;
    bench.post("/jobs", &job("a")).await;
    bench.get("/jobs/1/diff").await.problem(404, "not_found");
    bench.get("/jobs/1/log").await.problem(404, "not_found");
    assert_eq!(bench.get("/jobs/1/messages").await.json(), json!({"messages": [], "nextCursor": null}));
    assert_eq!(bench.get("/jobs/1/deliveries").await.json(), json!({"deliveries": []}));
    bench.post("/jobs/1/deliveries/dlv-abcd/redeliver", &json!({})).await.problem(404, "not_found");
    let job = bench.get("/jobs/1?includeMessages=true").await.json();
    assert_eq!((&job["messages"], &job["messagesTruncated"]), (&json!([]), &false.into()));
}

#[tokio::test]
async fn pausing_the_queue() {
    let bench = Bench::new().await;
    bench.post("/jobs", &job("a")).await;
    let queue = bench.post("/queue/pause", &json!({"reason": "night", "x": 1})).await.json();
    assert_eq!((&queue["paused"], &queue["queued"][0]["waiting"]["for"]), (&true.into(), &"paused".into()));
    assert_eq!(queue["warnings"], json!(["unknown member /x was ignored"]));
    assert!(bench.store.claim().await.unwrap().is_none());
    assert_eq!(bench.get("/queue").await.json()["pausedReason"], "night");
    let resumed = bench.post("/queue/resume", &json!({})).await.json();
    assert_eq!((&resumed["paused"], &resumed["pausedReason"]), (&false.into(), &Value::Null));
    assert!(bench.store.claim().await.unwrap().is_some());
    assert_eq!(
        bench.post("/queue/try-now", &json!({"login": "x"})).await.pointers(422, "invalid"),
        ["/login"]
    );
    assert_eq!(bench.post("/queue/try-now", &json!({})).await.status, 200);
}

#[tokio::test]
async fn a_job_waits_for_a_time_and_for_others() {
    let bench = Bench::new().await;
    let first = bench.post("/jobs", &job("a")).await.json();
    let mut body = job("a");
    body["dependsOn"] = json!([first["number"]]);
    body["runAt"] = json!("2001-01-01T01:00:00+01:00");
    let answer = bench.post("/jobs", &body).await;
    let second = answer.json();
    assert_eq!(answer.status, 201, "on the branch of the one it waits for: {second}");
    assert_eq!((&second["status"], &second["position"]), (&"queued".into(), &2.into()));
    assert_eq!(second["waiting"], json!({"for": "dependency", "until": null, "window": null}));
    assert_eq!(second["dependsOn"], json!([first["id"]]));
    assert_eq!(second["runAt"], "2001-01-01T00:00:00.000Z");
    assert_eq!(bench.post("/jobs", &job("a")).await.status, 409, "one that waits for nothing");
    let listed = bench.get("/jobs?limit=1").await.json();
    assert_eq!(listed["jobs"][0]["dependsOn"], second["dependsOn"]);

    bench.post("/jobs/1/cancel", &json!({})).await;
    let second = bench.get("/jobs/2").await.json();
    assert_eq!(
        (&second["status"], &second["reason"]["code"]),
        (&"failed".into(), &"dependency_failed".into())
    );
    assert!(second["error"].as_str().unwrap().contains("Job #1 (job-"), "{second}");

    let third = bench.post("/jobs", &body).await;
    assert_eq!(
        (third.status.as_u16(), &third.json()["status"]),
        (201, &"queued".into()),
        "as it was inserted"
    );
    let third = bench.get("/jobs/3").await.json();
    assert_eq!((&third["status"], &third["position"]), (&"failed".into(), &Value::Null));
}

#[tokio::test]
async fn wrong_times_and_dependencies_leave_nothing() {
    let bench = Bench::new().await;
    let first = bench.post("/jobs", &job("a")).await.json();
    let id = first["id"].as_str().unwrap();
    let many: Vec<_> = (0..21).collect();
    let table = [
        (json!({"runAt": "tomorrow", "dependsOn": "1"}), vec!["/runAt", "/dependsOn"]),
        (json!({"runAt": 5}), vec!["/runAt"]),
        (json!({"runAt": "9000-01-01T00:00:00Z"}), vec!["/runAt"]),
        (json!({"dependsOn": many}), vec!["/dependsOn"]),
        (json!({"dependsOn": [1, id]}), vec!["/dependsOn/1"]),
        (
            json!({"dependsOn": ["1", 2, "job-zzzzzzzz", -1, null, 1.5, "", "../1"]}),
            (1..8).map(|_| "").collect(),
        ),
    ];
    for (more, mut pointers) in table {
        let mut body = job("b");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let all: Vec<_> = (1..8).map(|index| format!("/dependsOn/{index}")).collect();
        if pointers.contains(&"") {
            pointers = all.iter().map(String::as_str).collect();
        }
        let mut found = bench.post("/jobs", &body).await.pointers(422, "invalid");
        found.sort_by_key(|pointer| !pointer.starts_with("/runAt"));
        assert_eq!(found, pointers, "{more}");
    }
    assert_eq!(bench.get("/jobs").await.json()["total"], 1);
}
