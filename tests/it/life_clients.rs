//! Clients that are deleted with their clone, on a whole server.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use crate::fake_github::{Effect, Fault};
use crate::git_fixture::{add_commit, command};
use crate::stand::{Plan, Stand, install_program};

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

/// A job of the client that fails, with a file that only its snapshot has.
async fn fail_with_file(stand: &Stand, client: &str, branch: &str, file: &str) {
    let prompt = format!("[[scenario:write path={file} content=left]][[scenario:crash]]");
    let job = stand
        .submit(json!({"clientId": client, "branchName": branch, "prompt": prompt, "options": {"maxAttempts": 1}}))
        .await;
    stand.wait_for_status(&job, "failed").await;
}

fn refuse_pull_request(stand: &Stand) {
    let refusal = Effect::Status(422, json!({"message": "Validation Failed", "errors": []}), Vec::new());
    stand.github.fault(Fault::new(refusal).on(Method::POST, "/pulls"));
}

/// What somebody finds under this name who has the bundles alone: its content in each snapshot.
pub(crate) fn bundled(stand: &Stand, file: &str) -> Vec<String> {
    let restored = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| command(restored.path(), args).output().unwrap();
    assert!(git(&["init", "-q", "--bare", "."]).status.success());
    for bundle in std::fs::read_dir(stand.path("data/bundles")).unwrap() {
        let bundle = bundle.unwrap().path();
        let fetched = git(&["fetch", "-q", bundle.to_str().unwrap(), "+refs/*:refs/kept/*"]);
        assert!(fetched.status.success(), "{fetched:?}");
    }
    let snapshots =
        String::from_utf8(git(&["for-each-ref", "--format=%(refname)", "refs/kept"]).stdout).unwrap();
    let shown = snapshots.lines().map(|snapshot| git(&["show", &format!("{snapshot}:{file}")]));
    let found = shown.filter(|shown| shown.status.success());
    found.map(|shown| String::from_utf8(shown.stdout).unwrap().trim().to_owned()).collect()
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

/// Branches, tags and stashes of an agent, with its job published: nobody else has them. What leads to nothing new is nobody's work.
#[tokio::test]
async fn what_an_agent_made_beside_its_work_is_asked_for_when_its_clone_goes() {
    let stand = Stand::new().await;
    let git = "git -c user.email=a@b.c -c user.name=a";
    let beside = format!(
        "add() {{ echo $1 > $1.txt; git add -A; }}\n\
         git checkout -q -b spike; add spike; {git} commit -qm spike; git checkout -q -\n\
         git checkout -q --detach; add marked; {git} commit -qm marked; {git} tag -a -m marked marked; git checkout -q -\n\
         add older; {git} stash push -q; add newer; {git} stash push -q\n"
    );
    // of another branch of the remote, which no job has begun at
    let nothing_new = format!(
        "git branch same refs/remotes/origin/theirs; {git} tag -a -m same same refs/remotes/origin/theirs\n"
    );
    for (repo, before, asks) in [("beside", &beside, true), ("nothing", &nothing_new, false)] {
        let (id, clone) = register(&stand, repo).await;
        add_commit(&stand.remote_of(&format!("acme/{repo}")), "theirs", &[("theirs.txt", "theirs")]);
        let options = json!({"agent": "sh", "publish": "branch"});
        let prompt = format!("{before}echo done > done.txt");
        let body = json!({"clientId": id, "branchName": "w", "prompt": prompt, "options": options});
        let job = stand.completed(&stand.submit(body).await).await;
        assert_eq!((&job["outcome"], &job["filesChanged"]), (&json!("branch_pushed"), &json!(1)), "{job:#}");
        let path = format!("/clients/{id}?removeRepo=true");
        let (status, answer) = stand.call("DELETE", &path, None).await;
        if !asks {
            assert_eq!((status, clone.exists()), (200, false), "{answer}");
            continue;
        }
        assert_eq!((status, answer["code"].as_str(), clone.exists()), (409, Some("unpublished_work"), true));
        for name in ["refs/heads/spike", "refs/tags/marked", "refs/stash"] {
            assert!(answer["detail"].as_str().unwrap().contains(name), "{answer}");
        }
        let (status, answer) = stand.call("DELETE", &format!("{path}&force=true"), None).await;
        assert_eq!((status, clone.exists()), (200, false), "{answer}");
        for name in ["spike", "marked", "older", "newer"] {
            assert_eq!(bundled(&stand, &format!("{name}.txt")), [name]);
        }
    }
    stand.finish().await;
}

/// As a server leaves it that is killed between the clone of a registration and its row.
#[tokio::test]
async fn the_clone_of_a_registration_that_was_cut_off_goes_unless_it_may_hold_work_or_be_anothers() {
    let mut stand = Stand::new().await;
    let (cut, cut_clone) = register(&stand, "cut").await;
    let (worked, worked_clone) = register(&stand, "worked").await;
    let (earlier, earlier_clone) = register(&stand, "earlier").await;
    let (_, owned_clone) = register(&stand, "owned").await;
    let (deleted, deleted_clone) = register(&stand, "deleted").await;
    assert_eq!(stand.call("DELETE", &format!("/clients/{deleted}"), None).await.0, 200);
    assert_eq!(stand.post("/gc", &json!({})).await["unknownClones"], json!([]));
    stand.terminate(Duration::from_secs(10)).await;
    let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    for id in [&cut, &worked, &earlier] {
        assert_eq!(database.execute("DELETE FROM clients WHERE id = ?1", [id]).unwrap(), 1);
    }
    drop(database);
    let keep = ["update-ref", "refs/offshoot/job-a/1-end", "refs/remotes/origin/main"];
    assert!(command(&worked_clone, &keep).status().unwrap().success());
    // somebody's own, which we have not made
    let foreign = stand.path("repos/acme/foreign.git");
    std::fs::create_dir(&foreign).unwrap();
    assert!(command(&foreign, &["init", "-q", "--bare", "."]).status().unwrap().success());
    // made by a version that marked none
    std::fs::remove_file(earlier_clone.join("offshoot-made-by")).unwrap();
    // another server's with the same directory of clones
    let other = Stand::new().await;
    let (_, made_there) = register(&other, "theirs").await;
    let theirs = stand.path("repos/acme/theirs.git");
    assert!(Command::new("cp").arg("-a").args([&made_there, &theirs]).status().unwrap().success());
    other.finish().await;
    stand.start().await;
    assert!(!cut_clone.exists() && worked_clone.exists() && foreign.exists());
    assert!(earlier_clone.exists() && theirs.exists());
    assert!(owned_clone.exists() && deleted_clone.exists());
    let report = stand.post("/gc", &json!({})).await;
    let told = report["unknownClones"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap());
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["earlier", "foreign", "theirs", "worked"].map(|name| format!("acme/{name}.git"))
    );
    for clone in [&earlier_clone, &foreign, &theirs, &worked_clone] {
        std::fs::remove_dir_all(clone).unwrap();
    }
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

/// The remote answers the fetch and then nothing more, so that its default branch stays unknown.
#[tokio::test]
async fn a_registration_that_fails_after_its_clone_leaves_only_what_was_there() {
    let stand = Stand::with(Plan { over_ssh: true, ..Plan::default() }).await;
    stand.make_remote("acme/halfway");
    let (refuse, after_one) = (stand.path("refuse"), stand.path("refuse-after-one"));
    let script = format!(
        "#!/bin/sh\n[ -e {0} ] && exit 1\n[ -e {1} ] && mv {1} {0}\nfor last; do :; done\neval \"exec $last\"\n",
        refuse.display(),
        after_one.display()
    );
    stand.install("ssh", &script);
    let body = json!({"name": "Halfway", "githubOrg": "acme", "githubRepo": "halfway"});
    let clone = stand.path("repos/acme/halfway.git");

    std::fs::write(&after_one, "").unwrap();
    let (status, problem) = stand.call("POST", "/clients", Some(&body)).await;
    assert_eq!(status, 502, "{problem}");
    assert!(refuse.exists(), "the fetch was answered");
    assert_eq!(stand.get("/clients").await, json!({"clients": []}));
    assert!(!clone.exists());

    std::fs::remove_file(&refuse).unwrap();
    let client = stand.post("/clients", &body).await;
    let path = format!("/clients/{}", client["id"].as_str().unwrap());
    assert_eq!(stand.call("DELETE", &path, None).await.0, 200);
    std::fs::write(&refuse, "").unwrap();
    assert_eq!(stand.call("POST", "/clients", Some(&body)).await.0, 502);
    assert!(clone.exists(), "this call did not make it");
    stand.finish().await;
}

/// Whoever is cloning when the client goes takes the clone along: nobody would ever remove it.
#[tokio::test]
async fn a_clone_that_is_made_for_a_client_which_was_deleted_meanwhile_goes() {
    let stand = Stand::with(Plan { over_ssh: true, ..Plan::default() }).await;
    stand.make_remote("acme/late");
    let body = json!({"name": "Late", "githubOrg": "acme", "githubRepo": "late"});
    let (clone, began) = (stand.path("repos/acme/late.git"), stand.path("ssh-began"));
    let began = async || began.exists().then_some(());
    let prefer = [("prefer", "respond-async")];
    let (status, client) = stand.call_with("POST", "/clients", Some(&body), &prefer).await;
    assert_eq!(status, 201, "{client}");
    let path = format!("/clients/{}", client["id"].as_str().unwrap());
    stand.wait_until("the clone begins", began).await;
    assert_eq!(stand.call("DELETE", &path, None).await.0, 200);
    stand.open_gate("ssh");
    let told = async || stand.log_text().contains("its client was deleted meanwhile").then_some(());
    stand.wait_until("it is taken away", told).await;
    assert!(!clone.exists());

    // by a sync, for which the clone of a living client is missing
    let client = stand.post("/clients", &body).await;
    std::fs::remove_dir_all(&clone).unwrap();
    for file in [stand.gate("ssh"), stand.path("ssh-began")] {
        std::fs::remove_file(file).unwrap();
    }
    let path = format!("/clients/{}", client["id"].as_str().unwrap());
    let sync = format!("/sync?clientId={}", client["id"].as_str().unwrap());
    let delete = async {
        stand.wait_until("the sync begins", began).await;
        // it waits until the clone is there to be removed, or until nobody makes one
        let delete = format!("{path}?removeRepo=true");
        let opened = async { stand.open_gate("ssh") };
        tokio::join!(stand.call("DELETE", &delete, None), opened).0
    };
    let nothing = json!({});
    let (synced, deleted) = tokio::join!(stand.call("POST", &sync, Some(&nothing)), delete);
    assert_eq!(deleted.0, 200, "{deleted:?} {synced:?}");
    let gone = async || (!clone.exists()).then_some(());
    stand.wait_until("no clone stays", gone).await;
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
    assert_eq!(bundled(&stand, "only.txt"), ["copy"]);
    stand.finish().await;
}

#[tokio::test]
async fn an_interrupted_removal_bundles_what_is_in_no_bundle_before_it_goes_on() {
    let mut stand = Stand::new().await;
    let (id, clone) = register(&stand, "cut").await;
    fail_with_file(&stand, &id, "a", "cut.txt").await;
    stand.terminate(Duration::from_secs(10)).await;
    half_remove(&stand, &id);
    stand.start().await;
    assert!(!clone.exists());
    assert_eq!(bundled(&stand, "cut.txt"), ["left"]);
    stand.finish().await;
}

/// A stand whose git waits for the gate `bundle` where it would write a bundle, after a touch of `bundling`.
async fn stand_with_slow_bundles() -> Stand {
    let mut stand = Stand::built(Plan::default()).await;
    let path = "/usr/local/bin:/usr/bin:/bin";
    let script = format!(
        "#!/bin/sh\nPATH={path}\ncase \" $* \" in *' bundle create '*)\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done;;\nesac\nexec git \"$@\"\n",
        stand.path("bundling").display(),
        stand.gate("bundle").display(),
    );
    std::fs::create_dir(stand.path("programs")).unwrap();
    install_program(&stand.path("programs/git"), &script);
    stand.set_env("PATH", format!("{}:{path}", stand.path("programs").display()));
    stand.start().await;
    stand
}

/// The deletion waits in its bundle, for which the snapshots were listed, and a job comes and goes.
#[tokio::test]
async fn work_of_a_job_that_comes_while_its_client_is_deleted_is_bundled_too() {
    let stand = stand_with_slow_bundles().await;
    let (id, clone) = register(&stand, "late").await;
    fail_with_file(&stand, &id, "a", "early.txt").await;
    let path = format!("/clients/{id}?removeRepo=true&force=true");
    let late = async {
        let begun = async || stand.path("bundling").exists().then_some(());
        stand.wait_until("the bundle is being written", begun).await;
        fail_with_file(&stand, &id, "b", "late.txt").await;
        stand.open_gate("bundle");
    };
    let ((status, deleted), ()) = tokio::join!(stand.call("DELETE", &path, None), late);
    assert_eq!((status, &deleted["repoRemoved"]), (200, &json!(true)), "{deleted}");
    assert!(!clone.exists());
    assert_eq!(bundled(&stand, "late.txt"), ["left"]);
    assert!(!bundled(&stand, "early.txt").is_empty());
    stand.finish().await;
}

/// As above, and the job that comes does not go: force is meant for that one too.
#[tokio::test]
async fn a_job_that_comes_while_its_client_is_deleted_by_force_is_cancelled_like_those_before() {
    let stand = stand_with_slow_bundles().await;
    let (id, clone) = register(&stand, "busy").await;
    fail_with_file(&stand, &id, "a", "early.txt").await;
    let path = format!("/clients/{id}?removeRepo=true&force=true");
    let late = async {
        let begun = async || stand.path("bundling").exists().then_some(());
        stand.wait_until("the bundle is being written", begun).await;
        let prompt = format!("[[scenario:write path=late.txt content=left]]{}", stand.gate_mark("never"));
        let job = stand.submit(json!({"clientId": id, "branchName": "b", "prompt": prompt})).await;
        stand.wait_for_tool(&job).await;
        stand.open_gate("bundle");
        job
    };
    let ((status, deleted), late) = tokio::join!(stand.call("DELETE", &path, None), late);
    assert_eq!((status, &deleted["repoRemoved"]), (200, &json!(true)), "{deleted}");
    assert_eq!(stand.job(&late).await["status"], "cancelled");
    assert!(!clone.exists());
    assert_eq!(bundled(&stand, "late.txt"), ["left"]);
    stand.finish().await;
}

/// Deleted between the look at the client and the job: whoever names it is told what anybody is told who comes later, and who
/// names its repository gets a new client.
#[tokio::test]
async fn a_submission_that_loses_to_the_deletion_of_its_client_is_one_that_came_later() {
    let stand = Stand::new().await;
    let (id, _) = register(&stand, "lost").await;
    let mut database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    // what the server reads until the commit is the client as it was
    let deletion = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    deletion.execute("UPDATE clients SET deleted_at = 1 WHERE id = ?1", [&id]).unwrap();
    let by_id = json!({"clientId": id, "branchName": "i", "prompt": "Greet"});
    let by_name = json!({"githubOrg": "acme", "githubRepo": "lost", "branchName": "n", "prompt": "Greet"});
    let commit = async {
        // time enough for both to look
        for _ in 0..50 {
            stand.get("/clients").await;
        }
        deletion.commit().unwrap();
    };
    let ((by_id, refused), (by_name, accepted), ()) = tokio::join!(
        stand.call("POST", "/jobs", Some(&by_id)),
        stand.call("POST", "/jobs", Some(&by_name)),
        commit
    );
    assert_eq!((by_id, &refused["errors"][0]["pointer"]), (422, &json!("/clientId")), "{refused}");
    assert_eq!(by_name, 201, "{accepted}");
    assert_ne!(accepted["clientId"], json!(id));
    stand.completed(accepted["id"].as_str().unwrap()).await;
    stand.finish().await;
}

/// As after a removal that failed: the repository was registered again, and that client deleted without its clone.
#[tokio::test]
async fn a_removal_that_failed_is_over_when_the_repository_is_registered_again() {
    for by_job in [false, true] {
        let mut stand = Stand::new().await;
        let (old, clone) = register(&stand, "anew").await;
        half_remove(&stand, &old);
        let id = if by_job {
            let body = json!({"githubOrg": "acme", "githubRepo": "anew", "branchName": "n", "prompt": "[[scenario:no-change]]"});
            let (status, job) = stand.call("POST", "/jobs", Some(&body)).await;
            assert_eq!(status, 201, "{job}");
            stand.wait_for_status(job["id"].as_str().unwrap(), "completed").await["clientId"].clone()
        } else {
            let body = json!({"name": "anew", "githubOrg": "acme", "githubRepo": "anew"});
            stand.post("/clients", &body).await["id"].clone()
        };
        let id = id.as_str().unwrap().to_owned();
        assert_ne!(id, old);
        let (status, _) = stand.call("DELETE", &format!("/clients/{id}"), None).await;
        assert_eq!(status, 200);
        stand.terminate(Duration::from_secs(10)).await;
        stand.start().await;
        assert!(clone.exists(), "by a job: {by_job}");
        stand.finish().await;
    }
}

/// The agent of an attempt before may have left more than what was pushed.
#[tokio::test]
async fn a_push_is_no_proof_that_a_failed_job_left_nothing_else() {
    let stand = Stand::new().await;
    let (id, clone) = register(&stand, "pushed").await;
    refuse_pull_request(&stand);
    let job = stand.submit(json!({"clientId": id, "branchName": "p", "prompt": "Greet"})).await;
    stand.failed(&job, "pull_request_refused").await;
    let snapshot = format!("refs/offshoot/{job}/2-before");
    let tree = "refs/remotes/origin/main^{tree}";
    let other = command(&clone, &["commit-tree", tree, "-p", "refs/remotes/origin/main", "-m", "other"]);
    let other = String::from_utf8({ other }.output().unwrap().stdout).unwrap();
    let made = command(&clone, &["update-ref", &snapshot, other.trim()]).output().unwrap();
    assert!(made.status.success() && !other.is_empty(), "{made:?}");
    let (status, refused) = stand.call("DELETE", &format!("/clients/{id}?removeRepo=true"), None).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("unpublished_work")), "{refused}");
    assert!(clone.exists());
    stand.finish().await;
}

