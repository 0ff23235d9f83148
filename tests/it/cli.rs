//! Whole commands as processes, against a server that answers as the test says.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::cli_fake::{Answer, Fake, job, queued};

/// Longer than any command here takes on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    command.env_clear().env("HOME", "/nonexistent").env("TZ", "UTC").env("OFFSHOOT_TOKEN", "a-token");
    command.env("OFFSHOOT_URL", url).args(arguments).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) async fn finish(mut command: Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input has closed it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output =
        tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("ends in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) async fn run(fake: &Fake, arguments: &[&str]) -> Ran {
    finish(command(&fake.url, arguments), "").await
}

pub(crate) fn page(messages: &[(i64, &str)]) -> Answer {
    let messages: Vec<Value> = messages
        .iter()
        .map(|(seq, text)| json!({ "seq": seq, "type": "stdout", "content": text, "createdAt": "2026-11-21T12:00:02.000Z" }))
        .collect();
    Answer::json(200, &json!({ "messages": messages, "nextCursor": null }))
}

#[tokio::test]
async fn usage_and_version_need_no_server() {
    let nowhere = "http://127.0.0.1:9";
    let version = finish(command(nowhere, &["version"]), "").await;
    assert_eq!((version.code, version.out.trim()), (0, concat!("offshoot ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(finish(command(nowhere, &["version", "--json"]), "").await.json()["name"], "offshoot");
    assert_eq!(finish(command(nowhere, &["submit", "--help"]), "").await.code, 0);
    let wrong = finish(command(nowhere, &["frobnicate"]), "").await;
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""));
    let wrong = finish(command(nowhere, &["--json", "frobnicate"]), "").await;
    assert_eq!((wrong.code, wrong.json()["code"].as_str()), (2, Some("usage")));
    assert_eq!(wrong.err, "");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_code_3() {
    let ran = finish(command("http://127.0.0.1:9", &["ls"]), "").await;
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.starts_with("error: cannot reach offshoot at http://127.0.0.1:9 (connection refused)\n"),
        "{ran:?}"
    );
    assert!(ran.err.contains("offshoot serve"), "{ran:?}");
    let ran = finish(command("http://127.0.0.1:9", &["ls", "--json"]), "").await;
    assert_eq!((ran.code, ran.json()["code"].as_str()), (3, Some("unreachable")));
}

#[tokio::test]
async fn refusals_have_their_exit_codes_and_end_with_a_command() {
    let fake = Fake::start(|seen, _| {
        let number = seen.line.split('/').nth(2).unwrap().split('/').next().unwrap();
        let status: u16 = number.parse().unwrap();
        let jobs =
            if status == 409 { json!({ "jobs": [{ "id": "job-abcd", "number": 7 }] }) } else { json!({}) };
        Answer::problem(status, "code", "why not", jobs)
    })
    .await;
    for (verb, number, code, hint) in [
        ("show", "401", 4, "unset OFFSHOOT_TOKEN"),
        ("show", "403", 4, "OFFSHOOT_TOKEN"),
        ("show", "404", 5, "offshoot ls"),
        ("retry", "409", 6, "offshoot show 7"),
        ("cancel", "400", 6, "offshoot show 400"),
        ("cancel", "503", 7, "offshoot show 503"),
        ("retry", "422", 2, "offshoot retry --help"),
        ("show", "500", 1, "offshoot queue status"),
    ] {
        let ran = run(&fake, &[verb, number]).await;
        assert_eq!(ran.code, code, "{verb} {number}: {ran:?}");
        assert!(ran.err.contains("error: why not\n  "), "{ran:?}");
        assert!(ran.err.trim_end().lines().last().unwrap().contains(hint), "{verb} {number}: {ran:?}");
        let ran = run(&fake, &[verb, number, "--json"]).await;
        let problem = ran.json();
        assert_eq!(
            (ran.code, &problem["detail"], &problem["requestId"]),
            (code, &"why not".into(), &"req-1".into())
        );
    }
}

#[tokio::test]
async fn a_prompt_comes_from_the_pipe_and_the_answer_is_one_number() {
    let fake = Fake::start(|_, _| Answer::json(201, &queued())).await;
    let arguments = ["submit", "-r", "acme/widg", "-b", "feature/quotes-tab", "-q"];
    let ran = finish(command(&fake.url, &arguments), "Fix it\n").await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "142\n", ""));
    let [seen] = fake.seen().try_into().unwrap();
    let expected = json!({
        "githubOrg": "acme", "githubRepo": "widg", "prompt": "Fix it\n", "branchName": "feature/quotes-tab"
    });
    assert_eq!(seen.body, expected);
    let empty = finish(command(&fake.url, &arguments), "").await;
    assert_eq!(empty.code, 2);
    let plain = run(&fake, &["submit", "-r", "acme/widg", "Fix it"]).await;
    assert_eq!(plain.out, "Queued #142  widg  feature/quotes-tab  (position 1)\n");
    assert_eq!(plain.err, "  watch:  offshoot logs 142 -f\n");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let fake =
        Fake::start(|_, before| if before == 0 { Answer::cut() } else { Answer::json(201, &queued()) }).await;
    let ran = run(&fake, &["submit", "-r", "acme/widg", "Fix it", "-q"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "142\n"), "{ran:?}");
    let [first, second] = fake.seen().try_into().unwrap();
    assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    assert!(first.header("idempotency-key").len() > 20);
}

