//! Agents of other kinds on a whole server: a program in the place of the real one, which prints what that prints.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stand::{Plan, Stand, install_program};

const THREAD: &str = "01a1fa19-df75-7ed2-b22c-81cd45ed9ff8";
const SCRIPT: &str = "node_modules/@openai/codex/bin/codex.js";
const NATIVE: &str = "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";

/// A `codex` as npm installs it: a script that must not be run, and beside it the program. Each run uses 100 tokens of
/// the thread; the word after `do:` in the prompt says how it ends.
async fn stand_with_codex() -> (Stand, TempDir) {
    let dir = tempfile::Builder::new().prefix("oc-").tempdir_in("/tmp").unwrap();
    let root = dir.path();
    let plan = Plan {
        config: format!("[agents.codex]\ncommand = \"{}/{SCRIPT}\"\n", root.display()),
        ..Plan::default()
    };
    for file in [SCRIPT, NATIVE] {
        std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
    }
    install_program(&root.join(SCRIPT), "#!/bin/sh\nexit 99\n");
    let program = format!(
        "#!/bin/sh\ncase \"$1\" in --version) echo codex-cli 0.169.0; exit;; login) exit 0;; esac\n\
         prompt=$(cat); printf '%s\\n' \"$*\" >> {dir}/argv\n\
         case \"$prompt\" in *do:forget*) case \"$*\" in *resume*)\n\
         echo 'Error: thread/resume failed: no rollout found for thread id x' >&2; exit 1;; esac;; esac\n\
         echo '{{\"type\":\"thread.started\",\"thread_id\":\"{THREAD}\"}}'\n\
         echo '{{\"type\":\"turn.started\"}}'\n\
         fail() {{ echo \"{{\\\"type\\\":\\\"turn.failed\\\",\\\"error\\\":{{\\\"message\\\":\\\"$1\\\"}}}}\"; exit 1; }}\n\
         case \"$prompt\" in\n\
         *do:limit*) [ -e {dir}/refilled ] || fail \"You've hit your usage limit. Try again at 3:05 PM.\";;\n\
         *do:once*) [ -e {dir}/once ] || {{ touch {dir}/once; fail 'unexpected status 500'; }};;\n\
         *do:denied*) echo 'ERROR router: error=patch rejected; rejected by user approval settings' >&2;;\n\
         esac\n\
         case \"$prompt\" in *do:denied*|*do:nothing*) ;; *) echo \"$prompt\" >> written.txt;; esac\n\
         total=$(( $(cat {dir}/total 2>/dev/null || echo 0) + 100 )); echo $total > {dir}/total\n\
         echo '{{\"type\":\"item.completed\",\"item\":{{\"id\":\"item_0\",\"type\":\"agent_message\",\"text\":\"Done.\"}}}}'\n\
         echo \"{{\\\"type\\\":\\\"turn.completed\\\",\\\"usage\\\":{{\\\"input_tokens\\\":$total,\\\"output_tokens\\\":7}}}}\"\n\
         case \"$prompt\" in *do:crash*) exit 3;; esac\n",
        dir = root.display(),
    );
    install_program(&root.join(NATIVE), &program);
    (Stand::with(plan).await, dir)
}

async fn submit(stand: &Stand, branch: &str, prompt: &str) -> String {
    stand
        .submit(
            json!({"prompt": prompt, "branchName": branch, "options": {"agent": "codex", "maxAttempts": 1}}),
        )
        .await
}

