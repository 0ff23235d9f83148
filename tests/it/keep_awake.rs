//! The machine is kept awake while jobs run and no longer, by a program in the place of the system's.

#![cfg(not(target_os = "macos"))]

use std::path::Path;

use serde_json::json;

use crate::stand::{PATIENCE, Plan, Stand};

/// As systemd-inhibit: notes that it was started, runs what stands behind the options, ends when that does.
const STAND_IN: &str = "#!/bin/sh\necho \"$$ $*\" >> DIR/awake\nfor program; do :; done\n\"$program\"\n";

/// A stand with a program of this text, whose PATH leads to it.
async fn stand(script: &str) -> Stand {
    let mut stand = Stand::built(Plan { workers: 2, ..Plan::default() }).await;
    let script = script.replace("DIR", &stand.dir().display().to_string());
    stand.install("systemd-inhibit", &script);
    stand.set_env("OFFSHOOT_SERVER_KEEP_AWAKE", "true");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", stand.path("agents").display());
    stand.set_env("PATH", path);
    stand.start().await;
    stand
}

async fn gated(stand: &Stand, branch: &str) -> String {
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", stand.gate(branch).display());
    let options = json!({"agent": "sh", "publish": "branch"});
    let id = stand.submit(json!({"prompt": script, "branchName": branch, "options": options})).await;
    stand.wait_for_status(&id, "running").await;
    id
}

/// However it has ended: a shell that changes nothing has done nothing wrong.
async fn over(stand: &Stand, id: &str) {
    stand.wait_for(id, "over", |job| job["completedAt"].is_string()).await;
}

/// How often it was begun, and the process group of what was begun last, while anything of it runs.
fn seen(dir: &Path) -> (usize, Option<i32>) {
    let text = std::fs::read_to_string(dir.join("awake")).unwrap_or_default();
    let last = text.lines().last().and_then(|line| line.split(' ').next()?.parse().ok());
    (text.lines().count(), last.filter(|group| runs(*group)))
}

/// Whether a process of this group runs; one that nobody has waited for does not.
fn runs(group: i32) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.into_iter().any(|process| {
        let text = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // behind the name, which may hold anything: state, parent, group
        let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        let state = fields.next();
        state.is_some_and(|state| state != "Z")
            && fields.nth(1).and_then(|field| field.parse().ok()) == Some(group)
    })
}

async fn is_awake(stand: &Stand, begun: usize) -> i32 {
    let held = async || {
        let (times, group) = seen(stand.dir());
        group.filter(|_| times == begun)
    };
    stand.wait_until("the machine is kept awake", held).await
}

/// Nothing of it is left, of its own program neither.
async fn may_sleep(stand: &Stand, group: i32) {
    let over = async || (!runs(group)).then_some(());
    stand.wait_until("the machine may sleep", over).await;
}

#[tokio::test]
async fn the_machine_is_kept_awake_from_the_first_job_to_the_last_and_by_no_dead_server() {
    let mut stand = stand(STAND_IN).await;
    let (one, two) = (gated(&stand, "one").await, gated(&stand, "two").await);
    let group = is_awake(&stand, 1).await;
    let told = std::fs::read_to_string(stand.path("awake")).unwrap();
    let words = "--what=idle:sleep --who=offshoot --why=jobs are running --mode=block cat";
    assert!(told.trim_end().ends_with(words), "{told}");
    stand.open_gate("one");
    over(&stand, &one).await;
    assert_eq!(seen(stand.dir()), (1, Some(group)), "another one runs");
    stand.open_gate("two");
    over(&stand, &two).await;
    may_sleep(&stand, group).await;

    // once more, and the server is killed as by a crash: nobody is left to take it away
    let three = gated(&stand, "three").await;
    let group = is_awake(&stand, 2).await;
    stand.kill9().await;
    may_sleep(&stand, group).await;
    // the next server finds the job running
    stand.start_again().await;
    let group = is_awake(&stand, 3).await;
    assert_eq!(stand.terminate(PATIENCE).await, Some(0));
    may_sleep(&stand, group).await;
    stand.start_again().await;
    is_awake(&stand, 4).await;
    stand.open_gate("three");
    over(&stand, &three).await;
    stand.finish().await;
}

#[tokio::test]
async fn where_it_cannot_be_done_jobs_run_all_the_same_and_it_is_said_once() {
    let stand = stand("#!/bin/sh\necho begun >> DIR/awake\necho 'Access denied' >&2\nexit 1\n").await;
    for branch in ["one", "two"] {
        let id = gated(&stand, branch).await;
        let begun = if branch == "one" { 1 } else { 2 };
        let tried = async || (seen(stand.dir()).0 == begun).then_some(());
        stand.wait_until("it was tried", tried).await;
        stand.open_gate(branch);
        over(&stand, &id).await;
        // whoever has not seen that no job runs would not try again
        let slept =
            async || (stand.log_text().matches("this machine may sleep").count() == begun).then_some(());
        stand.wait_until("it is seen that nothing runs", slept).await;
    }
    let log = stand.log_text();
    let told = || log.lines().filter(|line| line.contains("nothing keeps this machine awake"));
    assert_eq!(told().count(), 1, "{log}");
    assert!(told().all(|line| line.contains("Access denied") && line.contains("systemd-inhibit")), "{log}");
    stand.finish().await;
}

/// Switched off it is not begun at all.
#[tokio::test]
async fn switched_off_nothing_is_started() {
    let mut stand = stand(STAND_IN).await;
    assert_eq!(stand.terminate(PATIENCE).await, Some(0));
    stand.set_env("OFFSHOOT_SERVER_KEEP_AWAKE", "false");
    stand.start_again().await;
    let id = gated(&stand, "one").await;
    stand.open_gate("one");
    over(&stand, &id).await;
    assert_eq!(seen(stand.dir()).0, 0);
    stand.finish().await;
}
