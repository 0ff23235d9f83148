//! What is there at the end of a world, asked from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::caller::Caller;
use crate::clients::half_bundles;
use crate::evidence::Evidence;
use crate::git_fixture::command;
use crate::jobs::{Hook, Kind};
use crate::old::old_events;
use crate::stand::audit::files_below;
use crate::stand::{Running, Stand, poll};
use crate::watch::look;
use crate::world::secrets;

/// Waits for the end of all work, ends the server in order, and looks at everything.
pub(crate) async fn gather(
    stand: &Stand,
    caller: &Caller,
    mut server: Running,
    over_max: Duration,
) -> Evidence {
    let mut evidence = Evidence::default();
    let over = poll(over_max, async || {
        let health = caller.ask("GET", "/health", None, None).await.body;
        let is_over = health["queue"]["running"] == 0
            && health["queue"]["queued"] == 0
            && health["callbacks"]["pending"] == 0;
        is_over.then_some(())
    });
    if over.await.is_none() {
        let health = caller.ask("GET", "/health", None, None).await.body;
        evidence.unfinished.push(format!("not over: {health}"));
    }
    let quiet = poll(Duration::from_secs(20), async || foreign(stand).is_empty().then_some(()));
    quiet.await;
    evidence.processes = foreign(stand).into_iter().map(|one| format!("while nothing runs: {one}")).collect();
    caller.post_plain("/gc").await;
    evidence.listed = list(caller).await;
    evidence.accepted = caller.accepted();
    evidence.removed = caller.removed().await;
    evidence.dead = dead(caller).await;
    for job in &evidence.accepted {
        let told = caller.ask("GET", &format!("/jobs/{}", job.id), None, None).await;
        let told = match (told.status, &job.over) {
            (200, _) => told.body,
            (404, Some(over)) => {
                evidence.forgotten.insert(job.id.clone());
                over.clone()
            }
            _ => Value::Null,
        };
        evidence.told.insert(job.id.clone(), told);
        if job.hook == Hook::Broken || job.kind == Kind::InVain {
            let path = format!("/jobs/{}/deliveries", job.id);
            evidence.deliveries.insert(job.id.clone(), caller.ask("GET", &path, None, None).await.body);
        }
    }
    if server.try_ended().is_none() {
        server.signal(Signal::SIGTERM);
        let ended = poll(Duration::from_secs(20), async || server.try_ended()).await;
        if ended.and_then(|status| status.code()) != Some(0) {
            evidence.complaints.push(format!("the last server ended with {ended:?}"));
        }
    } else {
        evidence.complaints.push("the last server ended by itself".to_owned());
    }
    let after = look(stand.dir(), &[]).into_iter();
    evidence.processes.extend(after.map(|seen| format!("after the server's end: {}", seen.shown())));
    outside(stand, &mut evidence);
    evidence
}

/// Whether nothing of an earlier life is left: no trash and half clone, no worktree without a live job, no process of
/// a step whose job does not run.
pub(crate) async fn is_settled(stand: &Stand, caller: &Caller) -> bool {
    let live = caller.ask("GET", "/jobs?status=queued,running&limit=200", None, None).await.body;
    let live: Vec<&Value> = live["jobs"].as_array().map(|jobs| jobs.iter().collect()).unwrap_or_default();
    let roots: BTreeSet<&str> = live.iter().filter_map(|job| job["rootJobId"].as_str()).collect();
    let running: BTreeSet<i64> = live
        .iter()
        .filter(|job| job["status"] == "running")
        .filter_map(|job| job["number"].as_i64())
        .collect();
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kept = caller.accepted().into_iter().filter(|job| job.keeps && job.age.is_none());
    let kept: BTreeSet<String> = kept.map(|job| job.root).collect();
    let worktrees_belong = stand
        .worktrees()
        .iter()
        .all(|path| roots.contains(name(path).as_str()) || kept.contains(&name(path)));
    let steps = look(stand.dir(), &[]).into_iter().filter_map(|seen| seen.marker);
    let steps_belong =
        steps.filter_map(|step| Evidence::marker(&step)).all(|(job, _)| running.contains(&job));
    worktrees_belong && steps_belong && halves(stand).is_empty()
}

/// Living processes besides the server.
fn foreign(stand: &Stand) -> Vec<String> {
    let others = look(stand.dir(), &[]).into_iter().filter(|seen| !seen.is_server());
    others.map(|seen| seen.shown()).collect()
}

