//! A receiver of callbacks from bare sockets, so that it can do what no library would: hang, reset, drip, send without end,
//! answer with statuses that do not exist. What it does is drawn from a seed, and it remembers everything.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One request, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) agent_signature: String,
    pub(crate) body: Vec<u8>,
    /// It was answered with a 2xx, whole.
    pub(crate) accepted: bool,
}

/// A small generator (splitmix64): the same seed, the same misbehaviour, in the order of the requests.
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

pub(crate) struct Shared {
    pub(crate) got: Mutex<Vec<Got>>,
    /// Bytes of the longest endless answer that went out before the other side had enough.
    pub(crate) longest_answer: AtomicUsize,
    /// Half of the answers to `/fire` are faults; else all are good.
    pub(crate) burns: std::sync::atomic::AtomicBool,
    dice: Dice,
    /// Where redirects lead; nobody must come there.
    elsewhere: String,
    pub(crate) strays: AtomicUsize,
}

/// Listens on several ports of loopback: each is a host of its own to the server.
pub(crate) struct FireReceiver {
    pub(crate) shared: Arc<Shared>,
    addresses: Vec<std::net::SocketAddr>,
    _serving: JoinSet<()>,
}

impl FireReceiver {
    pub(crate) async fn start(seed: u64, ports: usize) -> Self {
        let mut serving = JoinSet::new();
        let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            got: Mutex::default(),
            longest_answer: AtomicUsize::new(0),
            burns: std::sync::atomic::AtomicBool::new(true),
            dice: Dice::new(seed),
            elsewhere: format!("http://{}/elsewhere", trap.local_addr().unwrap()),
            strays: AtomicUsize::new(0),
        });
        let strays = shared.clone();
        serving.spawn(async move {
            while trap.accept().await.is_ok() {
                strays.strays.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut addresses = Vec::new();
        for _ in 0..ports {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let shared = shared.clone();
            serving.spawn(async move {
                let mut open = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = shared.clone();
                    // a broken connection is what this is for
                    open.spawn(async move { serve(stream, &shared).await.ok() });
                    while open.try_join_next().is_some() {}
                }
            });
        }
        Self { shared, addresses, _serving: serving }
    }

    pub(crate) fn url(&self, port: usize, path: &str) -> String {
        format!("http://{}{path}", self.addresses[port % self.addresses.len()])
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.got.lock().unwrap().len()
    }

    pub(crate) fn behave(&self) {
        self.shared.burns.store(false, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some(mut got) = read(&mut stream).await? else { return Ok(()) };
    let answer = choose(&got.path, shared);
    got.accepted = matches!(&answer, Answer::Status(200..=299, _)) || matches!(&answer, Answer::Endless);
    // before the answer: whoever has the answer may look here
    shared.got.lock().unwrap().push(got);
    match answer {
        Answer::Status(status, header) => {
            let text =
                format!("HTTP/1.1 {status} So\r\n{header}Content-Length: 2\r\nConnection: close\r\n\r\nok");
            stream.write_all(text.as_bytes()).await?;
        }
        Answer::Reset => {
            #[expect(deprecated, reason = "closing with a reset is what is wanted")]
            stream.set_linger(Some(Duration::ZERO))?;
        }
        Answer::Hang => {
            // until the other side has enough
            stream.read_u8().await.ok();
        }
        Answer::Drip => {
            for byte in b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat(&b'y')) {
                stream.write_all(&[*byte]).await?;
                let gone = tokio::time::timeout(Duration::from_secs(1), stream.read_u8()).await;
                if gone.is_ok() {
                    break;
                }
            }
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n").await?;
            let mut sent = 0;
            while stream.write_all(&[b'x'; 16_384]).await.is_ok() {
                sent += 16_384;
                shared.longest_answer.fetch_max(sent, Ordering::SeqCst);
            }
        }
    }
    Ok(())
}

enum Answer {
    /// A status and a header line.
    Status(u32, String),
    Reset,
    Hang,
    /// A head that comes byte by byte, one a second, without end.
    Drip,
    /// 200 with 10 GiB.
    Endless,
}

fn choose(path: &str, shared: &Shared) -> Answer {
    let plain = |status| Answer::Status(status, String::new());
    if !shared.burns.load(Ordering::SeqCst) {
        return plain(204);
    }
    match path {
        "/never" => return plain(500),
        "/gone" => return plain(410),
        "/hang" => return Answer::Hang,
        // asks for a wait; a space is written as _
        _ if path.starts_with("/429/") => {
            let wait = path["/429/".len()..].replace('_', " ");
            return Answer::Status(429, format!("Retry-After: {wait}\r\n"));
        }
        "/fire" => {}
        _ => return plain(200),
    }
    let odd_waits = ["-5", "99999999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT", "soon", "0", "1.5"];
    let dice = &shared.dice;
    match dice.below(100) {
        0..45 => plain([200, 204, 299][usize::try_from(dice.below(3)).unwrap()]),
        45..50 => Answer::Endless,
        50..65 => {
            let status = [301, 302, 307, 308][usize::try_from(dice.below(4)).unwrap()];
            let to = if dice.below(2) == 0 { &shared.elsewhere } else { "http://192.0.2.1/public" };
            Answer::Status(status, format!("Location: {to}\r\n"))
        }
        65..75 => {
            let wait = odd_waits[usize::try_from(dice.below(6)).unwrap()];
            Answer::Status(429, format!("Retry-After: {wait}\r\n"))
        }
        75..85 => plain([300, 404, 500, 503, 999][usize::try_from(dice.below(5)).unwrap()]),
        85..96 => Answer::Reset,
        96..98 => Answer::Hang,
        _ => Answer::Drip,
    }
}

/// The whole request; `None` when the other side went away before its end.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Got>> {
    let mut bytes = Vec::new();
    let (head, begin) = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&bytes[..at]).into_owned(), at + 4);
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let mut named = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let length: usize = header("content-length").parse().unwrap_or(0);
    while bytes.len() < begin + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Got {
        path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        agent_signature: header("x-agent-signature"),
        body: bytes[begin..begin + length].to_vec(),
        accepted: false,
    }))
}
