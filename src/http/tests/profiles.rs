//! Profiles through the router, and jobs that name them.

use axum::http::Method;
use serde_json::{Value, json};

use super::Bench;
use crate::app::{AppError, Caller};
use crate::domain::options::RunOptions;
use crate::domain::profile::{PROFILES_MAX, Profile, Source};
use crate::domain::template::Template;
use crate::domain::token::Scope;

fn of_file(name: &str, template: Option<&str>) -> (String, Profile) {
    let profile = Profile {
        name: name.to_owned(),
        template: template.map(|text| Template::parse(text).unwrap()),
        options: RunOptions { max_turns: Some(7), ..RunOptions::default() },
        submit: false,
        source: Source::Configuration,
    };
    (name.to_owned(), profile)
}

async fn bench() -> Bench {
    Bench::with(|settings| {
        settings.profiles = [of_file("nightly", None), of_file("review", Some("Review {{path}}"))].into();
    })
    .await
}

fn job(branch: &str, more: Value) -> Value {
    let mut body = json!({"githubOrg": "acme", "githubRepo": "widgets", "branchName": branch});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn making_reading_changing_deleting() {
    let bench = bench().await;
    let body = json!({"name": "fix", "prompt": "Fix {{issue}}. {{prompt}}", "submit": true, "colour": 1,
        "options": {"model": "m", "setEnv": {"NPM_TOKEN": "npm"}}});
    let key = [("idempotency-key", "k")];
    let answer = bench.call(Method::POST, "/profiles", &key, &body).await;
    let made = answer.json();
    assert_eq!((answer.status.as_u16(), answer.header("location")), (201, Some("/profiles/fix")), "{made}");
    assert_eq!(made["warnings"], json!(["unknown member /colour was ignored"]));
    assert_eq!((&made["variables"], &made["source"]), (&json!(["issue", "prompt"]), &json!("api")));
    assert_eq!(made["options"]["setEnv"], json!({"NPM_TOKEN": "npm"}));
    let again = bench.call(Method::POST, "/profiles", &key, &body).await;
    assert_eq!((again.header("idempotency-replayed"), again.json()), (Some("true"), made.clone()));
    bench.post("/profiles", &body).await.problem(409, "duplicate_profile");

    let listed = bench.get("/profiles").await.json();
    let all: Vec<_> =
        listed["profiles"].as_array().unwrap().iter().map(|one| (&one["name"], &one["source"])).collect();
    let (api, file) = (json!("api"), json!("configuration"));
    assert_eq!(all, [(&json!("fix"), &api), (&json!("nightly"), &file), (&json!("review"), &file)]);
    let review = bench.get("/profiles/review").await.json();
    assert_eq!((&review["createdAt"], &review["options"]["maxTurns"]), (&Value::Null, &json!(7)));

    let patch = async |path: &str, body: Value| bench.call(Method::PATCH, path, &[], &body).await;
    let changed = json!({"prompt": null, "options": {"model": null, "draft": true}, "submit": false});
    let next = patch("/profiles/fix", changed).await.json();
    assert_eq!(
        (&next["prompt"], &next["variables"], &next["submit"]),
        (&Value::Null, &json!([]), &json!(false))
    );
    assert_eq!((&next["options"]["model"], &next["options"]["draft"]), (&Value::Null, &json!(true)));
    assert_eq!(next["options"]["setEnv"], json!({"NPM_TOKEN": "npm"}), "what is not named stays");
    let mut shown = next.clone();
    shown.as_object_mut().unwrap().remove("warnings");
    assert_eq!(bench.get("/profiles/fix").await.json(), shown);
    let broken =
        json!({"name": "other", "prompt": "{{", "options": {"setEnv": {"A": "nmp"}}, "submit": null});
    let pointers = patch("/profiles/fix", broken).await.pointers(422, "invalid");
    assert_eq!(pointers, ["/submit", "/name", "/prompt", "/options/setEnv/A"]);
    patch("/profiles/review", json!({"submit": true})).await.problem(409, "profile_of_configuration");
    patch("/profiles/none", json!({})).await.problem(404, "not_found");

    let delete = async |path: &str| bench.call(Method::DELETE, path, &[], &json!({})).await;
    delete("/profiles/nightly").await.problem(409, "profile_of_configuration");
    assert_eq!(delete("/profiles/fix").await.json(), json!({"deleted": true}));
    delete("/profiles/fix").await.problem(404, "not_found");
    bench.get("/profiles/fix").await.problem(404, "not_found");
}

#[tokio::test]
async fn a_broken_profile_is_refused_when_it_is_made() {
    let bench = bench().await;
    let huge = "x".repeat(crate::domain::template::TEMPLATE_BYTES_MAX + 1);
    let table = [
        (json!({}), vec!["/name"]),
        (json!({"name": 5}), vec!["/name"]),
        (json!({"name": "Big Name"}), vec!["/name"]),
        (json!({"name": "x", "prompt": "{{a"}), vec!["/prompt"]),
        (json!({"name": "x", "prompt": "a}}"}), vec!["/prompt"]),
        (json!({"name": "x", "prompt": "{{a b}}"}), vec!["/prompt"]),
        (json!({"name": "x", "prompt": ""}), vec!["/prompt"]),
        (json!({"name": "x", "prompt": huge}), vec!["/prompt"]),
        (
            json!({"name": "x", "options": {"maxTurns": 0, "agent": "no"}}),
            vec!["/options/maxTurns", "/options/agent"],
        ),
        (json!({"name": "x", "options": {"maxBudgetUsdPerDay": 1}}), vec!["/options/maxBudgetUsdPerDay"]),
        (json!({"name": "x", "options": {"setEnv": {"AGENT_API_SECRET": "npm"}}}), vec!["/options/setEnv"]),
        (json!({"name": "x", "submit": "yes", "options": []}), vec!["/options", "/submit"]),
    ];
    for (body, pointers) in table {
        assert_eq!(bench.post("/profiles", &body).await.pointers(422, "invalid"), pointers, "{pointers:?}");
    }
    bench.post("/profiles", &json!({"name": "review"})).await.problem(409, "duplicate_profile");
    assert_eq!(bench.get("/profiles").await.json()["profiles"].as_array().unwrap().len(), 2);
    for index in 0..PROFILES_MAX {
        let answer = bench.post("/profiles", &json!({"name": format!("p{index}")})).await;
        assert_eq!(answer.status, 201);
    }
    bench.post("/profiles", &json!({"name": "more"})).await.problem(409, "too_many_profiles");
}

#[tokio::test]
async fn a_job_has_the_prompt_of_its_profile_or_is_refused_by_the_place_of_each_fault() {
    let bench = bench().await;
    let form = |variables: Value| job("b", json!({"profile": "review", "variables": variables}));
    let bad = [
        (job("b", json!({"profile": "reveiw", "prompt": "p"})), vec!["/profile"]),
        (job("b", json!({"profile": 5, "prompt": "p"})), vec!["/profile"]),
        (job("b", json!({"profile": "no", "variables": {"x": "y"}})), vec!["/profile"]),
        (job("b", json!({"prompt": "p", "variables": {"x": "y"}})), vec!["/variables"]),
        (job("b", json!({"profile": "nightly"})), vec!["/prompt"]),
        (form(json!({})), vec!["/variables/path"]),
        (form(json!({"pth": "x"})), vec!["/variables/pth", "/variables/path"]),
        (form(json!({"path": 1, "more": "x"})), vec!["/variables/path", "/variables/more"]),
        (job("b", json!({"profile": "review", "variables": {"path": "x"}, "prompt": "p"})), vec!["/prompt"]),
    ];
    for (body, pointers) in bad {
        assert_eq!(bench.post("/jobs", &body).await.pointers(422, "invalid"), pointers, "{body}");
    }
    let answer = bench.post("/jobs", &job("b", json!({"profile": "reveiw", "prompt": "p"}))).await;
    let detail = answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "is not the name of a profile; did you mean review?");
    assert_eq!(bench.get("/jobs").await.json()["total"], 0);

    let made = bench.post("/jobs", &form(json!({"path": "src {{path}}"}))).await.json();
    assert_eq!((&made["prompt"], &made["profile"]), (&json!("Review src {{path}}"), &json!("review")));
    assert_eq!(made["options"]["maxTurns"], Value::Null, "its own options are those it came with");
    let listed = bench.get("/jobs").await.json();
    assert_eq!(listed["jobs"][0]["profile"], "review");
    let path = format!("/jobs/{}/follow-up", made["id"].as_str().unwrap());
    let pointers = bench.post(&path, &json!({"profile": "review"})).await.pointers(422, "invalid");
    assert_eq!(pointers, ["/variables/path"]);
    let next = bench.post(&path, &json!({"prompt": "More"})).await.json();
    assert_eq!((&next["prompt"], &next["profile"]), (&json!("More"), &json!("review")));
    let other = bench.post(&path, &json!({"prompt": "More", "profile": "nightly"})).await.json();
    assert_eq!(other["profile"], "nightly");
    // without a template the branch is named after the first line, with one after the first line of what it makes
    let unnamed = json!({"githubOrg": "acme", "githubRepo": "gears", "profile": "review", "variables": {"path": "a/b"}});
    assert_eq!(bench.post("/jobs", &unnamed).await.json()["branchName"], "offshoot/4-review-a-b");
}

