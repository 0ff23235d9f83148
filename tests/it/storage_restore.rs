//! A whole installation whose database is put back while its agents run: it finishes what it knows, and nothing is taken
//! for something else.

use std::process::Command;

use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

/// A command line of this installation.
pub(crate) async fn offshoot(stand: &Stand, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    command.args(arguments).current_dir(stand.dir()).env_clear().envs(stand.environment());
    if let Some(server) = &stand.server {
        command.env("OFFSHOOT_URL", &server.url);
    }
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr))
}

pub(crate) async fn back_up(stand: &Stand) -> Value {
    let (code, out, err) = offshoot(stand, &["backup", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

/// With what is refused on the way, and what is said.
async fn kill_and_restore(stand: &mut Stand, name: &str) {
    let (code, _, err) = offshoot(stand, &["restore", name]).await;
    assert_eq!(code, 75, "not under a running server: {err}");
    stand.kill9().await;
    let (code, _, err) = offshoot(stand, &["restore", "daily-of-another-day.db"]).await;
    assert!(code == 1 && err.contains(name), "the names that there are: {err}");
    let (code, out, err) = offshoot(stand, &["restore", name]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Restored") && err.contains("offshoot serve"), "{out} {err}");
    assert!(err.contains("paid") && err.contains("offshoot queue resume"), "{err}");
}

/// The first attempt of this job has an agent, and nobody else.
async fn assert_one_runs(stand: &Stand, job: &str) {
    let number = stand.job(job).await["number"].as_i64().unwrap();
    let steps: Vec<_> = stand.step_processes().into_iter().filter_map(|seen| seen.step).collect();
    let its_own = format!("-{number}-1-agent-1");
    assert!(!steps.is_empty() && steps.iter().all(|step| step.ends_with(&its_own)), "{steps:?}");
}

#[tokio::test]
async fn a_restored_queue_finishes_its_jobs_and_mistakes_none() {
    let mut stand = Stand::with(Plan { workers: 3, ..Plan::default() }).await;
    let gated = |gate: &str| format!("{}[[scenario:edit]]", stand.gate_mark(gate));
    let (g, s) = (gated("g"), gated("s"));
    let ended = stand.submit_prompt("ended", "Greet").await;
    stand.completed(&ended).await;
    let adopted = stand.submit_prompt("adopted", &g).await;
    stand.wait_for_tool(&adopted).await;
    stand.post("/queue/pause", &json!({})).await;
    let queued = stand.submit_prompt("queued", "Greet").await;
    let hour = "[[scenario:write path=hour.txt content=hour]]";
    let overtaken = stand.submit_prompt("overtaken", &format!("{hour}{g}")).await;
    // the backup is made while writes go on
    let writes = async {
        let mut ids = Vec::new();
        for n in 0..10 {
            ids.push(stand.submit_prompt(&format!("beside/{n}"), "Greet").await);
        }
        ids
    };
    let (made, beside) = tokio::join!(back_up(&stand), writes);
    let name = made["name"].as_str().unwrap().to_owned();
    assert!(made["file"].as_str().unwrap().ends_with(&name) && made["bytes"].as_u64().unwrap() > 0, "{made}");

    // and this is what nobody will know of: two jobs ran, one to its end, one still; a third one is new and runs
    stand.post("/queue/resume", &json!({})).await;
    stand.completed(&queued).await;
    stand.wait_for_tool(&overtaken).await;
    for id in &beside {
        stand.completed(id).await;
    }
    let stranger = stand.submit_prompt("stranger", &s).await;
    stand.wait_for_tool(&stranger).await;
    let last = stand.job(&stranger).await["number"].as_i64().unwrap();
    let runs = stand.runs();

    kill_and_restore(&mut stand, &name).await;
    stand.start_again().await;
    // of what is not running by the database no agent is left when the first question is answered
    assert_one_runs(&stand, &adopted).await;
    let queue = stand.get("/queue").await;
    let reason = queue["pausedReason"].as_str().unwrap();
    assert!(queue["paused"] == true && reason.contains(&name), "{queue:#}");
    stand.open_gate("g");
    stand.post("/queue/resume", &json!({})).await;
    // its agent ran all the while, and was paid once
    let job = stand.completed(&adopted).await;
    assert_eq!((&job["attempt"], job["attempts"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(stand.job(&ended).await["status"], "completed");
    for id in [&queued, &overtaken] {
        let job = stand.completed(id).await;
        assert_eq!(job["attempt"], 2, "behind the attempt that it had: {job:#}");
    }
    let kept = format!("refs/offshoot/{overtaken}/2-before:hour.txt");
    assert_eq!(stand.git_clone(&["show", &kept]), "hour", "an hour of work is not lost");
    // of the jobs beside the backup some are in it; those run again, the others are gone
    for id in &beside {
        let (status, _) = stand.call("GET", &format!("/jobs/{id}"), None).await;
        if status == 200 {
            stand.completed(id).await;
        }
    }
    assert!(stand.runs() > runs);
    // the agent of a job that nobody knows is stopped
    assert_eq!(stand.call("GET", &format!("/jobs/{stranger}"), None).await.0, 404);
    let gone = async || stand.step_processes().is_empty().then_some(());
    stand.wait_until("no agent goes on for nobody", gone).await;
    let next = stand.submit_prompt("next", "Greet").await;
    assert!(stand.job(&next).await["number"].as_i64().unwrap() > last, "no number twice");
    stand.completed(&next).await;
    for branch in ["ended", "adopted", "queued", "overtaken", "next"] {
        let pulls = stand.github.pulls().into_iter().filter(|pull| pull.head == branch).count();
        assert_eq!(pulls, 1, "{branch}");
    }
    // what nobody knows keeps its files
    let root =
        stand.worktrees().into_iter().find(|path| path.ends_with(&stranger)).expect("its worktree stays");
    assert!(root.is_dir());
    stand.finish_leaving(&[&stranger]).await;
}

#[tokio::test]
async fn a_backup_by_command_and_by_request() {
    let stand = Stand::new().await;
    let id = stand.submit_prompt("a", "Greet").await;
    stand.completed(&id).await;
    let file = stand.path("copy.db").display().to_string();
    let (code, out, err) = offshoot(&stand, &["backup", "copy.db"]).await;
    assert_eq!((code, out.trim()), (0, file.as_str()), "{err}");
    assert!(err.contains(&format!("offshoot restore {file}")), "{err}");
    let (code, _, err) = offshoot(&stand, &["backup", "copy.db"]).await;
    assert_eq!(code, 6, "{err}");
    let (status, problem) = stand.call("POST", "/backups", Some(&json!({"file": "copy2.db"}))).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/file")));
    let (status, problem) = stand.call("POST", "/backups", Some(&json!({"file": "/no/such/dir/x.db"}))).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/file")), "{problem}");
    let made = stand.post("/backups", &json!({})).await;
    let listed = stand.get("/backups").await;
    assert_eq!(listed["backups"][0]["name"], made["name"], "{listed:#}");
    assert_eq!(stand.get("/health").await["newestBackup"]["name"], made["name"]);
    stand.finish().await;
}

/// A word that was meant for another command writes nothing, and who names a file that cannot be written learns why.
#[tokio::test]
async fn a_backup_goes_where_it_is_told_or_says_why_not() {
    let stand = Stand::new().await;
    for word in ["ls", "list", "restore"] {
        let (code, _, err) = offshoot(&stand, &["backup", word]).await;
        assert!(
            code == 2 && err.contains(word) && err.contains(&format!("offshoot backup ./{word}")),
            "{err}"
        );
        assert!(!stand.path(word).exists());
    }
    for file in ["mine.db", "./ls"] {
        let (code, out, err) = offshoot(&stand, &["backup", file]).await;
        assert!(code == 0 && out.contains(stand.dir().to_str().unwrap()), "{out} {err}");
        assert!(stand.path(file).is_file());
    }
    let absent = stand.path("no-such-dir/x.db");
    let (code, _, err) = offshoot(&stand, &["backup", absent.to_str().unwrap()]).await;
    let dir = stand.path("no-such-dir").display().to_string();
    assert!(code != 0 && err.contains(&format!("{dir} does not exist")), "{err}");
    let below_a_file = stand.path("mine.db/x.db");
    let (code, _, err) = offshoot(&stand, &["backup", below_a_file.to_str().unwrap()]).await;
    assert!(code != 0 && err.contains("cannot be written by the server"), "{err}");
    stand.finish().await;
}
