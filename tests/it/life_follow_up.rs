//! Follow-ups on a whole server: the same branch, place, conversation and pull request, whatever has become of the job before.

use axum::http::Method;
use serde_json::{Value, json};

use crate::fake_github::{Effect, Fault};
use crate::rescue::offshoot;
use crate::stand::Stand;

async fn follow_up(stand: &Stand, job: &str, body: Value) -> String {
    let answer = stand.post(&format!("/jobs/{job}/follow-up"), &body).await;
    assert_eq!((&answer["parentJobId"], &answer["originalJobId"]), (&json!(job), &Value::Null));
    answer["id"].as_str().unwrap().to_owned()
}

fn write(file: &str) -> String {
    format!("[[scenario:write path={file} content={file}]]")
}

#[tokio::test]
async fn a_follow_up_goes_on_where_the_job_was_and_does_not_open_a_second_pull_request() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let first = stand.submit(json!({"prompt": write("a.txt"), "branchName": "feat/a", "title": "A"})).await;
    let parent = stand.completed(&first).await;
    assert_eq!(stand.worktrees().len(), 0, "it is made anew");
    let prompt = format!("{}{}", stand.gate_mark("g"), write("b.txt"));
    let second = follow_up(&stand, &first, json!({"prompt": prompt, "title": "B"})).await;
    stand.wait_for_tool(&second).await;
    let runs = stand.job(&second).await;
    assert!(runs["worktreePath"].as_str().unwrap().ends_with(&first), "{runs:#}");
    stand.open_gate("g");
    let job = stand.completed(&second).await;
    for same in ["branchName", "sessionId", "prNumber", "prUrl", "clientId", "rootJobId"] {
        assert_eq!(job[same], parent[same], "{same}");
    }
    assert_eq!((&job["rootJobId"], &job["warnings"]), (&json!(first), &json!([])));
    assert_eq!((&job["baseSha"], &job["filesChanged"]), (&parent["headSha"], &json!(1)));
    assert_eq!(stand.github.pulls().len(), 1);
    let told = stand.conversations();
    let session = parent["sessionId"].as_str().unwrap();
    assert_eq!(told, [format!("--session-id={session}"), format!("--resume={session}")]);
    assert!(!stand.prompts().contains("cut off"), "it is asked for something new");
    assert_eq!(stand.git(&["log", "--format=%s", "main..feat/a"]), "B\nA");
    stand.callback(&second).await;
    // of a follow-up, too
    let third = follow_up(&stand, &second, json!({"prompt": write("c.txt")})).await;
    let job = stand.completed(&third).await;
    assert_eq!((&job["prNumber"], &job["rootJobId"]), (&parent["prNumber"], &json!(first)));
    assert_eq!(stand.git(&["diff", "--name-only", "main", "feat/a"]), "a.txt\nb.txt\nc.txt");
    stand.finish().await;
}

/// A chain has one place, also where one of its jobs had to take another branch than was asked for.
#[tokio::test]
async fn a_follow_up_waits_for_another_one_on_the_branch_that_this_had_to_take() {
    let stand = Stand::new().await;
    stand.foreign_commit("taken", "theirs.txt", "theirs");
    stand.post("/queue/pause", &json!({})).await;
    let options = json!({"onBranchExists": "suffix"});
    let body = json!({"prompt": write("a.txt"), "branchName": "taken", "options": options});
    let first = stand.submit(body).await;
    stand.post(&format!("/jobs/{first}/cancel"), &json!({})).await;
    stand.post("/queue/resume", &json!({})).await;
    let prompt = format!("{}{}", stand.gate_mark("g"), write("b.txt"));
    let second = follow_up(&stand, &first, json!({"prompt": prompt})).await;
    stand.wait_for_tool(&second).await;
    let third = follow_up(&stand, &first, json!({"prompt": write("c.txt")})).await;
    let waits = stand.job(&third).await;
    assert_eq!((&waits["status"], &waits["branchName"]), (&json!("queued"), &json!("taken-2")), "{waits:#}");
    let (status, refused) = stand.call("POST", &format!("/jobs/{first}/retry"), Some(&json!({}))).await;
    assert_eq!((status, &refused["code"]), (409, &json!("branch_busy")), "{refused:#}");
    stand.open_gate("g");
    let (one, two) = (stand.completed(&second).await, stand.completed(&third).await);
    assert_eq!((&one["prNumber"], &two["baseSha"]), (&two["prNumber"], &one["headSha"]));
    stand.finish().await;
}

