//! The page on which a job is written: what it keeps, what it says, and what it sends.

use serde_json::json;

use super::ui_pages::{HOSTILE, assert_harmless};
use super::{Bench, SECRET};
use crate::domain::token::Scope;

const FIELDS: &[(&str, &str)] = &[
    ("repo", "acme/widgets"),
    ("prompt", "Do\r\nit"),
    ("title", "It"),
    ("branchName", "it"),
    ("maxTurns", "7"),
    ("labels", "a, b"),
];

#[tokio::test]
async fn a_form_is_what_the_api_would_be_sent() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let empty = bench.page(&cookie, "/ui/new?repo=acme/widgets&prompt=not+from+a+link").await;
    assert_harmless("new", &empty);
    assert!(empty.text().contains("value=\"acme/widgets\"") && !empty.text().contains("not from a link"));
    let queued = bench.form(&cookie, "/ui/new", FIELDS).await;
    assert_eq!(queued.leads_to(), "/ui/jobs/1?said=submitted");
    let job = bench.get("/jobs/1").await.json();
    assert_eq!(
        (&job["prompt"], &job["title"], &job["branchName"]),
        (&"Do\nit".into(), &"It".into(), &"it".into())
    );
    assert_eq!((&job["options"]["maxTurns"], &job["labels"]), (&7.into(), &json!(["a", "b"])));
    assert_eq!(job["submittedBy"], "admin");
    let audit = bench.get("/audit").await.json().to_string();
    assert!(audit.contains("POST /ui/new\""), "{audit}");
    // known by now
    assert!(bench.page(&cookie, "/ui/new").await.text().contains("<option value=\"acme/widgets\">"));
}

#[tokio::test]
async fn the_commands_are_shown_and_nothing_is_queued() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let mut fields = FIELDS.to_vec();
    fields[1].1 = "it's <b>";
    let shown = bench.form(&cookie, "/ui/new/preview", &fields).await;
    assert_eq!(shown.status, 200);
    assert_harmless("preview", &shown);
    let text = shown.text();
    for words in [
        "offshoot submit",
        "--repo=acme/widgets",
        "--max-turns=7",
        "--label=a",
        "&#39;it&#39;\\&#39;&#39;s &lt;b&gt;&#39;",
        "curl http://127.0.0.1:3456/jobs",
        "&quot;githubOrg&quot;: &quot;acme&quot;",
    ] {
        assert!(text.contains(words) || text.contains(&words.replace("&#39;", "'")), "{words}\n{text}");
    }
    assert_eq!(bench.get("/jobs").await.json()["total"], 0);
    assert!(!bench.get("/audit").await.json().to_string().contains("/ui/new"), "nothing was changed");
    assert_eq!(bench.page(&cookie, "/ui/new/preview").await.leads_to(), "/ui/new");
}

/// Each fault at its field, by its rule, with all that was written.
#[tokio::test]
async fn what_is_refused_keeps_what_was_written_and_says_where() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let wrong = [
        ("repo", "acme/widgets"),
        ("prompt", HOSTILE),
        ("branchName", "-x y"),
        ("maxTurns", "many"),
        ("priority", "11"),
        ("timeoutSeconds", "0"),
        ("osCallbackUrl", "nowhere"),
        ("title", "kept <title>"),
    ];
    let refused = bench.form(&cookie, "/ui/new", &wrong).await;
    assert_eq!(refused.status, 422);
    assert_harmless("refused", &refused);
    let text = refused.text();
    for (name, label) in [
        ("branchName", "Branch"),
        ("maxTurns", "Turns at most"),
        ("priority", "Priority"),
        ("timeoutSeconds", "Seconds at most"),
        ("osCallbackUrl", "Callback"),
    ] {
        assert!(text.contains(&format!("<a href=\"#in-{name}\">{label}</a>")), "{name}\n{text}");
        let field = text.split(&format!("id=\"in-{name}\"")).nth(1).unwrap().split('>').next().unwrap();
        assert!(field.contains("aria-invalid=\"true\""), "{name}: {field}");
    }
    let title = text.split("id=\"in-title\"").nth(1).unwrap().split('>').next().unwrap();
    assert!(title.contains("kept &lt;title") && !title.contains("aria-invalid"), "{title}");
    assert!(
        text.contains("onerror=alert(1)&gt;") && text.contains("<details class=\"more-fields\" open>"),
        "{text}"
    );
    for (fields, status, words) in [
        (vec![("prompt", "x")], 422, "<a href=\"#in-repo\">Repository</a>"),
        (vec![("prompt", "x"), ("repo", "widgets")], 422, "like acme/widgets"),
        (vec![("repo", "acme/widgets")], 422, "<a href=\"#in-prompt\">"),
        (
            vec![("repo", "acme/widgets"), ("prompt", "x"), ("profile", "none-such")],
            422,
            "is not the name of a profile",
        ),
    ] {
        let refused = bench.form(&cookie, "/ui/new", &fields).await;
        assert_eq!(refused.status, status, "{fields:?}");
        assert!(refused.text().contains(words), "{words}\n{}", refused.text());
    }
    // the branch is busy: the page leads to the job that has it
    assert_eq!(bench.form(&cookie, "/ui/new", FIELDS).await.status, 303);
    let busy = bench.form(&cookie, "/ui/new", FIELDS).await;
    assert!(busy.status == 409 && busy.text().contains("href=\"/ui/jobs/1\""), "{}", busy.text());
    assert_eq!(bench.get("/jobs").await.json()["total"], 1, "nothing else was queued");
}

