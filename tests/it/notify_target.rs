//! A stand-in for ntfy, Slack and Discord: takes every request, remembers it, and answers as it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::task::JoinSet;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
    /// What it was answered.
    pub(crate) status: u16,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

#[derive(Default)]
struct Shared {
    got: Mutex<Vec<Got>>,
    orders: Mutex<VecDeque<u16>>,
    always: Mutex<Option<u16>>,
}

/// Listens as long as it lives.
pub(crate) struct NotifyTarget {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl NotifyTarget {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(take).with_state(shared.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _serving: serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The next requests are answered with these statuses, one each; a redirect leads to `/elsewhere`.
    pub(crate) fn order(&self, statuses: impl IntoIterator<Item = u16>) {
        self.shared.orders.lock().unwrap().extend(statuses);
    }

    /// Every other request is answered with this status, until `None` makes it behave again.
    pub(crate) fn always(&self, status: Option<u16>) {
        *self.shared.always.lock().unwrap() = status;
    }

    /// What came to this path, the oldest first.
    pub(crate) fn at(&self, path: &str) -> Vec<Got> {
        let got = self.shared.got.lock().unwrap();
        got.iter().filter(|one| one.path.trim_start_matches('/') == path).cloned().collect()
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(method, Method::POST);
    let ordered = shared.orders.lock().unwrap().pop_front();
    let status = ordered.or(*shared.always.lock().unwrap()).unwrap_or(200);
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    shared.got.lock().unwrap().push(Got {
        path: uri.to_string(),
        headers: headers.collect(),
        text: String::from_utf8_lossy(&body).into_owned(),
        status,
    });
    (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, "/elsewhere")]).into_response()
}
