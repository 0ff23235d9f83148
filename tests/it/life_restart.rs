//! The server is killed at each phase of a job and started again: nothing is lost, nothing is done twice.

use std::time::Duration;

use axum::http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::fake_github::{Effect, Fault};
use crate::stand::{Answer, Plan, Stand};

/// A hook that says that it is running and waits for its gate.
fn hold_pushes(stand: &Stand) {
    let script = format!(
        "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
        stand.path("push-began").display(),
        stand.gate("push").display()
    );
    stand.remote_hook("pre-receive", &script);
}

async fn push_began(stand: &Stand) {
    let path = stand.path("push-began");
    stand.wait_until("the push is under way", async || path.exists().then_some(())).await;
}

/// The one result that every story here must come to.
async fn ended_well(stand: &Stand, id: &str, branch: &str) -> Value {
    let job = stand.completed(id).await;
    assert_eq!(job["outcome"], "pull_request", "{job:#}");
    assert_eq!(stand.tip(branch).unwrap(), job["headSha"].as_str().unwrap());
    let pulls: Vec<_> = stand.github.pulls().into_iter().filter(|pull| pull.head == branch).collect();
    assert_eq!(pulls.len(), 1, "{pulls:?}");
    assert_eq!(job["prNumber"], pulls[0].number);
    stand.callback(id).await;
    let ids: std::collections::BTreeSet<_> = stand.callbacks(id).into_iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), 1, "one event, however often it was told");
    job
}

#[tokio::test]
async fn killed_right_after_the_answer_and_while_paused() {
    let mut stand = Stand::new().await;
    stand.post("/queue/pause", &json!({"reason": "a test"})).await;
    let id = stand.submit_prompt("kept", "Greet").await;
    stand.kill9().await;
    stand.start_again().await;
    let job = stand.job(&id).await;
    assert_eq!((&job["status"], &job["waiting"]["for"]), (&json!("queued"), &json!("paused")));
    assert_eq!((&job["position"], stand.runs()), (&json!(1), 0));
    stand.post("/queue/resume", &json!({})).await;
    ended_well(&stand, &id, "kept").await;
    assert_eq!(stand.runs(), 1);
    stand.finish().await;
}

#[tokio::test]
async fn a_keyed_request_is_answered_the_same_after_the_kill() {
    let mut stand = Stand::new().await;
    let (org, repo) = crate::stand::REPO.split_once('/').unwrap();
    let body = json!({"prompt": "Greet", "branchName": "k", "githubOrg": org, "githubRepo": repo});
    let key = [("Idempotency-Key", "the-same-key")];
    let first = stand.call_with("POST", "/jobs", Some(&body), &key).await;
    assert_eq!(first.0, 201);
    stand.kill9().await;
    stand.start_again().await;
    assert_eq!(stand.call_with("POST", "/jobs", Some(&body), &key).await, first);
    let other = json!({"prompt": "Other", "branchName": "k", "githubOrg": org, "githubRepo": repo});
    assert_eq!(stand.call_with("POST", "/jobs", Some(&other), &key).await.0, 422);
    stand.completed(first.1["id"].as_str().unwrap()).await;
    assert_eq!(stand.get("/jobs").await["total"], 1);
    stand.finish().await;
}

/// A caller gives up while the disk stalls, and repeats its request before the first one is through.
#[tokio::test]
async fn a_keyed_request_whose_caller_went_away_makes_one_job() {
    let stand = Stand::new().await;
    stand.post("/queue/pause", &json!({})).await;
    stand.submit_prompt("first", "Greet").await;
    let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = json!({"prompt": "Greet", "githubOrg": "acme", "githubRepo": "widgets"});
    let key = [("Idempotency-Key", "k")];
    let submit = async || stand.call_with("POST", "/jobs", Some(&body), &key).await;
    let gone = tokio::time::timeout(Duration::from_millis(500), submit()).await;
    assert!(gone.is_err(), "the write is held up");
    assert_eq!(submit().await.1["code"], "idempotency_in_flight");
    database.execute_batch("ROLLBACK").unwrap();
    let created = async || Some(submit().await).filter(|answer| answer.0 == 201);
    stand.wait_until("the first answer is given again", created).await;
    let jobs = stand.get("/jobs").await;
    assert_eq!(jobs["total"], 2, "{jobs:#}");
    stand.post("/queue/resume", &json!({})).await;
    stand.finish().await;
}

