//! The length of a body told twice, through a real socket: the server library lets nobody behind it see that.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Bench, HOST, SECRET};
use crate::http::serve;

const LONG: Duration = Duration::from_secs(30);
const BOTH: &str = "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n";
const CHUNKS: &str = "2\r\n{}\r\n0\r\n\r\n";

/// A request to the API with these further headers, each with its line end, and this body.
fn sent(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {SECRET}\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
    )
}

fn sized(path: &str, body: &str) -> String {
    sent(path, &format!("Content-Length: {}\r\n", body.len()), body)
}

/// What a connection on which these pieces are sent is answered until the server closes it, and whether it did.
async fn answers(pieces: &[&str]) -> (Vec<u16>, String, bool) {
    let bench = Bench::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut set = JoinSet::new();
    set.spawn(serve(listener, bench.router.clone(), std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut from, mut to) = stream.split();
    let writing = async {
        for piece in pieces {
            // closed under it: what it was answered says whether that was right
            let _ = to.write_all(piece.as_bytes()).await;
            tokio::task::yield_now().await;
        }
        // the end of what is sent is no reason to close before the last answer
        std::future::pending::<()>().await;
    };
    let mut bytes = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            bytes.extend_from_slice(&piece[..count]);
        }
    };
    let closed = tokio::select! {
        () = writing => false,
        read = timeout(LONG, reading) => read.is_ok(),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().unwrap());
    (statuses.collect(), text, closed)
}

#[tokio::test]
async fn a_request_with_both_lengths_is_refused_and_nothing_after_it_is_answered() {
    let both = sent("/queue/pause", BOTH, CHUNKS);
    let turned = sent("/queue/pause", "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", CHUNKS);
    let odd = sent("/queue/pause", "cOnTeNt-LeNgTh: 2\r\nTRANSFER-encoding: chunked\r\n", CHUNKS);
    let next = sized("/queue/pause", "{}");
    let (head, tail) = both.split_at(both.find("Transfer").unwrap() + 4);
    let letters: Vec<_> = both.split_inclusive(|_| true).collect();
    let rows: &[(&[&str], &[u16])] = &[
        (&[&both], &[400]),
        (&[&turned], &[400]),
        (&[&odd], &[400]),
        (&[head, tail], &[400]),
        (&letters, &[400]),
        (&[&both, &next], &[400]),
        (&[&next, &both, &next], &[200, 400]),
        (&[&(next.clone() + &both + &next)], &[200, 400]),
    ];
    for (pieces, statuses) in rows {
        let (found, text, closed) = answers(pieces).await;
        assert!(closed && found == *statuses, "{pieces:?}: {text}");
        assert!(text.contains("\"code\":\"malformed\"") && text.contains("Transfer-Encoding"), "{text}");
    }
}

/// Whoever asks for another protocol and does not get it could otherwise go on unseen.
#[tokio::test]
async fn a_request_for_another_protocol_is_the_last_one() {
    let asking =
        sent("/queue/pause", "Content-Length: 2\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", "{}");
    let both = sent("/queue/pause", BOTH, CHUNKS);
    let (found, text, closed) = answers(&[&asking, &both]).await;
    assert!(closed && found == [200], "{text}");
}

/// More than is kept of a head, and less than the library takes: each is answered, and nothing behind it is.
#[tokio::test]
async fn a_head_that_is_too_large_to_be_looked_at_is_answered_and_is_the_last_one() {
    let next = sized("/queue/pause", "{}");
    let filled = format!("X: {}\r\n", "x".repeat(200 * 1024));
    // of a value without its blanks nothing is left that is large
    let blank = format!("X:{}x\r\n", " ".repeat(200 * 1024));
    let length = "Content-Length: 2\r\n";
    let rows = [
        (sent("/queue/pause", &(filled.clone() + length), "{}"), 431),
        (sent("/queue/pause", &(blank.clone() + length), "{}"), 200),
        (sent("/queue/pause", &(blank.clone() + BOTH), CHUNKS), 431),
        (sent("/queue/pause", &(BOTH.to_owned() + &blank), CHUNKS), 431),
    ];
    for (row, (request, status)) in rows.iter().enumerate() {
        let (found, text, closed) = answers(&[&next, request, &next]).await;
        assert!(closed && found == [200, *status], "{row}: {text}");
        assert_eq!(text.contains("\"code\":\"headers_too_large\""), *status == 431, "{row}: {text}");
    }
}

/// Refused by the library itself, and closed: a name before a blank, a folded line.
#[tokio::test]
async fn heads_that_others_may_read_in_another_way_are_refused() {
    let rows = [
        "Content-Length : 2\r\nTransfer-Encoding: chunked\r\n",
        "X: 1\r\n Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\nTransfer-Encoding\t: chunked\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
    ];
    for headers in rows {
        let (found, text, closed) = answers(&[&sent("/queue/pause", headers, CHUNKS)]).await;
        assert!(closed && found == [400], "{headers:?}: {text}");
    }
}

#[tokio::test]
async fn bodies_may_say_what_they_like_and_chunks_end_the_connection() {
    let both = sent("/queue/pause", BOTH, CHUNKS);
    let quiet = sized("/queue/pause", "{\r\n\r\n}\r\n\r\n");
    let telling = sized("/nothing", &both);
    let next_line = sized("/nothing", &format!("\r\n\r\n{both}"));
    let chunked = sent("/queue/pause", "Transfer-Encoding: chunked\r\n", CHUNKS);
    let (found, text, closed) = answers(&[&telling, &quiet, &next_line, &quiet, &chunked, &quiet]).await;
    assert!(closed && found == [404, 200, 404, 200, 200], "{text}");
    assert_eq!(text.to_ascii_lowercase().matches("connection: close").count(), 1, "{text}");
}
