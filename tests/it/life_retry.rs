//! What a retry repeats, on a whole server: only what failed, and never an agent that is done.

use axum::http::Method;
use serde_json::{Value, json};

use crate::fake_github::{Effect, Fault};
use crate::stand::{self, Stand};

async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
}

/// A job whose agent wrote `file` while somebody else committed `theirs` to its branch.
async fn moved_away(stand: &Stand, branch: &str, file: &str, theirs: (&str, &str)) -> (String, String) {
    let prompt = format!("{}[[scenario:write path={file} content=ours]]", stand.gate_mark(branch));
    let id = submit(stand, branch, &prompt, json!({})).await;
    stand.wait_for_tool(&id).await;
    let tip = stand.foreign_commit(branch, theirs.0, theirs.1);
    stand.open_gate(branch);
    stand.failed(&id, "branch_moved").await;
    (id, tip)
}

/// How often agents were started since the last look.
struct Runs<'a>(&'a Stand, usize);

impl Runs<'_> {
    fn since(&mut self) -> usize {
        let before = std::mem::replace(&mut self.1, self.0.runs());
        self.1 - before
    }
}

#[tokio::test]
async fn what_a_retry_has_published_is_not_published_again() {
    let stand = Stand::new().await;
    let refusal = Effect::Status(422, json!({"message": "Validation Failed", "errors": []}), Vec::new());
    stand.github.fault(Fault::new(refusal).on(Method::POST, "/pulls"));
    let first = submit(&stand, "once", "Greet", json!({})).await;
    stand.failed(&first, "pull_request_refused").await;
    let again = stand.retry(&first, json!({})).await;
    let number = stand.completed(&again).await["number"].clone();
    assert_eq!(stand.job(&first).await["retriedAs"], number);
    let listed = stand.get("/jobs").await["jobs"].clone();
    let first_of_list = listed.as_array().unwrap().iter().find(|job| job["id"] == first.as_str()).unwrap();
    assert_eq!((&first_of_list["retriedAs"], &first_of_list["promptLine"]), (&number, &json!("Greet")));
    for mode in ["auto", "publish", "fresh", "resume"] {
        let answer = stand.call("POST", &format!("/jobs/{first}/retry"), Some(&json!({"mode": mode}))).await;
        assert_eq!((answer.0, &answer.1["code"]), (409, &json!("job_completed")), "{mode}: {:#}", answer.1);
        assert!(answer.1["detail"].as_str().unwrap().contains(&format!("#{number}")), "{:#}", answer.1);
    }
    stand.finish().await;
}

/// The phase that failed, the mode, what becomes of the retry and how many agents it starts.
#[tokio::test]
async fn each_failure_with_each_mode_runs_what_failed_and_nothing_else() {
    let stand = Stand::new().await;
    let mut runs = Runs(&stand, 0);
    let modes = [("auto", 0), ("publish", 0), ("fresh", 1), ("resume", 1)];
    for (mode, agents) in modes {
        // the push
        stand.remote_hook("pre-receive", "#!/bin/sh\nexit 1\n");
        let id = submit(&stand, &format!("push-{mode}"), "Greet", json!({})).await;
        stand.failed(&id, "push_rejected").await;
        stand.remove_remote_hook("pre-receive");
        runs.since();
        let again = stand.retry(&id, json!({"mode": mode})).await;
        assert_eq!(stand.completed(&again).await["outcome"], "pull_request", "push {mode}");
        assert_eq!(runs.since(), agents, "push {mode}");
        // the pull request
        let refusal = Effect::Status(422, json!({"message": "Validation Failed", "errors": []}), Vec::new());
        stand.github.fault(Fault::new(refusal).on(Method::POST, "/pulls"));
        let id = submit(&stand, &format!("pr-{mode}"), "Greet", json!({})).await;
        let failed = stand.failed(&id, "pull_request_refused").await;
        runs.since();
        let again = stand.retry(&id, json!({"mode": mode})).await;
        let job = stand.completed(&again).await;
        assert_eq!((&job["outcome"], runs.since()), (&json!("pull_request"), agents), "pull request {mode}");
        let same = job["headSha"] == failed["headSha"];
        assert_eq!(same, agents == 0, "pull request {mode}");
    }
    // the agent: there is nothing that could be published
    for (mode, agents) in [("auto", 1), ("fresh", 1), ("resume", 1)] {
        let id = submit(&stand, &format!("agent-{mode}"), "[[scenario:denied]]", json!({})).await;
        stand.failed(&id, "permission_denied").await;
        runs.since();
        let again = stand.retry(&id, json!({"mode": mode, "prompt": "Greet"})).await;
        stand.completed(&again).await;
        assert_eq!(runs.since(), agents, "agent {mode}");
    }
    let id = submit(&stand, "agent-publish", "[[scenario:denied]]", json!({})).await;
    stand.failed(&id, "permission_denied").await;
    let (status, body) =
        stand.call("POST", &format!("/jobs/{id}/retry"), Some(&json!({"mode": "publish"}))).await;
    assert_eq!((status, &body["code"]), (409, &json!("nothing_to_publish")));
    // the preparing: nothing was spent, and nothing can be published
    let id = stand.submit(json!({"prompt": "Greet", "branchName": "base", "baseBranch": "nowhere"})).await;
    stand.failed(&id, "base_not_found").await;
    runs.since();
    let again = stand.retry(&id, json!({})).await;
    stand.failed(&again, "base_not_found").await;
    assert_eq!(runs.since(), 0);
    stand.finish().await;
}

