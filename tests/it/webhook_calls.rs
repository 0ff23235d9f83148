//! What an operator does about callbacks: look at them, send them again, lift a suspension, try a receiver out. Over the
//! API and from the command line.

use std::process::Output;

use serde_json::{Value, json};

use crate::fire_receiver::FireReceiver;
use crate::stand::{SECRET, Stand};

async fn offshoot(stand: &Stand, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_offshoot"));
    command.args(args).env_clear().env("HOME", stand.path("home"));
    command.env("OFFSHOOT_URL", stand.base_url()).env("OFFSHOOT_TOKEN", SECRET).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An event of a job that is cancelled before it starts.
async fn event(stand: &Stand, branch: &str, url: String) -> String {
    let id = stand.submit(json!({"prompt": "x", "branchName": branch, "osCallbackUrl": url})).await;
    stand.cancel(&id).await;
    id
}

#[tokio::test]
async fn callbacks_are_listed_shown_sent_again_and_resumed() {
    let receiver = FireReceiver::start(1, 1).await;
    let mut stand = Stand::built(Default::default()).await;
    stand.set_env("OFFSHOOT_CALLBACKS_RETRY_SECONDS", "1");
    stand.start().await;
    stand.post("/queue/pause", &json!({})).await;
    let (never, gone) = (receiver.url(0, "/never"), receiver.url(0, "/gone"));
    event(&stand, "never", never.clone()).await;
    event(&stand, "gone", gone.clone()).await;
    event(&stand, "good", receiver.url(0, "/good")).await;
    let settled = async || {
        let page = stand.get("/deliveries").await;
        let pending = page["deliveries"].to_string().contains("\"pending\"");
        (!pending && page["deliveries"].as_array().unwrap().len() == 3).then_some(page)
    };
    let page = stand.wait_until("all settled", settled).await;
    let states: Vec<_> =
        page["deliveries"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["delivered", "suspended", "dead"], "newest first: {page:#}");

    // filters and pages
    let dead = stand.get("/deliveries?state=dead").await["deliveries"][0].clone();
    assert_eq!((&dead["url"], &dead["tries"], &dead["lastStatus"]), (&json!(never), &json!(2), &json!(500)));
    let first = stand.get("/deliveries?limit=2").await;
    let next = first["nextCursor"].as_str().unwrap().to_owned();
    let second = stand.get(&format!("/deliveries?limit=2&after={next}")).await;
    assert_eq!((&second["deliveries"][0]["id"], &second["nextCursor"]), (&dead["id"], &Value::Null));
    for wrong in ["state=lost", "limit=0", "limit=201", "after=x"] {
        assert_eq!(stand.call("GET", &format!("/deliveries?{wrong}"), None).await.0, 422, "{wrong}");
    }
    let id = dead["id"].as_str().unwrap();
    let shown = stand.get(&format!("/deliveries/{id}")).await;
    assert_eq!(
        (&shown["body"]["type"], &shown["history"][1]["status"]),
        (&json!("job.cancelled"), &json!(500))
    );
    assert_eq!(shown["body"]["jobId"], shown["jobId"]);
    assert_eq!(stand.call("GET", "/deliveries/dlv-nothing", None).await.0, 404);
    let listed = offshoot(&stand, &["webhook", "ls", "--state", "dead,suspended"]).await;
    let (out, err) = (text(&listed.stdout), text(&listed.stderr));
    assert!(out.contains(id) && out.contains(&gone) && !out.contains("/good"), "{out}");
    assert!(err.contains(&format!("offshoot webhook resume {gone}")), "{err}");
    let out = text(&offshoot(&stand, &["webhook", "show", id]).await.stdout);
    assert!(out.contains("try 2") && out.contains("job.cancelled"), "{out}");

    // the receiver is mended
    receiver.behave();
    let resumed = stand.post("/webhooks/resume", &json!({"url": gone})).await;
    assert_eq!(resumed["resumed"], 1);
    assert_eq!(stand.call("POST", "/webhooks/resume", Some(&json!({"url": gone}))).await.0, 404);
    assert_eq!(stand.call("POST", "/webhooks/resume", Some(&json!({}))).await.0, 422);
    assert_eq!(stand.get("/webhooks/suspended").await["urls"], json!([]));
    let again = offshoot(&stand, &["webhook", "redeliver", "--dead"]).await;
    assert_eq!(text(&again.stdout).trim(), "1 callback made due again");
    let delivered = async || {
        let page = stand.get("/deliveries?state=delivered").await;
        (page["deliveries"].as_array().unwrap().len() == 3).then_some(())
    };
    stand.wait_until("all delivered", delivered).await;
    let got = receiver.got();
    let of_dead: Vec<_> = got.iter().filter(|one| one.path == "/never").collect();
    assert!(of_dead.len() == 3 && of_dead.iter().all(|one| one.body == of_dead[0].body));
    stand.post("/queue/resume", &json!({})).await;
    stand.finish().await;
}

#[tokio::test]
async fn a_receiver_is_tried_out_once_and_signed() {
    let receiver = FireReceiver::start(1, 1).await;
    let stand = Stand::new().await;
    let tested = stand.post("/webhooks/test", &json!({"url": receiver.url(0, "/good")})).await;
    assert_eq!(
        (&tested["accepted"], &tested["status"], &tested["signed"]),
        (&json!(true), &json!(200), &json!(true))
    );
    let got = receiver.got().pop().unwrap();
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!((&body["type"], &body["eventId"]), (&json!("webhook.test"), &json!(got.id)));
    assert!(got.signature.starts_with("v1,") && got.agent_signature.len() == 64);
    let failed = offshoot(&stand, &["webhook", "test", &receiver.url(0, "/never")]).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("the receiver answered 500"), "{}", text(&failed.stderr));
    // programs read one value, and the exit code
    for (path, code) in [("/never", 1), ("/good", 0)] {
        let ran = offshoot(&stand, &["webhook", "test", &receiver.url(0, path), "--json"]).await;
        let told: Value = serde_json::from_slice(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&ran.stdout)));
        assert_eq!((ran.status.code(), &told["accepted"]), (Some(code), &json!(code == 0)), "{told}");
    }
    // the same rules as for jobs
    for url in ["http://169.254.169.254/", "ftp://example.org/", "http://10.0.0.1/"] {
        let (status, answer) = stand.call("POST", "/webhooks/test", Some(&json!({"url": url}))).await;
        assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!("/url")), "{answer}");
    }
    assert_eq!(stand.call("POST", "/webhooks/test", Some(&json!({}))).await.0, 422);
    let id = stand.submit_prompt("one", "[[scenario:no-change]]").await;
    stand.completed(&id).await;
    stand.callback(&id).await;
    let before = stand.receiver.all().len();
    stand.post("/webhooks/test", &json!({"jobId": id})).await;
    assert_eq!(stand.receiver.all().len(), before + 1);
    assert_eq!(
        stand.get("/deliveries").await["deliveries"].as_array().unwrap().len(),
        1,
        "a test is not kept"
    );
    stand.finish().await;
}