/// Many moments around the start of the agent, the one between spawn and record among them.
#[tokio::test]
async fn killed_at_any_moment_around_the_start_of_the_agent() {
    let mut stand = Stand::new().await;
    let first = stand.submit_prompt("warm", "Greet").await;
    stand.completed(&first).await;
    for round in 0..30_u32 {
        let branch = format!("round-{round}");
        let runs = stand.runs();
        let id = stand.submit_prompt(&branch, "Greet").await;
        // preparing takes some 60 ms, the agent 50, the commit 200, push and pull request 50
        let moment = Duration::from_millis(u64::from(round * 18));
        let _ = tokio::time::timeout(moment, std::future::pending::<()>()).await;
        stand.kill9().await;
        stand.start_again().await;
        let job = ended_well(&stand, &id, &branch).await;
        // the agent ran once; a second time only in an attempt of its own after one that was counted
        let attempts = job["attempts"].as_array().unwrap().len();
        assert_eq!((stand.runs() - runs, attempts), (1, 1), "killed after {moment:?}: {job:#}");
    }
    stand.finish().await;
}

#[tokio::test]
async fn killed_during_the_clone_and_during_a_fetch() {
    let mut stand = Stand::with(Plan { over_ssh: true, ..Plan::default() }).await;
    let began = stand.path("ssh-began");
    for branch in ["clone", "fetch"] {
        let _ = std::fs::remove_file(stand.gate("ssh"));
        let _ = std::fs::remove_file(&began);
        let id = stand.submit_prompt(branch, "Greet").await;
        stand.wait_until("the remote is asked", async || began.exists().then_some(())).await;
        assert_eq!(stand.job(&id).await["phase"], "preparing");
        stand.kill9().await;
        stand.start_again().await;
        stand.open_gate("ssh");
        ended_well(&stand, &id, branch).await;
    }
    assert_eq!(stand.runs(), 2);
    stand.finish().await;
}

