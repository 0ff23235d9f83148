//! Streams through the router: what comes, in which form, from where on.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Method;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::super::connection::{Connection, ConnectionLimits, Spare};
use super::{Answer, Bench, SECRET, request};
use crate::domain::attempt::{AttemptEnd, Lease};
use crate::domain::event::MessageKind;
use crate::domain::job::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::token::Scope;
use crate::store::{Ingest, IngestedMessage};

const LONG: Duration = Duration::from_secs(10);

/// One block of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
struct Block {
    id: Option<i64>,
    event: String,
    data: Value,
}

fn blocks(text: &str) -> Vec<Block> {
    let told = text.split("\n\n").filter(|block| block.contains("data: "));
    told.map(|block| {
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        };
        Block {
            id: field("id").map(|id| id.parse().unwrap()),
            event: field("event").unwrap(),
            data: serde_json::from_str(&field("data").unwrap()).unwrap(),
        }
    })
    .collect()
}

/// A stream that is read as far as somebody waits for it.
struct Open {
    body: BodyDataStream,
    text: String,
}

impl Open {
    async fn new(bench: &Bench, path: &str) -> Self {
        Self::with(bench, SECRET, path).await
    }

    async fn with(bench: &Bench, token: &str, path: &str) -> Self {
        let token = format!("Bearer {token}");
        let asked = request(Method::GET, path, &[("authorization", &token)], Body::empty());
        let response = bench.router.clone().oneshot(asked).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Reads until this text has come.
    async fn until(&mut self, text: &str) -> Vec<Block> {
        while !self.text.contains(text) {
            let piece = tokio::time::timeout(LONG, self.body.next()).await;
            let piece = piece.unwrap_or_else(|_| panic!("no {text} in {}", self.text));
            self.text.push_str(std::str::from_utf8(&piece.expect("it goes on").unwrap()).unwrap());
        }
        blocks(&self.text)
    }

    async fn end(mut self) -> Vec<Block> {
        while let Some(piece) = tokio::time::timeout(LONG, self.body.next()).await.expect("it ends") {
            self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
        blocks(&self.text)
    }
}

/// Proxies and browsers give up a connection on which nothing comes.
#[tokio::test]
async fn a_stream_on_which_nothing_comes_shows_every_15_seconds_that_it_is_alive() {
    let bench = Bench::new().await;
    started(&bench).await;
    let mut stream = Open::new(&bench, "/jobs/1/events").await;
    stream.until("attempt.started").await;
    tokio::time::pause();
    for _ in 0..2 {
        let silent = tokio::time::Instant::now();
        let piece = stream.body.next().await.expect("it goes on").unwrap();
        assert_eq!(piece, ":\n\n");
        assert_eq!(silent.elapsed().as_secs(), 15);
    }
}

async fn started(bench: &Bench) -> Lease {
    bench.publish("acme", "widgets");
    let body = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "x", "branchName": "b",
        "options": {"publish": "branch"}});
    assert_eq!(bench.post("/jobs", &body).await.status.as_u16(), 201);
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    bench.store.begin_step(lease, "agent-1").await.unwrap();
    lease
}

async fn says(bench: &Bench, lease: Lease, text: &str) {
    let at = Timestamp::from_ms(bench.clock.now_ms());
    let message = IngestedMessage::output(MessageKind::Stdout, text.to_owned(), at);
    let ingest = Ingest { messages: vec![message], ..Ingest::default() };
    bench.store.ingest(lease, "agent-1", ingest).await.unwrap();
}

async fn ends(bench: &Bench, lease: Lease) {
    let end = AttemptEnd::Completed { outcome: Outcome::NoChanges };
    bench.store.finish(lease, end, |_| None).await.unwrap();
}

fn names(blocks: &[Block]) -> Vec<&str> {
    blocks.iter().map(|block| block.event.as_str()).collect()
}

