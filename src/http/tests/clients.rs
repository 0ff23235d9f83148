//! Clients through the router, with real clones.

use axum::http::Method;
use serde_json::{Value, json};

use super::Bench;

fn widgets() -> Value {
    json!({"name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets", "osClientId": "os-1"})
}

#[tokio::test]
async fn registering_clones_first() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let answer = bench.post("/clients", &widgets()).await;
    let client = answer.json();
    assert_eq!(answer.status, 201, "{client}");
    assert_eq!((&client["repoCloned"], &client["repoExists"]), (&true.into(), &true.into()));
    assert_eq!(client["defaultBranch"], "main");
    assert!(std::path::Path::new(client["bareRepoPath"].as_str().unwrap()).join("HEAD").exists());
    let path = answer.header("location").unwrap().to_owned();
    let detail = bench.get(&path).await.json();
    assert_eq!((&detail["activeJobs"], &detail["totalJobs"]), (&0.into(), &0.into()));
    assert!(
        detail["diskBytes"].as_u64().is_some_and(|bytes| bytes > 0) && detail["lastFetchedAt"].is_string()
    );
    let problem = bench.post("/clients", &widgets()).await.problem(409, "duplicate_client");
    assert_eq!(problem["existingId"], client["id"]);
    let other = json!({"name": "Other", "githubOrg": "acme", "githubRepo": "other", "osClientId": "os-1"});
    bench.post("/clients", &other).await.problem(409, "duplicate_client");
    let synced = bench.post("/sync", &json!({})).await.json();
    assert_eq!(synced, json!({"synced": [{"repo": "acme/widgets", "success": true, "error": null}]}));
}

#[tokio::test]
async fn a_failed_clone_leaves_nothing() {
    let bench = Bench::new().await;
    bench.post("/clients", &widgets()).await.problem(502, "remote_refused");
    assert_eq!(bench.get("/clients").await.json(), json!({"clients": []}));
    assert!(!bench.dir.path().join("repos/acme").exists(), "not even the organisation's directory");
    for (body, pointers) in [
        (json!({}), vec!["/githubOrg", "/name"]),
        (json!({"name": 5, "githubOrg": "a", "githubRepo": "b"}), vec!["/name"]),
        (
            json!({"name": "n", "githubOrg": "a", "githubRepo": "x.git", "cloneUrl": "ext::id"}),
            vec!["/githubRepo", "/cloneUrl"],
        ),
        (
            json!({"name": "n", "githubOrg": "a", "githubRepo": "b", "defaultBranch": "--help"}),
            vec!["/defaultBranch"],
        ),
        (
            json!({"name": "n", "githubOrg": "a", "githubRepo": "b", "options": {"timeoutSeconds": 0}}),
            vec!["/options/timeoutSeconds"],
        ),
    ] {
        assert_eq!(bench.post("/clients", &body).await.pointers(422, "invalid"), pointers, "{body}");
    }
}

#[tokio::test]
async fn a_client_that_never_cloned_does_not_block() {
    let bench = Bench::new().await;
    let job = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "x"});
    let id = bench.post("/jobs", &job).await.json()["clientId"].clone();
    bench.publish("acme", "widgets");
    let answer = bench.post("/clients", &widgets()).await;
    let client = answer.json();
    assert_eq!((answer.status.as_u16(), &client["id"]), (201, &id), "{client}");
    assert_eq!((&client["name"], &client["osClientId"]), (&"Widgets".into(), &"os-1".into()));
}

