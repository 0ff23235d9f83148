//! Reasons that the agent or its result brings about, on a whole server: the code, whether the attempt counts, whether
//! an agent runs again, and what a retry does.

use offshoot::domain::reason::{BACKOFF_TRIES_MAX, backoff_seconds};
use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

/// A `claude` that notes which conversation it is to hold and, until the gate `well` is open, says what is in `said`; who asks
/// waits for the answer.
fn install_saying_claude(stand: &Stand) {
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
         echo \"$$ $PWD\" >> {runs}\n\
         for word; do case \"$word\" in --session-id=*|--resume=*) echo \"$word\" >> {args};; esac; done\n\
         if [ ! -e {well} ]; then cat > /dev/null; cat {said}; grep -q control_request {said} && {asks}; exit 1; fi\n\
         exec {own} scripted-agent \"$@\"\n",
        own = env!("CARGO_BIN_EXE_offshoot"),
        runs = stand.path("runs").display(),
        args = stand.path("args").display(),
        well = stand.gate("well").display(),
        said = stand.path("said").display(),
        asks = waits(stand),
    );
    stand.install("claude", &script);
}

/// It waits, and when it is told to end it says what the real program says then.
fn waits(stand: &Stand) -> String {
    let recorded = include_str!("../fixtures/transcripts/claude-sigint-while-tool-runs.jsonl");
    let behind: Vec<_> = recorded.lines().rev().take(3).collect();
    let last: String = behind.into_iter().rev().map(|line| format!("{line}\n")).collect();
    // the conversation is that of each run
    let last = last.replace("\"session_id\":\"589077b8-41d4-456c-88f5-dfea9592d6fe\",", "");
    let file = stand.path("behind");
    std::fs::write(&file, last).unwrap();
    format!("{{ trap 'cat {}; exit 0' INT; sleep 1000 & wait; }}", file.display())
}

/// Checks a job that has failed at its first attempt, which did not count.
fn failed_at_once(stand: &Stand, job: &Value, runs: usize) {
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["counted"]), (1, &json!(false)), "{job:#}");
    assert_eq!(stand.runs(), runs, "no agent runs again by itself");
    assert!(job["reason"]["hint"].as_str().unwrap().contains("offshoot"), "{job:#}");
}

/// What the real program says, what a retry is asked for, and whether that goes on with the conversation.
#[tokio::test]
async fn an_agent_that_refuses_asks_or_runs_out_of_turns_has_failed_and_can_be_gone_on_with() {
    let stand = Stand::new().await;
    install_saying_claude(&stand);
    let table = [
        (
            "refused",
            r#"{"type":"result","subtype":"success","is_error":false,"stop_reason":"refusal"}"#,
            json!({"prompt": "Greet"}),
            false,
        ),
        (
            "needs_input",
            r#"{"type":"control_request","request":{"subtype":"can_use_tool","tool_name":"Write"}}"#,
            json!({"mode": "resume", "prompt": "Greet"}),
            true,
        ),
        (
            "max_turns",
            r#"{"type":"result","subtype":"error_max_turns","is_error":true,"terminal_reason":"max_turns"}"#,
            json!({"mode": "resume"}),
            true,
        ),
    ];
    for (index, (code, said, retry, goes_on)) in table.into_iter().enumerate() {
        std::fs::write(stand.path("said"), format!("{said}\n")).unwrap();
        let id = stand.submit_prompt(code, "Greet").await;
        let job = stand.failed(&id, code).await;
        failed_at_once(&stand, &job, 2 * index + 1);
        stand.open_gate("well");
        let again = stand.retry(&id, retry).await;
        assert_eq!(stand.completed(&again).await["outcome"], "pull_request", "{code}");
        assert_eq!(stand.runs(), 2 * index + 2, "{code}");
        let session = job["sessionId"].as_str().unwrap();
        let conversations = stand.conversations();
        let same = conversations.last().unwrap() == &format!("--resume={session}");
        assert_eq!(same, goes_on, "{code}: {conversations:?}");
        std::fs::remove_file(stand.gate("well")).unwrap();
    }
    for code in ["refused", "needs_input", "max_turns"] {
        assert_eq!(stand.git(&["log", "--format=%s", &format!("main..{code}")]).lines().count(), 1);
    }
    stand.finish().await;
}

