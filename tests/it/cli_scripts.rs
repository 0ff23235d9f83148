//! What other programs read of the command line: the document of the API, manual pages.

use serde_json::json;

use crate::cli::{command, finish, run};
use crate::cli_fake::{Answer, Fake};

const NOWHERE: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn the_document_of_the_api_is_the_servers_own() {
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "GET /openapi.json" => Answer::text(200, "{\"openapi\": \"3.1.0\", \"x\": 1}\n"),
        _ => Answer::problem(404, "not_found", "no such place", json!({})),
    })
    .await;
    let ran = run(&fake, &["openapi"]).await;
    let (out, err) = (ran.out.as_str(), ran.err.as_str());
    assert_eq!((ran.code, out, err), (0, "{\"openapi\": \"3.1.0\", \"x\": 1}\n", ""), "{ran:?}");
    let ran = finish(command(NOWHERE, &["openapi"]), "").await;
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
}

#[tokio::test]
async fn a_manual_page_is_one_for_man() {
    let ran = finish(command(NOWHERE, &["man", "service", "install"]), "").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.contains(".TH offshoot-service-install 1") && ran.out.contains("print"), "{}", ran.out);
    let wrong = finish(command(NOWHERE, &["man", "servis"]), "").await;
    assert_eq!(wrong.code, 5, "{wrong:?}");
}
