//! The page of the API: complete, its links lead somewhere, and it is behind the same door as all pages.

use axum::http::Method;
use serde_json::Value;

use super::{Bench, SECRET};
use crate::domain::token::Scope;

#[tokio::test]
async fn the_page_has_every_call_and_every_shape_and_links_that_lead_somewhere() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let html = bench.page(&cookie, "/ui/docs").await.text();
    let document: Value = serde_json::from_str(crate::http::document()).unwrap();
    let mut count = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            let name = format!("<b>{}</b> {path}</code>", method.to_uppercase());
            assert!(html.contains(&name), "{name}");
            let id = format!("<section class=\"card\" id=\"{}\">", call["operationId"].as_str().unwrap());
            assert_eq!(html.matches(&id).count(), 1, "{id}");
            count += 1;
        }
    }
    assert!(count >= 50, "{count}");
    for (name, shape) in document["components"]["schemas"].as_object().unwrap() {
        let at = html.find(&format!("id=\"shape-{name}\"")).unwrap_or_else(|| panic!("no shape {name}"));
        let card = html[at..].split("</section>").next().unwrap();
        for member in shape["properties"].as_object().into_iter().flatten() {
            assert!(card.contains(&format!("<dt><code>{}</code></dt>", member.0)), "{name}.{}", member.0);
        }
        for word in shape["enum"].as_array().into_iter().flatten() {
            assert!(card.contains(&format!("<code>{}</code>", word.as_str().unwrap())), "{name}: {word}");
        }
    }
    for link in html.split("href=\"#").skip(1) {
        let id = link.split('"').next().unwrap();
        // pictures are drawn by their names too
        let is_there = html.contains(&format!("id=\"{id}\"")) || html.contains(&format!("id=\"{id} "));
        assert!(is_there, "#{id} leads nowhere");
    }
    // what nearly every call may answer is said once
    assert!(html.matches("Unknown host name").count() == 1, "said more than once");
    assert!(html.contains("The branch is in use") && html.contains("may <code>submit</code>"));
}

#[tokio::test]
async fn it_is_found_at_docs_and_let_in_like_every_page() {
    let bench = Bench::new().await;
    let found = bench.browse(Method::GET, "/docs", "", &[], &[]).await;
    assert_eq!((found.status.as_u16(), found.header("location")), (303, Some("/ui/docs")));
    let refused = bench.browse(Method::GET, "/ui/docs", "", &[], &[]).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("location")),
        (303, Some("/ui/sign-in?next=%2Fui%2Fdocs"))
    );
    let token = bench.token(Scope::Read, None).await;
    let cookie = bench.signed_in(&token).await;
    assert!(bench.page(&cookie, "/ui/docs").await.text().contains("submit_job"));
}
