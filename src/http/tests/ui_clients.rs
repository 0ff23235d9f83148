//! Repositories and the system in a browser: what is shown to whom, and what the forms do.

use axum::http::Method;
use serde_json::json;

use super::ui_pages::{assert_harmless, targets};
use super::{Bench, SECRET};
use crate::domain::token::Scope;

async fn registered(bench: &Bench, repo: &str) -> String {
    bench.publish("acme", repo);
    let body = json!({"name": repo, "githubOrg": "acme", "githubRepo": repo});
    let made = bench.post("/clients", &body).await;
    assert_eq!(made.status, 201, "{}", made.json());
    made.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_repository_is_registered_synced_paused_and_removed_by_forms() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let empty = bench.page(&cookie, "/ui/clients").await;
    assert_harmless("clients", &empty);
    assert!(empty.text().contains("No repository is known yet"), "{}", empty.text());
    bench.publish("acme", "widgets");
    let fields = [("repo", "acme/widgets"), ("defaultBranch", "main")];
    let led = bench.form(&cookie, "/ui/clients", &fields).await;
    let here = led.leads_to().strip_suffix("?said=registered").unwrap().to_owned();
    let id = here.strip_prefix("/ui/clients/").unwrap();
    let is_paused = async || bench.get(&format!("/clients/{id}")).await.json()["paused"].clone();
    let page = bench.page(&cookie, &here).await;
    assert_harmless("client", &page);
    for words in [
        "acme/widgets",
        "<code>main</code>",
        "Remove…",
        "/ui/new?repo=acme%2Fwidgets",
        "No job was sent to it yet",
    ] {
        assert!(page.text().contains(words), "{words}\n{}", page.text());
    }
    let back = [("back", here.as_str())];
    assert_eq!(
        bench.form(&cookie, &format!("{here}/sync"), &back).await.leads_to(),
        format!("{here}?said=synced")
    );
    assert!(bench.page(&cookie, &here).await.text().contains("synced "));
    assert_eq!(bench.form(&cookie, &format!("{here}/pause"), &back).await.status, 303);
    assert_eq!(is_paused().await, true);
    for page in [&here, "/ui/clients"] {
        assert!(bench.page(&cookie, page).await.text().contains("paused"), "{page}");
    }
    assert_eq!(bench.form(&cookie, &format!("{here}/resume"), &back).await.status, 303);
    assert_eq!(is_paused().await, false);
    let job = json!({"clientId": id, "prompt": "x", "branchName": "b"});
    assert_eq!(bench.post("/jobs", &job).await.status, 201);
    assert!(bench.page(&cookie, "/ui/clients").await.text().contains("1 live of 1 job"));
    let refused = bench.form(&cookie, &format!("{here}/remove"), &[]).await;
    assert!(refused.status == 409 && refused.text().contains("has live jobs: #1"), "{}", refused.text());
    let removed =
        bench.form(&cookie, &format!("{here}/remove"), &[("force", "true"), ("removeRepo", "true")]).await;
    assert_eq!(removed.leads_to(), "/ui/clients?said=removed");
    assert_eq!(bench.get("/jobs/1").await.json()["status"], "cancelled");
    let gone = bench.page(&cookie, &here).await.text();
    assert!(gone.contains("removed") && !gone.contains("/pause\""), "{gone}");
    let audit = bench.get("/audit?limit=200").await.json().to_string();
    for call in [
        "POST /ui/clients\"",
        "POST /ui/clients/{id}/sync",
        "POST /ui/clients/{id}/pause",
        "POST /ui/clients/{id}/remove",
    ] {
        assert!(audit.contains(call), "{call}: {audit}");
    }
}

#[tokio::test]
async fn what_git_says_is_what_the_page_says_and_nothing_that_was_written_is_lost() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let fields = [("repo", "acme/none-such"), ("name", "kept <name>")];
    let refused = bench.form(&cookie, "/ui/clients", &fields).await;
    assert_eq!(refused.status, 502, "{}", refused.text());
    assert_harmless("refused", &refused);
    assert!(
        refused.text().contains("kept &lt;name&gt;") && refused.text().contains("Nothing was registered")
    );
    let wrong = bench.form(&cookie, "/ui/clients", &[("repo", "widgets"), ("defaultBranch", "-x")]).await;
    assert!(wrong.status == 422 && wrong.text().contains("href=\"#in-repo\""), "{}", wrong.text());
    let id = registered(&bench, "gears").await;
    std::fs::remove_dir_all(bench.dir.path().join("remotes/acme/gears.git")).unwrap();
    let failed = bench.form(&cookie, &format!("/ui/clients/{id}/sync"), &[]).await;
    assert!(failed.status == 502 && failed.text().contains("acme/gears: "), "{}", failed.text());
}

