//! The server is told to stop: it leaves in order, agents go on or come along, and the next one goes on.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::left_out::{Need, leave_out};
use crate::stand::{PATIENCE, Plan, SETPRIV, Stand, poll};

/// Far more than it needs, and far less than the agent's gate waits.
const SOON: Duration = Duration::from_secs(8);

#[tokio::test]
async fn an_idle_server_leaves_within_a_second() {
    let mut stand = Stand::new().await;
    let id = stand.submit_prompt("i", "Greet").await;
    stand.completed(&id).await;
    stand.callback(&id).await;
    let began = Instant::now();
    assert_eq!(stand.terminate(SOON).await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    stand.start_again().await;
    stand.finish().await;
}

#[tokio::test]
async fn it_leaves_while_an_agent_works_and_the_next_server_finishes() {
    let mut stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    let prompt = format!("{}[[scenario:edit]]", stand.gate_mark("g"));
    let id = stand.submit_prompt("s", &prompt).await;
    let queued = stand.submit_prompt("q", "Greet").await;
    stand.wait_for_tool(&id).await;
    let pid = stand.job(&id).await["pid"].as_i64().unwrap();
    assert_eq!(stand.terminate(SOON).await, Some(0));
    assert!(stand.processes().iter().any(|seen| i64::from(seen.pid) == pid), "the agent was taken along");
    stand.open_gate("g");
    stand.start_again().await;
    let job = stand.completed(&id).await;
    stand.completed(&queued).await;
    assert_eq!((job["attempts"].as_array().unwrap().len(), stand.runs()), (1, 2));
    stand.finish().await;
}

#[tokio::test]
async fn a_push_under_way_is_finished_and_new_jobs_are_refused_meanwhile() {
    let mut stand = Stand::new().await;
    let (began, gate) = (stand.path("push-began"), stand.gate("push"));
    let script = format!(
        "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
        began.display(),
        gate.display()
    );
    stand.remote_hook("pre-receive", &script);
    let id = stand.submit_prompt("d", "Greet").await;
    stand.wait_until("the push is under way", async || began.exists().then_some(())).await;
    stand.server.as_ref().unwrap().signal(Signal::SIGTERM);
    stand
        .wait_until("draining", async || (stand.get("/health").await["status"] == "draining").then_some(()))
        .await;
    let (status, body) = stand.try_submit(json!({"prompt": "x", "branchName": "late"})).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(stand.call("GET", "/readyz", None).await.0, 503);
    stand.open_gate("push");
    let code = stand.server.take().unwrap().wait_for_exit(SOON).await;
    assert_eq!(code, Some(0));
    assert!(stand.tip("d").is_some(), "the push was finished");
    stand.start_again().await;
    let job = stand.completed(&id).await;
    assert_eq!((&job["outcome"], stand.runs(), stand.github.pulls().len()), (&json!("pull_request"), 1, 1));
    stand.finish().await;
}

#[tokio::test]
async fn the_drain_has_a_limit_and_a_second_signal_does_not_wait_for_it() {
    for second in [false, true] {
        let drain = if second { 60 } else { 1 };
        let plan = Plan { server: format!("drain_seconds = {drain}"), ..Plan::default() };
        let mut stand = Stand::with(plan).await;
        let (began, gate) = (stand.path("push-began"), stand.gate("push"));
        let script = format!(
            "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
            began.display(),
            gate.display()
        );
        stand.remote_hook("pre-receive", &script);
        let id = stand.submit_prompt("d", "Greet").await;
        stand.wait_until("the push is under way", async || began.exists().then_some(())).await;
        let mut server = stand.server.take().unwrap();
        server.signal(Signal::SIGTERM);
        if second {
            stand.wait_until("stopping", async || server.log().contains("\"stopping\"").then_some(())).await;
            server.signal(Signal::SIGTERM);
        }
        assert_eq!(server.wait_for_exit(SOON).await, Some(0), "{}", server.log());
        stand.open_gate("push");
        stand.start_again().await;
        let job = stand.completed(&id).await;
        assert_eq!((&job["outcome"], stand.runs()), (&json!("pull_request"), 1));
        stand.finish().await;
    }
}

#[tokio::test]
async fn with_stop_agents_they_end_too_and_their_jobs_are_done_later() {
    let mut stand = Stand::built(Plan::default()).await;
    stand.start_with(&["--stop-agents"]).await;
    let prompt = format!("{}[[scenario:edit]]", stand.gate_mark("g"));
    let id = stand.submit_prompt("s", &prompt).await;
    stand.wait_for_tool(&id).await;
    assert_eq!(stand.terminate(Duration::from_secs(25)).await, Some(0));
    assert!(stand.processes().is_empty(), "{:?}", stand.processes());
    stand.open_gate("g");
    stand.start_again().await;
    let job = stand.completed(&id).await;
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), stand.runs()), (2, 2), "{job:#}");
    assert_eq!((&attempts[0]["reason"]["code"], &attempts[0]["counted"]), (&json!("stopped"), &json!(false)));
    stand.finish().await;
}