#[tokio::test]
async fn what_the_options_of_a_profile_come_to_is_checked_with_the_job() {
    let bench = Bench::with(|settings| {
        settings.agents.insert("plain".to_owned(), crate::domain::agent_kind::AgentKind::Command);
        let (name, mut profile) = of_file("capped", None);
        profile.options.max_turns = Some(3);
        settings.profiles = [(name, profile)].into();
        settings.opens_pull_requests = false;
    })
    .await;
    // by the agent, which the job chooses
    let body = job(
        "a",
        json!({"profile": "capped", "prompt": "p", "options": {"agent": "plain", "publish": "none"}}),
    );
    let answer = bench.post("/jobs", &body).await;
    assert_eq!(answer.pointers(422, "not_supported"), ["/options/maxTurns"]);
    assert!(answer.json()["detail"].as_str().unwrap().contains("set by the profile"), "{}", answer.json());
    let published = json!({"name": "branches", "options": {"publish": "branch"}});
    assert_eq!(bench.post("/profiles", &published).await.status, 201);
    let body = job("a", json!({"profile": "capped", "prompt": "p"}));
    assert_eq!(bench.post("/jobs", &body).await.pointers(422, "invalid"), ["/options/publish"]);
    let body = job("a", json!({"profile": "branches", "prompt": "p"}));
    assert_eq!(bench.post("/jobs", &body).await.status, 201, "the profile says that none is opened");
}