async fn list(caller: &Caller) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = caller.ask("GET", &format!("/jobs?limit=200&offset={}", ids.len()), None, None).await.body;
        let jobs = page["jobs"].as_array().cloned().unwrap_or_default();
        ids.extend(jobs.iter().filter_map(|job| job["id"].as_str()).map(str::to_owned));
        if jobs.is_empty() {
            return ids;
        }
    }
}

/// The jobs whose callback is listed as dead.
async fn dead(caller: &Caller) -> BTreeSet<String> {
    let mut jobs = BTreeSet::new();
    let mut after = String::new();
    loop {
        let page =
            caller.ask("GET", &format!("/deliveries?state=dead&limit=200{after}"), None, None).await.body;
        let listed = page["deliveries"].as_array().cloned().unwrap_or_default();
        jobs.extend(listed.iter().filter_map(|one| one["jobId"].as_str()).map(str::to_owned));
        match page["nextCursor"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => return jobs,
        }
    }
}

/// Forge, remotes, receiver, disk.
fn outside(stand: &Stand, evidence: &mut Evidence) {
    evidence.pulls = stand.github.pulls();
    evidence.callbacks = stand.receiver.all();
    evidence.unwanted = stand.receiver.unwanted();
    let runs = std::fs::read_to_string(stand.path("runs")).unwrap_or_default();
    evidence.runs = runs.lines().map(str::to_owned).collect();
    let commits = std::fs::read_to_string(stand.path("commits")).unwrap_or_default();
    let pair = |line: &str| line.split_once(' ').map(|(run, commit)| (run.to_owned(), commit.to_owned()));
    evidence.commits = commits.lines().filter_map(pair).collect();
    for (repo, path) in repositories(&stand.path("remotes")) {
        let refs =
            output(&path, &["for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads"]);
        for line in refs.lines() {
            let (branch, commit) = line.split_once(' ').unwrap();
            let others = branch.starts_with("taken/") && !branch.contains('-');
            if others || branch.starts_with("moved/") {
                evidence.foreign.insert((repo.clone(), branch.to_owned()));
            }
            evidence.tips.insert((repo.clone(), branch.to_owned()), commit.to_owned());
        }
        evidence.broken.extend(fault_of(&path));
    }
    for (_, path) in repositories(&stand.path("repos")) {
        evidence.broken.extend(fault_of(&path));
        for name in output(&path, &["for-each-ref", "--format=%(refname)", "refs/offshoot"]).lines() {
            let files = output(&path, &["ls-tree", "-r", "--name-only", name]);
            let commits = output(&path, &["rev-list", name, "--not", "--remotes"]);
            let job = name.split('/').nth(2).unwrap_or_default().to_owned();
            let kept = evidence.kept_commits.entry(job.clone()).or_default();
            kept.extend(commits.lines().map(str::to_owned));
            evidence.snapshots.entry(job).or_default().extend(files.lines().map(str::to_owned));
        }
    }
    evidence.leftovers = halves(stand).iter().map(|path| path.display().to_string()).collect();
    worktrees(stand, evidence);
    evidence.leftovers.extend(locks(stand));
    evidence.leftovers.extend(half_bundles(stand));
    let database = stand.path("data/offshoot.db");
    evidence.integrity = integrity(&database);
    evidence.old_events = old_events(&database, offshoot::clock::Clock::system().now_ms());
    let outputs = std::fs::read_dir(stand.path("data/attempts")).into_iter().flatten().filter_map(Result::ok);
    evidence.outputs = outputs.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    evidence.kept = kept(&stand.path("data/artifacts"));
    evidence.secrets = secrets_in(stand, evidence);
    evidence.complaints.extend(complaints(&stand.log_text()));
}

/// `<dir>/<job>/<attempt>/<place>`
fn kept(dir: &Path) -> BTreeMap<i64, Vec<(String, Vec<u8>)>> {
    let mut kept: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in files_below(dir) {
        let below = file.strip_prefix(dir).unwrap().display().to_string();
        let (job, rest) = below.split_once('/').unwrap();
        kept.entry(job.parse().unwrap()).or_default().push((rest.to_owned(), std::fs::read(&file).unwrap()));
    }
    kept
}

