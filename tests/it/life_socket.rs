//! The WebSocket of a job, spoken by somebody else's implementation.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::stand::{SECRET, Stand};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn connect(stand: &Stand, path: &str) -> Socket {
    let url = format!("{}{path}", stand.base_url().replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {SECRET}").parse().unwrap());
    connect_async(request).await.unwrap().0
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
