//! Clearing up on a whole server: what goes, what stays, and what is said about it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::rescue::offshoot;
use crate::stand::{Plan, Stand};

async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
}

/// Snapshots in the clone, by job.
fn snapshots(stand: &Stand, job: &str) -> Vec<String> {
    let names = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{job}")]);
    names.lines().map(|name| name.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn published_work_loses_its_snapshots_and_other_work_keeps_them() {
    let stand = Stand::new().await;
    // cut off once, then published; cut off and not published
    let half = "[[scenario:write path=half.txt content=half]]";
    let cut = submit(&stand, "cut", &format!("{half}{}", stand.gate_mark("g")), json!({})).await;
    stand.wait_for_tool(&cut).await;
    let shim = i32::try_from(stand.job(&cut).await["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    stand.open_gate("g");
    assert_eq!(stand.completed(&cut).await["attempt"], 2);
    let failed =
        submit(&stand, "f", &format!("{half}{}", stand.gate_mark("never")), json!({"timeoutSeconds": 1}))
            .await;
    stand.failed(&failed, "timeout").await;
    assert_eq!(snapshots(&stand, &cut), ["2-before", "head"]);
    assert_eq!(snapshots(&stand, &failed), ["1-end"]);

    let (code, out, err) = offshoot(&stand, &["gc", "--dry-run"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("2-before") && out.contains("the work is published") && !out.contains(&failed),
        "{out}"
    );
    assert!(err.contains("offshoot gc"), "{err}");
    assert_eq!(snapshots(&stand, &cut).len(), 2, "a dry run changes nothing");
    let (code, out, _) = offshoot(&stand, &["gc", "--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    let kinds: Vec<_> =
        report["removed"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!((code, &report["dryRun"], kinds), (0, &json!(false), vec!["snapshot", "objects"]));
    assert_eq!(snapshots(&stand, &cut), ["head"], "its diff is shown from its result");
    assert!(stand.get_text(&format!("/jobs/{cut}/diff")).await.contains("half.txt"));
    assert_eq!(snapshots(&stand, &failed), ["1-end"]);
    let (_, _, err) = offshoot(&stand, &["gc"]).await;
    assert!(err.contains("Nothing is past its time"), "{err}");
    stand.finish().await;
}

#[tokio::test]
async fn a_job_names_its_worktree_only_while_there_is_one() {
    let stand = Stand::with(Plan { workers: 3, ..Plan::default() }).await;
    let gone = submit(&stand, "gone", "Greet", json!({})).await;
    let failed = submit(&stand, "failed", "[[scenario:denied]]", json!({})).await;
    let kept = submit(&stand, "kept", "[[scenario:denied]]", json!({"keepWorktree": true})).await;
    assert_eq!(stand.completed(&gone).await["worktreePath"], json!(null));
    assert_eq!(stand.failed(&failed, "permission_denied").await["worktreePath"], json!(null));
    let job = stand.failed(&kept, "permission_denied").await;
    let path = job["worktreePath"].as_str().unwrap();
    assert!(std::path::Path::new(path).join("README.md").exists());
    // a kept one stays for its days, and stays through a pass and a restart
    assert_eq!(stand.post("/gc", &json!({})).await["removed"], json!([]));
    // a retry of the chain takes the place over, and then nobody has it
    std::fs::write(std::path::Path::new(path).join("mine.txt"), "a person's").unwrap();
    let again = stand.retry(&kept, json!({"prompt": "Greet"})).await;
    stand.completed(&again).await;
    assert_eq!(stand.job(&kept).await["worktreePath"], json!(null));
    // what the retry has published is not what lay there
    stand.post("/gc", &json!({})).await;
    assert_eq!(snapshots(&stand, &kept), ["1-left"]);
    let mine = format!("refs/offshoot/{kept}/1-left:mine.txt");
    assert_eq!(stand.git_clone(&["show", &mine]), "a person's");
    let client = job["clientId"].as_str().unwrap();
    let (status, refused) = stand.call("DELETE", &format!("/clients/{client}?removeRepo=true"), None).await;
    assert_eq!((status, &refused["code"]), (409, &json!("unpublished_work")), "{refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains(&kept), "{refused:#}");
    stand.finish_leaving(&[&kept]).await;
}

#[tokio::test]
async fn a_worktree_is_kept_by_how_its_job_ended() {
    let config = "[retention]\nfailed_worktree_days = 3\n".to_owned();
    let stand = Stand::with(Plan { config, ..Plan::default() }).await;
    let done = submit(&stand, "done", "Greet", json!({})).await;
    let gone = submit(&stand, "gone", "[[scenario:denied]]", json!({"keepWorktree": false})).await;
    let kept = submit(&stand, "kept", "[[scenario:denied]]", json!({})).await;
    assert_eq!(stand.completed(&done).await["worktreePath"], json!(null));
    assert_eq!(stand.failed(&gone, "permission_denied").await["worktreePath"], json!(null));
    let job = stand.failed(&kept, "permission_denied").await;
    let path = std::path::PathBuf::from(job["worktreePath"].as_str().unwrap());
    let older = |days: i64| {
        let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
        let sql = "UPDATE jobs SET completed_at = completed_at - ?1 WHERE id = ?2";
        assert_eq!(database.execute(sql, rusqlite::params![days * 86_400_000, kept]).unwrap(), 1);
    };
    older(2);
    assert_eq!(stand.post("/gc", &json!({})).await["removed"], json!([]));
    assert!(path.join("README.md").exists());
    older(2);
    let told = stand.post("/gc", &json!({"dryRun": true})).await;
    let worktree = &told["removed"][0];
    assert_eq!(worktree["why"], "older than retention.failed_worktree_days", "{told:#}");
    assert!(path.exists());
    stand.post("/gc", &json!({})).await;
    assert!(!path.exists());
    assert_eq!(snapshots(&stand, &kept), ["1-swept"]);
    stand.finish().await;
}

/// Whoever only publishes a commit has made no worktree, and takes none away.
#[tokio::test]
async fn publishing_leaves_what_lies_in_the_worktree_of_another_job() {
    let stand = Stand::new().await;
    let first = submit(&stand, "first", "Greet", json!({})).await;
    let client = stand.completed(&first).await["clientId"].as_str().unwrap().to_owned();
    stand.remote_hook("pre-receive", "#!/bin/sh\nexit 1\n");
    let keep = async |keeps: Value| {
        let body = json!({"options": {"keepWorktree": keeps}});
        assert_eq!(stand.call("PATCH", &format!("/clients/{client}"), Some(&body)).await.0, 200);
    };
    keep(json!(true)).await;
    let failed = submit(&stand, "kept", "Greet", json!({})).await;
    let job = stand.failed(&failed, "push_rejected").await;
    let path = std::path::PathBuf::from(job["worktreePath"].as_str().unwrap());
    std::fs::write(path.join("mine.txt"), "a person's").unwrap();
    keep(json!(null)).await;
    stand.remove_remote_hook("pre-receive");
    let again = stand.retry(&failed, json!({"mode": "publish"})).await;
    stand.completed(&again).await;
    assert!(path.join("mine.txt").exists());
    stand.post("/gc", &json!({})).await;
    assert!(!path.exists());
    let mine = format!("refs/offshoot/{failed}/1-swept:mine.txt");
    assert_eq!(stand.git_clone(&["show", &mine]), "a person's");
    stand.finish().await;
}

#[tokio::test]
async fn chains_are_prepared_and_swept_side_by_side() {
    let stand = Stand::with(Plan { workers: 4, ..Plan::default() }).await;
    let mut jobs = Vec::new();
    for number in 0..8 {
        let prompt = if number % 2 == 0 { "Greet" } else { "[[scenario:denied]]" };
        jobs.push((number, submit(&stand, &format!("c{number}"), prompt, json!({})).await));
    }
    for (number, id) in &jobs {
        stand.post("/gc", &json!({})).await;
        let status = if number % 2 == 0 { "completed" } else { "failed" };
        stand.wait_for_status(id, status).await;
    }
    stand.finish().await;
}
