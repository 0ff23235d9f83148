//! A disk that is full from any one write on: callers hear it, nothing that was accepted is lost, and everything goes on
//! when there is room again.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use offshoot::app::{self, App};
use offshoot::clock::Clock;
use offshoot::domain::id::JobNumber;
use offshoot::domain::job::{Effects, JobView, Status};
use offshoot::domain::options::RunOptions;
use offshoot::git::{Git, GitSettings, RepositoryLocks};
use offshoot::http::{AppState, Settings, router};
use offshoot::store::{BackupKind, Limits, Store, StoreError, backup};
use offshoot::webhook::Policy;
use offshoot::worker::Remotes;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::bad_disk::{Disk, quick_dir};
use crate::store_fixture::{Bench, NOW_MS, callback, done, job};

const LIMITS: Limits =
    Limits { running_max: 2, running_per_client_max: None, queued_max: 1_000, disk_free_bytes_min: 0 };
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A server without a socket whose database lies on a disk of ours.
struct Door {
    disk: Arc<Disk>,
    store: Store,
    router: Router,
    dir: tempfile::TempDir,
}

impl Door {
    async fn new(git: &Git) -> Self {
        let (disk, dir, clock) = (Disk::new(), quick_dir(), Clock::manual(NOW_MS, 9));
        let store = Store::open_through(Some(&disk.name), dir.path(), clock.clone(), LIMITS).unwrap();
        let settings = app::Settings {
            defaults: RunOptions::default(),
            agents: [("claude".to_owned(), offshoot::domain::agent_kind::AgentKind::Claude)].into(),
            profiles: [].into(),
            secrets: [].into(),
            allowed_orgs: Vec::new(),
            protected_branches: Vec::new(),
            opens_pull_requests: true,
            callbacks: Policy::default(),
            signing: None,
            data_dir: dir.path().to_owned(),
            repos_dir: dir.path().join("repos"),
            run_dir: dir.path().join("run"),
            disk_free_bytes_min: 0,
            max_concurrent_jobs: 2,
            sandbox: Arc::default(),
            always_sandboxed: false,
            targets: offshoot::notify::Targets::default(),
        };
        let (_, probes) = watch::channel(Vec::new());
        let remotes = Remotes::new(
            "/nowhere/{org}/{repo}".to_owned(),
            &"https://api.github.com".parse().unwrap(),
            None,
        );
        let locks = RepositoryLocks::default();
        let app = App::new(store.clone(), settings, git.clone(), locks, remotes, clock.clone(), probes);
        let address = "127.0.0.1:3456".parse().unwrap();
        let doors = Settings {
            secret: SecretString::from(SECRET),
            address,
            allowed_hosts: Vec::new(),
            token_requests_per_minute: 600,
        };
        Self { disk, store, router: router(AppState::new(app, clock, &doors)), dir }
    }

