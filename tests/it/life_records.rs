//! Files of steps that say something else than a good end: unreadable ones, records of survivors, of a log that is not on the
//! disk; and the end of an attempt that is given up. Nothing else works in the worktree while somebody of it lives.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::Signal;
use offshoot::domain::id::JobRef;
use offshoot::domain::job::Status;
use offshoot::domain::options::RunOptions;
use offshoot::domain::retention::Kept;
use offshoot::git::{Author, Git, GitSettings, KeepCaps, RepositoryLocks, SizeCaps};
use offshoot::process::{
    CommandSpec, Launcher, MARKER_VARIABLE, ScopeUse, ShimProgram, Stdin, StepDir, StepName, StepState,
    inspect,
};
use offshoot::secrets::{Known, Scanner};
use offshoot::worker::{Remotes, StepLimits, Worker, WorkerSettings};
use serde_json::{Value, json};

use crate::stand::{Stand, poll};
use crate::store_fixture::Bench;

/// The directory of the first turn of the job's first attempt.
async fn first_turn(stand: &Stand, id: &str) -> PathBuf {
    let number = stand.job(id).await["number"].as_i64().unwrap();
    let ends = format!("{number}/1/agent-1");
    let found = |file: &PathBuf| file.ends_with("shim.json") && file.parent().unwrap().ends_with(&ends);
    let files = crate::stand::audit::files_below(&stand.path("data"));
    files.into_iter().find(found).expect("a step").parent().unwrap().to_owned()
}

fn edit(file: &std::path::Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(file, value.to_string()).unwrap();
}

/// Somebody who carries the mark of the step and was overlooked.
fn stray(turn: &std::path::Path) -> Child {
    let shim: Value = serde_json::from_slice(&std::fs::read(turn.join("shim.json")).unwrap()).unwrap();
    Command::new("sleep").arg("1000").env(MARKER_VARIABLE, shim["marker"].as_str().unwrap()).spawn().unwrap()
}

async fn is_killed(mut stray: Child) {
    let ended = poll(Duration::from_secs(20), async || stray.try_wait().unwrap()).await;
    if ended.is_none() {
        stray.kill().unwrap();
        stray.wait().unwrap();
    }
    assert_eq!(ended.expect("it lives").signal(), Some(Signal::SIGKILL as i32));
}

fn gated(stand: &Stand) -> String {
    let (runs, gate) = (stand.path("began"), stand.gate("g"));
    format!(
        "echo run >> {}; while [ ! -e {} ]; do sleep 0.05; done; echo x > x.txt",
        runs.display(),
        gate.display()
    )
}

async fn shell(stand: &Stand, prompt: &str) -> String {
    let options = json!({"agent": "sh", "maxAttempts": 1});
    let id = stand.submit(json!({"prompt": prompt, "branchName": "b", "options": options})).await;
    stand.wait_until("the agent works", async || stand.path("began").exists().then_some(())).await;
    id
}

#[tokio::test]
async fn an_agent_whose_files_cannot_be_read_is_left_alone_while_it_lives() {
    let mut stand = Stand::new().await;
    stand.expect_error("damaged or was written by a newer offshoot");
    let id = shell(&stand, &gated(&stand)).await;
    let identity = first_turn(&stand, &id).await.join("shim.json");
    stand.kill9().await;
    let whole = std::fs::read(&identity).unwrap();
    edit(&identity, |shim| shim["format"] = json!(99));
    stand.start_again().await;
    let left = async || stand.log_text().contains("the agent cannot be followed").then_some(());
    stand.wait_until("it is left alone", left).await;
    let job = stand.job(&id).await;
    assert_eq!((&job["status"], stand.step_processes().is_empty()), (&json!("running"), false), "{job:#}");
    stand.kill9().await;
    std::fs::write(&identity, whole).unwrap();
    stand.start_again().await;
    stand.open_gate("g");
    assert_eq!(stand.completed(&id).await["outcome"], "pull_request");
    assert_eq!(std::fs::read_to_string(stand.path("began")).unwrap(), "run\n");
    stand.finish().await;
}

#[tokio::test]
async fn who_survived_a_step_is_killed_and_a_log_that_is_not_on_the_disk_is_told() {
    let mut stand = Stand::new().await;
    let id = shell(&stand, &gated(&stand)).await;
    let turn = first_turn(&stand, &id).await;
    stand.kill9().await;
    stand.open_gate("g");
    stand.wait_until("the step is over", async || turn.join("exit.json").exists().then_some(())).await;
    edit(&turn.join("exit.json"), |record| {
        record["survivors"] = json!(1);
        record["log_synced"] = json!(false);
    });
    let survivor = stray(&turn);
    stand.start_again().await;
    let job = stand.completed(&id).await;
    is_killed(survivor).await;
    let warnings = job["warnings"].as_array().unwrap();
    let told =
        warnings.iter().filter(|text| text.as_str().unwrap().contains("not whole on the disk")).count();
    assert_eq!((told, &job["outcome"]), (1, &json!("pull_request")), "{job:#}");
    stand.finish().await;
}

