//! Steps whose supervisor is told something by others than the server, and agents that are done before their process is: what
//! was paid for counts, and nothing is paid for more often than the job allows.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

const WRITE: &str = "[[scenario:write path=a.txt content=yes]]";

async fn shell(stand: &Stand, branch: &str, script: &str, options: Value) -> String {
    let mut all = json!({"agent": "sh"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    stand.submit(json!({"prompt": script, "branchName": branch, "options": all})).await
}

fn lines(stand: &Stand, file: &str) -> usize {
    std::fs::read_to_string(stand.path(file)).map_or(0, |text| text.lines().count())
}

fn counted(job: &Value) -> Vec<bool> {
    job["attempts"].as_array().unwrap().iter().map(|attempt| attempt["counted"] == true).collect()
}

/// What a step signals, it signals itself.
#[tokio::test]
async fn who_stops_its_own_supervisor_is_run_as_often_as_the_job_allows() {
    let stand = Stand::new().await;
    let script = format!("echo run >> {}; kill $PPID; sleep 100", stand.path("agent").display());
    let id = shell(&stand, "agent", &script, json!({"maxAttempts": 2})).await;
    let job = stand.failed(&id, "interrupted").await;
    assert_eq!((lines(&stand, "agent"), counted(&job)), (2, vec![true, true]), "{job:#}");
    let message = job["reason"]["message"].as_str().unwrap();
    assert!(message.contains("told to stop, and not by the server"), "{message}");
    // a command of the owner's is no better: three beginnings of a verification, and the agent once in each attempt
    let (agent, check) = (stand.path("once"), stand.path("check"));
    let verify = format!("echo run >> {}; kill $PPID; sleep 100", check.display());
    let script = format!("echo run >> {}", agent.display());
    let id = shell(&stand, "verify", &script, json!({"maxAttempts": 1, "verify": [verify]})).await;
    stand.failed(&id, "interrupted").await;
    assert_eq!((lines(&stand, "once"), lines(&stand, "check")), (1, 3));
    let setup = format!("echo run >> {}; kill $PPID; sleep 100", stand.path("setup").display());
    let id = shell(&stand, "setup", "true", json!({"maxAttempts": 2, "setup": [setup]})).await;
    stand.failed(&id, "interrupted").await;
    assert_eq!(lines(&stand, "setup"), 2);
    stand.finish().await;
}

/// A supervisor that was stopped while no server followed it may have been stopped in order.
#[tokio::test]
async fn who_is_stopped_while_no_server_looks_is_not_counted() {
    let mut stand = Stand::new().await;
    let script = format!(
        "echo run >> {}; while [ ! -e {} ]; do sleep 0.02; done; echo x > x.txt",
        stand.path("runs").display(),
        stand.gate("go").display()
    );
    let id = shell(&stand, "away", &script, json!({"maxAttempts": 1})).await;
    stand.wait_until("it runs", async || (lines(&stand, "runs") == 1).then_some(())).await;
    let shim = stand.get(&format!("/jobs/{id}")).await["pid"].as_i64().unwrap();
    stand.kill9().await;
    kill(shim, Signal::SIGTERM);
    stand.wait_until("it has ended", async || stand.processes().is_empty().then_some(())).await;
    stand.open_gate("go");
    stand.start_again().await;
    let job = stand.completed(&id).await;
    assert_eq!((lines(&stand, "runs"), counted(&job)), (2, vec![false, false]), "{job:#}");
    assert_eq!(job["attempts"][0]["reason"]["code"], "stopped");
    stand.finish().await;
}

/// The socket of a supervisor is open to whoever runs under the same user.
#[tokio::test]
async fn an_interruption_that_nobody_asked_for_begins_no_turn() {
    let stand = Stand::new().await;
    let script = format!("echo run >> {}; sleep 100", stand.path("runs").display());
    let id = shell(&stand, "i", &script, json!({"maxAttempts": 1})).await;
    stand.wait_until("it runs", async || (lines(&stand, "runs") == 1).then_some(())).await;
    let sockets = std::fs::read_dir(stand.path("data/run")).unwrap().flatten().map(|entry| entry.path());
    let mut said = 0;
    for socket in sockets {
        if let Ok(mut stream) = UnixStream::connect(&socket) {
            said += u32::from(stream.write_all(b"1 end interrupt\n").is_ok());
        }
    }
    assert!(said > 0, "no socket");
    let job = stand.failed(&id, "interrupted").await;
    assert_eq!((lines(&stand, "runs"), counted(&job)), (1, vec![true]), "{job:#}");
    assert!(job["reason"]["message"].as_str().unwrap().contains("nobody had asked"), "{job:#}");
    stand.finish().await;
}

/// Its server goes before the step has ended, and the next one meets it at its end.
#[tokio::test]
async fn a_stop_that_a_server_ordered_is_free_though_another_one_sees_the_end() {
    let mut stand = Stand::built(Plan::default()).await;
    stand.start_with(&["--stop-agents"]).await;
    let runs = stand.path("runs");
    let script = format!(
        "echo run >> {0}; if [ $(wc -l < {0}) = 1 ]; then trap '' INT TERM; while :; do sleep 0.1; done; fi; echo x > x",
        runs.display()
    );
    let id = shell(&stand, "ordered", &script, json!({"maxAttempts": 1})).await;
    stand.wait_until("it runs", async || (lines(&stand, "runs") == 1).then_some(())).await;
    let server = stand.server.as_ref().unwrap();
    server.signal(Signal::SIGTERM);
    let ordered = async || stand.log_text().contains("stopping").then_some(());
    stand.wait_until("it leaves", ordered).await;
    let noted = async || find(&stand.path("data"), "order").map(drop);
    stand.wait_until("the order is noted", noted).await;
    stand.kill9().await;
    assert!(!stand.processes().is_empty(), "it has ended already");
    stand.start_again().await;
    let job = stand.completed(&id).await;
    assert_eq!((lines(&stand, "runs"), counted(&job)), (2, vec![false, false]), "{job:#}");
    assert_eq!(job["attempts"][0]["reason"]["code"], "stopped");
    stand.finish().await;
}

/// The scripted agent, whose process does something else behind its result.
fn install_lingering(stand: &Stand, then: &str) {
    let (own, runs) = (env!("CARGO_BIN_EXE_offshoot"), stand.path("runs"));
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
         echo \"$$ $PWD\" >> {runs}\n{own} scripted-agent \"$@\"\n{then}\n",
        runs = runs.display(),
    );
    stand.install("claude", &script);
}

/// Waits until the agent has told its result; gives its supervisor.
async fn is_done(stand: &Stand, id: &str) -> i64 {
    let told = async || json!(stand.messages(id).await).to_string().contains("agent finished").then_some(());
    stand.wait_until("it is done", told).await;
    stand.job(id).await["pid"].as_i64().unwrap()
}

async fn done_once(stand: &Stand, id: &str, why: &str) {
    let job = stand.completed(id).await;
    assert_eq!(
        (job["outcome"].as_str(), stand.runs(), counted(&job)),
        (Some("pull_request"), 1, vec![false]),
        "{job:#}"
    );
    let warning =
        format!("The agent had told its result before its step was ended ({why}): the result counts.");
    assert_eq!(job["warnings"], json!([warning]));
    let branch = job["branchName"].as_str().unwrap();
    assert_eq!(stand.git(&["show", &format!("{branch}:a.txt")]), "yes");
}

#[tokio::test]
async fn a_result_counts_though_its_process_is_silent_behind_it() {
    let stand = Stand::new().await;
    install_lingering(&stand, "sleep 1000");
    let options = json!({"idleTimeoutSeconds": 5});
    let id = stand.submit(json!({"prompt": WRITE, "branchName": "idle", "options": options})).await;
    done_once(&stand, &id, "idle_timeout").await;
    stand.finish().await;
}

#[tokio::test]
async fn a_result_counts_though_its_process_never_ends() {
    let stand = Stand::new().await;
    install_lingering(&stand, "while :; do echo noise; sleep 0.1; done");
    let options = json!({"timeoutSeconds": 8});
    let id = stand.submit(json!({"prompt": WRITE, "branchName": "wall", "options": options})).await;
    done_once(&stand, &id, "timeout").await;
    stand.finish().await;
}

#[tokio::test]
async fn a_result_counts_though_its_supervisor_is_killed_behind_it() {
    let mut stand = Stand::new().await;
    install_lingering(&stand, "sleep 1000");
    let id = stand.submit_prompt("lost", WRITE).await;
    let shim = is_done(&stand, &id).await;
    stand.kill9().await;
    kill(shim, Signal::SIGKILL);
    stand.start_again().await;
    done_once(&stand, &id, "its supervisor was killed").await;
    stand.finish().await;
}

/// What it wrote last may have gone with the machine: whoever went on from it would publish less than was made.
#[tokio::test]
async fn a_result_from_before_the_machine_started_is_looked_at_again() {
    let mut stand = Stand::new().await;
    install_lingering(&stand, "sleep 1000");
    let id = stand.submit_prompt("reboot", WRITE).await;
    let shim = is_done(&stand, &id).await;
    stand.kill9().await;
    kill(shim, Signal::SIGKILL);
    let file = find(&stand.path("data"), "shim.json").expect("the identity of its supervisor");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut identity: Value = serde_json::from_str(&text).unwrap();
    identity["boot_id"] = json!("another");
    std::fs::write(&file, identity.to_string()).unwrap();
    stand.install_claude();
    stand.start_again().await;
    let job = stand.completed(&id).await;
    assert_eq!((stand.runs(), counted(&job)), (2, vec![true, false]), "{job:#}");
    assert_eq!(job["attempts"][0]["reason"]["code"], "interrupted");
    stand.finish().await;
}

/// What goes on filling the worktree behind the result would be published with it.
#[tokio::test]
async fn a_result_counts_for_nothing_when_its_process_floods_the_worktree() {
    let limits = "worktree_files_max = 1000".to_owned();
    let stand = Stand::with(Plan { limits, ..Plan::default() }).await;
    install_lingering(&stand, "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); : > f$i; done; sleep 1000");
    let id = stand.submit_prompt("flood", WRITE).await;
    stand.failed(&id, "resource_limit").await;
    assert_eq!((stand.tip("flood"), stand.runs()), (None, 1));
    stand.finish().await;
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    let here = entries.iter().find(|path| path.file_name().is_some_and(|found| found == name)).cloned();
    here.or_else(|| entries.iter().find_map(|path| find(path, name)))
}

fn kill(pid: i64, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// A cancel takes everything, also what is done but not yet published.
#[tokio::test]
async fn a_cancel_takes_a_result_whose_process_lingers() {
    let stand = Stand::new().await;
    install_lingering(&stand, "sleep 1000");
    let id = stand.submit_prompt("cancelled", WRITE).await;
    is_done(&stand, &id).await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    assert_eq!(stand.get(&format!("/jobs/{id}")).await["status"], "cancelled");
    assert_eq!(stand.tip("cancelled"), None);
    stand.finish().await;
}
