//! What a backup that is put back does not know: nothing of it is lost, runs on unwatched, or is paid a second time before
//! somebody has looked.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::git_fixture::run;
use crate::life_clients::bundled;
use crate::stand::{Plan, Stand};
use crate::storage_restore::{back_up, offshoot};

async fn name_of_backup(stand: &Stand) -> String {
    back_up(stand).await["name"].as_str().unwrap().to_owned()
}

/// Puts the backup in the place of the database of a server that is not there any more; gives what was said.
async fn put_back(stand: &Stand, name: &str) -> String {
    let (code, out, err) = offshoot(stand, &["restore", name]).await;
    assert_eq!(code, 0, "{out} {err}");
    err
}

/// The contents of a file in the snapshots of a job.
fn snapshotted(stand: &Stand, job: &str, file: &str) -> Vec<String> {
    let names = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{job}")]);
    names.lines().map(|name| stand.git_clone(&["show", &format!("{name}:{file}")])).collect()
}

async fn queued(stand: &Stand, branch: &str, base: &str) -> String {
    let prompt = format!("[[scenario:write path=hour.txt content={branch}]]{}", stand.gate_mark("never"));
    stand.submit(json!({"prompt": prompt, "branchName": branch, "baseBranch": base})).await
}

#[tokio::test]
async fn agents_of_jobs_that_wait_are_stopped_before_anything_is_served_and_their_work_is_kept() {
    let mut stand = Stand::with(Plan { workers: 3, ..Plan::default() }).await;
    stand.foreign_branch("acme/widgets", "side");
    stand.post("/queue/pause", &json!({})).await;
    let cancelled = queued(&stand, "cancelled", "main").await;
    let baseless = queued(&stand, "baseless", "side").await;
    let orphaned = queued(&stand, "orphaned", "main").await;
    let name = name_of_backup(&stand).await;
    stand.post("/queue/resume", &json!({})).await;
    for id in [&cancelled, &baseless, &orphaned] {
        stand.wait_for_tool(id).await;
    }
    let shim = i32::try_from(stand.job(&orphaned).await["pid"].as_i64().unwrap()).unwrap();
    stand.kill9().await;
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    put_back(&stand, &name).await;
    run(&stand.remote(), &["branch", "-D", "side"]);

    stand.start_again().await;
    assert_eq!(stand.step_processes().len(), 0, "nobody watches them: {:#?}", stand.step_processes());
    for id in [&cancelled, &orphaned] {
        let (status, answer) = stand.cancel(id).await;
        assert_eq!((status, &answer["status"]), (200, &json!("cancelled")), "{answer}");
    }
    stand.post("/queue/resume", &json!({})).await;
    stand.failed(&baseless, "base_not_found").await;
    let swept = async || stand.worktrees().is_empty().then_some(());
    stand.wait_until("the worktrees go", swept).await;
    for (id, branch) in [(&cancelled, "cancelled"), (&baseless, "baseless"), (&orphaned, "orphaned")] {
        assert_eq!(snapshotted(&stand, id, "hour.txt"), [branch], "an hour of work is not lost");
    }
    stand.finish().await;
}

