//! Reasons that the remote or the forge brings about, on a whole server: whatever they say, an agent that is done is not
//! run again.

use axum::http::Method;
use serde_json::{Value, json};

use crate::fake_github::{Effect, Fault};
use crate::stand::{Plan, REPO, Stand};

/// A stand whose ssh says `words` and fails until the gate `up` is open.
async fn behind_ssh(words: &str) -> Stand {
    let mut stand = Stand::built(Plan { over_ssh: true, ..Plan::default() }).await;
    let script = format!(
        "#!/bin/sh\nif [ ! -e {} ]; then echo '{words}' >&2; exit 255; fi\nfor last; do :; done\neval \"exec $last\"\n",
        stand.gate("up").display()
    );
    stand.install("ssh", &script);
    stand.start().await;
    stand
}

/// A job that waits by itself because of `code`, and what it is told meanwhile.
async fn waits(stand: &Stand, id: &str, code: &str) {
    let job = stand.wait_for(id, "waiting", |job| job["waiting"]["for"] == "backoff").await;
    assert_eq!((&job["status"], &job["reason"]["code"]), (&json!("queued"), &json!(code)), "{job:#}");
    let hint = job["reason"]["hint"].as_str().unwrap();
    assert!(hint.ends_with("it is tried again by itself"), "{hint}");
    let (status, body) = stand.call("POST", &format!("/jobs/{id}/retry"), Some(&json!({}))).await;
    assert_eq!((status, &body["code"]), (409, &json!("job_live")), "{body:#}");
}

/// It completed at the second attempt; the first did not count.
async fn completed_at_the_second(stand: &Stand, id: &str, code: &str) {
    let job = stand.completed(id).await;
    let attempts: Vec<_> = job["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["reason"]["code"].clone(), one["counted"].clone()))
        .collect();
    assert_eq!((attempts.len(), &attempts[0]), (2, &(json!(code), json!(false))), "{job:#}");
    assert_eq!((&attempts[1].0, &job["outcome"]), (&Value::Null, &json!("pull_request")), "{job:#}");
}

#[tokio::test]
async fn a_forge_that_asks_for_patience_gets_it_and_the_agent_is_not_paid_twice() {
    let stand = Stand::new().await;
    stand.github.fault(Fault::new(Effect::SecondaryLimit(Some(1))).on(Method::POST, "/pulls"));
    let id = stand.submit_prompt("limited", "Greet").await;
    waits(&stand, &id, "forge_rate_limited").await;
    completed_at_the_second(&stand, &id, "forge_rate_limited").await;
    assert_eq!((stand.runs(), stand.github.pulls().len()), (1, 1));
    stand.finish().await;
}

#[tokio::test]
async fn a_forge_that_is_away_is_asked_later_and_the_agent_is_not_paid_twice() {
    let stand = Stand::new().await;
    let away = Effect::Status(503, json!({"message": "Unavailable"}), Vec::new());
    stand.github.fault(Fault::new(away).on(Method::POST, "/pulls").times(3));
    let id = stand.submit_prompt("away", "Greet").await;
    waits(&stand, &id, "forge_unavailable").await;
    stand.github.clear_faults();
    completed_at_the_second(&stand, &id, "forge_unavailable").await;
    assert_eq!((stand.runs(), stand.github.pulls().len()), (1, 1));
    stand.finish().await;
}

#[tokio::test]
async fn a_remote_that_is_away_is_asked_later_and_no_agent_runs_before() {
    let stand = behind_ssh("ssh: connect to host forge.invalid port 22: Connection refused").await;
    let id = stand.submit_prompt("away", "Greet").await;
    waits(&stand, &id, "remote_unavailable").await;
    assert_eq!(stand.runs(), 0);
    stand.open_gate("up");
    completed_at_the_second(&stand, &id, "remote_unavailable").await;
    assert_eq!(stand.runs(), 1);
    stand.finish().await;
}

#[tokio::test]
async fn a_repository_that_cannot_be_cloned_fails_the_job_and_a_retry_clones_it() {
    let stand = behind_ssh("ssh: this key is of a kind that nobody knows").await;
    let id = stand.submit_prompt("clone", "Greet").await;
    let job = stand.failed(&id, "clone_failed").await;
    assert_eq!(
        (job["attempts"].as_array().unwrap().len(), &job["attempts"][0]["counted"]),
        (1, &json!(false))
    );
    assert!(job["error"].as_str().unwrap().contains("a kind that nobody knows"), "{job:#}");
    assert_eq!(stand.runs(), 0);
    stand.open_gate("up");
    let again = stand.retry(&id, json!({})).await;
    assert_eq!(stand.completed(&again).await["outcome"], "pull_request");
    assert_eq!(stand.runs(), 1);
    stand.finish().await;
}

#[tokio::test]
async fn an_archived_repository_fails_the_job_before_an_agent_runs() {
    let stand = Stand::new().await;
    stand.github.archive(REPO);
    let id = stand.submit_prompt("archived", "Greet").await;
    let job = stand.failed(&id, "repo_archived").await;
    assert_eq!(
        (job["attempts"].as_array().unwrap().len(), &job["attempts"][0]["counted"]),
        (1, &json!(false))
    );
    assert_eq!((&job["reason"]["retryable"], stand.runs()), (&json!(false), 0), "{job:#}");
    let again = stand.retry(&id, json!({})).await;
    stand.failed(&again, "repo_archived").await;
    assert_eq!(stand.runs(), 0);
    stand.github.unarchive(REPO);
    let again = stand.retry(&again, json!({})).await;
    assert_eq!(stand.completed(&again).await["outcome"], "pull_request");
    stand.finish().await;
}

/// Each is mended outside, and then a retry publishes the commit that is there.
#[tokio::test]
async fn credentials_that_the_forge_refuses_fail_the_job_and_a_retry_only_publishes() {
    let stand = Stand::new().await;
    let table = [
        ("forge_auth", 401, "Bad credentials"),
        ("forge_forbidden", 403, "Resource not accessible by personal access token"),
    ];
    for (index, (code, status, message)) in table.into_iter().enumerate() {
        let refusal = Effect::Status(status, json!({"message": message}), Vec::new());
        stand.github.fault(Fault::new(refusal).on(Method::POST, "/pulls"));
        let id = stand.submit_prompt(code, "Greet").await;
        let job = stand.failed(&id, code).await;
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["counted"]), (1, &json!(false)), "{job:#}");
        assert_eq!(stand.tip(code).as_deref(), job["headSha"].as_str(), "the branch is there");
        let again = stand.retry(&id, json!({})).await;
        let retried = stand.completed(&again).await;
        assert_eq!((&retried["outcome"], &retried["headSha"]), (&json!("pull_request"), &job["headSha"]));
        assert_eq!(stand.runs(), index + 1, "{code}: the agent is not paid twice");
    }
    stand.finish().await;
}