#[tokio::test]
async fn commits_are_brought_onto_a_branch_that_moved_and_the_agent_is_not_paid_twice() {
    let stand = Stand::new().await;
    let (id, theirs) = moved_away(&stand, "moved", "ours.txt", ("theirs.txt", "theirs")).await;
    let again = stand.retry(&id, json!({})).await;
    let job = stand.completed(&again).await;
    assert_eq!((&job["outcome"], stand.runs()), (&json!("pull_request"), 1));
    assert_eq!((&job["baseSha"], &job["filesChanged"]), (&json!(theirs), &json!(1)));
    assert_eq!(stand.tip("moved").as_deref(), job["headSha"].as_str());
    assert_eq!(stand.git(&["rev-parse", "moved^"]), theirs);
    assert_eq!(stand.git(&["show", "moved:ours.txt"]), "ours");
    assert_eq!(stand.git(&["show", "moved:theirs.txt"]), "theirs");
    let diff = stand.get_text(&format!("/jobs/{again}/diff")).await;
    assert!(diff.contains("ours.txt") && !diff.contains("theirs.txt"), "{diff}");
    stand.finish().await;
}

#[tokio::test]
async fn where_the_commits_conflict_the_agent_runs_again_unless_only_publishing_was_asked_for() {
    let stand = Stand::new().await;
    let (id, theirs) = moved_away(&stand, "torn", "same.txt", ("same.txt", "theirs")).await;
    let publish = stand.retry(&id, json!({"mode": "publish"})).await;
    let job = stand.failed(&publish, "branch_moved").await;
    assert!(job["error"].as_str().unwrap().contains("same.txt"), "{job:#}");
    assert_eq!((stand.tip("torn"), stand.runs()), (Some(theirs.clone()), 1));
    // of a retry that got nowhere the commit is not lost either
    let again = stand.retry(&publish, json!({})).await;
    let job = stand.completed(&again).await;
    assert_eq!((&job["outcome"], stand.runs()), (&json!("pull_request"), 2));
    assert!(job["warnings"].to_string().contains("same.txt"), "{job:#}");
    assert_eq!(stand.git(&["rev-parse", "torn^"]), theirs, "built on what is there");
    assert_eq!(stand.git(&["show", "torn:same.txt"]), "ours");
    stand.finish().await;
}

/// A job that ran into its limit with a commit of its own and a file beside it.
async fn cut_off(stand: &Stand, branch: &str) -> Value {
    let prompt = format!(
        "[[scenario:commit-itself]][[scenario:write path=half.txt content=half]]{}",
        stand.gate_mark("never")
    );
    let id = submit(stand, branch, &prompt, json!({"timeoutSeconds": 2})).await;
    stand.failed(&id, "timeout").await
}

