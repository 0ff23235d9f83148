//! The pages of the dashboard: whole without scripts, harmless whatever stands in them, and no more than one may do.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Answer, Bench, SECRET};
use crate::domain::attempt::{AttemptEnd, Lease};
use crate::domain::delivery::RenderedCallback;
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::job::Outcome;
use crate::domain::reason::{Reason, ReasonCode};
use crate::domain::token::Scope;

pub(super) const HOSTILE: &str =
    "</title></pre><script>alert(1)</script><img src=x onerror=alert(1)>\" onload=\"x' \u{202e}\u{1b}[31m";

fn job(branch: &str) -> Value {
    json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": HOSTILE, "title": "</a><script>\"'&",
        "branchName": branch, "labels": ["<i>"], "osFeatureId": "<u>", "osCallbackUrl": "https://example.org/<hook>"})
}

async fn claim(bench: &Bench) -> Lease {
    bench.store.claim().await.unwrap().unwrap().lease
}

fn callback(lease: Lease) -> RenderedCallback {
    RenderedCallback {
        event_id: EventId::from_random(&format!("eeee222{}", lease.job)),
        delivery_id: DeliveryId::from_random(&format!("dddd222{}", lease.job)),
        kind: "job.completed".to_owned(),
        url: "https://example.org/<hook>".to_owned(),
        body: b"{}".to_vec(),
    }
}

/// One job in each state: completed 1, failed 2, cancelled 3, running 4, queued 5.
async fn world(bench: &Bench) {
    for branch in ["a", "b", "c", "d", "e"] {
        let made = bench.post("/jobs", &job(branch)).await;
        assert_eq!(made.status, 201, "{}", made.json());
    }
    let lease = claim(bench).await;
    bench.store.add_system_message(lease, HOSTILE).await.unwrap();
    let end = AttemptEnd::Completed { outcome: Outcome::NoChanges };
    bench.store.finish(lease, end, move |_| Some(callback(lease))).await.unwrap();
    let lease = claim(bench).await;
    bench.store.add_system_message(lease, &format!("last words {HOSTILE}")).await.unwrap();
    let reason = Reason::new(ReasonCode::VerifyFailed, HOSTILE);
    let end = AttemptEnd::Faulted { reason, until: None, window: None, spent: true };
    bench.store.finish(lease, end, move |_| Some(callback(lease))).await.unwrap();
    assert_eq!(bench.post("/jobs/3/cancel", &json!({})).await.status, 200);
    let lease = claim(bench).await;
    bench.store.add_system_message(lease, &format!("reading {HOSTILE}")).await.unwrap();
}

const PAGES: &[&str] = &[
    "/ui/",
    "/ui/jobs",
    "/ui/jobs?q=status:failed",
    "/ui/jobs?q=nothing-fits",
    "/ui/jobs/1",
    "/ui/jobs/2",
    "/ui/jobs/3",
    "/ui/jobs/4",
    "/ui/jobs/5",
    "/ui/jobs/4/lines",
    "/ui/new",
    "/ui/clients",
    "/ui/system",
    "/ui/system/doctor",
    "/ui/system/deliveries",
    "/ui/system/deliveries?state=dead",
    "/ui/system/tokens",
    "/ui/system/audit",
    "/ui/jobs/4/changes",
    "/ui/jobs/2/changes",
    "/ui/docs",
    "/ui/sign-in",
    "/ui/nowhere",
    "/ui/jobs/99",
];

/// Every action and source that a page names.
pub(super) fn targets(html: &str, attribute: &str) -> BTreeSet<String> {
    let mark = format!("{attribute}=\"");
    html.match_indices(&mark)
        .map(|(at, _)| html[at + mark.len()..].split('"').next().unwrap().to_owned())
        .collect()
}

