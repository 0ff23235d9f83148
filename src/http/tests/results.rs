//! What jobs leave behind: log, diff, deliveries, and what a retry makes of it.

use axum::http::StatusCode;
use serde_json::json;

use super::{Bench, git};
use crate::domain::artifact::{Artifact, Artifacts};
use crate::domain::attempt::{AttemptEnd, Lease};
use crate::domain::event::MessageKind;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::job::{Effects, Outcome, Start};
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::time::Timestamp;
use crate::store::{Ingest, IngestedMessage};
use crate::wire::callback::render_callback;

/// A claimed job of a cloned client, with a commit that adds a file of two lines.
async fn working(bench: &Bench, options: serde_json::Value) -> Lease {
    working_with(bench, options, "one\ntwo\n").await
}

/// As [`working`], with a file of this content.
async fn working_with(bench: &Bench, options: serde_json::Value, content: &str) -> Lease {
    bench.publish("acme", "widgets");
    let client = bench
        .post("/clients", &json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"}))
        .await
        .json();
    let body = json!({"clientId": client["id"], "prompt": "x", "branchName": "work", "options": options,
        "osCallbackUrl": "https://example.org/hook"});
    assert_eq!(bench.post("/jobs", &body).await.status, 201);
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let clone = std::path::PathBuf::from(client["bareRepoPath"].as_str().unwrap());
    let base = git(&clone, &["rev-parse", "refs/remotes/origin/main"]);
    std::fs::write(bench.dir.path().join("lines"), content).unwrap();
    let blob = git(&clone, &["hash-object", "-w", bench.dir.path().join("lines").to_str().unwrap()]);
    let index = bench.dir.path().join("index");
    let index = format!("GIT_INDEX_FILE={}", index.display());
    let plumb = |args: &[&str]| {
        let all =
            [&[index.as_str(), "git", "-c", "user.name=t", "-c", "user.email=t@example.org"], args].concat();
        let output = std::process::Command::new("env").current_dir(&clone).args(all).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    plumb(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},new.txt")]);
    let tree = plumb(&["write-tree"]);
    let head = plumb(&["commit-tree", "-m", "work", "-p", &base, &tree]);
    let effects = Effects { base_sha: Some(base), head_sha: Some(head), ..Effects::default() };
    bench.store.record_effects(lease, effects).await.unwrap();
    lease
}

#[tokio::test]
async fn the_diff_in_three_forms() {
    let bench = Bench::new().await;
    working(&bench, json!({})).await;
    let patch = bench.get("/jobs/1/diff").await;
    let text = String::from_utf8(patch.body.clone()).unwrap();
    assert!(text.contains("+++ b/new.txt") && text.contains("+one\n+two\n"), "{text}");
    assert_eq!(patch.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(patch.header("x-truncated"), None);
    let stat = bench.get("/jobs/1/diff?format=stat").await;
    assert!(String::from_utf8(stat.body).unwrap().starts_with(" new.txt | +2 -0\n"));
    let diff = bench.get("/jobs/1/diff?format=json").await.json();
    assert_eq!((&diff["filesChanged"], &diff["insertions"]), (&1.into(), &2.into()));
    assert_eq!(
        (&diff["files"][0]["path"], &diff["files"][0]["status"]),
        (&"new.txt".into(), &"added".into())
    );
    let elsewhere = bench.get("/jobs/1/diff?path=other&format=json").await.json();
    assert_eq!(elsewhere["files"], json!([]));
    bench.get("/jobs/1/diff?format=html").await.problem(422, "invalid");
    bench.get("/jobs/1/diff?context=-1").await.problem(422, "invalid");
    for nul in ["%00", "a%00b", "..%00"] {
        bench.get(&format!("/jobs/1/diff?path={nul}")).await.problem(422, "invalid");
    }
}

#[tokio::test]
async fn a_patch_that_is_cut_says_so() {
    let bench = Bench::new().await;
    // 9 MB of lines, of which 8 MiB are told
    working_with(&bench, json!({}), &"a line\n".repeat(1_300_000)).await;
    let patch = bench.get("/jobs/1/diff").await;
    assert_eq!((patch.status, patch.header("x-truncated")), (StatusCode::OK, Some("true")));
    assert!(patch.body.ends_with(b"\n+a line\n"), "at the end of a line");
}

#[tokio::test]
async fn the_log_of_an_attempt() {
    let bench = Bench::new().await;
    let lease = working(&bench, json!({})).await;
    bench.get("/jobs/1/log").await.problem(404, "not_found");
    bench.store.begin_step(lease, "agent-1").await.unwrap();
    let at = Timestamp::from_ms(1_795_254_420_000);
    let message = IngestedMessage::output(MessageKind::Stdout, "I looked around.\n".to_owned(), at);
    let ingest = Ingest { messages: vec![message], ..Ingest::default() };
    bench.store.ingest(lease, "agent-1", ingest).await.unwrap();
    let log = bench.get("/jobs/1/log").await;
    assert_eq!(
        (log.status.as_u16(), String::from_utf8(log.body).unwrap().contains("I looked around.")),
        (200, true)
    );
    let page = bench.get("/jobs/1/messages?limit=1").await.json();
    assert_eq!((&page["messages"][0]["seq"], &page["nextCursor"]), (&1.into(), &"1".into()));
    assert_eq!(bench.get("/jobs/1/messages?after=1").await.json()["messages"], json!([]));
    for attempt in ["0", "2", "-1"] {
        bench.get(&format!("/jobs/1/log?attempt={attempt}")).await.problem(404, "not_found");
    }
    bench.get("/jobs/1/log?attempt=x").await.problem(400, "malformed");
}

#[tokio::test]
async fn a_failed_push_is_retried_without_the_agent() {
    let bench = Bench::new().await;
    let lease = working(&bench, json!({})).await;
    let reason = Reason::new(ReasonCode::PushRejected, "");
    let end = AttemptEnd::Faulted { reason, until: None, window: None, spent: true };
    let ids = (EventId::from_random("aaaa2222"), DeliveryId::from_random("bbbb3333"));
    let render = move |view: &_| render_callback(view, ids.0.clone(), ids.1.clone(), Timestamp::from_ms(0));
    bench.store.finish(lease, end, render).await.unwrap();
    let deliveries = bench.get("/jobs/1/deliveries").await.json();
    let delivery = &deliveries["deliveries"][0];
    assert_eq!((&delivery["id"], &delivery["type"]), (&"dlv-bbbb3333".into(), &"job.failed".into()));
    assert_eq!((&delivery["eventId"], &delivery["history"]), (&"evt-aaaa2222".into(), &json!([])));
    let again = bench.post("/jobs/1/deliveries/dlv-bbbb3333/redeliver", &json!({})).await.json();
    assert_eq!(again["state"], "pending");
    assert_eq!(bench.post("/jobs/1/retry", &json!({})).await.status, 201);
    let retried = bench.store.claim().await.unwrap().unwrap().job;
    assert!(matches!(retried.start, Start::Publish { .. }), "{:?}", retried.start);
}

#[tokio::test]
async fn a_retried_dry_run_is_published() {
    let bench = Bench::new().await;
    let lease = working(&bench, json!({"publish": "none"})).await;
    bench.store.finish(lease, AttemptEnd::Completed { outcome: Outcome::DryRun }, |_| None).await.unwrap();
    bench.post("/jobs/1/retry", &json!({"mode": "publish", "prompt": "x"})).await.problem(422, "invalid");
    let retried = bench.post("/jobs/1/retry", &json!({})).await.json();
    assert_eq!(retried["options"]["publish"], "none", "what follows is a dry run again");
    let retried = bench.store.claim().await.unwrap().unwrap().job;
    assert!(matches!(retried.start, Start::Publish { or_agent: false, .. }), "{:?}", retried.start);
}

#[tokio::test]
async fn who_changed_nothing_has_an_empty_diff() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let body = json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"});
    let client = bench.post("/clients", &body).await.json();
    let body = json!({"clientId": client["id"], "prompt": "x", "branchName": "work"});
    assert_eq!(bench.post("/jobs", &body).await.status, 201);
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let clone = std::path::PathBuf::from(client["bareRepoPath"].as_str().unwrap());
    let base = git(&clone, &["rev-parse", "refs/remotes/origin/main"]);
    let effects = Effects { base_sha: Some(base.clone()), ..Effects::default() };
    bench.store.record_effects(lease, effects).await.unwrap();
    bench.get("/jobs/1/diff").await.problem(404, "not_found");
    let end = AttemptEnd::Completed { outcome: Outcome::NoChanges };
    bench.store.finish(lease, end, |_| None).await.unwrap();
    let diff = bench.get("/jobs/1/diff?format=json").await.json();
    assert_eq!((&diff["filesChanged"], &diff["files"]), (&0.into(), &json!([])));
    assert_eq!((&diff["baseSha"], &diff["headSha"]), (&base.clone().into(), &base.into()));
}

/// What is asked for only chooses among what is recorded; how it is written is no way out.
#[tokio::test]
async fn a_kept_file_is_found_by_its_name_and_by_nothing_else() {
    let bench = Bench::new().await;
    let lease = working(&bench, json!({})).await;
    let names = ["out/a b.txt", "%2e%2e/x", "ä.txt"];
    let file = |name: &&str| Artifact { path: (*name).to_owned(), bytes: 4 };
    let kept = Artifacts { attempt: 1, files: names.iter().map(file).collect() };
    let files = bench.store.artifacts().clone();
    files.make_job_dir(lease.job).unwrap();
    std::fs::create_dir(files.attempt_dir(lease.job, 1)).unwrap();
    for place in 0..names.len() {
        std::fs::write(files.file(lease.job, 1, place), format!("no {place}")).unwrap();
    }
    std::fs::write(files.attempt_dir(lease.job, 1).join("secret"), "nobody's").unwrap();
    bench.store.record_artifacts(lease, kept).await.unwrap();
    for (path, content) in [
        ("out/a%20b.txt", "no 0"),
        ("out%2Fa%20b.txt", "no 0"),
        ("%252e%252e/x", "no 1"),
        ("%C3%A4.txt", "no 2"),
    ] {
        let answer = bench.get(&format!("/jobs/1/artifacts/{path}")).await;
        assert_eq!(
            (answer.status.as_u16(), String::from_utf8_lossy(&answer.body)),
            (200, content.into()),
            "{path}"
        );
    }
    let deep = "../".repeat(20);
    for path in [
        "..",
        ".",
        "0",
        "secret",
        "out",
        "out/",
        "out/a",
        "/out/a%20b.txt",
        "out//a%20b.txt",
        "./out/a%20b.txt",
        "../0",
        "../../../offshoot.db",
        "..%2f..%2foffshoot.db",
        "%2e%2e/%2e%2e/offshoot.db",
        "%252e%252e%252foffshoot.db",
        "..%5c..%5coffshoot.db",
        "%00",
        "out/a%20b.txt%00",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "out/..%2fsecret",
        "out%2F..%2F0",
        "%c0%ae%c0%ae/x",
        "%ff",
        "OUT/a%20b.txt",
        &deep,
    ] {
        let answer = bench.get(&format!("/jobs/1/artifacts/{path}")).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {}", answer.status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
    bench.get("/jobs/1/artifacts/").await.problem(404, "no_such_route");
    bench.get("/jobs/7/artifacts/out").await.problem(404, "not_found");
    // what is not as it was recorded is not passed off as it
    std::fs::write(files.file(lease.job, 1, 0), "longer").unwrap();
    bench.get("/jobs/1/artifacts/out/a%20b.txt").await.problem(500, "internal");
    std::fs::remove_file(files.file(lease.job, 1, 0)).unwrap();
    bench.get("/jobs/1/artifacts/out/a%20b.txt").await.problem(404, "not_found");
}
