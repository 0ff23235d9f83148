//! Words for agents on a whole server: told once, in the conversation that they were said to, whatever dies meanwhile.

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::life_socket::{Socket, connect, until};
use crate::stand::Stand;

const BAD: &str = "[[scenario:write path=a.txt content=bad]]";
const TOLD: &str = "[[scenario:write path=told.txt content=yes]]";

async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": options})).await
}

/// Sends a frame; the answer is `accepted`, or the code of the problem.
async fn send(socket: &mut Socket, frame: Value) -> String {
    socket.send(Message::from(frame.to_string())).await.unwrap();
    loop {
        let Ok(answer) = crate::life_socket::next(socket).await else { return "closed".to_owned() };
        match answer["type"].as_str().unwrap() {
            "accepted" => {
                assert_eq!(answer["id"], frame["id"]);
                return "accepted".to_owned();
            }
            "refused" => return answer["problem"]["code"].as_str().unwrap().to_owned(),
            _ => {}
        }
    }
}

fn message(id: &str, text: &str) -> Value {
    json!({"type": "message", "id": id, "text": text})
}

fn interrupt() -> Value {
    json!({"type": "interrupt"})
}

async fn say(stand: &Stand, id: &str, frame: Value) -> String {
    send(&mut connect(stand, &format!("/ws/jobs/{id}")).await, frame).await
}

/// Interrupts; the answer.
pub(crate) async fn interrupt_now(stand: &Stand, id: &str) -> String {
    say(stand, id, interrupt()).await
}

/// Sends a message; the answer.
pub(crate) async fn tell(stand: &Stand, id: &str, name: &str, text: &str) -> String {
    say(stand, id, message(name, text)).await
}

/// The data of all events of a kind.
async fn told(stand: &Stand, id: &str, kind: &str) -> Vec<Value> {
    let text = stand.get_text(&format!("/jobs/{id}/events")).await;
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = events.map(|data| serde_json::from_str::<Value>(data).unwrap());
    events.filter(|event| event["type"] == kind).map(|event| event["data"].clone()).collect()
}

fn count(stand: &Stand, text: &str) -> usize {
    stand.prompts().matches(text).count()
}

fn attempts(job: &Value) -> usize {
    job["attempts"].as_array().unwrap().len()
}

#[tokio::test]
async fn what_is_said_is_told_in_the_same_conversation_before_the_work_is_judged() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let check = format!("echo run >> {}; test -f told.txt", stand.path("checks").display());
    let prompt = format!("{BAD}{}", stand.gate_mark("g"));
    let id = submit(&stand, "m", &prompt, json!({"verify": [check], "verifyRounds": 0})).await;
    stand.wait_for_tool(&id).await;
    let mut socket = connect(&stand, &format!("/ws/jobs/{id}?after=latest")).await;
    assert_eq!(send(&mut socket, message("m-1", TOLD)).await, "accepted");
    // an answer that was lost is asked for again
    assert_eq!(send(&mut socket, message("m-1", TOLD)).await, "accepted");
    assert_eq!(send(&mut socket, message("m-1", "something else")).await, "message_id_taken");
    stand.open_gate("g");
    let given = until(&mut socket, "message.delivered").await;
    assert_eq!(given["data"], json!({"turn": "agent-1-2", "count": 1, "ids": ["m-1"]}));
    let job = stand.completed(&id).await;
    assert_eq!((stand.git(&["show", "m:told.txt"]).as_str(), stand.runs(), attempts(&job)), ("yes", 2, 1));
    let session = job["sessionId"].as_str().unwrap();
    assert_eq!(stand.conversations(), [format!("--session-id={session}"), format!("--resume={session}")]);
    assert_eq!((count(&stand, TOLD), count(&stand, BAD)), (1, 1), "{}", stand.prompts());
    assert_eq!(std::fs::read_to_string(stand.path("checks")).unwrap(), "run\n");
    // who reads the story sees it, and by whom
    let stored = told(&stand, &id, "message.stored").await;
    assert_eq!((stored.len(), &stored[0]["id"], &stored[0]["text"]), (1, &json!("m-1"), &json!(TOLD)));
    assert_eq!(stored[0]["by"], job["submittedBy"]);
    let shown = stand.messages(&id).await;
    assert!(shown.iter().any(|one| one["content"] == format!("said to the agent: {TOLD}")), "{shown:#?}");
    let raw = stand.get_text(&format!("/jobs/{id}/log?raw=true")).await;
    assert_eq!(raw.matches("\"subtype\":\"init\"").count(), 2);
    // nobody would hear it; the stream of a job that is over ends by itself
    for frame in [message("m-2", "late"), interrupt()] {
        let answer = say(&stand, &id, frame).await;
        assert!(matches!(answer.as_str(), "job_over" | "closed"), "{answer}");
    }
    assert_eq!(told(&stand, &id, "message.stored").await.len(), 1);
    stand.finish().await;
}