#[tokio::test]
async fn a_stream_tells_what_was_and_what_comes_and_ends_with_the_job() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    let mut stream = Open::new(&bench, "/jobs/1/events").await;
    assert_eq!(names(&stream.until("attempt.started").await), ["job.queued", "attempt.started"]);
    says(&bench, lease, "hello \"you\"\nand \u{1F600}").await;
    let blocks = stream.until("agent.output").await;
    let told = &blocks[2].data;
    assert_eq!(
        told["data"],
        json!({"stream": "stdout", "text": "hello \"you\"\nand \u{1F600}", "messageSeq": 1})
    );
    assert_eq!(
        (&told["type"], &told["job"], &told["attempt"]),
        (&"agent.output".into(), &1.into(), &1.into())
    );
    assert_eq!(told["seq"].as_i64(), blocks[2].id);
    assert!(told["jobId"].as_str().unwrap().starts_with("job-"));
    bench.store.add_system_message(lease, "pushed").await.unwrap();
    ends(&bench, lease).await;
    let live = stream.end().await;
    assert_eq!(names(&live)[3..], ["job.note", "job.completed", "done"]);
    assert_eq!(live[5].data, json!({"job": 1, "status": "completed", "outcome": "no_changes"}));
    // whoever comes later is told the same, and it ends
    assert_eq!(Open::new(&bench, "/jobs/1/events").await.end().await, live);
    let ids: Vec<_> = live.iter().filter_map(|block| block.id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_number_that_it_is_given() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    for text in ["one", "two", "three"] {
        says(&bench, lease, text).await;
    }
    ends(&bench, lease).await;
    let whole = Open::new(&bench, "/jobs/1/events").await.end().await;
    for (at, block) in whole.iter().enumerate().filter(|(_, block)| block.id.is_some()) {
        let id = block.id.unwrap().to_string();
        let rest = Open::new(&bench, &format!("/jobs/1/events?after={id}")).await.end().await;
        assert_eq!(rest, whole[at + 1..], "after {id}");
        // the header that a browser sends comes before the query that it was opened with
        let headers = [("last-event-id", id.as_str())];
        let answer = request(Method::GET, "/jobs/1/events?after=0", &headers, Body::empty());
        let answer = bench.send(answer).await;
        assert_eq!(blocks(std::str::from_utf8(&answer.body).unwrap()), whole[at + 1..]);
    }
}

#[tokio::test]
async fn all_jobs_stand_in_one_stream_from_the_beginning_or_from_now_on() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    let mut whole = Open::new(&bench, "/events").await;
    whole.until("attempt.started").await;
    let mut latest = Open::new(&bench, "/events?after=latest").await;
    says(&bench, lease, "now").await;
    assert_eq!(names(&whole.until("agent.output").await), ["job.queued", "attempt.started", "agent.output"]);
    assert_eq!(names(&latest.until("agent.output").await), ["agent.output"]);
    assert!(latest.text.starts_with("id: 2\n"), "a number to come again with: {}", latest.text);
    ends(&bench, lease).await;
    // the history of all has no end
    assert_eq!(latest.until("job.completed").await.len(), 2);
    bench.app.end_streams();
    assert_eq!(latest.end().await.len(), 2);
}

#[tokio::test]
async fn the_end_of_the_server_ends_every_stream() {
    let bench = Bench::new().await;
    started(&bench).await;
    let mut streams = Vec::new();
    for path in ["/jobs/1/events", "/events", "/jobs/1/log?follow=true"] {
        streams.push(Open::new(&bench, path).await);
    }
    bench.app.end_streams();
    for stream in streams {
        assert!(stream.end().await.iter().all(|block| block.event != "done"));
    }
}

#[tokio::test]
async fn answers_are_fit_for_proxies_and_bad_questions_are_refused() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    ends(&bench, lease).await;
    let answer = bench.get("/jobs/1/events").await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    bench.get("/jobs/9/events").await.problem(404, "not_found");
    for path in ["/jobs/1/events?after=x", "/events?after=-1", "/ws/jobs/1?after=x"] {
        bench.get(path).await.problem(400, "malformed");
    }
    let header = [("last-event-id", "x")];
    bench.send(request(Method::GET, "/events", &header, Body::empty())).await.problem(400, "malformed");
    let none = [("authorization", "-")];
    for path in ["/jobs/1/events", "/events", "/ws/jobs/1", "/jobs/1/log?follow=true"] {
        bench.send(request(Method::GET, path, &none, Body::empty())).await.problem(401, "unauthorized");
    }
    bench.get("/ws/jobs/1").await.problem(426, "upgrade_required");
    bench.get("/ws/jobs/9").await.problem(404, "not_found");
}

#[tokio::test]
async fn so_many_streams_and_no_more() {
    let bench = Bench::new().await;
    started(&bench).await;
    let mut open = Vec::new();
    for _ in 0..128 {
        open.push(Open::new(&bench, "/jobs/1/events").await);
    }
    let refused = |answer: Answer| {
        answer.problem(429, "too_many_streams");
        assert!(answer.header("retry-after").is_some());
    };
    for path in ["/events", "/jobs/1/events", "/jobs/1/log?follow=true"] {
        refused(tokio::time::timeout(LONG, bench.get(path)).await.expect("it is refused"));
    }
    open.pop();
    Open::new(&bench, "/jobs/1/events").await.until("job.queued").await;
}

/// Half of the places are one token's at most, and the last ones are the owner's.
#[tokio::test]
async fn no_token_has_all_streams_and_the_owner_gets_through() {
    let bench = Bench::new().await;
    started(&bench).await;
    let (one, other) = (bench.token(Scope::Read, None).await, bench.token(Scope::Operate, None).await);
    let mut open = Vec::new();
    let refused = async |token: &str| {
        for path in ["/events", "/jobs/1/log?follow=true"] {
            let answer = tokio::time::timeout(LONG, bench.get_with(token, path)).await;
            answer.expect("it is refused").problem(429, "too_many_streams");
        }
    };
    for (token, may) in [(&one, 64), (&other, 48)] {
        for _ in 0..may {
            open.push(Open::with(&bench, token, "/jobs/1/events").await);
        }
        refused(token).await;
    }
    for _ in 0..16 {
        Open::with(&bench, SECRET, "/events").await;
        open.push(Open::new(&bench, "/jobs/1/events").await);
    }
    refused(SECRET).await;
}