pub(super) fn assert_harmless(path: &str, answer: &Answer) {
    let html = answer.text();
    for (name, value) in [
        ("content-security-policy", "default-src 'none'; script-src 'self'; style-src 'self';"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
    ] {
        assert!(answer.header(name).is_some_and(|found| found.starts_with(value)), "{path}: {name}");
    }
    // tags and their names come from us alone
    for tag in
        ["<script>", "<img", "<i>", "<u>", "<style", "</a><script", "onerror=alert(1)>\"", "javascript:"]
    {
        assert!(!html.contains(tag), "{path}: {tag}");
    }
    for piece in html.split('<').skip(1) {
        let tag = piece.split('>').next().unwrap();
        // what stands in quotes cannot leave them
        let bare: String = tag.split('"').step_by(2).collect();
        assert!(!bare.contains(" on") && !bare.contains(" style"), "{path}: {tag}");
    }
    assert!(!html.contains('\u{202e}') && !html.contains('\u{1b}'), "{path}: something steers");
    for source in targets(&html, "src").into_iter().chain(targets(&html, "action")) {
        assert!(source.starts_with("/ui/"), "{path}: {source}");
    }
    for formaction in targets(&html, "formaction") {
        assert!(formaction.starts_with("/ui/"), "{path}: {formaction}");
    }
}

#[tokio::test]
async fn every_page_is_whole_and_harmless_in_every_state() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let empty = bench.page(&cookie, "/ui/").await;
    assert!(
        empty.text().contains("send the first job")
            && empty.text().contains("curl http://127.0.0.1:3456/jobs")
    );
    assert_harmless("empty", &empty);
    assert!(bench.page(&cookie, "/ui/jobs").await.text().contains("No jobs yet"));
    world(&bench).await;
    for path in PAGES {
        let answer = bench.page(&cookie, path).await;
        let expected = if path.contains("99") || path.contains("nowhere") { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with("text/html"), "{path}");
        assert_harmless(path, &answer);
    }
    let queue = bench.page(&cookie, "/ui/").await.text();
    for words in [
        "1 of 2",
        "waits for",
        "reading &lt;/title&gt;",
        "no output yet",
        "verify failed",
        "Ended lately",
        "Stop",
    ] {
        assert!(queue.contains(words), "{words}\n{queue}");
    }
    let failed = bench.page(&cookie, "/ui/jobs/2").await.text();
    for words in [
        "Failed in prepare",
        "last words",
        "What helps",
        "verify_failed",
        "Retry",
        "Follow up",
        "https://example.org/",
    ] {
        assert!(failed.contains(words), "{words}\n{failed}");
    }
    let running = bench.page(&cookie, "/ui/jobs/4").await.text();
    assert!(
        running.contains("Running: preparing")
            && running.contains("data-live=\"4\"")
            && running.contains("id=\"L1\"")
    );
    let part = bench.browse(Method::GET, "/ui/jobs/4", &cookie, &[], &[("offshoot-part", "1")]).await.text();
    assert!(part.starts_with("<main") && !part.contains("id=\"L1\""), "{part}");
}

#[tokio::test]
async fn a_job_is_called_by_its_prompt_and_its_retry_by_its_number() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let body = json!({"githubOrg": "acme", "githubRepo": "widgets", "branchName": "b", "prompt": "\n\n  Fix the <flaky> login\nmore of it"});
    assert_eq!(bench.post("/jobs", &body).await.status, 201);
    let called = "Fix the &lt;flaky&gt; login";
    for path in ["/ui/", "/ui/jobs", "/ui/jobs/1"] {
        let page = bench.page(&cookie, path).await.text();
        let name = format!("{called} <span class=\"number\">#1</span>");
        assert!(page.contains(&name), "{path}\n{page}");
    }
    let queue = bench.get("/queue").await.json();
    assert_eq!(queue["queued"][0]["promptLine"], "Fix the <flaky> login", "{queue}");
    let lease = claim(&bench).await;
    assert_eq!(bench.get("/queue").await.json()["running"][0]["promptLine"], "Fix the <flaky> login");
    let end = AttemptEnd::Faulted {
        reason: Reason::new(ReasonCode::VerifyFailed, "no"),
        until: None,
        window: None,
        spent: true,
    };
    bench.store.finish(lease, end, |_| None).await.unwrap();
    for path in ["/ui/jobs/1", "/ui/jobs/1/changes"] {
        let page = bench.page(&cookie, path).await.text();
        let tab = page.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
        assert!(tab.contains("#1") && tab.contains(called), "{path}: {tab}");
        assert!(!page.contains("etried as"), "{path}");
    }
    assert_eq!(bench.post("/jobs/1/retry", &json!({})).await.status, 201);
    let first = bench.page(&cookie, "/ui/jobs/1").await.text();
    let to_second = "<a href=\"/ui/jobs/2\">#2</a>";
    assert!(first.contains(&format!("Retried as {to_second}")), "in what came of it: {first}");
    assert!(first.contains(&format!("<dt>Retried as</dt><dd>{to_second}</dd>")), "{first}");
    let second = bench.page(&cookie, "/ui/jobs/2").await.text();
    assert!(second.contains("<dt>Retry of</dt><dd><a href=\"/ui/jobs/1\">#1</a></dd>"), "{second}");
    for path in ["/ui/", "/ui/jobs"] {
        let page = bench.page(&cookie, path).await.text();
        assert_eq!(page.matches(&format!("retried as {to_second}")).count(), 1, "{path}\n{page}");
    }
}

