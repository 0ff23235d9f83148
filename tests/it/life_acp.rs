//! Agents that speak the Agent Client Protocol, on a whole server: a scripted one in Python behind `offshoot acp`.

use serde_json::{Value, json};

use offshoot::isolation::{Found, Sandbox};

use crate::git_fixture::PATH;
use crate::left_out::{Need, leave_out};
use crate::life_inward::tell;
use crate::life_socket::{connect, until};
use crate::stand::{Plan, Stand};

/// Traits of the agents on a stand, each an entry of its own.
const KINDS: [(&str, &str); 14] = [
    ("acp", "modes"),
    ("plain", ""),
    ("resumes", "resume"),
    ("forgets", "no-load"),
    ("newer", "version-2"),
    ("one", "one-id"),
    ("other", "one-id"),
    ("stranger", "no-method"),
    ("exits", "exits"),
    ("root", "refuses-root"),
    ("odd", "odd-id"),
    ("shuts", "shuts"),
    ("fills", "fills"),
    ("busy", "busy-load"),
];

/// A server whose agents are all of that kind; `None`: there is no Python here.
pub(crate) async fn stand(what: &str, more: &str) -> Option<Stand> {
    let mut stand = built(what).await?;
    stand.add_config(more);
    stand.start().await;
    Some(stand)
}

pub(crate) async fn built(what: &str) -> Option<Stand> {
    if !std::process::Command::new("python3").arg("--version").output().is_ok_and(|run| run.status.success())
    {
        leave_out(Need::Python, what);
        return None;
    }
    let mut stand = Stand::built(Plan::default()).await;
    std::fs::create_dir(stand.path("acp")).unwrap();
    let script = include_str!("../fixtures/acp/agent.py");
    std::fs::write(stand.path("agents/agent.py"), script).unwrap();
    let (file, place) = (stand.path("agents/agent.py"), stand.path("acp"));
    let mut config = String::new();
    for (name, traits) in KINDS {
        let args: Vec<String> = [file.to_str().unwrap(), place.to_str().unwrap()]
            .into_iter()
            .chain(traits.split_whitespace())
            .map(|word| format!("{word:?}"))
            .collect();
        config += &format!(
            "[agents.{name}]\nkind = \"acp\"\ncommand = \"python3\"\nargs = [{}]\n",
            args.join(", ")
        );
    }
    stand.add_config(&config);
    Some(stand)
}

