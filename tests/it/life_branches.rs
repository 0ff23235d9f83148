//! Branches that exist, move, are protected or refused; repositories and bases that are missing; clones that were
//! changed.

use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
}

#[tokio::test]
async fn a_branch_that_exists_is_continued_refused_avoided_or_reset() {
    let stand = Stand::new().await;
    for branch in ["goes-on", "refused", "avoided", "reset"] {
        stand.foreign_commit(branch, "foreign.txt", "theirs\n");
    }
    let foreign = stand.tip("goes-on").unwrap();
    let main = stand.tip("main").unwrap();
    let mode = |mode: &str| json!({"onBranchExists": mode});

    let refused = submit(&stand, "refused", "Greet", mode("fail")).await;
    stand.failed(&refused, "branch_exists").await;
    assert_eq!((stand.runs(), stand.tip("refused")), (0, Some(foreign.clone())), "before the agent starts");

    let goes_on = submit(&stand, "goes-on", "Greet", mode("continue")).await;
    let avoided = submit(&stand, "avoided", "Greet", mode("suffix")).await;
    let reset = submit(&stand, "reset", "Greet", mode("reset")).await;

    let job = stand.completed(&goes_on).await;
    assert_eq!(job["baseSha"], foreign);
    assert_eq!(stand.git(&["rev-parse", "goes-on^"]), foreign);

    let job = stand.completed(&avoided).await;
    assert_eq!((&job["branchName"], stand.tip("avoided")), (&json!("avoided-2"), Some(foreign)));
    assert_eq!(stand.git(&["rev-parse", "avoided-2^"]), main);

    stand.completed(&reset).await;
    assert_eq!(stand.git(&["rev-parse", "reset^"]), main);
    stand.finish().await;
}

#[tokio::test]
async fn a_branch_that_moves_meanwhile_is_never_overwritten() {
    let stand = Stand::new().await;
    stand.foreign_commit("held", "x.txt", "x\n");
    stand.foreign_commit("reset", "x.txt", "x\n");
    // (branch, option): absent before, there before, and to be reset
    let cases = [("new", "continue"), ("held", "continue"), ("reset", "reset")];
    for (branch, mode) in cases {
        let prompt = format!("{}[[scenario:edit]]", stand.gate_mark(branch));
        let id = submit(&stand, branch, &prompt, json!({"onBranchExists": mode})).await;
        stand.wait_for_phase(&id, "agent").await;
        stand.wait_until("the agent runs", async || (!stand.step_processes().is_empty()).then_some(())).await;
        let theirs = stand.foreign_commit(branch, "theirs.txt", branch);
        stand.open_gate(branch);
        let job = stand.failed(&id, "branch_moved").await;
        assert_eq!(stand.tip(branch), Some(theirs), "{branch} was overwritten: {job:#}");
        assert!(job["headSha"].is_string(), "the work is kept");
    }
    assert_eq!(stand.github.pulls(), []);
    stand.finish().await;
}

#[tokio::test]
async fn a_moved_branch_is_worked_on_again_by_retry() {
    let stand = Stand::new().await;
    let prompt = format!("{}[[scenario:edit]]", stand.gate_mark("g"));
    let id = submit(&stand, "moved", &prompt, json!({})).await;
    stand.wait_until("the agent runs", async || (!stand.step_processes().is_empty()).then_some(())).await;
    let theirs = stand.foreign_commit("moved", "theirs.txt", "theirs\n");
    stand.open_gate("g");
    stand.failed(&id, "branch_moved").await;
    let again = stand.retry(&id, json!({})).await;
    let job = stand.completed(&again).await;
    assert_eq!(job["outcome"], "pull_request");
    assert_eq!(stand.git(&["rev-parse", "moved^"]), theirs, "built on what is there");
    stand.finish().await;
}

#[tokio::test]
async fn a_second_job_goes_on_with_the_branch_and_its_pull_request() {
    let stand = Stand::new().await;
    let first = submit(&stand, "both", "Greet", json!({})).await;
    let first = stand.completed(&first).await;
    let second = submit(&stand, "both", "Greet again", json!({})).await;
    let second = stand.completed(&second).await;
    assert_eq!(stand.git(&["rev-parse", "both^"]), first["headSha"].as_str().unwrap());
    assert_eq!(second["prNumber"], first["prNumber"]);
    assert_eq!(stand.github.pulls().len(), 1);
    // while one is live the other is refused, and told by whom
    let prompt = stand.gate_mark("g");
    let live = submit(&stand, "both", &prompt, json!({})).await;
    let (status, body) = stand.try_submit(json!({"prompt": "x", "branchName": "both"})).await;
    assert_eq!(status, 409, "{body}");
    assert!(body["detail"].as_str().unwrap().contains('#'), "{body}");
    let (status, body) = stand.try_submit(json!({"prompt": "x", "branchName": "both/beside"})).await;
    assert_eq!(status, 409, "{body}");
    stand.open_gate("g");
    stand.completed(&live).await;
    stand.finish().await;
}