/// The page lists the head of a long queue, and says how long it is.
#[tokio::test]
async fn a_long_queue_is_counted_and_its_head_listed() {
    let bench = Bench::with_queue_of(60).await;
    for number in 0..55 {
        assert_eq!(bench.post("/jobs", &job(&format!("b{number}"))).await.status, 201);
    }
    let rows = |html: &str| html.matches("<li class=\"row\" id=\"job-").count();
    let whole = bench.page(&bench.signed_in(SECRET).await, "/ui/").await.text();
    assert_eq!(rows(&whole), 50);
    assert!(whole.contains("<span class=\"count\">55</span>") && whole.contains("All that wait"), "{whole}");
    assert!(whole.contains("0 running, 55 waiting"), "{whole}");
    let client = bench.get("/clients").await.json()["clients"][0]["id"].as_str().unwrap().to_owned();
    let limited = bench.signed_in(&bench.token(Scope::Read, Some(&[&client])).await).await;
    let own = bench.page(&limited, "/ui/").await.text();
    assert!(rows(&own) == 50 && own.contains("<span class=\"count\">55</span>"), "{own}");
}

#[tokio::test]
async fn a_search_says_what_it_found_and_what_is_wrong_with_it() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    world(&bench).await;
    let found = async |query: &str| {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let html = bench.page(&cookie, &format!("/ui/jobs?q={query}")).await.text();
        let numbers: Vec<_> = (1..=5).filter(|job| html.contains(&format!("id=\"job-{job}\""))).collect();
        (numbers, html)
    };
    for (query, expected) in [
        ("status:failed", &[2][..]),
        ("status:failed,cancelled", &[2, 3]),
        ("status=running", &[4]),
        ("branch:e", &[5]),
        ("repo:Acme/Widgets status:queued", &[5]),
        ("label:<i>", &[1, 2, 3, 4, 5]),
        ("by:admin since:1h", &[1, 2, 3, 4, 5]),
        ("onerror=alert(1)", &[1, 2, 3, 4, 5]),
        ("nothing", &[]),
        ("alert", &[1, 2, 3, 4, 5]),
    ] {
        assert_eq!(found(query).await.0, expected, "{query}");
    }
    assert!(found("status:odd").await.1.contains("must be one of queued"));
    assert!(found("repo:acme/nothing").await.1.contains("no such repository"));
    assert!(found("since:yesterday").await.1.contains("neither a duration nor a time"));
    assert!(found("nothing-fits").await.1.contains("Clear the search"));
}

