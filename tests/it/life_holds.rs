//! Logins that do not work: the job waits, the queue is kept, and everything goes on when it is mended.

use serde_json::{Value, json};

use crate::stand::{Plan, Stand, install_program};

/// A `claude` whose login is dead until the file is there.
fn install_with_login(stand: &Stand) {
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = auth ] && [ ! -e {login} ]; then echo '{{\"loggedIn\":false}}'; exit 1; fi\n\
         case \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
         echo \"$$ $PWD\" >> {runs}\n\
         if [ ! -e {login} ]; then cat > /dev/null; echo '[[scenario:not-logged-in]]' | {own} scripted-agent \"$@\"; exit; fi\n\
         exec {own} scripted-agent \"$@\"\n",
        login = stand.path("login").display(),
        own = env!("CARGO_BIN_EXE_offshoot"),
        runs = stand.path("runs").display(),
    );
    install_program(&stand.path("agents/claude"), &script);
}

async fn held(stand: &Stand, id: &str, code: &str) -> Value {
    let job = stand.wait_for(id, "held", |job| job["waiting"]["for"] == "login").await;
    assert_eq!((&job["status"], &job["waiting"]["until"]), (&json!("queued"), &Value::Null));
    let attempts = job["attempts"].as_array().unwrap();
    assert!(attempts.iter().all(|attempt| attempt["counted"] == false), "{job:#}");
    let health = stand.get("/health").await;
    assert_eq!(
        (&health["status"], &health["holds"][0]["code"]),
        (&json!("degraded"), &json!(code)),
        "{health:#}"
    );
    assert_eq!(health["holds"][0]["login"], "claude");
    job
}

#[tokio::test]
async fn a_missing_agent_holds_the_queue_until_it_is_installed() {
    let stand = Stand::with(Plan { no_claude: true, workers: 1, ..Plan::default() }).await;
    let first = stand.submit_prompt("one", "Greet").await;
    held(&stand, &first, "agent_missing").await;
    let second = stand.submit_prompt("two", "Greet").await;
    // another login is not held
    let other =
        stand.submit(json!({"prompt": "echo > x", "branchName": "o", "options": {"agent": "sh"}})).await;
    stand.completed(&other).await;
    let health = stand.get("/health").await;
    assert_eq!(health["claude"], json!({"authenticated": false, "version": null}));
    assert_eq!(health["queue"]["queued"], 2);
    // trying too early changes nothing
    stand.post("/queue/try-now", &json!({"login": "claude"})).await;
    stand.wait_for(&first, "tried in vain", |job| job["attempt"] == 2 && job["status"] == "queued").await;
    held(&stand, &first, "agent_missing").await;

    stand.install_claude();
    stand.post("/queue/try-now", &json!({"login": "claude"})).await;
    let job = stand.completed(&first).await;
    stand.completed(&second).await;
    let counted = |job: &Value| {
        job["attempts"].as_array().unwrap().iter().filter(|attempt| attempt["counted"] == true).count()
    };
    assert_eq!((counted(&job), stand.runs()), (0, 2), "{job:#}");
    let health = stand.get("/health").await;
    assert_eq!((&health["holds"], &health["status"]), (&json!([]), &json!("ok")));
    stand.finish().await;
}

/// Nobody who reads "no such file" knows which.
#[tokio::test]
async fn an_agent_whose_program_is_nowhere_is_named() {
    let rows = [
        ("gone", "no-such-agent", "\"no-such-agent\" is in no directory of the server's PATH."),
        ("away", "/nowhere/no-such-agent", "\"/nowhere/no-such-agent\" is not there."),
        ("text", "/etc/passwd", "\"/etc/passwd\" is no program that can be run."),
    ];
    let entry = |(name, command, _): &(&str, &str, &str)| {
        format!("[agents.{name}]\nkind = \"command\"\ncommand = \"{command}\"\n")
    };
    let config = rows.iter().map(entry).collect();
    let stand = Stand::with(Plan { config, ..Plan::default() }).await;
    for (name, _, told) in rows {
        let id = stand.submit(json!({"prompt": "x", "branchName": name, "options": {"agent": name}})).await;
        let job = stand.wait_for(&id, "held", |job| job["waiting"]["for"] == "login").await;
        let reason = &job["attempts"][0]["reason"];
        let message = reason["message"].as_str().unwrap();
        assert_eq!(reason["code"], "agent_missing", "{job:#}");
        assert!(message.contains(told), "{message}");
        stand.post(&format!("/jobs/{id}/cancel"), &json!({})).await;
    }
    stand.finish().await;
}