#[tokio::test]
async fn a_refused_push_is_published_by_retry_without_the_agent() {
    let stand = Stand::new().await;
    stand.remote_hook("pre-receive", "#!/bin/sh\necho the gatekeeper says no >&2\nexit 1\n");
    let id = submit(&stand, "gate", "Greet", json!({})).await;
    let job = stand.failed(&id, "push_rejected").await;
    assert!(job["error"].as_str().unwrap().contains("gatekeeper"), "{job:#}");
    assert_eq!((stand.runs(), stand.tip("gate")), (1, None));
    // still refused: fails the same way, the agent stays out of it
    let again = stand.retry(&id, json!({})).await;
    stand.failed(&again, "push_rejected").await;
    stand.remove_remote_hook("pre-receive");
    let last = stand.retry(&again, json!({})).await;
    let last = stand.completed(&last).await;
    assert_eq!((&last["headSha"], stand.runs()), (&job["headSha"], 1));
    assert_eq!(last["filesChanged"], job["filesChanged"]);
    assert_eq!(stand.tip("gate").unwrap(), job["headSha"].as_str().unwrap());
    assert_eq!((stand.github.pulls().len(), &last["rootJobId"]), (1, &json!(id)));
    let (status, _) =
        stand.call("POST", &format!("/jobs/{}/retry", last["id"].as_str().unwrap()), None).await;
    assert!((400..500).contains(&status), "a completed job is not retried: {status}");
    stand.finish().await;
}

#[tokio::test]
async fn what_is_protected_or_missing_fails_with_its_code() {
    let config = "[git]\nprotected_branches = [\"main\", \"release/*\"]\n".to_owned();
    let stand = Stand::with(Plan { config, ..Plan::default() }).await;
    for branch in ["main", "release/1"] {
        let (status, body) = stand.try_submit(json!({"prompt": "x", "branchName": branch})).await;
        if status == 201 {
            stand.failed(body["id"].as_str().unwrap(), "protected_branch").await;
        } else {
            assert_eq!(status, 422, "{body}");
        }
    }
    let base = stand.submit(json!({"prompt": "x", "branchName": "b", "baseBranch": "no-such-base"})).await;
    let job = stand.failed(&base, "base_not_found").await;
    assert!(job["error"].as_str().unwrap().contains("no-such-base"));
    let missing = stand
        .submit(json!({"prompt": "x", "branchName": "b", "githubOrg": "acme", "githubRepo": "nowhere"}))
        .await;
    stand.failed(&missing, "repo_not_found").await;
    let said = stand.callback(&missing).await.body["reason"].clone();
    assert_eq!(said["code"], "repo_not_found");
    let (message, hint) = (said["message"].as_str().unwrap(), said["hint"].as_str().unwrap());
    assert!(message.contains(" Looked for at "), "{said:#}");
    assert!(hint.contains("offshoot client rm ORG/REPO"), "{said:#}");
    assert!(!stand.path("repos/acme/nowhere.git").exists());
    assert_eq!(stand.runs(), 0);
    let other = stand.submit(json!({"prompt": "Greet", "branchName": "x", "baseBranch": "main"})).await;
    stand.completed(&other).await;
    stand.finish().await;
}

#[tokio::test]
async fn a_clone_that_the_agent_changed_stops_its_client() {
    let stand = Stand::new().await;
    let clone = stand.clone_path();
    let script = format!("git config --file {}/config core.sshCommand evil; echo x > x.txt", clone.display());
    let id = submit(&stand, "t", &script, json!({"agent": "sh"})).await;
    let job = stand.failed(&id, "repo_tampered").await;
    assert_eq!(stand.tip("t"), None);
    let client = job["clientId"].as_str().unwrap().to_owned();
    assert_eq!(stand.get(&format!("/clients/{client}")).await["paused"], true);
    let waiting = submit(&stand, "w", "Greet", json!({})).await;
    let held = stand.wait_for(&waiting, "held", |job| !job["waiting"].is_null()).await;
    assert_eq!((&held["waiting"]["for"], &held["status"]), (&json!("paused"), &json!("queued")));
    // unpausing is the owner's word: what the server writes is written anew
    let body = json!({"paused": false});
    assert_eq!(stand.call("PATCH", &format!("/clients/{client}"), Some(&body)).await.0, 200);
    assert_eq!(stand.completed(&waiting).await["outcome"], "pull_request");
    assert!(!std::fs::read_to_string(clone.join("config")).unwrap().contains("evil"));
    // no snapshot could be taken while the clone was not trusted: the worktree has waited until now
    stand.wait_until("the worktree is swept", async || stand.worktrees().is_empty().then_some(())).await;
    let kept = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{id}")]);
    assert_eq!(stand.git_clone(&["show", &format!("{kept}:x.txt")]), "x");
    stand.finish().await;
}

