//! Jobs and queue as they are read: every name, every filter, page by page.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Bench;
use crate::domain::attempt::AttemptEnd;
use crate::domain::job::Outcome;

/// What callers rely on; a name that is missing here may still change.
const JOB: &str = "id clientId clientName client status prompt branchName title osFeatureId osCallbackUrl worktreePath \
    pid startedAt completedAt exitCode error prUrl prNumber filesChanged createdAt updatedAt number rootJobId \
    originalJobId parentJobId phase outcome reason waiting position baseBranch baseSha headSha body metadata labels \
    priority runAt dependsOn options agent sessionId authentication attempt attempts insertions deletions usage verify warnings \
    callback artifacts attachments profile submittedBy cancelRequestedAt promptLine retriedAs";
const ONLY_WHOLE: &str = "prompt body options attempts";

fn names(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn job(repo: &str, branch: &str) -> Value {
    json!({"githubOrg": "acme", "githubRepo": repo, "prompt": "Greet", "branchName": branch})
}

async fn submit(bench: &Bench, body: &Value) -> Value {
    let answer = bench.post("/jobs", body).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()
}

async fn numbers(bench: &Bench, query: &str) -> (Vec<i64>, Value, Value) {
    let page = bench.get(&format!("/jobs?{query}")).await.json();
    let jobs = page["jobs"].as_array().unwrap_or_else(|| panic!("{query}: {page}"));
    let numbers = jobs.iter().map(|job| job["number"].as_i64().unwrap()).collect();
    (numbers, page["total"].clone(), page["nextCursor"].clone())
}

#[tokio::test]
async fn every_documented_member_is_there_whatever_is_empty() {
    let bench = Bench::new().await;
    let made = submit(&bench, &job("widgets", "a")).await;
    assert_eq!(members(&made), names(JOB));
    assert_eq!(members(&made["client"]), names("name githubOrg githubRepo"));
    assert_eq!(members(&made["waiting"]), names("for until window"));
    assert_eq!(made["callback"], json!({"state": "none", "tries": 0, "lastStatus": null}));
    for empty in ["title", "startedAt", "error", "prUrl", "baseBranch", "runAt", "metadata", "reason"] {
        assert_eq!(made[empty], Value::Null, "{empty}");
    }
    let page = bench.get("/jobs").await.json();
    assert_eq!(members(&page), names("jobs total limit offset nextCursor"));
    let short: BTreeSet<_> = names(JOB).difference(&names(ONLY_WHOLE)).cloned().collect();
    assert_eq!(members(&page["jobs"][0]), short);
    let with_messages = bench.get("/jobs/1?includeMessages=true").await.json();
    assert_eq!(
        members(&with_messages),
        names(JOB).union(&names("messages messagesTruncated")).cloned().collect()
    );

    let queue = bench.get("/queue").await.json();
    let known = "running queued maxConcurrent paused pausedReason nextCursor warnings";
    assert_eq!(members(&queue), names(known));
    let queued = "id number clientName branchName title promptLine position createdAt waiting";
    assert_eq!(members(&queue["queued"][0]), names(queued));
    bench.store.claim().await.unwrap().unwrap();
    bench.clock.advance_ms(323_999);
    // the wall clock is set, the job has been running as long as it has
    bench.clock.set_by_ms(-86_400_000);
    let queue = bench.get("/queue").await.json();
    let running = &queue["running"][0];
    let known = "id number clientName branchName title promptLine startedAt runningFor runningForSeconds phase lastOutputAt";
    assert_eq!(members(running), names(known));
    assert_eq!((&running["runningFor"], &running["runningForSeconds"]), (&"5m 23s".into(), &323.into()));
    assert_eq!(queue["queued"], json!([]));
}

#[tokio::test]
async fn every_filter_of_a_list_does_what_it_says() {
    let bench = Bench::new().await;
    let mut labelled = job("widgets", "a");
    labelled["labels"] = json!(["night", "slow"]);
    labelled["title"] = json!("Repaint the shed");
    let first = submit(&bench, &labelled).await;
    bench.clock.advance_ms(60_000);
    let second = submit(&bench, &job("gadgets", "b")).await;
    bench.clock.advance_ms(60_000);
    submit(&bench, &job("widgets", "c/d")).await;
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    bench.store.finish(lease, AttemptEnd::Completed { outcome: Outcome::NoChanges }, |_| None).await.unwrap();
    bench.store.claim().await.unwrap().unwrap();
    let client = first["clientId"].as_str().unwrap();
    let time = second["createdAt"].as_str().unwrap();
    let table = [
        (String::new(), vec![3, 2, 1]),
        ("status=queued".to_owned(), vec![3]),
        ("status=completed,running".to_owned(), vec![2, 1]),
        (format!("clientId={client}"), vec![3, 1]),
        (format!("clientId={client}&status=queued"), vec![3]),
        ("clientId=cli-nobody".to_owned(), vec![]),
        ("q=SHED".to_owned(), vec![1]),
        ("q=%25".to_owned(), vec![]),
        ("label=night".to_owned(), vec![1]),
        ("label=nigh".to_owned(), vec![]),
        ("branch=c/d".to_owned(), vec![3]),
        ("submittedBy=admin".to_owned(), vec![3, 2, 1]),
        ("submittedBy=adm".to_owned(), vec![]),
        (format!("since={time}"), vec![3, 2]),
        (format!("until={time}"), vec![1]),
        ("after=3".to_owned(), vec![2, 1]),
        ("offset=1".to_owned(), vec![2, 1]),
        ("colour=red".to_owned(), vec![3, 2, 1]),
    ];
    for (query, expected) in table {
        assert_eq!(numbers(&bench, &query).await.0, expected, "{query}");
    }
    assert_eq!(bench.get("/jobs?since=2026-11-21T10:00:00+01:00").await.pointers(422, "invalid"), ["?since"]);
}

#[tokio::test]
async fn lists_are_read_page_by_page_while_jobs_come() {
    let bench = Bench::new().await;
    for branch in ["1", "2", "3"] {
        submit(&bench, &job("widgets", branch)).await;
    }
    assert_eq!(numbers(&bench, "limit=2").await, (vec![3, 2], 3.into(), "2".into()));
    submit(&bench, &job("widgets", "4")).await;
    assert_eq!(numbers(&bench, "limit=2&after=2").await, (vec![1], 4.into(), Value::Null));
    // as many as fit: there is no page behind them
    assert_eq!(numbers(&bench, "limit=4").await.2, Value::Null);
    for wrong in ["x", "-1", "0", "1.2", "1.2.3.4", "1.2.x", ""] {
        let answer = bench.get(&format!("/queue?after={wrong}")).await;
        if wrong.is_empty() {
            assert_eq!(answer.status, 200);
        } else {
            assert_eq!(answer.pointers(422, "invalid"), ["?after"], "{wrong}");
        }
    }
    let behind = bench.get("/queue?after=0.1.2").await.json();
    let queued: Vec<_> = behind["queued"].as_array().unwrap().iter().map(|job| &job["position"]).collect();
    assert_eq!((queued, &behind["nextCursor"]), (vec![&json!(3), &json!(4)], &Value::Null));
}
