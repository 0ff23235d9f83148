//! What stands before every handler.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use futures_util::stream;
use serde_json::json;
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::super::{body, idempotency};
use super::{Bench, HOST, SECRET, request};
use crate::app::Caller;
use crate::domain::time::Timestamp;
use crate::domain::token::Scope;
use crate::store::{Asked, Call};

#[tokio::test]
async fn tokens() {
    let bench = Bench::new().await;
    let good = format!("Bearer {SECRET}");
    for bad in ["-", "", "Basic abc", "Bearer", "Bearer ", &format!("{good} "), &format!("{good}x"), SECRET] {
        let request = request(Method::GET, "/jobs", &[("authorization", bad)], Body::empty());
        let answer = bench.send(request).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{bad:?}");
    }
    let in_query = format!("/jobs?token={SECRET}");
    bench
        .send(request(Method::GET, &in_query, &[("authorization", "-")], Body::empty()))
        .await
        .problem(401, "unauthorized");
    let twice = [("authorization", good.as_str()), ("authorization", good.as_str())];
    bench.send(request(Method::GET, "/jobs", &twice, Body::empty())).await.problem(400, "malformed");
    let key = [("authorization", "-"), ("x-api-key", SECRET)];
    assert_eq!(bench.send(request(Method::GET, "/jobs", &key, Body::empty())).await.status, 200);
    assert_eq!(bench.get("/jobs").await.status, 200);
    let nobody = [("authorization", "-")];
    for open in ["/livez", "/readyz"] {
        assert_eq!(bench.send(request(Method::GET, open, &nobody, Body::empty())).await.status, 200);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let asked = request(method.clone(), open, &nobody, Body::empty());
            bench.send(asked).await.problem(401, "unauthorized");
            bench.send(request(method, open, &[], Body::empty())).await.problem(405, "method_not_allowed");
        }
    }
}

#[tokio::test]
async fn hosts_and_origins() {
    let bench = Bench::new().await;
    for host in ["evil.com", "127.0.0.1.nip.io:3456", "127.0.0.1:80"] {
        let answer = bench.send(request(Method::GET, "/livez", &[("host", host)], Body::empty())).await;
        answer.problem(421, "unknown_host");
    }
    bench
        .send(request(Method::GET, "/jobs", &[("host", "-")], Body::empty()))
        .await
        .problem(400, "malformed");
    for origin in ["https://evil.com", "null", "http://127.0.0.1:80", "file://"] {
        let answer = bench.send(request(Method::GET, "/jobs", &[("origin", origin)], Body::empty())).await;
        answer.problem(403, "foreign_origin");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    for (site, status) in
        [("cross-site", 403), ("same-site", 403), ("x", 403), ("same-origin", 200), ("none", 200)]
    {
        let sent = request(Method::GET, "/jobs", &[("sec-fetch-site", site)], Body::empty());
        assert_eq!(bench.send(sent).await.status, status, "{site}");
    }
    // a form of another page, which can send JSON as text and nothing else
    let form = [("origin", "https://evil.com"), ("content-type", "text/plain")];
    let body = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "p"}).to_string();
    let sent = request(Method::POST, "/jobs", &form, Body::from(body));
    bench.send(sent).await.problem(403, "foreign_origin");
    assert_eq!(bench.get("/jobs").await.json()["total"], 0);
    let own = format!("http://{HOST}");
    assert_eq!(
        bench.send(request(Method::GET, "/jobs", &[("origin", &own)], Body::empty())).await.status,
        200
    );
}

#[tokio::test]
async fn paths_and_methods() {
    let bench = Bench::new().await;
    bench.get("/nothing").await.problem(404, "no_such_route");
    let answer = bench.call(Method::PUT, "/jobs", &[], &json!({})).await;
    answer.problem(405, "method_not_allowed");
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")));
    let long = "a".repeat(10_000);
    for id in ["..%2f..%2fetc%2fpasswd", "%00", &long, "job-", "999999"] {
        bench.get(&format!("/jobs/{id}")).await.problem(404, "not_found");
    }
    for id in ["..%2fetc", "job-abcd", "cli-zzzz"] {
        bench.get(&format!("/clients/{id}")).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn bodies() {
    let bench = Bench::new().await;
    let send = |kind: &'static str, body: Body| {
        bench.send(request(Method::POST, "/jobs", &[("content-type", kind)], body))
    };
    send("text/plain", Body::from("{}")).await.problem(415, "not_json");
    send("-", Body::from("{}")).await.problem(415, "not_json");
    send("application/json", Body::from("{\"a\":")).await.problem(400, "malformed");
    let bytes = |mib: usize| Body::from(vec![b' '; mib * 1024 * 1024 + 1]);
    send("application/json", bytes(15)).await.problem(413, "body_too_large");
    let small = bench.send(request(Method::POST, "/gc", &[("content-type", "application/json")], bytes(1)));
    small.await.problem(413, "body_too_large");
    let chunks = stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 * 1024]))));
    send("application/json", Body::from_stream(chunks)).await.problem(413, "body_too_large");
    assert_eq!(send("application/json", Body::from("[]")).await.pointers(422, "invalid")[0], "");
    let big = json!({"prompt": "x".repeat(256 * 1024 + 1), "githubOrg": "o", "githubRepo": "r"});
    assert_eq!(bench.post("/jobs", &big).await.pointers(422, "invalid"), ["/prompt"]);
    let fat = "x".repeat(40_000);
    bench
        .send(request(Method::GET, "/jobs", &[("x-fat", &fat)], Body::empty()))
        .await
        .problem(431, "headers_too_large");
}