/// Work that is kept is laid out as it was; what others have pushed since is not overwritten by it, whatever the job was let do
/// with a branch that was there before.
#[tokio::test]
async fn a_follow_up_overwrites_nothing_that_came_to_the_branch_since() {
    let stand = Stand::new().await;
    stand.foreign_commit("again", "old.txt", "old");
    let refusal = Effect::Status(422, json!({"message": "Validation Failed", "errors": []}), Vec::new());
    stand.github.fault(Fault::new(refusal).on(Method::POST, "/pulls"));
    let options = json!({"onBranchExists": "reset"});
    let first =
        stand.submit(json!({"prompt": write("a.txt"), "branchName": "again", "options": options})).await;
    stand.failed(&first, "pull_request_refused").await;
    let theirs = stand.foreign_commit("again", "theirs.txt", "theirs");
    let second = follow_up(&stand, &first, json!({"prompt": write("b.txt")})).await;
    stand.failed(&second, "branch_moved").await;
    assert_eq!(stand.tip("again"), Some(theirs));
    let again = stand.retry(&second, json!({})).await;
    stand.completed(&again).await;
    assert_eq!(stand.git(&["diff", "--name-only", "main", "again"]), "a.txt\nb.txt\ntheirs.txt");
    stand.finish().await;
}

/// What an attempt left that was followed by one which found nothing to do is no work to go on with.
#[tokio::test]
async fn a_follow_up_of_a_job_without_changes_begins_without_what_an_attempt_had_left() {
    let stand = Stand::new().await;
    let once = stand.path("once");
    let prompt = format!(
        "[ ! -e {0} ] || exit 0; touch {0}; echo half > half.txt; kill -9 $PPID; sleep 1000",
        once.display()
    );
    let body = json!({"prompt": prompt, "branchName": "none", "options": {"agent": "sh"}});
    let first = stand.submit(body).await;
    let job = stand.completed(&first).await;
    assert_eq!((&job["outcome"], &job["attempt"]), (&json!("no_changes"), &json!(2)), "{job:#}");
    let second = follow_up(&stand, &first, json!({"prompt": "echo b > b.txt"})).await;
    stand.completed(&second).await;
    assert_eq!(stand.git(&["diff", "--name-only", "main", "none"]), "b.txt");
    stand.finish().await;
}

#[tokio::test]
async fn follow_ups_of_a_living_job_wait_for_its_end_in_their_order_over_a_kill() {
    let mut stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!("{}{}", write("a.txt"), stand.gate_mark("g"));
    let first = stand.submit_prompt("chain", &prompt).await;
    stand.wait_for_tool(&first).await;
    let second = follow_up(&stand, &first, json!({"prompt": write("b.txt")})).await;
    // of the first one, but there is another before it by now
    let third = follow_up(&stand, &first, json!({"prompt": write("c.txt")})).await;
    for id in [&second, &third] {
        let job = stand.job(id).await;
        assert_eq!((&job["status"], &job["waiting"]["for"]), (&json!("queued"), &json!("branch")), "{job:#}");
    }
    let (status, other) = stand.try_submit(json!({"prompt": "x", "branchName": "chain"})).await;
    assert_eq!((status, &other["code"]), (409, &json!("branch_busy")), "{other}");
    stand.kill9().await;
    stand.start_again().await;
    stand.open_gate("g");
    let jobs = [stand.completed(&first).await, stand.completed(&second).await, stand.completed(&third).await];
    assert_eq!((&jobs[1]["baseSha"], &jobs[2]["baseSha"]), (&jobs[0]["headSha"], &jobs[1]["headSha"]));
    assert!(
        jobs.iter()
            .all(|job| job["sessionId"] == jobs[0]["sessionId"] && job["prNumber"] == jobs[0]["prNumber"])
    );
    assert_eq!(stand.git(&["diff", "--name-only", "main", "chain"]), "a.txt\nb.txt\nc.txt");
    assert_eq!(stand.conversations().len(), 3);
    stand.finish().await;
}

