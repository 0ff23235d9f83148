//! Who comes into the dashboard, how, and for how long.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use tokio::time::timeout;

use super::{Answer, Bench, HOST, SECRET};
use crate::domain::token::Scope;

const WEEK_MS: i64 = 7 * 24 * 3_600_000;

impl Bench {
    /// A request as a browser sends it; `more` adds headers or, with `-`, takes one away.
    pub(super) async fn browse(
        &self,
        method: Method,
        path: &str,
        cookie: &str,
        form: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let origin = format!("http://{HOST}");
        let length = body.len().to_string();
        let mut headers = vec![("host", HOST), ("accept", "text/html")];
        if !cookie.is_empty() {
            headers.push(("cookie", cookie));
        }
        if method == Method::POST {
            headers.extend([
                ("origin", origin.as_str()),
                ("sec-fetch-site", "same-origin"),
                ("content-type", "application/x-www-form-urlencoded"),
                ("content-length", &length),
            ]);
        }
        headers.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        headers.extend(more.iter().filter(|(_, value)| *value != "-"));
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub(super) async fn page(&self, cookie: &str, path: &str) -> Answer {
        self.browse(Method::GET, path, cookie, &[], &[]).await
    }

    pub(super) async fn form(&self, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.browse(Method::POST, path, cookie, fields, &[]).await
    }

    /// Signs in with the token; gives the cookie.
    pub(super) async fn signed_in(&self, token: &str) -> String {
        let answer = self.form("", "/ui/sign-in", &[("token", token)]).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        answer.cookie()
    }
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn cookie(&self) -> String {
        let set = self.header("set-cookie").expect("a cookie is set");
        set.split(';').next().unwrap().to_owned()
    }

    pub(super) fn leads_to(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text());
        self.header("location").unwrap()
    }
}