#[tokio::test]
async fn a_second_server_is_turned_away_and_the_first_goes_on() {
    let stand = Stand::new().await;
    let prompt = format!("{}[[scenario:edit]]", stand.gate_mark("g"));
    let id = stand.submit_prompt("s", &prompt).await;
    stand.wait_for_tool(&id).await;
    let mut second = stand.spawn_another(&[]);
    assert_eq!(second.wait_for_exit(SOON).await, Some(75), "{}", second.log());
    let first = stand.server.as_ref().unwrap().pid();
    assert!(second.log().contains(&format!("pid {first}")), "{}", second.log());
    stand.open_gate("g");
    let job = stand.completed(&id).await;
    assert_eq!((&job["outcome"], stand.runs()), (&json!("pull_request"), 1));
    stand.finish().await;
}

/// What holds for every test here, which may be killed at any moment: its servers go with it.
#[tokio::test]
async fn a_server_goes_with_the_thread_that_started_it() {
    if !std::path::Path::new(SETPRIV).exists() {
        return leave_out(Need::Setpriv, "that servers end with the test that started them");
    }
    let stand = Stand::built(Plan::default()).await;
    // not before it is ready: by then the program that starts it has asked for the signal
    let start = || {
        let mut server = stand.spawn_another(&[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(poll(PATIENCE, async || server.is_ready().then_some(()))).expect("it becomes ready");
        server
    };
    let mut server = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
    assert_eq!(server.wait_for_exit(SOON).await, None, "a signal ends it");
}

/// An orderly stop is no fault of what it cuts off: the work is verified in the end, and the agent is not paid again.
#[tokio::test]
async fn a_verification_that_is_stopped_again_and_again_costs_no_second_run() {
    let mut stand = Stand::built(Plan::default()).await;
    let (runs, gate) = (stand.path("verifies"), stand.gate("v"));
    let verify =
        format!("echo run >> {}; while [ ! -e {} ]; do sleep 0.02; done", runs.display(), gate.display());
    let begun = || std::fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
    stand.start_with(&["--stop-agents"]).await;
    let options = json!({"verify": [verify], "maxAttempts": 1});
    let id = stand.submit(json!({"prompt": "Greet", "branchName": "s", "options": options})).await;
    for times in 1..=4 {
        stand.wait_until("it is verified", async || (begun() == times).then_some(())).await;
        assert_eq!(stand.terminate(Duration::from_secs(25)).await, Some(0));
        stand.start_with(&["--stop-agents"]).await;
    }
    stand.open_gate("v");
    let job = stand.completed(&id).await;
    assert_eq!((stand.runs(), begun(), job["attempts"].as_array().unwrap().len()), (1, 5, 1), "{job:#}");
    stand.finish().await;
}
