//! What an agent takes too much of: the number ends it, the reason names it, and nobody else is harmed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::life_ends::snapshot;
use crate::stand::{Plan, Stand};

/// A stand with these lines in `[limits]`.
async fn stand(limits: &str) -> Stand {
    Stand::with(Plan { limits: limits.to_owned(), workers: 4, ..Plan::default() }).await
}

async fn shell(stand: &Stand, branch: &str, script: &str) -> String {
    let options = json!({"agent": "sh", "maxAttempts": 1});
    stand.submit(json!({"prompt": script, "branchName": branch, "options": options})).await
}

/// The job has failed for this limit, with its number and key in the message, and it was counted; other jobs are served
/// as ever.
async fn assert_limited(stand: &Stand, id: &str, code: &str, key: &str, metric: &str) -> Value {
    let job = stand.failed(id, code).await;
    let message = job["reason"]["message"].as_str().unwrap();
    assert!(message.contains(key), "{message}");
    assert_eq!(stand.callback(id).await.body["reason"]["code"], code);
    let counted = format!("offshoot_limits_hit_total{{limit=\"{metric}\"}} 1");
    assert!(stand.get_text("/metrics").await.contains(&counted), "{counted}");
    let other = stand.submit_prompt(&format!("after-{code}"), "Greet").await;
    assert_eq!(stand.completed(&other).await["outcome"], "pull_request");
    job
}

#[tokio::test]
async fn a_worktree_that_grows_too_large_is_snapshotted_in_part_and_removed() {
    let stand = stand("worktree_bytes_max = 5242880").await;
    let script = "echo kept > a.txt; truncate -s 1T sparse; i=0; while [ $i -lt 20 ]; do \
                  head -c 1000000 /dev/urandom > z-$i; i=$((i+1)); done; sleep 1000";
    let id = shell(&stand, "large", script).await;
    let beside = stand.submit_prompt("beside", "Greet").await;
    assert_eq!(stand.completed(&beside).await["outcome"], "pull_request");
    let job = assert_limited(
        &stand,
        &id,
        "resource_limit",
        "5242880 bytes in the worktree (limits.worktree_bytes_max)",
        "worktree_bytes",
    )
    .await;
    assert_eq!(snapshot(&stand, &id, "a.txt"), "kept");
    let name = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{id}")]);
    let listed = stand.git_clone(&["ls-tree", "-r", "-l", name.trim()]);
    let bytes = listed.lines().filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    assert!((2_000_000..5_242_880 + 100_000).contains(&bytes.sum::<u64>()), "{listed}");
    assert!(!listed.contains("sparse"), "{listed}");
    // and whoever looks for the rest is told
    let warnings: Vec<_> = job["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for file in ["sparse", "z-"] {
        let told = |text: &&str| {
            text.starts_with(&format!("Snapshot: {file}"))
                && text.contains("more new files or bytes than are kept")
        };
        assert!(warnings.iter().any(told), "{file}: {warnings:#?}");
    }
    stand.finish().await;
}

