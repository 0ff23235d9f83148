//! Clients that are registered and deleted again with their clone, and what is left of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::caller::{ANSWERED_MAX, Answered, Caller};
use crate::evidence::{Accepted, Removed};
use crate::git_fixture::{command, litter};
use crate::jobs::Kind;
use crate::stand::Stand;

/// With which an agent dies by itself, half done.
const OWN_END: i64 = 7;

/// What is there when a client is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// A branch on the remote.
    Published,
    /// A commit that nobody has published.
    Unpublished,
    /// A worktree that is kept, with files that are nowhere else.
    Kept,
    /// A job that runs.
    Busy,
}

impl Until {
    pub(crate) const ALL: [Self; 4] = [Self::Published, Self::Unpublished, Self::Kept, Self::Busy];

    const fn kind(self) -> Kind {
        match self {
            Self::Published => Kind::Edit,
            Self::Unpublished => Kind::DryRun,
            Self::Kept => Kind::KeptCrash,
            Self::Busy => Kind::Hang,
        }
    }
}

impl Caller {
    /// Has looked at a clone that was tampered with.
    pub(crate) async fn lift_tampering(&self, job: &Accepted) {
        let until = Instant::now() + ANSWERED_MAX;
        loop {
            let seen = self.job(&job.id).await;
            let is_live = matches!(seen["status"].as_str(), Some("queued" | "running") | None);
            // servers that died over it again and again end its attempt, and the next one waits for a person
            if !is_live || seen["waiting"]["for"] == "paused" {
                self.pause_client(&seen, false).await;
            }
            if !is_live || Instant::now() >= until {
                return;
            }
            self.pause(250).await;
        }
    }

    /// The client of this job starts nothing, or starts again.
    pub(crate) async fn pause_client(&self, job: &Value, paused: bool) {
        let path = format!("/clients/{}", job["clientId"].as_str().unwrap_or_default());
        let answered = self.ask("PATCH", &path, Some(&json!({"paused": paused})), None).await;
        if answered.status != 200 {
            self.complain(format!("PATCH {path}: {} {}", answered.status, answered.body));
        }
    }

    pub(crate) async fn client_of_an_hour(&self, until: Until) {
        let repo = self.new_repository();
        let body = client_body(&repo);
        let Some(client) = self.post("/clients", body, &format!("client-{repo}"), 201).await else { return };
        let id = client["id"].as_str().unwrap_or_default().to_owned();
        let path = format!("/clients/{id}");
        let patched = self.ask("PATCH", &path, Some(&json!({"name": "another name"})), None).await;
        if patched.status != 200 {
            self.complain(format!("PATCH {path}: {} {}", patched.status, patched.body));
        }
        let Some(job) = self.send(until.kind(), &repo, true).await else { return };
        let forced = match until {
            Until::Published | Until::Unpublished | Until::Kept => {
                let over = self.wait_until_over(&job.id).await;
                // one whose agent was killed too often leaves what nobody has published
                over["outcome"] != "branch_pushed"
            }
            Until::Busy => {
                self.wait_until_it_runs(&job).await;
                self.note(&job.id, |job| job.cancelled = true);
                true
            }
        };
        if forced {
            self.is_refused(&path, &job).await;
        }
        let removal = |force: bool| format!("{path}?removeRepo=true&force={force}");
        let mut deleted = self.ask("DELETE", &removal(forced), None, None).await;
        if !forced && is_of_another_attempt(&deleted, &self.job(&job.id).await) {
            deleted = self.ask("DELETE", &removal(true), None, None).await;
        }
        // 404: it was deleted, and the answer was lost
        if !matches!(deleted.status, 200 | 404) {
            return self
                .complain(format!("DELETE {path}, by force {forced}: {} {}", deleted.status, deleted.body));
        }
        self.write_down_removal(Removed { id, repo, with_clone: true, forced, ..Removed::default() });
    }