/// The repository goes away while the agent works.
#[tokio::test]
async fn a_repository_that_is_gone_at_the_push_is_called_that_and_a_retry_only_publishes() {
    let stand = Stand::new().await;
    let (here, away) = (stand.remote(), stand.path("away"));
    let runs = stand.path("sh-runs");
    let prompt =
        format!("echo run >> {}; echo x > x.txt; mv {} {}", runs.display(), here.display(), away.display());
    let body = json!({"prompt": prompt, "branchName": "gone", "options": {"agent": "sh"}});
    let id = stand.submit(body).await;
    let job = stand.failed(&id, "repo_not_found").await;
    assert_eq!(
        (&job["attempts"][0]["counted"], job["headSha"].is_string()),
        (&json!(false), true),
        "{job:#}"
    );
    std::fs::rename(&away, &here).unwrap();
    let again = stand.retry(&id, json!({})).await;
    let retried = stand.completed(&again).await;
    assert_eq!((&retried["outcome"], &retried["headSha"]), (&json!("pull_request"), &job["headSha"]));
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\n", "the agent is not paid twice");
    stand.finish().await;
}

#[tokio::test]
async fn where_every_name_is_taken_the_reason_says_so() {
    let stand = Stand::new().await;
    stand.foreign_branch(REPO, "taken");
    for number in 2..=50 {
        stand.foreign_branch(REPO, &format!("taken-{number}"));
    }
    let options = json!({"onBranchExists": "suffix"});
    let id = stand.submit(json!({"prompt": "Greet", "branchName": "taken", "options": options})).await;
    let job = stand.failed(&id, "branch_exists").await;
    let message = "The branch \"taken\" exists on the remote, and so do all of taken-2 to taken-50.";
    assert_eq!((&job["error"], stand.runs()), (&json!(message), 0));
    stand.finish().await;
}