async fn pass(bench: &Bench, token: &str) -> String {
    let made = bench.call_with(token, Method::POST, "/passes", &json!({})).await;
    assert_eq!(made.status, 201, "{}", made.json());
    made.json()["path"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_lets_in_once_and_within_a_minute() {
    let bench = Bench::new().await;
    let link = pass(&bench, SECRET).await;
    let entered = bench.page("", &format!("{link}?next=/ui/jobs")).await;
    assert_eq!(entered.status, 200);
    assert!(entered.text().contains("url=/ui/jobs"), "{}", entered.text());
    let set = entered.header("set-cookie").unwrap();
    assert!(set.contains("; HttpOnly; SameSite=Strict") && !set.contains("Secure"), "{set}");
    assert_eq!(bench.page(&entered.cookie(), "/ui/").await.status, 200);
    let again = bench.page("", &link).await;
    assert_eq!((again.status.as_u16(), again.header("set-cookie")), (401, None));
    let late = pass(&bench, SECRET).await;
    bench.clock.advance_ms(60_000);
    assert_eq!(bench.page("", &late).await.status, 401);
    let secure = pass(&bench, SECRET).await;
    let secure = bench.browse(Method::GET, &secure, "", &[], &[("x-forwarded-proto", "https")]).await;
    assert!(secure.header("set-cookie").unwrap().ends_with("; Secure"));
}

#[tokio::test]
async fn a_link_and_a_badge_are_worth_as_much_as_their_token_and_as_long() {
    let bench = Bench::new().await;
    let token = bench.token(Scope::Read, None).await;
    let id = bench.get("/tokens").await.json()["tokens"][0]["id"].as_str().unwrap().to_owned();
    let (early, late) = (pass(&bench, &token).await, pass(&bench, &token).await);
    let cookie = bench.page("", &early).await.cookie();
    assert_eq!(bench.page(&cookie, "/ui/").await.status, 200);
    assert_eq!(bench.form(&cookie, "/ui/queue/pause", &[]).await.status, 403, "it may only look");
    bench.call(Method::DELETE, &format!("/tokens/{id}"), &[], &json!({})).await;
    assert_eq!(bench.page("", &late).await.status, 401, "its token is gone");
    assert_eq!(bench.page(&cookie, "/ui/").await.leads_to(), "/ui/sign-in?next=%2Fui%2F");
    let own = bench.signed_in(SECRET).await;
    bench.clock.advance_ms(WEEK_MS - 1_000);
    assert_eq!(bench.page(&own, "/ui/").await.status, 200);
    bench.clock.advance_ms(1_000);
    assert_eq!(bench.page(&own, "/ui/").await.status, 303);
}

#[tokio::test]
async fn a_token_in_the_form_is_the_second_way_in() {
    let bench = Bench::new().await;
    let page = bench.page("", "/ui/jobs?q=a").await;
    assert_eq!(page.leads_to(), "/ui/sign-in?next=%2Fui%2Fjobs%3Fq%3Da");
    let page = bench.page("", page.leads_to()).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("offshoot open") && page.text().contains("value=\"/ui/jobs?q=a\""));
    let fields = [("token", SECRET), ("next", "/ui/jobs?q=a")];
    assert_eq!(bench.form("", "/ui/sign-in", &fields).await.leads_to(), "/ui/jobs?q=a");
    let fields = [("token", SECRET), ("next", "https://evil.com/ui/")];
    assert_eq!(bench.form("", "/ui/sign-in", &fields).await.leads_to(), "/ui/");
    for wrong in ["", "x", "<script>"] {
        let refused = bench.form("", "/ui/sign-in", &[("token", wrong)]).await;
        assert_eq!((refused.status.as_u16(), refused.header("set-cookie")), (401, None), "{wrong}");
        assert!(
            refused.text().contains("role=\"alert\"")
                && refused.header("content-type").unwrap().contains("html")
        );
    }
    for _ in 0..20 {
        bench.form("", "/ui/sign-in", &[("token", "guess")]).await;
    }
    let refused = bench.form("", "/ui/sign-in", &[("token", "guess")]).await;
    assert_eq!(refused.status, 429, "as with the API");
}

#[tokio::test]
async fn who_signs_out_is_out_also_with_a_copy_of_the_cookie() {
    let bench = Bench::new().await;
    let (one, other) = (bench.signed_in(SECRET).await, bench.signed_in(SECRET).await);
    let out = bench.form(&one, "/ui/sign-out", &[]).await;
    assert_eq!(out.leads_to(), "/ui/sign-in");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(bench.page(&one, "/ui/").await.status, 303);
    assert_eq!(bench.page(&other, "/ui/").await.status, 200);
}

/// Another page may lead to a link that somebody else made: who is in stays who he is until he presses a button.
#[tokio::test]
async fn a_link_makes_nobody_somebody_else_by_itself() {
    let bench = Bench::new().await;
    let token = bench.token(Scope::Read, None).await;
    let own = bench.signed_in(SECRET).await;
    let led =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let link = pass(&bench, &token).await;
    let looked = [
        bench.browse(Method::GET, &link, "", &[], &led).await,
        bench.page(&own, &link).await,
        bench.browse(Method::HEAD, &link, "", &[], &[]).await,
    ];
    for answer in looked {
        assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (200, None), "{}", answer.text());
    }
    assert!(bench.page(&own, &link).await.text().contains("You are signed in as <b>admin</b>"));
    let foreign = bench.browse(Method::POST, &link, &own, &[], &[("origin", "https://evil.com")]).await;
    assert_eq!((foreign.status.as_u16(), foreign.header("set-cookie")), (403, None));
    let entered = bench.form(&own, &link, &[]).await;
    assert!(entered.text().contains("Signed in"), "{}", entered.text());
    let cookie = entered.cookie();
    assert_eq!(bench.form(&cookie, "/ui/queue/pause", &[]).await.status, 403, "it may only look");
    assert_eq!(bench.form(&own, &link, &[]).await.status, 401, "it was used");
    // one's own needs no question
    let again = pass(&bench, SECRET).await;
    assert!(bench.page(&own, &again).await.header("set-cookie").is_some());
}

