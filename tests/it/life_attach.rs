//! Jobs that are taken over by hand, on a whole server: they wait, nothing is lost or paid twice, and nothing of the visit
//! outlives it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

pub(crate) const BAD: &str = "[[scenario:write path=a.txt content=bad]]";
pub(crate) const KEY: &str = "key-0123456789abcdef";
pub(crate) const OTHER: &str = "key-of-somebody-else";

pub(crate) async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
}

pub(crate) async fn attach(stand: &Stand, id: &str, key: &str) -> (u16, Value) {
    stand.call("POST", &format!("/jobs/{id}/attach"), Some(&json!({"key": key}))).await
}

/// The code of a refusal.
async fn refused(stand: &Stand, id: &str) -> String {
    let (status, answer) = attach(stand, id, KEY).await;
    assert_eq!(status, 409, "{answer:#}");
    answer["code"].as_str().unwrap().to_owned()
}

/// Takes the job over; the answer, and its worktree.
pub(crate) async fn taken(stand: &Stand, id: &str) -> (Value, PathBuf) {
    let (status, answer) = attach(stand, id, KEY).await;
    assert_eq!(status, 200, "{answer:#}");
    let worktree = PathBuf::from(answer["worktreePath"].as_str().unwrap());
    (answer, worktree)
}

pub(crate) async fn detach(stand: &Stand, id: &str, goes_on: &str) -> (u16, Value) {
    let body = json!({"key": KEY, "goesOn": goes_on});
    stand.call("POST", &format!("/jobs/{id}/detach"), Some(&body)).await
}

/// A job whose agent has written `a.txt` and waits for a gate that nobody opens.
pub(crate) async fn at_work(stand: &Stand, branch: &str, options: Value) -> String {
    let prompt = format!("{BAD}{}", stand.gate_mark("never"));
    let id = submit(stand, branch, &prompt, options).await;
    stand.wait_for_tool(&id).await;
    id
}

/// Such a job that was taken over, with something in its worktree that a person has written.
pub(crate) async fn by_hand(stand: &Stand, branch: &str, options: Value) -> (String, PathBuf) {
    let id = at_work(stand, branch, options).await;
    let (_, worktree) = taken(stand, &id).await;
    write(&worktree, "by-hand.txt");
    (id, worktree)
}

pub(crate) fn attempts(job: &Value) -> usize {
    job["attempts"].as_array().unwrap().len()
}

pub(crate) fn count(stand: &Stand, text: &str) -> usize {
    stand.prompts().matches(text).count()
}

/// The names and data of the job's events.
async fn events(stand: &Stand, id: &str) -> Vec<(String, Value)> {
    let text = stand.get_text(&format!("/jobs/{id}/events")).await;
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = events.map(|data| serde_json::from_str::<Value>(data).unwrap());
    events
        .map(|event| (event["type"].as_str().unwrap_or_default().to_owned(), event["data"].clone()))
        .collect()
}

