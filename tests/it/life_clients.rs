//! Clients that are deleted with their clone, on a whole server.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::git_fixture::command;
use crate::stand::Stand;

async fn register(stand: &Stand, repo: &str) -> (String, PathBuf) {
    stand.make_remote(&format!("acme/{repo}"));
    let body = json!({"name": repo, "githubOrg": "acme", "githubRepo": repo});
    let client = stand.post("/clients", &body).await;
    let clone = PathBuf::from(client["bareRepoPath"].as_str().unwrap());
    assert!(clone.exists());
    (client["id"].as_str().unwrap().to_owned(), clone)
}

/// As a server leaves it that is killed when the client is deleted and its clone is not gone yet.
fn half_remove(stand: &Stand, id: &str) {
    let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    let sql = "UPDATE clients SET deleted_at = 1, clone_goes = 1 WHERE id = ?1";
    assert_eq!(database.execute(sql, [id]).unwrap(), 1);
}

#[tokio::test]
async fn a_clone_that_was_to_go_is_gone_after_the_next_start() {
    let mut stand = Stand::new().await;
    let (gone, clone) = register(&stand, "gone").await;
    stand.terminate(Duration::from_secs(10)).await;
    half_remove(&stand, &gone);
    stand.start().await;
    assert!(!clone.exists());
    let (again, clone) = register(&stand, "gone").await;
    assert_ne!(gone, again);
    stand.terminate(Duration::from_secs(10)).await;
    stand.start().await;
    assert!(clone.exists(), "it is another client's by now");
    stand.finish().await;
}

#[tokio::test]
async fn the_clone_of_a_repository_that_is_registered_again_stays() {
    let mut stand = Stand::new().await;
    let (old, _) = register(&stand, "twice").await;
    stand.terminate(Duration::from_secs(10)).await;
    half_remove(&stand, &old);
    let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    let copy = "INSERT INTO clients (id, name, org, repo, repository_key, created_at, updated_at)
                SELECT 'cli-again', name, org, repo, repository_key, 1, 1 FROM clients WHERE id = ?1";
    assert_eq!(database.execute(copy, [&old]).unwrap(), 1);
    drop(database);
    stand.start().await;
    assert!(stand.path("repos/acme/twice.git").exists());
    stand.finish().await;
}

/// A worktree that is kept for its owner to look at hangs on the clone, and may have the only copy of something.
#[tokio::test]
async fn kept_worktrees_go_with_their_clone_and_their_work_is_bundled() {
    let stand = Stand::new().await;
    let (id, clone) = register(&stand, "kept").await;
    let job = stand
        .submit(json!({"clientId": id, "branchName": "k", "prompt": "[[scenario:write path=only.txt content=copy]][[scenario:crash]]",
            "options": {"keepWorktree": true, "maxAttempts": 1}}))
        .await;
    let job = stand.wait_for_status(&job, "failed").await;
    let worktree = PathBuf::from(job["worktreePath"].as_str().unwrap());
    assert!(worktree.join("only.txt").exists(), "{job:#}");
    let path = format!("/clients/{id}?removeRepo=true");
    let (status, refused) = stand.call("DELETE", &path, None).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("unpublished_work")), "{refused}");
    assert!(worktree.join("only.txt").exists() && clone.exists());
    let (status, _) = stand.call("DELETE", &format!("{path}&force=true"), None).await;
    assert_eq!(status, 200);
    assert!(!worktree.exists() && !clone.exists());
    let bundle = std::fs::read_dir(stand.path("data/bundles")).unwrap().next().unwrap().unwrap().path();
    let restored = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let output = command(restored.path(), args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "-q", "--bare", "."]);
    git(&["fetch", "-q", bundle.to_str().unwrap(), "+refs/offshoot/*:refs/kept/*"]);
    let snapshot = git(&["for-each-ref", "--format=%(refname)", "refs/kept"]);
    assert_eq!(git(&["show", &format!("{}:only.txt", snapshot.trim())]).trim(), "copy");
    stand.finish().await;
}
