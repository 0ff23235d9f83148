//! Agents that take the ground from under their own attempt, and what fails behind a result that is published: the job ends
//! by its own rules, and nobody else waits for it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::stand::{Plan, Stand};

async fn shell(stand: &Stand, branch: &str, script: &str, options: Value) -> String {
    let mut all = json!({"agent": "sh"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    stand.submit(json!({"prompt": script, "branchName": branch, "options": all})).await
}

fn lines(stand: &Stand, file: &str) -> usize {
    std::fs::read_to_string(stand.path(file)).map_or(0, |text| text.lines().count())
}

/// Each attempt is paid for, so there are no more of them than were asked for, and the login serves the next job.
#[tokio::test]
async fn an_agent_that_takes_its_worktree_away_is_paid_as_often_as_the_job_allows() {
    let stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    let ways = [
        ("gone", "cd /; rm -rf \"$W\"", "Its worktree is gone."),
        ("file", "cd /; rm -rf \"$W\"; : > \"$W\"", "Its worktree is gone."),
        (
            "linked",
            "cd /; mv \"$W\" \"$W.away\"; ln -s \"$W.away\" \"$W\"; rm -rf \"$W.away\"",
            "Its worktree is gone.",
        ),
    ];
    for (branch, how, why) in ways {
        let runs = stand.path(branch);
        let script = format!("W=$PWD; echo run >> {}; {how}", runs.display());
        let options = json!({"maxAttempts": 2, "verify": ["true"]});
        let id = shell(&stand, branch, &script, options).await;
        let next = shell(&stand, &format!("after-{branch}"), "echo x > x.txt", json!({})).await;
        let job = stand.failed(&id, "interrupted").await;
        assert!(job["reason"]["message"].as_str().unwrap().contains(why), "{branch}: {job:#}");
        let counted: Vec<_> =
            job["attempts"].as_array().unwrap().iter().map(|attempt| attempt["counted"] == true).collect();
        assert_eq!((counted, lines(&stand, branch)), (vec![true, true], 2), "{branch}");
        assert_eq!(stand.get("/health").await["holds"], json!([]), "{branch}");
        assert_eq!(stand.completed(&next).await["outcome"], "pull_request");
    }
    // what was put in its place goes like any other worktree that is none
    stand.post("/gc", &json!({})).await;
    stand.finish().await;
}

/// The same before the agent's first turn: what is not there is the worktree, not the agent.
#[tokio::test]
async fn a_setup_that_takes_the_worktree_away_holds_no_login() {
    let stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    let script = format!("echo run >> {}", stand.path("runs").display());
    let setup = json!({"maxAttempts": 1, "setup": ["W=$PWD; cd /; rm -rf \"$W\""]});
    let id = shell(&stand, "setup", &script, setup).await;
    let job = stand.failed(&id, "interrupted").await;
    assert_eq!((&job["attempts"][0]["counted"], lines(&stand, "runs")), (&json!(true), 0), "{job:#}");
    // a program of the repository that is missing there is still a refusal, and no login waits for it
    let id = shell(&stand, "v", "echo x > x", json!({"verify": [["./no-such"]], "verifyRounds": 0})).await;
    stand.failed(&id, "verify_failed").await;
    assert_eq!(stand.get("/health").await["holds"], json!([]));
    stand.finish().await;
}

/// Being ended for a limit is the moment at which a runaway has every reason to stop its supervisor.
#[tokio::test]
async fn a_supervisor_that_is_stopped_while_it_ends_its_tree_is_woken() {
    let limits = "worktree_bytes_max = 5242880".to_owned();
    let stand = Stand::with(Plan { limits, workers: 2, ..Plan::default() }).await;
    let script = "trap 'kill -STOP $PPID' INT; trap '' TERM; head -c 20000000 /dev/urandom > large; \
                  while :; do sleep 0.2; done";
    let id = shell(&stand, "stopper", script, json!({"maxAttempts": 1})).await;
    let ends = async || stand.log_text().contains("ending the step").then_some(());
    stand.wait_until("the limit is hit", ends).await;
    let began = Instant::now();
    stand.failed(&id, "resource_limit").await;
    // two graces of five seconds, and half a second to each look
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    stand.finish().await;
}

/// Somebody changes the clone when the work is out: the job has its result, and its client waits for a person.
#[tokio::test]
async fn what_is_published_stands_when_the_last_clean_up_fails() {
    for tampered in [false, true] {
        let mut stand = Stand::new().await;
        let clone = stand.clone_path();
        // between the push and the end nothing of the clone is needed but to keep the commit
        let hook = if tampered {
            format!("#!/bin/sh\necho '[evil]' >> {}/config\n", clone.display())
        } else {
            stand.expect_error("a git step failed");
            format!("#!/bin/sh\nrm -rf {0}/refs/offshoot; : > {0}/refs/offshoot\n", clone.display())
        };
        stand.remote_hook("post-receive", &hook);
        let id = shell(&stand, "p", "echo x > x.txt", json!({"maxAttempts": 1})).await;
        let job = stand.completed(&id).await;
        assert_eq!((&job["outcome"], &job["reason"]), (&json!("pull_request"), &Value::Null), "{job:#}");
        assert_eq!(stand.callback(&id).await.body["status"], "completed");
        let warnings = job["warnings"].to_string();
        assert!(warnings.contains("is left to offshoot gc"), "{warnings}");
        let client = format!("/clients/{}", job["clientId"].as_str().unwrap());
        assert_eq!(stand.get(&client).await["paused"], tampered, "the message says so");
        assert_eq!(stand.worktrees().len(), 1);
        // a person has looked
        stand.remove_remote_hook("post-receive");
        if tampered {
            let text = std::fs::read_to_string(clone.join("config")).unwrap();
            std::fs::write(clone.join("config"), text.replace("[evil]\n", "")).unwrap();
        } else {
            std::fs::remove_file(clone.join("refs/offshoot")).unwrap();
        }
        stand.post("/gc", &json!({})).await;
        assert_eq!(stand.worktrees(), Vec::<std::path::PathBuf>::new());
        stand.finish().await;
    }
}