#[tokio::test]
async fn request_ids() {
    let bench = Bench::new().await;
    let given = [("x-request-id", "trace-1.a_B")];
    let answer = bench.send(request(Method::GET, "/nothing", &given, Body::empty())).await;
    assert_eq!(answer.problem(404, "no_such_route")["requestId"], "trace-1.a_B");
    for bad in ["a b", "x\u{9}y", &"x".repeat(129), "<script>"] {
        let answer =
            bench.send(request(Method::GET, "/livez", &[("x-request-id", bad)], Body::empty())).await;
        assert!(answer.header("x-request-id").is_some_and(|id| id.starts_with("req-")), "{bad:?}");
    }
}

#[tokio::test]
async fn queries() {
    let bench = Bench::new().await;
    for (query, status, code) in [
        ("limit=-1", 422, "invalid"),
        ("limit=0", 422, "invalid"),
        ("limit=1000000000", 422, "invalid"),
        ("offset=-1", 422, "invalid"),
        ("status=foo", 422, "invalid"),
        ("limit=abc", 400, "malformed"),
        ("limit=1&limit=2", 400, "malformed"),
        ("after=-1", 422, "invalid"),
    ] {
        bench.get(&format!("/jobs?{query}")).await.problem(status, code);
    }
    let page = bench.get("/jobs?status=queued,running&limit=10").await.json();
    assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&0.into(), &10.into(), &0.into()));
}

/// Everything that is served is in the document, with a scheme, and every error is a problem.
#[tokio::test]
async fn the_document() {
    let bench = Bench::new().await;
    let document = bench.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let text = document.to_string();
    for path in
        ["/jobs", "/jobs/{id}/cancel", "/clients/{id}", "/queue/try-now", "/sync", "/health", "/readyz"]
    {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
    let responses = &document["paths"]["/jobs"]["post"]["responses"];
    for status in ["201", "400", "401", "409", "413", "415", "422", "429", "503"] {
        assert!(responses.get(status).is_some(), "{status}");
    }
    assert!(responses["422"]["content"]["application/problem+json"]["schema"]["$ref"].is_string());
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is referred to and missing");
    }
    let status = document["components"]["schemas"]["Status"]["enum"].as_array().unwrap().len();
    assert_eq!(status, 5);
}

/// A request goes on when its caller has gone, and what it takes of memory with it: of one token two, of all that have a name three,
/// with the owner four.
#[tokio::test]
async fn who_goes_away_gives_no_place_back_that_is_still_needed() {
    let bench = Bench::new().await;
    let state = bench.state();
    let (one, other) = (bench.caller(Scope::Submit).await, bench.caller(Scope::Admin).await);
    let router = Router::new()
        .route("/jobs", post(std::future::pending::<StatusCode>))
        .layer(from_fn_with_state(state.clone(), idempotency::repeat_answers))
        .layer(from_fn_with_state(state, body::read_body))
        .layer(axum::Extension(Call::new(Asked::default(), Timestamp::from_ms(0), Some(200))));
    tokio::time::pause();
    let send = |caller: &Caller, seconds: u64| {
        let bytes = vec![b' '; 1024 * 1024 + 1];
        let headers = [("content-type", "application/json"), ("content-length", &*bytes.len().to_string())];
        let mut sent = request(Method::POST, "/jobs", &headers, Body::from(bytes));
        sent.extensions_mut().insert(caller.clone());
        timeout(Duration::from_secs(seconds), router.clone().oneshot(sent))
    };
    for (caller, may) in [(one, 2), (other, 1), (Caller::built_in(), 1)] {
        for _ in 0..may {
            assert!(send(&caller, 1).await.is_err(), "nobody waits for it any more");
        }
        let refused = send(&caller, 60).await.expect("an answer").unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", caller.name);
    }
}
