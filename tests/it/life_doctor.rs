//! The doctor of the dashboard on a whole server: it sees what the server sees, and not what a shell would.

use serde_json::json;

use crate::stand::{PATIENCE, Plan, SECRET, Stand};

const PAGE: &str = "/ui/system/doctor";

/// As a browser that has signed in and presses the button.
async fn looked(stand: &Stand) -> String {
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .unwrap();
    let post = |path: &str, cookie: &str, body: String| {
        let request = http.post(format!("{}{path}", stand.base_url())).header("cookie", cookie);
        request
            .header("origin", stand.base_url())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
    };
    let entered = post("/ui/sign-in", "", format!("token={SECRET}")).await.unwrap();
    assert_eq!(entered.status(), 303);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = post(PAGE, &cookie, String::new()).await.unwrap();
    assert_eq!(page.status(), 200);
    page.text().await.unwrap()
}

/// The row of a check; empty: there is none.
fn row<'p>(page: &'p str, check: &str, subject: &str) -> &'p str {
    let rows = page.split("<li class=\"row plain-row\"").skip(1);
    let head = format!("<b>{check}</b>{}{subject}", if subject.is_empty() { "" } else { " " });
    rows.into_iter().find(|row| row.contains(&head)).unwrap_or_default()
}

#[tokio::test]
async fn the_server_is_looked_at_with_its_own_eyes() {
    let config = "[agents.mine]\nkind = \"command\"\ncommand = \"of-this-test\"\n";
    let mut stand = Stand::with(Plan { config: config.to_owned(), ..Plan::default() }).await;
    stand.install("of-this-test", "#!/bin/sh\nexit 0\n");
    // where a shell finds it the server does not
    let page = looked(&stand).await;
    let missing = row(&page, "agents", "mine");
    assert!(
        missing.contains("of-this-test was not found") && missing.contains("command -v of-this-test"),
        "{page}"
    );
    assert!(missing.contains("other_agent_unusable") && missing.contains(">warn<"), "{missing}");
    assert!(row(&page, "data_dir", "").contains(">ok<") && row(&page, "git", "").contains(">ok<"), "{page}");
    assert!(row(&page, "service", "").is_empty() && row(&page, "queue", "").contains(">ok<"), "{page}");
    assert!(!page.contains(SECRET), "a secret is in a page");
    // what has changed since is seen at the next look
    stand.post("/queue/pause", &json!({})).await;
    let page = looked(&stand).await;
    assert!(row(&page, "queue", "").contains("queue_paused"), "{page}");
    assert!(row(&page, "queue", "").contains("offshoot queue resume"), "{page}");

    assert_eq!(stand.terminate(PATIENCE).await, Some(0));
    stand.set_env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", stand.path("agents").display()));
    stand.start_again().await;
    let page = looked(&stand).await;
    assert!(row(&page, "agents", "mine").contains(">ok<"), "{page}");
    stand.finish().await;
}