#[tokio::test]
async fn who_asks_for_what_is_forgotten_is_told_to_begin_anew() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    says(&bench, lease, "old").await;
    bench.clock.advance_ms(1_000);
    let now = Timestamp::from_ms(bench.clock.now_ms());
    assert_eq!(bench.store.forget_events(now).await.unwrap(), 3);
    says(&bench, lease, "new").await;
    ends(&bench, lease).await;
    for path in ["/jobs/1/events", "/jobs/1/events?after=2"] {
        let blocks = Open::new(&bench, path).await.end().await;
        assert_eq!(names(&blocks), ["reset", "agent.output", "job.completed", "done"], "{path}");
        assert_eq!((blocks[0].id, &blocks[0].data), (Some(3), &json!({"after": 3})));
    }
    // where the reset pointed nothing is missing
    let rest = Open::new(&bench, "/jobs/1/events?after=3").await.end().await;
    assert_eq!(names(&rest), ["agent.output", "job.completed", "done"]);
    // a number from another history, such as before the database was replaced
    let ahead = Open::new(&bench, "/jobs/1/events?after=900").await.end().await;
    assert_eq!(names(&ahead)[0], "reset");
    assert_eq!(names(&Open::new(&bench, "/events?after=1").await.until("job.completed").await)[0], "reset");
}

#[tokio::test]
async fn a_job_that_began_after_what_is_forgotten_has_its_whole_history() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    ends(&bench, lease).await;
    bench.clock.advance_ms(1_000);
    bench.store.forget_events(Timestamp::from_ms(bench.clock.now_ms())).await.unwrap();
    let body = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "x", "branchName": "c",
        "options": {"publish": "branch"}});
    bench.post("/jobs", &body).await;
    let mut stream = Open::new(&bench, "/jobs/2/events").await;
    assert_eq!(names(&stream.until("job.queued").await), ["job.queued"]);
}

#[tokio::test]
async fn words_that_are_past_their_time_are_null() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    says(&bench, lease, "long ago").await;
    bench.store.add_system_message(lease, "our own").await.unwrap();
    ends(&bench, lease).await;
    bench.store.forget_output(lease.job).await.unwrap();
    let blocks = Open::new(&bench, "/jobs/1/events").await.end().await;
    assert_eq!(blocks[2].data["data"], json!({"stream": "stdout", "text": null, "messageSeq": 1}));
    assert_eq!(blocks[3].data["data"]["text"], "our own");
}

/// Nobody takes its connection for one that rests, whoever else needs one.
#[tokio::test]
async fn a_download_keeps_its_connection_busy_to_its_end() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    says(&bench, lease, "something").await;
    ends(&bench, lease).await;
    let connection = Connection::new(ConnectionLimits::default(), IpAddr::from([192, 0, 2, 1]));
    let gives_way = || connection.gives_way(&Spare::Resting);
    let mut asked = request(Method::GET, "/jobs/1/log", &[], Body::empty());
    asked.extensions_mut().insert(connection.clone());
    let mut body = bench.router.clone().oneshot(asked).await.unwrap().into_body().into_data_stream();
    assert!(!gives_way());
    while let Some(piece) = body.next().await {
        assert!(!gives_way(), "{piece:?}");
    }
    drop(body);
    assert!(gives_way());
}

#[tokio::test]
async fn the_output_is_followed_to_the_end_of_the_job() {
    let bench = Bench::new().await;
    let lease = started(&bench).await;
    let mut log = Open::new(&bench, "/jobs/1/log?follow=true").await;
    let mut first = Open::new(&bench, "/jobs/1/log?follow=true&attempt=1").await;
    says(&bench, lease, "in the first attempt").await;
    log.until("first attempt\n").await;
    let again = crate::domain::reason::Reason::new(crate::domain::reason::ReasonCode::Stopped, "x");
    let end = AttemptEnd::Faulted { reason: again, until: None, window: None, spent: true };
    bench.store.finish(lease, end, |_| None).await.unwrap();
    first.until("first attempt\n").await;
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    bench.store.begin_step(lease, "agent-1").await.unwrap();
    says(&bench, lease, "in the second").await;
    log.until("second\n").await;
    ends(&bench, lease).await;
    while let Some(piece) = log.body.next().await {
        log.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    assert_eq!(log.text, "in the first attempt\nin the second\n");
    assert!(tokio::time::timeout(LONG, first.body.next()).await.expect("its attempt is over").is_none());
    assert_eq!(bench.get("/jobs/1/log?follow=true").await.body, b"in the second\n");
    bench.get("/jobs/1/log?follow=true&raw=true&attempt=3").await.problem(404, "not_found");
    bench.get("/jobs/1/log?follow=true&attempt=3").await.problem(404, "not_found");
}