const MINUTE_MS: i64 = 60_000;

fn ms(of: &Value) -> i64 {
    of.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// A login of `kind` that says this and sleeps until it is told to end.
fn sleeper(stand: &mut Stand, login: &str, kind: &str, stdout: &str, stderr: &str) {
    for (stream, text) in [("out", stdout), ("err", stderr)] {
        std::fs::write(stand.path(&format!("{login}-{stream}")), format!("{text}\n")).unwrap();
    }
    let place = stand.path(login).display().to_string();
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
         echo \"$$ $PWD\" >> {runs}; cat > /dev/null; cat {place}-out; cat {place}-err >&2; {waits}\n",
        own = env!("CARGO_BIN_EXE_offshoot"),
        runs = stand.path("runs").display(),
        waits = waits(stand),
    );
    crate::stand::install_program(&stand.path(login), &script);
    stand.add_config(&format!("[agents.{login}]\nkind = \"{kind}\"\ncommand = \"{place}\"\n"));
}

/// It would sleep until its login can do something again: that is the queue's to wait for, and for as long as was told.
#[tokio::test]
async fn an_agent_that_sleeps_until_its_limit_is_over_is_held_and_not_paid_again() {
    let mut stand = Stand::built(Plan { workers: 4, ..Plan::default() }).await;
    let retry = |minutes: i64, status: u16| {
        format!(
            r#"{{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":{},"error_status":{status}}}"#,
            minutes * MINUTE_MS
        )
    };
    let now = offshoot::clock::Clock::system().now_ms() / 1_000;
    let resets_at = now + 5 * 3_600;
    let limit = format!(
        r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"rejected","resetsAt":{resets_at},"rateLimitType":"five_hour"}}}}"#
    );
    sleeper(&mut stand, "naps", "claude", &retry(15, 429), "");
    sleeper(&mut stand, "told", "claude", &format!("{limit}\n{}", retry(15, 429)), "");
    sleeper(&mut stand, "full", "claude", &retry(20, 529), "");
    let init = json!({"type": "init", "timestamp": jiff::Timestamp::from_second(now).unwrap().to_string(),
        "session_id": "0e1f0a4e-6c4a-4b1c-9d2a-0c4f7a3b2d1e", "model": "m"});
    let quota = "Attempt 1 failed: You have exhausted your capacity on this model. Your quota will reset after 8h44m7s.. \
        Retrying after 34783183ms...";
    sleeper(&mut stand, "quota", "gemini", &init.to_string(), quota);
    stand.start().await;
    let mut jobs = Vec::new();
    for login in ["naps", "told", "full", "quota"] {
        let body = json!({"prompt": "Greet", "branchName": login, "options": {"agent": login}});
        jobs.push((login, stand.submit(body).await));
    }
    for (login, id) in jobs {
        let for_ = if login == "full" { "backoff" } else { "usage_limit" };
        let job = stand.wait_for(&id, "held", |job| job["waiting"]["for"] == for_).await;
        let until = ms(&job["waiting"]["until"]);
        let messages = stand.messages(&id).await;
        let said = messages.iter().find(|one| one["content"].as_str().unwrap().contains("trying again in"));
        let said_at = ms(&said.unwrap()["createdAt"]);
        let (expected, window) = match login {
            // in whole seconds, not before it would have asked
            "naps" => (((said_at + 15 * MINUTE_MS) / 1_000 + 1) * 1_000, Value::Null),
            "told" => (resets_at * 1_000, json!("five_hour")),
            "full" => (((said_at + 20 * MINUTE_MS) / 1_000 + 1) * 1_000, Value::Null),
            _ => ((now + 31_447) * 1_000, Value::Null),
        };
        // a backoff is counted on the clock that nobody sets
        assert!((until - expected).abs() <= if login == "full" { 50 } else { 0 }, "{login}: {job:#}");
        assert_eq!(job["waiting"].get("window").unwrap_or(&Value::Null), &window, "{login}: {job:#}");
        let message = job["reason"]["message"].as_str().unwrap();
        assert!(login == "quota" || message.contains(" again at 20"), "{message}");
        assert_eq!((&job["attempts"][0]["counted"], stand.runs()), (&json!(false), 4), "{job:#}");
        assert_eq!(stand.cancel(&id).await.0, 200);
    }
    // an answer to a cancel does not wait for that
    stand.wait_until("the worktrees are swept", async || stand.worktrees().is_empty().then_some(())).await;
    stand.finish().await;
}

