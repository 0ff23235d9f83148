//! The calls as programs make them: names that callers were written against, and many callers at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stand::{SECRET, Stand};

const JOB: &str = "id clientId clientName client status prompt branchName title osFeatureId osCallbackUrl worktreePath \
    pid startedAt completedAt exitCode error prUrl prNumber filesChanged createdAt updatedAt number rootJobId \
    originalJobId parentJobId phase outcome reason waiting position baseBranch baseSha headSha body metadata labels \
    priority runAt dependsOn options agent sessionId attempt attempts insertions deletions usage verify warnings \
    callback artifacts submittedBy cancelRequestedAt profile";
const NOT_IN_LISTS: &[&str] = &["prompt", "body", "options", "attempts"];
const CLIENT: &str = "id osClientId name githubOrg githubRepo defaultBranch repoExists createdAt updatedAt cloneUrl \
    paused options deletedAt";
const CALLBACK: &str = "jobId osFeatureId status prUrl prNumber filesChanged error completedAt type eventId timestamp \
    number branchName headSha outcome reason metadata labels usage verify";

fn lacking(value: &Value, names: &str) -> Vec<String> {
    let members: BTreeSet<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.split_whitespace().filter(|name| !members.contains(name)).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_documented_member_is_there() {
    let stand = Stand::new().await;
    let client = json!({"name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets"});
    let made = stand.post("/clients", &client).await;
    assert_eq!(lacking(&made, &format!("{CLIENT} repoCloned bareRepoPath")), Vec::<String>::new());
    let path = format!("/clients/{}", made["id"].as_str().unwrap());
    let detail = stand.get(&path).await;
    let more = "activeJobs totalJobs diskBytes lastFetchedAt";
    assert_eq!(lacking(&detail, &format!("{CLIENT} {more}")), Vec::<String>::new());
    assert_eq!(lacking(&stand.get("/clients").await["clients"][0], CLIENT), Vec::<String>::new());

    let body = json!({"clientId": made["id"], "prompt": "Greet", "branchName": "greet"});
    let (status, job) = stand.try_submit(body).await;
    assert_eq!((status, &job["status"], &job["position"]), (201, &"queued".into(), &1.into()), "{job}");
    assert_eq!(lacking(&job, JOB), Vec::<String>::new());
    let id = job["id"].as_str().unwrap();
    assert_eq!(lacking(&stand.completed(id).await, JOB), Vec::<String>::new());
    let listed = stand.get("/jobs").await["jobs"][0].clone();
    assert_eq!(lacking(&listed, JOB), NOT_IN_LISTS);
    assert_eq!(lacking(&stand.callback(id).await.body, CALLBACK), Vec::<String>::new());
    let health = stand.get("/health").await;
    let names =
        "status version uptimeSeconds queue paused claude agents holds disk callbacks isolation database";
    assert_eq!(lacking(&health, names), Vec::<String>::new());
    let log = stand.get_text(&format!("/jobs/{id}/log")).await;
    assert!(log.lines().count() > 3 && log.ends_with('\n'), "one line for each message: {log:?}");
    stand.finish().await;
}

#[tokio::test]
async fn one_key_from_fifty_callers_makes_one_job() {
    let stand = Stand::new().await;
    stand.post("/queue/pause", &json!({})).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/jobs", stand.base_url());
    let body = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "[[scenario:no-change]]",
        "branchName": "once"});
    let ask = || http.post(&url).bearer_auth(SECRET).header("Idempotency-Key", "k").json(&body).send();
    let answers = futures_util::future::join_all((0..50).map(|_| ask())).await;
    let mut ids = BTreeSet::new();
    for answer in answers {
        let answer = answer.unwrap();
        let (status, again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let answer: Value = answer.json().await.unwrap();
        match status {
            201 => drop(ids.insert(answer["id"].to_string())),
            409 => assert!(again && answer["code"] == "idempotency_in_flight", "{answer}"),
            other => panic!("{other}: {answer}"),
        }
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(stand.get("/jobs").await["total"], 1);
    let repeat = ask().await.unwrap();
    assert_eq!(repeat.headers()["idempotency-replayed"], "true");
    stand.post("/queue/resume", &json!({})).await;
    stand.finish().await;
}
