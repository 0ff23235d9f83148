//! Serving until told to stop.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::connection::{Bounded, Connection, ConnectionLimits};

/// What answers under way may still take once the server stops: less than the server itself waits, so that a reader that
/// takes nothing does not make an orderly end look like a crash.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Serves `router` on `listener`. When `shutdown` resolves no further connection is accepted, and this resolves when
/// the requests under way are answered, or three seconds later.
///
/// # Errors
/// What the listener said.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_within(ConnectionLimits::default(), listener, router, shutdown).await
}

async fn serve_within(
    limits: ConnectionLimits,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // the extension under its own name: layers further in need not know how it came here. A request with Transfer-Encoding is the
    // last one of its connection: where the next one begins is told by its body alone (`lengths.rs`). So is one that asks for
    // another protocol: whether what follows is one is told by the answer alone. And so is one behind whose head nothing is looked at
    let router = router.layer(from_fn(async |mut request: Request, next: Next| {
        let mut is_last = [header::TRANSFER_ENCODING, header::UPGRADE]
            .iter()
            .any(|name| request.headers().contains_key(name));
        if let Some(ConnectInfo(connection)) = request.extensions_mut().remove::<ConnectInfo<Connection>>() {
            is_last |= connection.had_large_head();
            request.extensions_mut().insert(connection);
        }
        let mut response = next.run(request).await;
        if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }));
    let (stopping, stops) = oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<Connection>();
    let serving = axum::serve(Bounded::new(listener, limits), service).with_graceful_shutdown(async move {
        shutdown.await;
        // gone: nobody waits any more
        let _ = stopping.send(());
    });
    tokio::select! {
        result = serving => result,
        () = async {
            // an error: it has been served to its end, which is the other branch
            if stops.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(ANSWERS_WITHIN).await;
        } => {
            tracing::debug!("connections were closed before their answers were taken");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use axum::extract::Extension;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::sync::Notify;
    use tokio::task::JoinSet;
    use tokio::time::{sleep, timeout};

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        connections: 2,
        per_peer: 8,
        head: Duration::from_millis(200),
        idle: Duration::from_millis(300),
        blocked: Duration::from_millis(300),
    };
    const LONG: Duration = Duration::from_secs(10);

    /// A server with a quick and a slow path; it stops when the sender is used.
    async fn server(set: &mut JoinSet<()>, begun: Arc<Notify>) -> (SocketAddr, oneshot::Sender<()>) {
        server_within(LIMITS, set, begun).await
    }

    async fn server_within(
        limits: ConnectionLimits,
        set: &mut JoinSet<()>,
        begun: Arc<Notify>,
    ) -> (SocketAddr, oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let slow = move |Extension(connection): Extension<Connection>| async move {
            let _busy = connection.enter();
            begun.notify_one();
            // longer than any limit of a connection
            sleep(Duration::from_millis(600)).await;
            "slow"
        };
        let flood = async |Extension(connection): Extension<Connection>| {
            let pieces = futures_util::stream::unfold(connection.enter(), |busy| async move {
                Some((Ok::<_, io::Error>(vec![b'x'; 65_536]), busy))
            });
            axum::body::Body::from_stream(pieces)
        };
        let upload = async |Extension(connection): Extension<Connection>, request: Request| {
            let (_busy, awaited) = (connection.enter(), connection.awaits());
            let body = axum::body::to_bytes(request.into_body(), 4_096).await;
            if awaited.came() && body.is_ok() { "whole" } else { "broken" }
        };
        let router = Router::new()
            .route("/", get(async || "quick"))
            .route("/upload", post(upload))
            .route("/slow", get(slow))
            .route("/flood", get(flood));
        set.spawn(async move {
            let shutdown = async move { stopped.await.unwrap_or(()) };
            serve_within(limits, listener, router, shutdown).await.unwrap();
        });
        (address, stop)
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        timeout(LONG, stream.read_to_string(&mut text)).await.expect("the connection is closed in time").ok();
        text
    }

    #[tokio::test]
    async fn half_a_head_is_closed_and_makes_room() {
        let mut set = JoinSet::new();
        let (address, _stop) = server(&mut set, Arc::default()).await;
        let mut half = Vec::new();
        for _ in 0..6 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
            half.push(stream);
        }
        let mut whole = TcpStream::connect(address).await.unwrap();
        whole.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(answer(&mut whole).await.ends_with("quick"));
        for mut stream in half {
            assert!(!answer(&mut stream).await.contains("200 OK"));
        }
    }

    #[tokio::test]
    async fn a_slow_answer_is_not_an_idle_connection_and_idle_ones_end() {
        let mut set = JoinSet::new();
        let (address, _stop) = server(&mut set, Arc::default()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(answer(&mut stream).await.ends_with("slow"));
    }

    /// Answers without an end, of which the readers take nothing: the connections are closed under them.
    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_cut_off() {
        let mut set = JoinSet::new();
        let (address, _stop) = server(&mut set, Arc::default()).await;
        let mut stuck = Vec::new();
        // as many as there may be at once
        for _ in 0..LIMITS.connections {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            stuck.push(stream);
        }
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(answer(&mut other).await.ends_with("quick"), "they make no room");
    }

    /// More half heads than there are places: nobody waits behind them, and who is being answered keeps his place.
    #[tokio::test]
    async fn whoever_brings_nothing_makes_room_at_once() {
        let long = ConnectionLimits { head: LONG * 6, idle: LONG * 6, ..LIMITS };
        for (per_peer, connections, crowd) in [(100, 8, 8), (4, 100, 4)] {
            let limits = ConnectionLimits { per_peer, connections, ..long };
            let begun = Arc::new(Notify::new());
            let mut set = JoinSet::new();
            let (address, _stop) = server_within(limits, &mut set, Arc::clone(&begun)).await;
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            timeout(LONG, begun.notified()).await.expect("the request arrives");
            let mut half = Vec::new();
            for _ in 0..4 * crowd {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
                half.push(stream);
            }
            let mut whole = TcpStream::connect(address).await.unwrap();
            whole.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            assert!(answer(&mut whole).await.ends_with("quick"), "{crowd}");
            assert!(answer(&mut slow).await.ends_with("slow"), "{crowd}");
            // the oldest went first, and nothing was said to them
            for mut stream in half.into_iter().take(2 * crowd) {
                assert_eq!(answer(&mut stream).await, "", "{crowd}");
            }
        }
    }

    /// Bodies that never end, from many addresses of this machine: they are of one peer, and wait for nothing that somebody else needs.
    #[tokio::test]
    async fn whoever_keeps_a_body_waiting_makes_room_at_once() {
        let long = ConnectionLimits { head: LONG * 6, idle: LONG * 6, ..LIMITS };
        // on other systems only the first address is there
        let ends: &[u8] = if cfg!(target_os = "linux") { &[2, 3, 4, 5] } else { &[1] };
        for (per_peer, connections, crowd) in [(100, 8, 8), (4, 100, 4)] {
            let limits = ConnectionLimits { per_peer, connections, ..long };
            let mut set = JoinSet::new();
            let (address, _stop) = server_within(limits, &mut set, Arc::default()).await;
            let mut half = Vec::new();
            for number in 0..4 * crowd {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from(([127, 0, 0, ends[number % ends.len()]], 0))).unwrap();
                let mut stream = socket.connect(address).await.unwrap();
                let begun = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
                stream.write_all(begun).await.unwrap();
                half.push(stream);
            }
            let mut whole = TcpStream::connect(address).await.unwrap();
            whole.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            assert!(answer(&mut whole).await.ends_with("quick"), "{crowd}");
            for mut stream in half.into_iter().take(2 * crowd) {
                assert_eq!(answer(&mut stream).await, "", "{crowd}");
            }
        }
    }

    /// None of the limits here knows streams within a connection.
    #[tokio::test]
    async fn http_2_is_not_spoken() {
        let limits = ConnectionLimits { head: LONG * 6, idle: LONG * 6, ..LIMITS };
        let mut set = JoinSet::new();
        let (address, _stop) = server_within(limits, &mut set, Arc::default()).await;
        let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        for pieces in [vec![preface], preface.chunks(5).collect()] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for piece in pieces {
                // closed under it is as good
                let _ = stream.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(answer(&mut stream).await, "");
        }
    }

    #[tokio::test]
    async fn stopping_waits_for_the_answer_under_way() {
        let begun = Arc::new(Notify::new());
        let mut set = JoinSet::new();
        let (address, stop) = server(&mut set, Arc::clone(&begun)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        timeout(LONG, begun.notified()).await.expect("the request arrives");
        stop.send(()).unwrap();
        assert!(answer(&mut stream).await.ends_with("slow"));
        timeout(LONG, set.join_next()).await.expect("the server ends").unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
