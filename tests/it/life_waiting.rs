//! Jobs that wait for a time or for each other, on the real server.

use offshoot::clock::Clock;
use serde_json::{Value, json};

use crate::stand::Stand;

fn depending(branch: &str, prompt: &str, on: &[&str]) -> Value {
    json!({"prompt": prompt, "branchName": branch, "dependsOn": on})
}

#[tokio::test]
async fn jobs_on_one_branch_follow_each_other() {
    let stand = Stand::new().await;
    let first = format!("{}[[scenario:edit]]", stand.gate_mark("a"));
    let a = stand.submit_prompt("line", &first).await;
    let b = stand.submit(depending("line", "[[scenario:no-change]]", &[&a])).await;
    let c = stand.submit(depending("line", "Greet again", &[&b])).await;
    stand.wait_for_phase(&a, "agent").await;
    for waiting in [&b, &c] {
        let job = stand.job(waiting).await;
        assert_eq!(
            (&job["status"], &job["waiting"]["for"]),
            (&json!("queued"), &json!("dependency")),
            "{job:#}"
        );
    }
    stand.open_gate("a");
    let jobs = [stand.completed(&a).await, stand.completed(&b).await, stand.completed(&c).await];
    for pair in jobs.windows(2) {
        assert!(pair[0]["completedAt"].as_str() <= pair[1]["startedAt"].as_str(), "{pair:#?}");
    }
    assert_eq!(jobs[1]["outcome"], "no_changes");
    assert_eq!(jobs[2]["baseSha"], jobs[0]["headSha"], "the last one goes on from what the first one pushed");
    for id in [&a, &b, &c] {
        assert_eq!(stand.callback(id).await.body["status"], "completed");
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_failure_ends_all_that_waited_for_it_and_tells_their_callers() {
    let stand = Stand::new().await;
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; exit 7", stand.gate("a").display());
    let body = json!({"prompt": script, "branchName": "a", "options": {"agent": "sh", "maxAttempts": 1}});
    let a = stand.submit(body).await;
    let b = stand.submit(depending("b", "Greet", &[&a])).await;
    let c = stand.submit(depending("c", "Greet", &[&b])).await;
    stand.wait_for_phase(&a, "agent").await;
    stand.open_gate("a");
    stand.wait_for_status(&a, "failed").await;
    for (id, by) in [(&b, &a), (&c, &b)] {
        let job = stand.failed(id, "dependency_failed").await;
        assert!(job["error"].as_str().unwrap().contains(by.as_str()), "{job:#}");
        assert_eq!((&job["attempt"], &job["startedAt"]), (&json!(0), &Value::Null));
        let callback = stand.callback(id).await.body;
        assert_eq!(
            (&callback["type"], &callback["reason"]["code"]),
            (&json!("job.failed"), &json!("dependency_failed"))
        );
    }
    let late = stand.submit(depending("late", "Greet", &[&c])).await;
    stand.failed(&late, "dependency_failed").await;
    assert_eq!(stand.callback(&late).await.body["jobId"], late.as_str());
    assert_eq!(stand.runs(), 0);
    stand.finish().await;
}

#[tokio::test]
async fn a_job_starts_at_its_time() {
    let stand = Stand::new().await;
    let at = jiff::Timestamp::from_millisecond(Clock::system().now_ms() + 2_000).unwrap();
    let id = stand.submit(json!({"prompt": "Greet", "branchName": "later", "runAt": at.to_string()})).await;
    let job = stand.job(&id).await;
    assert_eq!((&job["status"], &job["waiting"]["for"]), (&json!("queued"), &json!("run_at")), "{job:#}");
    assert_eq!(job["waiting"]["until"], job["runAt"]);
    let job = stand.completed(&id).await;
    let started: jiff::Timestamp = job["startedAt"].as_str().unwrap().parse().unwrap();
    assert!(started.as_millisecond() >= at.as_millisecond(), "{job:#}");
    stand.finish().await;
}
