//! The router with a real store, real git and a manual clock; requests go in without a network.

mod audit;
mod ceilings;
mod clients;
mod doors;
mod events;
mod gc;
mod jobs;
mod lengths;
mod lists;
mod open_forms;
mod profiles;
mod queue;
mod reach;
mod results;
mod tokens;
mod ui_api;
mod ui_changes;
mod ui_clients;
mod ui_doctor;
mod ui_door;
mod ui_new;
mod ui_pages;
mod visits;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use secrecy::SecretString;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::{AppState, Settings, router};
use crate::app::{self, App, Caller};
use crate::clock::Clock;
use crate::domain::options::RunOptions;
use crate::domain::policy::ChangePolicy;
use crate::domain::retention::Kept;
use crate::domain::token::Scope;
use crate::git::{Author, Git, GitSettings, KeepCaps, RepositoryLocks, SizeCaps};
use crate::process::{Launcher, ScopeUse, ShimProgram};
use crate::secrets::{Known, Scanner};
use crate::store::{Limits, Store};
use crate::upkeep::{Upkeep, UpkeepSettings};
use crate::webhook::Policy;
use crate::worker::{Remotes, StepLimits, Worker, WorkerSettings};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const HOST: &str = "127.0.0.1:3456";

/// A server without a socket.
struct Bench {
    router: Router,
    app: App,
    store: Store,
    clock: Clock,
    dir: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Asserts a problem in its full form and gives its body.
    fn problem(&self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{text}");
        let body = self.json();
        assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()), "{text}");
        assert_eq!(body["error"], body["detail"]);
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"));
        body
    }

    fn pointers(&self, status: u16, code: &str) -> Vec<String> {
        let body = self.problem(status, code);
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|fault| fault["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut app::Settings)) -> Self {
        Self::build(5, change).await
    }

    async fn with_queue_of(queued_max: u32) -> Self {
        Self::build(queued_max, |_| {}).await
    }

    async fn build(queued_max: u32, change: impl FnOnce(&mut app::Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_795_254_420_000, 7);
        let limits =
            Limits { running_max: 2, running_per_client_max: None, queued_max, disk_free_bytes_min: 0 };
        let store = Store::open(dir.path(), clock.clone(), limits).unwrap();
        let environment = [("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())].into();
        let git = GitSettings::new(environment, dir.path().join("scratch"));
        let git = Git::probe(git, clock.clone()).await.unwrap();
        let mut settings = settings(dir.path());
        change(&mut settings);
        let (_, probes) = watch::channel(Vec::new());
        let locks = RepositoryLocks::default();
        let pattern = format!("{}/remotes/{{org}}/{{repo}}.git", dir.path().display());
        let remotes = Remotes::new(pattern, &"https://api.github.com".parse().unwrap(), None);
        let worker = Worker::new(
            store.clone(),
            git.clone(),
            locks.clone(),
            None,
            remotes.clone(),
            Launcher::new(ShimProgram::Own, ScopeUse::Never),
            clock.clone(),
            worker_settings(dir.path()),
        );
        let upkeep = Upkeep::new(
            store.clone(),
            git.clone(),
            locks.clone(),
            worker.clone(),
            upkeep_settings(dir.path()),
        );
        let app = App::new(store.clone(), settings, git, locks, remotes, clock.clone(), probes)
            .with_upkeep(upkeep)
            .with_worker(worker);
        Self { router: router(AppState::new(app.clone(), clock.clone(), &doors())), app, store, clock, dir }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, &[], Body::empty())).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, &[], body).await
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let body = body.to_string();
        let length = body.len().to_string();
        let mut all = vec![("content-type", "application/json"), ("content-length", &length)];
        all.extend_from_slice(headers);
        self.send(request(method, path, &all, Body::from(body))).await
    }

    /// What stands before handlers, on the same parts.
    fn state(&self) -> AppState {
        AppState::new(self.app.clone(), self.clock.clone(), &doors())
    }

    /// A new token of that scope, for these clients or all.
    async fn token(&self, scope: Scope, clients: Option<&[&str]>) -> String {
        let name = format!("{scope}-{}", self.clock.random_text(6));
        let body = serde_json::json!({"name": name, "scope": scope.as_str(), "clients": clients});
        let answer = self.post("/tokens", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Whoever comes with a new token of that scope.
    async fn caller(&self, scope: Scope) -> Caller {
        let token = self.token(scope, None).await;
        self.app.bearer(&token, &Sha256::digest(token.as_bytes()).into()).unwrap()
    }

    async fn call_with(&self, token: &str, method: Method, path: &str, body: &Value) -> Answer {
        self.call(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
    }

    async fn get_with(&self, token: &str, path: &str) -> Answer {
        let authorization = format!("Bearer {token}");
        self.send(request(Method::GET, path, &[("authorization", &authorization)], Body::empty())).await
    }

    /// A bare repository with one commit on `main`, where the clone pattern looks for it.
    fn publish(&self, org: &str, repo: &str) {
        let path = self.dir.path().join(format!("remotes/{org}/{repo}.git"));
        std::fs::create_dir_all(&path).unwrap();
        git(&path, &["init", "-q", "--bare", "-b", "main", "."]);
        let tree = git(&path, &["hash-object", "-w", "-t", "tree", "/dev/null"]);
        let author = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let commit = git(&path, &[&author[..], &["commit-tree", "-m", "first", &tree]].concat());
        git(&path, &["update-ref", "refs/heads/main", &commit]);
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git").current_dir(dir).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn doors() -> Settings {
    Settings {
        secret: SecretString::from(SECRET),
        address: HOST.parse().unwrap(),
        allowed_hosts: Vec::new(),
        token_requests_per_minute: 600,
    }
}

fn settings(dir: &Path) -> app::Settings {
    app::Settings {
        defaults: RunOptions::default(),
        agents: [("claude".to_owned(), crate::domain::agent_kind::AgentKind::Claude)].into(),
        profiles: BTreeMap::new(),
        secrets: ["npm".to_owned()].into(),
        allowed_orgs: Vec::new(),
        protected_branches: vec!["release/*".to_owned()],
        opens_pull_requests: true,
        callbacks: Policy::default(),
        signing: None,
        data_dir: dir.to_owned(),
        repos_dir: dir.join("repos"),
        run_dir: dir.join("run"),
        disk_free_bytes_min: 0,
        max_concurrent_jobs: 2,
        sandbox: std::sync::Arc::default(),
        always_sandboxed: false,
        targets: crate::notify::Targets::default(),
    }
}

fn worker_settings(dir: &Path) -> WorkerSettings {
    WorkerSettings {
        repos_dir: dir.join("repos"),
        worktrees_dir: dir.join("worktrees"),
        files_dir: dir.join("files"),
        data_dir: dir.to_owned(),
        run_dir: dir.join("run"),
        author: Author { name: "t".to_owned(), email: "t@example.org".to_owned() },
        protected_branches: Vec::new(),
        policy: ChangePolicy::default(),
        scanner: std::sync::Arc::new(Scanner::new(Known::default(), SECRET.into())),
        agents: BTreeMap::new(),
        secrets: BTreeMap::new(),
        defaults: RunOptions::default(),
        environment: BTreeMap::new(),
        step_limits: StepLimits {
            output_bytes_kept: 1 << 20,
            output_bytes_end: 1 << 21,
            open_files_max: 1_024,
            processes_max: 64,
            memory_bytes_max: None,
            worktree: SizeCaps { bytes_max: 1 << 30, files_max: 1 << 20 },
        },
        stop_grace: Duration::ZERO,
        worktree_kept: Kept::always("worktree_days", 0),
        artifact_caps: KeepCaps {
            file_bytes_max: 9,
            bytes_max: 9,
            files_max: 9,
            paths_bytes_max: 999,
            looking_ms_max: 999,
        },
        file_bytes_max: 1 << 20,
        as_root: false,
        isolation: crate::worker::IsolationSettings::default(),
    }
}

fn upkeep_settings(dir: &Path) -> UpkeepSettings {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    UpkeepSettings {
        repos_dir: dir.join("repos"),
        worktrees_dir: dir.join("worktrees"),
        jobs: Kept { failed: Some(10), cancelled: Some(100), ..Kept::always("job_days", 365) },
        logs: Kept { failed: Some(9), cancelled: Some(99), ..Kept::always("log_days", 90) },
        artifacts: Kept::always("artifact_days", 30),
        worktrees: Kept::always("worktree_days", 7),
        events: days(60),
        audit: days(3_650),
        snapshots: days(30),
        disk_free_bytes_min: 0,
    }
}

/// A request with token and host, both replaced by what `headers` says.
fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in [("host", HOST), ("authorization", &format!("Bearer {SECRET}"))] {
        if !headers.iter().any(|(given, _)| *given == name) {
            builder = builder.header(name, value);
        }
    }
    for (name, value) in headers.iter().filter(|(_, value)| *value != "-") {
        builder = builder.header(*name, *value);
    }
    builder.body(body).unwrap()
}
