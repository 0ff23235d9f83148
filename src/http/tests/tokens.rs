//! Named tokens: what each may do, and when it is over.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use futures_util::{StreamExt as _, poll};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::super::auth::OPEN;
use super::{Bench, request};
use crate::app::Caller;
use crate::domain::token::Scope;

/// A stream of a token that is good no more ends within this.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Every call with the scope that it needs. A call that is new has to be written down here too.
const CALLS: &[(Scope, &str)] = &[
    (
        Scope::Read,
        "GET /clients|GET /clients/{id}|GET /jobs|GET /jobs/{id}|GET /jobs/{id}/messages|GET /jobs/{id}/log|\
         GET /jobs/{id}/diff|GET /jobs/{id}/artifacts/{path}|GET /jobs/{id}/snapshots|\
         GET /jobs/{id}/snapshots/{name}|GET /jobs/{id}/events|GET /jobs/{id}/deliveries|GET /ws/jobs/{id}|\
         GET /sessions|GET /sessions/{id}|GET /events|GET /deliveries|GET /deliveries/{delivery}|\
         GET /webhooks/suspended|GET /notify|GET /queue|GET /health|GET /metrics|GET /usage|GET /openapi.json|\
         POST /passes",
    ),
    (Scope::Submit, "POST /jobs|POST /jobs/{id}/retry|POST /jobs/{id}/follow-up"),
    (
        Scope::Operate,
        "POST /jobs/{id}/cancel|POST /jobs/{id}/attach|POST /jobs/{id}/attach/prolong|POST /jobs/{id}/detach|\
         DELETE /sessions/{id}|POST /jobs/{id}/deliveries/{delivery}/redeliver|\
         POST /deliveries/{delivery}/redeliver|POST /webhooks/resume|POST /webhooks/test|POST /notify/{name}/test|\
         POST /queue/pause|POST /queue/resume|POST /queue/try-now|POST /sync",
    ),
    (
        Scope::Admin,
        "POST /clients|PATCH /clients/{id}|DELETE /clients/{id}|GET /profiles|POST /profiles|\
         GET /profiles/{name}|PATCH /profiles/{name}|DELETE /profiles/{name}|GET /tokens|POST /tokens|\
         GET /tokens/{id}|DELETE /tokens/{id}|GET /backups|POST /backups|POST /gc|GET /audit",
    ),
];

/// Every call of the document with the scope that stands there.
pub(super) async fn documented(bench: &Bench) -> Vec<(String, Option<String>)> {
    let document = bench.get("/openapi.json").await.json();
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let scope = operation["x-scope"].as_str().map(str::to_owned);
            calls.push((format!("{} {path}", method.to_uppercase()), scope));
        }
    }
    calls
}

pub(super) fn job(repo: &str, branch: &str) -> Value {
    json!({"githubOrg": "acme", "githubRepo": repo, "prompt": "Greet", "branchName": branch})
}