/// Neither a job that waited at the backup nor one that ran then and was tried again since.
#[tokio::test]
async fn nothing_is_paid_again_before_somebody_has_looked() {
    let mut stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    let edit = |gate: &str| format!("{}[[scenario:edit]]", stand.gate_mark(gate));
    let running = stand.submit_prompt("running", &edit("g")).await;
    let waiting = stand.submit_prompt("waiting", "Greet").await;
    stand.wait_for_tool(&running).await;
    let name = name_of_backup(&stand).await;
    let shim = i32::try_from(stand.job(&running).await["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    stand.open_gate("g");
    for id in [&running, &waiting] {
        stand.completed(id).await;
    }
    let runs = stand.runs();
    assert_eq!(runs, 3);
    stand.kill9().await;
    let told = put_back(&stand, &name).await;
    assert!(told.contains("offshoot queue resume"), "{told}");

    stand.start_again().await;
    let queue = stand.get("/queue").await;
    let reason = queue["pausedReason"].as_str().unwrap_or_default();
    let wanted = format!("restored from backup {name}; `offshoot queue resume` when you have looked");
    assert_eq!((&queue["paused"], reason), (&json!(true), wanted.as_str()), "{queue:#}");
    for id in [&running, &waiting] {
        let job = stand.job(id).await;
        assert_eq!((&job["status"], &job["waiting"]["for"]), (&json!("queued"), &json!("paused")), "{job:#}");
        let warnings = job["warnings"].as_array().unwrap();
        assert_eq!(warnings.iter().filter(|text| text.as_str().unwrap().contains("may be done")).count(), 1);
    }
    // it is as if somebody had paused it
    stand.terminate(Duration::from_secs(10)).await;
    stand.start().await;
    assert_eq!((&stand.get("/queue").await["paused"], stand.runs()), (&json!(true), runs));
    stand.post("/queue/resume", &json!({})).await;
    for (id, attempt) in [(&running, 3), (&waiting, 2)] {
        assert_eq!(stand.completed(id).await["attempt"], attempt, "behind those that it had");
    }
    assert_eq!(stand.runs(), runs + 2);
    stand.finish().await;
}

/// As on another machine: nothing here says that it has ever run.
#[tokio::test]
async fn a_job_that_ran_at_the_backup_waits_also_where_no_file_of_it_is() {
    let mut stand = Stand::new().await;
    let id = stand.submit_prompt("far", &format!("{}[[scenario:edit]]", stand.gate_mark("g"))).await;
    stand.wait_for_tool(&id).await;
    let name = name_of_backup(&stand).await;
    stand.open_gate("g");
    stand.completed(&id).await;
    let runs = stand.runs();
    stand.kill9().await;
    put_back(&stand, &name).await;
    for dir in ["data/attempts", "worktrees"] {
        std::fs::remove_dir_all(stand.path(dir)).unwrap_or_else(|error| panic!("{dir}: {error}"));
    }
    for _ in 0..2 {
        stand.start_again().await;
        let job = stand.job(&id).await;
        assert_eq!((&job["status"], &job["waiting"]["for"]), (&json!("queued"), &json!("paused")), "{job:#}");
        assert_eq!(stand.runs(), runs);
        stand.kill9().await;
    }
    stand.start_again().await;
    stand.post("/queue/resume", &json!({})).await;
    assert_eq!(stand.completed(&id).await["attempt"], 2);
    stand.finish().await;
}

#[tokio::test]
async fn a_clone_that_goes_takes_no_work_along_that_the_database_does_not_know() {
    let mut stand = Stand::new().await;
    let ended = stand.submit_prompt("ended", "Greet").await;
    let client = stand.completed(&ended).await["clientId"].as_str().unwrap().to_owned();
    let name = name_of_backup(&stand).await;
    let began = stand.path("began");
    let script = format!(
        "echo committed > committed.txt; git add committed.txt; git commit -qm own; echo left > left.txt; \
         touch {}; sleep 1000",
        began.display()
    );
    let options = json!({"agent": "sh"});
    let stranger = stand.submit(json!({"prompt": script, "branchName": "s", "options": options})).await;
    stand.wait_until("it has worked", async || began.exists().then_some(())).await;
    stand.kill9().await;
    put_back(&stand, &name).await;
    stand.start_again().await;

    let (code, out, err) = offshoot(&stand, &["gc", "--dry-run"]).await;
    let shown = format!("acme/widgets/{stranger}");
    assert!(code == 0 && err.contains(&shown), "{out} {err}");
    let report = stand.post("/gc", &json!({})).await;
    assert_eq!(report["unknownWorktrees"][0]["what"], shown, "{report:#}");
    assert!(report["unknownWorktrees"][0]["bytes"].as_u64().unwrap() > 0);
    let path = format!("/clients/{client}?removeRepo=true");
    let (status, refused) = stand.call("DELETE", &path, None).await;
    assert_eq!((status, &refused["code"]), (409, &json!("unpublished_work")), "{refused}");
    let (status, deleted) = stand.call("DELETE", &format!("{path}&force=true"), None).await;
    assert_eq!((status, &deleted["repoRemoved"]), (200, &json!(true)), "{deleted}");
    assert!(!stand.clone_path().exists());
    assert_eq!(stand.worktrees(), Vec::<std::path::PathBuf>::new());
    for file in ["committed", "left"] {
        assert_eq!(bundled(&stand, &format!("{file}.txt")), [file]);
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_new_server_has_a_backup_of_its_first_day() {
    let stand = Stand::new().await;
    let one = async || {
        let listed = stand.get("/backups").await;
        let backups = listed["backups"].as_array().unwrap();
        backups.first().map(|backup| (backups.len(), backup.clone()))
    };
    let (count, backup): (usize, Value) = stand.wait_until("there is a backup", one).await;
    assert_eq!((count, &backup["kind"]), (1, &json!("daily")), "{backup}");
    assert!(Path::new(&stand.path("data/backups")).join(backup["name"].as_str().unwrap()).is_file());
    stand.finish().await;
}
