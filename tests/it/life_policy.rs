//! What the owner's policy says of changed files, on a whole server.

use axum::http::Method;
use serde_json::{Value, json};

use crate::fake_github::{Effect, Fault};
use crate::stand::{Plan, Stand};

async fn submit(stand: &Stand, branch: &str, script: &str, publish: &str) -> String {
    let options = json!({"agent": "sh", "publish": publish});
    stand.submit(json!({"prompt": script, "branchName": branch, "options": options})).await
}

fn warnings(job: &Value) -> String {
    job["warnings"].to_string()
}

#[tokio::test]
async fn what_is_denied_is_pushed_by_no_way_and_kept() {
    let stand = Stand::new().await;
    let script = "echo '[submodule \"x\"]' > .gitmodules; echo work > a.txt";
    let id = submit(&stand, "denied", script, "pull_request").await;
    let job = stand.failed(&id, "policy_denied").await;
    let message = job["reason"]["message"].as_str().unwrap();
    assert!(message.contains("policy.gitmodules is \"deny\", and changed is .gitmodules."), "{message}");
    assert_eq!((&job["attempts"][0]["counted"], &job["prUrl"]), (&json!(false), &Value::Null));
    // nothing of it is lost
    assert_eq!(stand.git_clone(&["show", &format!("{}:a.txt", job["headSha"].as_str().unwrap())]), "work");
    // a dry run is no way around it, and neither is publishing what is there
    let dry = submit(&stand, "dry", script, "none").await;
    stand.failed(&dry, "policy_denied").await;
    let again = stand.retry(&id, json!({"mode": "publish"})).await;
    stand.failed(&again, "policy_denied").await;
    let refs = stand.git(&["for-each-ref", "--format=%(refname)"]);
    assert!(!refs.contains("denied") && !refs.contains("dry"), "{refs}");
    // whoever wants it tried again wants other work
    let again = stand.retry(&id, json!({"prompt": "echo work > a.txt"})).await;
    let job = stand.completed(&again).await;
    assert_eq!(
        (job["outcome"].as_str(), job["warnings"].as_array().unwrap().len()),
        (Some("pull_request"), 0)
    );
    stand.finish().await;
}

#[tokio::test]
async fn what_is_flagged_is_seen_on_the_job_and_on_its_pull_request() {
    let stand = Stand::new().await;
    let script = "mkdir -p .github/workflows web/.claude; echo on: push > .github/workflows/ci.yml; \
        echo '{}' > web/.claude/settings.json; echo x > README.md";
    let id = submit(&stand, "flagged", script, "pull_request").await;
    let job = stand.completed(&id).await;
    for text in [
        "policy.workflows flags: .github/workflows/ci.yml",
        "policy.agent_config flags: web/.claude/settings.json",
    ] {
        assert!(warnings(&job).contains(text), "{job:#}");
    }
    let pulls = stand.github.pulls();
    assert_eq!(pulls[0].labels, ["changes: workflows", "changes: agent config"]);
    assert!(
        pulls[0].body.contains("| To be looked at | workflows: .github/workflows/ci.yml |"),
        "{}",
        pulls[0].body
    );
    // what is taken away or moved elsewhere is changed as well
    let prompt = json!({"prompt": "git mv .github/workflows/ci.yml ci.yml"});
    let next = stand.post(&format!("/jobs/{id}/follow-up"), &prompt).await;
    let job = stand.completed(next["id"].as_str().unwrap()).await;
    assert!(warnings(&job).contains("policy.workflows flags: .github/workflows/ci.yml"), "{job:#}");
    stand.finish().await;
}

/// The pull request is there, and its server dies before the label is.
#[tokio::test]
async fn a_label_is_given_by_the_next_server() {
    let mut stand = Stand::new().await;
    stand.github.fault(Fault::new(Effect::Hang).on(Method::POST, "/labels"));
    let script = "mkdir -p .github/workflows; touch .github/workflows/a.yml";
    let id = submit(&stand, "label", script, "pull_request").await;
    let asked = async || (!stand.github.requests_of(&Method::POST, "/labels").is_empty()).then_some(());
    stand.wait_until("the label is asked for", asked).await;
    assert_eq!(stand.github.pulls().len(), 1);
    stand.kill9().await;
    stand.start_again().await;
    stand.completed(&id).await;
    let pulls = stand.github.pulls();
    assert_eq!((pulls.len(), pulls[0].labels.as_slice()), (1, ["changes: workflows".to_owned()].as_slice()));
    stand.finish().await;
}

#[tokio::test]
async fn the_owner_decides() {
    let config =
        "[policy]\ngitmodules = \"allow\"\nworkflows = \"deny\"\nagent_config = \"allow\"\n".to_owned();
    let stand = Stand::with(Plan { config, ..Plan::default() }).await;
    let id = submit(&stand, "open", "touch .gitmodules .mcp.json", "pull_request").await;
    let job = stand.completed(&id).await;
    assert_eq!((job["outcome"].as_str(), warnings(&job).as_str()), (Some("pull_request"), "[]"));
    let script = "mkdir -p .github/workflows; touch .github/workflows/a.yml";
    let id = submit(&stand, "shut", script, "branch").await;
    let job = stand.failed(&id, "policy_denied").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains(".github/workflows/a.yml"), "{job:#}");
    stand.finish().await;
}