/// A program that is there and too old for its adapter is not given a prompt.
#[tokio::test]
async fn an_agent_that_is_too_old_holds_the_queue_until_it_is_updated() {
    let mut stand = Stand::built(Plan { workers: 1, ..Plan::default() }).await;
    let of_version = |version: &str| {
        let (own, runs) = (env!("CARGO_BIN_EXE_offshoot"), stand.path("runs"));
        format!(
            "#!/bin/sh\ncase \"$1\" in --version) echo '{version} (Claude Code)'; exit;; auth) exec {own} scripted-agent \"$@\";; esac\n\
             echo run >> {runs}\nexec {own} scripted-agent \"$@\"\n",
            runs = runs.display(),
        )
    };
    let (old, new) = (of_version("2.0.99"), of_version("2.1.0"));
    stand.install("claude", &old);
    stand.start().await;
    let first = stand.submit_prompt("one", "Greet").await;
    let job = held(&stand, &first, "agent_missing").await;
    let message = job["attempts"][0]["reason"]["message"].as_str().unwrap();
    assert!(message.contains("It is version 2.0.99, and 2.1.0 is the oldest that works."), "{message}");
    let told = async || {
        let health = stand.get("/health").await;
        let claude = health["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == "claude");
        claude.map(|claude| json!([claude["installed"], claude["version"], claude["versionMin"]]))
    };
    let told = stand.wait_until("it is looked at", told).await;
    assert_eq!(told, json!([false, "2.0.99", "2.1.0"]));
    let health = stand.get("/health").await;
    assert_eq!(health["claude"], json!({"authenticated": false, "version": "2.0.99"}));
    let said = health["holds"][0].to_string();
    assert!(said.contains("2.0.99") && said.contains("2.1.0"), "{health:#}");
    // it is accepted and kept
    let second = stand.submit_prompt("two", "Greet").await;
    held(&stand, &second, "agent_missing").await;
    stand.post("/queue/try-now", &json!({"login": "claude"})).await;
    stand.wait_for(&first, "tried in vain", |job| job["attempt"] == 2 && job["status"] == "queued").await;
    assert_eq!(stand.runs(), 0, "it was given a prompt");
    stand.install("claude", &new);
    stand.post("/queue/try-now", &json!({"login": "claude"})).await;
    let job = stand.completed(&first).await;
    stand.completed(&second).await;
    let attempts = job["attempts"].as_array().unwrap();
    assert!(attempts.iter().all(|attempt| attempt["counted"] == false), "{job:#}");
    assert_eq!(stand.runs(), 2);
    stand.finish().await;
}

#[tokio::test]
async fn a_dead_login_holds_and_a_restart_keeps_it_held() {
    let mut stand = Stand::built(Plan { workers: 2, ..Plan::default() }).await;
    install_with_login(&stand);
    stand.start().await;
    let first = stand.submit_prompt("one", "Greet").await;
    held(&stand, &first, "not_logged_in").await;
    let second = stand.submit_prompt("two", "Greet").await;
    held(&stand, &second, "not_logged_in").await;
    let runs = stand.runs();
    stand.kill9().await;
    stand.start_again().await;
    held(&stand, &first, "not_logged_in").await;
    assert_eq!(stand.runs(), runs, "a held login is left alone");
    std::fs::write(stand.path("login"), "").unwrap();
    stand.post("/queue/try-now", &json!({})).await;
    for id in [&first, &second] {
        let job = stand.completed(id).await;
        assert_eq!(job["outcome"], "pull_request");
    }
    assert_eq!(stand.runs(), runs + 2);
    stand.finish().await;
}

#[tokio::test]
async fn a_usage_limit_holds_until_its_end() {
    let stand = Stand::new().await;
    let resets_at = offshoot::clock::Clock::system().now_ms() / 1_000 + 3 * 86_400;
    let id = stand.submit_prompt("limit", &format!("[[scenario:usage-limit resets_at={resets_at}]]")).await;
    let job = stand.wait_for(&id, "held", |job| job["waiting"]["for"] == "usage_limit").await;
    let until: jiff::Timestamp = job["waiting"]["until"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.as_second(), resets_at);
    assert_eq!(job["attempts"][0]["counted"], false);
    let other = stand.submit_prompt("other", "Greet").await;
    let waiting = stand.wait_for(&other, "held too", |job| job["waiting"]["for"] == "usage_limit").await;
    assert_eq!(waiting["attempt"], 0);
    let queue = stand.get("/queue").await;
    let positions: Vec<_> = queue["queued"].as_array().unwrap().iter().map(|job| &job["position"]).collect();
    assert_eq!(positions, [&json!(1), &json!(2)]);
    for id in [&id, &other] {
        assert_eq!(stand.cancel(id).await.0, 200);
    }
    stand.finish().await;
}

/// The watchdog has the queue looked at every 10 s, here 8 s after the reset: who starts before that was woken for it.
const WOKEN_WITHIN_MS: i64 = 5_000;

fn at(text: &Value) -> i64 {
    text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// A server with room for all, and two logins of one program that notes which conversation it is to hold.
async fn two_logins() -> Stand {
    let entry = |name: &str, dir: &str| {
        format!(
            "[agents.{name}]\nkind = \"claude\"\ncommand = \"{dir}/agents/claude\"\nset_env = {{ WHO = \"{name}\" }}\n"
        )
    };
    let mut stand = Stand::built(Plan { workers: 8, ..Plan::default() }).await;
    let dir = stand.dir().display().to_string();
    let config = ["hours", "week"].map(|name| entry(name, &dir)).concat();
    stand.add_config(&config);
    stand.install_noting_claude("");
    stand.start().await;
    stand
}

/// Login, limit, its end and whether a probe is out, of each hold.
fn held_logins(health: &Value) -> Vec<(String, String, i64, bool)> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let all = health["holds"].as_array().unwrap().iter();
    all.map(|one| (text(one, "login"), text(one, "window"), at(&one["until"]), one["probe"].is_i64()))
        .collect()
}

fn limit_of(login: &str) -> &'static str {
    if login == "hours" { "five_hour" } else { "weekly" }
}

