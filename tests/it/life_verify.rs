//! `verify` and its rounds on a whole server: what the owner's commands say of the work, and what becomes of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::life_ends::snapshot;
use crate::stand::{self, Plan, REPO, Stand};

async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
}

/// A command that accepts `a.txt` when it says `good`, and else tells the scripted agent what to do about it.
fn wants_good(stand: &Stand) -> String {
    format!(
        "echo run >> {}; [ \"$(cat a.txt)\" = good ] || {{ echo '[[scenario:write path=a.txt content=good]]'; exit 3; }}",
        stand.path("checks").display()
    )
}

const BAD: &str = "[[scenario:write path=a.txt content=bad]]";

fn lines(stand: &Stand, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(stand.path(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn results(job: &Value) -> Vec<(String, u64, Value)> {
    let one = |it: &Value| {
        (it["command"].as_str().unwrap().to_owned(), it["round"].as_u64().unwrap(), it["exitCode"].clone())
    };
    job["verify"].as_array().unwrap().iter().map(one).collect()
}

fn body_of_pull(stand: &Stand, branch: &str) -> String {
    stand.github.pulls().into_iter().find(|pull| pull.head == branch).expect("a pull request").body
}

#[tokio::test]
async fn work_that_is_accepted_is_published_with_what_was_said_of_it() {
    let stand = Stand::new().await;
    let env = stand.path("env");
    let verify =
        json!([format!("test -f a.txt && env > {} && echo looked-at", env.display()), ["true", "`x`"]]);
    let id = submit(&stand, "v", BAD, json!({"verify": verify})).await;
    let job = stand.completed(&id).await;
    assert_eq!(job["outcome"], "pull_request", "{job:#}");
    let first = format!("test -f a.txt && env > {} && echo looked-at", env.display());
    assert_eq!(results(&job), [(first, 1, json!(0)), ("true `x`".to_owned(), 1, json!(0))]);
    assert!(job["verify"][0]["durationMs"].is_u64() && job["verify"][0]["output"].is_null());
    assert_eq!(stand.callback(&id).await.body["verify"], job["verify"]);
    let body = body_of_pull(&stand, "v");
    assert!(
        body.contains("| Verification | `test -f a.txt") && body.contains("`true 'x'` exit 0, "),
        "{body}"
    );
    assert!(stand.get_text(&format!("/jobs/{id}/log")).await.contains("looked-at"));
    assert!(!std::fs::read_to_string(env).unwrap().contains("TOKEN"));
    let events = stand.get_text(&format!("/jobs/{id}/events")).await;
    let (agent, verifying) = (events.find("\"agent\"").unwrap(), events.find("\"verifying\"").unwrap());
    assert!(agent < verifying && verifying < events.find("\"committing\"").unwrap());
    // without commands nothing is said
    let id = submit(&stand, "none", BAD, json!({})).await;
    assert_eq!(stand.completed(&id).await["verify"], json!([]));
    assert!(body_of_pull(&stand, "none").contains("| Verification | none configured |"));
    stand.finish().await;
}

#[tokio::test]
async fn work_that_is_refused_is_kept_and_not_published() {
    let stand = Stand::new().await;
    let rows = [
        (
            "code",
            json!(["echo why >&2; exit 3", "true"]),
            "`echo why >&2; exit 3` exited with 3. Its last words: why",
        ),
        ("missing", json!([["./no-such-test"]]), "`./no-such-test` cannot be run: "),
        ("slow", json!(["sleep 1000"]), "`sleep 1000` was ended: 2 s (timeoutSeconds)"),
    ];
    for (branch, verify, text) in rows {
        let options = json!({"verify": verify, "verifyRounds": 0, "timeoutSeconds": 2});
        let id = submit(&stand, branch, BAD, options).await;
        let job = stand.failed(&id, "verify_failed").await;
        assert!(job["reason"]["message"].as_str().unwrap().contains(text), "{}", job["reason"]);
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["counted"], results(&job).len()), (1, &json!(false), 1));
        assert_eq!((stand.tip(branch), &job["headSha"], &job["prUrl"]), (None, &Value::Null, &Value::Null));
        assert_eq!(snapshot(&stand, &id, "a.txt"), "bad");
        let told = stand.callback(&id).await.body;
        assert_eq!((&told["reason"]["code"], &told["verify"]), (&json!("verify_failed"), &job["verify"]));
        assert_eq!(job["verify"][0]["output"], if branch == "code" { "why" } else { "" });
    }
    assert_eq!(stand.runs(), 3, "no repair was asked for");
    stand.finish().await;
}

#[tokio::test]
async fn the_agent_repairs_its_work_in_the_same_conversation() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = submit(&stand, "r", BAD, json!({"verify": [wants_good(&stand)]})).await;
    let job = stand.completed(&id).await;
    assert_eq!((stand.git(&["show", "r:a.txt"]).as_str(), lines(&stand, "checks").len()), ("good", 2));
    let session = job["sessionId"].as_str().unwrap();
    assert_eq!(lines(&stand, "args"), [format!("--session-id={session}"), format!("--resume={session}")]);
    let prompts = std::fs::read_to_string(stand.path("prompts")).unwrap();
    assert!(
        prompts.contains("Your work is not accepted yet.") && prompts.contains("exited with 3"),
        "{prompts}"
    );
    assert_eq!((&results(&job)[0].1, &results(&job)[0].2), (&2, &json!(0)));
    assert!(body_of_pull(&stand, "r").contains("(after a repair)"));
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    // both turns are paid for, and both can be read; the mark stands in the command and in its output
    let alone = submit(&stand, "one", BAD, json!({})).await;
    let alone = stand.completed(&alone).await;
    let turns = |job: &Value| job["usage"]["turns"].as_u64().unwrap();
    assert_eq!((turns(&alone), turns(&job)), (1, 1 + 2), "{} {}", job["usage"], alone["usage"]);
    let raw = stand.get_text(&format!("/jobs/{id}/log?raw=true")).await;
    assert_eq!(raw.matches("\"subtype\":\"init\"").count(), 2, "{raw}");
    stand.finish().await;
}