/// Something that the visitor starts and leaves running, as the command line starts it.
pub(crate) fn started_by_hand(answer: &Value) -> Child {
    let env = answer["env"].as_object().unwrap();
    Command::new("/bin/sleep")
        .arg("600")
        .current_dir(answer["worktreePath"].as_str().unwrap())
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

pub(crate) async fn is_ended(stand: &Stand, mut child: Child) {
    stand.wait_until("what was left running ends", async || child.try_wait().unwrap()).await;
}

pub(crate) fn write(worktree: &Path, name: &str) {
    std::fs::write(worktree.join(name), "by hand\n").unwrap();
}

#[tokio::test]
async fn work_that_is_done_by_hand_is_looked_at_and_published_without_the_agent() {
    let stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    stand.install_noting_claude("");
    let id = at_work(&stand, "h", json!({"verify": ["test -f by-hand.txt"], "verifyRounds": 0})).await;
    let (answer, worktree) = taken(&stand, &id).await;
    assert!(stand.step_processes().is_empty(), "{:#?}", stand.step_processes());
    let job = stand.job(&id).await;
    let session = job["sessionId"].as_str().unwrap();
    assert_eq!((&job["status"], &job["waiting"]["for"]), (&json!("queued"), &json!("attached")), "{job:#}");
    let command: Vec<_> =
        answer["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(command.last(), Some(&format!("--resume={session}").as_str()), "{answer:#}");
    assert_eq!((&answer["sessionId"], &answer["branchName"]), (&json!(session), &json!("h")));
    // who asks again has it still, and nobody else gets it
    assert_eq!(attach(&stand, &id, KEY).await.0, 200);
    let (status, other) = attach(&stand, &id, OTHER).await;
    assert_eq!((status, &other["code"]), (409, &json!("job_attached")), "{other:#}");
    assert!(other["detail"].as_str().unwrap().contains("admin"), "{other:#}");
    // its slot is free, its branch is not
    let between = submit(&stand, "between", BAD, json!({})).await;
    stand.completed(&between).await;
    let busy = stand.try_submit(json!({"prompt": BAD, "branchName": "h"})).await;
    assert_eq!((busy.0, &busy.1["code"]), (409, &json!("branch_busy")));
    write(&worktree, "by-hand.txt");
    let left = started_by_hand(&answer);
    assert_eq!(detach(&stand, &id, "publish").await.0, 200);
    let job = stand.completed(&id).await;
    is_ended(&stand, left).await;
    assert_eq!(stand.git(&["show", "h:by-hand.txt"]), "by hand");
    assert_eq!(stand.git(&["show", "h:a.txt"]), "bad");
    assert_eq!((attempts(&job), stand.runs()), (2, 2), "{job:#}");
    assert_eq!(job["attempts"][0]["counted"], false, "{job:#}");
    let told = events(&stand, &id).await;
    let held = told.iter().find(|(kind, _)| kind == "job.held").expect("it was held");
    assert_eq!((&held.1["message"], &held.1["reason"]), (&json!("admin works on it by hand."), &Value::Null));
    let said = stand.messages(&id).await;
    for text in ["admin takes the job over", "handed back by admin: what is there is published"] {
        assert!(said.iter().any(|one| one["content"].as_str().unwrap().starts_with(text)), "{said:#?}");
    }
    assert_eq!(refused(&stand, &id).await, "job_over");
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_that_goes_on_does_so_in_its_conversation_with_what_was_done_by_hand() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let (id, _) = by_hand(&stand, "g", json!({})).await;
    assert_eq!(detach(&stand, &id, "agent").await.0, 200);
    let job = stand.completed(&id).await;
    let session = job["sessionId"].as_str().unwrap();
    assert_eq!(stand.conversations(), [format!("--session-id={session}"), format!("--resume={session}")]);
    assert_eq!(count(&stand, "Somebody took this work over"), 1, "{}", stand.prompts());
    assert_eq!(count(&stand, BAD), 1, "{}", stand.prompts());
    assert_eq!((stand.git(&["show", "g:by-hand.txt"]).as_str(), attempts(&job)), ("by hand", 2));
    stand.finish().await;
}

#[tokio::test]
async fn work_by_hand_that_the_owners_commands_refuse_goes_to_the_agent() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let mend = "[[scenario:write path=b.txt content=good]]";
    let (id, _) = by_hand(&stand, "r", json!({"verify": [format!("echo '{mend}'; test -f b.txt")]})).await;
    detach(&stand, &id, "publish").await;
    let job = stand.completed(&id).await;
    assert_eq!(
        (stand.git(&["show", "r:b.txt"]).as_str(), stand.git(&["show", "r:by-hand.txt"]).as_str()),
        ("good", "by hand")
    );
    let session = job["sessionId"].as_str().unwrap();
    assert_eq!(stand.conversations(), [format!("--session-id={session}"), format!("--resume={session}")]);
    assert_eq!(count(&stand, "Your work is not accepted yet."), 1);
    assert_eq!(count(&stand, "Somebody took this work over"), 1);
    stand.finish().await;
}

#[tokio::test]
async fn a_visit_outlives_the_server_and_ends_as_it_would_have() {
    let mut stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = at_work(&stand, "s", json!({"verify": ["test -f by-hand.txt"], "verifyRounds": 0})).await;
    let (answer, worktree) = taken(&stand, &id).await;
    let mut left = started_by_hand(&answer);
    stand.kill9().await;
    write(&worktree, "by-hand.txt");
    stand.start_again().await;
    assert_eq!(stand.job(&id).await["waiting"]["for"], "attached");
    assert!(left.try_wait().unwrap().is_none() && worktree.join("a.txt").exists());
    let prolonged =
        stand.call("POST", &format!("/jobs/{id}/attach/prolong"), Some(&json!({"key": KEY}))).await;
    assert_eq!(prolonged.0, 200, "{:#}", prolonged.1);
    assert_eq!(detach(&stand, &id, "publish").await.0, 200);
    stand.kill9().await;
    stand.start_again().await;
    stand.completed(&id).await;
    is_ended(&stand, left).await;
    assert_eq!((stand.git(&["show", "s:by-hand.txt"]).as_str(), stand.runs()), ("by hand", 1));
    // the server dies while the agent makes way
    let id = submit(&stand, "t", &format!("{BAD}[[scenario:ignores-term]]"), json!({})).await;
    let hangs = async || json!(stand.messages(&id).await).to_string().contains("tail -f").then_some(());
    stand.wait_until("it hangs", hangs).await;
    let wish = async {
        let body = json!({"key": KEY});
        let _ = stand.call("POST", &format!("/jobs/{id}/attach"), Some(&body)).await;
    };
    let asked =
        async || json!(stand.messages(&id).await).to_string().contains("takes the job over").then_some(());
    tokio::select! {
        () = wish => {}
        () = stand.wait_until("it is asked", asked) => {}
    }
    stand.kill9().await;
    stand.start_again().await;
    let parked = |job: &Value| job["waiting"]["for"] == "attached";
    stand.wait_for(&id, "it makes way", parked).await;
    taken(&stand, &id).await;
    assert_eq!(detach(&stand, &id, "publish").await.0, 200);
    let job = stand.completed(&id).await;
    assert_eq!((stand.runs(), attempts(&job)), (2, 2), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn who_leaves_while_the_job_makes_way_costs_no_attempt_and_publishes_nothing() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!("{BAD}[[scenario:ignores-term]]");
    let id = submit(&stand, "l", &prompt, json!({"maxAttempts": 1})).await;
    let hangs = async || json!(stand.messages(&id).await).to_string().contains("tail -f").then_some(());
    stand.wait_until("it hangs", hangs).await;
    let leave = async {
        let asked = async || {
            json!(stand.messages(&id).await).to_string().contains("takes the job over").then_some(())
        };
        stand.wait_until("it is asked", asked).await;
        (detach(&stand, &id, "publish").await, detach(&stand, &id, "agent").await)
    };
    let (_, (publish, agent)) = tokio::join!(attach(&stand, &id, KEY), leave);
    assert_eq!((publish.0, agent.0), (503, 200), "{:#} {:#}", publish.1, agent.1);
    let job = stand.completed(&id).await;
    let counted: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|one| &one["counted"]).collect();
    assert_eq!(counted.first(), Some(&&json!(false)), "{job:#}");
    assert_eq!(stand.runs(), 2);
    stand.finish().await;
}

#[tokio::test]
async fn a_job_can_be_cancelled_and_its_client_deleted_while_somebody_has_it() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = at_work(&stand, "c", json!({})).await;
    let (answer, worktree) = taken(&stand, &id).await;
    let left = started_by_hand(&answer);
    write(&worktree, "by-hand.txt");
    let (status, cancelled) = stand.cancel(&id).await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")), "{cancelled:#}");
    is_ended(&stand, left).await;
    let (status, late) = detach(&stand, &id, "publish").await;
    assert_eq!((status, &late["code"]), (409, &json!("not_attached")));
    // what was done by hand is kept
    let kept = async || {
        let list = stand.get(&format!("/jobs/{id}/snapshots")).await;
        list["snapshots"].as_array().unwrap().first().cloned()
    };
    let kept = stand.wait_until("it is kept", kept).await;
    let tar = stand.get_text(&format!("/jobs/{id}/snapshots/{}", kept["name"].as_str().unwrap())).await;
    assert!(tar.contains("by-hand.txt"));
    let id = at_work(&stand, "d", json!({})).await;
    let (answer, _) = taken(&stand, &id).await;
    let left = started_by_hand(&answer);
    let client = stand.job(&id).await["clientId"].as_str().unwrap().to_owned();
    let (status, busy) = stand.call("DELETE", &format!("/clients/{client}"), None).await;
    assert_eq!((status, &busy["code"]), (409, &json!("client_busy")), "{busy:#}");
    let (status, gone) = stand.call("DELETE", &format!("/clients/{client}?force=true"), None).await;
    assert_eq!(status, 200, "{gone:#}");
    is_ended(&stand, left).await;
    assert_eq!(stand.job(&id).await["status"], "cancelled");
    stand.finish().await;
}

#[tokio::test]
async fn a_job_is_taken_over_from_the_first_turn_until_its_commit() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    stand.post("/queue/pause", &json!({})).await;
    let id =
        submit(&stand, "e", BAD, json!({"setup": [stand.gated("set-up")], "verify": [stand.gated("check")]}))
            .await;
    assert_eq!(refused(&stand, &id).await, "agent_not_begun");
    stand.post("/queue/resume", &json!({})).await;
    stand.has_run("set-up", 1).await;
    assert_eq!(refused(&stand, &id).await, "agent_not_begun");
    stand.open_gate("set-up");
    // while its work is looked at: that is begun anew, the agent is not
    stand.has_run("check", 1).await;
    let (_, worktree) = taken(&stand, &id).await;
    write(&worktree, "by-hand.txt");
    stand.open_gate("check");
    detach(&stand, &id, "publish").await;
    stand.completed(&id).await;
    stand.has_run("check", 2).await;
    assert_eq!((stand.git(&["show", "e:by-hand.txt"]).as_str(), stand.runs()), ("by hand", 1));
    // while it is pushed
    stand.remote_hook("pre-receive", &format!("#!/bin/sh\n{}\n", stand.gated("push")));
    let id = submit(&stand, "p", BAD, json!({})).await;
    stand.has_run("push", 1).await;
    assert_eq!(refused(&stand, &id).await, "job_publishing");
    stand.open_gate("push");
    stand.completed(&id).await;
    stand.remove_remote_hook("pre-receive");
    // while it waits for its login, and two at once
    let once = stand.gate("once");
    let prompt = format!("{BAD}[[scenario:usage-limit in=3600 once={}]]", once.display());
    let id = submit(&stand, "u", &prompt, json!({})).await;
    stand.wait_for(&id, "it waits", |job| job["waiting"]["for"] == "usage_limit").await;
    let (one, two) = tokio::join!(attach(&stand, &id, KEY), attach(&stand, &id, OTHER));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{:#} {:#}", one.1, two.1);
    let key = if one.0 == 200 { KEY } else { OTHER };
    // what is not said is not published, and what nobody knows is named
    let path = format!("/jobs/{id}/detach");
    let (status, unsaid) = stand.call("POST", &path, Some(&json!({"key": key, "goes_on": "agent"}))).await;
    assert_eq!((status, &unsaid["errors"][0]["pointer"]), (422, &json!("/goesOn")), "{unsaid:#}");
    let body = json!({"key": key, "goesOn": "publish", "goes_on": "agent"});
    let (status, handed) = stand.call("POST", &path, Some(&body)).await;
    assert_eq!(
        (status, &handed["warnings"]),
        (200, &json!(["unknown member /goes_on was ignored"])),
        "{handed:#}"
    );
    // what is there needs no login
    let job = stand.completed(&id).await;
    assert_eq!((stand.git(&["show", "u:a.txt"]).as_str(), attempts(&job)), ("bad", 2));
    assert_eq!(stand.call("POST", "/queue/try-now", Some(&json!({}))).await.0, 200);
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_without_a_conversation_leaves_a_shell_and_its_files() {
    let stand = Stand::new().await;
    let prompt = format!(
        "echo bad > a.txt; [ -e by-hand.txt ] || {{ touch {}; sleep 600; }}",
        stand.path("began").display()
    );
    let options = json!({"agent": "sh"});
    let began = async || stand.path("began").exists().then_some(());
    let id = submit(&stand, "x", &prompt, options.clone()).await;
    stand.wait_until("it works", began).await;
    let (answer, worktree) = taken(&stand, &id).await;
    assert_eq!(
        (&answer["sessionId"], answer["command"].as_array().unwrap().len()),
        (&Value::Null, 1),
        "{answer:#}"
    );
    write(&worktree, "by-hand.txt");
    detach(&stand, &id, "agent").await;
    let job = stand.completed(&id).await;
    assert_eq!((stand.git(&["show", "x:by-hand.txt"]).as_str(), attempts(&job)), ("by hand", 2));
    let warnings = job["warnings"].to_string();
    assert!(warnings.contains("cannot continue a conversation") && warnings.contains("paid anew"), "{job:#}");
    std::fs::remove_file(stand.path("began")).unwrap();
    let id = submit(&stand, "y", &prompt, options).await;
    stand.wait_until("it works", began).await;
    let (_, worktree) = taken(&stand, &id).await;
    write(&worktree, "c.txt");
    detach(&stand, &id, "publish").await;
    let job = stand.completed(&id).await;
    assert_eq!(job["warnings"], json!([]), "its agent does not run again: nothing is begun afresh");
    assert_eq!(
        (stand.git(&["show", "y:c.txt"]).as_str(), stand.git(&["show", "y:a.txt"]).as_str()),
        ("by hand", "bad")
    );
    stand.finish().await;
}

#[tokio::test]
async fn words_for_the_agent_are_told_once_around_a_visit() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let early = "[[scenario:write path=early.txt content=yes]]";
    let late = "[[scenario:write path=late.txt content=yes]]";
    stand.post("/queue/pause", &json!({})).await;
    let prompt = format!("{BAD}{}", stand.gate_mark("never"));
    let id = submit(&stand, "w", &prompt, json!({})).await;
    assert_eq!(crate::life_inward::tell(&stand, &id, "m-1", early).await, "accepted");
    stand.post("/queue/resume", &json!({})).await;
    stand.wait_for_tool(&id).await;
    taken(&stand, &id).await;
    assert_eq!(crate::life_inward::tell(&stand, &id, "m-2", late).await, "accepted");
    detach(&stand, &id, "publish").await;
    stand.completed(&id).await;
    assert_eq!((count(&stand, early), count(&stand, late), stand.runs()), (1, 1, 2), "{}", stand.prompts());
    assert_eq!(stand.git(&["show", "w:late.txt"]), "yes");
    stand.finish().await;
}

/// Wants the job while the step that runs comes to its end at this gate, and lets nothing be written before both are so far: the
/// wish comes to stand where no step runs.
async fn wanted_at_the_end(stand: &Stand, id: &str, gate: &str) -> PathBuf {
    let mut database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    let held = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let end = async {
        stand.open_gate(gate);
        let is_over = async || stand.processes().is_empty().then_some(());
        stand.wait_until("the step is over", is_over).await;
        // one has the writer, so the other waits
        let waits = async || {
            let metrics = stand.get_text("/metrics").await;
            let waiting = metrics.lines().find_map(|line| line.strip_prefix("offshoot_db_writes_waiting "));
            (waiting.unwrap().parse::<f64>().unwrap() >= 1.0).then_some(())
        };
        stand.wait_until("both wait", waits).await;
        held.rollback().unwrap();
    };
    let ((_, worktree), ()) = tokio::join!(taken(stand, id), end);
    worktree
}

#[tokio::test]
async fn who_comes_between_two_steps_is_made_way_for_before_the_next_one_begins() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let check = format!("{}; test -f by-hand.txt", stand.gated("check"));
    let prompt = format!("{BAD}{}", stand.gate_mark("turn"));
    let id = submit(&stand, "n", &prompt, json!({"verify": [check]})).await;
    stand.wait_for_tool(&id).await;
    // between the turn of the agent and the look at its work
    wanted_at_the_end(&stand, &id, "turn").await;
    let begun = |what: &str| stand.log_text().matches(what).count();
    assert_eq!((begun("agent started"), begun("command started")), (1, 0));
    detach(&stand, &id, "publish").await;
    stand.has_run("check", 1).await;
    // between the look, which refuses it, and the turn that would repair it
    let worktree = wanted_at_the_end(&stand, &id, "check").await;
    assert_eq!((begun("agent started"), begun("command started")), (1, 1));
    write(&worktree, "by-hand.txt");
    detach(&stand, &id, "publish").await;
    let job = stand.completed(&id).await;
    assert_eq!((stand.runs(), attempts(&job), &job["warnings"]), (1, 3, &json!([])), "{job:#}");
    stand.finish().await;
}
