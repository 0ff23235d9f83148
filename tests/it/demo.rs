//! The demonstration, as somebody types it on a machine that knows nothing of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// Long enough for a machine that also compiles.
const DEMO_MAX: Duration = Duration::from_secs(60);

/// No account, no configuration, no home directory, no git identity.
fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    command.arg("demo").env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn it_tells_the_whole_story_and_ends() {
    let output = timeout(DEMO_MAX, demo().output()).await.expect("the demonstration hangs").unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{story}\n{complaints}");
    let mut rest = story.as_str();
    for part in [
        "POST /jobs",
        "Answered 201",
        "[preparing]",
        "[agent]",
        "[committing]",
        "[pushing]",
        "[opening_pr]",
        "[done]",
        "Pull request #1",
        "+def goodbye(name):",
        "both signatures are right",
        "status: \"completed\"",
        "offshoot demo --keep",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing or out of order in\n{story}"));
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test]
async fn kept_it_goes_on_until_it_is_interrupted_and_leaves_nothing() {
    let mut child = demo().arg("--keep").spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let invited = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it ended before it invited anybody");
            if let Some((_, rest)) = line.split_once("git -C ") {
                return rest.split_whitespace().next().unwrap().to_owned();
            }
        }
    };
    let remote = timeout(DEMO_MAX, invited).await.expect("nobody was invited");
    let dir = Path::new(&remote)
        .ancestors()
        .find(|dir| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("offshoot-demo-")));
    let dir = dir.expect("the remote is below the demonstration's directory");
    assert!(Path::new(&remote).join("HEAD").exists());
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGINT).unwrap();
    timeout(DEMO_MAX, child.wait()).await.expect("it does not end").unwrap();
    assert!(!dir.exists(), "{} stays", dir.display());
}

/// Each state is there, as the pipeline itself has brought it about.
#[tokio::test]
async fn kept_it_has_jobs_in_every_state() {
    let mut child = demo().arg("--keep").spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let invited = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it ended before it invited anybody");
            if let Some(variables) = line.trim().strip_prefix("export ") {
                let pairs = variables.split(' ').filter_map(|pair| pair.split_once('='));
                return pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>();
            }
        }
    };
    let variables = timeout(DEMO_MAX * 2, invited).await.expect("nobody was invited");
    let expected = [
        "cancelled completed failed queued running",
        "branch_pushed cancelled dry_run failed no_changes pull_request",
        "cancelled needs_input permission_denied usage_limit verify_failed",
        "branch dependency run_at usage_limit",
    ];
    let mut last = states(&variables).await;
    // who is invited may be early on a slow machine
    let reached = async || {
        last = states(&variables).await;
        (last == expected).then_some(())
    };
    let _ = crate::stand::poll(DEMO_MAX, reached).await;
    // before it is judged: nothing of it may outlive this test
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGINT).unwrap();
    timeout(DEMO_MAX, child.wait()).await.expect("it does not end").unwrap();
    assert_eq!(last, expected);
}

/// Statuses, outcomes, codes of reasons and what is waited for, of all jobs, each once and in order.
async fn states(variables: &[(String, String)]) -> [String; 4] {
    let mut list = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    let variables = variables.iter().map(|(name, value)| (name, value));
    list.args(["ls", "--json", "--limit", "50"]).env_clear().envs(variables).kill_on_drop(true);
    let listed = timeout(DEMO_MAX, list.output()).await.expect("the list hangs").unwrap();
    let page: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let jobs = page["jobs"].as_array().unwrap();
    ["/status", "/outcome", "/reason/code", "/waiting/for"].map(|pointer| {
        let mut words: Vec<_> =
            jobs.iter().filter_map(|job| job.pointer(pointer)?.as_str().map(str::to_owned)).collect();
        words.sort();
        words.dedup();
        words.join(" ")
    })
}