/// From before the job begins, over the turns of its agent, to its end; and what is read afterwards is the same.
#[tokio::test]
async fn what_the_agent_writes_is_followed_byte_for_byte_from_turn_to_turn() {
    let stand = Stand::new().await;
    stand.post("/queue/pause", &json!({})).await;
    let verify = json!([stand.gated("looks"), wants_good(&stand)]);
    let id =
        submit(&stand, "f", &format!("{BAD}{}", stand.gate_mark("first")), json!({"verify": verify})).await;
    let url = format!("{}/jobs/{id}/log?follow=true&raw=true", stand.base_url());
    let asked = reqwest::Client::new().get(url).bearer_auth(stand::SECRET).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    let (mut asked, mut text) = (asked, String::new());
    let mut until = async |text: &mut String, what: &str| {
        while what.is_empty() || !text.contains(what) {
            let piece = tokio::time::timeout(stand::PATIENCE, asked.chunk()).await.expect(what).unwrap();
            let Some(piece) = piece else { break };
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    };
    stand.post("/queue/resume", &json!({})).await;
    until(&mut text, "\"subtype\":\"init\"").await;
    assert!(!text.contains("\"type\":\"result\""), "{text}");
    stand.open_gate("first");
    until(&mut text, "\"type\":\"result\"").await;
    stand.has_run("looks", 1).await;
    stand.open_gate("looks");
    until(&mut text, "").await;
    assert_eq!(text.matches("\"subtype\":\"init\"").count(), 2, "{text}");
    stand.completed(&id).await;
    for follow in [false, true] {
        let whole = stand.get_text(&format!("/jobs/{id}/log?raw=true&follow={follow}")).await;
        assert_eq!(whole, text, "{follow}");
    }
    stand.finish().await;
}

#[tokio::test]
async fn no_more_is_repaired_than_the_owner_allows() {
    let stand = Stand::new().await;
    let verify = json!([format!("echo run >> {}; exit 1", stand.path("checks").display())]);
    let id = submit(&stand, "n", BAD, json!({"verify": verify, "verifyRounds": 2})).await;
    let job = stand.failed(&id, "verify_failed").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("exited with 1, also after 2 repairs."));
    assert_eq!((stand.runs(), lines(&stand, "checks").len(), results(&job)[0].1), (3, 3, 3));
    assert_eq!(stand.tip("n"), None);
    // one repair unless something else is said
    let id = submit(&stand, "m", BAD, json!({"verify": ["exit 1"]})).await;
    stand.failed(&id, "verify_failed").await;
    assert_eq!(stand.runs(), 5);
    stand.finish().await;
}

