//! The GitHub client against the stand-in: exactly one pull request, whatever goes wrong on the way.

use std::time::Duration;

use axum::http::Method;
use offshoot::clock::Clock;
use offshoot::forge::{
    EnsureWaits, Forge, ForgeError, GitHub, GitHubAuth, HttpLimits, NewPullRequest, Refusal, RepositoryName,
    ensure_pull_request, http_client,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::time::Instant;

use crate::fake_github::{APP_ID, Effect, FakeGithub, Fault, INSTALLATION_ID, READ_ONLY_TOKEN, TOKEN};

fn client(fake: &FakeGithub, auth: &GitHubAuth, clock: &Clock) -> GitHub {
    let limits = HttpLimits {
        connect: Duration::from_secs(2),
        read: Duration::from_millis(700),
        whole: Duration::from_secs(5),
    };
    GitHub::new(&fake.api_url, auth, &http_client(&limits).unwrap(), clock.clone()).unwrap()
}

fn by_token(fake: &FakeGithub) -> GitHub {
    client(fake, &GitHubAuth::Token(TOKEN.into()), &Clock::system())
}

fn widgets() -> RepositoryName {
    RepositoryName { org: "acme".to_owned(), repo: "widgets".to_owned() }
}

fn new_pull(head: &str) -> NewPullRequest {
    NewPullRequest {
        repo: widgets(),
        head: head.to_owned(),
        base: "main".to_owned(),
        title: "Add a thing".to_owned(),
        body: "What and why".to_owned(),
        draft: false,
    }
}

fn short_waits() -> EnsureWaits {
    EnsureWaits { head: vec![Duration::from_millis(10); 3], unclear: vec![Duration::from_millis(10); 2] }
}

async fn started(branches: &[&str]) -> FakeGithub {
    let fake = FakeGithub::start().await;
    for branch in branches {
        fake.push("acme/widgets", branch, &"b".repeat(40));
    }
    fake
}

async fn ensure(forge: &GitHub, head: &str) -> Result<offshoot::forge::PullRequest, ForgeError> {
    ensure_pull_request(forge, &new_pull(head), &short_waits()).await
}

fn posts(fake: &FakeGithub) -> usize {
    fake.requests_of(&Method::POST, "/pulls").len()
}

#[tokio::test]
async fn a_pull_request_is_opened_once_and_then_adopted() {
    let fake = started(&["job/1"]).await;
    let forge = by_token(&fake);
    let opened = ensure(&forge, "job/1").await.unwrap();
    assert!(opened.created && !opened.draft);
    assert_eq!((opened.number, opened.head_sha), (1, "b".repeat(40)));
    assert_eq!(opened.url, "https://github.example/acme/widgets/pull/1");

    let again = ensure(&forge, "job/1").await.unwrap();
    assert!(!again.created);
    assert_eq!((again.number, fake.pulls().len(), posts(&fake)), (1, 1, 1));
    let kept = fake.pulls().remove(0);
    assert_eq!(
        (kept.title.as_str(), kept.body.as_str(), kept.base.as_str()),
        ("Add a thing", "What and why", "main")
    );

    fake.close_pull("acme/widgets", 1);
    assert_eq!(ensure(&forge, "job/1").await.unwrap().number, 2);
}

#[tokio::test]
async fn requests_carry_the_promised_headers() {
    let fake = started(&["job/1"]).await;
    ensure(&by_token(&fake), "job/1").await.unwrap();
    for request in fake.requests() {
        let all = |name: &str| {
            request
                .headers
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(all("user-agent"), [concat!("offshoot/", env!("CARGO_PKG_VERSION"))]);
        assert_eq!(all("accept"), ["application/vnd.github+json"]);
        assert_eq!(all("authorization"), [format!("Bearer {TOKEN}")]);
        assert_eq!(all("x-github-api-version").len(), 1);
    }
}

#[tokio::test]
async fn a_lost_answer_leads_to_exactly_one_pull_request() {
    let fake = started(&["job/1", "job/2", "job/3"]).await;
    let forge = by_token(&fake);
    for (number, (head, effect)) in [
        ("job/1", Effect::LostResponse),
        ("job/2", Effect::Garbled),
        ("job/3", Effect::Delay(Duration::from_secs(2))),
    ]
    .into_iter()
    .enumerate()
    {
        fake.fault(Fault::new(effect).on(Method::POST, "/pulls"));
        let before = posts(&fake);
        let found = ensure(&forge, head).await.unwrap();
        assert!(found.created, "{head}");
        let of_head = fake.pulls().iter().filter(|pull| pull.head == head).count();
        assert_eq!((of_head, found.number), (1, number as u64 + 1), "{head}");
        // The late one may have been asked for twice; the second was then refused.
        assert!(posts(&fake) - before <= if head == "job/3" { 2 } else { 1 }, "{head}");
    }
}

#[tokio::test]
async fn work_that_was_not_done_is_asked_for_again() {
    let fake = started(&["job/1"]).await;
    fake.fault(Fault::new(Effect::Dropped).on(Method::POST, "/pulls"));
    fake.fault(Fault::new(Effect::Status(502, json!("bad gateway"), vec![])).on(Method::POST, "/pulls"));
    assert!(ensure(&by_token(&fake), "job/1").await.unwrap().created);
    assert_eq!((fake.pulls().len(), posts(&fake)), (1, 3));
}

#[tokio::test]
async fn a_forge_that_stays_unclear_is_reported_as_unclear() {
    let fake = started(&["job/1"]).await;
    fake.fault(Fault::new(Effect::Dropped).on(Method::POST, "/pulls").times(9));
    let error = ensure(&by_token(&fake), "job/1").await.unwrap_err();
    assert!(
        matches!(error, ForgeError::Unavailable { unclear: true, .. }) && error.is_transient(),
        "{error:?}"
    );
    assert_eq!(posts(&fake), 3);
}

#[tokio::test]
async fn one_that_somebody_else_opened_meanwhile_is_adopted() {
    let fake = started(&["job/1"]).await;
    let (ours, theirs) = (by_token(&fake), by_token(&fake));
    fake.fault(Fault::new(Effect::Held).on(Method::POST, "/pulls"));
    let racing = async {
        fake.wait_for(|requests| requests.iter().any(|request| request.method == "POST")).await;
        let first = theirs.open_pull_request(&new_pull("job/1")).await.unwrap();
        fake.release();
        first
    };
    let (adopted, first) = tokio::join!(ensure(&ours, "job/1"), racing);
    let adopted = adopted.unwrap();
    assert!(!adopted.created && first.created);
    assert_eq!((adopted.number, fake.pulls().len()), (first.number, 1));
}

#[tokio::test]
async fn a_head_that_is_not_known_yet_is_asked_for_again_but_not_for_ever() {
    let fake = started(&[]).await;
    let forge = by_token(&fake);
    let pushing = async {
        fake.wait_for(|requests| requests.iter().any(|request| request.method == "POST")).await;
        fake.push("acme/widgets", "job/late", &"c".repeat(40));
    };
    let (opened, ()) = tokio::join!(ensure(&forge, "job/late"), pushing);
    assert!(opened.unwrap().created);

    let before = posts(&fake);
    let error = ensure(&forge, "job/never").await.unwrap_err();
    assert!(matches!(error, ForgeError::Refused { refusal: Refusal::HeadInvalid, .. }), "{error:?}");
    assert_eq!(posts(&fake) - before, 4);
}

#[tokio::test]
async fn refusals_are_told_apart_and_end_at_once() {
    let fake = started(&["job/1"]).await;
    fake.push("acme/widgets", "job/empty", &"a".repeat(40));
    fake.forbid_drafts("acme/widgets");
    let forge = by_token(&fake);
    let refusal = |error: ForgeError| match error {
        ForgeError::Refused { refusal, .. } => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(ensure(&forge, "job/empty").await.unwrap_err()), Refusal::NoCommits);
    let draft = NewPullRequest { draft: true, ..new_pull("job/1") };
    assert_eq!(refusal(forge.open_pull_request(&draft).await.unwrap_err()), Refusal::NoDrafts);

    let read_only = client(&fake, &GitHubAuth::Token(READ_ONLY_TOKEN.into()), &Clock::system());
    assert!(matches!(ensure(&read_only, "job/1").await, Err(ForgeError::Forbidden { .. })));
    let wrong = client(&fake, &GitHubAuth::Token("ghp_wrong".into()), &Clock::system());
    assert_eq!(ensure(&wrong, "job/1").await, Err(ForgeError::Auth));
    fake.archive("acme/widgets");
    assert_eq!(ensure(&forge, "job/1").await, Err(ForgeError::Archived));
    assert_eq!((fake.pulls().len(), posts(&fake)), (0, 4));
}

#[tokio::test]
async fn writes_are_a_second_apart_and_requests_one_at_a_time() {
    let fake = started(&["job/1", "job/2", "job/3"]).await;
    fake.fault(Fault::new(Effect::Delay(Duration::from_millis(150))).times(3));
    let forge = by_token(&fake);
    let (first, second, third) =
        tokio::join!(ensure(&forge, "job/1"), ensure(&forge, "job/2"), ensure(&forge, "job/3"));
    assert!([first, second, third].iter().all(Result::is_ok));

    let requests = fake.requests();
    for pair in requests.windows(2) {
        assert!(pair[1].at >= pair[0].answered_at.unwrap(), "two requests at the same time");
    }
    let writes: Vec<_> = requests.iter().filter(|request| request.method == "POST").collect();
    assert_eq!(writes.len(), 3);
    for pair in writes.windows(2) {
        // The pause counts from our end of the answer, which is later than the fake's.
        assert!(pair[1].at - pair[0].answered_at.unwrap() >= Duration::from_millis(995));
    }
}

#[tokio::test]
async fn a_rate_limit_is_told_and_nothing_is_sent_until_it_is_over() {
    for (effect, seconds) in [(Effect::SecondaryLimit(Some(1)), 2), (Effect::SecondaryLimit(None), 60)] {
        let fake = started(&["job/1"]).await;
        let forge = by_token(&fake);
        fake.fault(Fault::new(effect).on(Method::POST, "/pulls"));
        let limited = Instant::now();
        let error = ensure(&forge, "job/1").await.unwrap_err();
        assert_eq!(error, ForgeError::RateLimited { retry_after: Duration::from_secs(seconds) });
        assert!(error.is_transient());

        let sent = fake.requests().len();
        let second = forge.repository(&widgets()).await.unwrap_err();
        let ForgeError::RateLimited { retry_after } = second else { panic!("{second:?}") };
        assert!(retry_after <= Duration::from_secs(seconds));
        assert_eq!(fake.requests().len(), sent, "a request went out during the limit");
        if seconds == 2 {
            let mut beat = tokio::time::interval(Duration::from_millis(50));
            while forge.repository(&widgets()).await.is_err() {
                assert!(limited.elapsed() < Duration::from_secs(10), "the limit never ended");
                beat.tick().await;
            }
            assert!(ensure(&forge, "job/1").await.unwrap().created);
            let last = fake.requests_of(&Method::POST, "/pulls").pop().unwrap();
            assert!(last.at - limited >= Duration::from_secs(2));
            let early =
                fake.requests()[sent..].iter().filter(|request| request.at < limited + retry_after).count();
            assert_eq!(early, 0);
        }
    }
}

#[tokio::test]
async fn an_exhausted_window_is_waited_for_until_its_reset() {
    let fake = started(&["job/1"]).await;
    let clock = Clock::manual(1_700_000_000_000, 1);
    let forge = client(&fake, &GitHubAuth::Token(TOKEN.into()), &clock);
    fake.fault(Fault::new(Effect::PrimaryLimit(1_700_000_090)));
    let limited = Err(ForgeError::RateLimited { retry_after: Duration::from_secs(91) });
    assert_eq!(forge.repository(&widgets()).await, limited);

    // The last request of a window succeeds, and the next is not sent.
    let forge = client(&fake, &GitHubAuth::Token(TOKEN.into()), &clock);
    let facts = json!({"id": 1, "full_name": "acme/widgets", "default_branch": "main"});
    let spent =
        vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", "1700000030".to_owned())];
    fake.fault(Fault::new(Effect::Status(200, facts, spent)));
    assert!(forge.repository(&widgets()).await.is_ok());
    let sent = fake.requests().len();
    assert!(matches!(forge.repository(&widgets()).await, Err(ForgeError::RateLimited { .. })));
    assert_eq!(fake.requests().len(), sent);
}

#[tokio::test]
async fn a_silent_forge_ends_by_timeout_and_reads_are_tried_three_times() {
    let fake = started(&["job/1"]).await;
    let forge = by_token(&fake);
    fake.fault(Fault::new(Effect::Hang).on(Method::POST, "/pulls").times(9));
    let started = Instant::now();
    let error = forge.open_pull_request(&new_pull("job/1")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unavailable { unclear: true, .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(posts(&fake), 1);

    fake.fault(Fault::new(Effect::Hang).on(Method::GET, "/repos").times(3));
    let error = forge.repository(&widgets()).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unavailable { unclear: false, .. }), "{error:?}");
    assert_eq!(fake.requests_of(&Method::GET, "/repos").len(), 3);
    assert!(forge.repository(&widgets()).await.is_ok());
}

#[tokio::test]
async fn nobody_listening_is_clear_even_for_a_write() {
    let fake = started(&["job/1"]).await;
    let api_url = fake.api_url.clone();
    drop(fake);
    let http = http_client(&HttpLimits::default()).unwrap();
    let forge = GitHub::new(&api_url, &GitHubAuth::Token(TOKEN.into()), &http, Clock::system()).unwrap();
    let error = forge.open_pull_request(&new_pull("job/1")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unavailable { unclear: false, .. }), "{error:?}");
}

#[tokio::test]
async fn repositories_are_found_renamed_hidden_and_missing() {
    let fake = started(&[]).await;
    let forge = by_token(&fake);
    let facts = forge.repository(&widgets()).await.unwrap();
    assert_eq!((facts.id, facts.default_branch.as_str(), facts.renamed), (1001, "main", false));
    assert_eq!((facts.full_name, facts.archived, facts.private), (widgets(), false, false));

    fake.add_repository("acme/vault");
    fake.make_private("acme/vault");
    let vault = RepositoryName { repo: "vault".to_owned(), ..widgets() };
    assert!(forge.repository(&vault).await.unwrap().private);
    let anonymous = client(&fake, &GitHubAuth::Anonymous, &Clock::system());
    assert_eq!(anonymous.repository(&vault).await, Err(ForgeError::NotFound));
    assert!(anonymous.repository(&widgets()).await.is_ok());
    assert!(anonymous.git_credential(&widgets()).await.unwrap().is_none());

    fake.rename("acme/widgets", "acme/gadgets");
    let moved = forge.repository(&widgets()).await.unwrap();
    assert!(moved.renamed);
    assert_eq!((moved.id, moved.full_name.repo.as_str()), (1001, "gadgets"));
    assert_eq!(forge.find_pull_request(&widgets(), "job/1", "main").await, Err(ForgeError::Moved));
    assert_eq!(forge.open_pull_request(&new_pull("job/1")).await, Err(ForgeError::Moved));

    let sent = fake.requests().len();
    for (org, repo) in [("..", "x"), ("acme", ".."), ("a/b", "x"), ("acme", "x?y"), ("", "x"), ("acme", "x#")]
    {
        let name = RepositoryName { org: org.to_owned(), repo: repo.to_owned() };
        assert_eq!(forge.repository(&name).await, Err(ForgeError::NotFound));
    }
    assert_eq!(fake.requests().len(), sent);
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let (fake, canary) = (started(&[]).await, started(&[]).await);
    let away = vec![("location", format!("{}/repositories/1001", canary.api_url))];
    fake.fault(Fault::new(Effect::Status(301, json!({}), away)));
    assert_eq!(by_token(&fake).repository(&widgets()).await, Err(ForgeError::Moved));
    assert_eq!(canary.requests().len(), 0);
}

#[tokio::test]
async fn enterprise_server_is_the_same_under_its_own_path() {
    let fake = started(&["job/1"]).await;
    let http = http_client(&HttpLimits::default()).unwrap();
    for api_url in [format!("{}/api/v3", fake.api_url), format!("{}/api/v3/", fake.api_url)] {
        let auth = GitHubAuth::Token(TOKEN.into());
        let forge = GitHub::new(&api_url, &auth, &http, Clock::system()).unwrap();
        assert_eq!(forge.repository(&widgets()).await.unwrap().id, 1001);
        assert_eq!(ensure(&forge, "job/1").await.unwrap().number, 1);
    }
}

#[tokio::test]
async fn labels_and_reviewers_are_wishes() {
    let fake = started(&["job/1"]).await;
    let forge = by_token(&fake);
    ensure(&forge, "job/1").await.unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(forge.add_labels(&widgets(), 1, &names(&["agent"])).await, None);
    assert_eq!(forge.request_reviewers(&widgets(), 1, &names(&["ann", "acme/core"])).await, None);
    let warning = forge.request_reviewers(&widgets(), 1, &names(&["nobody"])).await.unwrap();
    assert!(
        warning.starts_with("reviewers were not asked: ") && warning.contains("collaborators"),
        "{warning}"
    );
    assert!(forge.add_labels(&widgets(), 7, &names(&["agent"])).await.is_some());
    let pull = fake.pulls().remove(0);
    assert_eq!((pull.labels, pull.reviewers), (names(&["agent"]), names(&["ann", "core"])));
}

#[tokio::test]
async fn an_app_gets_a_token_keeps_it_and_renews_it() {
    let fake = started(&["job/1"]).await;
    let clock = Clock::manual(Clock::system().now_ms(), 1);
    for pem in [include_str!("forge_app_key_pkcs1.pem"), include_str!("forge_app_key_pkcs8.pem")] {
        let auth = GitHubAuth::App {
            app_id: APP_ID,
            private_key_pem: SecretString::from(pem),
            installation_id: INSTALLATION_ID,
        };
        let forge = client(&fake, &auth, &clock);
        let asked = || fake.requests_of(&Method::POST, "/access_tokens").len();
        let before = asked();
        let credential =
            || async { forge.git_credential(&widgets()).await.unwrap().unwrap().expose_secret().to_owned() };
        let first = credential().await;
        assert_eq!(ensure(&forge, "job/1").await.unwrap().number, 1);
        assert_eq!((credential().await, asked() - before), (first.clone(), 1));
        let used = fake.requests_of(&Method::GET, "/pulls").pop().unwrap();
        assert_eq!(used.headers["authorization"].to_str().unwrap(), format!("Bearer {first}"));

        clock.advance_ms(54 * 60 * 1_000);
        assert_eq!(credential().await, first);
        clock.advance_ms(2 * 60 * 1_000);
        let second = credential().await;
        assert!(second != first && asked() - before == 2);

        fake.fault(Fault::new(Effect::Dropped).on(Method::POST, "/access_tokens"));
        clock.advance_ms(3_600_000);
        let error = forge.open_pull_request(&new_pull("job/1")).await.unwrap_err();
        assert!(matches!(error, ForgeError::Unavailable { unclear: false, .. }), "{error:?}");
        clock.advance_ms(-3_600_000);

        // Revoked before its time: noticed at the door, renewed once.
        fake.revoke_installation_tokens();
        assert!(forge.repository(&widgets()).await.is_ok());
        assert_eq!(asked() - before, 4);
        clock.advance_ms(-56 * 60 * 1_000);
    }
}

#[tokio::test]
async fn no_secret_is_shown() {
    let fake = started(&["job/1"]).await;
    let forge = by_token(&fake);
    let echo = json!({ "message": format!("token {TOKEN} may not") });
    fake.fault(Fault::new(Effect::Status(403, echo.clone(), vec![])));
    fake.fault(Fault::new(Effect::Status(422, echo, vec![])));
    for _ in 0..2 {
        let error = forge.open_pull_request(&new_pull("job/1")).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
        assert!(error.to_string().contains("[redacted]"), "{error:?}");
    }
    assert!(!format!("{forge:?}").contains(TOKEN));

    let http = http_client(&HttpLimits::default()).unwrap();
    let setup = |url: &str, auth: &GitHubAuth| GitHub::new(url, auth, &http, Clock::system()).unwrap_err();
    let auth = GitHubAuth::App { app_id: 1, private_key_pem: "hunter2".into(), installation_id: 1 };
    let error = setup("https://api.github.com", &auth);
    assert!(matches!(error, ForgeError::Setup { .. }) && !format!("{error:?}").contains("hunter2"));
    for url in ["nonsense", "ftp://api.github.com", "https://user:hunter2@api.github.com"] {
        let error = setup(url, &GitHubAuth::Anonymous);
        assert!(matches!(error, ForgeError::Setup { .. }) && !format!("{error:?}").contains("hunter2"));
    }
}
