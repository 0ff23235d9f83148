//! What is written down about calls: every change once, every refusal, and nothing that did not come to be.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::super::audit::{Answered, finish};
use super::{Bench, request};
use crate::domain::time::Timestamp;
use crate::domain::token::Scope;
use crate::store::{Asked, Call};

/// What was written down, the oldest first, as `status call target`.
async fn rows(bench: &Bench) -> Vec<String> {
    let page = bench.get("/audit?limit=200").await.json();
    let entries = page["entries"].as_array().unwrap().iter().rev();
    let text = |entry: &Value, member: &str| entry[member].as_str().unwrap().to_owned();
    entries
        .map(|entry| format!("{} {} {}", entry["status"], text(entry, "call"), text(entry, "target")))
        .collect()
}

fn job(branch: &str) -> Value {
    json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "Greet", "branchName": branch})
}

#[tokio::test]
async fn every_change_is_written_down_once_with_what_it_made() {
    let bench = Bench::new().await;
    bench.publish("acme", "widgets");
    let client =
        bench.post("/clients", &json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"})).await;
    assert_eq!(client.status, 201, "{}", client.json());
    let client = format!("/clients/{}", client.json()["id"].as_str().unwrap());
    let made = bench.post("/jobs", &job("a")).await.json();
    let id = format!("/jobs/{}", made["id"].as_str().unwrap());
    let mut expected = vec![format!("201 POST /clients {client}"), format!("201 POST /jobs {id}")];
    for (method, path, route, body) in [
        ("POST", format!("{id}/cancel"), "/jobs/{id}/cancel", json!({})),
        ("PATCH", client.clone(), "/clients/{id}", json!({"name": "x"})),
        ("POST", "/queue/pause".to_owned(), "/queue/pause", json!({"reason": "lunch"})),
        ("POST", "/queue/try-now".to_owned(), "/queue/try-now", json!({})),
        ("POST", "/queue/resume".to_owned(), "/queue/resume", json!({})),
        ("POST", "/sync".to_owned(), "/sync", json!({})),
        ("POST", "/gc".to_owned(), "/gc", json!({})),
        ("POST", "/profiles".to_owned(), "/profiles", json!({"name": "p"})),
        ("PATCH", "/profiles/p".to_owned(), "/profiles/{name}", json!({"submit": true})),
        ("DELETE", "/profiles/p".to_owned(), "/profiles/{name}", json!({})),
        ("DELETE", client.clone(), "/clients/{id}", json!({})),
    ] {
        let answer = bench.call(method.parse().unwrap(), &path, &[], &body).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.json());
        let target = if route == "/profiles" { "/profiles/p" } else { path.as_str() };
        expected.push(format!("{} {method} {route} {target}", answer.status.as_u16()));
    }
    // what was found wrong, was not there, or only asked for
    bench.post("/jobs", &json!({})).await.problem(422, "invalid");
    bench.post("/jobs/none/cancel", &json!({})).await.problem(404, "not_found");
    bench.post(&format!("{id}/follow-up"), &json!({"prompt": "x"})).await.problem(409, "client_deleted");
    bench.get(&id).await;
    assert_eq!(rows(&bench).await, expected);
    let page = bench.get("/audit?limit=2").await.json();
    let last = &page["entries"][0];
    assert_eq!(
        (&last["tokenId"], &last["tokenName"], &last["peer"]),
        (&"admin".into(), &"admin".into(), &Value::Null)
    );
    let next = page["nextCursor"].as_str().unwrap();
    assert_eq!(bench.get(&format!("/audit?limit=200&after={next}")).await.json()["nextCursor"], Value::Null);
    bench.get("/audit?limit=0").await.problem(422, "invalid");
}