/// Whoever looks for tokens that nobody needs any more sees those that are used in a browser.
#[tokio::test]
async fn a_badge_uses_its_token() {
    let bench = Bench::new().await;
    let token = bench.token(Scope::Read, None).await;
    let id = bench.get("/tokens").await.json()["tokens"][0]["id"].as_str().unwrap().to_owned();
    let cookie = bench.signed_in(&token).await;
    for _ in 0..2 {
        bench.clock.advance_ms(61_000);
        let now = bench.clock.now_ms();
        bench.page(&cookie, "/ui/").await;
        let used = async || {
            let read = bench.get(&format!("/tokens/{id}")).await.json();
            let at = read["lastUsedAt"].as_str().map(|text| text.parse::<jiff::Timestamp>().unwrap());
            at.map(jiff::Timestamp::as_millisecond)
        };
        // it is written beside the request
        let noted = async {
            while used().await != Some(now) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), noted).await.expect("the use is noted");
    }
}

/// The API takes tokens only, the dashboard its cookie only.
#[tokio::test]
async fn neither_key_opens_the_other_door() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let with_cookie = bench.browse(Method::GET, "/jobs", &cookie, &[], &[]).await;
    with_cookie.problem(401, "unauthorized");
    let bearer = format!("Bearer {SECRET}");
    let with_token = bench.browse(Method::GET, "/ui/", "", &[], &[("authorization", &bearer)]).await;
    assert_eq!(with_token.status, 303);
    let name = cookie.split('=').next().unwrap();
    for bad in
        [format!("{name}=x"), format!("{cookie}0"), format!("{cookie}; {cookie}"), format!("x{cookie}")]
    {
        assert_eq!(bench.page(&bad, "/ui/").await.status, 303, "{bad}");
    }
    let script = [("offshoot-part", "1")];
    assert_eq!(bench.browse(Method::GET, "/ui/", "", &[], &script).await.status, 401, "no page for a script");
}

#[tokio::test]
async fn a_change_comes_from_a_page_of_ours() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let none = [("origin", "-"), ("sec-fetch-site", "-")];
    let foreign = [
        &none[..],
        &[("origin", "https://evil.com")],
        &[("origin", "null")],
        &[("origin", "-"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[
            ("origin", "-"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ],
    ];
    for headers in foreign {
        let refused = bench.browse(Method::POST, "/ui/queue/pause", &cookie, &[], headers).await;
        assert_eq!(refused.status, 403, "{headers:?}");
        let refused = bench.browse(Method::POST, "/ui/sign-in", "", &[("token", SECRET)], headers).await;
        assert_eq!((refused.status.as_u16(), refused.header("set-cookie")), (403, None), "{headers:?}");
    }
    assert_eq!(bench.get("/queue").await.json()["paused"], false);
    let json = [("content-type", "application/json")];
    let refused = bench.browse(Method::POST, "/ui/queue/pause", &cookie, &[("a", "b")], &json).await;
    assert_eq!(refused.status, 415);
    // one of the two is enough: old browsers have no Sec-Fetch-Site
    for left in [&[("origin", "-")][..], &[("sec-fetch-site", "-")]] {
        assert_eq!(bench.browse(Method::POST, "/ui/queue/pause", &cookie, &[], left).await.status, 303);
    }
    assert_eq!(bench.get("/queue").await.json()["paused"], true);
}

/// The cookie does not come along from another site; from the page in between it does.
#[tokio::test]
async fn a_link_on_another_site_leads_here() {
    let bench = Bench::new().await;
    let followed =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let bounce = bench.browse(Method::GET, "/ui/jobs?q=%22%3E%3Cb%3E", "", &[], &followed).await;
    assert_eq!(bounce.status, 200);
    assert!(
        bounce.text().contains("http-equiv=\"refresh\" content=\"0; url=/ui/jobs?q=%22%3E%3Cb%3E\""),
        "{}",
        bounce.text()
    );
    for (mode, dest) in [("no-cors", "image"), ("navigate", "iframe"), ("cors", "empty")] {
        let loaded = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
        assert_eq!(bench.browse(Method::GET, "/ui/", "", &[], &loaded).await.status, 403, "{mode} {dest}");
    }
    assert_eq!(
        bench.browse(Method::GET, "/jobs", "", &[], &followed).await.status,
        403,
        "the API is no page"
    );
}