/// A job whose login meets its limit the first time, and which waits at a gate then.
fn limited(stand: &Stand, login: &str, number: usize, resets_at: i64) -> Value {
    let window = if login == "hours" { "five_hour" } else { "seven_day" };
    let prompt = format!(
        "[[scenario:usage-limit resets_at={resets_at} window={window} once={once}]]{gate}\
         [[scenario:write path={number}.txt content=done]]",
        once = stand.path(login).display(),
        gate = stand.gate_mark("probes"),
    );
    json!({"prompt": prompt, "branchName": format!("{login}-{number}"), "options": {"agent": login}})
}

/// Two conversations were gone on with, those of the two that had met the limit.
fn only_the_first_two_went_on(stand: &Stand) {
    let told = stand.conversations();
    let resumed: Vec<_> = told.iter().filter_map(|one| one.strip_prefix("--resume=")).collect();
    let begun: Vec<_> = told.iter().filter_map(|one| one.strip_prefix("--session-id=")).collect();
    assert_eq!((begun.len(), resumed.len()), (8, 2), "{told:?}");
    assert!(resumed.iter().all(|id| begun[..2].contains(id)), "{told:?}");
}

/// Eight jobs of two logins, one of which has used up its five hours, the other its week.
#[tokio::test]
async fn at_its_reset_each_login_sends_one_probe_and_then_all_jobs_complete_without_a_counted_attempt() {
    let stand = two_logins().await;
    // time enough for a busy machine to start two agents
    let resets_at = offshoot::clock::Clock::system().now_ms() / 1_000 + 12;
    let submit = async |login: &'static str, number: usize| {
        (login, stand.submit(limited(&stand, login, number, resets_at)).await)
    };
    let mut jobs = vec![submit("hours", 0).await, submit("week", 0).await];
    for (login, id) in &jobs {
        let job = stand.wait_for(id, "held", |job| job["waiting"]["for"] == "usage_limit").await;
        assert_eq!(
            (at(&job["waiting"]["until"]), &job["waiting"]["window"]),
            (resets_at * 1_000, &json!(limit_of(login)))
        );
    }
    for number in 1..4 {
        jobs.push(submit("hours", number).await);
        jobs.push(submit("week", number).await);
    }
    let expected = |out: bool| {
        let hold = |login: &str| (login.to_owned(), limit_of(login).to_owned(), resets_at * 1_000, out);
        vec![hold("hours"), hold("week")]
    };
    assert_eq!(held_logins(&stand.get("/health").await), expected(false));
    assert_eq!(stand.runs(), 2, "a held login is left alone");
    let (_, out, _) = crate::rescue::offshoot(&stand, &["queue", "status"]).await;
    assert!(
        out.contains("waits for the five-hour limit") && out.contains("waits for the weekly limit"),
        "{out}"
    );

    // one of each is at work, with seven places free, and the others wait for it
    for (_, id) in &jobs[..2] {
        stand.wait_for_tool(id).await;
    }
    assert_eq!(held_logins(&stand.get("/health").await), expected(true));
    assert_eq!(stand.runs(), 4, "one probe of each login");
    for (_, id) in &jobs[2..] {
        let job = stand.job(id).await;
        assert_eq!((&job["attempt"], &job["waiting"]["for"]), (&json!(0), &json!("usage_limit")), "{job:#}");
    }
    stand.open_gate("probes");
    for (place, (_, id)) in jobs.iter().enumerate() {
        let job = stand.completed(id).await;
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), if place < 2 { 2 } else { 1 }, "{job:#}");
        assert!(attempts.iter().all(|attempt| attempt["counted"] == false), "{job:#}");
        let woken = at(&attempts.last().unwrap()["startedAt"]) - resets_at * 1_000;
        assert!(woken >= 0 && (place >= 2 || woken < WOKEN_WITHIN_MS), "{woken} ms after the reset");
    }
    for (login, id) in &jobs[..2] {
        let events = stand.get_text(&format!("/jobs/{id}/events?after=0")).await;
        assert!(events.contains(&format!("\"window\":\"{}\"", limit_of(login))), "{events}");
    }
    assert_eq!(stand.get("/health").await["holds"], json!([]));
    assert_eq!(stand.runs(), 10, "nobody was asked twice");
    only_the_first_two_went_on(&stand);
    stand.finish().await;
}

