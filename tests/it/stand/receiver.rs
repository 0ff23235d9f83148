//! A receiver of callbacks that misbehaves on order and checks both signatures.

use std::collections::{BTreeMap, VecDeque};
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
    /// The connection is dropped without an answer.
    Reset,
}

/// One callback as it came in, signed as it must be.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    /// What follows `/callback/` in its address.
    pub(crate) place: String,
    /// `webhook-id`.
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) body: Value,
    /// What it was answered; 0 for nothing.
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
    orders_for: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    always: Mutex<Option<Answer>>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/callback", post(receive))
            .route("/callback/{place}", post(receive))
            .fallback(stray)
            .with_state(shared.clone());
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

    /// An address of its own; its next requests are answered like this, one each.
    pub(crate) fn url_with(&self, place: &str, answers: impl IntoIterator<Item = Answer>) -> String {
        let mut orders = self.shared.orders_for.lock().unwrap();
        orders.entry(place.to_owned()).or_default().extend(answers);
        format!("{}/{place}", self.url())
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

async fn receive(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
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
    let place = uri.path().trim_start_matches("/callback").trim_start_matches('/').to_owned();
    let own = shared.orders_for.lock().unwrap().get_mut(&place).and_then(VecDeque::pop_front);
    let order = own
        .or_else(|| shared.orders.lock().unwrap().pop_front())
        .or_else(|| shared.always.lock().unwrap().clone());
    let response = match order {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Answer::Reset) => {
            shared.note(place, id, &body, 0);
            std::panic::resume_unwind(Box::new("the receiver hangs up"))
        }
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
    shared.note(place, id, &body, response.status().as_u16());
    response
}

impl Shared {
    fn note(&self, place: String, id: &str, bytes: &[u8], status: u16) {
        self.callbacks.lock().unwrap().push(Callback {
            place,
            id: id.to_owned(),
            bytes: bytes.to_vec(),
            body: serde_json::from_slice(bytes).unwrap_or(Value::Null),
            status,
        });
    }
}

async fn stray(State(shared): State<Arc<Shared>>, method: Method, uri: Uri) -> StatusCode {
    shared.unwanted.lock().unwrap().push(format!("{method} {uri}"));
    StatusCode::OK
}