/// How the job before ended, and which of its files the follow-up finds.
#[tokio::test]
async fn a_job_in_every_end_can_be_followed_up() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let no_change = json!({"prompt": "[[scenario:no-change]]", "branchName": "none"});
    let dry = json!({"prompt": write("own.txt"), "branchName": "dry", "options": {"publish": "none"}});
    let cut = format!("{}{}", write("own.txt"), stand.gate_mark("never"));
    let cut = json!({"prompt": cut, "branchName": "cut", "options": {"timeoutSeconds": 2}});
    let rejected = json!({"prompt": write("own.txt"), "branchName": "rejected"});
    let shell = json!({"prompt": "echo own > own.txt; exit 3", "branchName": "sh",
        "options": {"agent": "sh", "maxAttempts": 1}});
    for (body, end, outcome, finds, resumes) in [
        (no_change, "completed", "no_changes", false, true),
        (dry, "completed", "dry_run", true, true),
        (cut, "failed", "failed", true, true),
        (rejected, "failed", "failed", true, true),
        (shell, "failed", "failed", true, false),
    ] {
        let branch = body["branchName"].as_str().unwrap().to_owned();
        if branch == "rejected" {
            stand.remote_hook("pre-receive", "#!/bin/sh\nexit 1\n");
        }
        let first = stand.submit(body.clone()).await;
        let before = stand.wait_for_status(&first, end).await;
        assert_eq!(before["outcome"], outcome, "{branch}");
        if branch == "rejected" {
            stand.remove_remote_hook("pre-receive");
        }
        let prompt = if resumes { write("rest.txt") } else { "echo rest > rest.txt".to_owned() };
        let body = json!({"prompt": prompt, "options": {"publish": "pull_request", "timeoutSeconds": 60}});
        let job = stand.completed(&follow_up(&stand, &first, body).await).await;
        assert_eq!(job["outcome"], "pull_request", "{branch}: {job:#}");
        let files = if finds { "own.txt\nrest.txt" } else { "rest.txt" };
        assert_eq!(stand.git(&["diff", "--name-only", "main", &branch]), files, "{branch}");
        assert_eq!(job["sessionId"], before["sessionId"], "{branch}");
        assert_eq!(job["warnings"] == json!([]), resumes, "{branch}: {}", job["warnings"]);
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_cancelled_job_can_be_followed_up_whether_it_had_begun_or_not() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!("{}{}", write("own.txt"), stand.gate_mark("never"));
    let first = stand.submit_prompt("cancelled", &prompt).await;
    stand.wait_for_tool(&first).await;
    let waits = follow_up(&stand, &first, json!({"prompt": write("rest.txt")})).await;
    assert_eq!(stand.cancel(&first).await.0, 200);
    let job = stand.completed(&waits).await;
    assert_eq!(job["sessionId"], stand.job(&first).await["sessionId"]);
    assert_eq!(stand.git(&["diff", "--name-only", "main", "cancelled"]), "own.txt\nrest.txt");

    stand.post("/queue/pause", &json!({})).await;
    let never = stand.submit_prompt("never", &write("own.txt")).await;
    let after = follow_up(&stand, &never, json!({"prompt": write("rest.txt")})).await;
    assert_eq!(stand.cancel(&never).await.0, 200);
    stand.post("/queue/resume", &json!({})).await;
    let job = stand.completed(&after).await;
    assert!(job["warnings"].to_string().contains("starts afresh"), "{job:#}");
    assert_eq!(stand.git(&["diff", "--name-only", "main", "never"]), "rest.txt");
    assert!(stand.conversations().last().unwrap().starts_with("--session-id="));
    stand.finish().await;
}

/// A branch that is taken gets a number while the job runs; who follows it up goes along.
#[tokio::test]
async fn a_follow_up_goes_to_the_branch_that_the_job_came_to() {
    let stand = Stand::new().await;
    stand.foreign_commit("taken", "theirs.txt", "theirs");
    stand.post("/queue/pause", &json!({})).await;
    let options = json!({"onBranchExists": "suffix"});
    let first =
        stand.submit(json!({"prompt": write("a.txt"), "branchName": "taken", "options": options})).await;
    let second = follow_up(&stand, &first, json!({"prompt": write("b.txt")})).await;
    stand.post("/queue/resume", &json!({})).await;
    let (one, two) = (stand.completed(&first).await, stand.completed(&second).await);
    assert_eq!((&one["branchName"], &two["branchName"]), (&json!("taken-2"), &json!("taken-2")));
    assert_eq!(one["prNumber"], two["prNumber"]);
    stand.finish().await;
}

#[tokio::test]
async fn what_leads_away_from_the_job_before_is_refused_and_the_command_line_follows_up() {
    let stand = Stand::new().await;
    let first = stand.submit_prompt("cli", &write("a.txt")).await;
    stand.completed(&first).await;
    let path = format!("/jobs/{first}/follow-up");
    for (body, pointer) in [
        (json!({}), "/prompt"),
        (json!({"prompt": "x", "branchName": "other"}), "/branchName"),
        (json!({"prompt": "x", "dependsOn": [1]}), "/dependsOn"),
        (json!({"prompt": "x", "title": "two\nlines"}), "/title"),
    ] {
        let (status, problem) = stand.call("POST", &path, Some(&body)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
    }
    let body = json!({"prompt": "x"});
    assert_eq!(stand.call("POST", "/jobs/4711/follow-up", Some(&body)).await.0, 404);
    let number = stand.job(&first).await["number"].to_string();
    let prompt = write("b.txt");
    let words = ["follow-up", &number, &prompt, "--title", "B", "--wait", "--json"];
    let (code, out, err) = offshoot(&stand, &words).await;
    assert_eq!(code, 0, "{out}{err}");
    let job: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&job["parentJobId"], &job["status"]), (&json!(first), &json!("completed")));
    stand.finish().await;
}