/// All that one does with a page, without a script: a form, and where it leads.
#[tokio::test]
async fn forms_do_what_the_api_does_and_are_written_down() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    world(&bench).await;
    let status = async |job: i64| bench.get(&format!("/jobs/{job}")).await.json()["status"].clone();
    assert_eq!(bench.form(&cookie, "/ui/queue/pause", &[]).await.leads_to(), "/ui/?said=paused");
    let queue = bench.page(&cookie, "/ui/?said=paused").await.text();
    assert!(queue.contains("The queue is paused") && queue.contains("Paused. What runs goes on"));
    assert_eq!(bench.form(&cookie, "/ui/queue/resume", &[]).await.leads_to(), "/ui/?said=resumed");
    assert_eq!(bench.form(&cookie, "/ui/queue/try-now", &[("login", "claude")]).await.status, 303);
    let cancelled = bench.form(&cookie, "/ui/jobs/5/cancel", &[("back", "/ui/jobs?q=e")]).await;
    assert_eq!((cancelled.leads_to(), status(5).await), ("/ui/jobs?q=e&said=cancelled", "cancelled".into()));
    assert_eq!(bench.form(&cookie, "/ui/jobs/2/retry", &[]).await.leads_to(), "/ui/jobs/6?said=retried");
    let next = bench.form(&cookie, "/ui/jobs/1/follow-up", &[("prompt", "And now in French")]).await;
    assert_eq!(next.leads_to(), "/ui/jobs/7?said=followed-up");
    assert_eq!(bench.get("/jobs/7").await.json()["prompt"], "And now in French");
    let refused = bench.form(&cookie, "/ui/jobs/1/cancel", &[]).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("Job already completed"), "{}", refused.text());
    let delivery = bench.get("/jobs/1/deliveries").await.json()["deliveries"][0]["id"].clone();
    let path = format!("/ui/jobs/1/deliveries/{}/redeliver", delivery.as_str().unwrap());
    assert_eq!(
        bench.form(&cookie, &path, &[("back", "/ui/jobs/1")]).await.leads_to(),
        "/ui/jobs/1?said=redelivered"
    );
    let bulk =
        bench.form(&cookie, "/ui/bulk/cancel", &[("job", "6"), ("job", "7"), ("back", "/ui/jobs")]).await;
    assert_eq!(bulk.leads_to(), "/ui/jobs?said=cancelled");
    assert_eq!((status(6).await, status(7).await), ("cancelled".into(), "cancelled".into()));
    let bulk =
        bench.form(&cookie, "/ui/bulk/retry", &[("job", "5"), ("job", "1"), ("back", "/ui/jobs")]).await;
    assert_eq!(bulk.leads_to(), "/ui/jobs?said=some-refused");
    assert_eq!(bench.form(&cookie, "/ui/bulk/retry", &[]).await.leads_to(), "/ui/?said=none-chosen");
    let audit = bench.get("/audit?limit=200").await.json();
    let rows: Vec<_> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            format!(
                "{} {} {}",
                entry["status"],
                entry["call"].as_str().unwrap(),
                entry["target"].as_str().unwrap()
            )
        })
        .collect();
    for (row, times) in [
        ("303 POST /ui/queue/pause /ui/queue/pause", 1),
        ("303 POST /ui/jobs/{id}/cancel /ui/jobs/5/cancel", 1),
        ("303 POST /ui/jobs/{id}/retry ", 1),
        ("303 POST /ui/bulk/cancel /ui/bulk/cancel 6", 1),
        ("303 POST /ui/bulk/cancel /ui/bulk/cancel 7", 1),
        ("303 POST /ui/bulk/retry /jobs/", 1),
    ] {
        assert_eq!(rows.iter().filter(|found| found.starts_with(row)).count(), times, "{row}: {rows:#?}");
    }
    let of_many = rows.iter().filter(|row| row.contains("bulk")).count();
    assert_eq!(of_many, 3, "one row for each job that was changed: {rows:#?}");
}

/// What a page offers is what its reader may do, neither more nor less.
#[tokio::test]
async fn buttons_are_for_those_who_may_press_them() {
    let bench = Bench::new().await;
    world(&bench).await;
    let pages = ["/ui/", "/ui/jobs", "/ui/jobs/2", "/ui/jobs/4", "/ui/jobs/5"];
    let own = ["/ui/theme", "/ui/sign-out", "/ui/jobs"];
    let mut all = BTreeSet::new();
    let mut offered = Vec::new();
    for scope in [Scope::Read, Scope::Submit, Scope::Operate, Scope::Admin] {
        let cookie = bench.signed_in(&bench.token(scope, None).await).await;
        let mut actions = BTreeSet::new();
        for page in pages {
            let html = bench.page(&cookie, page).await.text();
            actions.extend(targets(&html, " action").into_iter().chain(targets(&html, "formaction")));
        }
        actions.retain(|action| !own.contains(&action.as_str()));
        all.extend(actions.iter().cloned());
        offered.push((scope, cookie, actions));
    }
    assert!(all.len() >= 7, "{all:?}");
    // an empty form is refused for many reasons, but with 403 for one only
    for (scope, cookie, actions) in &offered {
        for action in &all {
            let answer = bench
                .form(
                    cookie,
                    &format!(
                        "{}?",
                        action
                            .replace("/jobs/2", "/jobs/999")
                            .replace("/jobs/4", "/jobs/999")
                            .replace("/jobs/5", "/jobs/999")
                    ),
                    &[],
                )
                .await;
            let is_refused = answer.status == 403;
            assert_eq!(is_refused, !actions.contains(action), "{scope} {action}: {}", answer.status);
        }
    }
    assert!(offered[0].2.is_empty(), "who may only look has no button: {:?}", offered[0].2);
}