#[tokio::test]
async fn codex_works_is_continued_and_pays_each_token_once() {
    let (stand, dir) = stand_with_codex().await;
    let first = submit(&stand, "one", "do:crash this").await;
    let job = stand.failed(&first, "crashed").await;
    assert_eq!((&job["sessionId"], &job["usage"]["inputTokens"]), (&json!(THREAD), &json!(100)), "{job:#}");
    assert_eq!(job["usage"]["costUsd"], Value::Null, "it does not say");
    let again = stand.retry(&first, json!({"mode": "resume", "prompt": "Go on"})).await;
    let job = stand.completed(&again).await;
    assert_eq!(job["outcome"], "pull_request");
    assert_eq!((&job["sessionId"], &job["usage"]["inputTokens"]), (&json!(THREAD), &json!(100)), "{job:#}");
    let argv = std::fs::read_to_string(dir.path().join("argv")).unwrap();
    let lines: Vec<&str> = argv.lines().collect();
    assert!(
        lines[0].starts_with("exec --json -c approval_policy=\"never\" -c sandbox_mode=\"workspace-write\"")
    );
    assert!(lines[0].ends_with(" -") && !lines[0].contains("resume"), "{argv}");
    assert!(lines.last().unwrap().ends_with(&format!(" resume {THREAD} -")), "{argv}");
    let health = stand.get("/health").await;
    let agents = health["agents"].as_array().unwrap();
    let codex = agents.iter().find(|agent| agent["name"] == "codex").unwrap();
    assert_eq!(
        (&codex["installed"], &codex["version"], &codex["authenticated"], &codex["versionMin"]),
        (&json!(true), &json!("0.169.0"), &json!(true), &json!("0.140.0")),
        "{codex:#}"
    );
    assert_eq!((&codex["can"]["resume"], &codex["can"]["cost"]), (&json!(true), &json!(false)));
    // it was asked at its time, and not for whoever asks the server
    assert!(codex["checkedAt"].is_string(), "{codex:#}");
    for _ in 0..5 {
        assert_eq!(stand.get("/health").await["agents"], health["agents"]);
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_thread_that_codex_forgot_is_begun_anew_and_that_is_said() {
    let (stand, _dir) = stand_with_codex().await;
    let first = submit(&stand, "one", "do:once").await;
    stand.failed(&first, "api_error").await;
    let again = stand.retry(&first, json!({"mode": "resume", "prompt": "do:forget it"})).await;
    let job = stand.completed(&again).await;
    assert!(job["warnings"].to_string().contains("starts afresh"), "{job:#}");
    assert!(job["attempts"].as_array().unwrap().iter().any(|attempt| attempt["counted"] == false));
    stand.finish().await;
}

#[tokio::test]
async fn a_used_up_codex_holds_its_own_login_and_no_other() {
    let (stand, dir) = stand_with_codex().await;
    let held = submit(&stand, "one", "do:limit").await;
    let job = stand.wait_for(&held, "held", |job| job["waiting"]["for"] == "usage_limit").await;
    assert_ne!(job["waiting"]["until"], Value::Null, "{job:#}");
    let other = stand.submit_prompt("two", "Greet").await;
    stand.completed(&other).await;
    std::fs::write(dir.path().join("refilled"), "").unwrap();
    stand.post("/queue/try-now", &json!({"login": "codex"})).await;
    let job = stand.completed(&held).await;
    assert!(job["attempts"].as_array().unwrap()[0]["counted"] == false, "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn what_codex_cannot_do_is_told_and_not_dropped() {
    let (stand, _dir) = stand_with_codex().await;
    let denied = submit(&stand, "one", "do:denied").await;
    stand.failed(&denied, "permission_denied").await;
    let nothing = submit(&stand, "two", "do:nothing").await;
    assert_eq!(stand.completed(&nothing).await["outcome"], "no_changes");
    for (option, value) in
        [("maxTurns", json!(3)), ("maxBudgetUsd", json!(1.5)), ("allowedTools", json!(["Bash"]))]
    {
        let mut body = json!({"prompt": "x", "branchName": "three", "options": {"agent": "codex"}});
        body["options"][option] = value;
        let (status, answer) = stand.try_submit(body).await;
        assert_eq!((status, &answer["code"]), (422, &json!("not_supported")), "{answer}");
        assert_eq!(answer["errors"][0]["pointer"], format!("/options/{option}"));
        let detail = answer["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("the agent \"codex\" is of the kind codex"), "{detail}");
    }
    stand.finish().await;
}

/// An agent that notes what it was started with, and does not work.
fn noting(stand: &Stand, name: &str, version: &str) {
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version|-v) echo {version}; exit;; login|auth) exit 0;; esac\n\
         printf '%s\\n' \"$@\" > {noted}.argv\ncat > {noted}.stdin\nexit 3\n",
        noted = stand.path(name).display(),
    );
    stand.install(name, &script);
}