#[tokio::test]
async fn repositories_come_a_page_at_a_time_and_only_those_of_the_token() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let mut ids = Vec::new();
    for number in 0..53 {
        let body = json!({"githubOrg": "acme", "githubRepo": format!("r{number}"), "prompt": "x", "branchName": "b"});
        let job = bench.post("/jobs", &body).await;
        if job.status == 201 {
            ids.push(job.json()["clientId"].as_str().unwrap().to_owned());
            assert_eq!(bench.post(&format!("/jobs/{}/cancel", ids.len()), &json!({})).await.status, 200);
        }
    }
    assert_eq!(ids.len(), 53);
    let rows = |text: &str| text.matches("id=\"client-").count();
    let first = bench.page(&cookie, "/ui/clients").await.text();
    assert_eq!(rows(&first), 50);
    let more = targets(&first, "href").into_iter().find(|href| href.contains("first=")).unwrap();
    assert_eq!(rows(&bench.page(&cookie, &more).await.text()), 3);
    assert!(targets(&first, "value").contains("/ui/clients"));
    let onwards = bench.page(&cookie, &more).await.text();
    assert!(
        targets(&onwards, "value").contains(&more),
        "a button leads back to where it was pressed: {onwards}"
    );
    for wrong in ["/ui/clients?first=-4", "/ui/system/tokens?first=-4", "/ui/clients?first=x"] {
        assert_eq!(bench.page(&cookie, wrong).await.status, 400, "{wrong}");
    }
    let limited = bench.signed_in(&bench.token(Scope::Operate, Some(&[&ids[7]])).await).await;
    let own = bench.page(&limited, "/ui/clients").await.text();
    assert!(rows(&own) == 1 && own.contains("acme/r7"), "{own}");
    assert_eq!(bench.page(&limited, &format!("/ui/clients/{}", ids[8])).await.status, 404);
    assert_eq!(bench.form(&limited, &format!("/ui/clients/{}/sync", ids[8]), &[]).await.status, 404);
}

/// Repositories and the system by what one may: as `buttons_are_for_those_who_may_press_them`, for the other pages.
#[tokio::test]
async fn what_the_other_pages_offer_is_what_one_may() {
    let bench = Bench::new().await;
    let id = registered(&bench, "widgets").await;
    let pages = [
        "/ui/new",
        "/ui/clients",
        &format!("/ui/clients/{id}"),
        "/ui/system",
        "/ui/system/doctor",
        "/ui/system/deliveries",
        "/ui/system/tokens",
        "/ui/system/audit",
    ];
    let own = ["/ui/theme", "/ui/sign-out", "/ui/jobs", "/ui/queue/pause"];
    let mut offered = Vec::new();
    let mut all = std::collections::BTreeSet::new();
    for scope in [Scope::Read, Scope::Submit, Scope::Operate, Scope::Admin] {
        let token = bench.token(scope, None).await;
        let cookie = bench.signed_in(&token).await;
        let mut actions = std::collections::BTreeSet::new();
        for page in &pages {
            let answer = bench.page(&cookie, page).await;
            let for_all =
                scope == Scope::Admin || !["tokens", "audit", "doctor"].iter().any(|end| page.ends_with(end));
            assert_eq!(answer.status == 200, for_all, "{scope} {page}: {}", answer.status);
            let html = answer.text();
            actions.extend(targets(&html, " action").into_iter().chain(targets(&html, "formaction")));
        }
        // that of a token differs with each
        actions.retain(|action| !own.contains(&action.as_str()) && !action.contains("/revoke"));
        all.extend(actions.iter().cloned());
        offered.push((scope, cookie, actions));
    }
    assert!(all.len() >= 9, "{all:?}");
    for (scope, cookie, actions) in &offered {
        for action in &all {
            let nowhere = action.replace(&id, "cli-nowhere");
            let is_refused = bench.form(cookie, &nowhere, &[]).await.status == 403;
            assert_eq!(is_refused, !actions.contains(action), "{scope} {action}");
        }
    }
    assert!(offered[0].2.is_empty(), "{:?}", offered[0].2);
}