#[tokio::test]
async fn a_resumed_job_goes_on_with_its_conversation_and_its_work() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let job = cut_off(&stand, "resumed").await;
    let (id, session) = (job["id"].as_str().unwrap(), job["sessionId"].as_str().unwrap());
    let body = json!({"mode": "resume", "prompt": "[[scenario:write path=rest.txt content=rest]] go on"});
    let again = stand.retry(id, body).await;
    let resumed = stand.completed(&again).await;
    assert_eq!((&resumed["outcome"], &resumed["sessionId"]), (&json!("pull_request"), &json!(session)));
    assert_eq!((&resumed["baseSha"], &resumed["warnings"]), (&job["baseSha"], &json!([])));
    assert_eq!(stand.conversations().last(), Some(&format!("--resume={session}")));
    for (file, text) in [("half.txt", "half"), ("rest.txt", "rest")] {
        assert_eq!(stand.git(&["show", &format!("resumed:{file}")]), text);
    }
    let log = stand.git(&["log", "--format=%s", "main..resumed"]);
    assert_eq!(log, "feat: resumed\nAdd a greeting", "the agent's own commit, and the rest");

    // without a new prompt the agent is told that it was cut off
    stand.open_gate("never");
    let job = cut_off_at_once(&stand).await;
    let again = stand.retry(job["id"].as_str().unwrap(), json!({"mode": "resume"})).await;
    stand.failed(&again, "permission_denied").await;
    let prompts = std::fs::read_to_string(stand.path("prompts")).unwrap();
    let last = prompts.rsplit("Your work on this was cut off").next().unwrap();
    assert!(last.contains("This was asked for:\n\n[[scenario:denied]]"), "{prompts}");
    stand.finish().await;
}

async fn cut_off_at_once(stand: &Stand) -> Value {
    let id = submit(stand, "denied", "[[scenario:denied]]", json!({})).await;
    stand.failed(&id, "permission_denied").await
}

#[tokio::test]
async fn a_conversation_that_is_lost_or_cannot_be_is_begun_afresh_and_that_is_said() {
    let stand = Stand::new().await;
    stand.install_noting_claude(stand::agents::UNKNOWN);
    let job = cut_off(&stand, "lost").await;
    let body = json!({"mode": "resume", "prompt": "[[scenario:write path=rest.txt content=rest]]"});
    stand.open_gate("never");
    let again = stand.retry(job["id"].as_str().unwrap(), body).await;
    let fresh = stand.completed(&again).await;
    let counted: Vec<_> =
        fresh["attempts"].as_array().unwrap().iter().map(|one| one["counted"].clone()).collect();
    assert_eq!(counted[0], json!(false), "the vain try costs nothing: {fresh:#}");
    assert!(fresh["warnings"].to_string().contains("starts afresh"), "{fresh:#}");
    assert_ne!(fresh["sessionId"], job["sessionId"]);
    // it is told both: what was asked at first, and what was added
    assert_eq!(stand.git(&["show", "lost:rest.txt"]), "rest");
    assert_eq!(stand.git(&["show", "lost:half.txt"]), "half");

    let id = submit(&stand, "sh", "exit 3", json!({"agent": "sh", "maxAttempts": 1})).await;
    stand.failed(&id, "crashed").await;
    let body = json!({"mode": "resume", "prompt": "echo x > x.txt"});
    let again = stand.retry(&id, body).await;
    let job = stand.wait_for(&again, "over", |job| !job["completedAt"].is_null()).await;
    assert!(job["warnings"].to_string().contains("cannot continue a conversation"), "{job:#}");
    stand.finish().await;
}

/// Gives the client of a job these options.
async fn client_says(stand: &Stand, job: &str, options: Value) {
    let client = stand.job(job).await["clientId"].as_str().unwrap().to_owned();
    let body = json!({"options": options});
    let answer = stand.call("PATCH", &format!("/clients/{client}"), Some(&body)).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
}

