//! The table of callback URLs through the whole sender: whoever is refused is not dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use offshoot::webhook::{FailureKind, Policy, SendLimits, SendRequest, SendResult, Sender};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::webhook_address::{ALLOWED, CLOSED, EXCEPTIONS, NEVER, Verdict, open, policy};

/// For whoever is dialled by mistake: no answer is waited for.
const SOON: SendLimits =
    SendLimits { connect: Duration::from_millis(400), whole: Duration::from_millis(400) };

async fn send(url: &str, policy: &Policy) -> SendResult {
    let request =
        SendRequest { url, event_id: "evt-1", timestamp_s: 784_111_777, body: b"{}", secrets: None };
    Sender::new(policy.clone(), SOON).send(&request).await
}

#[tokio::test]
async fn whoever_is_refused_by_the_table_is_refused_by_the_sender() {
    let tables =
        [(CLOSED, policy(&[], &["8.8.4.4:3456"])), (NEVER, open()), (EXCEPTIONS, policy(&ALLOWED, &[]))];
    let mut refused = 0;
    for (rows, policy) in &tables {
        for (url, _) in rows.iter().filter(|(_, verdict)| *verdict != Verdict::Fine) {
            let result = send(url, policy).await;
            let is_refused = matches!(result, SendResult::Failed { kind: FailureKind::Address, .. });
            assert!(is_refused, "{url}: {result:?}");
            refused += 1;
        }
    }
    assert_eq!(refused, 261, "the figure of docs/reliability.md");
}

/// The spelling with another port.
fn at_port(url: &str, port: u16) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.split('/').next().unwrap();
    let bare = match host.rsplit_once(':') {
        Some((bare, digits)) if !digits.ends_with(']') => bare,
        _ => host,
    };
    format!("{}://{bare}:{port}/", scheme.replace("https", "http"))
}

/// Listeners on every address of this machine; the number of connections that came.
async fn listening() -> (u16, Arc<AtomicUsize>, JoinSet<()>) {
    let four = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await.unwrap();
    let port = four.local_addr().unwrap().port();
    let mut listeners = vec![four];
    // where there is no version 6, or another process has the port there, version 4 stands for both
    listeners.extend(TcpListener::bind(SocketAddr::from((IpAddr::V6(Ipv6Addr::LOCALHOST), port))).await);
    let count = Arc::new(AtomicUsize::new(0));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let count = count.clone();
        accepting.spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    (port, count, accepting)
}

#[tokio::test]
async fn no_spelling_of_this_machine_reaches_its_listeners() {
    let (port, connections, _accepting) = listening().await;
    let loopback = Verdict::Class(offshoot::webhook::AddressClass::Loopback);
    let spellings: Vec<_> = CLOSED
        .iter()
        .filter(|(url, verdict)| *verdict == loopback && url.starts_with("http"))
        .map(|(url, _)| at_port(url, port))
        .collect();
    for url in &spellings {
        let result = send(url, &policy(&[], &[])).await;
        assert!(matches!(result, SendResult::Failed { kind: FailureKind::Address, .. }), "{url}: {result:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    // the listeners hear who is let through
    let mut heard = 0;
    for url in &spellings {
        let before = connections.load(Ordering::SeqCst);
        send(url, &open()).await;
        heard += usize::from(connections.load(Ordering::SeqCst) > before);
    }
    assert!(heard * 2 > spellings.len(), "{heard} of {}", spellings.len());
}
