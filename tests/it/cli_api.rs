//! The API client against a server that misbehaves on order.

use std::time::Duration;

use offshoot::api_client::{ApiClient, ApiError, JobQuery};
use offshoot::wire::request::SubmitRequest;
use secrecy::SecretString;
use serde_json::json;

use crate::cli_fake::{Answer, Fake, job, queued};

fn client(fake: &Fake) -> ApiClient {
    ApiClient::new(&fake.url, Some(SecretString::from("a-token"))).unwrap()
}

#[tokio::test]
async fn a_submission_carries_token_and_key_and_only_what_was_said() {
    let fake = Fake::start(|_, _| Answer::json(201, &queued())).await;
    let request = SubmitRequest { prompt: Some("do".to_owned()), ..SubmitRequest::default() };
    let job = client(&fake).submit_job(&request, "key-1").await.unwrap();
    assert_eq!(job.summary.number, 142);
    let [seen] = fake.seen().try_into().unwrap();
    assert_eq!(seen.line, "POST /jobs");
    assert_eq!(seen.header("authorization"), "Bearer a-token");
    assert_eq!(seen.header("idempotency-key"), "key-1");
    assert_eq!(seen.body, json!({ "prompt": "do" }));
}

#[tokio::test]
async fn names_and_queries_are_escaped() {
    let fake = Fake::start(|_, _| Answer::json(200, &job(&json!({})))).await;
    client(&fake).get_job("a/../b?c#d").await.unwrap();
    let query = JobQuery { q: Some("a&b=c d".to_owned()), limit: Some(5), ..JobQuery::default() };
    assert!(client(&fake).list_jobs(&query).await.is_err());
    assert_eq!(fake.lines(), ["GET /jobs/a%2F..%2Fb%3Fc%23d", "GET /jobs?limit=5&q=a%26b%3Dc+d"]);
}

#[tokio::test]
async fn waiting_names_what_is_known() {
    let fake = Fake::start(|seen, _| match seen.header("if-none-match") {
        "" => Answer::json(200, &job(&json!({}))).header("etag", "\"v1\""),
        _ => Answer::text(304, ""),
    })
    .await;
    let known = client(&fake).get_job("142").await.unwrap();
    assert_eq!(known.etag.as_deref(), Some("\"v1\""));
    let news = client(&fake).wait_job("142", "\"v1\"", Duration::from_secs(2)).await.unwrap();
    assert!(news.is_none());
    assert_eq!(fake.seen()[1].line, "GET /jobs/142?wait=2");
    assert_eq!(fake.seen()[1].header("if-none-match"), "\"v1\"");
}

#[tokio::test]
async fn refusals_keep_the_servers_words() {
    let fake = Fake::start(|seen, _| {
        let status = seen.line.rsplit('/').next().unwrap().parse().unwrap();
        Answer::problem(status, "code", "in its own words", json!({})).header("retry-after", "7")
    })
    .await;
    for status in [400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 507] {
        let error = client(&fake).get_job(&status.to_string()).await.expect_err("a refusal");
        let fits = match &error {
            ApiError::Unauthorised(_) => matches!(status, 401 | 403),
            ApiError::NotFound(_) => status == 404,
            ApiError::Conflict(_) => status == 409,
            ApiError::Invalid { .. } => matches!(status, 400 | 422),
            ApiError::Busy { retry_after, .. } => {
                matches!(status, 429 | 503) && *retry_after == Some(Duration::from_secs(7))
            }
            ApiError::Server(_) => matches!(status, 500 | 502 | 507),
            _ => false,
        };
        assert!(fits, "{status}: {error:?}");
        let problem = error.problem().unwrap();
        assert_eq!((problem.status, problem.detail.as_str()), (status, "in its own words"));
    }
}

#[tokio::test]
async fn what_is_no_offshoot_is_told_apart() {
    let redirecting =
        Fake::start(|_, _| Answer::text(302, "").header("location", "http://127.0.0.1:9/")).await;
    let page = Fake::start(|_, _| Answer::text(200, "<html>\u{1b}[2J hello")).await;
    let proxy = Fake::start(|_, _| Answer::text(502, "Bad Gateway")).await;
    for fake in [&redirecting, &page, &proxy] {
        let error = client(fake).queue().await.expect_err("no offshoot");
        assert!(matches!(error, ApiError::Unintelligible { .. }), "{error:?}");
        assert!(!error.to_string().contains('\u{1b}'));
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let fake = Fake::start(|_, _| Answer::text(200, vec![b' '; (64 << 20) + 1])).await;
    let error = client(&fake).queue().await.expect_err("too large");
    assert!(error.to_string().contains("exceeds"), "{error}");
}

#[tokio::test]
async fn a_broken_connection_may_have_done_it_and_a_refused_one_has_not() {
    let fake = Fake::start(|_, _| Answer::cut()).await;
    let error = client(&fake).queue().await.expect_err("cut off");
    assert!(matches!(error, ApiError::Unreachable { maybe_done: true, .. }), "{error:?}");
    let url = {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", closed.local_addr().unwrap())
    };
    let error = ApiClient::new(&url, None).unwrap().queue().await.expect_err("nobody listens");
    assert!(matches!(error, ApiError::Unreachable { maybe_done: false, .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("cannot reach offshoot at {url} (connection refused)"));
}

#[tokio::test]
async fn a_log_arrives_byte_for_byte() {
    let log: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let sent = log.clone();
    let fake = Fake::start(move |_, _| Answer::text(200, sent.clone())).await;
    let mut reader = client(&fake).read_log("142", Some(2), true).await.unwrap();
    let mut received = Vec::new();
    while let Some(piece) = reader.next_piece().await.unwrap() {
        received.extend(piece);
    }
    assert_eq!(received, log);
    assert_eq!(fake.lines(), ["GET /jobs/142/log?attempt=2&raw=true"]);
}
