//! Which login a waiting job is for, when its owner changes his mind.

use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

pub(crate) async fn give(stand: &Stand, job: &Value, agent: &str) {
    let client = format!("/clients/{}", job["clientId"].as_str().unwrap());
    let (status, body) = stand.call("PATCH", &client, Some(&json!({"options": {"agent": agent}}))).await;
    assert_eq!(status, 200, "{body:#}");
}

async fn held_logins(stand: &Stand) -> Vec<String> {
    let health = stand.get("/health").await;
    health["holds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hold| hold["login"].as_str().unwrap().to_owned())
        .collect()
}

async fn waits_for_login(stand: &Stand, id: &str) -> Value {
    stand.wait_for(id, "held", |job| job["waiting"]["for"] == "login").await
}

#[tokio::test]
async fn waiting_jobs_go_to_the_agent_that_their_client_is_given() {
    let stand = Stand::with(Plan { no_claude: true, ..Plan::default() }).await;
    let held = stand.submit(json!({"prompt": "echo x > x.txt", "branchName": "held"})).await;
    let job = waits_for_login(&stand, &held).await;
    // what names an agent itself stays with it
    let own = json!({"prompt": "echo x > x.txt", "branchName": "own", "options": {"agent": "claude"}});
    let own = stand.submit(own).await;
    give(&stand, &job, "sh").await;
    let job = stand.completed(&held).await;
    assert_eq!((&job["agent"], attempts(&job)), (&json!("sh"), vec![("agent_missing", false), ("", false)]));
    waits_for_login(&stand, &own).await;
    // nobody has tried the other one
    assert_eq!(held_logins(&stand).await, ["claude"]);
    stand.install_claude();
    stand.post("/queue/try-now", &json!({})).await;
    stand.completed(&own).await;
    assert_eq!(held_logins(&stand).await, Vec::<String>::new());
    stand.finish().await;
}

/// Its client is given another agent while it works: the limit is that of the one which met it, and the work goes to the other.
#[tokio::test]
async fn a_job_that_comes_back_from_a_limit_goes_to_the_agent_of_now() {
    let stand = Stand::new().await;
    // to the shell the first line is no command, and the second one is
    let limit = format!("{}[[scenario:usage-limit in=3600]]\necho x > x.txt", stand.gate_mark("g"));
    let id = stand.submit_prompt("limit", &limit).await;
    let job = stand.wait_until("it works", async || {
        let job = stand.get(&format!("/jobs/{id}")).await;
        (stand.runs() == 1).then_some(job)
    });
    give(&stand, &job.await, "sh").await;
    stand.open_gate("g");
    let job = stand.completed(&id).await;
    assert_eq!((&job["agent"], attempts(&job)), (&json!("sh"), vec![("usage_limit", false), ("", false)]));
    assert_eq!(held_logins(&stand).await, ["claude"]);
    stand.finish().await;
}

/// What a profile names is the job's own.
#[tokio::test]
async fn a_job_stays_with_the_agent_of_its_profile() {
    let stand = Stand::with(Plan { no_claude: true, ..Plan::default() }).await;
    stand.post("/profiles", &json!({"name": "shell", "options": {"agent": "sh"}})).await;
    stand.post("/queue/pause", &json!({})).await;
    let id = stand.submit(json!({"prompt": "echo x > x.txt", "branchName": "p", "profile": "shell"})).await;
    give(&stand, &stand.get(&format!("/jobs/{id}")).await, "claude").await;
    stand.post("/queue/resume", &json!({})).await;
    assert_eq!(stand.completed(&id).await["agent"], "sh");
    assert_eq!(held_logins(&stand).await, Vec::<String>::new());
    stand.finish().await;
}

#[tokio::test]
async fn a_hold_is_of_the_login_that_met_it() {
    let stand = Stand::with(Plan { no_claude: true, ..Plan::default() }).await;
    stand.post("/queue/pause", &json!({})).await;
    let id = stand.submit(json!({"prompt": "echo x > x.txt", "branchName": "a", "options": {}})).await;
    let job = stand.get(&format!("/jobs/{id}")).await;
    give(&stand, &job, "sh").await;
    give(&stand, &job, "claude").await;
    stand.post("/queue/resume", &json!({})).await;
    waits_for_login(&stand, &id).await;
    assert_eq!(held_logins(&stand).await, ["claude"]);
    let other = json!({"prompt": "echo x > x.txt", "branchName": "b", "options": {"agent": "sh"}});
    stand.completed(&stand.submit(other).await).await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    stand.finish().await;
}

/// The same where the configuration names another one at the next start.
#[tokio::test]
async fn waiting_jobs_go_to_the_agent_of_a_changed_configuration() {
    let mut stand = Stand::with(Plan { no_claude: true, ..Plan::default() }).await;
    let id = stand.submit(json!({"prompt": "echo x > x.txt", "branchName": "a"})).await;
    waits_for_login(&stand, &id).await;
    stand.kill9().await;
    stand.set_env("OFFSHOOT_DEFAULTS_AGENT", "sh");
    stand.start_again().await;
    assert_eq!(stand.completed(&id).await["agent"], "sh");
    assert_eq!(held_logins(&stand).await, ["claude"]);
    stand.finish().await;
}

/// A conversation lies with the login that held it.
#[tokio::test]
async fn a_retry_under_another_agent_does_not_ask_for_a_conversation_that_it_never_held() {
    let mut stand = Stand::built(Plan { config: String::new(), ..Plan::default() }).await;
    stand.install_noting_claude("");
    let text = std::fs::read_to_string(stand.path("config.toml")).unwrap();
    let two = format!(
        "{text}[agents.two]\nkind = \"claude\"\ncommand = \"{}\"\n",
        stand.path("agents/claude").display()
    );
    std::fs::write(stand.path("config.toml"), two).unwrap();
    stand.start().await;
    let prompt = format!("[[scenario:write path=a.txt content=yes]]{}", stand.gate_mark("never"));
    let id = stand.submit_prompt("r", &prompt).await;
    stand.wait_for_tool(&id).await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    let job = stand.get(&format!("/jobs/{id}")).await;
    give(&stand, &job, "two").await;
    stand.open_gate("never");
    let again = stand.retry(&id, json!({"mode": "resume"})).await;
    let job = stand.completed(&again).await;
    let warnings = job["warnings"].as_array().unwrap();
    assert!(warnings.len() == 1, "it is said once: {job:#}");
    assert!(warnings[0].as_str().unwrap().contains("another agent held it"), "{job:#}");
    assert!(
        stand.conversations().iter().all(|one| one.starts_with("--session-id=")),
        "{:?}",
        stand.conversations()
    );
    assert_eq!((stand.git(&["show", "r:a.txt"]).as_str(), stand.runs()), ("yes", 2));
    stand.finish().await;
}

fn attempts(job: &Value) -> Vec<(&str, bool)> {
    let attempts = job["attempts"].as_array().unwrap();
    let one = |attempt: &Value| attempt["counted"] == true;
    attempts.iter().map(|attempt| (attempt["reason"]["code"].as_str().unwrap_or(""), one(attempt))).collect()
}
