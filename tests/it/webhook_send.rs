//! Sending callbacks to receivers that misbehave on order.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offshoot::webhook::{
    FailureKind, Policy, SendLimits, SendRequest, SendResult, Sender, SigningSecrets, Style, verify_agent,
    verify_standard,
};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::left_out::{Need, leave_out};

const BODY: &[u8] = br#"{"jobId":"job-1","status":"completed"}"#;
const NOW_S: i64 = 784_111_777;

/// What the receiver does once it has read the request.
#[derive(Clone)]
enum Manner {
    /// Writes these bytes and closes.
    Answer(String),
    /// Writes a head and then one byte of body per 100 ms, for ever.
    DripBody,
    /// Writes the head itself one byte per 100 ms.
    DripHead,
    /// Says 200 and writes body for ever, as fast as it can.
    Flood,
    Hang,
    Reset,
    Close,
}

struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    bytes_sent: Arc<Mutex<usize>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let bytes_sent = Arc::new(Mutex::new(0));
        let mut serving = JoinSet::new();
        let (seen, sent) = (requests.clone(), bytes_sent.clone());
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &manner, &seen, &sent).await;
            }
        });
        Self { address, requests, bytes_sent, _serving: serving }
    }

    async fn answering(head: &str) -> Self {
        Self::start(Manner::Answer(format!(
            "HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )))
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, manner: &Manner, seen: &Mutex<Vec<String>>, sent: &Mutex<usize>) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !received.ends_with(BODY) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
        }
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&received).into_owned());
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    match manner {
        Manner::Answer(bytes) => {
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Manner::Hang => std::future::pending().await,
        Manner::Close => drop(stream),
        Manner::Reset => {
            #[expect(deprecated, reason = "a linger of zero is how a test makes a RST; it blocks nothing")]
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
        Manner::DripHead => loop {
            beat.tick().await;
            if stream.write_all(b"H").await.is_err() {
                return;
            }
        },
        Manner::DripBody => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
            loop {
                beat.tick().await;
                if stream.write_all(b"x").await.is_err() {
                    return;
                }
            }
        }
        Manner::Flood => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while let Ok(count) = stream.write(&[b'x'; 4096]).await {
                *sent.lock().unwrap() += count;
            }
        }
    }
}

fn sender() -> Sender {
    let policy = Policy { allow: vec!["127.0.0.1".parse().unwrap()], ..Policy::default() };
    let limits = SendLimits { connect: Duration::from_millis(500), whole: Duration::from_millis(1_000) };
    Sender::new(policy, limits)
}

fn request<'a>(url: &'a str, secrets: Option<&'a SigningSecrets>) -> SendRequest<'a> {
    SendRequest { url, event_id: "evt-7", body: BODY, secrets, timestamp_s: NOW_S }
}

async fn send_to(receiver: &Receiver) -> SendResult {
    sender().send(&request(&receiver.url(), None)).await
}

fn failure(result: &SendResult) -> FailureKind {
    match result {
        SendResult::Failed { kind, .. } => *kind,
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_signed_delivery_verifies_at_the_receiver() {
    let receiver = Receiver::answering("204 No Content").await;
    let secret = SecretString::from("0123456789abcdef");
    let secrets = SigningSecrets::new(secret.clone(), None, Style::Hex).unwrap();
    let result = sender().send(&request(&receiver.url(), Some(&secrets))).await;
    assert_eq!(result, SendResult::Accepted { status: 204 });

    let received = receiver.requests().remove(0);
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {head}"))
    };
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"));
    assert_eq!(body.as_bytes(), BODY);
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("user-agent"), concat!("offshoot/", env!("CARGO_PKG_VERSION")));
    assert!(verify_agent(&secret, header("x-agent-signature"), body.as_bytes()));
    let (id, sent) = (header("webhook-id"), header("webhook-timestamp"));
    assert_eq!(id, "evt-7");
    assert!(verify_standard(&secret, id, sent, header("webhook-signature"), body.as_bytes(), NOW_S));
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let receiver = Receiver::answering("200 OK").await;
    assert_eq!(send_to(&receiver).await, SendResult::Accepted { status: 200 });
    let received = receiver.requests().remove(0);
    assert!(received.contains("webhook-id: evt-7"));
    assert!(!received.contains("signature"), "{received}");
}

#[tokio::test]
async fn the_status_decides() {
    let refused = |status, seconds: Option<u64>| SendResult::Refused {
        status,
        retry_after: seconds.map(Duration::from_secs),
    };
    let rows = [
        ("200 OK", SendResult::Accepted { status: 200 }),
        ("204 No Content", SendResult::Accepted { status: 204 }),
        ("299 Fine", SendResult::Accepted { status: 299 }),
        ("300 Many", refused(300, None)),
        ("304 Same", refused(304, None)),
        ("400 Bad", refused(400, None)),
        ("410 Gone", SendResult::Gone),
        ("429 Slow\r\nretry-after: 17", refused(429, Some(17))),
        ("429 Slow\r\nretry-after: Sun, 06 Nov 1994 08:50:37 GMT", refused(429, Some(60))),
        ("429 Slow\r\nretry-after: -3", refused(429, None)),
        ("429 Slow\r\nretry-after: soon", refused(429, None)),
        ("503 Down\r\nretry-after: 99999999999999999999", refused(503, Some(u64::MAX))),
        ("500 Broken", refused(500, None)),
        ("599 Odd", refused(599, None)),
        ("999 Odder", refused(999, None)),
    ];
    for (head, expected) in rows {
        let receiver = Receiver::answering(head).await;
        assert_eq!(send_to(&receiver).await, expected, "{head}");
        assert_eq!(receiver.requests().len(), 1, "{head}");
    }
}