/// Worktrees with their files, the trash, and what clones know of others.
fn worktrees(stand: &Stand, evidence: &mut Evidence) {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for path in stand.worktrees() {
        if path.parent().is_some_and(|dir| dir.ends_with(".trash")) {
            evidence.leftovers.push(path.display().to_string());
            continue;
        }
        // somebody will look at it
        let status = command(&path, &["status", "--porcelain"]).output().unwrap();
        if !status.status.success() {
            let said = String::from_utf8_lossy(&status.stderr).into_owned();
            evidence.broken.push(format!("{}: {}", path.display(), said.trim()));
        }
        let files = std::fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok);
        let files = files.map(|file| name(&file.path())).collect();
        evidence.worktrees.insert(name(&path), files);
    }
    let known = registrations(stand).into_iter();
    let strays = known.filter(|path| !evidence.worktrees.contains_key(&name(path)));
    evidence.leftovers.extend(strays.map(|path| path.display().to_string()));
}

/// `<dir>/<org>/<repo>.git`
fn repositories(dir: &Path) -> Vec<(String, PathBuf)> {
    let children = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).map(|all| all.filter_map(Result::ok).collect::<Vec<_>>());
        entries.unwrap_or_default().into_iter().map(|entry| entry.path()).collect()
    };
    let repos = children(dir).into_iter().flat_map(|org| children(&org));
    let whole = repos.filter(|path| path.extension().is_some_and(|end| end == "git"));
    whole
        .map(|path| {
            let below = path.strip_prefix(dir).unwrap().display().to_string();
            (below.trim_end_matches(".git").to_owned(), path)
        })
        .collect()
}

fn output(dir: &Path, args: &[&str]) -> String {
    let output = command(dir, args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fault_of(repository: &Path) -> Option<String> {
    let checked = command(repository, &["fsck", "--strict", "--no-dangling"]).output().unwrap();
    let said =
        String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    (!checked.status.success()).then(|| format!("{}: {}", repository.display(), said.trim()))
}

/// Clones that were never finished, or not wholly deleted.
fn halves(stand: &Stand) -> Vec<PathBuf> {
    let Ok(orgs) = std::fs::read_dir(stand.path("repos")) else { return Vec::new() };
    let entries = orgs.filter_map(Result::ok).filter_map(|org| std::fs::read_dir(org.path()).ok());
    let paths = entries.flatten().filter_map(Result::ok).map(|entry| entry.path());
    paths.filter(|path| path.to_string_lossy().ends_with(".offshoot-half")).collect()
}

fn locks(stand: &Stand) -> Vec<String> {
    let all = files_below(&stand.path("repos")).into_iter();
    let locks = all.filter(|file| file.extension().is_some_and(|end| end == "lock"));
    locks.map(|file| file.display().to_string()).collect()
}

/// What clones know of worktrees.
fn registrations(stand: &Stand) -> Vec<PathBuf> {
    let places = ["worktrees", "offshoot"];
    let dirs = repositories(&stand.path("repos")).into_iter();
    let dirs = dirs.flat_map(|(_, clone)| places.map(|place| clone.join(place)));
    let entries = dirs.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).collect()
}

/// What SQLite says of its file, as a killed server left it; nothing is folded in.
pub(crate) fn integrity(file: &Path) -> String {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let said = rusqlite::Connection::open_with_flags(file, flags).and_then(|database| {
        database.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        database.query_row(
            "SELECT group_concat(integrity_check, '; ') FROM pragma_integrity_check",
            [],
            |row| row.get(0),
        )
    });
    said.unwrap_or_else(|error| error.to_string())
}

/// Where a secret is found: any file of the installation, of the remotes too, callbacks, pull requests.
fn secrets_in(stand: &Stand, evidence: &Evidence) -> Vec<String> {
    let secrets = secrets();
    let has =
        |bytes: &[u8]| secrets.iter().any(|secret| memchr::memmem::find(bytes, secret.as_bytes()).is_some());
    let files = files_below(stand.dir()).into_iter();
    let mut found: Vec<_> = files
        .filter(|file| std::fs::read(file).is_ok_and(|bytes| has(&bytes)))
        .map(|file| file.display().to_string())
        .collect();
    let callbacks = evidence.callbacks.iter().filter(|callback| has(&callback.bytes));
    found.extend(callbacks.map(|callback| format!("the callback {}", callback.id)));
    let pulls = evidence.pulls.iter().filter(|pull| has(format!("{pull:?}").as_bytes()));
    found.extend(pulls.map(|pull| format!("pull request {}", pull.number)));
    found
}

/// Lines of the log that should not be there.
fn complaints(log: &str) -> Vec<String> {
    let is_one = |line: &&str| {
        let parsed: Value = serde_json::from_str(line).unwrap_or(Value::Null);
        parsed["level"] == "ERROR" || line.contains("panicked at")
    };
    log.lines().filter(is_one).map(str::to_owned).collect()
}