/// It asks, and when it is ended for that it says that all is well.
#[tokio::test]
async fn a_result_that_is_told_only_when_the_agent_is_ended_is_none() {
    let mut stand = Stand::built(Plan::default()).await;
    let asks = r#"{"type":"control_request","request_id":"r","request":{"subtype":"can_use_tool","tool_name":"Write"}}"#;
    sleeper(&mut stand, "asks", "claude", asks, "");
    let well = r#"{"type":"result","subtype":"success","is_error":false,"result":"ok"}"#;
    std::fs::write(stand.path("behind"), format!("{well}\n")).unwrap();
    stand.start().await;
    let body = json!({"prompt": "Greet", "branchName": "asks", "options": {"agent": "asks"}});
    let id = stand.submit(body).await;
    let job = stand.failed(&id, "needs_input").await;
    assert_eq!((&job["warnings"], &job["attempts"][0]["counted"]), (&json!([]), &json!(false)), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn an_overloaded_model_is_asked_again_later_in_the_same_conversation() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let mark = format!("[[scenario:api-error status=529 once={}]]", stand.path("once").display());
    let id = stand.submit_prompt("busy", &mark).await;
    let job = stand.wait_for(&id, "waiting", |job| job["waiting"]["for"] == "backoff").await;
    assert_eq!((&job["status"], &job["reason"]["code"]), (&json!("queued"), &json!("overloaded")), "{job:#}");
    assert!(job["waiting"]["until"].is_string(), "{job:#}");
    assert_eq!(job["reason"]["hint"], "nothing to do: it is tried again by itself");
    // and it could not be retried
    let (status, body) = stand.call("POST", &format!("/jobs/{id}/retry"), Some(&json!({}))).await;
    assert_eq!((status, &body["code"]), (409, &json!("job_live")), "{body:#}");
    let job = stand.completed(&id).await;
    let codes: Vec<_> =
        job["attempts"].as_array().unwrap().iter().map(|one| &one["reason"]["code"]).collect();
    assert_eq!(codes, [&json!("overloaded"), &Value::Null], "{job:#}");
    assert_eq!((&job["attempts"][0]["counted"], stand.runs()), (&json!(false), 2));
    let session = job["sessionId"].as_str().unwrap();
    assert_eq!(stand.conversations(), [format!("--session-id={session}"), format!("--resume={session}")]);
    stand.finish().await;
}

/// As if the pause of the job were over.
fn end_pause(stand: &Stand, number: &Value) {
    let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    let sql = "UPDATE jobs SET not_before = 0 WHERE number = ?1 AND not_before IS NOT NULL";
    assert_eq!(database.execute(sql, [number.as_i64().unwrap()]).unwrap(), 1);
}

/// A peer that stays away: each pause is twice as long as the one before, and after the last one the job has failed.
#[tokio::test]
async fn a_model_that_stays_overloaded_is_given_up_after_the_last_pause_and_no_attempt_has_counted() {
    let stand = Stand::new().await;
    let id = stand.submit_prompt("busy", "[[scenario:api-error status=529]]").await;
    for tries in 1..=BACKOFF_TRIES_MAX {
        let waits = |job: &Value| job["waiting"]["for"] == "backoff" && job["attempt"] == tries;
        let job = stand.wait_for(&id, "a pause", waits).await;
        let ended = ms(&job["attempts"][tries as usize - 1]["endedAt"]);
        let pause = ms(&job["waiting"]["until"]) - ended;
        let expected = i64::try_from(backoff_seconds(tries) * 1_000).unwrap();
        // it is written down a moment after its end, and counted on the clock that nobody sets
        assert!((expected - 50..expected + 5_000).contains(&pause), "pause {tries} is {pause} ms: {job:#}");
        stand.post("/queue/pause", &json!({})).await;
        end_pause(&stand, &job["number"]);
        stand.post("/queue/resume", &json!({})).await;
    }
    let job = stand.failed(&id, "overloaded").await;
    let counted: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|one| &one["counted"]).collect();
    assert_eq!(counted, vec![&json!(false); BACKOFF_TRIES_MAX as usize + 1], "{job:#}");
    assert_eq!(stand.runs(), BACKOFF_TRIES_MAX as usize + 1);
    assert!(job["reason"]["hint"].as_str().unwrap().contains("offshoot retry"), "{job:#}");
    // what comes then begins to count its pauses anew
    let again = stand.retry(&id, json!({})).await;
    let job = stand.wait_for(&again, "a pause", |job| job["waiting"]["for"] == "backoff").await;
    let pause = ms(&job["waiting"]["until"]) - ms(&job["attempts"][0]["endedAt"]);
    assert!(pause < i64::try_from(backoff_seconds(2) * 1_000).unwrap(), "{job:#}");
    stand.cancel(&again).await;
    stand.wait_for_status(&again, "cancelled").await;
    stand.wait_until("the worktrees are swept", async || stand.worktrees().is_empty().then_some(())).await;
    stand.finish().await;
}

