//! Named tokens of a whole server: over a restart, through a WebSocket, and from the command line.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::cli::{command, finish};
use crate::life_socket::{Socket, next, until};
use crate::stand::Stand;

/// What the frame that ends a conversation says: 1008, a rule was broken (RFC 6455, section 7.4.1).
const POLICY: Option<u16> = Some(1008);

async fn connect(stand: &Stand, path: &str, token: &str) -> Socket {
    let url = format!("{}{path}", stand.base_url().replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
    connect_async(request).await.unwrap().0
}

async fn status(stand: &Stand, token: &str, path: &str) -> u16 {
    let url = format!("{}{path}", stand.base_url());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
}

/// From the command line, with that token: what it printed and how it ended.
async fn offshoot(stand: &Stand, token: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = command(&stand.base_url(), arguments);
    command.env("OFFSHOOT_TOKEN", token);
    let ran = finish(command, "").await;
    assert!(ran.code != 0 || !ran.err.contains("ofs_"), "{ran:?}");
    (ran.code, ran.out.trim().to_owned())
}

#[tokio::test]
async fn a_token_outlives_the_server_and_nothing_outlives_the_token() {
    let mut stand = Stand::new().await;
    let script = format!("echo one; while [ ! -e {} ]; do sleep 0.02; done", stand.gate("g").display());
    let body = json!({"prompt": script, "branchName": "w", "options": {"agent": "sh", "publish": "branch"}});
    let id = stand.submit(body).await;
    let secret = crate::stand::SECRET;
    let (code, token) =
        offshoot(&stand, secret, &["token", "new", "ci", "--scope", "read", "--expires", "30d"]).await;
    assert_eq!((code, &token[..4]), (0, "ofs_"), "the token alone is on standard output");
    assert_eq!(status(&stand, &token, "/jobs").await, 200);
    assert_eq!(offshoot(&stand, &token, &["ls", "--json"]).await.0, 0);
    assert_eq!(offshoot(&stand, &token, &["cancel", &id]).await.0, 4, "not authorised");
    stand.kill9().await;
    stand.start_again().await;
    assert_eq!(status(&stand, &token, "/jobs").await, 200);
    let mut socket = connect(&stand, &format!("/ws/jobs/{id}"), &token).await;
    until(&mut socket, "agent.output").await;
    let (code, listed) = offshoot(&stand, secret, &["token", "ls", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, &listed["tokens"][0]["name"]), (0, &json!("ci")));
    assert_ne!(listed["tokens"][0]["lastUsedAt"], Value::Null);
    assert_eq!(offshoot(&stand, secret, &["token", "revoke", "ci"]).await.0, 0);
    let close = async {
        loop {
            match next(&mut socket).await {
                Ok(_) => {}
                Err(code) => return code,
            }
        }
    };
    let code = tokio::time::timeout(Duration::from_secs(5), close).await;
    assert_eq!(code.expect("the conversation ends in time"), POLICY);
    assert_eq!(status(&stand, &token, "/jobs").await, 401);
    stand.kill9().await;
    stand.start_again().await;
    assert_eq!(status(&stand, &token, "/jobs").await, 401, "what was revoked stays so");
    stand.open_gate("g");
    stand.completed(&id).await;
    assert!(!stand.log_text().contains(token.rsplit('_').next().unwrap()), "it is in no log");
}

#[tokio::test]
async fn a_token_that_is_not_there_is_told_with_what_to_type() {
    let stand = Stand::new().await;
    let mut command = command(&stand.base_url(), &["token", "revoke", "nobody"]);
    command.env("OFFSHOOT_TOKEN", crate::stand::SECRET);
    let ran = finish(command, "").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("offshoot token ls"), "{ran:?}");
}