#[tokio::test]
async fn a_token_is_shown_once_and_revoked() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let refused = bench
        .form(&cookie, "/ui/system/tokens", &[("name", "Not <ok>"), ("scope", "read"), ("expiresAt", "soon")])
        .await;
    assert_eq!(refused.status, 422);
    assert_harmless("tokens", &refused);
    for words in ["href=\"#in-name\"", "href=\"#in-expiresAt\"", "Not &lt;ok&gt;", "No token was made"] {
        assert!(refused.text().contains(words), "{words}\n{}", refused.text());
    }
    let (fields, key) = ([("name", "ci"), ("scope", "submit")], [("idempotency-key", "once")]);
    let made = bench.browse(Method::POST, "/ui/system/tokens", &cookie, &fields, &key).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_harmless("made", &made);
    assert_eq!(made.header("cache-control"), Some("no-store"), "nothing keeps it");
    let text = made.text();
    let at = text.find("<code>ofs_").unwrap() + "<code>".len();
    let token = text[at..].split('<').next().unwrap().to_owned();
    assert_eq!(bench.get_with(&token, "/jobs").await.status, 200);
    let again = bench.browse(Method::POST, "/ui/system/tokens", &cookie, &fields, &key).await;
    assert!(!again.text().contains(&token), "a repeat is told nothing that was kept: {}", again.text());
    // not even of an answer without a secret: a form has no key, and is sent again
    let pause =
        async || bench.browse(Method::POST, "/ui/queue/pause", &cookie, &[("back", "/ui/")], &key).await;
    for answer in [pause().await, pause().await] {
        assert_eq!((answer.status.as_u16(), answer.header("idempotency-replayed")), (303, None));
    }
    let list = bench.page(&cookie, "/ui/system/tokens").await.text();
    assert!(list.contains("<b>ci</b>") && !list.contains(&token), "{list}");
    assert!(!bench.page(&cookie, "/ui/system/audit").await.text().contains(&token));
    let revoke = targets(&list, " action").into_iter().find(|action| action.ends_with("/revoke")).unwrap();
    let led = bench.form(&cookie, &revoke, &[("back", "/ui/system/tokens")]).await;
    assert_eq!(led.leads_to(), "/ui/system/tokens?said=revoked");
    assert_eq!(bench.get_with(&token, "/jobs").await.status, 401);
    assert!(bench.page(&cookie, "/ui/system/tokens").await.text().contains("revoked"));
    let audit = bench.get("/audit?limit=200").await.json();
    let calls: Vec<_> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["status"], entry["call"].as_str().unwrap()))
        .collect();
    for (call, row) in [
        ("POST /ui/system/tokens", "201 POST /ui/system/tokens"),
        ("POST /ui/system/tokens/{id}/revoke", "303 POST /ui/system/tokens/{id}/revoke"),
    ] {
        let rows: Vec<_> = calls.iter().filter(|one| one.ends_with(call) && !one.starts_with('4')).collect();
        assert_eq!(rows, [row], "{calls:#?}");
    }
}

#[tokio::test]
async fn the_system_says_how_it_is_and_is_backed_up() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let before = bench.page(&cookie, "/ui/system").await;
    assert_harmless("system", &before);
    for words in ["Free on disk", "Agents are kept in", "Database", "None yet. One is made every day"] {
        assert!(before.text().contains(words), "{words}\n{}", before.text());
    }
    assert_eq!(
        bench.form(&cookie, "/ui/system/backups", &[("back", "/ui/system")]).await.leads_to(),
        "/ui/system?said=backed-up"
    );
    let name = bench.get("/backups").await.json()["backups"][0]["name"].as_str().unwrap().to_owned();
    assert!(bench.page(&cookie, "/ui/system").await.text().contains(&name));
    let reader = bench.signed_in(&bench.token(Scope::Read, None).await).await;
    let seen = bench.page(&reader, "/ui/system").await;
    assert!(seen.status == 200 && !seen.text().contains(&name), "{}", seen.text());
    for number in 0..60 {
        assert_eq!(bench.post("/queue/pause", &json!({"reason": format!("<{number}>")})).await.status, 200);
    }
    let audit = bench.page(&cookie, "/ui/system/audit").await;
    assert_harmless("audit", &audit);
    let rows = |text: &str| text.matches("<tr>").count() - 1;
    assert_eq!(rows(&audit.text()), 50);
    let older = targets(&audit.text(), "href").into_iter().find(|href| href.contains("after=")).unwrap();
    assert!(rows(&bench.page(&cookie, &older).await.text()) >= 10);
    assert!(bench.page(&cookie, "/ui/system").await.text().contains("The queue is paused"));
}