/// What the agent did, what the reason says, and a prompt that does better.
#[tokio::test]
async fn a_result_that_cannot_be_taken_is_kept_and_the_agent_is_told_something_else() {
    let stand = Stand::new().await;
    stand.foreign_commit("main", ".gitattributes", "*.bin filter=crypt\n");
    let amend = "echo x > x.txt; git add x.txt; \
                 git -c user.name=x -c user.email=x@x commit -q --amend -m x; echo run >> RUNS";
    for (code, prompt) in
        [("history_rewritten", amend), ("unsupported_filter", "echo x > x.bin; echo run >> RUNS")]
    {
        let runs = stand.path(code);
        let prompt = prompt.replace("RUNS", &runs.display().to_string());
        let body = json!({"prompt": prompt, "branchName": code, "options": {"agent": "sh"}});
        let id = stand.submit(body).await;
        let job = stand.failed(&id, code).await;
        assert_eq!(
            (job["attempts"].as_array().unwrap().len(), &job["attempts"][0]["counted"]),
            (1, &json!(false))
        );
        assert_eq!(stand.tip(code), None, "nothing is pushed");
        // unchanged it does the same again: the agent runs, and what it makes is refused again
        let again = stand.retry(&id, json!({})).await;
        stand.failed(&again, code).await;
        let better = stand.retry(&again, json!({"prompt": "echo y > y.txt"})).await;
        assert_eq!(stand.completed(&better).await["outcome"], "pull_request", "{code}");
        assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 2, "{code}");
        assert!(!stand.git(&["ls-tree", "-r", "--name-only", code]).contains("x."), "{code}");
        let kept = stand.git_clone(&["for-each-ref", &format!("refs/offshoot/{id}")]);
        assert!(!kept.is_empty(), "{code}: what it did can be rescued");
    }
    stand.finish().await;
}
