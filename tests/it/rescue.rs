//! Work that is kept although its worktree is gone: what is listed, and what the command line makes of it.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::git_fixture::run;
use crate::stand::{PATIENCE, Plan, SECRET, Stand};

/// A command of the command line against the stand's server: exit code, standard output, standard error.
pub(crate) async fn offshoot(stand: &Stand, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    command.env_clear().env("HOME", "/nonexistent").env("TZ", "UTC").env("OFFSHOOT_TOKEN", SECRET);
    command.env("OFFSHOOT_URL", stand.base_url()).args(arguments).kill_on_drop(true).stdin(Stdio::null());
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("ends in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A job that ran into its limit with files, an executable and a link in its worktree, and a deleted file.
async fn half_done(stand: &Stand) -> String {
    let script = "mkdir -p deep/er; printf half > deep/er/half.txt; printf '#!/bin/sh\\n' > run; chmod +x run; \
                  ln -s deep/er/half.txt link; rm README.md; sleep 1000";
    let id = stand
        .submit(
            json!({"prompt": script, "branchName": "half", "options": {"agent": "sh", "timeoutSeconds": 1}}),
        )
        .await;
    stand.failed(&id, "timeout").await;
    id
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn the_work_of_a_failed_job_is_listed_and_unpacked() {
    let stand = Stand::new().await;
    let id = half_done(&stand).await;
    let list = stand.get(&format!("/jobs/{id}/snapshots")).await;
    let snapshot = &list["snapshots"][0];
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 1, "{list:#}");
    assert_eq!((&snapshot["name"], &snapshot["attempt"]), (&json!("1-end"), &json!(1)));
    assert_eq!(
        (&snapshot["filesChanged"], &snapshot["ref"]),
        (&json!(4), &json!(format!("refs/offshoot/{id}/1-end")))
    );

    let hint = stand.job(&id).await["reason"]["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("offshoot rescue 1"), "{hint}");
    let (code, out, err) = offshoot(&stand, &["rescue", "1"]).await;
    assert!(
        code == 0 && out.contains("1-end") && err.contains("offshoot rescue 1 1-end --into DIR"),
        "{out}{err}"
    );

    let into = stand.path("rescued");
    let target = into.to_str().unwrap();
    let (code, out, err) = offshoot(&stand, &["rescue", "1", "1-end", "--into", target]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(read(&into.join("deep/er/half.txt")), "half");
    assert_eq!(read(&into.join("src/a.txt")), "one\ntwo\n");
    assert_eq!(std::fs::read_link(into.join("link")).unwrap(), Path::new("deep/er/half.txt"));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(into.join("run")).unwrap().permissions());
    assert_eq!((mode & 0o100, into.join("README.md").exists()), (0o100, false));

    // what is there is never touched
    std::fs::write(into.join("mine"), "mine").unwrap();
    let (code, _, err) = offshoot(&stand, &["rescue", "1", "--into", target]).await;
    assert!(code == 6 && err.contains("exists already"), "{code} {err}");
    assert_eq!(read(&into.join("mine")), "mine");

    // and the way with git itself is the one that the list names
    let own = stand.path("own");
    std::fs::create_dir(&own).unwrap();
    run(&own, &["init", "-q"]);
    let (clone, name) = (list["bareRepoPath"].as_str().unwrap(), snapshot["ref"].as_str().unwrap());
    run(&own, &["fetch", "-q", clone, name]);
    let text = run(&own, &["cat-file", "blob", "FETCH_HEAD:deep/er/half.txt"]).stdout;
    assert_eq!(text, b"half");
    stand.finish().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_and_leaves_nothing() {
    let stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    half_done(&stand).await;
    let into = stand.path("rescued");
    let target = into.to_str().unwrap();
    for (arguments, code) in [
        (vec!["rescue", "99"], 5),
        (vec!["rescue", "1", "7-end", "--into", target], 5),
        (vec!["rescue", "1", "1-end"], 2),
        (vec!["rescue", "1", "--into", "/nonexistent/dir"], 1),
    ] {
        let (ended, out, err) = offshoot(&stand, &arguments).await;
        assert_eq!(ended, code, "{arguments:?}: {out}{err}");
        let last = err.trim_end().lines().last().unwrap();
        assert!(last.contains("offshoot") || (code == 2 && last.contains("--help")), "{arguments:?}: {err}");
    }
    for name in ["7-end", "..", "%2e%2e%2fhead", "1-end%00", "*"] {
        assert_eq!(stand.call("GET", &format!("/jobs/1/snapshots/{name}"), None).await.0, 404, "{name}");
    }
    // a queued job has no clone to look into yet, or nothing in it
    let fresh = stand.submit_prompt("none", "[[scenario:no-change]]").await;
    stand.completed(&fresh).await;
    let (code, _, err) = offshoot(&stand, &["rescue", "2"]).await;
    assert!(code == 5 && err.contains("nothing is kept of job 2"), "{err}");
    assert!(!into.exists());
    let left: Vec<_> = std::fs::read_dir(stand.dir())
        .unwrap()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("rescued")), "{left:?}");
    stand.finish().await;
}

#[tokio::test]
async fn the_result_of_a_dry_run_is_kept_as_head() {
    let stand = Stand::new().await;
    let id = stand
        .submit(json!({"prompt": "[[scenario:write path=new.txt content=new]]", "branchName": "dry",
            "options": {"publish": "none"}}))
        .await;
    let job = stand.completed(&id).await;
    let list = stand.get(&format!("/jobs/{id}/snapshots")).await;
    let head = list["snapshots"].as_array().unwrap().iter().find(|one| one["name"] == "head").unwrap();
    assert_eq!((&head["commit"], &head["attempt"]), (&job["headSha"], &json!(null)));
    let into = stand.path("rescued");
    let (code, _, err) = offshoot(&stand, &["rescue", &id, "head", "--into", into.to_str().unwrap()]).await;
    assert_eq!((code, read(&into.join("new.txt"))), (0, "new".to_owned()), "{err}");
    stand.finish().await;
}
