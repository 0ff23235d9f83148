//! A server of large files over HTTP: the batch call of git-lfs and its basic transfer, and nothing of git itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{post, put};
use serde_json::{Value, json};
use tokio::task::JoinSet;

#[derive(Default)]
pub(crate) struct World {
    pub(crate) objects: HashMap<String, Vec<u8>>,
    /// Answered to every batch call instead of its answer.
    pub(crate) refusal: Option<(u16, &'static str)>,
    /// No batch call is answered any more.
    pub(crate) stalls: bool,
    /// What each batch call brought as `Authorization`.
    pub(crate) authorizations: Vec<String>,
}

pub(crate) struct LfsServer {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) url: String,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Shared {
    world: Arc<Mutex<World>>,
    url: String,
}

impl LfsServer {
    /// Listens until it is dropped.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/o/r.git", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World::default()));
        let shared = Shared { world: Arc::clone(&world), url: url.clone() };
        let router = Router::new()
            .route("/o/r.git/info/lfs/objects/batch", post(batch))
            .route("/o/r.git/objects/{oid}", put(upload).get(download))
            .with_state(shared);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { world, url, _serving: serving }
    }
}

async fn batch(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let authorization = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
    let stalls = {
        let mut world = shared.world.lock().unwrap();
        world.authorizations.push(authorization.to_owned());
        world.stalls
    };
    if stalls {
        std::future::pending::<()>().await;
    }
    let world = shared.world.lock().unwrap();
    let kind = [("content-type", "application/vnd.git-lfs+json")];
    if let Some((status, message)) = world.refusal {
        let body = json!({"message": message}).to_string();
        return (StatusCode::from_u16(status).unwrap(), kind, body);
    }
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let operation = asked["operation"].as_str().unwrap();
    let answer = |object: &Value| {
        let oid = object["oid"].as_str().unwrap();
        let is_there = world.objects.contains_key(oid);
        let actions = if is_there == (operation == "download") {
            json!({operation: {"href": format!("{}/objects/{oid}", shared.url)}})
        } else {
            json!({})
        };
        let mut answer = json!({"oid": oid, "size": object["size"], "actions": actions});
        if operation == "download" && !is_there {
            answer["error"] = json!({"code": 404, "message": "Object does not exist"});
        }
        answer
    };
    let objects: Vec<_> = asked["objects"].as_array().unwrap().iter().map(answer).collect();
    (StatusCode::OK, kind, json!({"transfer": "basic", "objects": objects}).to_string())
}

async fn upload(State(shared): State<Shared>, Path(oid): Path<String>, body: Bytes) {
    shared.world.lock().unwrap().objects.insert(oid, body.to_vec());
}

async fn download(State(shared): State<Shared>, Path(oid): Path<String>) -> Result<Vec<u8>, StatusCode> {
    shared.world.lock().unwrap().objects.get(&oid).cloned().ok_or(StatusCode::NOT_FOUND)
}
