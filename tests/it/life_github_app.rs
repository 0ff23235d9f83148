//! A GitHub App in place of somebody's token: pull requests and clones by https with the token of its installation.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use axum::http::Method;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::fake_github::{APP_ID, INSTALLATION_ID};
use crate::stand::{Plan, Stand};

const KEY: &str = include_str!("forge_app_key_pkcs1.pem");

/// A stand whose server has this key, and nobody's token.
async fn with_key(pem: &str) -> Stand {
    let mut stand = Stand::built(Plan::default()).await;
    let file = stand.path("home/app.pem");
    std::fs::write(&file, pem).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    stand.set_env("GITHUB_TOKEN", "");
    stand.set_env("OFFSHOOT_GITHUB_APP_ID", APP_ID);
    stand.set_env("OFFSHOOT_GITHUB_APP_KEY_FILE", "~/app.pem");
    stand.set_env("OFFSHOOT_GITHUB_APP_INSTALLATION_ID", INSTALLATION_ID);
    stand
}

#[tokio::test]
async fn an_app_clones_and_opens_pull_requests_by_the_token_of_its_installation() {
    let mut stand = with_key(KEY).await;
    stand.start().await;
    let id = stand.submit(json!({"prompt": "[[scenario:edit]]", "branchName": "by-app"})).await;
    let job = stand.completed(&id).await;
    assert_eq!(job["outcome"], "pull_request", "{job:#}");
    let asked = stand.github.requests_of(&Method::POST, "/access_tokens");
    assert_eq!(asked.len(), 1, "one token for all calls: {asked:#?}");
    let opened = stand.github.requests_of(&Method::POST, "/pulls").remove(0);
    let token = opened.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    assert!(token.starts_with("ghs_fake"), "{token}");

    // git over http at the same host gets it too; there is no git behind this address, and that is the end of it
    stand.terminate(Duration::from_secs(15)).await;
    stand.set_env("OFFSHOOT_GITHUB_CLONE_URL", format!("{}/{{org}}/{{repo}}.git", stand.github.api_url));
    stand.start().await;
    stand.github.add_repository("acme/gears");
    let client = json!({"name": "Gears", "githubOrg": "acme", "githubRepo": "gears"});
    let (status, answer) = stand.call("POST", "/clients", Some(&client)).await;
    assert!(status >= 400, "{answer}");
    let git = stand.github.requests_of(&Method::GET, "/acme/gears.git/info/refs").remove(0);
    let sent = git.headers["authorization"].to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
    let sent = String::from_utf8(BASE64_STANDARD.decode(sent).unwrap()).unwrap();
    assert!(sent.starts_with("x-access-token:ghs_fake"), "{sent}");
    stand.finish().await;
}

/// The key of the App is one of the server's secrets: it is pushed nowhere, not even one line of it.
#[tokio::test]
async fn the_key_of_the_app_is_not_published() {
    let mut stand = with_key(KEY).await;
    stand.start().await;
    let line = KEY.lines().nth(3).unwrap();
    let options = json!({"agent": "sh"});
    let body =
        json!({"prompt": format!("echo {line} > notes.txt"), "branchName": "leak", "options": options});
    let id = stand.submit(body).await;
    let job = stand.failed(&id, "secret_detected").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("github.app_key_file"), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn a_key_that_is_none_is_told_at_start() {
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nbm90IGEga2V5\n-----END RSA PRIVATE KEY-----\n";
    let stand = with_key(pem).await;
    let mut server = stand.spawn_another(&[]);
    assert_eq!(server.wait_for_exit(Duration::from_secs(30)).await, Some(78));
    assert!(server.log().contains("the app's private key is not an RSA key in PEM form"), "{}", server.log());
}
