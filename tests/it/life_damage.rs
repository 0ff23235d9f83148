//! A clone that is damaged on a whole server: the next job mends it, and finished work stays.

use serde_json::{Value, json};

use crate::rescue::offshoot;
use crate::stand::Stand;

fn aside(stand: &Stand) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(stand.path("repos/acme")).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.to_string_lossy().contains(".damaged")).collect()
}

#[tokio::test]
async fn a_job_that_meets_an_empty_head_goes_on_with_a_new_clone() {
    mends(|stand| std::fs::write(stand.clone_path().join("HEAD"), "").unwrap()).await;
}

#[tokio::test]
async fn a_job_that_meets_a_lost_object_goes_on_with_a_new_clone() {
    mends(|stand| {
        let id = stand.git_clone(&["rev-parse", "refs/remotes/origin/main:README.md"]);
        let (dir, rest) = id.split_at(2);
        std::fs::remove_file(stand.clone_path().join("objects").join(dir).join(rest)).unwrap();
    })
    .await;
}

async fn mends(damage: impl FnOnce(&Stand)) {
    let mut stand = Stand::new().await;
    for text in ["damaged", "a git step failed"] {
        stand.expect_error(text);
    }
    let failed =
        stand.submit(json!({"prompt": "echo half > half.txt; sleep 1000", "branchName": "half", "options": {"agent": "sh", "timeoutSeconds": 1}}));
    let failed = failed.await;
    stand.failed(&failed, "timeout").await;
    damage(&stand);

    let id = stand.submit_prompt("next", "Greet").await;
    let held = stand.wait_for(&id, "held", |job| job["reason"]["code"] == "clone_damaged").await;
    assert_eq!(held["status"], "queued", "{held:#}");
    assert_eq!(aside(&stand).len(), 1);
    let job = stand.completed(&id).await;
    assert_eq!(
        (&job["outcome"], &job["attemptsCounted"]),
        (&json!("pull_request"), &held["attemptsCounted"])
    );
    assert!(job["warnings"].to_string().contains("made anew; nothing is lost"), "{job:#}");
    let list = stand.get(&format!("/jobs/{failed}/snapshots")).await;
    assert_eq!(list["snapshots"][0]["name"], "1-end", "{list:#}");
    let head = stand.git_clone(&["show", &format!("refs/offshoot/{failed}/1-end:half.txt")]);
    assert_eq!(head, "half");

    let (code, out, err) = offshoot(&stand, &["gc"]).await;
    assert!(code == 0 && err.contains("widgets.git.damaged") && err.contains("rm -rf"), "{out}{err}");
    let report: Value = stand.post("/gc", &json!({})).await;
    assert_eq!(report["setAside"][0]["lost"], json!([]));
    // as a person does when nothing in it is needed any more
    std::fs::remove_dir_all(&aside(&stand)[0]).unwrap();
    assert_eq!(stand.post("/gc", &json!({})).await["setAside"], json!([]));
    stand.finish().await;
}

/// What was left without a clone is published by the next attempt, and no agent runs again.
#[tokio::test]
async fn damage_between_the_commit_and_its_push_costs_no_second_run() {
    let mut stand = Stand::new().await;
    stand.expect_error("damaged");
    let began = stand.path("push-began");
    let gate = stand.gate("push");
    stand.remote_hook(
        "pre-receive",
        &format!(
            "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
            began.display(),
            gate.display()
        ),
    );
    let id = stand.submit_prompt("p", "Greet").await;
    stand.wait_until("the push is under way", async || began.exists().then_some(())).await;
    stand.kill9().await;
    std::fs::write(stand.clone_path().join("HEAD"), "").unwrap();
    stand.open_gate("push");
    stand.start_again().await;
    let held = stand.wait_for(&id, "held", |job| job["reason"]["code"] == "clone_damaged").await;
    let job = stand.completed(&id).await;
    assert_eq!((&job["outcome"], &job["headSha"]), (&json!("pull_request"), &held["headSha"]));
    assert_eq!(stand.tip("p").unwrap(), job["headSha"].as_str().unwrap());
    assert_eq!((stand.runs(), aside(&stand).len()), (1, 1));
    std::fs::remove_dir_all(&aside(&stand)[0]).unwrap();
    stand.finish().await;
}

/// An agent has worked, and its clone cannot take the result: the job fails or starts over, and the files are kept.
#[tokio::test]
async fn damage_under_an_agent_does_not_cost_its_files() {
    let mut stand = Stand::new().await;
    for text in ["damaged", "a git step failed"] {
        stand.expect_error(text);
    }
    let gate = stand.gate("g");
    let script = format!(
        "echo half > half.txt; touch {0}-began; while [ ! -e {0} ]; do sleep 0.02; done",
        gate.display()
    );
    let id = stand.submit(json!({"prompt": script, "branchName": "half", "options": {"agent": "sh"}})).await;
    let began = stand.path("gates/g-began");
    stand.wait_until("the agent works", async || began.exists().then_some(())).await;
    // the tree that its result would be built on
    let tree = stand.git_clone(&["rev-parse", "refs/remotes/origin/main^{tree}"]);
    let (dir, rest) = tree.split_at(2);
    std::fs::remove_file(stand.clone_path().join("objects").join(dir).join(rest)).unwrap();
    stand.open_gate("g");
    stand.failed(&id, "internal").await;
    let [worktree] = stand.worktrees().try_into().expect("it cannot be snapshotted, so it stays");
    let half = worktree.join("half.txt");
    assert_eq!(std::fs::read_to_string(&half).unwrap(), "half\n");

    let next = stand.submit_prompt("next", "Greet").await;
    stand.wait_for(&next, "held", |job| job["reason"]["code"] == "clone_damaged").await;
    // meanwhile there is no clone, and what was set aside is told all the same
    let report: Value = stand.post("/gc", &json!({})).await;
    assert_eq!(report["setAside"][0]["lost"], Value::Null, "{report:#}");
    assert!(half.exists());
    stand.completed(&next).await;
    stand.post("/gc", &json!({})).await;
    assert_eq!(stand.worktrees(), Vec::<std::path::PathBuf>::new());
    let kept = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{id}")]);
    assert_eq!(stand.git_clone(&["show", &format!("{kept}:half.txt")]), "half");
    std::fs::remove_dir_all(&aside(&stand)[0]).unwrap();
    stand.finish().await;
}

/// As a server leaves it that is killed in the middle of a change.
#[tokio::test]
async fn a_lock_of_a_killed_server_goes_at_the_next_start_unless_an_agent_may_hold_it() {
    let mut stand = Stand::new().await;
    let (began, gate) = (stand.path("began"), stand.gate("g"));
    let prompt = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.02; done; echo x > x.txt",
        began.display(),
        gate.display()
    );
    let id = stand.submit(json!({"prompt": prompt, "branchName": "slow", "options": {"agent": "sh"}})).await;
    stand.wait_until("the agent is at work", async || began.exists().then_some(())).await;
    let lock = stand.clone_path().join("packed-refs.lock");
    std::fs::write(&lock, "").unwrap();
    stand.kill9().await;
    stand.start_again().await;
    assert!(lock.exists(), "the agent may be deleting a branch of its own");
    stand.open_gate("g");
    stand.completed(&id).await;
    stand.kill9().await;
    stand.start_again().await;
    assert!(!lock.exists());
    stand.finish().await;
}
