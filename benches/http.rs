//! Requests over connections that stay open, and a load of them. No program of others, so that nothing has to be installed.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::figures::Samples;
use crate::server::SECRET;

/// A server that says nothing for so long does not go on.
const SILENT_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

/// A request as it goes over the line.
pub(crate) fn request(to: SocketAddr, method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {SECRET}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    pub(crate) async fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        let end = match length {
            Some(length) => head + length,
            // in chunks: nothing that is asked for here ends so in its middle
            None => loop {
                if self.buffer[head..].ends_with(b"0\r\n\r\n") {
                    break self.buffer.len();
                }
                self.more().await?;
            },
        };
        while self.buffer.len() < end {
            self.more().await?;
        }
        let body = self.buffer[head..end].to_vec();
        self.buffer.drain(..end);
        Ok(Answer { status, body })
    }

    /// The next bytes of an answer without an end, such as a stream of events.
    pub(crate) async fn more(&mut self) -> io::Result<()> {
        let read = tokio::time::timeout(SILENT_MAX, self.stream.read_buf(&mut self.buffer)).await;
        match read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// What has come of it and was not taken yet.
    pub(crate) fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.buffer).into_owned();
        self.buffer.clear();
        text
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await
    }
}

fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, sought)
}

/// What came of a load.
pub(crate) struct Load {
    pub(crate) per_second: f64,
    /// Milliseconds of each request.
    pub(crate) latency: Samples,
}

/// Sends the same request again and again over so many connections, for so long.
///
/// # Panics
/// When one is answered otherwise than with `expected`.
pub(crate) async fn load(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    request: &[u8],
    expected: u16,
) -> Load {
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..connections {
        let request = request.to_vec();
        callers.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            let mut latency = Vec::new();
            while began.elapsed() < time {
                let sent = Instant::now();
                let answer = connection.call(&request).await.unwrap();
                latency.push(sent.elapsed().as_secs_f64() * 1_000.0);
                assert_eq!(answer.status, expected, "{}", String::from_utf8_lossy(&answer.body));
            }
            latency
        });
    }
    let latency: Samples = callers.join_all().await.into_iter().flatten().collect();
    Load { per_second: latency.count() / began.elapsed().as_secs_f64(), latency }
}

/// The runtime of whoever asks: one thread, to leave the other processor to the server.
pub(crate) fn asking<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