    async fn call(&self, method: &str, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:3456")
            .header("authorization", format!("Bearer {SECRET}"))
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    /// Every job's number by its branch, as the API lists them.
    async fn jobs(&self) -> Vec<(String, i64)> {
        let (status, body) = self.call("GET", "/jobs?limit=200", "-", &Value::Null).await;
        assert_eq!(status, 200, "{body}");
        let jobs = body["jobs"].as_array().unwrap().iter();
        jobs.map(|job| (job["branchName"].as_str().unwrap().to_owned(), job["number"].as_i64().unwrap()))
            .collect()
    }
}

async fn git() -> Git {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())].into();
    Git::probe(GitSettings::new(environment, dir.path().join("scratch")), Clock::manual(NOW_MS, 9))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_full_disk_at_any_write_answers_507_and_loses_no_job() {
    let git = git().await;
    let mut refusals = 0;
    for nth in 0.. {
        let door = Door::new(&git).await;
        let client = Bench::client_of(&door.store, "widgets").await;
        door.disk.fill_at(nth);
        let mut accepted = Vec::new();
        let mut refused = Vec::new();
        let submit = async |n: usize| {
            let prompt = format!("job {n} ").repeat(4_000);
            let body =
                json!({"clientId": client.id.as_str(), "prompt": prompt, "branchName": format!("b/{n}")});
            door.call("POST", "/jobs", &format!("key-{n}"), &body).await
        };
        for n in 0..6 {
            match submit(n).await {
                (201, job) => accepted.push((format!("b/{n}"), job["number"].as_i64().unwrap())),
                (507, problem) => {
                    assert_eq!((&problem["code"], &problem["status"]), (&json!("disk_full"), &json!(507)));
                    refused.push(n);
                }
                (status, body) => panic!("write {nth}: {status} {body}"),
            }
        }
        // questions are answered all the while, and the answer is the truth
        accepted.sort();
        let mut listed = door.jobs().await;
        listed.sort();
        assert_eq!(listed, accepted, "write {nth}");
        assert!(!*door.store.failure().borrow(), "write {nth}: a full disk is no reason to stop");
        let was_full = door.disk.has_been_full();
        door.disk.free();
        for n in refused.iter().copied() {
            assert_eq!(submit(n).await.0, 201, "write {nth}: job {n} after there is room again");
        }
        for n in 0..6 {
            assert_eq!(submit(n).await.0, 201, "write {nth}: a repeat of what was accepted");
        }
        assert_eq!(door.jobs().await.len(), 6, "write {nth}: each once");
        refusals += refused.len();
        let dir = door.dir.path().to_owned();
        reopened_is_whole(&door, &dir, 6).await;
        if !was_full {
            assert!(nth > 30, "{nth} write points");
            println!("{nth} write points, {refusals} refusals");
            return;
        }
    }
}

async fn reopened_is_whole(door: &Door, dir: &std::path::Path, jobs: u64) {
    let clock = Clock::manual(NOW_MS, 10);
    let store = Store::open_through(Some(&door.disk.name), dir, clock, LIMITS).unwrap();
    assert_eq!(store.accounts().await.unwrap().queued, jobs);
}

/// One attempt from the claim to the end, each step repeated until the disk has room for it.
async fn attempt(door: &Door, nth: u64) -> JobView {
    /// Does it again once there is room, and then it must work.
    macro_rules! write {
        ($what:expr) => {
            match $what.await {
                Err(StoreError::DiskFull) => {
                    assert!(!*door.store.failure().borrow());
                    door.disk.free();
                    $what.await.unwrap_or_else(|error| panic!("write {nth}: {error}"))
                }
                other => other.unwrap_or_else(|error| panic!("write {nth}: {error}")),
            }
        };
    }
    let store = &door.store;
    let claimed = write!(store.claim());
    let lease = claimed.expect("the one job may start").lease;
    write!(store.record_options(lease, &RunOptions::default(), "none", false));
    write!(store.begin_step(lease, "agent-1"));
    write!(store.record_shim(lease, "agent-1", "{}".to_owned(), 4_711));
    write!(store.add_system_message(lease, "worktree ready"));
    let effects = Effects { head_sha: Some("c0ffee".to_owned()), ..Effects::default() };
    write!(store.record_effects(lease, effects.clone()));
    write!(store.record_usage(lease, "agent-1", None, offshoot::domain::job::Usage::default()));
    write!(store.finish(lease, done(), |_| Some(callback("one", "https://example.org/hook"))))
}

#[tokio::test]
async fn an_attempt_goes_on_where_the_disk_was_full() {
    let git = git().await;
    for nth in 0.. {
        let door = Door::new(&git).await;
        let client = Bench::client_of(&door.store, "widgets").await;
        let mut new = job(&client.id, "b");
        new.request.callback_url = Some("https://example.org/hook".to_owned());
        door.store.submit_job(new, None, |_| None).await.unwrap();
        door.disk.fill_at(nth);
        let view = attempt(&door, nth).await;
        let was_full = door.disk.has_been_full();
        door.disk.free();
        assert_eq!((view.job.status, view.job.attempt), (Status::Completed, 1), "write {nth}");
        assert_eq!(view.job.effects.head_sha.as_deref(), Some("c0ffee"));
        assert_eq!(door.store.list_attempts(JobNumber(1)).await.unwrap().len(), 1, "write {nth}");
        assert_eq!(door.store.list_deliveries(JobNumber(1)).await.unwrap().len(), 1, "write {nth}");
        reopened_is_whole(&door, door.dir.path(), 0).await;
        if !was_full {
            assert!(nth > 30, "{nth} write points");
            println!("{nth} write points");
            return;
        }
    }
}