#[tokio::test]
async fn an_interruption_ends_the_turn_and_not_the_job() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!("{BAD}{}", stand.gate_mark("never"));
    let id = submit(&stand, "i", &prompt, json!({})).await;
    stand.wait_for_tool(&id).await;
    assert_eq!(say(&stand, &id, message("m-1", TOLD)).await, "accepted");
    assert_eq!(say(&stand, &id, interrupt()).await, "accepted");
    let job = stand.completed(&id).await;
    assert_eq!(
        (stand.git(&["show", "i:told.txt"]).as_str(), stand.git(&["show", "i:a.txt"]).as_str()),
        ("yes", "bad")
    );
    let session = job["sessionId"].as_str().unwrap();
    assert_eq!(stand.conversations(), [format!("--session-id={session}"), format!("--resume={session}")]);
    assert_eq!((attempts(&job), &job["attempts"][0]["counted"]), (1, &json!(false)), "{job:#}");
    assert_eq!((count(&stand, "You were interrupted"), count(&stand, TOLD)), (1, 1), "{}", stand.prompts());
    assert_eq!(told(&stand, &id, "job.interrupted").await.len(), 1);
    // without a word it goes on and comes to its end
    let prompt = format!("{BAD}{}", stand.gate_mark("never-too"));
    let id = submit(&stand, "j", &prompt, json!({})).await;
    stand.wait_for_tool(&id).await;
    assert_eq!(say(&stand, &id, interrupt()).await, "accepted");
    assert_eq!(attempts(&stand.completed(&id).await), 1);
    assert_eq!((count(&stand, "You were interrupted"), stand.runs()), (2, 4));
    // there is nothing to interrupt
    stand.post("/queue/pause", &json!({})).await;
    let id = submit(&stand, "q", BAD, json!({})).await;
    assert_eq!(say(&stand, &id, interrupt()).await, "agent_not_running");
    assert_eq!(stand.cancel(&id).await.0, 200);
    stand.finish().await;
}

#[tokio::test]
async fn what_an_interrupted_turn_was_told_is_told_again() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = submit(&stand, "t", &format!("{BAD}{}", stand.gate_mark("one")), json!({})).await;
    stand.wait_for_tool(&id).await;
    let text = format!("{}{TOLD}", stand.gate_mark("two"));
    assert_eq!(say(&stand, &id, message("m-1", &text)).await, "accepted");
    stand.open_gate("one");
    stand.wait_until("it is told", async || (stand.runs() == 2).then_some(())).await;
    assert_eq!(say(&stand, &id, message("m-2", "and this")).await, "accepted");
    assert_eq!(say(&stand, &id, interrupt()).await, "accepted");
    stand.wait_until("it is told again", async || (stand.runs() == 3).then_some(())).await;
    stand.open_gate("two");
    let job = stand.completed(&id).await;
    assert_eq!((stand.git(&["show", "t:told.txt"]).as_str(), attempts(&job)), ("yes", 1));
    let prompts = stand.prompts();
    assert_eq!((count(&stand, TOLD), count(&stand, "and this")), (2, 1), "{prompts}");
    let last = &prompts[prompts.rfind("You were interrupted").expect("an interruption")..];
    assert!(last.find(TOLD) < last.find("and this"), "{prompts}");
    stand.finish().await;
}

#[tokio::test]
async fn a_repair_that_is_interrupted_is_asked_for_again() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let mend = format!("{}[[scenario:write path=a.txt content=good]]", stand.gate_mark("mend"));
    let verify = json!([format!("echo '{mend}'; grep -q good a.txt")]);
    let id = submit(&stand, "r", BAD, json!({"verify": verify})).await;
    stand.wait_until("it repairs", async || (stand.runs() == 2).then_some(())).await;
    assert_eq!(say(&stand, &id, interrupt()).await, "accepted");
    stand.wait_until("it goes on", async || (stand.runs() == 3).then_some(())).await;
    stand.open_gate("mend");
    let job = stand.completed(&id).await;
    assert_eq!((stand.git(&["show", "r:a.txt"]).as_str(), attempts(&job)), ("good", 1));
    assert_eq!(count(&stand, "Your work is not accepted yet."), 2, "{}", stand.prompts());
    stand.finish().await;
}