/// A retry has the worktree of the job before it, and so has whoever is left of that.
#[tokio::test]
async fn who_survived_an_earlier_job_of_the_chain_is_killed_before_the_next_prepares() {
    let stand = Stand::new().await;
    let id = shell(&stand, &format!("echo run >> {}; exit 3", stand.path("began").display())).await;
    stand.failed(&id, "crashed").await;
    let turn = first_turn(&stand, &id).await;
    edit(&turn.join("exit.json"), |record| record["survivors"] = json!(1));
    let survivor = stray(&turn);
    let retry = stand.retry(&id, json!({"mode": "fresh"})).await;
    stand.failed(&retry, "crashed").await;
    is_killed(survivor).await;
    stand.finish().await;
}

/// Its walk panicked: nobody follows the agent any more, and the job must not end beside it.
#[tokio::test]
async fn an_attempt_that_is_given_up_ends_behind_its_agent() {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    bench.submit(&client, "b").await;
    let lease = bench.claim().await.lease;
    let dir = bench.dir.path();
    let settings = settings(dir);
    let name =
        StepName::new(bench.store.instance(), u64::try_from(lease.job.0).unwrap(), 1, "agent-1").unwrap();
    let files = bench.store.logs().step_dir(lease.job, 1, "agent-1");
    let step = StepDir::new(files, &settings.run_dir, name).unwrap();
    let launcher = || Launcher::new(ShimProgram::At(env!("CARGO_BIN_EXE_offshoot").into()), ScopeUse::Never);
    let spec = CommandSpec {
        argv: ["sh", "-c", "trap '' INT TERM; while :; do sleep 0.1; done"].map(str::to_owned).to_vec(),
        working_dir: dir.to_owned(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        redact: Vec::new(),
        stdin: Stdin::Null,
        wall_limit: Duration::from_secs(300),
        output_bytes_max: 1 << 20,
        output_bytes_end: None,
        open_files_max: None,
        memory_group: None,
        wrapper: Vec::new(),
        stop_grace: settings.stop_grace,
    };
    launcher().launch(&step, &spec).await.unwrap().release().await.unwrap();
    let environment = [("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())].into();
    let git =
        Git::probe(GitSettings::new(environment, dir.join("scratch")), bench.clock.clone()).await.unwrap();
    let remotes = Remotes::new("/none/{org}/{repo}".to_owned(), &"http://127.0.0.1:1".parse().unwrap(), None);
    let store = bench.store.clone();
    let clock = bench.clock.clone();
    let worker =
        Worker::new(store, git, RepositoryLocks::default(), None, remotes, launcher(), clock, settings);
    worker.give_up(lease).await;
    assert!(matches!(inspect(&step).unwrap(), StepState::Exited(_)), "{:?}", inspect(&step));
    let job = bench.store.get_job(&JobRef::Number(lease.job)).await.unwrap().job;
    assert_eq!((job.status, job.reason.unwrap().code.as_str()), (Status::Failed, "internal"));
}

fn settings(dir: &std::path::Path) -> WorkerSettings {
    let caps = SizeCaps { bytes_max: 1 << 30, files_max: 1_000 };
    WorkerSettings {
        repos_dir: dir.join("repos"),
        worktrees_dir: dir.join("worktrees"),
        files_dir: dir.join("files"),
        data_dir: dir.to_owned(),
        run_dir: dir.join("run"),
        author: Author { name: "o".to_owned(), email: "o@example.com".to_owned() },
        protected_branches: Vec::new(),
        policy: offshoot::domain::policy::ChangePolicy::default(),
        scanner: std::sync::Arc::new(Scanner::new(Known::default(), "x".into())),
        agents: BTreeMap::new(),
        secrets: BTreeMap::new(),
        defaults: RunOptions::default(),
        environment: BTreeMap::new(),
        step_limits: StepLimits {
            output_bytes_kept: 1 << 20,
            output_bytes_end: 1 << 20,
            open_files_max: 1_024,
            processes_max: 100,
            memory_bytes_max: None,
            worktree: caps,
        },
        stop_grace: Duration::from_millis(300),
        worktree_kept: Kept::always("worktree_days", 0),
        artifact_caps: KeepCaps {
            file_bytes_max: 9,
            bytes_max: 9,
            files_max: 9,
            paths_bytes_max: 9,
            looking_ms_max: 9,
        },
        file_bytes_max: 1 << 20,
        as_root: false,
        isolation: offshoot::worker::IsolationSettings::default(),
    }
}