#[tokio::test]
async fn what_is_to_be_appended_to_the_system_prompt_reaches_each_agent_in_its_way() {
    let mut stand = Stand::built(Plan::default()).await;
    let agents = [("claude", "2.1.0"), ("codex", "0.169.0"), ("opencode", "1.18.0"), ("gemini", "0.50.0")];
    for (name, version) in agents {
        noting(&stand, name, version);
        if name != "claude" {
            let entry =
                format!("[agents.{name}]\ncommand = \"{}\"\n", stand.path("agents").join(name).display());
            stand.add_config(&entry);
        }
    }
    stand.start().await;
    let usual = "You are working on a feature branch in a git worktree of your own.";
    for (name, _) in agents {
        for (told, words) in
            [(json!("Speak softly."), "Speak softly."), (Value::Null, usual), (json!(""), "")]
        {
            let mut body = json!({"prompt": "Greet them", "branchName": format!("{name}-{}", words.len()),
                "options": {"agent": name, "maxAttempts": 1}});
            if !told.is_null() {
                body["options"]["appendSystemPrompt"] = told;
            }
            let id = stand.submit(body).await;
            stand.failed(&id, "crashed").await;
            let noted = |what: &str| std::fs::read_to_string(stand.path(&format!("{name}.{what}"))).unwrap();
            let (argv, stdin) = (noted("argv"), noted("stdin"));
            assert!(
                stdin.trim_end().ends_with("Greet them") && !argv.contains("Greet them"),
                "{name}: {argv} {stdin}"
            );
            let (place, other, told) = match name {
                "claude" => (&argv, &stdin, format!("--append-system-prompt={words}")),
                "codex" => (&argv, &stdin, format!("developer_instructions=\"{words}")),
                _ => (&stdin, &argv, words.to_owned()),
            };
            if words.is_empty() {
                let none = ["append-system-prompt", "developer_instructions", usual];
                assert!(
                    none.iter().all(|text| !argv.contains(text) && !stdin.contains(text)),
                    "{name}: {argv}"
                );
                assert_eq!(stdin.trim_end(), "Greet them", "{name}");
            } else {
                assert!(place.contains(&told) && !other.contains(words), "{name}: {argv} {stdin}");
            }
        }
    }
    stand.finish().await;
}

/// A job that waits was accepted with other options.
#[tokio::test]
async fn what_the_owner_sets_later_and_the_agent_cannot_do_is_said_to_be_his() {
    let stand = Stand::new().await;
    stand.post("/queue/pause", &json!({})).await;
    let id = stand.submit(json!({"prompt": "echo x > x", "branchName": "w", "options": {"agent": "sh", "publish": "branch"}})).await;
    let client = format!("/clients/{}", stand.job(&id).await["clientId"].as_str().unwrap());
    let set = async |turns: Value| {
        stand.call("PATCH", &client, Some(&json!({"options": {"maxTurns": turns}}))).await.0
    };
    assert_eq!(set(json!(3)).await, 200);
    stand.post("/queue/resume", &json!({})).await;
    let job = stand.failed(&id, "unsupported_option").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("options.maxTurns"), "{job:#}");
    assert_eq!(stand.tip("w"), None);
    assert_eq!(set(Value::Null).await, 200);
    let again = stand.retry(&id, json!({})).await;
    assert_eq!(stand.completed(&again).await["outcome"], "branch_pushed");
    stand.finish().await;
}
