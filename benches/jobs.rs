//! One job after the other, with the moments at which the server tells of them.

use std::time::Instant;

use crate::http::{Connection, request};
use crate::server::Server;

/// Submits the same job again and again, and listens to the events of all.
pub(crate) struct Caller {
    events: Connection,
    line: Connection,
    request: Vec<u8>,
}

/// Milliseconds from the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// Until its attempt was begun.
    pub(crate) started: f64,
    /// Until its agent ran.
    pub(crate) agent: f64,
    /// Until it was over.
    pub(crate) over: f64,
    outcome: String,
}

impl Times {
    /// # Panics
    /// When the job has ended otherwise.
    pub(crate) fn pushed(self) -> Self {
        assert!(self.outcome.contains("branch_pushed"), "{}", self.outcome);
        self
    }
}

impl Caller {
    pub(crate) async fn new(server: &Server, body: &str) -> Self {
        let mut events = Connection::open(server.address).await.unwrap();
        events.send(&request(server.address, "GET", "/events?after=latest", "")).await.unwrap();
        // from the head of the answer on nothing is missed
        while !events.take().contains("\r\n\r\n") {
            events.more().await.unwrap();
        }
        let line = Connection::open(server.address).await.unwrap();
        Self { events, line, request: request(server.address, "POST", "/jobs", body) }
    }

    pub(crate) async fn run(&mut self) -> Times {
        let began = Instant::now();
        let answer = self.line.call(&self.request).await.unwrap().json();
        let id = answer["id"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let (mut times, mut text) = (Times::default(), String::new());
        loop {
            text.push_str(&self.events.take());
            let ms = began.elapsed().as_secs_f64() * 1_000.0;
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                if !event.contains(id) {
                    continue;
                }
                let is = |word: &str| event.contains(&format!("event: {word}\n"));
                if is("attempt.started") {
                    times.started = ms;
                } else if is("job.phase") && event.contains("\"agent\"") {
                    times.agent = ms;
                } else if is("job.completed") || is("job.failed") {
                    return Times { over: ms, outcome: event, ..times };
                }
            }
            self.events.more().await.unwrap();
        }
    }
}