    /// Without force neither live jobs are ended nor the only copy of somebody's work is deleted.
    async fn is_refused(&self, path: &str, job: &Accepted) {
        let answered = self.ask("DELETE", &format!("{path}?removeRepo=true"), None, None).await;
        let told = self.job(&job.id).await;
        let attempts = told["attempts"].as_array().cloned().unwrap_or_default();
        let left_files = job.kind.leaves_files() && attempts.iter().any(|one| one["exitCode"] == OWN_END);
        let nothing_to_lose = job.kind == Kind::Hang || (told["headSha"].is_null() && !left_files);
        match (answered.status, answered.body["code"].as_str()) {
            (409, Some("client_busy" | "unpublished_work")) => {}
            // it has ended by itself, and has left nothing
            (200 | 404, _) if nothing_to_lose => {}
            _ => self.complain(format!("DELETE {path}: {} {}", answered.status, answered.body)),
        }
    }

    /// Known from a job that could not start yet, then registered.
    pub(crate) async fn known_client(&self) {
        let repo = self.new_repository();
        self.post_plain("/queue/pause").await;
        self.send(Kind::Edit, &repo, true).await;
        let body = client_body(&repo);
        let key = format!("client-{repo}");
        let answered = self.ask("POST", "/clients", Some(&body), Some(&key)).await;
        // somebody else has let the queue go on, and the job has cloned
        if answered.status != 201 && answered.body["code"] != "duplicate_client" {
            self.complain(format!("POST /clients ({key}): {} {}", answered.status, answered.body));
        }
        self.post_plain("/queue/resume").await;
    }

    /// Made, changed and deleted; what was answered stays done.
    pub(crate) async fn profile_of_an_hour(&self) {
        let name = format!("p{}", self.sent.fetch_add(1, Ordering::Relaxed));
        let body = json!({"name": name, "prompt": "{{prompt}}", "options": {"draft": true}});
        let Some(made) = self.post("/profiles", body, &format!("profile-{name}"), 201).await else { return };
        let path = format!("/profiles/{name}");
        let change = json!({"prompt": null, "submit": true});
        let changed = self.ask("PATCH", &path, Some(&change), None).await;
        let told = (&changed.body["prompt"], &changed.body["submit"], &changed.body["options"]["draft"]);
        if changed.status != 200 || told != (&Value::Null, &json!(true), &made["options"]["draft"]) {
            self.complain(format!("PATCH {path}: {} {}", changed.status, changed.body));
        }
        let deleted = self.ask("DELETE", &path, None, None).await;
        // 404: it was deleted, and the answer was lost
        if !matches!(deleted.status, 200 | 404) {
            self.complain(format!("DELETE {path}: {} {}", deleted.status, deleted.body));
        }
        let gone = self.ask("GET", &path, None, None).await;
        if gone.status != 404 {
            self.complain(format!("GET {path}: {} {}", gone.status, gone.body));
        }
    }

    /// Made, used and revoked: what was answered as revoked opens nothing, whatever becomes of the server.
    pub(crate) async fn token_of_an_hour(&self) {
        let name = format!("t{}", self.sent.fetch_add(1, Ordering::Relaxed));
        let body = json!({"name": name, "scope": "read"});
        let Some(made) = self.post("/tokens", body, &format!("token-{name}"), 201).await else { return };
        let path = format!("/tokens/{}", made["id"].as_str().unwrap_or_default());
        // `null`: the answer that showed it was lost
        let token = made["token"].as_str();
        for (expected, revoked) in [(200, false), (401, true)] {
            if revoked {
                let answered = self.ask("DELETE", &path, None, None).await;
                if answered.status != 200 || answered.body["revokedAt"].is_null() {
                    self.complain(format!("DELETE {path}: {} {}", answered.status, answered.body));
                }
            }
            let Some(token) = token else { continue };
            if !revoked {
                let refused = self.ask_with(token, "POST", "/queue/pause", None, None).await;
                if refused.status != 403 {
                    self.complain(format!(
                        "POST /queue/pause with {path}: {} {}",
                        refused.status, refused.body
                    ));
                }
            }
            let answered = self.ask_with(token, "GET", "/queue", None, None).await;
            if answered.status != expected {
                self.complain(format!("GET /queue with {path}: {} {}", answered.status, answered.body));
            }
        }
    }

