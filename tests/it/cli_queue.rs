//! `offshoot queue` against a whole server whose agent is not there.

use serde_json::{Value, json};

use crate::rescue::offshoot;
use crate::stand::{Plan, Stand};

#[tokio::test]
async fn a_held_login_is_tried_when_somebody_says_so() {
    let stand = Stand::with(Plan { no_claude: true, ..Plan::default() }).await;
    let id = stand.submit_prompt("held", "Greet").await;
    let waits =
        |attempt: i64| move |job: &Value| job["waiting"]["for"] == "login" && job["attempt"] == attempt;
    stand.wait_for(&id, "held", waits(1)).await;
    let (code, out, err) = offshoot(&stand, &["queue", "status"]).await;
    assert!(code == 0 && out.contains("held") && out.contains("0 of 2 running, 1 waiting."), "{out}{err}");
    // another login that is not held, and then all that are: in vain, and the queue is shown each time
    let (code, out, err) = offshoot(&stand, &["queue", "try-now", "sh"]).await;
    assert!(code == 0 && out.lines().any(|line| line.contains("0 of 2 running, 1 waiting.")), "{out}{err}");
    assert_eq!(stand.job(&id).await["attempt"], 1, "nobody has asked for this one");
    let (code, out, err) = offshoot(&stand, &["queue", "try-now"]).await;
    assert!(code == 0 && out.contains("widgets") && out.contains("Queue open."), "{out}{err}");
    stand.wait_for(&id, "tried in vain", waits(2)).await;
    let (code, _, err) = offshoot(&stand, &["queue", "try-now", "cluade"]).await;
    assert!(code == 2 && err.contains("must be the name of a configured agent"), "{code} {err}");
    stand.install_claude();
    let (code, out, err) = offshoot(&stand, &["queue", "try-now", "claude", "--json"]).await;
    let queue: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let listed = ["running", "queued"].map(|place| queue[place].as_array().unwrap().len());
    assert_eq!((code, listed[0] + listed[1], &queue["paused"]), (0, 1, &json!(false)), "{queue:#}");
    let job = stand.completed(&id).await;
    let attempts = job["attempts"].as_array().unwrap();
    let counted = attempts.iter().filter(|attempt| attempt["counted"] == true).count();
    assert_eq!((attempts.len(), counted), (3, 0), "{job:#}");
    stand.finish().await;
}