#[tokio::test]
async fn a_living_agent_is_adopted_and_its_story_has_no_gap() {
    let mut stand = Stand::new().await;
    let ticks = format!(
        "i=0; while [ ! -e {} ]; do i=$((i+1)); echo tick-$i; sleep 0.01; done\necho last-$i > last.txt; echo last-$i\n",
        stand.gate("g").display()
    );
    let id = stand.submit(json!({"prompt": ticks, "branchName": "a", "options": {"agent": "sh"}})).await;
    let told = async |stand: &Stand, text: &str| {
        let path = format!("/jobs/{id}?includeMessages=true");
        let messages = async || {
            let said = stand.get(&path).await["messages"].to_string();
            [format!("{text}\\n"), format!("{text}\"")].iter().any(|line| said.contains(line)).then_some(())
        };
        stand.wait_until(text, messages).await;
    };
    told(&stand, "tick-20").await;
    let pid = stand.job(&id).await["pid"].as_i64().unwrap();
    for text in ["tick-60", "tick-100", "tick-140"] {
        stand.kill9().await;
        let alive = stand.processes();
        assert!(alive.iter().any(|seen| i64::from(seen.pid) == pid), "the shim goes on: {alive:?}");
        stand.start_again().await;
        let job = stand.job(&id).await;
        assert_eq!(
            (&job["status"], &job["pid"], &job["attempt"]),
            (&json!("running"), &json!(pid), &json!(1))
        );
        told(&stand, text).await;
    }
    stand.open_gate("g");
    let job = ended_well(&stand, &id, "a").await;
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    let last = stand.git(&["show", "a:last.txt"]);
    let messages = stand.messages(&id).await;
    let said: Vec<String> = messages
        .iter()
        .filter(|message| message["type"] == "stdout")
        .flat_map(|message| {
            message["content"].as_str().unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let count: usize = last.strip_prefix("last-").unwrap().parse().unwrap();
    let expected: Vec<_> = (1..=count).map(|tick| format!("tick-{tick}")).chain([last]).collect();
    assert_eq!(said, expected, "a gap or a double");
    let numbers: Vec<_> = messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert!(numbers.iter().zip(1..).all(|(have, want)| *have == want), "{numbers:?}");
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_that_ended_meanwhile_is_finished_from_its_record() {
    let mut stand = Stand::new().await;
    let good = format!("{}[[scenario:edit]]", stand.gate_mark("g"));
    let good = stand.submit_prompt("good", &good).await;
    let bad = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 5", stand.gate("g").display());
    let bad = stand
        .submit(json!({"prompt": bad, "branchName": "bad", "options": {"agent": "sh", "maxAttempts": 1}}))
        .await;
    stand.wait_for_tool(&good).await;
    stand.wait_for_phase(&bad, "agent").await;
    stand.wait_until("both run", async || (stand.step_processes().len() >= 2).then_some(())).await;
    stand.kill9().await;
    stand.open_gate("g");
    stand.wait_until("both ended", async || stand.processes().is_empty().then_some(())).await;
    stand.start_again().await;
    let job = ended_well(&stand, &good, "good").await;
    assert_eq!((stand.runs(), job["attempts"].as_array().unwrap().len()), (1, 1));
    assert_eq!(stand.failed(&bad, "crashed").await["exitCode"], 5);
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_whose_supervisor_died_is_tried_again_after_the_last_process_is_gone() {
    let mut stand = Stand::new().await;
    // the first agent has a child in a session of its own that does not listen; the second finds that it is gone
    let script = format!(
        "if [ ! -e {pids} ]; then echo half > half.txt\n\
         setsid sh -c 'trap \"\" TERM INT HUP; echo $$ > {pids}; while :; do sleep 0.05; done' &\n\
         while :; do sleep 0.05; done; fi\n\
         case \"$(cut -d' ' -f3 /proc/$(head -n 1 {pids})/stat 2>/dev/null)\" in ''|Z|X) ;; *) echo > alive.txt;; esac\n\
         echo fine > fine.txt\n",
        pids = stand.path("pids").display()
    );
    for server_too in [true, false] {
        let _ = std::fs::remove_file(stand.path("pids"));
        let branch = if server_too { "both" } else { "shim" };
        let id =
            stand.submit(json!({"prompt": script, "branchName": branch, "options": {"agent": "sh"}})).await;
        let noted = || std::fs::read_to_string(stand.path("pids")).is_ok_and(|pids| !pids.is_empty());
        stand.wait_until("the agent runs", async || noted().then_some(())).await;
        let shim =
            stand.wait_for(&id, "supervised", |job| job["pid"].is_i64()).await["pid"].as_i64().unwrap();
        if server_too {
            stand.kill9().await;
        }
        kill(Pid::from_raw(i32::try_from(shim).unwrap()), Signal::SIGKILL).unwrap();
        if server_too {
            stand.start_again().await;
        }
        let job = ended_well(&stand, &id, branch).await;
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["reason"]["code"]), (2, &json!("interrupted")), "{job:#}");
        assert_eq!((&attempts[0]["counted"], &attempts[0]["exitCode"]), (&json!(true), &Value::Null));
        assert_eq!(stand.git(&["diff", "--name-only", "main", branch]), "fine.txt");
    }
    stand.finish().await;
}

#[tokio::test]
async fn killed_while_pushing_the_agent_does_not_run_again() {
    let mut stand = Stand::new().await;
    hold_pushes(&stand);
    let id = stand.submit_prompt("p", "Greet").await;
    push_began(&stand).await;
    let before = stand.job(&id).await;
    assert_eq!(before["phase"], "pushing");
    stand.kill9().await;
    stand.start_again().await;
    stand.open_gate("push");
    let job = ended_well(&stand, &id, "p").await;
    assert_eq!((&job["headSha"], stand.runs()), (&before["headSha"], 1));
    stand.finish().await;
}

#[tokio::test]
async fn killed_while_the_forge_answers_late_opens_one_pull_request() {
    let mut stand = Stand::new().await;
    stand.github.fault(Fault::new(Effect::Held).on(Method::POST, "/pulls"));
    let id = stand.submit_prompt("late", "Greet").await;
    stand
        .github
        .wait_for(|all| all.iter().any(|one| one.method == "POST" && one.route.contains("/pulls")))
        .await;
    stand.kill9().await;
    // the forge made it, and nobody heard
    stand.github.release();
    stand.start_again().await;
    ended_well(&stand, &id, "late").await;
    assert_eq!(stand.runs(), 1);

    stand.github.fault(Fault::new(Effect::LostResponse).on(Method::POST, "/pulls"));
    let lost = stand.submit_prompt("lost", "Greet").await;
    ended_well(&stand, &lost, "lost").await;
    stand.finish().await;
}

#[tokio::test]
async fn a_callback_survives_the_kill_and_comes_with_the_same_bytes() {
    let mut stand = Stand::new().await;
    stand.receiver.always(Some(Answer::Status(503)));
    let id = stand.submit_prompt("cb", "Greet").await;
    stand.completed(&id).await;
    stand.wait_until("a try", async || (!stand.callbacks(&id).is_empty()).then_some(())).await;
    stand.kill9().await;
    stand.receiver.always(None);
    stand.start_again().await;
    stand.callback(&id).await;
    let all = stand.callbacks(&id);
    assert!(all.len() >= 2 && all.iter().all(|one| (&one.id, &one.bytes) == (&all[0].id, &all[0].bytes)));
    let job = stand.wait_for(&id, "delivered", |job| job["callback"]["state"] == "delivered").await;
    assert_eq!(job["callback"]["lastStatus"], 204);
    stand.finish().await;
}

#[tokio::test]
async fn a_cancel_survives_the_kill() {
    let mut stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    // the first request reached the agent's supervisor; of the second only the row knows
    for reached in [true, false] {
        let branch = if reached { "reached" } else { "row" };
        let id = stand.submit_prompt(branch, "[[scenario:ignores-term]]").await;
        let runs = async || (!stand.step_processes().is_empty()).then_some(());
        stand.wait_until("it runs", runs).await;
        if reached {
            // the answer never comes
            let asked = stand.cancel(&id);
            let _ = tokio::time::timeout(Duration::from_millis(500), asked).await;
            assert!(stand.job(&id).await["cancelRequestedAt"].is_string());
        }
        stand.kill9().await;
        if !reached {
            let rows = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
            rows.execute("UPDATE jobs SET cancel_requested_at = 1 WHERE id = ?1", [&id]).unwrap();
        }
        stand.start_again().await;
        stand.wait_for_status(&id, "cancelled").await;
        assert!(stand.processes().is_empty(), "{:?}", stand.processes());
        assert_eq!(stand.callback(&id).await.body["type"], "job.cancelled");
    }
    stand.finish().await;
}

/// The end of a job cannot be stored, as if the server were killed right before: everything else was done by then.
#[tokio::test]
async fn killed_between_the_last_step_and_its_record_the_end_is_the_same() {
    let mut stand = Stand::with(Plan { workers: 3, ..Plan::default() }).await;
    stand.expect_error("the end of the attempt could not be stored");
    let file = stand.path("data/offshoot.db");
    let database = || rusqlite::Connection::open(&file).unwrap();
    let hold = "CREATE TRIGGER hold BEFORE UPDATE OF status ON jobs WHEN NEW.status <> 'running' \
                AND OLD.status = 'running' BEGIN SELECT RAISE(ABORT, 'held'); END";
    database().execute_batch(hold).unwrap();
    let mut ids = Vec::new();
    for (branch, prompt) in
        [("none", "[[scenario:no-change]]"), ("denied", "[[scenario:denied]]"), ("good", "Greet")]
    {
        ids.push(stand.submit_prompt(branch, prompt).await);
    }
    let held = async || (stand.log_text().matches("could not be stored").count() >= 3).then_some(());
    stand.wait_until("all ends were held back", held).await;
    stand.kill9().await;
    database().execute_batch("DROP TRIGGER hold").unwrap();
    stand.start_again().await;
    assert_eq!(stand.completed(&ids[0]).await["outcome"], "no_changes");
    stand.failed(&ids[1], "permission_denied").await;
    ended_well(&stand, &ids[2], "good").await;
    assert_eq!(stand.runs(), 3);
    stand.finish().await;
}

/// Its log cannot be read for a while: the attempt may not end under it, for its worktree would go and a retry begin.
#[tokio::test]
async fn a_living_agent_that_cannot_be_followed_keeps_its_attempt() {
    let mut stand = Stand::new().await;
    stand.expect_error("cannot read the log");
    let id = stand.submit_prompt("a", &format!("{}[[scenario:edit]]", stand.gate_mark("g"))).await;
    stand.wait_for_tool(&id).await;
    stand.kill9().await;
    let log = stand.path("data/attempts/1/1/agent-1/log");
    std::fs::rename(&log, log.with_extension("away")).unwrap();
    std::fs::create_dir(&log).unwrap();
    stand.start_again().await;
    let told = async || stand.log_text().contains("cannot be followed").then_some(());
    stand.wait_until("the server has seen it", told).await;
    assert_eq!(stand.job(&id).await["status"], "running");
    assert_eq!((stand.worktrees().len(), stand.step_processes().is_empty()), (1, false));
    stand.kill9().await;
    std::fs::remove_dir(&log).unwrap();
    std::fs::rename(log.with_extension("away"), &log).unwrap();
    stand.start_again().await;
    stand.open_gate("g");
    ended_well(&stand, &id, "a").await;
    assert_eq!(stand.runs(), 1);
    stand.finish().await;
}

#[tokio::test]
async fn a_worktree_that_the_client_keeps_is_there_after_the_restart() {
    let mut stand = Stand::new().await;
    let client =
        json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets", "options": {"keepWorktree": true}});
    stand.post("/clients", &client).await;
    let id = stand.submit_prompt("a", "Greet").await;
    ended_well(&stand, &id, "a").await;
    assert_eq!(stand.worktrees().len(), 1);
    stand.kill9().await;
    stand.start_again().await;
    assert_eq!(stand.worktrees().len(), 1);
    stand.finish_leaving(&[&id]).await;
}

/// The push arrived, the server was killed before it knew, and the job is cancelled: the branch is the chain's own.
#[tokio::test]
async fn a_branch_whose_push_was_not_recorded_is_known_by_its_commit() {
    let mut stand = Stand::new().await;
    let script = format!("#!/bin/sh\ntouch {}\nexec sleep 5\n", stand.path("push-began").display());
    stand.remote_hook("post-receive", &script);
    let options = json!({"onBranchExists": "fail"});
    let id = stand.submit(json!({"prompt": "Greet", "branchName": "a", "options": options})).await;
    push_began(&stand).await;
    let _ = tokio::time::timeout(Duration::from_millis(500), stand.cancel(&id)).await;
    stand.kill9().await;
    stand.remove_remote_hook("post-receive");
    stand.start_again().await;
    stand.wait_for_status(&id, "cancelled").await;
    assert!(stand.tip("a").is_some(), "the push had arrived");
    let again = stand.retry(&id, json!({"mode": "fresh"})).await;
    assert_eq!(stand.completed(&again).await["outcome"], "pull_request");
    stand.finish().await;
}
