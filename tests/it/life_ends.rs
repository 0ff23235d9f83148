//! Jobs that are ended: cancelled, too slow, too silent; and what is left of their processes and work.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::stand::{Plan, Stand};

async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
}

/// The contents of a file in a snapshot of the job.
pub(crate) fn snapshot(stand: &Stand, job: &str, file: &str) -> String {
    let kept = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{job}")]);
    let name = kept.lines().find(|name| !name.ends_with("/head")).expect("a snapshot");
    stand.git_clone(&["show", &format!("{name}:{file}")])
}

#[tokio::test]
async fn a_queued_a_running_and_a_finished_job_are_cancelled_or_not() {
    let stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    let prompt = format!("[[scenario:write path=half.txt content=half]]{}", stand.gate_mark("never"));
    let running = submit(&stand, "r", &prompt, json!({})).await;
    let queued = submit(&stand, "q", "Greet", json!({})).await;
    stand.wait_for_tool(&running).await;

    let (status, body) = stand.cancel(&queued).await;
    assert_eq!((status, body), (200, json!({"id": queued, "status": "cancelled", "wasRunning": false})));
    let (status, body) = stand.cancel(&running).await;
    assert_eq!((status, &body), (200, &json!({"id": running, "status": "cancelled", "wasRunning": true})));
    // at the moment of the answer nothing of it runs any more
    assert!(stand.processes().is_empty(), "{:?}", stand.processes());
    assert_eq!(stand.cancel(&running).await, (200, body));
    assert_eq!(stand.cancel(&queued).await.0, 200);

    for (id, exited) in [(&queued, false), (&running, true)] {
        let job = stand.job(id).await;
        assert_eq!((&job["status"], &job["outcome"]), (&json!("cancelled"), &json!("cancelled")));
        assert!(job["cancelRequestedAt"].is_string() && job["completedAt"].is_string(), "{job:#}");
        assert_eq!(job["startedAt"].is_string(), exited);
        assert_eq!(stand.callback(id).await.body["type"], "job.cancelled");
    }
    assert_eq!(snapshot(&stand, &running, "half.txt"), "half");
    assert_eq!((stand.tip("r"), stand.tip("q")), (None, None));

    let done = submit(&stand, "d", "Greet", json!({})).await;
    stand.completed(&done).await;
    let (status, body) = stand.cancel(&done).await;
    assert_eq!((status, &body["error"]), (400, &json!("Job already completed")));
    let failed = submit(&stand, "f", "[[scenario:denied]]", json!({})).await;
    stand.failed(&failed, "permission_denied").await;
    let (status, body) = stand.cancel(&failed).await;
    assert_eq!((status, &body["error"]), (400, &json!("Job already failed")));
    assert_eq!(stand.cancel("job-nowhere").await.0, 404);

    // and a cancelled job can be tried again, in the same chain
    stand.open_gate("never");
    let again = stand.retry(&running, json!({})).await;
    let again = stand.completed(&again).await;
    assert_eq!((&again["rootJobId"], &again["outcome"]), (&json!(running), &json!("pull_request")));
    for id in [&queued, &running, &done, &failed] {
        assert_eq!(stand.callbacks(id).len(), 1);
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_tree_of_runaways_is_gone_when_cancel_answers() {
    let stand = Stand::new().await;
    let pids = stand.path("pids");
    // a session of its own, a double fork, one that ignores signals, one without the mark and away from the worktree
    let script = format!(
        "note() {{ echo $1 >> {pids}; }}\nsetsid sh -c 'echo $$ >> {pids}; exec sleep 1000' &\n\
         (sh -c 'echo $$ >> {pids}; trap \"\" TERM INT HUP; while :; do sleep 0.1; done' &)\n\
         nohup sleep 1000 >/dev/null 2>&1 & note $!\n\
         env -i setsid sh -c 'cd /; echo $$ >> {pids}; exec sleep 1000' &\n\
         trap '' TERM INT\nwhile :; do sleep 0.1; done\n",
        pids = pids.display()
    );
    let id = submit(&stand, "tree", &script, json!({"agent": "sh"})).await;
    let noted = || std::fs::read_to_string(&pids).unwrap_or_default();
    stand.wait_until("the tree stands", async || (noted().lines().count() == 4).then_some(())).await;
    let began = Instant::now();
    let (status, body) = stand.cancel(&id).await;
    assert_eq!(status, 200, "{body}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    for pid in noted().lines() {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{pid} lives: {state}");
    }
    stand.finish().await;
}

#[tokio::test]
async fn what_an_agent_leaves_behind_after_its_own_end_goes_too() {
    let stand = Stand::new().await;
    let pids = stand.path("pids");
    let script = format!(
        "setsid sh -c 'echo $$ >> {0}; exec sleep 1000' >/dev/null 2>&1 &\n\
         while [ ! -s {0} ]; do sleep 0.02; done; echo done > done.txt\n",
        pids.display()
    );
    let id = submit(&stand, "left", &script, json!({"agent": "sh"})).await;
    assert_eq!(stand.completed(&id).await["outcome"], "pull_request");
    let pid = std::fs::read_to_string(&pids).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the daemon lives: {state}");
    stand.finish().await;
}

#[tokio::test]
async fn limits_of_time_end_the_agent_and_keep_its_work() {
    let stand = Stand::with(Plan { workers: 4, ..Plan::default() }).await;
    let half = "[[scenario:write path=half.txt content=half]]";
    let wall =
        submit(&stand, "wall", &format!("{half}{}", stand.gate_mark("never")), json!({"timeoutSeconds": 1}))
            .await;
    let stubborn =
        submit(&stand, "stubborn", &format!("{half}[[scenario:ignores-term]]"), json!({"timeoutSeconds": 1}))
            .await;
    let idle = submit(
        &stand,
        "idle",
        "echo half > half.txt; sleep 1000",
        json!({"agent": "sh", "idleTimeoutSeconds": 1}),
    )
    .await;
    let stopped = submit(
        &stand,
        "stopped",
        "echo half > half.txt; kill -STOP $$",
        json!({"agent": "sh", "timeoutSeconds": 1}),
    )
    .await;
    for (id, code) in
        [(&wall, "timeout"), (&stubborn, "timeout"), (&idle, "idle_timeout"), (&stopped, "timeout")]
    {
        let job = stand.failed(id, code).await;
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
        assert_eq!(snapshot(&stand, id, "half.txt"), "half", "{code}");
        assert_eq!(stand.callback(id).await.body["reason"]["code"], code);
    }
    stand.finish().await;
}

#[tokio::test]
async fn cancel_while_the_push_is_under_way_leaves_a_true_record() {
    let stand = Stand::new().await;
    let gate = stand.gate("push");
    let began = stand.path("push-began");
    stand.remote_hook(
        "pre-receive",
        &format!(
            "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
            began.display(),
            gate.display()
        ),
    );
    let id = submit(&stand, "late", "Greet", json!({})).await;
    stand.wait_until("the push is under way", async || began.exists().then_some(())).await;
    let asked = stand.cancel(&id);
    let open = async {
        stand.wait_for(&id, "asked to end", |job| job["cancelRequestedAt"].is_string()).await;
        stand.open_gate("push");
    };
    let ((status, _), ()) = tokio::join!(asked, open);
    let job = stand.job(&id).await;
    match status {
        200 => assert_eq!(job["status"], "cancelled", "{job:#}"),
        other => assert_eq!((other, &job["status"]), (400, &json!("completed"))),
    }
    if let Some(tip) = stand.tip("late") {
        assert_eq!(job["headSha"], tip);
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_cancel_that_takes_longer_than_twenty_seconds_is_answered_503_and_stands() {
    let stand = Stand::new().await;
    let (began, gate) = (stand.path("push-began"), stand.gate("push"));
    let script = format!(
        "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
        began.display(),
        gate.display()
    );
    stand.remote_hook("pre-receive", &script);
    let id = submit(&stand, "held", "Greet", json!({})).await;
    stand.wait_until("the push is under way", async || began.exists().then_some(())).await;
    let asked = Instant::now();
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/jobs/{id}/cancel", stand.base_url()))
        .bearer_auth(crate::stand::SECRET)
        .send()
        .await
        .unwrap();
    assert!(asked.elapsed() >= Duration::from_secs(19), "{:?}", asked.elapsed());
    assert_eq!(answer.status(), 503);
    let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    let job = stand.job(&id).await;
    assert_eq!((&job["status"], job["cancelRequestedAt"].is_string()), (&json!("running"), true), "{job:#}");
    stand.open_gate("push");
    // nobody asks again: the request stood
    let job = stand.wait_for(&id, "over", |job| job["completedAt"].is_string()).await;
    assert!(["cancelled", "completed"].contains(&job["status"].as_str().unwrap()), "{job:#}");
    stand.finish().await;
}
