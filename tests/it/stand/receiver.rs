//! A receiver of callbacks that misbehaves on order and checks both signatures.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use offshoot::clock::Clock;
use offshoot::webhook::{
    HEADER_AGENT_SIGNATURE, HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, verify_agent, verify_standard,
};
use secrecy::SecretString;
use serde_json::Value;
use tokio::task::JoinSet;

use super::WEBHOOK_SECRET;

/// What the next request gets instead of 204.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// A redirect to this address.
    Redirect(String),
    /// The answer comes after this wait.
    Late(Duration),
}

/// One callback as it came in, signed as it must be.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    /// `webhook-id`.
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) body: Value,
    /// What it was answered.
    pub(crate) status: u16,
}

/// Listens on loopback as long as it lives.
pub(crate) struct Receiver {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    callbacks: Mutex<Vec<Callback>>,
    unwanted: Mutex<Vec<String>>,
    orders: Mutex<VecDeque<Answer>>,
    always: Mutex<Option<Answer>>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router =
            Router::new().route("/callback", post(receive)).fallback(stray).with_state(shared.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/callback", self.address)
    }

    /// The next requests are answered like this, one each.
    pub(crate) fn order(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.orders.lock().unwrap().extend(answers);
    }

    /// Every request is answered like this, until `None` makes it behave again.
    pub(crate) fn always(&self, answer: Option<Answer>) {
        *self.shared.always.lock().unwrap() = answer;
    }

    /// Everything that came and was signed, also what was refused on order.
    pub(crate) fn all(&self) -> Vec<Callback> {
        self.shared.callbacks.lock().unwrap().clone()
    }

    /// Requests that were not believed, or that went where nobody is told to go.
    pub(crate) fn unwanted(&self) -> Vec<String> {
        self.shared.unwanted.lock().unwrap().clone()
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let secret = SecretString::from(WEBHOOK_SECRET);
    let id = header(HEADER_ID);
    let now = Clock::system().now_ms() / 1_000;
    let standard =
        verify_standard(&secret, id, header(HEADER_TIMESTAMP), header(HEADER_SIGNATURE), &body, now);
    if !standard || !verify_agent(&secret, header(HEADER_AGENT_SIGNATURE), &body) {
        shared.unwanted.lock().unwrap().push(format!("{headers:?}"));
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let order = shared.orders.lock().unwrap().pop_front().or_else(|| shared.always.lock().unwrap().clone());
    let response = match order {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Answer::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Answer::Redirect(to)) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        Some(Answer::Late(wait)) => {
            let never = std::future::pending::<()>();
            tokio::time::timeout(wait, never).await.unwrap_err();
            StatusCode::NO_CONTENT.into_response()
        }
    };
    shared.callbacks.lock().unwrap().push(Callback {
        id: id.to_owned(),
        bytes: body.to_vec(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        status: response.status().as_u16(),
    });
    response
}

async fn stray(State(shared): State<Arc<Shared>>, method: Method, uri: Uri) -> StatusCode {
    shared.unwanted.lock().unwrap().push(format!("{method} {uri}"));
    StatusCode::OK
}
