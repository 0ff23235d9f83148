//! A server that answers as a test says and remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `GET /jobs?limit=20`
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
    cut: bool,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::from(body.to_string()), cut: false }
    }

    pub(crate) fn text(status: u16, body: impl Into<Body>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: false }
    }

    pub(crate) fn problem(status: u16, code: &str, detail: &str, more: Value) -> Self {
        let mut body = json!({
            "type": format!("urn:offshoot:problem:{code}"), "title": code, "status": status, "detail": detail,
            "code": code, "requestId": "req-1", "error": detail,
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Self::json(status, &body)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Breaks the connection off before the answer is complete.
    pub(crate) fn cut() -> Self {
        Self { cut: true, ..Self::text(200, "") }
    }
}

type Script = dyn Fn(&Seen, usize) -> Answer + Send + Sync;

struct Inner {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
}

pub(crate) struct Fake {
    pub(crate) url: String,
    inner: Arc<Inner>,
    /// Ends with the fake.
    _serving: JoinSet<()>,
}

impl Fake {
    /// Answers by `script`, which is given the request and how often the same line was asked before.
    pub(crate) async fn start(script: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner { script: Box::new(script), seen: Mutex::default() });
        let app = Router::new().fallback(answer).with_state(inner.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inner, _serving: serving }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let seen = Seen { line: format!("{} {}", parts.method, parts.uri), headers: parts.headers, body };
    let answer = {
        let mut all = inner.seen.lock().unwrap();
        let before = all.iter().filter(|earlier| earlier.line == seen.line).count();
        all.push(seen.clone());
        (inner.script)(&seen, before)
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = if answer.cut {
        // More is promised than comes.
        response = response.header("content-length", "1000");
        Body::from_stream(futures_util::stream::once(async {
            Err::<String, _>(std::io::Error::other("cut"))
        }))
    } else {
        answer.body
    };
    response.body(body).unwrap()
}

/// A job as the API shows it, some members changed.
pub(crate) fn job(changes: &Value) -> Value {
    let mut job: Value = serde_json::from_str(include_str!("../fixtures/cli/job.json")).unwrap();
    job.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    job
}

/// A queued job.
pub(crate) fn queued() -> Value {
    job(&json!({
        "status": "queued", "phase": "queued", "outcome": null, "position": 1, "startedAt": null, "completedAt": null,
        "prUrl": null, "prNumber": null,
    }))
}