#[tokio::test]
async fn repeats_join_one_clone() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let body = widgets();
    let calls = (0..8).map(|_| bench.post("/clients", &body));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 201 | 409)));
    assert!(answers.iter().any(|answer| answer.status == 201));
    assert_eq!(bench.get("/clients").await.json()["clients"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_the_clone() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let body = widgets();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    // the caller is there until the clone has begun
    let mut call = Box::pin(bench.post("/clients", &body));
    while !bench.dir.path().join("repos/acme").exists() {
        assert!(futures_util::poll!(&mut call).is_pending() && tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    drop(call);
    while bench.get("/clients").await.json()["clients"] == json!([]) {
        assert!(tokio::time::Instant::now() < deadline, "the clone was not finished");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn at_once_is_before_the_clone() {
    let bench = Bench::new().await;
    let prefer = [("prefer", "wait=5, respond-async")];
    let answer = bench.call(Method::POST, "/clients", &prefer, &widgets()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["repoCloned"]), (201, &false.into()));
}

#[tokio::test]
async fn changing_by_merge_patch() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let path = bench.post("/clients", &widgets()).await.header("location").unwrap().to_owned();
    let patch = async |body: Value| bench.call(Method::PATCH, &path, &[], &body).await;
    let first = patch(json!({"options": {"model": "m", "draft": true}, "name": "W"})).await.json();
    assert_eq!((&first["options"]["model"], &first["name"]), (&"m".into(), &"W".into()));
    let next =
        patch(json!({"options": {"model": null}, "osClientId": null, "paused": true, "zzz": 1})).await.json();
    assert_eq!((&next["options"]["model"], &next["options"]["draft"]), (&Value::Null, &true.into()));
    assert_eq!((&next["osClientId"], &next["paused"]), (&Value::Null, &true.into()));
    assert_eq!(next["warnings"], json!(["unknown member /zzz was ignored"]));
    assert_eq!(
        patch(json!({"name": null, "paused": "x"})).await.pointers(422, "invalid"),
        ["/name", "/paused"]
    );
    assert_eq!(patch(json!({"paused": false})).await.json()["paused"], false);
}

#[tokio::test]
async fn deleting() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let made = bench.post("/clients", &widgets()).await;
    let path = made.header("location").unwrap().to_owned();
    bench.post("/jobs", &json!({"clientId": made.json()["id"], "prompt": "x"})).await;
    let delete =
        async |query: &str| bench.call(Method::DELETE, &format!("{path}{query}"), &[], &json!({})).await;
    let problem = delete("").await.problem(409, "client_busy");
    assert!(problem["detail"].as_str().unwrap().contains("#1"));
    let clone = std::path::PathBuf::from(made.json()["bareRepoPath"].as_str().unwrap());
    // work that nobody has
    super::git(&clone, &["update-ref", "refs/offshoot/1/1", "refs/remotes/origin/main"]);
    let answer = delete("?force=true&removeRepo=true").await;
    assert_eq!(answer.json(), json!({"deleted": true, "repoRemoved": true}));
    assert!(!clone.exists());
    let bundles = std::fs::read_dir(bench.dir.path().join("bundles")).unwrap().count();
    assert_eq!((bundles, bench.get("/jobs/1").await.json()["status"].clone()), (1, json!("cancelled")));
    delete("").await.problem(404, "not_found");
    assert!(bench.get(&path).await.json()["deletedAt"].is_string());
    let again = bench.post("/clients", &widgets()).await.json();
    assert_ne!(again["id"], made.json()["id"]);
    delete("?force=maybe").await.problem(400, "malformed");
}

#[tokio::test]
async fn unpublished_work_is_not_removed_by_accident() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let made = bench.post("/clients", &widgets()).await;
    let clone = made.json()["bareRepoPath"].as_str().unwrap().to_owned();
    super::git(clone.as_ref(), &["update-ref", "refs/offshoot/1/1", "refs/remotes/origin/main"]);
    let path = format!("{}?removeRepo=true", made.header("location").unwrap());
    bench.call(Method::DELETE, &path, &[], &json!({})).await.problem(409, "unpublished_work");
    assert!(std::path::Path::new(&clone).exists());
}

#[tokio::test]
async fn values_that_nothing_would_use_are_refused_by_name() {
    let bench = Bench::new().await;
    let set = |option: &str, value: Value| json!({"name": "n", "githubOrg": "a", "githubRepo": "b", "options": {option: value}});
    let secret = set("setEnv", json!({"NPM_TOKEN": "nmp"}));
    assert_eq!(bench.post("/clients", &secret).await.pointers(422, "invalid"), ["/options/setEnv/NPM_TOKEN"]);
    for amount in [0, -1] {
        let body = set("maxBudgetUsdPerDay", json!(amount));
        let pointers = bench.post("/clients", &body).await.pointers(422, "invalid");
        assert_eq!(pointers, ["/options/maxBudgetUsdPerDay"], "{amount}");
    }
    assert_eq!(bench.get("/clients").await.json(), json!({"clients": []}));
}