pub(crate) async fn submit(stand: &Stand, branch: &str, agent: &str, prompt: &str, options: Value) -> String {
    let mut all = json!({"agent": agent, "maxAttempts": 1, "publish": "branch"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": all})).await
}

/// What the agents were called with, and how their questions were answered.
pub(crate) fn called(stand: &Stand) -> Vec<String> {
    let text = std::fs::read_to_string(stand.path("acp/methods")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn times(stand: &Stand, method: &str) -> usize {
    called(stand).iter().filter(|line| *line == method).count()
}

pub(crate) async fn said(stand: &Stand, id: &str) -> String {
    serde_json::to_string(&stand.messages(id).await).unwrap()
}

#[tokio::test]
async fn an_agent_of_the_protocol_works_and_tells_what_it_does() {
    let Some(stand) = stand("work through the Agent Client Protocol", "").await else { return };
    let id = submit(&stand, "w", "acp", "-- Please do:write=w.txt do:files", json!({})).await;
    let job = stand.completed(&id).await;
    assert_eq!(
        (&job["outcome"], stand.git(&["show", "w:w.txt"]).as_str()),
        (&json!("branch_pushed"), "write")
    );
    assert!(job["sessionId"].as_str().unwrap().starts_with("s-"), "{job:#}");
    let usage = &job["usage"];
    assert_eq!((&usage["inputTokens"], &usage["outputTokens"]), (&json!(100), &json!(7)), "{job:#}");
    assert_eq!(usage["costUsd"], json!(0.25));
    let told = said(&stand, &id).await;
    for words in [
        "agent scripted 3.2.1 started",
        "I begin. ",
        "edit: w.txt",
        "Done as asked.",
        "1200 tokens of context",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // its own mode where it offers one, and files of ours are refused in the words of the protocol
    assert!(called(&stand).contains(&"session/set_mode autoEdit".to_owned()), "{:?}", called(&stand));
    let commit = submit(&stand, "c", "acp", "do:write=c.txt do:commit", json!({})).await;
    stand.completed(&commit).await;
    assert_eq!(stand.git(&["log", "-1", "--format=%s", "c"]), "By the agent itself");
    let nothing = submit(&stand, "n", "acp", "Nothing.", json!({})).await;
    assert_eq!(stand.completed(&nothing).await["outcome"], "no_changes");
    let health = async || {
        let health = stand.get("/health").await;
        let found = health["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == "acp").cloned();
        found.filter(|agent| agent["version"] == "3.2.1")
    };
    let agent = stand.wait_until("it is looked at", health).await;
    assert_eq!(
        (&agent["installed"], &agent["can"]["resume"], &agent["can"]["cost"]),
        (&json!(true), &json!(true), &json!(false))
    );
    stand.finish().await;
}

/// Nobody is ever asked: what `permissionMode` says is the answer.
#[tokio::test]
async fn questions_are_answered_by_the_permission_mode_or_end_the_job() {
    let Some(stand) = stand("questions of the Agent Client Protocol", "").await else { return };
    let rows = [
        ("acceptEdits", "acp", "do:ask", "ok"),
        ("acceptEdits", "acp", "do:run", "permission_denied"),
        ("bypassPermissions", "acp", "do:run", "ok"),
        ("plan", "acp", "do:ask", "permission_denied"),
        ("default", "acp", "do:ask", "needs_input"),
        // it exits when it is told to stop
        ("default", "acp", "do:deserter do:ask", "needs_input"),
        ("default", "acp", "do:many=4100 do:ask", "needs_input"),
        // its tool was told before, and the question names it alone; an answer of a kind that is new takes nothing away
        ("acceptEdits", "acp", "do:kindless", "ok"),
        ("acceptEdits", "acp", "do:newkind", "ok"),
        // it says not even what it asks for
        ("bypassPermissions", "acp", "do:badask", "needs_input"),
        ("default", "acp", "do:badask", "needs_input"),
        ("acceptEdits", "acp", "do:outside=../outside.txt", "permission_denied"),
        // it could be held to no plan by answers alone
        ("plan", "plain", "do:ask", "unsupported_option"),
    ];
    for (number, (mode, agent, prompt, end)) in rows.into_iter().enumerate() {
        let id = submit(&stand, &format!("q{number}"), agent, prompt, json!({"permissionMode": mode})).await;
        match end {
            "ok" => drop(stand.completed(&id).await),
            code => {
                let job = stand.failed(&id, code).await;
                assert!(job["reason"]["message"].as_str().unwrap().len() > 20, "{job:#}");
            }
        }
    }
    let answers: Vec<String> = called(&stand).into_iter().filter(|line| line.starts_with("answer")).collect();
    let expected = [
        "allow_once",
        "reject_once",
        "allow_once",
        "reject_once",
        "cancelled",
        "cancelled",
        "cancelled",
        "allow_once",
        "allow_once",
        "cancelled",
        "cancelled",
        "reject_once",
    ];
    assert_eq!(answers, expected.map(|word| format!("answer {word}")));
    assert_eq!(times(&stand, "session/cancel"), 5, "a turn goes on for nobody");
    let id = submit(&stand, "m", "acp", "do:write", json!({"model": "other"})).await;
    let job = stand.failed(&id, "unsupported_option").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("model"), "{job:#}");
    let before = called(&stand).len();
    let (status, _) = stand
        .try_submit(
            json!({"prompt": "x", "branchName": "b", "options": {"agent": "acp", "maxBudgetUsd": 1.0}}),
        )
        .await;
    assert_eq!((status, called(&stand).len()), (422, before));
    stand.finish().await;
}

#[tokio::test]
async fn each_way_in_which_a_turn_can_end_has_its_reason() {
    let Some(stand) = stand("ends of the Agent Client Protocol", "").await else { return };
    let rows = [
        ("do:stop=refusal", "refused"),
        ("do:stop=max_tokens", "api_error"),
        ("do:stop=max_turn_requests", "max_turns"),
        ("do:stop=something_new", "crashed"),
        ("do:fail=-32603", "api_error"),
        ("do:fail=400", "api_error"),
        ("do:write do:crash", "crashed"),
        ("do:exit=3", "crashed"),
        ("do:exit=0", "crashed"),
        ("do:closes", "crashed"),
        ("do:raw=no-version", "crashed"),
        ("do:raw=no-message", "crashed"),
        ("do:raw=text-error", "crashed"),
        ("do:raw=text-code", "crashed"),
        ("do:raw=list", "crashed"),
        // it can be read, and says that the model failed
        ("do:raw=half-letter", "api_error"),
    ];
    for (number, (prompt, code)) in rows.into_iter().enumerate() {
        let id = submit(&stand, &format!("e{number}"), "acp", prompt, json!({})).await;
        let job = stand.failed(&id, code).await;
        if prompt == "do:exit=3" {
            assert!(job["reason"]["message"].as_str().unwrap().contains("code 3"), "{job:#}");
        }
        if let Some(raw) = prompt.strip_prefix("do:raw=").filter(|raw| *raw != "half-letter") {
            let why = job["reason"]["message"].as_str().unwrap();
            assert!(why.contains("no message of the protocol"), "{why}");
            let log = stand.get_text(&format!("/jobs/{id}/log?raw=true")).await;
            // each as it came
            let line = match raw {
                "no-version" => "\n{\"id\": ",
                "no-message" => "\"error\": {\"code\": -32603}}\n",
                "text-error" => "\"error\": \"boom\"}\n",
                "text-code" => "\"code\": \"E\"",
                _ => "\n[{\"jsonrpc\"",
            };
            assert!(log.contains(line), "{raw}: {log}");
        }
    }
    // garbage between the lines, and a line that is longer than what is kept
    let id = submit(&stand, "g", "acp", "do:garbage do:write do:huge=9000000", json!({})).await;
    let job = stand.completed(&id).await;
    assert_eq!(
        (&job["outcome"], stand.git(&["show", "g:written.txt"]).as_str()),
        (&json!("branch_pushed"), "write")
    );
    let told = said(&stand, &id).await;
    assert!(told.contains("a line of the launcher") && told.contains("Done as asked."), "{}", &told[..2_000]);
    assert!(told.len() < 500_000, "{} bytes", told.len());
    stand.finish().await;
}

#[tokio::test]
async fn logins_and_programs_that_do_not_work_are_held_and_not_burned() {
    let Some(stand) = stand(
        "holds of the Agent Client Protocol",
        "[agents.gone]\nkind = \"acp\"\ncommand = \"no-such-agent\"\n",
    )
    .await
    else {
        return;
    };
    std::fs::write(stand.path("acp/logged-out"), "").unwrap();
    let waits = async |id: &str, code: &str| {
        let job =
            stand.wait_for(id, code, |job| job["status"] == "queued" && job["reason"]["code"] == code).await;
        assert_eq!(job["attempts"][0]["counted"], false, "{job:#}");
        job
    };
    let held = submit(&stand, "h", "acp", "do:write", json!({})).await;
    assert_eq!(waits(&held, "not_logged_in").await["waiting"]["for"], "login");
    let newer = submit(&stand, "n", "newer", "do:write", json!({})).await;
    let job = waits(&newer, "agent_missing").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("does not speak version 1"), "{job:#}");
    for (branch, agent) in [("st", "stranger"), ("ex", "exits")] {
        let id = submit(&stand, branch, agent, "do:write", json!({})).await;
        waits(&id, "agent_missing").await;
        stand.cancel(&id).await;
    }
    let root = submit(&stand, "rt", "root", "do:write", json!({})).await;
    stand.failed(&root, "unsupported_option").await;
    let odd = submit(&stand, "od", "odd", "do:write", json!({})).await;
    let job = stand.failed(&odd, "crashed").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("letters, digits and signs"), "{job:#}");
    let gone = submit(&stand, "o", "gone", "do:write", json!({})).await;
    waits(&gone, "agent_missing").await;
    assert_eq!(times(&stand, "session/prompt"), 0);
    std::fs::remove_file(stand.path("acp/logged-out")).unwrap();
    stand.post("/queue/try-now", &json!({"login": "acp"})).await;
    stand.completed(&held).await;
    // too many requests pass by themselves: this job alone waits
    let busy = submit(&stand, "b", "plain", "do:fail=429", json!({})).await;
    assert_eq!(waits(&busy, "overloaded").await["waiting"]["for"], "backoff");
    for id in [&newer, &gone, &busy] {
        stand.cancel(id).await;
        stand.wait_for_status(id, "cancelled").await;
    }
    // an answer to a cancel does not wait for that
    stand.wait_until("the worktrees are swept", async || stand.worktrees().is_empty().then_some(())).await;
    stand.finish().await;
}

#[tokio::test]
async fn silence_ends_the_job_whatever_the_agent_does_not_hear() {
    let Some(stand) = stand("silence of the Agent Client Protocol", "").await else { return };
    // it never answers its prompt, and takes no notice of a cancel nor of SIGTERM
    let mute = submit(&stand, "m", "acp", "do:mute", json!({"idleTimeoutSeconds": 5})).await;
    stand.failed(&mute, "idle_timeout").await;
    assert_eq!(times(&stand, "session/cancel"), 1);
    stand.finish().await;
}

#[tokio::test]
async fn a_cancel_reaches_the_agent_in_the_middle_of_a_tool_and_nothing_is_left() {
    let Some(stand) = stand("cancel of the Agent Client Protocol", "").await else { return };
    let id = submit(&stand, "c", "acp", "do:gate=never", json!({})).await;
    stand.wait_for_tool(&id).await;
    let (status, answer) = stand.cancel(&id).await;
    assert_eq!((status, &answer["wasRunning"]), (200, &json!(true)));
    stand.wait_for_status(&id, "cancelled").await;
    assert_eq!(times(&stand, "session/cancel"), 1);
    stand.finish().await;
}

#[tokio::test]
async fn conversations_go_on_where_the_agent_can_and_else_begin_anew_and_that_is_said() {
    let Some(stand) = stand("conversations of the Agent Client Protocol", "").await else { return };
    let rows = [("acp", Some("session/load")), ("resumes", Some("session/resume")), ("forgets", None)];
    for (agent, method) in rows {
        let first = submit(&stand, agent, agent, "do:write=first.txt", json!({})).await;
        let before = stand.completed(&first).await;
        let answer = stand
            .post(&format!("/jobs/{first}/follow-up"), &json!({"prompt": "More do:write=second.txt"}))
            .await;
        let id = answer["id"].as_str().unwrap();
        let job = stand.completed(id).await;
        assert_eq!(stand.git(&["show", &format!("{agent}:second.txt")]), "write");
        let told = said(&stand, id).await;
        assert!(!told.contains("OLD W"), "what was said long ago is told again: {told}");
        match method {
            Some(method) => {
                assert_eq!(
                    (&job["sessionId"], &job["warnings"]),
                    (&before["sessionId"], &json!([])),
                    "{agent}"
                );
                assert_eq!(times(&stand, method), 1, "{:?}", called(&stand));
                // each is told its own part of what the session has cost
                assert_eq!(job["usage"]["costUsd"], json!(0.0), "{job:#}");
            }
            None => {
                assert_ne!(job["sessionId"], before["sessionId"]);
                assert!(job["warnings"].to_string().contains("starts afresh"), "{job:#}");
            }
        }
    }
    // what it tells is less than what is known, so it is no total
    let first = submit(&stand, "p", "acp", "do:write=p.txt", json!({})).await;
    stand.completed(&first).await;
    let answer = stand.post(&format!("/jobs/{first}/follow-up"), &json!({"prompt": "do:cheap"})).await;
    let job = stand.completed(answer["id"].as_str().unwrap()).await;
    assert_eq!(job["usage"]["costUsd"], json!(0.1), "{job:#}");
    // one that the agent does not know any more
    let first = submit(&stand, "u", "acp", "do:write=u.txt", json!({})).await;
    let job = stand.completed(&first).await;
    std::fs::remove_file(stand.path(&format!("acp/session-{}", job["sessionId"].as_str().unwrap()))).unwrap();
    let answer = stand.post(&format!("/jobs/{first}/follow-up"), &json!({"prompt": "do:write=v.txt"})).await;
    let job = stand.completed(answer["id"].as_str().unwrap()).await;
    assert!(job["warnings"].to_string().contains("starts afresh"), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_outlives_its_server_in_the_middle_of_a_tool() {
    let Some(mut stand) = stand("restarts with the Agent Client Protocol", "").await else { return };
    let id = submit(&stand, "r", "acp", "do:gate=g do:write=r.txt do:ask=s.txt", json!({})).await;
    stand.wait_for_tool(&id).await;
    stand.kill9().await;
    std::fs::write(stand.path("acp/g"), "").unwrap();
    // the question is answered while no server runs
    let asked = async || called(&stand).contains(&"answer allow_once".to_owned()).then_some(());
    stand.wait_until("the answer", asked).await;
    stand.start_again().await;
    let job = stand.completed(&id).await;
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    assert_eq!(
        (stand.git(&["show", "r:r.txt"]).as_str(), stand.git(&["show", "r:s.txt"]).as_str()),
        ("write", "ask")
    );
    assert_eq!(times(&stand, "session/prompt"), 1);
    stand.finish().await;
}

#[tokio::test]
async fn an_interruption_is_a_cancelled_turn_and_the_message_is_told_in_the_same_conversation() {
    let Some(stand) = stand("words through the Agent Client Protocol", "").await else { return };
    let id = submit(&stand, "t", "acp", "do:gate=never", json!({})).await;
    stand.wait_for_tool(&id).await;
    let mut socket = connect(&stand, &format!("/ws/jobs/{id}?after=latest")).await;
    assert_eq!(tell(&stand, &id, "m-1", "Rather do:write=t.txt").await, "accepted");
    assert_eq!(crate::life_inward::interrupt_now(&stand, &id).await, "accepted");
    until(&mut socket, "message.delivered").await;
    let job = stand.completed(&id).await;
    assert_eq!(
        (stand.git(&["show", "t:t.txt"]).as_str(), job["attempts"].as_array().unwrap().len()),
        ("write", 1)
    );
    assert_eq!(
        (times(&stand, "session/cancel"), times(&stand, "session/load")),
        (1, 1),
        "{:?}",
        called(&stand)
    );
    stand.finish().await;
}

/// The speaker and the agent are inside together.
#[tokio::test]
async fn it_works_in_the_sandbox_as_outside() {
    if let Found::Fails { why } = Sandbox::new(PATH.into()).find().await {
        return leave_out(Need::Bubblewrap, &format!("the Agent Client Protocol in the sandbox ({why})"));
    }
    let Some(mut stand) = built("the Agent Client Protocol in the sandbox").await else { return };
    let dir = stand.dir().display().to_string();
    stand.add_config(&format!("[sandbox]\nread = [\"{dir}/agents\"]\nwrite = [\"{dir}/acp\"]\n"));
    stand.set_env("OFFSHOOT_DEFAULTS_ISOLATION", "sandbox");
    stand.start().await;
    let id = submit(
        &stand,
        "s",
        "acp",
        "do:write=s.txt do:commit do:run",
        json!({"permissionMode": "bypassPermissions"}),
    )
    .await;
    stand.completed(&id).await;
    assert_eq!(stand.git(&["show", "s:s.txt"]), "write");
    let stopped = submit(&stand, "c", "acp", "do:gate=never", json!({})).await;
    stand.wait_for_tool(&stopped).await;
    stand.cancel(&stopped).await;
    stand.wait_for_status(&stopped, "cancelled").await;
    assert_eq!(times(&stand, "session/cancel"), 1, "the interruption did not come through the walls");
    stand.finish().await;
}
