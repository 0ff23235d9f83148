//! Tokens that are limited to some clients: what is of others is not there, not counted and not touched.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::tokens::{documented, job, submit};
use super::{Answer, Bench, request};
use crate::domain::attempt::{AttemptEnd, Lease};
use crate::domain::delivery::{DeliveryState, RenderedCallback, TryRecord};
use crate::domain::id::{DeliveryId, EventId, JobNumber};
use crate::domain::job::Outcome;
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::time::Timestamp;
use crate::domain::token::Scope;

/// The ids of jobs and clients in an answer.
fn ids(answer: &Answer, list: &str, member: &str) -> Vec<String> {
    let body = answer.json();
    let items = body[list].as_array().unwrap_or_else(|| panic!("{body}"));
    items.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_limited_token_sees_its_clients_and_counts_nothing_else() {
    let bench = Bench::new().await;
    let (own, client) = submit(&bench, &job("widgets", "a")).await;
    let (others, other) = submit(&bench, &job("gadgets", "b")).await;
    let token = bench.token(Scope::Operate, Some(&[&client])).await;
    let get = async |path: &str| bench.get_with(&token, path).await;
    let page = get("/jobs").await;
    assert_eq!((ids(&page, "jobs", "id"), &page.json()["total"]), (vec![own.clone()], &1.into()));
    let page = get(&format!("/jobs?clientId={other}")).await;
    assert_eq!((ids(&page, "jobs", "id"), &page.json()["total"]), (vec![], &0.into()));
    assert_eq!(ids(&get("/clients").await, "clients", "id"), vec![client.clone()]);
    assert_eq!(ids(&get("/queue").await, "queued", "id"), vec![own.clone()]);
    assert_eq!(get("/health").await.json()["queue"]["queued"], 1);
    assert_eq!(get("/usage?by=client").await.json()["groups"], json!([]));
    get(&format!("/clients/{other}")).await.problem(404, "not_found");
    assert_eq!(get("/jobs/1").await.status, 200);
    for whole in ["/metrics", "/webhooks/suspended", "/notify"] {
        get(whole).await.problem(403, "forbidden");
    }
    for (path, body) in [
        ("/queue/pause", json!({})),
        ("/queue/resume", json!({})),
        ("/queue/try-now", json!({})),
        ("/webhooks/resume", json!({"url": "https://example.org/"})),
        ("/webhooks/test", json!({"url": "https://example.org/"})),
        ("/notify/phone/test", json!({})),
    ] {
        bench.call_with(&token, Method::POST, path, &body).await.problem(403, "forbidden");
    }
    let post = async |body: Value| bench.call_with(&token, Method::POST, "/jobs", &body).await;
    assert_eq!(post(job("gadgets", "c")).await.pointers(422, "invalid"), ["/githubRepo"]);
    assert_eq!(post(job("brand-new", "c")).await.pointers(422, "invalid"), ["/githubRepo"]);
    let named = json!({"clientId": other, "prompt": "p", "branchName": "c"});
    assert_eq!(post(named).await.pointers(422, "invalid"), ["/clientId"]);
    let mut waits = job("widgets", "d");
    waits["dependsOn"] = json!([others]);
    assert_eq!(post(waits).await.pointers(422, "invalid"), ["/dependsOn/0"]);
    assert_eq!(bench.get("/clients").await.json()["clients"].as_array().unwrap().len(), 2, "none was made");
    // a beginning that others share is not ambiguous for it, and says nothing about them
    let database = rusqlite::Connection::open(bench.dir.path().join("offshoot.db")).unwrap();
    let alike = "PRAGMA foreign_keys = OFF; UPDATE jobs SET id = 'job-aaaa' || number, root_id = 'job-aaaa' || number";
    database.execute_batch(alike).unwrap();
    bench.get("/jobs/job-aaaa").await.problem(409, "ambiguous_id");
    assert_eq!(get("/jobs/job-aaaa").await.json()["number"], 1);
}

/// An agent outside of the sandbox reaches the clones of all: whoever is limited to some clients gets it only where the owner says so.
#[tokio::test]
async fn a_limited_token_does_not_take_its_agents_out_of_the_sandbox() {
    let bench = Bench::new().await;
    let (_, widgets) = submit(&bench, &job("widgets", "a")).await;
    let (_, gadgets) = submit(&bench, &job("gadgets", "b")).await;
    let change = async |client: &str, isolation: &str| {
        let body = json!({"options": {"isolation": isolation}});
        let answer = bench.call(Method::PATCH, &format!("/clients/{client}"), &[], &body).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    };
    change(&gadgets, "sandbox").await;
    let limited = bench.token(Scope::Operate, Some(&[&widgets, &gadgets])).await;
    let whole = bench.token(Scope::Operate, None).await;
    let mut branch = 0;
    let mut ask = async |token: &str, repo: &str, isolation: &str| {
        branch += 1;
        let mut body = job(repo, &format!("i{branch}"));
        body["options"] = json!({"isolation": isolation});
        body["runAt"] = json!("2027-01-01T00:00:00Z");
        bench.call_with(token, Method::POST, "/jobs", &body).await
    };
    for (repo, isolation, allowed) in [
        ("widgets", "none", false),
        ("widgets", "auto", true),
        ("widgets", "sandbox", true),
        ("gadgets", "auto", false),
        ("gadgets", "sandbox", true),
    ] {
        let answer = ask(&limited, repo, isolation).await;
        if allowed {
            assert_eq!(answer.status, 201, "{repo} {isolation}: {}", answer.json());
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            bench.post(&format!("/jobs/{id}/cancel"), &json!({})).await;
        } else {
            let body = answer.problem(403, "forbidden");
            let detail = body["detail"].as_str().unwrap();
            assert!(detail.contains(&format!("options.isolation cannot be {isolation}")), "{detail}");
        }
    }
    let answer = ask(&whole, "widgets", "none").await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    // nor by doing again what somebody else had run outside
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    bench.post(&format!("/jobs/{id}/cancel"), &json!({})).await;
    let again = json!({"prompt": "more"});
    let path = format!("/jobs/{id}/follow-up");
    bench.call_with(&limited, Method::POST, &path, &again).await.problem(403, "forbidden");
    change(&widgets, "none").await;
    let answer = ask(&limited, "widgets", "none").await;
    assert_eq!(answer.status, 201, "where the owner says so: {}", answer.json());
}

/// Nobody at all, where the owner has put all of them behind the walls.
#[tokio::test]
async fn nobody_takes_an_agent_out_of_the_sandbox_where_the_policy_says_so() {
    let bench = Bench::with(|settings| settings.always_sandboxed = true).await;
    let ask = async |isolation: &str, branch: &str| {
        let mut body = job("widgets", branch);
        body["options"] = json!({"isolation": isolation});
        bench.post("/jobs", &body).await
    };
    assert_eq!(ask("none", "a").await.pointers(422, "invalid"), ["/options/isolation"]);
    assert_eq!(ask("auto", "b").await.status, 201);
    assert_eq!(ask("sandbox", "c").await.status, 201);
    // one from before: nobody asks for it when it is tried again
    let database = rusqlite::Connection::open(bench.dir.path().join("offshoot.db")).unwrap();
    let old = "UPDATE jobs SET options = json_set(options, '$.isolation', 'none') WHERE number = 1";
    assert_eq!(database.execute(old, []).unwrap(), 1);
    bench.post("/jobs/1/cancel", &json!({})).await;
    let again = bench.post("/jobs/1/retry", &json!({})).await;
    assert_eq!((again.status.as_u16(), &again.json()["options"]["isolation"]), (201, &Value::Null));
}

/// Every call about one job, one delivery or one client, also those that come later: of others there is none.
#[tokio::test]
async fn for_a_limited_token_a_job_of_others_is_not_there_whatever_is_asked_about_it() {
    let bench = Bench::new().await;
    let (_, client) = submit(&bench, &job("widgets", "a")).await;
    let (others, _) = submit(&bench, &job("gadgets", "b")).await;
    let token = bench.token(Scope::Operate, Some(&[&client])).await;
    let body = json!({"prompt": "p", "key": "0123456789abcdef", "goesOn": "agent"});
    let mut asked = 0;
    for (call, scope) in documented(&bench).await {
        let (method, path) = call.split_once(' ').unwrap();
        if !path.contains("/jobs/{id}") || scope.as_deref() == Some("admin") {
            continue;
        }
        for name in [others.as_str(), "2"] {
            let path = path.replace("{id}", name).replace("{path}", "a").replace("{name}", "1-end");
            let path = path.replace("{delivery}", "dlv-a");
            bench.call_with(&token, method.parse().unwrap(), &path, &body).await.problem(404, "not_found");
            asked += 1;
        }
    }
    assert!(asked >= 30, "{asked}");
    assert_eq!(
        bench.get(&format!("/jobs/{others}")).await.json()["status"],
        "queued",
        "nothing was done to it"
    );
}

#[tokio::test]
async fn events_of_others_are_passed_over() {
    let bench = Bench::new().await;
    let (own, client) = submit(&bench, &job("widgets", "a")).await;
    submit(&bench, &job("gadgets", "b")).await;
    let token = bench.token(Scope::Read, Some(&[&client])).await;
    let authorization = format!("Bearer {token}");
    let sent = request(Method::GET, "/events", &[("authorization", &authorization)], Body::empty());
    let mut body = bench.router.clone().oneshot(sent).await.unwrap().into_body().into_data_stream();
    let mut told = String::new();
    // the newest is of others: this one of ours comes behind it
    bench
        .call_with(&bench.token(Scope::Operate, None).await, Method::POST, "/jobs/1/cancel", &json!({}))
        .await;
    while !told.contains("job.cancelled") {
        let piece = timeout(Duration::from_secs(30), body.next()).await.expect("an event").unwrap().unwrap();
        told.push_str(std::str::from_utf8(&piece).unwrap());
    }
    assert!(told.contains(&own) && !told.contains("\"job\":2"), "{told}");
}

/// A hint has nothing of a job in it, and still tells that there is one.
#[tokio::test]
async fn a_page_hears_no_hint_of_others() {
    let bench = Bench::new().await;
    let (_, client) = submit(&bench, &job("widgets", "a")).await;
    submit(&bench, &job("gadgets", "b")).await;
    let cookie = bench.signed_in(&bench.token(Scope::Read, Some(&[&client])).await).await;
    let sent = request(Method::GET, "/ui/events?after=latest", &[("cookie", &cookie)], Body::empty());
    let mut body = bench.router.clone().oneshot(sent).await.unwrap().into_body().into_data_stream();
    let operator = bench.token(Scope::Operate, None).await;
    for number in [1, 2] {
        bench.call_with(&operator, Method::POST, &format!("/jobs/{number}/cancel"), &json!({})).await;
    }
    let mut told = String::new();
    while !told.contains("event: hint") {
        let piece = timeout(Duration::from_secs(30), body.next()).await.expect("a hint").unwrap().unwrap();
        told.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let own = bench.store.life_of(JobNumber(1)).await.unwrap().last().unwrap().seq;
    let hints: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(hints.last().unwrap().parse::<i64>().unwrap(), own, "{told}");
    assert_eq!(told.matches("event: hint").count(), 1, "{told}");
}

/// Ends the next job; its callback waits. Gives the delivery's id.
async fn ended(bench: &Bench, random: &str) -> DeliveryId {
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let (id, event_id) = (DeliveryId::from_random(random), EventId::from_random(random));
    let callback = RenderedCallback {
        delivery_id: id.clone(),
        event_id,
        kind: "job.completed".to_owned(),
        url: "https://example.org/hook".to_owned(),
        body: b"{}".to_vec(),
    };
    let end = AttemptEnd::Completed { outcome: Outcome::NoChanges };
    bench.store.finish(lease, end, move |_| Some(callback.clone())).await.unwrap();
    id
}

/// The receiver wants no more callbacks.
async fn suspend(bench: &Bench, delivery: &DeliveryId) {
    let (_, detail) = bench.store.get_delivery(delivery).await.unwrap();
    let refused = TryRecord {
        order: detail.delivery.order,
        at: Timestamp::from_ms(bench.clock.now_ms()),
        status: Some(410),
        error: None,
        duration_ms: 1,
        state: DeliveryState::Suspended,
        next_try_at: None,
    };
    bench.store.record_try(delivery, refused).await.unwrap();
}

/// A URL may be of several clients: one of them does not speak for the others.
#[tokio::test]
async fn a_suspended_url_is_not_lifted_by_who_sees_some_of_its_clients() {
    let bench = Bench::new().await;
    let (own, client) = submit(&bench, &job("widgets", "a")).await;
    submit(&bench, &job("gadgets", "b")).await;
    let (mine, others) = (ended(&bench, "aaaa2222").await, ended(&bench, "bbbb3333").await);
    suspend(&bench, &mine).await;
    let token = bench.token(Scope::Operate, Some(&[&client])).await;
    let again = async |token: &str, path: &str| bench.call_with(token, Method::POST, path, &json!({})).await;
    let state = async |id: &DeliveryId| bench.get(&format!("/deliveries/{id}")).await.json()["state"].clone();
    let paths = [format!("/jobs/{own}/deliveries/{mine}/redeliver"), format!("/deliveries/{mine}/redeliver")];
    for path in &paths {
        let problem = again(&token, path).await.problem(403, "forbidden");
        assert!(problem["detail"].as_str().unwrap().contains("suspended"), "{problem}");
        assert_eq!((state(&mine).await, state(&others).await), ("suspended".into(), "suspended".into()));
    }
    let whole = bench.token(Scope::Operate, None).await;
    assert_eq!(again(&whole, &paths[1]).await.status, 200);
    assert_eq!((state(&mine).await, state(&others).await), ("pending".into(), "pending".into()));
    for path in &paths {
        assert_eq!(again(&token, path).await.status, 200, "nothing is lifted by it any more");
    }
}

/// What cannot be read is not what is not there.
#[tokio::test]
async fn a_delivery_that_cannot_be_read_is_not_told_as_none() {
    let bench = Bench::new().await;
    let (_, client) = submit(&bench, &job("widgets", "a")).await;
    submit(&bench, &job("gadgets", "b")).await;
    let (mine, others) = (ended(&bench, "aaaa2222").await, ended(&bench, "bbbb3333").await);
    let token = bench.token(Scope::Operate, Some(&[&client])).await;
    bench.get_with(&token, &format!("/deliveries/{others}")).await.problem(404, "not_found");
    let database = rusqlite::Connection::open(bench.dir.path().join("offshoot.db")).unwrap();
    database.execute_batch("UPDATE jobs SET status = 'torn' WHERE number = 1").unwrap();
    bench.get_with(&token, &format!("/deliveries/{mine}")).await.problem(500, "internal");
}

/// Sends the next job out as the probe of a hold that is due.
async fn held(bench: &Bench) -> Lease {
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let until = Some(Timestamp::from_ms(bench.clock.now_ms() + 60_000));
    let reason = Reason::new(ReasonCode::UsageLimit, "");
    let end = AttemptEnd::Faulted { reason, until, window: None, spent: true };
    bench.store.finish(lease, end, |_| None).await.unwrap();
    bench.clock.advance_ms(60_000);
    bench.store.claim().await.unwrap().unwrap().lease
}

#[tokio::test]
async fn a_hold_does_not_name_the_job_of_others_that_is_out_as_its_probe() {
    let bench = Bench::new().await;
    let (_, client) = submit(&bench, &job("widgets", "a")).await;
    let (_, other) = submit(&bench, &job("gadgets", "b")).await;
    let probe = held(&bench).await.job.0;
    let (own, blind) = if probe == 1 { (client, other) } else { (other, client) };
    for (client, expected) in [(&own, json!(probe)), (&blind, Value::Null)] {
        let token = bench.token(Scope::Read, Some(&[client])).await;
        let health = bench.get_with(&token, "/health").await.json();
        assert_eq!(health["holds"][0]["probe"], expected, "{health}");
        assert_eq!(health["holds"][0]["login"], "claude");
    }
    assert_eq!(bench.get("/health").await.json()["holds"][0]["probe"], probe);
}