/// Nobody may unpause for days: once the clone is as it should be, each hour's pass looks again.
#[tokio::test]
async fn a_worktree_that_a_changed_clone_kept_goes_at_the_next_pass_after_that() {
    let stand = Stand::new().await;
    let config = stand.clone_path().join("config");
    let script = format!("git config --file {} core.sshCommand evil; echo x > x.txt", config.display());
    let id = submit(&stand, "t", &script, json!({"agent": "sh"})).await;
    stand.failed(&id, "repo_tampered").await;
    let of_worktrees = async || {
        let removed = stand.post("/gc", &json!({})).await["removed"].clone();
        removed.as_array().unwrap().iter().filter(|one| one["kind"] == "worktree").count()
    };
    assert_eq!(of_worktrees().await, 0, "no snapshot of it can be taken");
    assert_eq!(stand.worktrees().len(), 1);
    let changed = std::fs::read_to_string(&config).unwrap();
    let (before, _) = changed.split_once("\tsshCommand").unwrap();
    let rest = changed.split_once("evil\n").unwrap().1;
    std::fs::write(&config, format!("{before}{rest}")).unwrap();
    assert_eq!(of_worktrees().await, 1);
    assert_eq!(stand.worktrees(), Vec::<std::path::PathBuf>::new());
    let kept = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{id}")]);
    assert_eq!(stand.git_clone(&["show", &format!("{kept}:x.txt")]), "x");
    stand.finish().await;
}

/// A retry that is over before it began has no base of its own; the files are those of the job before it.
/// Its branch has the only copy of what its agent has committed; the job that comes begins there anew, or goes on with work
/// that was kept.
#[tokio::test]
async fn a_job_on_the_branch_of_a_kept_worktree_costs_none_of_its_commits() {
    for follows_up in [false, true] {
        let stand = Stand::new().await;
        let shell = async |prompt: &str, keeps: bool| {
            let options = json!({"agent": "sh", "keepWorktree": keeps, "maxAttempts": 1});
            stand.submit(json!({"prompt": prompt, "branchName": "both", "options": options})).await
        };
        let half = shell("echo 0 > half.txt; exit 5", false).await;
        stand.failed(&half, "crashed").await;
        let commit = "G='git -c user.email=a@b.c -c user.name=a'; echo 1 > mine.txt; git add -A; $G commit -qm mine; \
                      git rm -q mine.txt; $G commit -qm gone; exit 5";
        let kept = shell(commit, true).await;
        let worktree = stand.failed(&kept, "crashed").await["worktreePath"].as_str().unwrap().to_owned();
        let mine = stand.git_clone(&["rev-parse", "refs/heads/both~1"]);
        let next = if follows_up {
            let answer = stand
                .post(&format!("/jobs/{half}/follow-up"), &json!({"prompt": "echo 2 > other.txt"}))
                .await;
            answer["id"].as_str().unwrap().to_owned()
        } else {
            shell("echo 2 > other.txt", false).await
        };
        stand.completed(&next).await;
        stand.post("/gc", &json!({})).await;
        let args = ["for-each-ref", "--contains", &mine, "--format=%(refname)", "refs/offshoot"];
        assert_eq!(stand.git_clone(&args), format!("refs/offshoot/{next}/1-branch"));
        assert!(std::path::Path::new(&worktree).exists());
        let files = if follows_up { "half.txt\nother.txt" } else { "other.txt" };
        assert_eq!(stand.git(&["diff", "--name-only", "main", "both"]), files);
        stand.finish_leaving(&[&kept]).await;
    }
}

#[tokio::test]
async fn a_kept_worktree_outlives_retries_that_came_to_nothing() {
    for cancelled in [true, false] {
        let stand = Stand::new().await;
        let away = stand.remote().with_extension("away");
        stand.post("/queue/pause", &json!({})).await;
        let id =
            submit(&stand, "t", "echo precious > x.txt; exit 3", json!({"agent": "sh", "maxAttempts": 1}))
                .await;
        let client = format!("/clients/{}", stand.job(&id).await["clientId"].as_str().unwrap());
        let keep = async |keep: Value| {
            let body = json!({"options": {"keepWorktree": keep}});
            assert_eq!(stand.call("PATCH", &client, Some(&body)).await.0, 200);
        };
        keep(json!(true)).await;
        stand.post("/queue/resume", &json!({})).await;
        stand.failed(&id, "crashed").await;
        assert_eq!(stand.worktrees().len(), 1);
        keep(Value::Null).await;
        stand.post("/queue/pause", &json!({})).await;
        let retry = stand.retry(&id, json!({"mode": "fresh"})).await;
        if cancelled {
            stand.cancel(&retry).await;
        } else {
            std::fs::rename(stand.remote(), &away).unwrap();
        }
        stand.post("/queue/resume", &json!({})).await;
        stand.wait_for(&retry, "its end", |job| job["completedAt"].is_string()).await;
        stand.wait_until("the worktree is gone", async || stand.worktrees().is_empty().then_some(())).await;
        let refs = stand.git_clone(&["for-each-ref", "--format=%(refname)", "refs/offshoot"]);
        let kept: Vec<_> =
            refs.lines().map(|name| stand.git_clone(&["show", &format!("{name}:x.txt")])).collect();
        assert_eq!(kept, ["precious"], "cancelled {cancelled}: {refs}");
        if !cancelled {
            std::fs::rename(&away, stand.remote()).unwrap();
        }
        stand.finish().await;
    }
}
