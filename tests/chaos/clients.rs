//! Clients that are registered and deleted again with their clone, and what is left of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::caller::{Answered, Caller};
use crate::evidence::{Accepted, Removed};
use crate::git_fixture::{command, litter};
use crate::jobs::Kind;
use crate::stand::Stand;

/// What is there when a client is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// A branch on the remote.
    Published,
    /// A commit that nobody has published.
    Unpublished,
    /// A job that runs.
    Busy,
}

impl Until {
    pub(crate) const ALL: [Self; 3] = [Self::Published, Self::Unpublished, Self::Busy];

    const fn kind(self) -> Kind {
        match self {
            Self::Published => Kind::Edit,
            Self::Unpublished => Kind::DryRun,
            Self::Busy => Kind::Hang,
        }
    }
}

impl Caller {
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
            Until::Published | Until::Unpublished => {
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
        let query = if forced { "?force=true&removeRepo=true" } else { "?removeRepo=true" };
        let deleted = self.ask("DELETE", &format!("{path}{query}"), None, None).await;
        // 404: it was deleted, and the answer was lost
        if !matches!(deleted.status, 200 | 404) {
            return self.complain(format!("DELETE {path}{query}: {} {}", deleted.status, deleted.body));
        }
        self.write_down_removal(Removed { id, repo, ..Removed::default() });
    }

    /// Without force neither live jobs are ended nor the only copy of somebody's work is deleted.
    async fn is_refused(&self, path: &str, job: &Accepted) {
        let answered = self.ask("DELETE", &format!("{path}?removeRepo=true"), None, None).await;
        let told = self.job(&job.id).await;
        let nothing_to_lose = job.kind == Kind::Hang || told["headSha"].is_null();
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
        self.post("/clients", client_body(&repo), &format!("client-{repo}"), 201).await;
        self.post_plain("/queue/resume").await;
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
        for client in &mut all {
            let Answered { body, .. } = self.ask("GET", &format!("/clients/{}", client.id), None, None).await;
            client.is_deleted = body["deletedAt"].is_string();
            client.clone_is_there = self.stand.path(&format!("repos/{}.git", client.repo)).exists();
            let own = format!("{}-", client.id);
            let bundles = bundles(&self.stand).into_iter().filter(|path| file_name(path).starts_with(&own));
            client.kept = bundles.flat_map(|bundle| commits_of(&bundle)).collect();
        }
        all
    }
}

fn client_body(repo: &str) -> Value {
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

/// What somebody gets out of a bundle who has nothing else: its commits, when it is whole.
fn commits_of(bundle: &Path) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| command(dir.path(), args).output().unwrap();
    git(&["init", "-q", "--bare", "."]);
    let fetched = git(&["fetch", "-q", &bundle.display().to_string(), "+refs/*:refs/kept/*"]);
    let checked = git(&["fsck", "--strict"]);
    if !fetched.status.success() || !checked.status.success() {
        return BTreeSet::new();
    }
    let listed = git(&["for-each-ref", "--format=%(objectname)"]);
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}