#[tokio::test]
async fn profiles_are_offered_to_those_who_may_use_them_with_their_variables() {
    let bench = Bench::new().await;
    for (name, submit) in [("open", true), ("closed", false)] {
        let body = json!({"name": name, "prompt": "Look at {{path}}. {{prompt}}", "submit": submit});
        assert_eq!(bench.post("/profiles", &body).await.status, 201);
    }
    for (scope, closed) in [(Scope::Admin, true), (Scope::Operate, true), (Scope::Submit, false)] {
        let cookie = bench.signed_in(&bench.token(scope, None).await).await;
        let text = bench.page(&cookie, "/ui/new").await.text();
        assert!(text.contains("value=\"open\"") && text.contains("value=\"closed\"") == closed, "{scope}");
    }
    let cookie = bench.signed_in(&bench.token(Scope::Submit, None).await).await;
    let fields = [
        ("repo", "acme/widgets"),
        ("profile", "open"),
        ("prompt", "Now"),
        ("variable.path", "src"),
        ("branchName", "b"),
    ];
    let shown = bench.form(&cookie, "/ui/new/preview", &fields[..3]).await.text();
    assert!(shown.contains("name=\"variable.path\"") && shown.contains("--profile=open"), "{shown}");
    let missing = bench.form(&cookie, "/ui/new", &fields[..3]).await;
    assert!(missing.status == 422 && missing.text().contains("path"), "{}", missing.text());
    assert_eq!(bench.form(&cookie, "/ui/new", &fields).await.status, 303);
    assert_eq!(bench.get("/jobs/1").await.json()["prompt"], "Look at src. Now");
    let reader = bench.signed_in(&bench.token(Scope::Read, None).await).await;
    let text = bench.page(&reader, "/ui/new").await.text();
    assert!(text.contains("may look, and submit nothing") && !text.contains("data-draft"), "{text}");
    for path in ["/ui/new", "/ui/new/preview"] {
        assert_eq!(bench.form(&reader, path, &fields).await.status, 403, "{path}");
    }
}

/// A browser refuses to send a field that must be filled in, and the server one that a template has no place for.
#[tokio::test]
async fn a_prompt_is_asked_for_where_the_template_has_a_place_for_it() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    for (name, prompt) in
        [("with", json!("Do: {{prompt}}")), ("without", json!("Look at it")), ("none", json!(null))]
    {
        assert_eq!(bench.post("/profiles", &json!({"name": name, "prompt": prompt})).await.status, 201);
    }
    for (profile, is_required) in [("", true), ("with", true), ("without", false), ("none", true)] {
        let fields = [("repo", "acme/widgets"), ("profile", profile)];
        let shown = bench.form(&cookie, "/ui/new/preview", &fields).await.text();
        let field =
            shown.split("<textarea id=\"in-prompt\"").nth(1).and_then(|rest| rest.split('>').next()).unwrap();
        assert_eq!(field.contains(" required"), is_required, "{profile}: {field}");
    }
}

/// A form has the bounds of a body, and says so as a page.
#[tokio::test]
async fn a_form_that_is_too_large_is_refused_as_a_page() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let long = "x".repeat(1_100_000);
    let refused = bench.form(&cookie, "/ui/new", &[("repo", "acme/widgets"), ("prompt", &long)]).await;
    assert_eq!(refused.status, 413);
    assert!(refused.header("content-type").unwrap().starts_with("text/html"), "{}", refused.text());
    assert_eq!(bench.get("/jobs").await.json()["total"], 0);
}

/// As many as a page shows may be ticked, and no more.
#[tokio::test]
async fn more_ticks_than_a_page_has_are_refused() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let ticks = vec![("job", "1"); 201];
    for path in ["/ui/bulk/cancel", "/ui/bulk/retry"] {
        let refused = bench.form(&cookie, path, &ticks).await;
        assert!(refused.status == 422 && refused.text().contains("200 times at most"), "{}", refused.text());
        assert_eq!(bench.form(&cookie, path, &ticks[..200]).await.leads_to(), "/ui/?said=some-refused");
    }
}
