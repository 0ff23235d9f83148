//! The other side of the ratios: routes without our features, in a process of their own, and commits of rows without a queue.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::figures::Samples;
use crate::server::SECRET;

/// With this word this program is the baseline's server; a database may follow.
pub(crate) const VERB: &str = "baseline-server";

const SCHEMA: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS jobs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, prompt TEXT NOT NULL,
        status INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX IF NOT EXISTS queued ON jobs (seq) WHERE status = 0;";
const INSERT: &str = "INSERT INTO jobs (id, prompt) VALUES (lower(hex(randomblob(8))), ?1)";
/// Of an ordinary pool of connections.
const POOL: u32 = 8;

pub(crate) type Pool = r2d2::Pool<SqliteConnectionManager>;

/// Two routes: `/plain` parses, checks the token and answers; `/pooled` inserts through a pool of connections besides.
pub(crate) fn serve(database: Option<PathBuf>) {
    let pool = database.map(|path| {
        open(&path);
        let manager = SqliteConnectionManager::file(path).with_init(|connection| {
            connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 30000;")
        });
        r2d2::Pool::builder().max_size(POOL).build(manager).unwrap()
    });
    let router = Router::new().route("/plain", post(plain)).route("/pooled", post(pooled)).with_state(pool);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        axum::serve(listener, router).await.unwrap();
    });
}

async fn plain(headers: HeaderMap, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    answer(&headers, &body)
}

async fn pooled(
    State(pool): State<Option<Pool>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let prompt = body["prompt"].as_str().unwrap_or_default().to_owned();
    let insert = move || {
        let connection = pool.unwrap().get().unwrap();
        connection.prepare_cached(INSERT).unwrap().execute([prompt]).unwrap();
    };
    tokio::task::spawn_blocking(insert).await.unwrap();
    answer(&headers, &body)
}

fn answer(headers: &HeaderMap, body: &Value) -> (StatusCode, Json<Value>) {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if token != Some(SECRET) || !body["prompt"].is_string() {
        return (StatusCode::UNAUTHORIZED, Json(json!({})));
    }
    (StatusCode::CREATED, Json(json!({"id": "0123456789abcdef", "status": "queued", "position": 1})))
}

/// The baseline's server, killed when dropped.
pub(crate) struct Baseline {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Baseline {
    pub(crate) fn start(database: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(VERB)
            .arg(database)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    connection
}

/// Rows a second, and milliseconds of each commit, of one connection that commits so many rows of 500 bytes at once, for so long.
pub(crate) fn commits(path: &Path, rows: usize, time: Duration) -> (f64, Samples) {
    let (connection, prompt) = (open(path), "x".repeat(500));
    let (mut latency, began) = (Vec::new(), Instant::now());
    while began.elapsed() < time {
        let at = Instant::now();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..rows {
            connection.prepare_cached(INSERT).unwrap().execute([&prompt]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        latency.push(at.elapsed().as_secs_f64() * 1_000.0);
    }
    let latency: Samples = latency.into_iter().collect();
    let each = rows as f64;
    (latency.count() * each / began.elapsed().as_secs_f64(), latency)
}