#[tokio::test]
async fn for_a_limited_token_the_jobs_of_others_are_not_there() {
    let bench = Bench::new().await;
    world(&bench).await;
    let other = bench
        .post(
            "/jobs",
            &json!({"githubOrg": "acme", "githubRepo": "gears", "prompt": "Mine", "branchName": "m"}),
        )
        .await;
    let client = other.json()["clientId"].as_str().unwrap().to_owned();
    let cookie = bench.signed_in(&bench.token(Scope::Operate, Some(&[&client])).await).await;
    for path in ["/ui/jobs/1", "/ui/jobs/4/lines", "/ui/jobs/4/log", "/ui/jobs/4/events"] {
        assert_eq!(bench.page(&cookie, path).await.status, 404, "{path}");
    }
    for path in ["/ui/jobs/4/cancel", "/ui/jobs/2/retry", "/ui/jobs/2/follow-up"] {
        assert_eq!(bench.form(&cookie, path, &[("prompt", "x")]).await.status, 404, "{path}");
    }
    let bulk = bench.form(&cookie, "/ui/bulk/cancel", &[("job", "4"), ("job", "5")]).await;
    assert_eq!(bulk.leads_to(), "/ui/?said=some-refused");
    assert_eq!(bench.get("/jobs/5").await.json()["status"], "queued");
    assert_eq!(bench.form(&cookie, "/ui/queue/pause", &[]).await.status, 403, "it concerns all");
    for path in ["/ui/", "/ui/jobs"] {
        let html = bench.page(&cookie, path).await.text();
        assert!(
            html.contains("/ui/jobs/6") && !html.contains("/ui/jobs/4") && !html.contains("queue/pause"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn files_are_for_good_and_colours_are_remembered() {
    let bench = Bench::new().await;
    let page = bench.page("", "/ui/sign-in").await.text();
    for path in targets(&page, "src")
        .into_iter()
        .chain(targets(&page, "href").into_iter().filter(|path| path.contains("assets")))
    {
        let file = bench.page("", &path).await;
        assert_eq!(file.status, 200, "{path}");
        assert!(file.header("cache-control").unwrap().contains("immutable"), "{path}");
        let older = path.replace('-', "-0");
        assert_eq!(bench.page("", &older).await.header("cache-control"), Some("no-store"), "{older}");
    }
    assert_eq!(bench.page("", "/ui/assets/passwd").await.status, 404);
    let set = bench
        .browse(
            Method::POST,
            "/ui/theme",
            "",
            &[("theme", "dark")],
            &[("referer", "http://127.0.0.1:3456/ui/jobs?q=a")],
        )
        .await;
    assert_eq!(set.leads_to(), "/ui/jobs?q=a");
    assert!(bench.page("offshoot-theme=dark", "/ui/sign-in").await.text().contains("data-theme=\"dark\""));
    for odd in ["offshoot-theme=\"><script>", "offshoot-theme=odd"] {
        assert!(!bench.page(odd, "/ui/sign-in").await.text().contains("data-theme="), "{odd}");
    }
    assert_eq!(bench.page("", "/").await.leads_to(), "/ui/");
    assert_eq!(bench.page("", "/ui").await.leads_to(), "/ui/");
}

#[tokio::test]
async fn a_hint_is_no_content() {
    let bench = Bench::new().await;
    world(&bench).await;
    let cookie = bench.signed_in(SECRET).await;
    // the job is over: everything is told at once
    let stream = bench.page(&cookie, "/ui/jobs/1/events").await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let text = stream.text();
    assert!(
        text.contains("event: hint") && text.contains("event: done") && text.contains("{\"moved\":true}"),
        "{text}"
    );
    assert!(!text.contains("alert"), "{text}");
}
