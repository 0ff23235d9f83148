//! Real file systems that are full, failing or closed, below the real server. Full ones are small ones in memory, which
//! need the right to mount; without it these tests say that they were left out (see `left_out`).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use offshoot::config::{Config, Environment, Flags};
use offshoot::daemon::{Override, Server};
use serde_json::{Value, json};

use crate::bad_disk::Disk;
use crate::git_fixture::add_commit;
use crate::left_out::{Need, leave_out};
use crate::stand::{PATIENCE, Plan, SECRET, Stand, poll};

/// A file system in memory. Taken away when dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None`, with a word about it, where mounting is not allowed.
    fn small(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("mode=700,{options}"), "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        leave_out(Need::Mount, &format!("a small file system at {}", at.display()));
        None
    }

    fn free_bytes(&self) -> u64 {
        let at = nix::sys::statvfs::statvfs(&self.0).unwrap();
        at.blocks_available() * at.fragment_size()
    }

    /// Leaves about so much room.
    fn fill(&self, leave: u64) {
        let mut ballast =
            fs::OpenOptions::new().create(true).append(true).open(self.0.join("ballast")).unwrap();
        while self.free_bytes() > leave {
            let bytes = usize::try_from((self.free_bytes() - leave).clamp(1, 65_536)).unwrap();
            if ballast.write_all(&vec![1; bytes]).is_err() {
                break;
            }
        }
    }

    fn grow(&self, to: &str) {
        let size = format!("remount,size={to}");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
        if let Some(above) = self.0.parent() {
            let _ = fs::remove_dir(above);
        }
    }
}

#[tokio::test]
async fn a_full_data_directory_holds_jobs_refuses_new_ones_and_loses_none() {
    let mut stand = Stand::built(Plan { workers: 1, ..Plan::default() }).await;
    let Some(disk) = Mount::small(&stand.path("data"), "size=24m") else { return };
    stand.start().await;
    for text in ["lost", "could not", "cannot", "disk is full", "failed"] {
        stand.expect_error(text);
    }
    let first = stand.submit_prompt("first", "Greet").await;
    stand.completed(&first).await;

    // below the floor: accepted, and held until there is room
    disk.fill(600 << 10);
    let held = stand.submit_prompt("held", "Greet").await;
    let why = stand.wait_for(&held, "held", |job| job["waiting"]["for"] == "disk").await;
    assert_eq!(why["status"], "queued");
    let health = stand.get("/health").await;
    assert_eq!(health["status"], "degraded");
    assert!(health["disk"]["freeBytes"].as_u64() < health["disk"]["floorBytes"].as_u64(), "{health}");
    let (status, problem) = stand.call("POST", "/backups", Some(&json!({}))).await;
    assert_eq!((status, &problem["code"]), (507, &json!("disk_full")));
    disk.empty();
    stand.completed(&held).await;

    // full to the last byte while an agent runs and others are submitted
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; seq 1 2000; echo done > done.txt",
        stand.gate("g").display()
    );
    let running =
        stand.submit(json!({"prompt": script, "branchName": "running", "options": {"agent": "sh"}})).await;
    stand.wait_for_phase(&running, "agent").await;
    stand.wait_until("it runs", async || (!stand.step_processes().is_empty()).then_some(())).await;
    disk.fill(0);
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for n in 0..60 {
        let prompt = format!("Greet {n} ").repeat(3_000);
        let (status, body) =
            stand.try_submit(json!({"prompt": prompt, "branchName": format!("full/{n}")})).await;
        match status {
            201 => accepted.push(body["id"].as_str().unwrap().to_owned()),
            507 => {
                assert_eq!(body["code"], "disk_full");
                refused += 1;
            }
            other => panic!("{other}: {body}"),
        }
    }
    assert!(refused > 0, "it was full");
    stand.open_gate("g");
    let ended = async || stand.step_processes().is_empty().then_some(());
    stand.wait_until("the agent ends on the full disk", ended).await;
    disk.empty();
    let job = stand.wait_for(&running, "over", |job| job["completedAt"].is_string()).await;
    assert_eq!(job["status"], "completed", "{job:#}");
    assert_eq!(stand.git(&["show", "running:done.txt"]), "done");
    for id in &accepted {
        stand.completed(id).await;
    }
    assert_eq!(stand.get("/jobs?limit=1").await["total"], 3 + accepted.len());
    stand.finish().await;
}