#[tokio::test]
async fn a_job_in_a_new_repository_is_two_things_and_a_repeat_is_none() {
    let bench = Bench::new().await;
    let headers = [("idempotency-key", "k"), ("x-request-id", "trace-7")];
    for _ in 0..2 {
        assert_eq!(bench.call(Method::POST, "/jobs", &headers, &job("a")).await.status, 201);
    }
    let entries = bench.get("/audit").await.json()["entries"].clone();
    let [made, client] = &entries.as_array().unwrap()[..] else { panic!("{entries}") };
    assert!(made["target"].as_str().unwrap().starts_with("/jobs/job-"), "{entries}");
    assert!(client["target"].as_str().unwrap().starts_with("/clients/cli-"), "{entries}");
    assert_eq!((&made["requestId"], &client["requestId"]), (&"trace-7".into(), &"trace-7".into()));
}

#[tokio::test]
async fn every_refusal_is_written_down_with_who_was_refused() {
    let bench = Bench::new().await;
    let (read, submit) = (bench.token(Scope::Read, None).await, bench.token(Scope::Submit, None).await);
    let before = rows(&bench).await.len();
    bench.call_with(&read, Method::POST, "/jobs", &job("a")).await.problem(403, "forbidden");
    bench.get_with(&read, "/tokens").await.problem(403, "forbidden");
    let mut body = job("a");
    body["options"] = json!({"setup": ["make"]});
    bench.call_with(&submit, Method::POST, "/jobs", &body).await.problem(403, "forbidden");
    // nobody knows who these are
    bench.get_with("wrong", "/tokens").await.problem(401, "unauthorized");
    let foreign = [("origin", "https://evil.com")];
    bench.send(request(Method::POST, "/jobs", &foreign, Body::empty())).await.problem(403, "foreign_origin");
    let entries = bench.get("/audit").await.json()["entries"].clone();
    let entries = entries.as_array().unwrap();
    assert_eq!(
        rows(&bench).await[before..],
        ["403 POST /jobs /jobs", "403 GET /tokens /tokens", "403 POST /jobs /jobs"]
    );
    for (entry, name) in entries.iter().zip(["submit-", "read-", "read-"]) {
        assert!(entry["tokenName"].as_str().unwrap().starts_with(name), "{entry}");
        assert!(entry["tokenId"].as_str().unwrap().starts_with("tok-"), "{entry}");
        assert!(entry["requestId"].as_str().unwrap().starts_with("req-"), "{entry}");
    }
    for secret in [&read, &submit] {
        assert!(!format!("{entries:?}").contains(secret.rsplit('_').next().unwrap()));
    }
}

/// Waits for so many rows.
async fn until_rows(bench: &Bench, count: usize) {
    let look = async {
        while rows(bench).await.len() < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), look).await.expect("it is written down");
}

#[tokio::test]
async fn who_goes_away_is_written_down_all_the_same() {
    let bench = Bench::new().await;
    let read = bench.token(Scope::Read, None).await;
    let authorization = format!("Bearer {read}");
    let headers = [("authorization", authorization.as_str()), ("content-length", "2")];
    let sent = request(Method::POST, "/queue/pause", &headers, Body::from("{}"));
    let before = rows(&bench).await.len();
    assert!(bench.router.clone().oneshot(sent).now_or_never().is_none(), "it waits for the disk");
    until_rows(&bench, before + 1).await;
}

/// Not beside it: a server that is killed between the two would have changed something that nobody asked for.
#[tokio::test]
async fn a_change_and_its_row_are_one_transaction() {
    let bench = Bench::new().await;
    let call = || {
        let asked = Asked {
            token: "tok-a".to_owned(),
            name: "ci".to_owned(),
            call: "POST /queue/pause".to_owned(),
            target: "/queue/pause".to_owned(),
            request_id: "r".to_owned(),
            peer: Some("192.0.2.1".to_owned()),
        };
        Call::new(asked, Timestamp::from_ms(7), Some(200))
    };
    let pause = call();
    pause.around(bench.store.pause_queue(None)).await.unwrap();
    assert_eq!(pause.written(), Some(200));
    let (page, _) = bench.store.audit_page(None, 9).await.unwrap();
    assert_eq!((page.len(), page[0].at.as_ms(), page[0].asked.peer.as_deref()), (1, 7, Some("192.0.2.1")));
    let refused = call();
    refused.around(bench.store.delete_profile("none")).await.unwrap_err();
    assert_eq!(refused.written(), None);
    bench.store.resume_queue().await.unwrap();
    assert_eq!(
        bench.store.audit_page(None, 9).await.unwrap().0.len(),
        1,
        "nothing without a call, nothing that failed"
    );
}

