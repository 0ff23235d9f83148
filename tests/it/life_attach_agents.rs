//! Jobs that are given another agent while somebody has them: none is asked for a conversation that it never held.

use serde_json::{Value, json};

use crate::life_attach::{BAD, at_work, by_hand, count, detach, submit, taken, write};
use crate::life_logins::give;
use crate::stand::Stand;

/// Two entries of one program that notes which conversation it is to hold.
async fn two_agents() -> Stand {
    let mut stand = Stand::built(crate::stand::Plan::default()).await;
    stand.install_noting_claude("");
    let two =
        format!("[agents.two]\nkind = \"claude\"\ncommand = \"{}\"\n", stand.path("agents/claude").display());
    stand.add_config(&two);
    stand.start().await;
    stand
}

/// That the job has exactly this one word on its conversation.
fn says(job: &Value, text: &str) {
    let warnings = job["warnings"].as_array().unwrap();
    assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().contains(text), "{job:#}");
}

fn new(told: &[String]) -> bool {
    told.iter().all(|one| one.starts_with("--session-id="))
}

#[tokio::test]
async fn an_agent_that_comes_after_a_visit_begins_a_conversation_of_its_own() {
    let stand = two_agents().await;
    let (id, _) = by_hand(&stand, "g", json!({})).await;
    give(&stand, &stand.job(&id).await, "two").await;
    // it is asked for the work as well, which waits there
    stand.open_gate("never");
    detach(&stand, &id, "agent").await;
    let job = stand.completed(&id).await;
    assert_eq!(job["agent"], "two");
    let told = stand.conversations();
    assert!(told.len() == 2 && new(&told), "{told:?}");
    assert_eq!(told[1], format!("--session-id={}", job["sessionId"].as_str().unwrap()));
    says(&job, "another agent held it");
    // it is told what it does not know
    assert_eq!((count(&stand, "Somebody took this work over"), count(&stand, BAD)), (1, 2));
    assert_eq!(stand.git(&["show", "g:by-hand.txt"]), "by hand");
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_that_repairs_what_was_done_by_hand_begins_a_conversation_of_its_own() {
    let stand = two_agents().await;
    // where it is not needed for anything, nothing is said of it
    let id = at_work(&stand, "p", json!({})).await;
    taken(&stand, &id).await;
    give(&stand, &stand.job(&id).await, "two").await;
    detach(&stand, &id, "publish").await;
    assert_eq!(stand.completed(&id).await["warnings"], json!([]));
    let mend = "[[scenario:write path=b.txt content=good]]";
    let options = json!({"verify": [format!("echo '{mend}'; test -f b.txt")]});
    let id = at_work(&stand, "r", options).await;
    taken(&stand, &id).await;
    give(&stand, &stand.job(&id).await, "claude").await;
    stand.open_gate("never");
    detach(&stand, &id, "publish").await;
    let job = stand.completed(&id).await;
    let told = stand.conversations();
    assert!(told.len() == 3 && new(&told), "{told:?}");
    says(&job, "another agent held it");
    assert_eq!((stand.git(&["show", "r:b.txt"]).as_str(), &job["agent"]), ("good", &json!("claude")));
    stand.finish().await;
}

/// One that has no conversations is not told to go on with one either.
#[tokio::test]
async fn a_plain_command_that_comes_after_a_visit_is_given_its_prompt_as_it_stands() {
    let stand = two_agents().await;
    // to the shell the first line is no command, and the second one is
    let prompt = format!("{BAD}{}\necho x > x.txt", stand.gate_mark("never"));
    let id = submit(&stand, "s", &prompt, json!({})).await;
    stand.wait_for_tool(&id).await;
    let (_, worktree) = taken(&stand, &id).await;
    write(&worktree, "by-hand.txt");
    give(&stand, &stand.job(&id).await, "sh").await;
    detach(&stand, &id, "agent").await;
    let job = stand.completed(&id).await;
    says(&job, "cannot continue a conversation");
    assert_eq!(
        (stand.git(&["show", "s:x.txt"]).as_str(), stand.git(&["show", "s:by-hand.txt"]).as_str()),
        ("x", "by hand")
    );
    let told = json!(stand.messages(&id).await).to_string();
    assert!(!told.contains("Your: not found") && !told.contains("Your: command not found"), "{told}");
    stand.finish().await;
}

/// What a visitor is given to open is the conversation of the agent that he is given.
#[tokio::test]
async fn a_visitor_is_not_given_the_conversation_of_another_agent() {
    let stand = two_agents().await;
    let id = at_work(&stand, "v", json!({})).await;
    let (answer, _) = taken(&stand, &id).await;
    assert!(answer["sessionId"].is_string() && answer["agent"] == "claude", "{answer:#}");
    give(&stand, &stand.job(&id).await, "two").await;
    // the other one is given the job, and is too old to come to a conversation
    stand.install("claude", "#!/bin/sh\necho 2.0.1\n");
    detach(&stand, &id, "agent").await;
    stand.wait_for(&id, "held", |job| job["waiting"]["for"] == "login").await;
    let (answer, _) = taken(&stand, &id).await;
    assert_eq!((&answer["agent"], &answer["sessionId"]), (&json!("two"), &Value::Null), "{answer:#}");
    detach(&stand, &id, "publish").await;
    assert_eq!(stand.completed(&id).await["outcome"], "pull_request");
    stand.finish().await;
}