#[tokio::test]
async fn waiting_ends_with_the_jobs_own_code() {
    for (status, code) in [("completed", 0), ("failed", 10), ("cancelled", 11)] {
        let fake = Fake::start(move |seen, _| match seen.line.as_str() {
            "POST /jobs" => Answer::json(201, &queued()),
            line if line.contains("wait=") => Answer::json(200, &job(&json!({ "status": status }))),
            _ => Answer::json(200, &queued()).header("etag", "\"1\""),
        })
        .await;
        let ran = run(&fake, &["submit", "-r", "acme/widg", "Fix it", "--wait"]).await;
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.out.starts_with("#142  Add Quotes tab"), "{ran:?}");
        assert!(ran.err.contains("#142  queued  starts now (position 1)"), "{ran:?}");
        let ran = run(&fake, &["submit", "-r", "acme/widg", "Fix it", "--wait", "--json"]).await;
        assert_eq!((ran.code, ran.json()["status"].as_str()), (code, Some(status)));
    }
}

#[tokio::test]
async fn the_list_is_a_table_without_colour_in_a_pipe() {
    let fake = Fake::start(|seen, _| match seen.line.split('?').next().unwrap() {
        "GET /jobs" => Answer::json(200, &json!({ "jobs": [job(&json!({}))], "total": 3, "limit": 1, "offset": 0, "nextCursor": "x" })),
        _ => Answer::json(200, &json!({ "running": [], "queued": [], "maxConcurrent": 2, "paused": true, "pausedReason": "night shift", "nextCursor": null, "warnings": [] })),
    })
    .await;
    let ran = run(&fake, &["ls", "status=completed", "--limit", "1"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("#    STATUS     STATE"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'));
    assert_eq!(
        ran.err,
        "0 of 2 running, 0 waiting. Queue paused (night shift).\n2 older:  offshoot ls --offset 1 --limit 1\n"
    );
    assert_eq!(fake.lines()[0], "GET /jobs?status=completed&limit=1&offset=0");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "GET /jobs/142" => Answer::json(200, &job(&json!({}))),
        _ => Answer::text(200, vec![b'x'; 1 << 20]),
    })
    .await;
    let mut child = command(&fake.url, &["logs", "142", "--raw"]).spawn().unwrap();
    drop(child.stdout.take());
    let output =
        tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("ends in time").unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[tokio::test]
async fn the_configuration_is_shown_without_its_secrets() {
    let mut show = command("", &["config", "show", "--origin"]);
    let secret = "0123456789abcdef0123456789abcdef";
    let ran = finish(
        {
            show.env("AGENT_API_SECRET", secret).env("PORT", "4000");
            show
        },
        "",
    )
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.out.contains(secret) && !ran.err.contains(secret));
    let port = ran.out.lines().find(|line| line.starts_with("server.port ")).unwrap();
    assert!(port.contains("4000") && port.ends_with("# PORT"), "{port}");
    let mut wrong = command("", &["config", "show"]);
    let ran = finish(
        {
            wrong.env("PORT", "many");
            wrong
        },
        "",
    )
    .await;
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.err.contains("server.port"), "{ran:?}");
}

#[tokio::test]
async fn serving_without_a_secret_is_a_configuration_error() {
    let ran = finish(command("", &["serve"]), "").await;
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.err.contains("AGENT_API_SECRET"), "{ran:?}");
}
