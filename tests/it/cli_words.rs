//! Words that people read when something is in the way: what a follower waits for, faults by the flags that were typed.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::cli::run;
use crate::cli_fake::{Answer, Fake, job, queued};

fn held() -> Value {
    let mut job = queued();
    job["waiting"] = json!({ "for": "login", "until": null });
    job
}

/// A server whose only login is held.
fn health() -> Value {
    json!({
        "status": "degraded", "version": "0.1.0", "uptimeSeconds": 1, "paused": false,
        "queue": { "running": 0, "queued": 1, "maxConcurrent": 2 },
        "claude": { "authenticated": false, "version": null }, "agents": [],
        "holds": [{ "login": "claude", "code": "agent_missing", "message": "\"claude\" is nowhere.",
                    "since": "2026-11-21T12:00:02.000Z", "until": null, "probe": null }],
        "disk": { "freeBytes": null, "floorBytes": 0 }, "callbacks": { "pending": 0, "dead": 0 },
        "isolation": "none", "database": "ok",
    })
}

const DONE: &str = "event: done\ndata: {\"job\":142,\"status\":\"failed\",\"outcome\":\"failed\"}\n\n";

/// The agent's program is missing: nothing would ever come, and nobody would know why.
#[tokio::test]
async fn whoever_follows_a_job_that_waits_is_told_why_and_what_to_do() {
    let told = Arc::new(Notify::new());
    let fake = Fake::start(move |seen, before| match seen.line.as_str() {
        "POST /jobs" => Answer::json(201, &queued()),
        "GET /health" => {
            told.notify_one();
            Answer::json(200, &health())
        }
        line if line.contains("/messages?") => {
            Answer::json(200, &json!({ "messages": [], "nextCursor": null }))
        }
        // the stream opens and says nothing until the follower has looked by itself
        line if line.contains("/events?") => {
            let looked = told.clone();
            let opened = futures_util::stream::iter([Ok::<_, std::io::Error>("id: 4\n: \n\n")]);
            let over = futures_util::stream::once(async move {
                looked.notified().await;
                Ok(DONE)
            });
            let body = axum::body::Body::from_stream(futures_util::StreamExt::chain(opened, over));
            Answer::text(200, body).header("content-type", "text/event-stream")
        }
        // at first it waits for a slot: what it waits for changes without an event
        line if line.starts_with("GET /jobs/") && before == 0 => Answer::json(200, &queued()),
        line if line.starts_with("GET /jobs/") && before == 1 => Answer::json(200, &held()),
        _ => Answer::json(200, &job(&json!({ "status": "failed" }))),
    })
    .await;
    let ran = run(&fake, &["submit", "-r", "acme/widg", "Fix it", "--follow"]).await;
    assert_eq!(ran.code, 10, "{ran:?}");
    let expected = "#142  queued  waits for the agent's login (position 1)\n  \"claude\" is nowhere.\n  see what is missing";
    assert!(ran.err.contains(expected), "{ran:?}");
    assert!(ran.err.contains("offshoot doctor"), "{ran:?}");
    assert_eq!(ran.err.matches("waits for the agent's login").count(), 1, "it is said once: {ran:?}");
}

#[tokio::test]
async fn faults_are_told_by_the_flags_that_were_typed() {
    let fake = Fake::start(|_, _| {
        let detail = "options/timeoutSeconds must be 60 or more";
        let errors =
            json!({ "errors": [{ "pointer": "/options/timeoutSeconds", "detail": "must be 60 or more" }] });
        Answer::problem(422, "invalid", detail, errors)
    })
    .await;
    let ran = run(&fake, &["submit", "-r", "acme/widg", "x", "--timeout", "1s"]).await;
    assert!(ran.err.starts_with("error: --timeout must be 60 or more\n"), "{ran:?}");
    assert_eq!((ran.code, ran.err.contains("timeoutSeconds")), (2, false), "{ran:?}");
    // programs get the members of the request
    let ran = run(&fake, &["submit", "-r", "acme/widg", "x", "--timeout", "1s", "--json"]).await;
    let problem: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(problem["errors"][0]["pointer"], "/options/timeoutSeconds");

    let fake = Fake::start(|_, _| {
        let errors = json!({ "errors": [
            { "pointer": "/dependsOn/0", "detail": "is no job" },
            { "pointer": "/options/setup/0", "detail": "is empty" },
        ] });
        Answer::problem(422, "invalid", "dependsOn/0 is no job (and one more fault)", errors)
    })
    .await;
    let ran = run(&fake, &["submit", "-r", "acme/widg", "x", "--after", "7"]).await;
    let expected = "error: --after is no job (and one more fault)\n  options.setup.0 is empty\n";
    assert!(ran.err.starts_with(expected), "{ran:?}");

    let fake = Fake::start(|_, _| {
        let errors = json!({ "errors": [{ "pointer": "/cloneUrl", "detail": "names no host" }] });
        Answer::problem(422, "invalid", "cloneUrl names no host", errors)
    })
    .await;
    let ran = run(&fake, &["client", "add", "acme/widgets", "--clone-url", "ssh://"]).await;
    assert!(ran.err.contains("error: acme/widgets: --clone-url names no host\n"), "{ran:?}");
}
