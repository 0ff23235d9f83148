//! A GitHub to inspect: repositories, pull requests, credentials and faults on order, over real HTTP on loopback.
//!
//! It knows the rules this project depends on: one open pull request per head and base, heads must be pushed, an
//! unqualified `head` filter is dropped, moved repositories redirect, archived ones refuse. Branch tips are set by
//! hand ([`FakeGithub::push`]) or read from a bare repository ([`FakeGithub::link_git`]).

#![allow(dead_code, reason = "a stand-in offers more than one test file uses")]

mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use world::{Call, FakeRepo, World, reply};

/// The personal access token that is accepted, with full rights.
pub(crate) const TOKEN: &str = "ghp_fakeFullRights";
/// Accepted for reading only.
pub(crate) const READ_ONLY_TOKEN: &str = "ghp_fakeReadOnly";
pub(crate) const APP_ID: u64 = 4711;
pub(crate) const INSTALLATION_ID: u64 = 42;

/// Stops when dropped.
pub(crate) struct FakeGithub {
    /// Base URL as on github.com, without a final slash; the same API is under `/api/v3`.
    pub(crate) api_url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

/// One pull request as the fake keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FakePull {
    pub(crate) repo: String,
    pub(crate) number: u64,
    pub(crate) head: String,
    pub(crate) base: String,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) draft: bool,
    pub(crate) open: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) reviewers: Vec<String>,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct FakeRequest {
    pub(crate) method: String,
    /// Without `/api/v3`, with the query.
    pub(crate) route: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) at: Instant,
    /// `None` while it is being answered, and for ever when the client went away first.
    pub(crate) answered_at: Option<Instant>,
}

/// What goes wrong for the next matching requests.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    method: Option<Method>,
    route_contains: String,
    body_contains: String,
    skip: usize,
    times: usize,
    effect: Effect,
}

#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// This answer instead of the work.
    Status(u16, Value, Vec<(&'static str, String)>),
    /// The work is done, then the connection is dropped.
    LostResponse,
    /// The connection is dropped before any work.
    Dropped,
    /// 403 with GitHub's secondary-limit text; `Some` adds `retry-after` in seconds.
    SecondaryLimit(Option<u64>),
    /// 403 with `x-ratelimit-remaining: 0` and this `x-ratelimit-reset` (Unix seconds).
    PrimaryLimit(i64),
    /// Never answers; no work is done.
    Hang,
    /// The work is done after this wait.
    Delay(Duration),
    /// The request waits for [`FakeGithub::release`] before its work is done.
    Held,
    /// The work is done and its answer is not JSON.
    Garbled,
}

struct Shared {
    state: Mutex<World>,
    changed: Notify,
    released: Semaphore,
}

impl Fault {
    /// Strikes the next request of any kind, once.
    pub(crate) fn new(effect: Effect) -> Self {
        Self {
            method: None,
            route_contains: String::new(),
            body_contains: String::new(),
            skip: 0,
            times: 1,
            effect,
        }
    }

    pub(crate) fn on(self, method: Method, route_contains: &str) -> Self {
        Self { method: Some(method), route_contains: route_contains.to_owned(), ..self }
    }

    /// Only requests whose JSON says this.
    pub(crate) fn about(self, body_contains: &str) -> Self {
        Self { body_contains: body_contains.to_owned(), ..self }
    }

    pub(crate) fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Lets so many matching requests pass first.
    pub(crate) fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }
}

