//! Forms for which no token was asked, through a real socket: their bodies are awaited for a short time and few at once.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Bench, HOST, SECRET};
use crate::http::serve;

const LONG: Duration = Duration::from_secs(30);
/// As many as are awaited at once.
const AT_ONCE: usize = 16;

/// The head of a form that a page of ours sends.
fn head(bytes: usize) -> String {
    format!(
        "POST /ui/sign-in HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {bytes}\r\n\r\n"
    )
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("it is answered in time").ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn forms_that_never_end_keep_nobody_from_signing_in() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut set = JoinSet::new();
    set.spawn(serve(listener, bench.router.clone(), std::future::pending()));
    let send = async |text: String| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let began = Instant::now();
    let mut half = Vec::new();
    for _ in 0..2 * AT_ONCE {
        half.push(send(head(1_000) + "t").await);
    }
    // all places are taken, the oldest ones were taken away, and who sends all he has needs none for longer than that
    let form = format!("token={SECRET}");
    let signed_in = answer(&mut send(head(form.len()) + &form).await).await;
    assert!(signed_in.starts_with("HTTP/1.1 303"), "{signed_in}");
    let large = answer(&mut send(head(16 * 1024 + 1) + "t").await).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let mut statuses = Vec::new();
    for stream in &mut half {
        statuses.push(answer(stream).await[9..12].to_owned());
    }
    let of = |status: &str| statuses.iter().filter(|found| *found == status).count();
    assert_eq!((of("503") + of("408"), of("503") >= AT_ONCE), (2 * AT_ONCE, true), "{statuses:?}");
    assert!(of("408") > 0 && began.elapsed() >= Duration::from_secs(5), "{statuses:?}");
}
