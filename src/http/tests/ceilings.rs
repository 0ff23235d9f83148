//! How much a token that may only submit can ask for.

use axum::http::Method;
use serde_json::{Value, json};

use super::Bench;
use crate::domain::options::RunOptions;
use crate::domain::token::Scope;

/// A submission on a branch of its own.
fn with(branch: &str, profile: Option<&str>, options: &Value) -> Value {
    let mut body = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "p", "branchName": branch, "options": options});
    if let Some(profile) = profile {
        body["profile"] = profile.into();
    }
    body
}

/// Of each option the last number that is let in, and the first that is not, where the owner has said it in `place`.
#[tokio::test]
async fn a_number_is_at_most_the_owners_wherever_he_has_said_it() {
    for place in ["defaults", "client", "profile"] {
        let mine = |at: &str| if at == place { (10, 10_000_000, 60) } else { (500, 500_000_000, 50_000) };
        let layer = |at: &str| {
            let (turns, dollars, seconds) = mine(at);
            json!({"maxTurns": turns, "maxBudgetUsd": f64::from(dollars) / 1e6, "timeoutSeconds": seconds})
        };
        let bench = Bench::build(50, |settings| {
            let (turns, micros, seconds) = mine("defaults");
            settings.defaults = RunOptions {
                max_turns: Some(turns),
                max_budget_usd_micros: u64::try_from(micros).ok(),
                timeout_seconds: Some(seconds),
                ..RunOptions::default()
            };
        })
        .await;
        bench.publish("acme", "widgets");
        let mut client = json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"});
        if place != "defaults" {
            client["options"] = layer("client");
        }
        assert_eq!(bench.post("/clients", &client).await.status, 201);
        let profile = (place == "profile").then_some("mine");
        if let Some(name) = profile {
            let body = json!({"name": name, "submit": true, "options": layer("profile")});
            assert_eq!(bench.post("/profiles", &body).await.status, 201);
        }
        let submits = bench.token(Scope::Submit, None).await;
        let operates = bench.token(Scope::Operate, None).await;
        for (name, fits, above, most) in [
            ("maxTurns", json!(10), json!(11), "10"),
            ("maxBudgetUsd", json!(10), json!(10.000_001), "10"),
            ("timeoutSeconds", json!(60), json!(61), "60"),
        ] {
            let post = async |token: &str, who: &str, value: &Value| {
                let body = with(&format!("{who}-{name}"), profile, &json!({name: value}));
                bench.call_with(token, Method::POST, "/jobs", &body).await
            };
            let refused = post(&submits, "above", &above).await.problem(403, "forbidden");
            let detail = refused["detail"].as_str().unwrap();
            assert!(
                detail.contains(&format!("options.{name} can be at most {most} for")),
                "{place}: {detail}"
            );
            for (token, who, value) in [(&submits, "fits", &fits), (&operates, "more", &above)] {
                let answer = post(token, who, value).await;
                assert_eq!(answer.status, 201, "{place} {name} {who}: {}", answer.json());
            }
        }
    }
}

/// Where nobody has said anything: an hour of time, and as many turns and as much money as one likes. All other numbers are not
/// for this scope at all.
#[tokio::test]
async fn what_nobody_has_said_has_its_usual_limit_and_follow_ups_have_the_same() {
    let bench = Bench::build(50, |_| {}).await;
    let token = bench.token(Scope::Submit, None).await;
    let post = async |path: &str, body: &Value| bench.call_with(&token, Method::POST, path, body).await;
    let free = json!({"maxTurns": 10_000, "maxBudgetUsd": 10_000, "timeoutSeconds": 3600});
    let job = post("/jobs", &with("free", None, &free)).await;
    assert_eq!(job.status, 201, "{}", job.json());
    for name in ["timeoutSeconds", "idleTimeoutSeconds", "maxAttempts", "verifyRounds", "maxBudgetUsdPerDay"]
    {
        let value = if name == "timeoutSeconds" { 604_800 } else { 1 };
        post("/jobs", &with("x", None, &json!({name: value}))).await.problem(403, "forbidden");
    }
    let path = format!("/jobs/{}/follow-up", job.json()["id"].as_str().unwrap());
    let more = |seconds: u32| json!({"prompt": "more", "options": {"timeoutSeconds": seconds}});
    post(&path, &more(3_601)).await.problem(403, "forbidden");
    let followed = post(&path, &more(3_599)).await;
    assert_eq!(followed.status, 201, "{}", followed.json());
}