impl FakeGithub {
    /// Starts with the repository `acme/widgets` (id 1001, branch `main`).
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api_url = format!("http://{}", listener.local_addr().unwrap());
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Notify::new(), released: Semaphore::new(0) });
        let app = Router::new().fallback(serve).with_state(shared.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        let fake = Self { api_url, shared, _serving: serving };
        fake.add_repository("acme/widgets");
        fake
    }

    /// A public repository with a `main` branch. Ids count from 1001.
    pub(crate) fn add_repository(&self, full_name: &str) -> u64 {
        let mut world = self.world();
        let id = 1001 + world.repos.len() as u64;
        world.repos.push(FakeRepo {
            id,
            full_name: full_name.to_owned(),
            old_names: Vec::new(),
            default_branch: "main".to_owned(),
            private: false,
            archived: false,
            no_drafts: false,
            tips: BTreeMap::from([("main".to_owned(), "a".repeat(40))]),
            git_dir: None,
        });
        id
    }

    pub(crate) fn archive(&self, full_name: &str) {
        self.with_repo(full_name, |repo| repo.archived = true);
    }

    pub(crate) fn unarchive(&self, full_name: &str) {
        self.with_repo(full_name, |repo| repo.archived = false);
    }

    pub(crate) fn make_private(&self, full_name: &str) {
        self.with_repo(full_name, |repo| repo.private = true);
    }

    pub(crate) fn forbid_drafts(&self, full_name: &str) {
        self.with_repo(full_name, |repo| repo.no_drafts = true);
    }

    pub(crate) fn rename(&self, full_name: &str, new_name: &str) {
        self.with_repo(full_name, |repo| {
            repo.old_names.push(std::mem::replace(&mut repo.full_name, new_name.to_owned()));
        });
    }

    /// Sets the tip of a branch, as a push does.
    pub(crate) fn push(&self, full_name: &str, branch: &str, commit: &str) {
        self.with_repo(full_name, |repo| {
            repo.tips.insert(branch.to_owned(), commit.to_owned());
        });
    }

    /// Takes branch tips from this bare repository from now on.
    pub(crate) fn link_git(&self, full_name: &str, git_dir: PathBuf) {
        self.with_repo(full_name, |repo| repo.git_dir = Some(git_dir));
    }

    /// Orders a fault; several are tried in the order they came.
    pub(crate) fn fault(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    /// From now on a second pull request of a head and base is opened like the first: who relies on being refused is
    /// found out.
    pub(crate) fn allow_twins(&self) {
        self.world().allows_twins = true;
    }

    pub(crate) fn clear_faults(&self) {
        self.world().faults.clear();
    }

    /// Lets one [`Effect::Held`] request go on.
    pub(crate) fn release(&self) {
        self.shared.released.add_permits(1);
    }

    /// Installation tokens are given for this long instead of an hour.
    pub(crate) fn set_token_lifetime(&self, lifetime: Duration) {
        self.world().token_lifetime = Some(lifetime);
    }

    /// Every installation token given so far stops working.
    pub(crate) fn revoke_installation_tokens(&self) {
        self.world().installation_tokens.clear();
    }

    /// All pull requests, oldest first.
    pub(crate) fn pulls(&self) -> Vec<FakePull> {
        self.world().pulls.clone()
    }

    pub(crate) fn close_pull(&self, full_name: &str, number: u64) {
        let mut world = self.world();
        let pull = world.pulls.iter_mut().find(|pull| pull.repo == full_name && pull.number == number);
        pull.expect("no such pull request").open = false;
    }

    /// All requests so far, in the order they came.
    pub(crate) fn requests(&self) -> Vec<FakeRequest> {
        self.world().requests.clone()
    }

    /// Those of one method whose route contains the text.
    pub(crate) fn requests_of(&self, method: &Method, route_contains: &str) -> Vec<FakeRequest> {
        let matching = |request: &FakeRequest| {
            request.method == method.as_str() && request.route.contains(route_contains)
        };
        self.requests().into_iter().filter(matching).collect()
    }

    /// Waits until `holds` of the requests seen so far.
    ///
    /// # Panics
    /// After 30 s.
    pub(crate) async fn wait_for(&self, holds: impl Fn(&[FakeRequest]) -> bool) {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                if holds(&self.requests()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the awaited request never came");
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.state.lock().unwrap()
    }

    fn with_repo(&self, full_name: &str, change: impl FnOnce(&mut FakeRepo)) {
        let mut world = self.world();
        change(world.repos.iter_mut().find(|repo| repo.full_name == full_name).expect("no such repository"));
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let route = parts.uri.path_and_query().map_or("/", |route| route.as_str());
    let route = route.strip_prefix("/api/v3").unwrap_or(route).to_owned();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let call = Call {
        method: parts.method.clone(),
        route: route.clone(),
        headers: parts.headers.clone(),
        body: body.clone(),
    };
    let (index, effect) = {
        let mut world = shared.state.lock().unwrap();
        world.requests.push(FakeRequest {
            method: parts.method.to_string(),
            route,
            headers: parts.headers,
            body,
            at,
            answered_at: None,
        });
        (world.requests.len() - 1, world.struck_by(&call))
    };
    shared.changed.notify_waiters();
    let response = act(&shared, &call, effect).await;
    shared.state.lock().unwrap().requests[index].answered_at = Some(Instant::now());
    shared.changed.notify_waiters();
    response
}

async fn act(shared: &Shared, call: &Call, effect: Option<Effect>) -> Response {
    let work = || shared.state.lock().unwrap().answer(call);
    match effect {
        None => work(),
        Some(Effect::Status(status, body, headers)) => {
            let mut response = reply(status, &body);
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Some(Effect::LostResponse) => {
            drop(work());
            hang_up()
        }
        Some(Effect::Dropped) => hang_up(),
        Some(Effect::SecondaryLimit(seconds)) => {
            let text =
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
            let mut response = reply(403, &json!({ "message": text }));
            if let Some(seconds) = seconds {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Some(Effect::PrimaryLimit(reset_s)) => {
            let mut response = reply(403, &json!({ "message": "API rate limit exceeded" }));
            response.headers_mut().insert("x-ratelimit-remaining", 0.into());
            response.headers_mut().insert("x-ratelimit-reset", reset_s.into());
            response
        }
        Some(Effect::Hang) => std::future::pending().await,
        Some(Effect::Delay(wait)) => {
            let elapsed = tokio::time::timeout(wait, std::future::pending::<()>()).await;
            elapsed.unwrap_err();
            work()
        }
        Some(Effect::Held) => {
            shared.released.acquire().await.unwrap().forget();
            work()
        }
        Some(Effect::Garbled) => {
            let status = work().status();
            Response::builder().status(status).body(Body::from("{\"number\": ")).unwrap()
        }
    }
}

/// Ends the connection without an answer: unwinding takes the connection's future with it, quietly.
fn hang_up() -> Response {
    std::panic::resume_unwind(Box::new("the fake hangs up"))
}
