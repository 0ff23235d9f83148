//! The listener of a whole server under connections that bring nothing.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::stand::{SECRET, Stand};

/// Heads that never end, all at the same time.
const HALF_OPEN: usize = 1_000;
/// Each of them is closed after this, from its own beginning.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// A machine that is busy with other tests is late by so much at most.
const LATE: Duration = Duration::from_secs(10);
/// What a watchdog asks meanwhile is answered long before a place becomes free by time. How fast on a quiet machine is printed.
const LIVE_WITHIN: Duration = Duration::from_secs(5);
const LOOKS: usize = 200;

/// A socket is a descriptor on each side.
fn let_in_many() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(4_096).min(hard), hard).unwrap();
}

#[tokio::test]
async fn a_thousand_half_heads_hold_up_nobody_and_are_closed() {
    let_in_many();
    let stand = Stand::new().await;
    let address = stand.base_url().trim_start_matches("http://").to_owned();
    let mut half = Vec::new();
    for _ in 0..HALF_OPEN {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: ").await.unwrap();
        half.push((stream, Instant::now()));
    }
    let mut took = Vec::new();
    for _ in 0..LOOKS {
        let began = Instant::now();
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let asked = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let slow = took[LOOKS * 99 / 100 - 1];
    assert!(slow < LIVE_WITHIN, "{slow:?} of {took:?}");
    println!("99 of 100 within {slow:?}");
    for (mut stream, began) in half {
        let left = (CLOSED_WITHIN + LATE).saturating_sub(began.elapsed());
        let mut said = Vec::new();
        let end = timeout(left, stream.read_to_end(&mut said)).await;
        assert!(end.is_ok(), "open after {:?}", began.elapsed());
        assert!(!String::from_utf8_lossy(&said).contains("200 OK"));
    }
}

/// Of strangers and of a token that may only submit, from addresses of this machine, as an agent in the sandbox has them: the owner
/// gets through meanwhile, from the same machine.
#[tokio::test]
async fn bodies_that_never_end_lock_nobody_out() {
    let_in_many();
    let stand = Stand::new().await;
    let address = stand.base_url().trim_start_matches("http://").to_owned();
    let made = stand.post("/tokens", &json!({"name": "ci", "scope": "submit"})).await;
    let token = made["token"].as_str().unwrap();
    let form = format!("POST /ui/sign-in HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n");
    let job = format!("POST /jobs HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
    // on other systems only the first address is there
    let ends: &[u8] = if cfg!(target_os = "linux") { &[2, 3, 4, 5] } else { &[1] };
    for head in [form, job] {
        let mut half = Vec::new();
        for number in 0..HALF_OPEN {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, ends[number % ends.len()]], 0))).unwrap();
            let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
            // closed under it is as good
            let _ = stream.write_all(format!("{head}Content-Length: 1000\r\n\r\n{{").as_bytes()).await;
            half.push(stream);
        }
        for path in ["/livez", "/jobs"].repeat(LOOKS / 20) {
            let asked = async {
                let mut stream = TcpStream::connect(&address).await.unwrap();
                let asked = format!(
                    "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {SECRET}\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(asked.as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer
            };
            let answer = timeout(LIVE_WITHIN, asked).await.expect("it is answered meanwhile");
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }
}
