//! Conversations of agents that call each of theirs the same, on a whole server; and what an agent says when it may not be heard any more.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::life_acp::{built, called, said, stand, submit, times};
use crate::stand::Stand;

async fn client(stand: &Stand, repo: &str) -> String {
    stand.make_remote(&format!("acme/{repo}"));
    let body = json!({"name": repo, "githubOrg": "acme", "githubRepo": repo});
    stand.post("/clients", &body).await["id"].as_str().unwrap().to_owned()
}

async fn of_client(stand: &Stand, client: &str, branch: &str, agent: &str) -> String {
    let body = json!({"clientId": client, "prompt": format!("do:write={branch}.txt"), "branchName": branch,
        "options": {"agent": agent, "maxAttempts": 1, "publish": "branch"}});
    stand.submit(body).await
}

async fn call(stand: &Stand, token: &str, method: reqwest::Method, path: &str) -> (u16, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}{path}", stand.base_url());
    let answer = http.request(method, url).bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// What somebody sees, forgets and is told to have used is of his own clients' conversations, whatever others call theirs.
#[tokio::test]
async fn conversations_of_one_id_are_told_apart_by_whose_they_are() {
    use reqwest::Method;
    let Some(stand) = stand("conversations of one name", "").await else { return };
    let (mine, theirs) = (client(&stand, "mine").await, client(&stand, "theirs").await);
    let mut jobs = Vec::new();
    for (client, branch, agent) in
        [(&mine, "a", "one"), (&theirs, "b", "one"), (&mine, "c", "other"), (&theirs, "d", "one")]
    {
        let id = of_client(&stand, client, branch, agent).await;
        let job = stand.completed(&id).await;
        assert_eq!(job["sessionId"], "sess-1");
        // a new conversation has cost what it says, whatever bears its id
        assert_eq!(job["usage"]["costUsd"], json!(0.25), "{job:#}");
        jobs.push(id);
    }
    let request = json!({"name": "limited", "scope": "operate", "clients": [theirs]});
    let token = stand.post("/tokens", &request).await["token"].as_str().unwrap().to_owned();
    let (_, listed) = call(&stand, &token, Method::GET, "/sessions").await;
    let roots = |listed: &Value| -> Vec<Value> {
        listed["sessions"].as_array().unwrap().iter().map(|one| one["rootJobId"].clone()).collect()
    };
    assert_eq!(roots(&listed), [json!(jobs[3]), json!(jobs[1])]);
    let (status, one) = call(&stand, &token, Method::GET, "/sessions/sess-1").await;
    assert_eq!((status, &one["rootJobId"], &one["jobsTotal"]), (200, &json!(jobs[3]), &json!(1)), "{one}");
    let of = |root: &str| format!("/sessions/sess-1?rootJobId={root}");
    assert_eq!(call(&stand, &token, Method::GET, &of(&jobs[0])).await.0, 404);
    assert_eq!(call(&stand, &token, Method::DELETE, &of(&jobs[0])).await.0, 404);
    let (status, problem) = call(&stand, &token, Method::DELETE, "/sessions/sess-1").await;
    assert_eq!((status, &problem["code"]), (409, &json!("session_ambiguous")), "{problem}");
    let text = problem["error"].as_str().unwrap();
    assert!(text.contains(&jobs[1]) && text.contains(&jobs[3]) && !text.contains(&jobs[0]), "{text}");
    let (status, gone) = call(&stand, &token, Method::DELETE, &of(&jobs[3])).await;
    assert_eq!((status, &gone["jobs"]), (200, &json!(1)));
    // now it is one, as far as this token sees
    assert_eq!(call(&stand, &token, Method::DELETE, "/sessions/sess-1").await.0, 200);
    assert_eq!(call(&stand, &token, Method::GET, "/sessions/sess-1").await.0, 404);
    assert_eq!(roots(&stand.get("/sessions").await), [json!(jobs[2]), json!(jobs[0])]);
    assert_eq!(stand.job(&jobs[0]).await["sessionId"], "sess-1", "it is another one");
    assert_eq!(stand.job(&jobs[1]).await["sessionId"], Value::Null);
    stand.finish().await;
}