#[tokio::test]
async fn a_full_disk_of_worktrees_or_of_clones_holds_jobs() {
    let mut stand = Stand::built(Plan::default()).await;
    let Some(trees) = Mount::small(&stand.path("worktrees"), "size=24m") else { return };
    let Some(clones) = Mount::small(&stand.path("repos"), "size=24m") else { return };
    stand.start().await;
    for (disk, name) in [(&trees, "trees"), (&clones, "clones")] {
        disk.fill(600 << 10);
        let held: Vec<_> = [1, 2, 3].map(|n| format!("{name}/{n}")).into();
        let mut ids = Vec::new();
        for branch in &held {
            ids.push(stand.submit_prompt(branch, "Greet").await);
        }
        for id in &ids {
            stand.wait_for(id, "held", |job| job["waiting"]["for"] == "disk").await;
        }
        let health = stand.get("/health").await;
        assert_eq!(health["status"], "degraded", "{name}");
        assert!(health["disk"]["freeBytes"].as_u64() < health["disk"]["floorBytes"].as_u64(), "{health}");
        disk.empty();
        for id in &ids {
            stand.completed(id).await;
        }
    }
    stand.finish().await;
}

/// Above the floor, and still too little.
#[tokio::test]
async fn a_job_waits_while_its_worktree_finds_no_room_and_a_registration_says_so() {
    let mut stand = Stand::built(Plan::default()).await;
    let Some(trees) = Mount::small(&stand.path("worktrees"), "size=2m") else { return };
    let Some(clones) = Mount::small(&stand.path("repos"), "size=48m") else { return };
    let noise: String =
        (0..300_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    stand.foreign_commit("main", "big.txt", &noise);
    stand.start().await;
    let id = stand.submit_prompt("tree", "Greet").await;
    let job = stand.wait_for(&id, "refused", |job| job["reason"]["code"] == "disk_full").await;
    assert_eq!((&job["status"], stand.runs()), (&json!("queued"), 0), "{job:#}");
    assert!(job["waiting"]["for"] == "backoff" || job["waiting"]["for"] == "disk", "{job:#}");
    stand.make_remote("acme/gadgets");
    clones.fill(0);
    let body = json!({"name": "g", "githubOrg": "acme", "githubRepo": "gadgets"});
    let (status, problem) = stand.call("POST", "/clients", Some(&body)).await;
    assert_eq!((status, &problem["code"]), (507, &json!("disk_full")), "{problem}");
    clones.empty();
    assert_eq!(stand.call("POST", "/clients", Some(&body)).await.0, 201);
    trees.grow("64m");
    let job = stand.completed(&id).await;
    assert_eq!((&job["reason"], stand.runs()), (&Value::Null, 1), "{job:#}");
    stand.finish().await;
}

/// The agent has been paid: its work waits for room, and nobody is asked to do it again.
#[tokio::test]
async fn a_commit_that_finds_no_room_is_made_when_there_is_some_and_the_agent_runs_once() {
    let mut stand = Stand::built(Plan::default()).await;
    let Some(clones) = Mount::small(&stand.path("repos"), "size=24m") else { return };
    stand.start().await;
    let (gate, runs) = (stand.gate("g"), stand.path("paid"));
    let script = format!(
        "echo run >> {}; while [ ! -e {} ]; do sleep 0.02; done; head -c 200000 /dev/urandom > done.bin",
        runs.display(),
        gate.display()
    );
    let id = stand.submit(json!({"prompt": script, "branchName": "paid", "options": {"agent": "sh"}})).await;
    stand.wait_until("it runs", async || runs.exists().then_some(())).await;
    clones.fill(0);
    stand.open_gate("g");
    let left = async || {
        let is_over = stand.job(&id).await["completedAt"].is_string();
        (is_over || stand.log_text().contains("the attempt was left without an end")).then_some(())
    };
    stand.wait_until("its commit finds no room", left).await;
    let job = stand.job(&id).await;
    assert_eq!((&job["status"], &job["phase"]), (&json!("running"), &json!("committing")), "{job:#}");
    clones.empty();
    let job = stand.completed(&id).await;
    assert_eq!(job["attempt"], 1, "{job:#}");
    assert_eq!(fs::read_to_string(&runs).unwrap(), "run\n");
    assert!(stand.git(&["ls-tree", "--name-only", "paid"]).contains("done.bin"));
    stand.finish().await;
}

#[tokio::test]
async fn kept_files_that_find_no_room_are_kept_when_there_is_some_and_the_agent_runs_once() {
    let mut stand = Stand::built(Plan::default()).await;
    let Some(kept) = Mount::small(&stand.path("data/artifacts"), "size=24m") else { return };
    stand.start().await;
    kept.fill(1 << 20);
    let runs = stand.path("paid");
    let script = format!("echo run >> {}; head -c 4000000 /dev/urandom > report.bin", runs.display());
    let options = json!({"agent": "sh", "artifacts": ["report.bin"]});
    let id = stand.submit(json!({"prompt": script, "branchName": "paid", "options": options})).await;
    let left = async || {
        let is_over = stand.job(&id).await["completedAt"].is_string();
        (is_over || stand.log_text().contains("the attempt was left without an end")).then_some(())
    };
    stand.wait_until("its file finds no room", left).await;
    let job = stand.job(&id).await;
    assert_eq!((&job["status"], &job["artifacts"]), (&json!("running"), &json!([])), "{job:#}");
    kept.empty();
    let job = stand.completed(&id).await;
    assert_eq!(job["artifacts"], json!([{"path": "report.bin", "bytes": 4_000_000}]), "{job:#}");
    assert_eq!((&job["attempt"], fs::read_to_string(&runs).unwrap()), (&json!(1), "run\n".to_owned()));
    stand.finish().await;
}

/// Nobody calls for it: the room that clearing up finds is enough for the job that waits.
#[tokio::test]
async fn a_disk_that_fills_up_is_cleared_and_the_job_that_waited_runs() {
    let mut stand = Stand::built(Plan::default()).await;
    let Some(disk) = Mount::small(&stand.path("data"), "size=48m") else { return };
    // clones on the same small disk
    fs::create_dir(stand.path("data/repos")).unwrap();
    std::os::unix::fs::symlink(stand.path("data/repos"), stand.path("repos")).unwrap();
    stand.start().await;
    let first = stand.submit_prompt("first", "Greet").await;
    stand.completed(&first).await;
    // a page each, and next to nothing once they are packed
    let files: Vec<_> = (0..2_000).map(|number| (format!("f{number}"), format!("text {number}"))).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    add_commit(&stand.clone_path(), "many", &files);
    disk.fill(700 << 10);
    let held = stand.submit_prompt("held", "Greet").await;
    stand.wait_for(&held, "held", |job| job["waiting"]["for"] == "disk").await;
    let packed = async || stand.log_text().contains("clone packed").then_some(());
    stand.wait_until("the janitor makes room", packed).await;
    assert!(stand.log_text().contains("the disk is filling up: clearing up"));
    stand.completed(&held).await;
    assert!(disk.free_bytes() > 4 << 20, "{}", disk.free_bytes());
    disk.empty();
    stand.finish().await;
}

/// What a service manager sees of directories that the server may not use.
#[tokio::test]
async fn a_closed_or_foreign_directory_ends_the_start_with_77() {
    let stand = Stand::built(Plan::default()).await;
    let refused = async |what: &str| {
        let mut server = stand.spawn_another(&[]);
        let code = server.wait_for_exit(PATIENCE).await;
        assert_eq!(code, Some(77), "{what}: {}", server.log());
        assert!(server.log().contains("paths.data_dir"), "{what}: {}", server.log());
    };
    if let Some(disk) = Mount::small(&stand.path("data"), "size=1m,ro") {
        refused("mounted read-only").await;
        drop(disk);
    }
    fs::create_dir_all(stand.path("data")).unwrap();
    if std::os::unix::fs::chown(stand.path("data"), Some(65_534), None).is_ok() {
        refused("somebody else's").await;
        std::os::unix::fs::chown(stand.path("data"), Some(0), None).unwrap();
    } else {
        leave_out(Need::Chown, "a start in a data directory of somebody else's");
    }
}

/// The process that the test below starts: the server, on a disk whose sync fails once.
#[tokio::test]
#[ignore = "a part of a_server_ends_at_a_failed_sync"]
async fn serve_on_a_bad_disk() {
    // what to do lies in the working directory; without it this was started by somebody else
    let Ok(order) = fs::read_to_string("fail-sync-at") else { return };
    let env = Environment::capture();
    let config = Config::load(&Flags { serving: true, ..Flags::default() }, &env, None).unwrap();
    let disk = Disk::new();
    let brought = Override { vfs: Some(disk.name.clone()), ..Override::default() };
    let server = Server::start(config, &env, brought).await.unwrap();
    disk.fail_sync_at(order.trim().parse().unwrap());
    fs::write("address", server.address().to_string()).unwrap();
    let ended = server.run_until_signalled(false).await;
    let is_success = format!("{ended:?}") == format!("{:?}", std::process::ExitCode::SUCCESS);
    #[expect(clippy::disallowed_methods, clippy::exit, reason = "this process stands for the server's")]
    std::process::exit(if is_success { 0 } else { 1 });
}

#[tokio::test]
async fn a_server_ends_at_a_failed_sync() {
    let mut stand = Stand::built(Plan::default()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut promised = Vec::new();
    for nth in ["3", "11"] {
        fs::write(stand.path("fail-sync-at"), nth).unwrap();
        let _ = fs::remove_file(stand.path("address"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage_real_disk::serve_on_a_bad_disk", "--ignored", "--nocapture"])
            .current_dir(stand.dir())
            .env_clear()
            .envs(stand.environment())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = async || fs::read_to_string(stand.path("address")).ok().filter(|text| !text.is_empty());
        let address = poll(PATIENCE, address).await.expect("it serves");
        let post = async |path: &str, body: Value| {
            let request = http.post(format!("http://{address}{path}")).bearer_auth(SECRET);
            let answer = request.json(&body).timeout(PATIENCE).send().await.ok()?;
            Some((answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default()))
        };
        post("/queue/pause", json!({})).await;
        for n in 0..200 {
            let body = json!({"prompt": "Greet", "branchName": format!("b/{nth}/{n}"), "githubOrg": "acme", "githubRepo": "widgets"});
            match post("/jobs", body).await {
                Some((201, job)) => promised.push(job["id"].as_str().unwrap().to_owned()),
                Some((503, problem)) => assert_eq!(problem["code"], "read_only"),
                Some((status, body)) => panic!("{status} {body}"),
                None => break,
            }
        }
        let ended = poll(Duration::from_secs(30), async || child.try_wait().unwrap()).await;
        let _ = child.kill();
        assert_eq!(ended.expect("it ends").code(), Some(1), "sync {nth}: the service manager starts it anew");
    }
    assert!(promised.len() > 5);
    stand.start().await;
    stand.post("/queue/resume", &json!({})).await;
    for id in &promised {
        stand.completed(id).await;
    }
    stand.finish().await;
}