/// Somebody has looked at the commit of a dry run: that is no leave to push what nobody has seen.
#[tokio::test]
async fn a_dry_run_is_published_as_it_was_seen_or_not_at_all() {
    let stand = Stand::new().await;
    let dry = json!({"agent": "sh", "publish": "none", "maxAttempts": 1});
    let count = format!("echo run >> {}; echo ours > same.txt", stand.path("count").display());
    let runs = || std::fs::read_to_string(stand.path("count")).unwrap().lines().count();
    let id = submit(&stand, "seen", &count, dry.clone()).await;
    stand.completed(&id).await;
    let theirs = stand.foreign_commit("seen", "same.txt", "theirs");
    let mut last = id;
    // however often it is asked for, and whatever was retried
    for mode in ["auto", "auto", "publish", "auto"] {
        last = stand.retry(&last, json!({"mode": mode})).await;
        let job = stand.failed(&last, "branch_moved").await;
        assert!(job["reason"]["message"].as_str().unwrap().contains("--fresh"), "{job:#}");
        assert_eq!((stand.tip("seen"), runs()), (Some(theirs.clone()), 1), "{mode}");
    }
    // who wants it done again says so, and gets another dry run
    let again = stand.retry(&last, json!({"mode": "fresh"})).await;
    let outcome = stand.completed(&again).await["outcome"].clone();
    assert_eq!((runs(), stand.tip("seen")), (2, Some(theirs)), "{outcome}");
    stand.finish().await;
}

#[tokio::test]
async fn a_dry_run_goes_as_far_as_its_client_says_and_leaves_no_word_for_what_follows() {
    let stand = Stand::new().await;
    let dry = |name: &str| {
        let prompt = format!("[[scenario:write path={name} content=x]]");
        json!({"prompt": prompt, "branchName": name, "options": {"publish": "none"}})
    };
    let first = stand.submit(dry("b")).await;
    let says = async |publish: Value| client_says(&stand, &first, json!({"publish": publish})).await;
    says(json!("branch")).await;
    assert_eq!(stand.completed(&first).await["outcome"], "dry_run");
    let published = stand.retry(&first, json!({})).await;
    assert_eq!(stand.completed(&published).await["outcome"], "branch_pushed");
    assert_eq!(stand.github.pulls(), []);
    // its own word still holds for what follows
    says(json!("pull_request")).await;
    let goes_on = async |job: &str, name: &str| {
        let body = json!({"prompt": format!("[[scenario:write path={name} content=x]]")});
        let next = stand.post(&format!("/jobs/{job}/follow-up"), &body).await;
        stand.completed(next["id"].as_str().unwrap()).await["outcome"].clone()
    };
    assert_eq!(goes_on(&published, "more").await, "dry_run");
    // all say none: as far as it can go, and nothing is written down that would outrank the client later
    says(json!("none")).await;
    let last =
        stand.submit(json!({"prompt": "[[scenario:write path=c content=x]]", "branchName": "c"})).await;
    assert_eq!(stand.completed(&last).await["outcome"], "dry_run");
    let published = stand.retry(&last, json!({})).await;
    assert_eq!(stand.completed(&published).await["outcome"], "pull_request");
    says(json!("branch")).await;
    assert_eq!(goes_on(&published, "d").await, "branch_pushed");
    stand.finish().await;
}

#[tokio::test]
async fn whoever_asks_for_a_commit_gets_it_published_whatever_its_agent_can_and_its_job_said() {
    let stand = Stand::new().await;
    let quiet = json!({"agent": "sh", "publish": "none", "artifacts": ["missing"]});
    let id = submit(&stand, "kept", "echo ours > ours.txt", quiet).await;
    stand.failed(&id, "artifact_missing").await;
    // by now the client asks for what this agent cannot do: no agent runs here
    client_says(&stand, &id, json!({"maxTurns": 3, "publish": "branch"})).await;
    let refused = stand.call("POST", &format!("/jobs/{id}/retry"), Some(&json!({"mode": "fresh"}))).await;
    assert_eq!((refused.0, &refused.1["code"]), (422, &json!("not_supported")), "{}", refused.1);
    let published = stand.retry(&id, json!({"mode": "publish"})).await;
    let job = stand.completed(&published).await;
    assert_eq!((&job["outcome"], stand.tip("kept").is_some()), (&json!("branch_pushed"), true), "{job:#}");
    stand.finish().await;
}
