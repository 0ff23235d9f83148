use axum::body::Bytes;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn answer_of(body: reqwest::Body) -> reqwest::Response {
    axum::http::Response::new(body).into()
}

/// An answer without end, and how many bytes of it were taken.
fn endless() -> (reqwest::Response, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    const CHUNK: usize = 4_096;
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = taken.clone();
    let chunks = stream::repeat_with(move || {
        counted.fetch_add(CHUNK, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; CHUNK]))
    });
    // a reader without a bound comes to an end here too, and is found
    (answer_of(reqwest::Body::wrap_stream(stream::StreamExt::take(chunks, 1_000))), taken)
}

#[tokio::test]
async fn sixty_four_kibibytes_of_an_answer_are_read() {
    let (answer, taken) = endless();
    drain(answer, Instant::now() + Duration::from_secs(30)).await;
    assert_eq!(taken.load(std::sync::atomic::Ordering::SeqCst), 64 * 1_024);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_holds_a_sender_for_five_seconds() {
    let silent = stream::pending::<Result<Bytes, std::io::Error>>();
    let began = Instant::now();
    drain(answer_of(reqwest::Body::wrap_stream(silent)), began + Duration::from_secs(30)).await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let (began, silent) = (Instant::now(), stream::pending::<Result<Bytes, std::io::Error>>());
    drain(answer_of(reqwest::Body::wrap_stream(silent)), began + Duration::from_secs(2)).await;
    assert_eq!(began.elapsed().as_secs(), 2, "nor beyond the deadline of the try");
}

/// A name is looked up once: a second look-up could give what was never vetted.
#[tokio::test]
async fn the_vetted_addresses_are_dialled_and_the_name_is_not_looked_up_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 1_024];
        let length = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    };
    let sender = Sender::new(Policy::default(), SendLimits::default());
    let Ok(client) = sender.client(vec![address]) else { panic!("no client") };
    // no resolver knows this name (RFC 6761)
    let call = client.post(format!("http://receiver.invalid:{}/hook", address.port())).send();
    let (head, answer) = timeout(Duration::from_secs(20), async { tokio::join!(receive, call) })
        .await
        .expect("nobody came to the vetted address");
    assert_eq!(answer.unwrap().status(), 204);
    assert!(head.contains("host: receiver.invalid:"), "{head}");
}

/// The URL says nothing of where its name leads: that is judged when it is known.
#[tokio::test]
async fn a_name_that_leads_inward_is_not_dialled() {
    const NAME: &str = "rebound.example";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{NAME}:{}/hook", address.port());
    let request = SendRequest { url: &url, event_id: "evt-1", body: b"{}", secrets: None, timestamp_s: 0 };
    let limits = SendLimits { connect: Duration::from_secs(20), whole: Duration::from_secs(20) };
    let mut sender = Sender::new(Policy::default(), limits);
    // what a look-up gave
    let answers = [address.ip()];
    let called = check_url(&url, &sender.policy).unwrap();
    let Err(refused) = sender.dial(&called, &answers, &request.to_post()).await else {
        panic!("it was dialled")
    };
    assert_eq!(refused.kind, FailureKind::Address, "{}", refused.text);
    // the same, where the owner says so
    sender.policy.allow = vec![NAME.parse().unwrap()];
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let read = stream.read(&mut [0; 1_024]).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
        read
    };
    let post = request.to_post();
    let (read, sent) = tokio::join!(receive, sender.dial(&called, &answers, &post));
    assert!(read > 0, "the first to come is this one");
    assert!(sent.is_ok_and(|(result, _)| result == SendResult::Accepted { status: 204 }));
}