#[tokio::test]
async fn what_an_agent_says_after_its_answer_is_heard_and_it_may_store_its_conversation() {
    let Some(stand) = stand("late words", "").await else { return };
    let id = submit(&stand, "l", "acp", "do:write do:late", json!({})).await;
    let job = stand.completed(&id).await;
    assert_eq!(job["usage"]["costUsd"], json!(1.5), "{job:#}");
    assert!(said(&stand, &id).await.contains("Told late."));
    assert!(called(&stand).contains(&"stored late".to_owned()), "{:?}", called(&stand));
    // what came before the prompt is in the log as well
    let log = stand.get_text(&format!("/jobs/{id}/log?raw=true")).await;
    assert!(log.contains("protocolVersion") && log.contains("stopReason"), "{log}");
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_that_asks_on_and_on_and_reads_nothing_is_ended() {
    let Some(stand) = stand("a flood of questions", "").await else { return };
    let id = submit(&stand, "f", "acp", "do:flood", json!({})).await;
    let job = stand.failed(&id, "crashed").await;
    let why = job["reason"]["message"].as_str().unwrap();
    assert!(why.contains("reads none of the answers"), "{why}");
    stand.finish().await;
}

#[tokio::test]
async fn a_conversation_that_is_too_long_begins_anew_and_one_that_is_refused_for_now_does_not() {
    let Some(stand) = stand("long conversations", "").await else { return };
    let follow = async |agent: &str, prompt: &str| {
        let first = submit(&stand, agent, agent, "do:write=one.txt", json!({})).await;
        let before = stand.completed(&first).await["sessionId"].clone();
        let answer = stand.post(&format!("/jobs/{first}/follow-up"), &json!({"prompt": prompt})).await;
        (before, answer["id"].as_str().unwrap().to_owned())
    };
    let (before, id) = follow("acp", "do:full do:write=two.txt").await;
    let job = stand.completed(&id).await;
    assert_ne!(job["sessionId"], before);
    let warnings = job["warnings"].to_string();
    assert!(warnings.contains("Prompt is too long") && warnings.contains("starts afresh"), "{warnings}");
    // too many requests: the conversation is as good as before
    let (_, id) = follow("busy", "do:write=two.txt").await;
    let job = stand.wait_for(&id, "its pause", |job| job["reason"]["code"] == "overloaded").await;
    assert_eq!((&job["waiting"]["for"], &job["warnings"]), (&json!("backoff"), &json!([])), "{job:#}");
    stand.cancel(&id).await;
    stand.wait_for_status(&id, "cancelled").await;
    assert_eq!(times(&stand, "session/new"), 3);
    stand.wait_until("the worktrees are swept", async || stand.worktrees().is_empty().then_some(())).await;
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_that_goes_is_said_to_have_failed_where_it_went() {
    let Some(stand) = stand("an agent that goes early", "").await else { return };
    let first = submit(&stand, "s", "shuts", "do:write=s.txt", json!({})).await;
    stand.completed(&first).await;
    let answer = stand.post(&format!("/jobs/{first}/follow-up"), &json!({"prompt": "do:write=t.txt"})).await;
    let id = answer["id"].as_str().unwrap();
    stand.failed(id, "crashed").await;
    let log = stand.get_text(&format!("/jobs/{id}/log?raw=true")).await;
    assert!(log.contains(r#"{"acp":"failed","step":"session/load","why":"closed""#), "{log}");
    stand.finish().await;
}

/// More than a pipe holds is on its way to it.
#[tokio::test]
async fn an_agent_that_closes_its_output_and_reads_nothing_is_ended() {
    let Some(stand) = stand("an agent whose input is full", "").await else { return };
    let prompt = "x".repeat(200_000);
    let id = submit(&stand, "f", "fills", &prompt, json!({"idleTimeoutSeconds": 600})).await;
    stand.failed(&id, "crashed").await;
    let log = stand.get_text(&format!("/jobs/{id}/log?raw=true")).await;
    assert!(log.contains(r#"{"acp":"failed","step":"session/prompt","why":"closed""#), "{log}");
    assert!(!called(&stand).contains(&"nobody came".to_owned()));
    stand.finish().await;
}

/// Its turn is over: what it has not read of the answers keeps nobody waiting.
#[tokio::test]
async fn an_agent_that_ends_its_turn_with_answers_unread_is_let_go() {
    let Some(stand) = stand("answers that are not read", "").await else { return };
    let options = json!({"permissionMode": "bypassPermissions", "idleTimeoutSeconds": 60});
    let id = submit(&stand, "u", "acp", "do:write do:unread", options).await;
    let job = stand.completed(&id).await;
    assert_eq!(job["warnings"], json!([]), "{job:#}");
    stand.finish().await;
}

/// It does not say who it is, and takes no notice of a closed input nor of SIGTERM.
#[tokio::test]
async fn a_look_at_a_deaf_agent_ends_with_its_server() {
    let Some(mut stand) = built("a look at a deaf agent").await else { return };
    let args = [stand.path("agents/agent.py"), stand.path("acp"), "deaf".into()];
    let config = format!("[agents.deaf]\nkind = \"acp\"\ncommand = \"python3\"\nargs = {args:?}\n");
    stand.add_config(&config);
    stand.start().await;
    let looked_at =
        async || called(&stand).iter().find_map(|line| line.strip_prefix("pid ").map(str::to_owned));
    let pid = stand.wait_until("the look", looked_at).await;
    let process = Pid::from_raw(pid.parse().unwrap());
    let is_gone = || {
        // nobody may be there who takes its exit
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is_zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
        is_zombie || kill(process, None) == Err(Errno::ESRCH)
    };
    assert!(!is_gone());
    let goes = async {
        while !is_gone() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // it would have gone by itself later, 20 s after it was asked
    let (_, gone) =
        tokio::join!(stand.terminate(Duration::from_secs(25)), timeout(Duration::from_secs(15), goes));
    assert!(gone.is_ok(), "process {pid} is still there");
}
