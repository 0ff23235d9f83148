//! A receiver of callbacks that believes only what is signed.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::webhook::{
    HEADER_AGENT_SIGNATURE, HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, verify_agent, verify_standard,
};

/// A callback whose two signatures were checked.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) id: String,
    pub(super) signature: String,
    pub(super) body: serde_json::Value,
}

/// Listens on loopback as long as it lives.
pub(super) struct Receiver {
    address: SocketAddr,
    received: watch::Receiver<Option<Received>>,
    _serving: JoinSet<()>,
}

struct Shared {
    secret: SecretString,
    clock: Clock,
    received: watch::Sender<Option<Received>>,
}

impl Receiver {
    pub(super) async fn start(secret: SecretString, clock: Clock) -> std::io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (sender, received) = watch::channel(None);
        let shared = Arc::new(Shared { secret, clock, received: sender });
        let router = Router::new().route("/callback", post(receive)).with_state(shared);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the receiver failed");
            }
        });
        Ok(Self { address, received, _serving: serving })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/callback", self.address)
    }

    /// The first callback that passed.
    pub(super) async fn wait(&self) -> Option<Received> {
        let mut received = self.received.clone();
        received.wait_for(Option::is_some).await.ok()?.clone()
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, signature) = (header(HEADER_ID), header(HEADER_AGENT_SIGNATURE));
    let timestamp = header(HEADER_TIMESTAMP);
    let now = shared.clock.now_ms() / 1_000;
    let standard = verify_standard(&shared.secret, id, timestamp, header(HEADER_SIGNATURE), &body, now);
    if !standard || !verify_agent(&shared.secret, signature, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(parsed) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    let received = Received { id: id.to_owned(), signature: signature.to_owned(), body: parsed };
    shared.received.send_replace(Some(received));
    StatusCode::NO_CONTENT
}