/// It lies on the disk of the clones, and is written by the same agent.
#[tokio::test]
async fn what_stands_in_the_place_of_the_clone_is_no_way_around_the_limit() {
    let found = offshoot::isolation::Sandbox::new(crate::git_fixture::PATH.into()).find().await;
    if let offshoot::isolation::Found::Fails { why } = found {
        let what = format!("a flood beside the worktree ({why})");
        return crate::left_out::leave_out(crate::left_out::Need::Bubblewrap, &what);
    }
    let mut stand =
        Stand::built(Plan { limits: "worktree_bytes_max = 5242880".to_owned(), ..Plan::default() }).await;
    stand.set_env("OFFSHOOT_DEFAULTS_ISOLATION", "sandbox");
    stand.start().await;
    for (branch, script) in [
        ("slow", "head -c 20000000 /dev/urandom > $(git rev-parse --git-common-dir)/fill; sleep 1000"),
        ("quick", "head -c 20000000 /dev/urandom > $(git rev-parse --git-common-dir)/fill; echo x > x.txt"),
    ] {
        let id = shell(&stand, branch, script).await;
        let job = stand.failed(&id, "resource_limit").await;
        let message = job["reason"]["message"].as_str().unwrap();
        assert!(message.contains("5242880 bytes in the worktree (limits.worktree_bytes_max)"), "{message}");
        assert_eq!(stand.tip(branch), None);
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_worktree_of_too_many_files_ends_its_step() {
    let stand = stand("worktree_files_max = 2000").await;
    let script = "mkdir -p d; i=0; while [ $i -lt 3000 ]; do : > d/$i; i=$((i+1)); done; echo up; sleep 1000";
    let id = shell(&stand, "many", script).await;
    assert_limited(&stand, &id, "resource_limit", "limits.worktree_files_max", "worktree_files").await;
    stand.finish().await;
}

/// However its step came to its end, and whatever it had told before.
#[tokio::test]
async fn a_worktree_that_is_flooded_unseen_is_not_published() {
    let stand = stand("worktree_files_max = 1000").await;
    // within one look
    let id = shell(&stand, "quick", "mkdir d && cd d && seq 3000 | xargs touch").await;
    let job = stand.failed(&id, "resource_limit").await;
    assert!(job["warnings"].as_array().unwrap().len() < 25, "{job:#}");
    // behind its result, and the supervisor that is to end it is killed
    let result = r#"{"type":"result","subtype":"success","is_error":false,"result":"ok"}"#;
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
         echo \"$$ $PWD\" >> {runs}; cat > /dev/null; trap 'kill -9 $PPID; exit 0' INT TERM\n\
         echo x > y.txt; echo '{result}'; mkdir d; (cd d && seq 3000 | xargs touch); while :; do sleep 0.1; done\n",
        own = env!("CARGO_BIN_EXE_offshoot"),
        runs = stand.path("runs").display(),
    );
    stand.install("claude", &script);
    let id = stand.submit_prompt("killed", "Greet").await;
    let job = stand.failed(&id, "resource_limit").await;
    assert!(!job["warnings"].to_string().contains("the result counts"), "{job:#}");
    assert_eq!((stand.tip("quick"), stand.tip("killed")), (None, None));
    stand.finish().await;
}

#[tokio::test]
async fn too_many_processes_end_their_step_and_no_other() {
    let stand = stand("step_processes_max = 64").await;
    let script = "i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done; wait";
    let id = shell(&stand, "storm", script).await;
    assert_limited(
        &stand,
        &id,
        "resource_limit",
        "64 processes and threads (limits.step_processes_max)",
        "processes",
    )
    .await;
    stand.finish().await;
}

#[tokio::test]
async fn too_much_memory_ends_its_step_and_the_attempt_is_counted() {
    let stand = stand("step_memory_bytes_max = 67108864").await;
    // a line without an end is held in memory
    let id = shell(&stand, "memory", "(head -c 200000000 /dev/zero; sleep 1000) | tail -n 1").await;
    let job =
        assert_limited(&stand, &id, "out_of_memory", "limits.step_memory_bytes_max", "out_of_memory").await;
    assert_eq!(job["attempts"][0]["counted"], true, "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn endless_output_ends_its_step() {
    let stand = stand("step_output_bytes_max = 65536\nstep_output_bytes_end = 20000000").await;
    let id = shell(&stand, "loud", "exec cat /dev/zero").await;
    assert_limited(
        &stand,
        &id,
        "output_limit",
        "20000000 bytes of output (limits.step_output_bytes_end)",
        "output_limit",
    )
    .await;
    stand.finish().await;
}

#[tokio::test]
async fn a_limit_that_was_hit_is_known_to_the_next_server() {
    let mut stand = stand("worktree_files_max = 1000").await;
    // ten seconds pass between the limit and the kill: the server goes away in the middle of them
    let script = "trap '' INT TERM; i=0; while [ $i -lt 1500 ]; do : > $i; i=$((i+1)); done; \
                  while :; do sleep 0.1; done";
    let id = shell(&stand, "late", script).await;
    stand
        .wait_until("the limit is hit", async || stand.log_text().contains("ending the step").then_some(()))
        .await;
    stand.kill9().await;
    stand.start_again().await;
    assert_limited(&stand, &id, "resource_limit", "limits.worktree_files_max", "worktree_files").await;
    stand.finish().await;
}

#[tokio::test]
async fn a_supervisor_that_its_agent_stopped_is_woken() {
    let stand = stand("").await;
    let id = shell(&stand, "stopper", "while :; do kill -STOP $PPID; sleep 2; done").await;
    let shim_is_stopped = async || {
        let shim = stand.job(&id).await["pid"].as_i64()?;
        let stat = std::fs::read_to_string(format!("/proc/{shim}/stat")).ok()?;
        stat.contains(") T ").then_some(())
    };
    stand.wait_until("it stops its supervisor", shim_is_stopped).await;
    let began = tokio::time::Instant::now();
    let (status, body) = stand.cancel(&id).await;
    assert_eq!((status, &body["status"]), (200, &json!("cancelled")));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    stand.finish().await;
}

/// The kernel itself, in a memory group that the agent makes for itself: needs user 0 and control groups of either
/// version. `just long-process` runs it.
#[tokio::test]
#[ignore = "needs user 0 and a memory control group that can be written"]
async fn long_process_the_kernel_kills_for_want_of_memory() {
    let stand = stand("").await;
    let script = "set -e; for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do \
                  group=$root/offshoot-test-$$; mkdir $group 2>/dev/null || continue; \
                  limit=memory.limit_in_bytes; [ -e $group/$limit ] || limit=memory.max; \
                  echo 33554432 > $group/$limit || { rmdir $group; continue; }; \
                  echo $$ > $group/cgroup.procs; exec tail -n 1 < /dev/zero; done; exit 3";
    let id = shell(&stand, "oom", script).await;
    let job = stand.failed(&id, "out_of_memory").await;
    assert_eq!((&job["exitCode"], &job["attempts"][0]["counted"]), (&Value::Null, &json!(true)), "{job:#}");
    // the supervisor goes with it and leaves no record: the count of the machine tells
    let group = "exec tail -n 1 < /dev/zero";
    let both = script.replace(group, "(exec tail -n 1 < /dev/zero); kill -9 $PPID; sleep 1000");
    let id = shell(&stand, "both", &both.replace("set -e; ", "")).await;
    stand.failed(&id, "out_of_memory").await;
    // beside it, after the seconds for which the count tells, a plain kill is what it was before
    let id = shell(&stand, "killed", "sleep 4; kill -9 $$").await;
    stand.failed(&id, "interrupted").await;
    stand.finish().await;
}

/// A storm of processes and a flood of output under the default numbers: what the server and the rest of the machine
/// feel of it. `just long-process` prints the figures.
#[tokio::test]
#[ignore = "loads the machine for half a minute"]
async fn long_process_a_storm_and_a_flood_leave_the_api_alone() {
    let stand = stand("").await;
    let server = stand.server.as_ref().unwrap().pid();
    let resident_kib = || {
        let status = std::fs::read_to_string(format!("/proc/{server}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap()
    };
    let before = resident_kib();
    let storm = "trap '' INT TERM; b() { while :; do sleep 1000 & done; }; b & b & b & b & wait";
    for (branch, script, code) in
        [("storm", storm, "resource_limit"), ("flood", "exec cat /dev/zero", "output_limit")]
    {
        let began = tokio::time::Instant::now();
        let id = shell(&stand, branch, script).await;
        let (mut answers, mut peak) = (Vec::new(), 0);
        let path = format!("/jobs/{id}");
        let job = loop {
            let asked = tokio::time::Instant::now();
            assert_eq!(stand.call("GET", "/livez", None).await.0, 200);
            answers.push(asked.elapsed());
            peak = peak.max(resident_kib());
            let job = stand.get(&path).await;
            if job["completedAt"].is_string() {
                break job;
            }
            assert!(began.elapsed() < Duration::from_secs(300), "{job:#}");
        };
        assert_eq!(job["reason"]["code"], code, "{job:#}");
        answers.sort_unstable();
        let p99 = answers[answers.len() * 99 / 100];
        let rise = peak.saturating_sub(before);
        eprintln!(
            "{branch}: over after {:?}, /livez p99 {p99:?} of {}, server +{rise} KiB",
            began.elapsed(),
            answers.len()
        );
        assert!(p99 < Duration::from_millis(200), "{p99:?}");
        assert!(rise < 64 << 10, "{rise} KiB");
    }
    stand.finish().await;
}
