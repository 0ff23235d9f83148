//! Streams of a whole server: over its death, with slow readers, under a flood.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stand::{SECRET, Stand};

/// One event as it came through a stream: its id, its name, its data.
type Told = (Option<i64>, String, Value);

/// A reader of a stream. Bytes are taken only when somebody waits for an event.
struct Reader {
    response: reqwest::Response,
    text: String,
}

impl Reader {
    async fn open(stand: &Stand, path: &str, last: Option<i64>) -> Self {
        let mut request =
            reqwest::Client::new().get(format!("{}{path}", stand.base_url())).bearer_auth(SECRET);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last.to_string());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// The next event; `None` when the stream is over or broke off.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    let found = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    found.map(str::to_owned)
                };
                let Some(data) = field("data") else { continue };
                // the callback comes when it comes, mostly after the stream
                if field("event").is_some_and(|name| name.starts_with("delivery.")) {
                    continue;
                }
                let id = field("id").map(|id| id.parse().unwrap());
                return Some((id, field("event").unwrap(), serde_json::from_str(&data).unwrap()));
            }
            let piece = tokio::time::timeout(Duration::from_secs(60), self.response.chunk()).await;
            match piece.expect("a stream is never silent for so long") {
                Ok(Some(piece)) => self.text.push_str(std::str::from_utf8(&piece).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

async fn whole(stand: &Stand, path: &str) -> Vec<Told> {
    let mut reader = Reader::open(stand, path, None).await;
    let mut all = Vec::new();
    while let Some(told) = reader.next().await {
        all.push(told);
    }
    all
}

/// The lines of plain output in these events.
fn lines(events: &[Told]) -> Vec<String> {
    let output = events.iter().filter(|(_, name, _)| name == "agent.output");
    output
        .flat_map(|(_, _, event)| {
            let text = event["data"]["text"].as_str().unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn shell(branch: &str, script: &str) -> Value {
    json!({"prompt": script, "branchName": branch, "options": {"agent": "sh", "publish": "branch"}})
}

/// The server is killed five times under an open stream; each time the reader comes again with the number it had.
#[tokio::test]
async fn a_stream_over_five_kills_has_no_gap_and_no_double() {
    let mut stand = Stand::new().await;
    let gate = stand.gate("g");
    let ticks = format!(
        "i=0; while [ ! -e {} ]; do i=$((i+1)); echo tick-$i; sleep 0.005; done; echo $i > last.txt; echo end",
        gate.display()
    );
    let id = stand.submit(shell("ticks", &ticks)).await;
    let path = format!("/jobs/{id}/events");
    let (mut seen, mut last) = (Vec::<Told>::new(), None);
    for kill in 1..=5 {
        let mut reader = Reader::open(&stand, &path, last).await;
        let wanted = lines(&seen).len() + 100;
        // the kill strikes while the stream is in full flow
        while lines(&seen).len() < wanted {
            let told = reader.next().await.expect("it goes on");
            last = told.0.or(last);
            seen.push(told);
        }
        stand.kill9().await;
        // what was on its way still arrives
        while let Some(told) = reader.next().await {
            last = told.0.or(last);
            seen.push(told);
        }
        stand.start_again().await;
        assert!(seen.iter().all(|(_, name, _)| name != "reset"), "kill {kill}");
    }
    stand.open_gate("g");
    let mut reader = Reader::open(&stand, &path, last).await;
    while let Some(told) = reader.next().await {
        seen.push(told);
    }
    let stored = whole(&stand, &path).await;
    assert_eq!(seen, stored, "what was read is what is stored, in its order");
    assert_eq!(seen.last().unwrap().1, "done");
    let count: usize = stand.git(&["show", "ticks:last.txt"]).parse().unwrap();
    let expected: Vec<_> = (1..=count).map(|tick| format!("tick-{tick}")).chain(["end".to_owned()]).collect();
    assert_eq!(lines(&seen), expected);
    stand.finish().await;
}

pub(crate) fn resident_kib(stand: &Stand) -> u64 {
    let pid = stand.server.as_ref().unwrap().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// A request whose answer nobody reads.
async fn stuck(stand: &Stand, path: &str) -> TcpStream {
    let address = stand.base_url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {SECRET}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// A million lines, one of 20 MB and bytes that are no text, with readers that take nothing: the agent is not held up, the
/// server does not grow, and who reads later has every line.
#[tokio::test]
async fn a_million_lines_with_readers_that_take_nothing_cost_no_memory() {
    let mut stand = Stand::new().await;
    let first = stand.submit(shell("first", "echo one")).await;
    stand.completed(&first).await;
    let before = resident_kib(&stand);
    let script =
        "seq 1 1000000; head -c 20000000 /dev/zero | tr '\\0' x; echo; printf '\\377\\376 raw\\n'; echo end";
    let id = stand.submit(shell("flood", script)).await;
    let path = format!("/jobs/{id}/events");
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(stuck(&stand, &path).await);
        readers.push(stuck(&stand, "/events").await);
    }
    let mut peak = 0;
    let look = async || {
        peak = peak.max(resident_kib(&stand));
        stand.job(&id).await["completedAt"].is_string().then_some(())
    };
    let ended = crate::stand::poll(Duration::from_secs(120), look).await;
    assert!(ended.is_some(), "the agent is held up");
    assert_eq!(stand.job(&id).await["status"], "completed");
    let events = whole(&stand, &path).await;
    peak = peak.max(resident_kib(&stand));
    let lines = lines(&events);
    assert!(lines[..1_000_000].iter().zip(1..).all(|(line, n)| *line == n.to_string()), "a line is missing");
    assert!(lines[1_000_000].starts_with("xxxx") && lines[1_000_000].len() < 10_000);
    assert!(lines.contains(&"\\xff\\xfe raw".to_owned()) && lines.last().unwrap() == "end");
    let rise = peak.saturating_sub(before);
    eprintln!("{} events for {} lines, the server rose by {rise} KiB", events.len(), lines.len());
    assert!(rise < 64 << 10, "{rise} KiB");
    assert!(events.len() < 5_000, "{} events", events.len());
    // readers that take nothing do not hold up the end either, which is an orderly one
    assert_eq!(stand.terminate(Duration::from_secs(8)).await, Some(0));
    assert!(!stand.log_text().contains("stopped before everything had ended"), "{}", stand.log_tail(20));
    drop(readers);
    stand.start_again().await;
    stand.finish().await;
}

/// Somebody reads nothing until the connection is closed under it, and comes again.
#[tokio::test]
async fn a_stream_ends_with_the_server_and_its_reader_comes_again() {
    let mut stand = Stand::new().await;
    let script =
        format!("echo one; while [ ! -e {} ]; do sleep 0.02; done; echo two", stand.gate("g").display());
    let id = stand.submit(shell("s", &script)).await;
    let path = format!("/jobs/{id}/events");
    let mut reader = Reader::open(&stand, &path, None).await;
    let mut seen = Vec::new();
    while lines(&seen).is_empty() {
        seen.push(reader.next().await.unwrap());
    }
    let mut quiet = stuck(&stand, "/events").await;
    assert_eq!(stand.terminate(Duration::from_secs(5)).await, Some(0));
    while let Some(told) = reader.next().await {
        seen.push(told);
    }
    assert!(seen.iter().all(|(_, name, _)| name != "done"));
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), quiet.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "its connection is closed");
    stand.start_again().await;
    stand.open_gate("g");
    let last = seen.iter().filter_map(|(id, ..)| *id).next_back();
    let mut reader = Reader::open(&stand, &path, last).await;
    while let Some(told) = reader.next().await {
        seen.push(told);
    }
    assert_eq!(seen, whole(&stand, &path).await);
    assert_eq!(lines(&seen), ["one", "two"]);
    stand.finish().await;
}
