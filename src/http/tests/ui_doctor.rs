//! The doctor in a browser: asked by a button alone, by administrators, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::ui_pages::{HOSTILE, assert_harmless};
use super::{Bench, SECRET};
use crate::domain::token::Scope;
use crate::wire::doctor::{Finding, Report, Verdict};

const PAGE: &str = "/ui/system/doctor";

fn report() -> Report {
    let finding = |verdict, code, detail: &str, mend: Option<&str>| Finding {
        check: "agents",
        subject: Some("claude".to_owned()),
        verdict,
        code,
        detail: detail.to_owned(),
        mend: mend.map(str::to_owned),
    };
    Report::of(vec![
        finding(Verdict::Ok, None, "2.1.0, logged in", None),
        finding(Verdict::Skipped, None, "not looked at", None),
        finding(Verdict::Warn, Some("agent_old"), HOSTILE, Some("claude update")),
        finding(Verdict::Fail, Some("agent_missing"), "not there", Some("npm install -g <script>")),
    ])
}

/// How often somebody has looked, and what lets the next look end.
#[derive(Default)]
struct Looks {
    begun: AtomicUsize,
    begins: Notify,
    may_end: Notify,
}

async fn bench() -> (Bench, Arc<Looks>) {
    let (bench, looks) = (Bench::new().await, Arc::new(Looks::default()));
    let seen = looks.clone();
    // all clones are the same server
    let _ = bench.app.clone().with_doctor(Arc::new(move |health, clients| {
        let seen = seen.clone();
        assert!(health.version == env!("CARGO_PKG_VERSION") && clients.is_empty());
        Box::pin(async move {
            seen.begun.fetch_add(1, Ordering::SeqCst);
            seen.begins.notify_one();
            seen.may_end.notified().await;
            report()
        })
    }));
    (bench, looks)
}

#[tokio::test]
async fn the_machine_is_looked_at_when_somebody_asks_and_not_before() {
    let (bench, looks) = bench().await;
    let cookie = bench.signed_in(SECRET).await;
    for path in ["/ui/system", PAGE] {
        let page = bench.page(&cookie, path).await;
        assert_harmless(path, &page);
        assert!(page.text().contains("/ui/system/doctor") && !page.text().contains("agent_missing"));
    }
    assert_eq!(looks.begun.load(Ordering::SeqCst), 0, "a page alone starts nothing");
    looks.may_end.notify_one();
    let found = bench.form(&cookie, PAGE, &[]).await;
    assert_eq!(found.status, 200);
    assert_harmless(PAGE, &found);
    let text = found.text();
    for words in [
        "1 problem, 1 warning",
        "agent_old",
        "claude update",
        "agent_missing",
        "npm install -g &lt;script&gt;",
        ">fail<",
        ">skipped<",
        "2.1.0, logged in",
        "Look again",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    // what was found is not taken away by the page itself, which looks anew at what moves
    assert!(text.contains("data-live=\"\""), "{text}");
    assert_eq!(looks.begun.load(Ordering::SeqCst), 1);
    let audit = bench.get("/audit?limit=200").await.json();
    assert!(!audit.to_string().contains("doctor"), "nothing was changed: {audit}");
}

#[tokio::test]
async fn only_an_administrator_has_it_looked_at() {
    let (bench, looks) = bench().await;
    for scope in [Scope::Read, Scope::Submit, Scope::Operate] {
        let cookie = bench.signed_in(&bench.token(scope, None).await).await;
        assert_eq!(bench.page(&cookie, PAGE).await.status, 403);
        assert_eq!(bench.form(&cookie, PAGE, &[]).await.status, 403);
        assert!(!bench.page(&cookie, "/ui/system").await.text().contains(PAGE));
    }
    assert_eq!(looks.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_look_at_a_time() {
    let (bench, looks) = bench().await;
    let cookie = bench.signed_in(SECRET).await;
    let second = async {
        looks.begins.notified().await;
        let second = bench.form(&cookie, PAGE, &[]).await;
        looks.may_end.notify_one();
        second
    };
    let both = async { tokio::join!(bench.form(&cookie, PAGE, &[]), second) };
    let (first, second) =
        timeout(Duration::from_secs(60), both).await.expect("there are two at once, and each waits");
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 409));
    assert!(second.text().contains("looked at already"), "{}", second.text());
    assert_eq!(looks.begun.load(Ordering::SeqCst), 1);
    looks.may_end.notify_one();
    assert_eq!(bench.form(&cookie, PAGE, &[]).await.status, 200, "and then again");
}