/// The chain's root has pushed; what the retry left in the same worktree is nowhere else.
#[tokio::test]
async fn a_kept_worktree_is_asked_for_by_its_whole_chain() {
    let stand = Stand::new().await;
    let (id, clone) = register(&stand, "chain").await;
    refuse_pull_request(&stand);
    let options = json!({"keepWorktree": true, "maxAttempts": 1});
    let first =
        stand.submit(json!({"clientId": id, "branchName": "c", "prompt": "Greet", "options": options})).await;
    stand.failed(&first, "pull_request_refused").await;
    let path = format!("/clients/{id}?removeRepo=true");
    let again = json!({"mode": "resume", "prompt": "[[scenario:write path=more.txt content=more]][[scenario:crash]]"});
    let second = stand.retry(&first, again).await;
    stand.wait_for_status(&second, "failed").await;
    // the worktree alone is left to tell
    let listed = command(&clone, &["for-each-ref", "--format=%(refname)", "refs/offshoot"]).output().unwrap();
    for name in String::from_utf8(listed.stdout).unwrap().lines() {
        assert!(command(&clone, &["update-ref", "-d", name]).status().unwrap().success());
    }
    let (status, refused) = stand.call("DELETE", &path, None).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("unpublished_work")), "{refused}");
    let (status, _) = stand.call("DELETE", &format!("{path}&force=true"), None).await;
    assert_eq!((status, bundled(&stand, "more.txt")), (200, vec!["more".to_owned()]));
    stand.finish().await;
}
