//! The WebSocket of a job, spoken by somebody else's implementation.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::life_events::resident_kib;
use crate::stand::{PATIENCE, SECRET, Stand};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn connect(stand: &Stand, path: &str) -> Socket {
    connect_async(request(stand, path)).await.unwrap().0
}

fn request(stand: &Stand, path: &str) -> Request {
    let url = format!("{}{path}", stand.base_url().replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {SECRET}").parse().unwrap());
    request
}

/// A socket for which this machine keeps little of what it does not read.
async fn connect_narrow(stand: &Stand, path: &str) -> Socket {
    let line = TcpSocket::new_v4().unwrap();
    line.set_recv_buffer_size(4_096).unwrap();
    let address = stand.base_url().trim_start_matches("http://").parse().unwrap();
    let line = MaybeTlsStream::Plain(line.connect(address).await.unwrap());
    client_async(request(stand, path), line).await.unwrap().0
}

/// The next frame; a close is its code.
pub(crate) async fn next(socket: &mut Socket) -> Result<Value, Option<u16>> {
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(30), socket.next()).await.expect("it speaks");
        match frame {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

pub(crate) async fn until(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let frame = next(socket).await.unwrap();
        if frame["type"] == kind {
            return frame;
        }
    }
}

#[tokio::test]
async fn it_tells_the_same_events_and_answers_every_frame() {
    let mut stand = Stand::new().await;
    let script =
        format!("echo one; while [ ! -e {} ]; do sleep 0.02; done; echo two", stand.gate("g").display());
    let body = json!({"prompt": script, "branchName": "w", "options": {"agent": "sh", "publish": "branch"}});
    let id = stand.submit(body).await;
    let path = format!("/ws/jobs/{id}");
    let mut socket = connect(&stand, &path).await;
    let output = until(&mut socket, "agent.output").await;
    assert_eq!(output["data"]["text"], "one");
    // what is not built is refused by name, what is no frame by its fault; nothing of it ends the stream
    let rows = [
        (r#"{"type":"message","id":"m-1","text":"hurry"}"#.to_owned(), "not_supported", json!("m-1")),
        (r#"{"type":"interrupt"}"#.to_owned(), "not_supported", Value::Null),
        (r#"{"type":"shout","id":"m-2"}"#.to_owned(), "invalid", json!("m-2")),
        (r#"{"type":"message","text":""}"#.to_owned(), "invalid", Value::Null),
        ("[1,2".to_owned(), "malformed", Value::Null),
        (format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)), "malformed", Value::Null),
        (format!(r#"{{"type":"message","text":"{}"}}"#, "x".repeat(300_000)), "invalid", Value::Null),
    ];
    for (frame, code, name) in rows {
        let shown = frame[..frame.len().min(60)].to_owned();
        socket.send(Message::from(frame)).await.unwrap();
        let answer = until(&mut socket, "refused").await;
        assert_eq!((&answer["problem"]["code"], &answer["id"]), (&json!(code), &name), "{shown}");
        assert_eq!(answer["problem"]["error"], answer["problem"]["detail"], "{shown}");
    }
    socket.send(Message::Binary(vec![0xff, 0x00].into())).await.unwrap();
    assert_eq!(until(&mut socket, "refused").await["problem"]["code"], "malformed");
    // a frame that is larger than any may be closes it, and the server goes on
    let mut greedy = connect(&stand, &path).await;
    let _ = greedy.send(Message::from("x".repeat(2 << 20))).await;
    while next(&mut greedy).await.is_ok() {}
    // the server dies under it, and it comes again with the number it had
    let last = output["seq"].as_i64().unwrap();
    stand.kill9().await;
    assert_eq!(next(&mut socket).await, Err(None));
    stand.start_again().await;
    let mut again = connect(&stand, &format!("{path}?after={last}")).await;
    stand.open_gate("g");
    let mut rest = Vec::new();
    let closed = loop {
        match next(&mut again).await {
            Ok(frame) => rest.push(frame),
            Err(code) => break code,
        }
    };
    assert_eq!(closed, Some(1000), "the job is over");
    assert!(rest[0]["seq"].as_i64().unwrap() > last);
    let done = rest.pop().unwrap();
    assert_eq!((&done["type"], &done["data"]["status"]), (&json!("done"), &json!("completed")));
    // the same as the stream has
    let text = stand.get_text(&format!("/jobs/{id}/events?after={last}")).await;
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut events: Vec<Value> = events.map(|data| serde_json::from_str(data).unwrap()).collect();
    events.pop();
    // the callback comes when it comes
    for told in [&mut events, &mut rest] {
        told.retain(|event| !event["type"].as_str().unwrap().starts_with("delivery."));
    }
    assert_eq!(events, rest);
    // the server leaves while somebody listens to a job that goes on
    let body = json!({"prompt": "sleep 1000", "branchName": "z", "options": {"agent": "sh"}});
    let id = stand.submit(body).await;
    stand.wait_for_phase(&id, "agent").await;
    let mut socket = connect(&stand, &format!("/ws/jobs/{id}")).await;
    until(&mut socket, "job.phase").await;
    assert_eq!(stand.terminate(Duration::from_secs(8)).await, Some(0));
    let closed = loop {
        if let Err(code) = next(&mut socket).await {
            break code;
        }
    };
    assert_eq!(closed, Some(1001), "the server ends");
    stand.start_again().await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    stand.finish().await;
}

/// Sockets that are opened and then not read, under 24 MB of output: the agent is not held up, the server does not grow, they are
/// cut off, and who comes again with the number of the last event that he has gets the rest.
#[tokio::test]
async fn sockets_that_are_not_read_are_cut_off_and_go_on_with_their_numbers() {
    let stand = Stand::new().await;
    let begun = format!("while [ ! -e {} ]; do sleep 0.02; done", stand.gate("g").display());
    let flood = "i=0; while [ $i -lt 24 ]; do head -c 1000000 /dev/zero | tr '\\0' x | fold -w 100; echo; i=$((i+1)); done";
    let body = json!({"prompt": format!("echo one; {begun}; {flood}; echo end > end.txt"), "branchName": "w",
        "options": {"agent": "sh", "publish": "branch"}});
    let id = stand.submit(body).await;
    let path = format!("/ws/jobs/{id}");
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = connect_narrow(&stand, &path).await;
        until(&mut socket, "agent.output").await;
        sockets.push(socket);
    }
    let (before, mut peak) = (resident_kib(&stand), 0);
    stand.open_gate("g");
    let over = async || {
        peak = peak.max(resident_kib(&stand));
        stand.job(&id).await["completedAt"].is_string().then_some(())
    };
    assert!(crate::stand::poll(PATIENCE, over).await.is_some(), "the agent is held up");
    assert_eq!(stand.job(&id).await["status"], "completed");
    let cut = async || {
        let metrics = stand.get_text("/metrics").await;
        peak = peak.max(resident_kib(&stand));
        metrics.contains("offshoot_limits_hit_total{limit=\"slow_reader\"} 10").then_some(())
    };
    assert!(crate::stand::poll(PATIENCE, cut).await.is_some(), "they are not cut off");
    let rise = peak.saturating_sub(before);
    eprintln!("the server rose by {rise} KiB under ten sockets that are not read");
    assert!(rise < 64 << 10, "{rise} KiB");
    // what had been sent before is there, and then the line is dead, without a word
    let mut seen = Vec::new();
    let end = loop {
        match next(&mut sockets[0]).await {
            Ok(frame) => seen.push(frame),
            Err(code) => break code,
        }
    };
    assert_eq!(end, None);
    let last = seen.last().expect("something had been sent")["seq"].as_i64().unwrap();
    let mut again = connect(&stand, &format!("{path}?after={last}")).await;
    let mut rest = 0;
    while let Ok(frame) = next(&mut again).await {
        rest += 1;
        seen.push(frame);
    }
    assert!(rest > 1, "it was told everything before it was cut off");
    assert_eq!(seen.pop().unwrap()["type"], "done");
    let mut whole = connect(&stand, &format!("{path}?after={}", seen[0]["seq"].as_i64().unwrap() - 1)).await;
    let mut told = Vec::new();
    while let Ok(frame) = next(&mut whole).await {
        told.push(frame);
    }
    told.pop();
    for events in [&mut seen, &mut told] {
        events.retain(|event| !event["type"].as_str().unwrap().starts_with("delivery."));
    }
    let numbers =
        |events: &[Value]| events.iter().map(|event| event["seq"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers(&seen), numbers(&told), "a gap or a double");
    assert!(seen == told, "the same number has other words");
    drop(sockets);
    stand.finish().await;
}
