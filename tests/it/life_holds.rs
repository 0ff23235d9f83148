//! Logins that do not work: the job waits, the queue is kept, and everything goes on when it is mended.

use serde_json::{Value, json};

use crate::stand::{Plan, Stand, install_program};

/// A `claude` whose login is dead until the file is there.
fn install_with_login(stand: &Stand) {
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = auth ] && [ ! -e {login} ]; then echo '{{\"loggedIn\":false}}'; exit 1; fi\n\
         case \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
         echo \"$$ $PWD\" >> {runs}\n\
         if [ ! -e {login} ]; then cat > /dev/null; echo '[[scenario:not-logged-in]]' | {own} scripted-agent \"$@\"; exit; fi\n\
         exec {own} scripted-agent \"$@\"\n",
        login = stand.path("login").display(),
        own = env!("CARGO_BIN_EXE_offshoot"),
        runs = stand.path("runs").display(),
    );
    install_program(&stand.path("agents/claude"), &script);
}

async fn held(stand: &Stand, id: &str, code: &str) -> Value {
    let job = stand.wait_for(id, "held", |job| job["waiting"]["for"] == "login").await;
    assert_eq!((&job["status"], &job["waiting"]["until"]), (&json!("queued"), &Value::Null));
    let health = stand.get("/health").await;
    assert_eq!(
        (&health["status"], &health["holds"][0]["code"]),
        (&json!("degraded"), &json!(code)),
        "{health:#}"
    );
    assert_eq!(health["holds"][0]["login"], "claude");
    job
}

#[tokio::test]
async fn a_missing_agent_holds_the_queue_until_it_is_installed() {
    let stand = Stand::with(Plan { no_claude: true, workers: 1, ..Plan::default() }).await;
    let first = stand.submit_prompt("one", "Greet").await;
    held(&stand, &first, "agent_missing").await;
    let second = stand.submit_prompt("two", "Greet").await;
    // another login is not held
    let other =
        stand.submit(json!({"prompt": "echo > x", "branchName": "o", "options": {"agent": "sh"}})).await;
    stand.completed(&other).await;
    let health = stand.get("/health").await;
    assert_eq!(health["claude"], json!({"authenticated": false, "version": null}));
    assert_eq!(health["queue"]["queued"], 2);
    // trying too early changes nothing
    stand.post("/queue/try-now", &json!({"login": "claude"})).await;
    stand.wait_for(&first, "tried in vain", |job| job["attempt"] == 2 && job["status"] == "queued").await;
    held(&stand, &first, "agent_missing").await;

    stand.install_claude();
    stand.post("/queue/try-now", &json!({"login": "claude"})).await;
    let job = stand.completed(&first).await;
    stand.completed(&second).await;
    let counted = |job: &Value| {
        job["attempts"].as_array().unwrap().iter().filter(|attempt| attempt["counted"] == true).count()
    };
    assert_eq!((counted(&job), stand.runs()), (0, 2), "{job:#}");
    let health = stand.get("/health").await;
    assert_eq!((&health["holds"], &health["status"]), (&json!([]), &json!("ok")));
    stand.finish().await;
}

#[tokio::test]
async fn a_dead_login_holds_and_a_restart_keeps_it_held() {
    let mut stand = Stand::built(Plan { workers: 2, ..Plan::default() }).await;
    install_with_login(&stand);
    stand.start().await;
    let first = stand.submit_prompt("one", "Greet").await;
    held(&stand, &first, "not_logged_in").await;
    let second = stand.submit_prompt("two", "Greet").await;
    held(&stand, &second, "not_logged_in").await;
    let runs = stand.runs();
    stand.kill9().await;
    stand.start_again().await;
    held(&stand, &first, "not_logged_in").await;
    assert_eq!(stand.runs(), runs, "a held login is left alone");
    std::fs::write(stand.path("login"), "").unwrap();
    stand.post("/queue/try-now", &json!({})).await;
    for id in [&first, &second] {
        let job = stand.completed(id).await;
        assert_eq!(job["outcome"], "pull_request");
    }
    assert_eq!(stand.runs(), runs + 2);
    stand.finish().await;
}

#[tokio::test]
async fn a_usage_limit_holds_until_its_end() {
    let stand = Stand::new().await;
    let resets_at = offshoot::clock::Clock::system().now_ms() / 1_000 + 3 * 86_400;
    let id = stand.submit_prompt("limit", &format!("[[scenario:usage-limit resets_at={resets_at}]]")).await;
    let job = stand.wait_for(&id, "held", |job| job["waiting"]["for"] == "usage_limit").await;
    let until: jiff::Timestamp = job["waiting"]["until"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.as_second(), resets_at);
    assert_eq!(job["attempts"][0]["counted"], false);
    let other = stand.submit_prompt("other", "Greet").await;
    let waiting = stand.wait_for(&other, "held too", |job| job["waiting"]["for"] == "usage_limit").await;
    assert_eq!(waiting["attempt"], 0);
    let queue = stand.get("/queue").await;
    let positions: Vec<_> = queue["queued"].as_array().unwrap().iter().map(|job| &job["position"]).collect();
    assert_eq!(positions, [&json!(1), &json!(2)]);
    for id in [&id, &other] {
        assert_eq!(stand.cancel(id).await.0, 200);
    }
    stand.finish().await;
}