    pub(crate) async fn idle_clone(&self) {
        let repo = self.new_repository();
        self.post("/clients", client_body(&repo), &format!("client-{repo}"), 201).await;
        litter(&self.stand.path("repos").join(format!("{repo}.git")));
        self.post_plain("/gc").await;
    }

    /// Registered, damaged as by a power cut, and mended by its first job.
    pub(crate) async fn damaged_clone(&self) {
        let repo = self.new_repository();
        self.post("/clients", client_body(&repo), &format!("client-{repo}"), 201).await;
        let head = self.stand.path("repos").join(format!("{repo}.git/HEAD"));
        if let Err(error) = std::fs::write(head, "") {
            self.complain(format!("{repo} has no clone: {error}"));
        }
        let Some(job) = self.send(Kind::Edit, &repo, true).await else { return };
        self.wait_until_over(&job.id).await;
    }

    /// What is left of the clients that were deleted: asked of the API, and looked for on disk.
    pub(crate) async fn removed(&self) -> Vec<Removed> {
        let mut all = self.removals();
        let living = self.ask("GET", "/clients", None, None).await.body;
        let living = living["clients"].as_array().cloned().unwrap_or_default();
        for client in &mut all {
            let Answered { body, .. } = self.ask("GET", &format!("/clients/{}", client.id), None, None).await;
            client.deleted_at = body["deletedAt"].as_str().and_then(|at| at.parse().ok());
            let of_repo = living.iter().filter(|one| client_body(&client.repo)["name"] == full_name(one));
            client.heirs = of_repo.filter_map(|one| one["id"].as_str()).map(str::to_owned).collect();
            let clone = self.stand.path(&format!("repos/{}.git", client.repo));
            client.clone_is_there = clone.exists();
            let own = format!("{}-", client.id);
            let bundles = bundles(&self.stand).into_iter().filter(|path| file_name(path).starts_with(&own));
            for bundle in bundles {
                let dir = tempfile::tempdir().unwrap();
                if unpack(&bundle, dir.path()) {
                    client.add_kept(dir.path());
                }
            }
            if client.clone_is_there {
                client.add_kept(&clone);
            }
        }
        all
    }
}

impl Removed {
    /// What refs of this repository name.
    fn add_kept(&mut self, repository: &Path) {
        let lines = |args: &[&str]| {
            let output = command(repository, args).output().unwrap();
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        for commit in lines(&["for-each-ref", "--format=%(objectname)"]) {
            self.kept_files.extend(lines(&["ls-tree", "-r", "--name-only", &commit]));
        }
        self.kept.extend(lines(&["rev-list", "--all"]));
    }
}

fn full_name(client: &Value) -> String {
    let part = |name: &str| client[name].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", part("githubOrg"), part("githubRepo"))
}

/// What was published has no part in what an attempt before it had left when its agent was killed.
fn is_of_another_attempt(refused: &Answered, job: &Value) -> bool {
    let attempts = job["attempts"].as_array().map_or(0, Vec::len);
    refused.body["code"] == "unpublished_work" && attempts > 1
}

pub(crate) fn client_body(repo: &str) -> Value {
    let (org, name) = repo.split_once('/').unwrap();
    json!({"name": repo, "githubOrg": org, "githubRepo": name})
}

fn bundles(stand: &Stand) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(stand.path("data/bundles")) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

/// Bundles that were never finished.
pub(crate) fn half_bundles(stand: &Stand) -> Vec<String> {
    let halves = bundles(stand).into_iter().filter(|path| path.extension().is_none_or(|end| end != "bundle"));
    halves.map(|path| path.display().to_string()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What somebody gets out of a bundle who has nothing else; false when it is not whole.
fn unpack(bundle: &Path, dir: &Path) -> bool {
    let git = |args: &[&str]| command(dir, args).output().unwrap();
    git(&["init", "-q", "--bare", "."]);
    let fetched = git(&["fetch", "-q", &bundle.display().to_string(), "+refs/*:refs/kept/*"]);
    let checked = git(&["fsck", "--strict"]);
    fetched.status.success() && checked.status.success()
}