#[tokio::test]
async fn an_informational_status_is_not_an_answer() {
    let receiver = Receiver::answering("199 Wait").await;
    assert!(matches!(send_to(&receiver).await, SendResult::Failed { .. }));
}

#[tokio::test]
async fn redirects_are_failures_and_their_target_sees_nothing() {
    let canary = Receiver::answering("200 OK").await;
    for status in [301, 302, 303, 307, 308] {
        let receiver = Receiver::answering(&format!("{status} Moved\r\nlocation: {}", canary.url())).await;
        assert_eq!(send_to(&receiver).await, SendResult::Refused { status, retry_after: None });
    }
    assert_eq!(canary.requests().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_hangs_or_drips_its_head_ends_at_the_deadline() {
    for manner in [Manner::Hang, Manner::DripHead] {
        let receiver = Receiver::start(manner).await;
        let started = Instant::now();
        let kind = failure(&send_to(&receiver).await);
        // Bytes that are no HTTP may be noticed before the deadline.
        assert!(matches!(kind, FailureKind::Timeout | FailureKind::Transport), "{kind:?}");
        assert!(started.elapsed() < Duration::from_secs(3));
        assert_eq!(receiver.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_body_that_drips_or_never_ends_does_not_unsay_the_status() {
    let drip = Receiver::start(Manner::DripBody).await;
    let started = Instant::now();
    let result = send_to(&drip).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(result, SendResult::Accepted { status: 200 });

    let flood = Receiver::start(Manner::Flood).await;
    assert_eq!(send_to(&flood).await, SendResult::Accepted { status: 200 });
    // What the kernel buffers on both sides comes on top of the 64 KiB that are read.
    assert!(*flood.bytes_sent.lock().unwrap() < 16 * 1024 * 1024);
}

#[tokio::test]
async fn a_broken_connection_is_told_and_not_repeated() {
    for manner in [Manner::Reset, Manner::Close, Manner::Answer("not http at all\r\n\r\n".to_owned())] {
        let receiver = Receiver::start(manner).await;
        assert_eq!(failure(&send_to(&receiver).await), FailureKind::Transport);
        assert_eq!(receiver.requests().len(), 1);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let result = sender().send(&request(&format!("http://{nobody}/"), None)).await;
    assert_eq!(failure(&result), FailureKind::Connect);
}

#[tokio::test]
async fn a_receiver_without_tls_gets_nothing_of_an_https_callback() {
    let receiver = Receiver::answering("200 OK").await;
    let url = receiver.url().replace("http:", "https:");
    let result = sender().send(&request(&url, None)).await;
    assert!(matches!(failure(&result), FailureKind::Connect | FailureKind::Timeout));
    assert!(receiver.requests().iter().all(|request| !request.contains("job-1")));
}

#[tokio::test]
async fn a_refused_address_sees_no_connection() {
    let canary = Receiver::answering("200 OK").await;
    let port = canary.address.port();
    let closed = Sender::new(Policy::default(), SendLimits::default());
    for host in ["127.0.0.1", "localhost", "0", "2130706433", "0x7f.1", "[::ffff:7f00:1]", "[::1]"] {
        let result = closed.send(&request(&format!("http://{host}:{port}/"), None)).await;
        assert_eq!(failure(&result), FailureKind::Address, "{host}");
    }
    // Our own listener on all addresses, although loopback is allowed.
    let own =
        Policy { own_listeners: vec![SocketAddr::from(([0, 0, 0, 0], port))], ..sender().policy().clone() };
    let result = Sender::new(own, SendLimits::default()).send(&request(&canary.url(), None)).await;
    assert_eq!(failure(&result), FailureKind::Address);
    assert_eq!(canary.requests().len(), 0);
}

#[tokio::test]
async fn a_name_is_looked_up_vetted_and_dialled() {
    let receiver = Receiver::answering("200 OK").await;
    let port = receiver.address.port();
    let policy = Policy { allow: vec![format!("localhost:{port}").parse().unwrap()], ..Policy::default() };
    let result = Sender::new(policy, SendLimits::default())
        .send(&request(&format!("http://localhost:{port}/hook"), None))
        .await;
    assert_eq!(result, SendResult::Accepted { status: 200 });

    let unknown = sender().send(&request("http://no-such-name.invalid/", None)).await;
    assert_eq!(failure(&unknown), FailureKind::Resolve);
}

#[tokio::test]
async fn a_failure_text_shows_no_query() {
    let result = sender().send(&request("http://127.0.0.1:1/hook?token=hunter2", None)).await;
    let SendResult::Failed { text, .. } = result else { panic!("nobody listens on port 1") };
    assert!(!text.contains("hunter2") && !text.is_empty(), "{text}");
}

/// The address by which this machine would reach the world; connecting a datagram socket sends nothing.
fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[tokio::test]
async fn a_listener_on_all_addresses_is_recognised_by_any_of_them() {
    // A machine without a network has no such address, and nothing to check.
    let Some(outer) = outer_address() else {
        return leave_out(Need::Network, "our own listener by an address of this machine");
    };
    let policy = |own_port| Policy {
        allow: vec!["0.0.0.0/0".parse().unwrap()],
        own_listeners: vec![SocketAddr::from(([0, 0, 0, 0], own_port))],
        ..Policy::default()
    };
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("http://{outer}:{port}/");
    let limits = SendLimits { connect: Duration::from_millis(300), whole: Duration::from_millis(300) };
    let own = Sender::new(policy(port), limits).send(&request(&url, None)).await;
    assert_eq!(failure(&own), FailureKind::Address);
    let other = Sender::new(policy(port.wrapping_add(1)), limits).send(&request(&url, None)).await;
    assert_ne!(failure(&other), FailureKind::Address);
}