#[tokio::test]
async fn profiles_are_the_admins_and_who_may_only_submit_uses_those_that_are_meant_for_it() {
    let bench = bench().await;
    bench.post("/profiles", &json!({"name": "open", "submit": true, "options": {"setup": ["make"]}})).await;
    for scope in [Scope::Read, Scope::Submit, Scope::Operate] {
        let caller = bench.caller(scope).await;
        let body = json!({"name": "x"});
        assert!(matches!(bench.app.list_profiles(&caller).await, Err(AppError::Forbidden(_))));
        assert!(matches!(bench.app.get_profile(&caller, "open").await, Err(AppError::Forbidden(_))));
        assert!(matches!(bench.app.create_profile(&caller, &body, None).await, Err(AppError::Forbidden(_))));
        assert!(matches!(
            bench.app.update_profile(&caller, "open", &body).await,
            Err(AppError::Forbidden(_))
        ));
        assert!(matches!(bench.app.delete_profile(&caller, "open").await, Err(AppError::Forbidden(_))));
    }
    let submit = async |scope, profile: &str, branch: &str| {
        let body = job(branch, json!({"profile": profile, "prompt": "p"}));
        let caller = bench.caller(scope).await;
        bench.app.submit_job(&caller, &body, None).await
    };
    assert!(matches!(submit(Scope::Submit, "nightly", "a").await, Err(AppError::Forbidden(_))));
    assert!(submit(Scope::Submit, "open", "b").await.is_ok(), "with options that it may not set itself");
    assert!(submit(Scope::Operate, "nightly", "c").await.is_ok());
}

/// Whoever was answered has what he asked for, whoever else was at it.
#[tokio::test]
async fn changes_of_one_moment_are_all_made() {
    let bench = bench().await;
    bench.post("/profiles", &json!({"name": "both"})).await;
    bench.publish("acme", "widgets");
    let client =
        bench.post("/clients", &json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"})).await;
    let client = client.json()["id"].as_str().unwrap().to_owned();
    let admin = Caller::built_in();
    let options = |name: &str, value: usize| json!({"options": {name: value}});
    for round in 1..=20 {
        let names = ["maxTurns", "timeoutSeconds", "idleTimeoutSeconds", "verifyRounds", "maxAttempts"];
        let value = |place: usize| 1 + (round + place) % 10;
        let bodies: Vec<_> = (0..names.len()).map(|place| options(names[place], value(place))).collect();
        let [a, b, c, d, e] = &bodies[..] else { unreachable!() };
        let change = |body| bench.app.update_profile(&admin, "both", body);
        let done = tokio::join!(change(a), change(b), change(c), change(d), change(e));
        assert!(done.0.is_ok() && done.1.is_ok() && done.2.is_ok() && done.3.is_ok() && done.4.is_ok());
        let change = |body| bench.app.update_client(&admin, &client, body);
        let done = tokio::join!(change(a), change(b), change(c), change(d), change(e));
        assert!(done.0.is_ok() && done.1.is_ok() && done.2.is_ok() && done.3.is_ok() && done.4.is_ok());
        for path in ["/profiles/both".to_owned(), format!("/clients/{client}")] {
            let now = bench.get(&path).await.json();
            for (place, name) in names.iter().enumerate() {
                assert_eq!(now["options"][name], value(place), "round {round}, {name} of {path}: {now:#}");
            }
        }
    }
}