#[tokio::test]
async fn words_outlive_servers_and_are_told_once() {
    let mut stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!("{BAD}{}", stand.gate_mark("one"));
    let id = submit(&stand, "k", &prompt, json!({})).await;
    stand.wait_for_tool(&id).await;
    let text = format!("{}{TOLD}", stand.gate_mark("two"));
    assert_eq!(say(&stand, &id, message("m-1", &text)).await, "accepted");
    stand.kill9().await;
    stand.open_gate("one");
    stand.wait_until("it has ended", async || stand.processes().is_empty().then_some(())).await;
    stand.start_again().await;
    stand.wait_until("it is told", async || (stand.runs() == 2).then_some(())).await;
    stand.kill9().await;
    stand.start_again().await;
    stand.open_gate("two");
    let job = stand.completed(&id).await;
    assert_eq!((stand.runs(), attempts(&job), count(&stand, TOLD)), (2, 1, 1), "{job:#}");
    assert_eq!(stand.git(&["show", "k:told.txt"]), "yes");
    assert_eq!(told(&stand, &id, "message.delivered").await.len(), 1);
    // an interruption too: the server dies before its agent has ended
    let id = submit(&stand, "l", &format!("{BAD}[[scenario:ignores-term]]"), json!({})).await;
    let hangs = async || json!(stand.messages(&id).await).to_string().contains("tail -f").then_some(());
    stand.wait_until("it hangs", hangs).await;
    assert_eq!(say(&stand, &id, interrupt()).await, "accepted");
    stand.kill9().await;
    stand.start_again().await;
    assert_eq!(attempts(&stand.completed(&id).await), 1);
    assert_eq!((count(&stand, "You were interrupted"), stand.runs()), (1, 4));
    stand.finish().await;
}

#[tokio::test]
async fn what_is_said_while_the_work_is_looked_at_is_told_and_looked_at_again() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = submit(&stand, "v", BAD, json!({"verify": [stand.gated("check")]})).await;
    stand.has_run("check", 1).await;
    assert_eq!(say(&stand, &id, interrupt()).await, "agent_not_running");
    assert_eq!(say(&stand, &id, message("m-1", TOLD)).await, "accepted");
    stand.open_gate("check");
    let job = stand.completed(&id).await;
    assert_eq!((stand.runs(), &job["verify"][0]["round"]), (2, &json!(2)));
    assert_eq!(stand.git(&["show", "v:told.txt"]), "yes");
    assert_eq!(told(&stand, &id, "message.delivered").await[0]["turn"], "agent-2");
    // who has to repair it is told both at once, though no repair was left
    let check = format!("{}; test -f told.txt", stand.gated("look"));
    let id = submit(&stand, "w", BAD, json!({"verify": [check], "verifyRounds": 0})).await;
    stand.has_run("look", 1).await;
    assert_eq!(say(&stand, &id, message("m-1", TOLD)).await, "accepted");
    stand.open_gate("look");
    stand.completed(&id).await;
    let prompts = stand.prompts();
    let last = &prompts[prompts.rfind("Your work is not accepted yet.").expect("a repair")..];
    assert!(last.contains(TOLD) && stand.runs() == 4, "{prompts}");
    stand.finish().await;
}

#[tokio::test]
async fn a_server_that_comes_later_begins_no_turn_of_a_round_that_is_over() {
    let mut stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = submit(&stand, "z", BAD, json!({"verify": [stand.gated("check")]})).await;
    stand.has_run("check", 1).await;
    assert_eq!(say(&stand, &id, message("m-1", &stand.gate_mark("two"))).await, "accepted");
    // one that is being looked at, and one that somebody has gone on from
    stand.kill9().await;
    stand.start_again().await;
    stand.open_gate("check");
    stand.wait_until("it is told", async || (stand.runs() == 2).then_some(())).await;
    assert_eq!(say(&stand, &id, message("m-2", TOLD)).await, "accepted");
    stand.kill9().await;
    stand.start_again().await;
    stand.open_gate("two");
    let job = stand.completed(&id).await;
    let turns: Vec<_> =
        told(&stand, &id, "message.delivered").await.iter().map(|data| data["turn"].clone()).collect();
    assert_eq!(turns, ["agent-2", "agent-2-2"]);
    assert_eq!((stand.git(&["show", "z:told.txt"]).as_str(), stand.runs(), attempts(&job)), ("yes", 3, 1));
    stand.finish().await;
}