/// A job in a client of its own; gives both ids.
pub(super) async fn submit(bench: &Bench, body: &Value) -> (String, String) {
    let answer = bench.post("/jobs", body).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    let made = answer.json();
    (made["id"].as_str().unwrap().to_owned(), made["clientId"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_document_says_what_each_call_needs() {
    let bench = Bench::new().await;
    let mut told = BTreeSet::new();
    for (call, scope) in documented(&bench).await {
        match scope {
            Some(scope) => drop(told.insert(format!("{scope} {call}"))),
            None => assert!(OPEN.contains(&call.trim_start_matches("GET ")), "{call} needs no scope"),
        }
    }
    let expected: BTreeSet<_> = CALLS
        .iter()
        .flat_map(|(scope, calls)| calls.split('|').map(move |call| format!("{scope} {call}")))
        .collect();
    assert_eq!(told, expected);
}

/// Each call with a token of each scope: refused with 403 where it is too narrow, before anything of the request is read.
#[tokio::test]
async fn each_call_is_refused_to_narrower_scopes_and_to_no_other() {
    let bench = Bench::new().await;
    let mut refused = 0;
    for have in Scope::ALL {
        let token = bench.token(*have, None).await;
        for (need, calls) in CALLS {
            for call in calls.split('|') {
                let (method, path) = call.split_once(' ').unwrap();
                let path = path.replace("{id}", "none").replace("{path}", "a").replace("{name}", "a");
                let path = path.replace("{delivery}", "none");
                // no call of these does anything: what they name is not there, and no body is right
                let authorization = format!("Bearer {token}");
                let headers = [("authorization", authorization.as_str()), ("content-type", "text/plain")];
                let body = if method == "GET" { Body::empty() } else { Body::from("x") };
                let sent = request(method.parse().unwrap(), &path, &headers, body);
                let response = bench.router.clone().oneshot(sent).await.unwrap();
                let is_refused = response.status() == 403;
                assert_eq!(is_refused, !have.includes(*need), "{have}: {call}: {}", response.status());
                assert_ne!(response.status(), 401, "{have}: {call}");
                refused += u32::from(is_refused);
            }
        }
    }
    assert_eq!(refused, 3 * 16 + 2 * 14 + 3);
    let read = bench.token(Scope::Read, None).await;
    let problem = bench.call_with(&read, Method::POST, "/jobs", &job("widgets", "a")).await;
    let problem = problem.problem(403, "forbidden");
    assert_eq!(problem["detail"], "this needs the scope submit, the token has read");
    assert_eq!(bench.get("/jobs").await.json()["total"], 0, "nothing came of it");
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_a_digest() {
    let bench = Bench::new().await;
    let body = json!({"name": "ci", "scope": "submit", "expiresAt": "2030-01-01T00:00:00Z", "colour": "red"});
    let send = || bench.call(Method::POST, "/tokens", &[("idempotency-key", "k")], &body);
    let first = send().await;
    assert_eq!((first.status.as_u16(), first.header("cache-control")), (201, Some("no-store")));
    let made = first.json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert!(
        token.starts_with(&format!("ofs_{}_", id.trim_start_matches("tok-"))) && token.len() == 69,
        "{token}"
    );
    assert_eq!(first.header("location"), Some(format!("/tokens/{id}").as_str()));
    assert_eq!(
        (&made["scope"], &made["clients"], &made["createdBy"]),
        (&"submit".into(), &Value::Null, &"admin".into())
    );
    assert!(made["warnings"][0].as_str().unwrap().contains("/colour"));
    let again = send().await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!((&again.json()["token"], &again.json()["id"]), (&Value::Null, &made["id"]));
    assert!(again.json()["warnings"][1].as_str().unwrap().contains("kept nowhere"));
    let secret = token.rsplit('_').next().unwrap();
    for path in ["/tokens".to_owned(), format!("/tokens/{id}")] {
        let text = String::from_utf8(bench.get(&path).await.body).unwrap();
        assert!(text.contains(id) && !text.contains(secret), "{text}");
    }
    let mut files = 0;
    for file in std::fs::read_dir(bench.dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        files += 1;
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{}", file.display());
    }
    assert!(files >= 2, "the database and its log were looked at");
    bench.post("/tokens", &body).await.problem(409, "duplicate_token");
    assert_eq!(bench.get_with(token, "/jobs").await.status, 200);
    let other = bench.token(Scope::Admin, None).await;
    let mixed = format!("{}_{}", token.rsplit_once('_').unwrap().0, other.rsplit('_').next().unwrap());
    let flipped = format!("{}{}", &token[..68], if token.ends_with('a') { 'b' } else { 'a' });
    for bad in [
        &mixed,
        &flipped,
        &token[..68],
        &format!("{token} "),
        &format!("{token}a"),
        &format!("tok_{token}"),
        id,
    ] {
        bench.get_with(bad, "/jobs").await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_new_token_is_said_with_its_place() {
    let bench = Bench::new().await;
    let (_, client) = submit(&bench, &job("widgets", "a")).await;
    for (body, pointers) in [
        (json!({}), vec!["/name"]),
        (json!({"name": 1, "scope": "root"}), vec!["/name", "/scope"]),
        (json!({"name": "admin"}), vec!["/name"]),
        (json!({"name": "a b"}), vec!["/name"]),
        (json!({"name": "a", "clients": []}), vec!["/clients"]),
        (json!({"name": "a", "clients": [client, "cli-none", "x"]}), vec!["/clients/1", "/clients/2"]),
        (json!({"name": "a", "scope": "admin", "clients": [client]}), vec!["/clients"]),
        (json!({"name": "a", "expiresAt": "2020-01-01T00:00:00Z"}), vec!["/expiresAt"]),
        (json!({"name": "a", "expiresAt": "soon"}), vec!["/expiresAt"]),
    ] {
        assert_eq!(bench.post("/tokens", &body).await.pointers(422, "invalid"), pointers, "{body}");
    }
    let made = bench.post("/tokens", &json!({"name": "a"})).await.json();
    assert_eq!(
        (&made["scope"], &made["expiresAt"]),
        (&"read".into(), &Value::Null),
        "no more than was asked for"
    );
    for id in ["tok-none", "x", "..%2f"] {
        bench.get(&format!("/tokens/{id}")).await.problem(404, "not_found");
        bench.call(Method::DELETE, &format!("/tokens/{id}"), &[], &json!({})).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn who_may_submit_has_the_safe_options_and_its_own_jobs() {
    let bench = Bench::new().await;
    let token = bench.token(Scope::Submit, None).await;
    let post = async |path: &str, body: &Value| bench.call_with(&token, Method::POST, path, body).await;
    let with = |branch: &str, options: Value| json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "p", "branchName": branch, "options": options});
    let safe = json!({"model": "opus", "maxTurns": 3, "appendSystemPrompt": "x", "timeoutSeconds": 60,
        "maxBudgetUsd": 1.0, "draft": true, "prLabels": ["a"], "reviewers": ["b"], "publish": "branch"});
    let own = post("/jobs", &with("own", safe)).await;
    assert_eq!(own.status, 201, "{}", own.json());
    let own = own.json();
    assert!(own["submittedBy"].as_str().unwrap().starts_with("submit-"));
    for (name, value) in [
        ("permissionMode", json!("bypassPermissions")),
        ("allowedTools", json!(["Bash"])),
        ("setup", json!(["make"])),
        ("verify", json!(["make"])),
        ("isolation", json!("none")),
        ("agent", json!("claude")),
        ("onBranchExists", json!("reset")),
    ] {
        let answer = post("/jobs", &with("x", json!({name: value}))).await;
        assert_eq!(answer.status, 403, "{name}: {}", answer.json());
    }
    let (others, _) = submit(&bench, &job("widgets", "others")).await;
    for (id, allowed) in [(own["id"].as_str().unwrap(), true), (others.as_str(), false)] {
        let cancelled = bench.post(&format!("/jobs/{id}/cancel"), &json!({})).await;
        assert_eq!(cancelled.status, 200, "{}", cancelled.json());
        let retry = post(&format!("/jobs/{id}/retry"), &json!({})).await;
        assert_eq!(retry.status.as_u16(), if allowed { 201 } else { 403 }, "{}", retry.json());
        let more = post(&format!("/jobs/{id}/follow-up"), &json!({"prompt": "more"})).await;
        assert_eq!(more.status.as_u16(), if allowed { 201 } else { 403 }, "{}", more.json());
    }
}

/// Reads until the end; whether it came in time, and orderly.
async fn ends(body: Body) -> bool {
    let mut body = body.into_data_stream();
    let whole = async {
        loop {
            match body.next().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(_)) => {}
            }
        }
    };
    timeout(ENDS_WITHIN, whole).await.expect("the stream ends in time")
}

#[tokio::test]
async fn what_a_token_has_opened_ends_with_it() {
    for expires in [false, true] {
        let bench = Bench::new().await;
        let (own, _) = submit(&bench, &job("widgets", "a")).await;
        let mut body = json!({"name": "ci"});
        if expires {
            let at = jiff::Timestamp::from_millisecond(bench.clock.now_ms() + 60_000).unwrap();
            body["expiresAt"] = at.to_string().into();
        }
        let made = bench.post("/tokens", &body).await.json();
        let authorization = format!("Bearer {}", made["token"].as_str().unwrap());
        let open = async |path: &str| {
            let sent = request(Method::GET, path, &[("authorization", &authorization)], Body::empty());
            bench.router.clone().oneshot(sent).await.unwrap()
        };
        let (all, one) = (open("/events").await, open(&format!("/jobs/{own}/events")).await);
        let log = open(&format!("/jobs/{own}/log?follow=true")).await;
        assert!([&all, &one, &log].iter().all(|answer| answer.status() == 200));
        let path = format!("/jobs/{own}?wait=60");
        let seen = [("authorization", authorization.as_str()), ("if-none-match", "*")];
        let waits = bench.router.clone().oneshot(request(Method::GET, &path, &seen, Body::empty()));
        let over = async {
            if expires {
                bench.clock.advance_ms(60_000);
            } else {
                let path = format!("/tokens/{}", made["id"].as_str().unwrap());
                let revoked = bench.call(Method::DELETE, &path, &[], &json!({})).await;
                assert_eq!(revoked.status, 200);
                assert_ne!(revoked.json()["revokedAt"], Value::Null);
            }
        };
        let (waited, ()) = tokio::join!(timeout(ENDS_WITHIN, waits), over);
        assert_eq!(waited.expect("the wait ends in time").unwrap().status(), 401);
        assert!(ends(all.into_body()).await && ends(one.into_body()).await, "as it ends at other times");
        assert!(!ends(log.into_body()).await, "nobody takes it for the whole output");
        assert_eq!(open("/jobs").await.status(), 401);
        assert_eq!(bench.get("/jobs").await.status, 200);
    }
}

#[tokio::test]
async fn a_revoked_name_is_free_and_the_next_token_is_another() {
    let bench = Bench::new().await;
    let make = async || bench.post("/tokens", &json!({"name": "ci", "scope": "submit"})).await.json();
    let first = make().await;
    let submit = async |made: &Value| {
        let headers = [
            ("authorization", &*format!("Bearer {}", made["token"].as_str().unwrap())),
            ("idempotency-key", "k"),
        ];
        bench.call(Method::POST, "/jobs", &headers, &job("widgets", "a")).await
    };
    assert_eq!(submit(&first).await.status, 201);
    let path = format!("/tokens/{}", first["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(bench.call(Method::DELETE, &path, &[], &json!({})).await.status, 200);
    }
    let second = make().await;
    submit(&second).await.problem(409, "branch_busy");
    let listed = bench.get("/tokens").await.json();
    let revoked: Vec<_> =
        listed["tokens"].as_array().unwrap().iter().map(|one| one["revokedAt"].is_null()).collect();
    assert_eq!(revoked, [true, false], "the newest first");
}

/// A revocation that comes while the answer of the making is still under way finds nothing to take away.
#[tokio::test]
async fn a_token_that_is_revoked_before_it_was_handed_out_opens_nothing() {
    let bench = Bench::new().await;
    let (caller, body) = (Caller::built_in(), json!({"name": "ci"}));
    let mut making = pin!(bench.app.create_token(&caller, &body, None));
    assert!(poll!(making.as_mut()).is_pending(), "it waits for the disk");
    let made = loop {
        if let Some(made) = bench.store.list_tokens().await.unwrap().pop() {
            break made;
        }
    };
    let id = made.id.to_string();
    let mut revoking = pin!(bench.app.revoke_token(&caller, &id));
    let mut revoked = None;
    // in order it waits for the making, and never comes to its end here
    for _ in 0..100 {
        tokio::select! {
            biased;
            done = revoking.as_mut(), if revoked.is_none() => revoked = Some(done),
            _ = bench.store.list_tokens() => {}
        }
    }
    let shown = match revoked {
        Some(_) => making.await,
        None => {
            let (made, done) = tokio::join!(making, revoking);
            revoked = Some(done);
            made
        }
    };
    assert!(revoked.is_some_and(|done| done.is_ok()));
    let token = serde_json::to_value(shown.unwrap().body).unwrap()["token"].as_str().unwrap().to_owned();
    bench.get_with(&token, "/jobs").await.problem(401, "unauthorized");
}

/// Looks at a token until it says so.
async fn used_at(bench: &Bench, id: &str, expected: &str) {
    let look = async {
        while bench.get(&format!("/tokens/{id}")).await.json()["lastUsedAt"] != expected {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), look).await.expect("the use is written down");
}

#[tokio::test]
async fn the_last_use_is_written_down_once_a_minute() {
    let bench = Bench::new().await;
    let made = bench.post("/tokens", &json!({"name": "ci"})).await.json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let use_it = async || assert_eq!(bench.get_with(token, "/queue").await.status, 200);
    let at = |ms: i64| crate::wire::time::UtcTime(crate::domain::time::Timestamp::from_ms(ms)).to_string();
    let first = bench.clock.now_ms();
    use_it().await;
    used_at(&bench, id, &at(first)).await;
    bench.clock.advance_ms(59_999);
    use_it().await;
    bench.clock.advance_ms(1);
    use_it().await;
    // one that was written in between would keep this one from being written
    used_at(&bench, id, &at(first + 60_000)).await;
}

#[tokio::test]
async fn a_minute_of_one_token_is_bounded_and_no_other_is_touched() {
    let bench = Bench::new().await;
    let (token, other) = (bench.token(Scope::Read, None).await, bench.token(Scope::Read, None).await);
    let mut answers = Vec::new();
    // those that come while the first ones are answered get places that are free again by then
    while answers.len() < 3_000 {
        let answer = bench.get_with(&token, "/nothing").await;
        if answer.status == 429 {
            answer.problem(429, "too_many_requests");
            assert_eq!(answer.header("retry-after"), Some("1"));
            break;
        }
        answers.push(answer);
    }
    assert!((600..3_000).contains(&answers.len()), "{}", answers.len());
    assert_eq!(bench.get_with(&other, "/jobs").await.status, 200);
    for _ in 0..700 {
        assert_eq!(bench.get("/nothing").await.status, 404, "the built-in one has no limit");
    }
}

#[tokio::test]
async fn wrong_tokens_of_a_peer_are_counted_and_its_right_ones_let_in() {
    let bench = Bench::new().await;
    let token = bench.token(Scope::Read, None).await;
    for _ in 0..10 {
        bench.get_with("wrong", "/jobs").await.problem(401, "unauthorized");
        let none = request(Method::GET, "/jobs", &[("authorization", "-")], Body::empty());
        bench.send(none).await.problem(401, "unauthorized");
    }
    let spoofed =
        [("authorization", "Bearer wrong"), ("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7")];
    for headers in [&spoofed[..], &spoofed[..1]] {
        let answer = bench.send(request(Method::GET, "/jobs", headers, Body::empty())).await;
        answer.problem(429, "too_many_wrong_tokens");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    assert_eq!(bench.get_with(&token, "/jobs").await.status, 200);
    assert_eq!(bench.get("/jobs").await.status, 200);
}

/// All that open something are known by heart, and all that ever did are listed at once.
#[tokio::test]
async fn there_is_a_bound_to_tokens_and_to_revoked_ones() {
    const MOST: usize = 200;
    let bench = Bench::new().await;
    let mut ids = Vec::new();
    for number in 0..MOST {
        let made = bench.post("/tokens", &json!({"name": format!("t{number}"), "scope": "read"})).await;
        assert_eq!(made.status, 201, "{number}: {}", made.json());
        ids.push(made.json()["id"].as_str().unwrap().to_owned());
    }
    let more = json!({"name": "more", "scope": "read"});
    bench.post("/tokens", &more).await.problem(409, "too_many_tokens");
    let listed = async || bench.get("/tokens").await.json()["tokens"].as_array().unwrap().len();
    assert_eq!(listed().await, MOST, "nothing is left of what was refused");
    for (number, id) in ids.iter().enumerate() {
        bench.call(Method::DELETE, &format!("/tokens/{id}"), &[], &json!({})).await;
        if number == 0 {
            assert_eq!(bench.post("/tokens", &more).await.status, 201, "there is a place again");
        }
    }
    // one more than are kept
    let last = bench.post("/tokens", &json!({"name": "last", "scope": "read"})).await.json()["id"].clone();
    bench.call(Method::DELETE, &format!("/tokens/{}", last.as_str().unwrap()), &[], &json!({})).await;
    assert_eq!(listed().await, MOST + 1, "200 revoked, and the one that opens something");
    bench.get(&format!("/tokens/{}", ids[0])).await.problem(404, "not_found");
}
