//! Jobs that take the server down with them.

use std::time::Duration;

use serde_json::json;

use crate::stand::{Plan, Stand};

/// Starts the server again and lets agents know who it is.
async fn start(stand: &mut Stand) {
    stand.start_again().await;
    let pid = stand.server.as_ref().unwrap().pid();
    std::fs::write(stand.path("server-pid.new"), pid.to_string()).unwrap();
    std::fs::rename(stand.path("server-pid.new"), stand.path("server-pid")).unwrap();
}

#[tokio::test]
async fn a_job_whose_every_attempt_takes_the_server_down_is_poisoned_and_the_next_job_runs() {
    let mut stand = Stand::built(Plan::default()).await;
    start(&mut stand).await;
    // it kills the server and its own supervisor
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
         echo \"$$ $PWD\" >> {runs}\n\
         for word; do case \"$word\" in --session-id=*|--resume=*) echo \"$word\" >> {args};; esac; done\n\
         [ -e {well} ] && exec {own} scripted-agent \"$@\"\n\
         while ! pid=$(cat {pid}); do sleep 0.02; done; rm {pid}; kill -9 $pid $PPID; sleep 1000\n",
        own = env!("CARGO_BIN_EXE_offshoot"),
        runs = stand.path("runs").display(),
        args = stand.path("args").display(),
        well = stand.gate("well").display(),
        pid = stand.path("server-pid").display(),
    );
    stand.install("claude", &script);
    let options = json!({"maxAttempts": 2});
    let id = stand.submit(json!({"prompt": "Greet", "branchName": "p", "options": options})).await;
    for _ in 0..2 {
        stand.server.take().unwrap().wait_for_exit(Duration::from_secs(30)).await;
        start(&mut stand).await;
    }
    let job = stand.failed(&id, "poisoned").await;
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["reason"]["code"]), (2, &json!("interrupted")), "{job:#}");
    assert_eq!(stand.callback(&id).await.body["reason"]["code"], "poisoned");
    stand.open_gate("well");
    let next = stand.submit_prompt("next", "Greet").await;
    assert_eq!(stand.completed(&next).await["outcome"], "pull_request");
    // what was said in it may be what does it
    let again = stand.retry(&id, json!({"mode": "resume"})).await;
    assert_eq!(stand.completed(&again).await["outcome"], "pull_request");
    let (session, last) = (job["sessionId"].as_str().unwrap(), stand.conversations().pop().unwrap());
    assert!(last.starts_with("--session-id=") && !last.ends_with(session), "{last} {session}");
    stand.finish().await;
}

#[tokio::test]
async fn an_attempt_over_which_three_servers_died_in_a_row_is_ended_and_its_commit_published_by_the_next() {
    let mut stand = Stand::new().await;
    let (began, gate) = (stand.path("push-began"), stand.gate("push"));
    let script = format!(
        "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
        began.display(),
        gate.display()
    );
    stand.remote_hook("pre-receive", &script);
    let id = stand.submit_prompt("d", "Greet").await;
    for _ in 0..3 {
        stand.wait_until("the push is under way", async || began.exists().then_some(())).await;
        stand.kill9().await;
        std::fs::remove_file(&began).unwrap();
        stand.start_again().await;
    }
    stand.open_gate("push");
    let job = stand.completed(&id).await;
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), stand.runs(), &job["outcome"]), (2, 1, &json!("pull_request")), "{job:#}");
    let message = attempts[0]["reason"]["message"].as_str().unwrap();
    assert!(message.contains("3 servers in a row"), "{message}");
    stand.finish().await;
}

/// Whoever killed the servers: nobody of them had seen its end.
#[tokio::test]
async fn an_agent_that_ended_while_no_server_ran_is_paid_once_however_many_servers_died_before() {
    let mut stand = Stand::new().await;
    let prompt = format!("{}[[scenario:edit]]", stand.gate_mark("long-call"));
    let options = json!({"maxAttempts": 1});
    let id = stand.submit(json!({"prompt": prompt, "branchName": "silent", "options": options})).await;
    stand.wait_for_tool(&id).await;
    for _ in 0..3 {
        stand.kill9().await;
        stand.start_again().await;
    }
    stand.kill9().await;
    stand.open_gate("long-call");
    stand.wait_until("the agent ends", async || stand.step_processes().is_empty().then_some(())).await;
    stand.start_again().await;
    let job = stand.completed(&id).await;
    let attempts = job["attempts"].as_array().unwrap().len();
    assert_eq!((attempts, stand.runs(), &job["outcome"]), (1, 1, &json!("pull_request")), "{job:#}");
    stand.finish().await;
}