#[tokio::test]
async fn rows_stay_as_they_are_until_their_time_is_over() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        assert_eq!(bench.post("/queue/pause", &json!({})).await.status, 200);
    }
    let database = rusqlite::Connection::open(bench.dir.path().join("offshoot.db")).unwrap();
    for change in [
        "UPDATE audit SET name = 'nobody'",
        "UPDATE audit SET status = 404 WHERE seq = 1",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = 1",
    ] {
        let error = database.execute_batch(change).unwrap_err().to_string();
        assert!(error.contains("what is written down stays"), "{change}: {error}");
    }
    let now = Timestamp::from_ms(bench.clock.now_ms());
    assert_eq!(bench.store.forget_audit(now).await.unwrap(), 0, "of this moment");
    bench.clock.advance_ms(1_000);
    assert_eq!(bench.post("/queue/pause", &json!({})).await.status, 200);
    let past = Timestamp::from_ms(bench.clock.now_ms());
    assert_eq!(bench.store.count_forgettable_audit(past, 9).await.unwrap(), 3);
    assert_eq!(bench.store.forget_audit(past).await.unwrap(), 3);
    assert_eq!(rows(&bench).await.len(), 1);
    assert!(database.execute_batch("DELETE FROM audit").is_err());
    bench.clock.advance_ms(3_651 * 24 * 3_600 * 1_000);
    let report = bench.post("/gc", &json!({})).await.json();
    assert!(report["removed"].to_string().contains("\"audit\""), "{report}");
    assert_eq!(rows(&bench).await, ["200 POST /gc /gc"]);
}

/// The status in the transaction of the change is the one that is expected.
#[tokio::test]
async fn an_answer_that_came_otherwise_is_a_second_row() {
    let bench = Bench::new().await;
    let state = bench.state();
    for (status, expected) in [
        (StatusCode::OK, &["200 POST /queue/pause /queue/pause"][..]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &["200 POST /queue/pause /queue/pause", "503 POST /queue/pause /queue/pause"],
        ),
    ] {
        let before = rows(&bench).await.len();
        let asked = Asked {
            call: "POST /queue/pause".to_owned(),
            target: "/queue/pause".to_owned(),
            ..Asked::default()
        };
        let call = Call::new(asked, Timestamp::from_ms(7), Some(200));
        call.around(bench.store.pause_queue(None)).await.unwrap();
        finish(&state, call, true, Answered::with(status)).await;
        assert_eq!(rows(&bench).await[before..], *expected);
    }
}

