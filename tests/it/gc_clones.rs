//! Clones on a whole server while nobody uses them: they are packed, and nobody is kept waiting or loses anything by it.

use serde_json::{Value, json};

use crate::git_fixture::litter;
use crate::git_maintenance::{hanging_git, hangs};
use crate::stand::{Plan, SECRET, Stand};

fn loose(stand: &Stand) -> u32 {
    let counted = stand.git_clone(&["count-objects"]);
    counted.split(' ').next().unwrap().parse().unwrap()
}

fn of_kind<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    report["removed"].as_array().unwrap().iter().filter(|one| one["kind"] == kind).collect()
}

/// A server whose git hangs in packing the clone, once.
async fn hanging() -> Stand {
    let mut stand = Stand::built(Plan::default()).await;
    hanging_git(&stand.path("agents/git"), &stand.path("began"));
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", stand.path("agents").display());
    stand.set_env("PATH", path);
    stand.start().await;
    let id = stand.submit_prompt("first", "Greet").await;
    stand.completed(&id).await;
    litter(&stand.clone_path());
    stand
}

#[tokio::test]
async fn a_clone_is_packed_when_no_job_runs_in_it() {
    let stand = Stand::new().await;
    let id = stand.submit_prompt("g", &stand.gate_mark("g")).await;
    stand.wait_for_tool(&id).await;
    litter(&stand.clone_path());
    let before = loose(&stand);
    assert!(before > 12);
    let report = stand.post("/gc", &json!({})).await;
    assert_eq!((of_kind(&report, "objects").len(), loose(&stand)), (0, before), "a job runs");
    stand.open_gate("g");
    stand.completed(&id).await;
    let told = stand.post("/gc", &json!({"dryRun": true})).await;
    assert_eq!(of_kind(&told, "objects")[0]["why"], "many packs or loose objects");
    assert!(loose(&stand) >= before, "a dry run changes nothing");
    let report = stand.post("/gc", &json!({})).await;
    let packed = of_kind(&report, "objects")[0];
    assert_eq!(packed["what"], crate::stand::REPO);
    assert!(packed["bytes"].as_u64().unwrap() > 0, "{packed}");
    assert!(loose(&stand) == 0, "{}", loose(&stand));
    let metrics = stand.get_text("/metrics").await;
    for (result, count) in [("busy", "1"), ("packed", "1")] {
        let line = format!("offshoot_clone_maintenance_total{{result=\"{result}\"}} {count}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_job_that_comes_meanwhile_does_not_wait() {
    let stand = hanging().await;
    let packing = async { stand.post("/gc", &json!({})).await };
    let job = async {
        hangs(&stand.path("began")).await;
        // packing would hang for ten minutes
        let id = stand.submit_prompt("second", "Greet").await;
        stand.completed(&id).await
    };
    let (report, job) = tokio::join!(packing, job);
    assert_eq!((of_kind(&report, "objects").len(), &job["attempt"]), (0, &json!(1)));
    stand.finish().await;
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_packs_leaves_nothing() {
    let mut stand = hanging().await;
    let half = stand.clone_path().join("objects/pack/tmp_pack_half");
    let request = reqwest::Client::new().post(format!("{}/gc", stand.base_url()));
    let mut packing = tokio::task::JoinSet::new();
    packing.spawn(request.bearer_auth(SECRET).json(&json!({})).send());
    let number = hangs(&stand.path("began")).await;
    stand.kill9().await;
    packing.abort_all();
    let runs = |stand: &Stand| stand.processes().iter().any(|seen| seen.pid == number.as_raw());
    assert!(runs(&stand) && half.exists(), "it goes on without its server");
    stand.start_again().await;
    assert!(!runs(&stand) && !half.exists());
    let id = stand.submit_prompt("second", "Greet").await;
    stand.completed(&id).await;
    stand.finish().await;
}