#[tokio::test]
async fn who_begins_anew_is_told_anew() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    // before it begins
    stand.post("/queue/pause", &json!({})).await;
    let prompt = format!("{BAD}{}", stand.gate_mark("g"));
    let id = submit(&stand, "a", &prompt, json!({})).await;
    assert_eq!(say(&stand, &id, message("m-1", TOLD)).await, "accepted");
    stand.post("/queue/resume", &json!({})).await;
    stand.wait_for_tool(&id).await;
    assert_eq!((stand.runs(), count(&stand, TOLD)), (1, 1));
    // the agent dies before it could be told the second one
    let later = "[[scenario:write path=later.txt content=yes]]";
    assert_eq!(say(&stand, &id, message("m-2", later)).await, "accepted");
    let agent: i32 =
        std::fs::read_to_string(stand.path("runs")).unwrap().split(' ').next().unwrap().parse().unwrap();
    let pid = nix::unistd::Pid::from_raw(agent);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    stand.wait_until("it begins anew", async || (count(&stand, later) == 1).then_some(())).await;
    assert_eq!((stand.runs(), count(&stand, TOLD), count(&stand, BAD)), (2, 2, 2), "{}", stand.prompts());
    stand.open_gate("g");
    assert_eq!(attempts(&stand.completed(&id).await), 2);
    assert_eq!((stand.git(&["show", "a:later.txt"]).as_str(), stand.runs()), ("yes", 2));
    // too late: the agent fails, and a retry is told
    let prompt =
        format!("{}[[scenario:api-error once={}]]", stand.gate_mark("h"), stand.gate("once").display());
    let id = submit(&stand, "b", &prompt, json!({})).await;
    stand.wait_for_tool(&id).await;
    assert_eq!(say(&stand, &id, message("m-1", TOLD)).await, "accepted");
    stand.open_gate("h");
    let job = stand.wait_for_status(&id, "failed").await;
    assert!(job["warnings"].to_string().contains("came too late for the agent"), "{}", job["warnings"]);
    let again = stand.retry(&id, json!({})).await;
    stand.completed(&again).await;
    assert_eq!((stand.git(&["show", "b:told.txt"]).as_str(), stand.runs()), ("yes", 4));
    stand.finish().await;
}

#[tokio::test]
async fn nothing_is_accepted_that_nobody_will_hear() {
    let stand = Stand::new().await;
    stand.remote_hook("pre-receive", &format!("#!/bin/sh\n{}\n", stand.gated("push")));
    let id = submit(&stand, "p", BAD, json!({})).await;
    stand.has_run("push", 1).await;
    assert_eq!(say(&stand, &id, message("m-1", TOLD)).await, "job_publishing");
    stand.open_gate("push");
    stand.completed(&id).await;
    assert_eq!(stand.runs(), 1);
    stand.remove_remote_hook("pre-receive");
    // more than a turn each is worth, and more than a prompt can hold
    stand.post("/queue/pause", &json!({})).await;
    let id = submit(&stand, "n", BAD, json!({})).await;
    let mut socket = connect(&stand, &format!("/ws/jobs/{id}")).await;
    for _ in 0..3 {
        assert_eq!(
            send(&mut socket, json!({"type": "message", "text": "x".repeat(256 * 1024)})).await,
            "accepted"
        );
    }
    for number in 3..100 {
        assert_eq!(send(&mut socket, message(&format!("m-{number}"), "x")).await, "accepted", "{number}");
    }
    assert_eq!(send(&mut socket, message("m-100", "x")).await, "too_many_messages");
    assert_eq!(stand.cancel(&id).await.0, 200);
    let id = submit(&stand, "o", BAD, json!({})).await;
    let mut socket = connect(&stand, &format!("/ws/jobs/{id}")).await;
    for _ in 0..4 {
        assert_eq!(
            send(&mut socket, json!({"type": "message", "text": "x".repeat(256 * 1024)})).await,
            "accepted"
        );
    }
    assert_eq!(send(&mut socket, message("m-4", "x")).await, "too_many_messages");
    assert_eq!(stand.cancel(&id).await.0, 200);
    stand.finish().await;
}
