//! What callers see of a server that is being stopped.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::net::TcpListener;

use crate::stand::Stand;

#[tokio::test]
async fn a_stopping_server_finishes_its_clone_and_says_so_to_newcomers() {
    let mut stand = Stand::new().await;
    // a git host that takes its time
    let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/acme/slow.git", host.local_addr().unwrap());
    let client = json!({"name": "Slow", "githubOrg": "acme", "githubRepo": "slow", "cloneUrl": url});
    let registering = stand.call("POST", "/clients", Some(&client));
    let meanwhile = async {
        let (asked, _) = host.accept().await.unwrap();
        stand.server.as_ref().unwrap().signal(Signal::SIGTERM);
        let draining = async || (stand.get("/health").await["status"] == "draining").then_some(());
        stand.wait_until("the server drains", draining).await;
        let job = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "x"});
        for (path, body) in [("/jobs", &job), ("/clients", &client)] {
            let (status, problem) = stand.call("POST", path, Some(body)).await;
            assert_eq!((status, &problem["code"]), (503, &"draining".into()), "{path}: {problem}");
        }
        assert_eq!(stand.call("GET", "/readyz", None).await.0, 503);
        assert_eq!(stand.call("GET", "/jobs", None).await.0, 200);
        // git hears nothing and gives up
        drop((asked, host));
    };
    let ((status, problem), ()) = tokio::join!(registering, meanwhile);
    assert_eq!((status, &problem["code"]), (502, &"remote_refused".into()), "{problem}");
    let code = stand.server.take().unwrap().wait_for_exit(Duration::from_secs(20)).await;
    assert_eq!(code, Some(0), "{}", stand.log_tail(20));
    stand.start().await;
    assert_eq!(stand.get("/clients").await, json!({"clients": []}));
    assert!(!stand.path("repos/acme/slow.git").exists());
    stand.finish().await;
}