/// Its input is no text: it is told what was asked for, and nothing else.
#[tokio::test]
async fn a_plain_command_repairs_nothing_and_is_told_nothing_but_its_prompt() {
    let stand = Stand::new().await;
    let prompt = format!("echo run >> {}; echo bad > a.txt", stand.path("runs").display());
    let verify = json!([format!("echo run >> {}; grep good a.txt", stand.path("checks").display())]);
    let id = submit(&stand, "p", &prompt, json!({"agent": "sh", "verify": verify, "verifyRounds": 3})).await;
    let job = stand.failed(&id, "verify_failed").await;
    assert_eq!((lines(&stand, "runs").len(), lines(&stand, "checks").len()), (1, 1), "{job:#}");
    assert_eq!((job["attempts"].as_array().unwrap().len(), &job["warnings"]), (1, &json!([])), "{job:#}");
    assert!(!job["reason"]["message"].as_str().unwrap().contains("repair"), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn who_does_not_know_the_conversation_repairs_afresh_and_that_is_said() {
    let stand = Stand::new().await;
    stand.install_noting_claude(stand::agents::UNKNOWN);
    let id = submit(&stand, "l", BAD, json!({"verify": [wants_good(&stand)]})).await;
    let job = stand.completed(&id).await;
    assert!(
        job["warnings"].to_string().contains("there is none that the agent knows"),
        "{}",
        job["warnings"]
    );
    let (args, attempts) = (lines(&stand, "args"), job["attempts"].as_array().unwrap());
    assert_eq!((args.len(), attempts.len()), (3, 1), "{args:?}");
    assert!(args[0].starts_with("--session-id=") && args[1].starts_with("--resume="), "{args:?}");
    assert!(args[2] != args[0] && args[2].ends_with(job["sessionId"].as_str().unwrap()), "{args:?}");
    stand.finish().await;
}

#[tokio::test]
async fn a_verification_and_a_repair_outlive_the_server_and_nothing_is_paid_twice() {
    let mut stand = Stand::new().await;
    let ends = format!("{}; {}", stand.gated("ends"), wants_good(&stand));
    // the client's options hold for the attempts that begin with them
    stand.post("/clients", &json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"})).await;
    let clients = stand.get("/clients").await;
    let client = format!("/clients/{}", clients["clients"][0]["id"].as_str().unwrap());
    let set = async |stand: &Stand, options: Value| {
        let answer = stand.call("PATCH", &client, Some(&json!({"options": options}))).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    };
    set(&stand, json!({"verify": [stand.gated("runs-on"), ends]})).await;
    let prompt = format!("{BAD}{}", stand.gate_mark("work"));
    let id = submit(&stand, "k", &prompt, json!({})).await;
    stand.wait_for_tool(&id).await;
    stand.kill9().await;
    stand.open_gate("work");
    stand.start_again().await;
    stand.has_run("runs-on", 1).await;
    assert_eq!(stand.job(&id).await["phase"], "verifying");
    set(&stand, json!({"verify": ["exit 9"]})).await;
    for _ in 0..2 {
        stand.kill9().await;
        stand.start_again().await;
        assert_eq!(stand.job(&id).await["status"], "running");
    }
    stand.open_gate("runs-on");
    stand.has_run("ends", 1).await;
    stand.kill9().await;
    stand.open_gate("ends");
    stand.wait_until("it has ended", async || stand.processes().is_empty().then_some(())).await;
    stand.start_again().await;
    let job = stand.completed(&id).await;
    assert_eq!((job["attempts"].as_array().unwrap().len(), stand.runs()), (1, 2), "{job:#}");
    // each command once in each of the two rounds
    let counts = ["runs-on", "ends", "checks"].map(|name| lines(&stand, name).len());
    assert_eq!(counts, [2, 2, 2]);
    assert_eq!(results(&job).iter().map(|one| one.1).collect::<Vec<_>>(), [2, 2]);
    stand.finish().await;
}

#[tokio::test]
async fn a_verification_that_is_cut_off_is_begun_again_without_the_agent() {
    let mut stand = Stand::built(Plan::default()).await;
    stand.start_with(&["--stop-agents"]).await;
    let id = submit(&stand, "c", BAD, json!({"verify": [stand.gated("check")]})).await;
    stand.has_run("check", 1).await;
    let pid = stand.job(&id).await["pid"].as_i64().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    stand.has_run("check", 2).await;
    // a server that takes what runs along leaves it to the next one
    assert_eq!(stand.terminate(Duration::from_secs(40)).await, Some(0));
    assert!(stand.processes().is_empty(), "{:?}", stand.processes());
    stand.start_again().await;
    stand.has_run("check", 3).await;
    stand.open_gate("check");
    let job = stand.completed(&id).await;
    assert_eq!((job["attempts"].as_array().unwrap().len(), stand.runs()), (1, 1), "{job:#}");
    stand.finish().await;
}

/// A kill says nothing of the work, and no agent is paid to repair it.
#[tokio::test]
async fn a_verification_that_is_killed_is_begun_again_and_nothing_is_repaired() {
    let stand = Stand::new().await;
    let once = stand.path("once");
    let check = format!("[ -e {0} ] || {{ touch {0}; kill -9 $$; }}", once.display());
    let id = submit(&stand, "k", BAD, json!({"verify": [check], "verifyRounds": 1})).await;
    let job = stand.completed(&id).await;
    assert_eq!((job["attempts"].as_array().unwrap().len(), stand.runs()), (1, 1), "{job:#}");
    assert_eq!(
        results(&job).iter().map(|(_, round, code)| (*round, code.clone())).collect::<Vec<_>>(),
        [(1, json!(0))]
    );
    stand.finish().await;
}

#[tokio::test]
async fn a_verification_is_cancelled_with_all_that_it_started() {
    let stand = Stand::new().await;
    let verify = format!("setsid sleep 1000 & {}", stand.gated("never"));
    let id = submit(&stand, "x", BAD, json!({"verify": [verify]})).await;
    stand.has_run("never", 1).await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    assert!(stand.processes().is_empty(), "{:?}", stand.processes());
    let job = stand.job(&id).await;
    assert_eq!((&job["status"], stand.tip("x")), (&json!("cancelled"), None));
    assert_eq!(snapshot(&stand, &id, "a.txt"), "bad");
    stand.finish().await;
}

#[tokio::test]
async fn a_retry_that_publishes_says_what_was_said_of_the_commit() {
    let stand = Stand::new().await;
    stand.remote_hook("pre-receive", "#!/bin/sh\necho not yet; exit 1\n");
    let id = submit(&stand, "pub", BAD, json!({"verify": ["true"]})).await;
    stand.failed(&id, "push_rejected").await;
    stand.remove_remote_hook("pre-receive");
    let again = stand.retry(&id, json!({})).await;
    let job = stand.completed(&again).await;
    assert_eq!((stand.runs(), results(&job)), (1, vec![("true".to_owned(), 1, json!(0))]));
    assert!(body_of_pull(&stand, "pub").contains("| Verification | `true` exit 0, "));
    assert_eq!(stand.get("/jobs").await["total"], 2, "of {REPO}");
    stand.finish().await;
}