/// A login that is held for an hour, by a job that waits for its end.
async fn limited_for_an_hour(stand: &Stand) -> String {
    let resets_at = offshoot::clock::Clock::system().now_ms() / 1_000 + 3_600;
    let id = stand.submit_prompt("limited", &format!("[[scenario:usage-limit resets_at={resets_at}]]")).await;
    stand.wait_for(&id, "held", |job| job["waiting"]["for"] == "usage_limit").await;
    id
}

/// A job that was to need no agent waits for its login like any other, and is paid once when that works again.
async fn waits_and_is_paid_once(stand: &Stand, id: &str, limited: &str, runs: usize) -> Value {
    let job = stand.wait_for(id, "held", |job| job["waiting"]["for"] == "usage_limit").await;
    assert_eq!((&job["status"], stand.runs()), (&json!("queued"), runs), "{job:#}");
    assert_eq!(stand.cancel(limited).await.0, 200);
    stand.open_gate("good");
    stand.post("/queue/try-now", &json!({})).await;
    let job = stand.completed(id).await;
    let attempts = job["attempts"].as_array().unwrap();
    assert!(attempts.iter().all(|attempt| attempt["counted"] == false), "{job:#}");
    assert_eq!((stand.runs(), &stand.get("/health").await["holds"]), (runs + 1, &json!([])), "{job:#}");
    job
}

#[tokio::test]
async fn commits_that_conflict_wait_for_the_login_before_the_agent_works_on_them_again() {
    let stand = Stand::new().await;
    let prompt = format!("{}[[scenario:write path=same.txt content=ours]]", stand.gate_mark("torn"));
    let id = stand.submit_prompt("torn", &prompt).await;
    stand.wait_for_tool(&id).await;
    stand.foreign_commit("torn", "same.txt", "theirs");
    stand.open_gate("torn");
    stand.failed(&id, "branch_moved").await;
    let limited = limited_for_an_hour(&stand).await;
    let runs = stand.runs();
    let again = stand.retry(&id, json!({})).await;
    let job = waits_and_is_paid_once(&stand, &again, &limited, runs).await;
    assert_eq!(stand.git(&["show", "torn:same.txt"]), "ours", "{job:#}");
    stand.finish().await;
}

/// What the owner's command says of it is told when the agent may be asked.
#[tokio::test]
async fn work_by_hand_that_is_refused_waits_for_the_login_before_the_agent_repairs_it() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!("[[scenario:write path=a.txt content=bad]]{}", stand.gate_mark("never"));
    let check = format!("echo it is not good; test -e {}", stand.gate("good").display());
    let body = json!({"prompt": prompt, "branchName": "by-hand", "options": {"verify": [check]}});
    let id = stand.submit(body).await;
    stand.wait_for_tool(&id).await;
    let key = "key-0123456789abcdef";
    stand.post(&format!("/jobs/{id}/attach"), &json!({"key": key})).await;
    let limited = limited_for_an_hour(&stand).await;
    let runs = stand.runs();
    stand.post(&format!("/jobs/{id}/detach"), &json!({"key": key, "goesOn": "publish"})).await;
    waits_and_is_paid_once(&stand, &id, &limited, runs).await;
    let prompts = stand.prompts();
    assert_eq!(prompts.matches("Your work is not accepted yet").count(), 1, "{prompts}");
    let last = prompts.rsplit("Somebody took this work over from you").next().unwrap();
    assert!(last.contains("exited with 1") && last.contains("it is not good"), "{last}");
    stand.finish().await;
}