/// Nobody fills the disk with what he does, and what was done last is there.
#[tokio::test]
async fn of_too_many_rows_the_newest_stay() {
    const MOST: i64 = 100_000;
    let bench = Bench::new().await;
    let database = rusqlite::Connection::open(bench.dir.path().join("offshoot.db")).unwrap();
    let fill = "INSERT INTO audit (at, token, name, call, target, request_id, peer, status)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        SELECT 9000000000000, 't', 'n', 'POST /x', '/x', i, NULL, 200 FROM n";
    database.execute(fill, [MOST + 2_500]).unwrap();
    let oldest = || {
        database.query_row("SELECT min(seq), count(*) FROM audit", [], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let begin = Timestamp::from_ms(0);
    let told = || bench.store.count_forgettable_audit(begin, 9_000);
    assert_eq!(told().await.unwrap(), 2_500, "a dry run tells of them");
    for (gone, expected) in [(2_000, (2_001, MOST + 500)), (500, (2_501, MOST)), (0, (2_501, MOST))] {
        assert_eq!(bench.store.forget_audit(begin).await.unwrap(), gone);
        assert_eq!(oldest().unwrap(), expected);
    }
    assert_eq!(told().await.unwrap(), 0);
}

/// As many as a token likes, so they go first, and its own before those of others: no change goes for them.
#[tokio::test]
async fn refusals_push_out_no_change_and_none_of_another_token() {
    let bench = Bench::new().await;
    let (noisy, quiet) = (bench.token(Scope::Read, None).await, bench.token(Scope::Read, None).await);
    let pause = async |token: &str| {
        bench.call_with(token, Method::POST, "/queue/pause", &json!({})).await.problem(403, "forbidden");
    };
    pause(&quiet).await;
    let changes = rows(&bench).await.len() - 1;
    let database = rusqlite::Connection::open(bench.dir.path().join("offshoot.db")).unwrap();
    let fill = "INSERT INTO audit (at, token, name, call, target, request_id, peer, status)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 111000)
        SELECT 9000000000000, 'tok-noisy', 'n', 'POST /x', '/x', i, NULL, 403 FROM n";
    database.execute(fill, []).unwrap();
    let count = |what: &str| -> i64 {
        database.query_row(&format!("SELECT count(*) FROM audit WHERE {what}"), [], |row| row.get(0)).unwrap()
    };
    // they are counted by the server itself, not only when the janitor comes
    for _ in 0..500 {
        pause(&noisy).await;
    }
    assert!(count("status = 403") < 111_000, "{}", count("status = 403"));
    let begin = Timestamp::from_ms(0);
    let (told, was) = (bench.store.count_forgettable_audit(begin, u64::MAX).await.unwrap(), count("1"));
    loop {
        match bench.store.forget_audit(begin).await.unwrap() {
            0 => break,
            gone => assert!(gone <= 2_000, "{gone}"),
        }
    }
    assert_eq!(count("status = 403"), 10_000);
    assert_eq!(u64::try_from(was - count("1")).unwrap(), told);
    assert_eq!((count("status <> 403"), count("token = 'tok-noisy'")), (changes.try_into().unwrap(), 9_499));
    assert!(database.execute_batch("DELETE FROM audit").is_err(), "the trigger is as it was");
}

/// Which conversation, of several that bear one id; how far a removal went. Nothing else of a query: it may be a secret.
#[tokio::test]
async fn what_a_query_decides_is_written_down_and_nothing_else_of_it() {
    let bench = Bench::new().await;
    let read = bench.token(Scope::Read, None).await;
    let path = "/sessions/s-1?rootJobId=job-abc&token=ofs_lost&agent=codex&rootJobIdx=1";
    bench.call_with(&read, Method::DELETE, path, &json!({})).await.problem(403, "forbidden");
    bench.publish("acme", "widgets");
    let client =
        bench.post("/clients", &json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"})).await;
    let client = format!("/clients/{}", client.json()["id"].as_str().unwrap());
    let path = format!("{client}?removeRepo=true&force=true&api_key=lost");
    assert_eq!(bench.call(Method::DELETE, &path, &[], &json!({})).await.status, 200);
    let long = format!("/sessions/{}?rootJobId={}", "s".repeat(300), "j".repeat(300));
    bench.call_with(&read, Method::DELETE, &long, &json!({})).await.problem(403, "forbidden");
    let rows: Vec<_> = rows(&bench).await.into_iter().filter(|row| row.contains("DELETE")).collect();
    let cut = format!("/sessions/{}?rootJobId={}", "s".repeat(190), "j".repeat(190));
    assert_eq!(
        rows,
        [
            "403 DELETE /sessions/{id} /sessions/s-1?rootJobId=job-abc&agent=codex".to_owned(),
            format!("200 DELETE /clients/{{id}} {client}?removeRepo=true&force=true"),
            format!("403 DELETE /sessions/{{id}} {cut}"),
        ]
    );
}