/// The index of the log lies on the disk too. It gets a further piece when the log is some 4,000 pages long, which takes
/// a reader that lets nobody begin it anew.
#[tokio::test]
async fn no_room_for_the_index_of_the_log_is_a_full_disk() {
    let (disk, dir) = (Disk::new(), quick_dir());
    let store = Store::open_through(Some(&disk.name), dir.path(), Clock::manual(NOW_MS, 9), LIMITS).unwrap();
    let client = Bench::client_of(&store, "widgets").await;
    let name = format!("file://{}?vfs={}", dir.path().join("offshoot.db").display(), disk.name);
    let reader = rusqlite::Connection::open(name).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM jobs;").unwrap();
    disk.keep_index_small(true);
    let submit = async |n: i64| {
        let mut new = job(&client.id, &format!("b/{n}"));
        new.request.prompt = "x".repeat(180_000);
        store.submit_job(new, None, |_| None).await
    };
    let mut accepted = 0;
    let refused = loop {
        match submit(accepted).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 400, "the index never grew");
    };
    assert!(matches!(refused, StoreError::DiskFull), "after {accepted}: {refused}");
    assert!(!*store.failure().borrow(), "a full disk is no reason to stop");
    assert_eq!(i64::try_from(store.accounts().await.unwrap().queued).unwrap(), accepted);
    disk.keep_index_small(false);
    submit(accepted).await.unwrap();
    assert!(accepted > 50, "{accepted}");
}

/// A start that has no room for its own rows fails, and leaves everything for the next one.
#[tokio::test]
async fn a_start_on_a_full_disk_fails_and_can_be_repeated() {
    let git = git().await;
    for nth in 0.. {
        let door = Door::new(&git).await;
        let client = Bench::client_of(&door.store, "widgets").await;
        door.store.submit_job(job(&client.id, "b"), None, |_| None).await.unwrap();
        door.disk.fill_at(nth);
        let again =
            || Store::open_through(Some(&door.disk.name), door.dir.path(), Clock::manual(NOW_MS, 10), LIMITS);
        match again() {
            Ok(_) => {
                assert!(nth > 2, "{nth} write points");
                return;
            }
            Err(error) => assert!(matches!(error, StoreError::DiskFull), "write {nth}: {error}"),
        }
        door.disk.free();
        assert_eq!(again().unwrap().accounts().await.unwrap().queued, 1);
    }
}

/// A backup that finds no room leaves nothing under a backup's name, and harms nothing.
#[tokio::test]
async fn a_backup_on_a_full_disk_leaves_nothing_behind() {
    let git = git().await;
    let door = Door::new(&git).await;
    let client = Bench::client_of(&door.store, "widgets").await;
    for n in 0..20 {
        let mut new = job(&client.id, &format!("b/{n}"));
        new.request.prompt = "x".repeat(20_000);
        door.store.submit_job(new, None, |_| None).await.unwrap();
    }
    let files = || std::fs::read_dir(backup::dir(door.dir.path())).map_or(0, Iterator::count);
    let mut failures = 0;
    for nth in (0..).step_by(7) {
        door.disk.fill_at(nth);
        let (status, body) = door.call("POST", "/backups", &format!("backup-{nth}"), &json!({})).await;
        door.disk.free();
        if status == StatusCode::CREATED.as_u16() {
            assert_eq!(files(), 1);
            break;
        }
        assert_eq!((status, &body["code"]), (507, &json!("disk_full")), "write {nth}");
        assert_eq!(files(), 0, "write {nth}");
        failures += 1;
    }
    assert!(failures > 5, "{failures}");
    // a floor that a backup would go below
    let floor = Limits { disk_free_bytes_min: u64::MAX / 2, ..LIMITS };
    let store =
        Store::open_through(Some(&door.disk.name), door.dir.path(), Clock::manual(NOW_MS + 1, 11), floor)
            .unwrap();
    assert!(matches!(store.back_up(BackupKind::Manual, None).await, Err(StoreError::DiskFull)));
    assert_eq!(files(), 1);
}
