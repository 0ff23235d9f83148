//! What goes on after a visit when something comes in between, on a whole server: the agent hears of the visit, waits for its
//! login, and is not paid for what a person has done.

use serde_json::{Value, json};

use crate::life_attach::{BAD, attempts, by_hand, count, detach, submit};
use crate::life_inward::tell;
use crate::stand::Stand;

const VISITED: &str = "Somebody took this work over from you";
const CUT_OFF: &str = "Your work on this was cut off";

fn is_held(job: &Value) -> bool {
    job["status"] == "queued" && job["waiting"]["for"] == "usage_limit"
}

/// A word at which the agent meets its limit once, and then never again.
fn limited(stand: &Stand) -> String {
    format!("[[scenario:usage-limit in=3600 once={}]]", stand.gate("limited").display())
}

#[tokio::test]
async fn the_agent_is_told_of_a_visit_until_a_turn_of_it_has_ended() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let (id, _) = by_hand(&stand, "v", json!({})).await;
    stand.open_gate("never");
    assert_eq!(tell(&stand, &id, "m-1", &limited(&stand)).await, "accepted");
    assert_eq!(detach(&stand, &id, "agent").await.0, 200);
    stand.wait_for(&id, "it waits for its login", is_held).await;
    assert_eq!((count(&stand, VISITED), count(&stand, BAD)), (1, 1), "{}", stand.prompts());
    stand.post("/queue/try-now", &json!({})).await;
    stand.completed(&id).await;
    // the files were not as it had left them
    assert_eq!((count(&stand, VISITED), count(&stand, CUT_OFF)), (2, 0), "{}", stand.prompts());
    assert_eq!(stand.git(&["show", "v:by-hand.txt"]), "by hand");
    stand.finish().await;
}

#[tokio::test]
async fn a_retry_in_the_conversation_is_told_of_a_visit_that_a_cancel_ended() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let (id, _) = by_hand(&stand, "c", json!({})).await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    stand.open_gate("never");
    let again = stand.post(&format!("/jobs/{id}/retry"), &json!({"mode": "resume"})).await;
    stand.completed(again["id"].as_str().unwrap()).await;
    assert_eq!((count(&stand, VISITED), count(&stand, CUT_OFF)), (1, 0), "{}", stand.prompts());
    assert_eq!(stand.git(&["show", "c:by-hand.txt"]), "by hand");
    stand.finish().await;
}

#[tokio::test]
async fn a_repair_after_a_visit_waits_for_its_login() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let mend = "[[scenario:write path=b.txt content=good]]";
    let (id, _) = by_hand(&stand, "r", json!({"verify": [format!("echo '{mend}'; test -f b.txt")]})).await;
    let other = submit(&stand, "o", &format!("{BAD}{}", limited(&stand)), json!({})).await;
    stand.wait_for(&other, "it waits for its login", is_held).await;
    assert_eq!(detach(&stand, &id, "publish").await.0, 200);
    let job = stand.wait_for(&id, "it waits for its login", is_held).await;
    assert_eq!((stand.runs(), &job["attempts"][1]["counted"]), (2, &json!(false)), "{job:#}");
    stand.post("/queue/try-now", &json!({})).await;
    stand.completed(&id).await;
    stand.completed(&other).await;
    assert_eq!(stand.git(&["show", "r:b.txt"]), "good");
    assert_eq!(stand.git(&["show", "r:by-hand.txt"]), "by hand");
    stand.finish().await;
}

#[tokio::test]
async fn a_retry_of_what_a_person_has_done_publishes_that_without_the_agent() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let flaw = stand.path("flaw");
    let options = json!({"setup": [format!("[ ! -e {0} ] || {{ rm {0}; exit 7; }}", flaw.display())]});
    let (id, _) = by_hand(&stand, "u", options).await;
    std::fs::write(&flaw, "").unwrap();
    assert_eq!(detach(&stand, &id, "publish").await.0, 200);
    stand.failed(&id, "setup_failed").await;
    let runs = stand.runs();
    let again = stand.post(&format!("/jobs/{id}/retry"), &json!({})).await;
    let job = stand.completed(again["id"].as_str().unwrap()).await;
    assert_eq!((stand.runs(), attempts(&job)), (runs, 1), "{job:#}");
    assert_eq!(stand.git(&["show", "u:by-hand.txt"]), "by hand");
    assert_eq!(stand.git(&["show", "u:a.txt"]), "bad");
    stand.finish().await;
}
