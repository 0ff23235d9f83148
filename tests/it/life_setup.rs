//! `setup` and `copyFiles` on a whole server: what is there before the agent begins.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use crate::life_ends::snapshot;
use crate::stand::{Plan, REPO, Stand};

async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    let mut all = json!({"agent": "sh", "publish": "branch"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": all})).await
}

/// A line that counts how often it was run, and waits for its gate.
fn gated(stand: &Stand, name: &str) -> String {
    format!(
        "echo run >> {0}; while [ ! -e {1} ]; do sleep 0.02; done; echo set up > set-up.txt",
        stand.path(name).display(),
        stand.gate(name).display()
    )
}

fn runs(stand: &Stand, name: &str) -> usize {
    std::fs::read_to_string(stand.path(name)).map_or(0, |text| text.lines().count())
}

async fn has_run(stand: &Stand, name: &str) {
    stand.wait_until("the command runs", async || (runs(stand, name) > 0).then_some(())).await;
}

fn put_file(stand: &Stand, name: &str, text: &str) {
    let dir = stand.path("data/files").join(REPO);
    std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    std::fs::write(dir.join(name), text).unwrap();
}

#[tokio::test]
async fn commands_run_in_order_before_the_agent_without_keys_and_by_no_shell_of_ours() {
    let mut stand = Stand::built(Plan::default()).await;
    for name in ["NAMED", "NOT_NAMED", "CLAUDE_CODE_OAUTH_TOKEN"] {
        stand.set_env(name, "x");
    }
    stand.start().await;
    let env = stand.path("env");
    let setup = json!([
        "echo first > order.txt; echo told-by-setup",
        ["sh", "-c", format!("echo \"$0 $1\" >> order.txt; env > {}", env.display()), "$(id)", "a; b"],
    ]);
    let id = submit(
        &stand,
        "s",
        "cat order.txt; echo agent >> order.txt",
        json!({"setup": setup, "env": ["NAMED"]}),
    )
    .await;
    let job = stand.completed(&id).await;
    assert_eq!(job["outcome"], "branch_pushed", "{job:#}");
    assert_eq!(stand.git(&["show", "s:order.txt"]), "first\n$(id) a; b\nagent");
    let env = std::fs::read_to_string(env).unwrap();
    for secret in ["AGENT_API_SECRET", "GITHUB_TOKEN", "WEBHOOK_SECRET", "CLAUDE_", "NOT_NAMED"] {
        assert!(!env.contains(secret), "{env}");
    }
    assert!(
        env.contains("NAMED=x")
            && env.contains("GIT_AUTHOR_NAME=")
            && env.contains("OFFSHOOT_STEP=")
            && env.contains("PATH=")
    );
    let log = stand.get_text(&format!("/jobs/{id}/log")).await;
    let told = log.find("told-by-setup").expect("the output of a command is in the log");
    assert!(told < log.find("$(id) a; b").unwrap(), "{log}");
    assert!(
        stand.messages(&id).await.iter().any(|message| {
            message["content"] == "setup 1 of 2: echo first > order.txt; echo told-by-setup"
        })
    );
    stand.finish().await;
}

#[tokio::test]
async fn a_command_that_fails_ends_the_job_before_the_agent_and_keeps_what_is_there() {
    let stand = Stand::new().await;
    let missing = json!([["no-such-program"]]);
    let slow = json!(["echo half > half.txt; sleep 1000"]);
    let rows = [
        (
            "fails",
            json!({"setup": ["echo half > half.txt; echo no luck >&2; exit 7"]}),
            "exited with 7. Its last words: no luck",
        ),
        ("missing", json!({"setup": missing}), "`no-such-program` cannot be run: "),
        ("slow", json!({"setup": slow, "timeoutSeconds": 1}), "was ended: 1 s (timeoutSeconds)"),
    ];
    for (branch, options, text) in rows {
        let id = submit(&stand, branch, &format!("touch {}", stand.path("ran").display()), options).await;
        let job = stand.failed(&id, "setup_failed").await;
        let message = job["reason"]["message"].as_str().unwrap();
        assert!(message.starts_with("A setup command failed.") && message.contains(text), "{message}");
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["counted"]), (1, &json!(false)), "{job:#}");
        assert_eq!((stand.tip(branch), &job["exitCode"]), (None, &Value::Null));
        assert_eq!(stand.callback(&id).await.body["reason"]["code"], "setup_failed");
        if branch != "missing" {
            assert_eq!(snapshot(&stand, &id, "half.txt"), "half");
        }
    }
    assert!(!stand.path("ran").exists(), "no agent ran");
    stand.finish().await;
}

/// Nobody knows what it would have come to.
#[tokio::test]
async fn a_command_that_is_killed_is_run_again_in_the_next_attempt() {
    let stand = Stand::new().await;
    let once = stand.path("once");
    let setup = format!("[ -e {0} ] || {{ touch {0}; kill -9 $$; }}; echo done > done.txt", once.display());
    let id = submit(&stand, "k", "cat done.txt", json!({"setup": [setup]})).await;
    let job = stand.completed(&id).await;
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["reason"]["code"]), (2, &json!("interrupted")), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn a_command_is_cancelled_with_all_that_it_started() {
    let stand = Stand::new().await;
    let setup = format!("setsid sleep 1000 & {}", gated(&stand, "never"));
    let id = submit(&stand, "c", "true", json!({"setup": [setup]})).await;
    has_run(&stand, "never").await;
    assert_eq!(stand.job(&id).await["phase"], "preparing");
    assert_eq!(stand.cancel(&id).await.0, 200);
    assert!(stand.processes().is_empty(), "{:?}", stand.processes());
    assert_eq!(stand.job(&id).await["status"], "cancelled");
    stand.finish().await;
}

#[tokio::test]
async fn a_command_goes_on_without_the_server_and_is_not_run_twice() {
    let mut stand = Stand::new().await;
    let running = gated(&stand, "running");
    let ended = gated(&stand, "ended");
    let prompt = "cat set-up.txt; echo done > done.txt";
    let first = submit(&stand, "r", prompt, json!({"setup": [running, "echo second > second.txt"]})).await;
    let second = submit(&stand, "e", prompt, json!({"setup": [ended]})).await;
    has_run(&stand, "running").await;
    has_run(&stand, "ended").await;
    stand.kill9().await;
    stand.open_gate("ended");
    stand.wait_until("one has ended", async || (stand.step_processes().len() <= 3).then_some(())).await;
    stand.start_again().await;
    stand.wait_for(&first, "adopted", |job| job["status"] == "running").await;
    stand.open_gate("running");
    for (id, branch, name) in [(&first, "r", "running"), (&second, "e", "ended")] {
        let job = stand.completed(id).await;
        assert_eq!((job["attempts"].as_array().unwrap().len(), runs(&stand, name)), (1, 1), "{job:#}");
        assert_eq!(stand.git(&["show", &format!("{branch}:set-up.txt")]), "set up");
    }
    assert_eq!(stand.git(&["show", "r:second.txt"]), "second");
    stand.finish().await;
}

#[tokio::test]
async fn a_command_whose_supervisor_died_leaves_nothing_and_the_next_attempt_begins_anew() {
    let stand = Stand::new().await;
    let setup = format!(
        "if [ ! -e {0} ]; then touch half.txt; {1}; fi",
        stand.path("lost").display(),
        gated(&stand, "lost")
    );
    let id = submit(&stand, "l", "ls > seen.txt", json!({"setup": [setup]})).await;
    has_run(&stand, "lost").await;
    let pid = stand.job(&id).await["pid"].as_i64().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let job = stand.completed(&id).await;
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["reason"]["code"]), (2, &json!("interrupted")), "{job:#}");
    assert!(!stand.git(&["show", "l:seen.txt"]).contains("half.txt"), "the files are fresh");
    stand.finish().await;
}

#[tokio::test]
async fn a_stop_with_agents_stops_commands_too_and_the_job_goes_on_later() {
    let mut stand = Stand::built(Plan::default()).await;
    stand.start_with(&["--stop-agents"]).await;
    let id = submit(&stand, "st", "cat set-up.txt", json!({"setup": [gated(&stand, "stopped")]})).await;
    has_run(&stand, "stopped").await;
    assert_eq!(stand.terminate(Duration::from_secs(40)).await, Some(0));
    assert!(stand.processes().is_empty(), "{:?}", stand.processes());
    stand.open_gate("stopped");
    stand.start_again().await;
    let job = stand.completed(&id).await;
    let attempts = job["attempts"].as_array().unwrap();
    let first = (&attempts[0]["reason"]["code"], &attempts[0]["counted"]);
    assert_eq!((attempts.len(), first), (2, (&json!("stopped"), &json!(false))), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn files_of_the_owner_are_there_and_in_no_result() {
    let stand = Stand::new().await;
    put_file(&stand, ".env", "KEY=1");
    put_file(&stand, "certs/a/b.pem", "pem");
    put_file(&stand, "README.md", "not the repository's");
    put_file(&stand, "other.txt", "nobody asked");
    std::fs::write(stand.path("outside"), "secret").unwrap();
    symlink(stand.path("outside"), stand.path("data/files").join(REPO).join(".env.link")).unwrap();
    let options = json!({"copyFiles": [".env*", "certs", "README.md", "nothing.txt"], "setup": [["test", "-f", ".env"]]});
    let prompt =
        "cat .env certs/a/b.pem > seen.txt; ls >> seen.txt; echo more >> .env; cat README.md >> seen.txt";
    let id = submit(&stand, "f", prompt, options.clone()).await;
    let job = stand.completed(&id).await;
    let seen = stand.git(&["show", "f:seen.txt"]);
    assert!(
        seen.starts_with("KEY=1pem") && !seen.contains("other.txt") && !seen.contains("not the"),
        "{seen}"
    );
    let files = stand.git(&["ls-tree", "-r", "--name-only", "f"]);
    assert!(!files.contains(".env") && !files.contains("certs") && files.contains("seen.txt"), "{files}");
    let warnings: Vec<_> = job["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        warnings,
        [
            "copyFiles: there is no file \"nothing.txt\" for acme/widgets in files_dir.",
            "copyFiles: .env.link: not copied: a link, and links are not followed",
            "copyFiles: README.md: not copied: it is in the repository",
        ]
    );
    // nor in a snapshot, whoever takes it
    let id =
        submit(&stand, "g", "echo half > half.txt; exit 1", json!({"copyFiles": [".env"], "maxAttempts": 2}))
            .await;
    stand.failed(&id, "crashed").await;
    let kept = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{id}")]);
    assert_eq!(kept.lines().count(), 2, "{kept}");
    for name in kept.lines() {
        let files = stand.git_clone(&["ls-tree", "-r", "--name-only", name]);
        assert!(files.contains("half.txt") && !files.contains(".env"), "{files}");
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_copied_file_that_the_agent_commits_is_not_pushed() {
    let stand = Stand::new().await;
    put_file(&stand, ".env", "KEY=1");
    let prompt = "git add -A && git commit -qm everything";
    let id = submit(&stand, "p", prompt, json!({"copyFiles": [".env"]})).await;
    let job = stand.failed(&id, "secret_detected").await;
    let message = job["reason"]["message"].as_str().unwrap();
    assert!(message.ends_with(".env was copied into the worktree and is committed"), "{message}");
    assert_eq!(stand.tip("p"), None);
    // nor by those that could go on with its work, whatever they are told to copy
    let body = json!({"prompt": "true", "options": {"copyFiles": []}});
    let next = stand.post(&format!("/jobs/{id}/follow-up"), &body).await["id"].as_str().unwrap().to_owned();
    assert_eq!(stand.completed(&next).await["outcome"], "no_changes");
    assert_eq!(stand.tip("p"), None);
    stand.finish().await;
}

/// A name of its own hides nothing: not in the branch, nor in what is kept of the job or of its worktree.
#[tokio::test]
async fn a_copied_file_with_another_name_is_neither_pushed_nor_kept() {
    let stand = Stand::new().await;
    put_file(&stand, ".env", "KEY=1\n");
    put_file(&stand, "certs/a.pem", "PEM of the owner\n");
    let owners = stand.path("data/files").join(REPO).join(".env");
    let options = json!({"copyFiles": [".env", "certs"], "artifacts": ["rep/**"]});
    let end = "; mv certs certs2; echo good > rep/good.txt";
    for (branch, act) in [
        ("moved", "mkdir rep; mv .env rep/x.html".to_owned()),
        ("linked", "mkdir rep; ln .env rep/x.html; rm .env".to_owned()),
        ("both", "mkdir rep; ln .env rep/x.html; cp .env notes.txt".to_owned()),
        ("owners", format!("mkdir rep; ln {} rep/x.html", owners.display())),
    ] {
        let id = submit(&stand, branch, &format!("{act}{end}"), options.clone()).await;
        let job = stand.completed(&id).await;
        let kept = &job["artifacts"];
        assert_eq!(
            (&kept[0]["path"], kept.as_array().unwrap().len()),
            (&json!("rep/good.txt"), 1),
            "{job:#}"
        );
        let files = stand.git(&["ls-tree", "-r", "--name-only", branch]);
        let others = ["x.html", "certs", "notes.txt", ".env"];
        assert!(files.contains("good.txt") && !others.iter().any(|name| files.contains(name)), "{files}");
        let warnings = job["warnings"].to_string();
        assert!(warnings.contains("certs2/a.pem: left out: a file of copyFiles"), "{warnings}");
        assert!(warnings.contains("rep/x.html: not kept: a file of copyFiles"), "{warnings}");
    }
    let options = json!({"copyFiles": [".env"], "maxAttempts": 1});
    let id = submit(&stand, "failed", "mv .env notes.txt; echo half > half.txt; exit 1", options).await;
    stand.failed(&id, "crashed").await;
    let kept = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{id}")]);
    let files = stand.git_clone(&["ls-tree", "-r", "--name-only", kept.trim()]);
    assert!(files.contains("half.txt") && !files.contains("notes.txt"), "{files}");
    stand.finish().await;
}

/// The owner finds out, and changes the key or takes the file away: what the agent has committed is in the work all the same.
#[tokio::test]
async fn a_committed_copy_is_not_pushed_by_those_who_go_on_when_the_file_is_another_or_gone() {
    let stand = Stand::new().await;
    let commit = "git add -f .env && git commit -qm all; echo more > more.txt";
    let copies = json!({"copyFiles": [".env"], "maxAttempts": 1, "verify": [["test", "-e", stand.path("good")]], "verifyRounds": 0});
    for (branch, becomes) in [("gone", None), ("rotated", Some("KEY=2\n"))] {
        put_file(&stand, ".env", "KEY=1\n");
        let id = submit(&stand, branch, commit, copies.clone()).await;
        stand.failed(&id, "verify_failed").await;
        std::fs::remove_file(stand.path("data/files").join(REPO).join(".env")).unwrap();
        if let Some(text) = becomes {
            put_file(&stand, ".env", text);
        }
        std::fs::write(stand.path("good"), "").unwrap();
        let body = json!({"prompt": "echo now > now.txt", "options": {"copyFiles": []}});
        let next =
            stand.post(&format!("/jobs/{id}/follow-up"), &body).await["id"].as_str().unwrap().to_owned();
        stand.failed(&next, "secret_detected").await;
        assert_eq!(stand.tip(branch), None);
        std::fs::remove_file(stand.path("good")).unwrap();
    }
    // nor when the agent itself had failed
    put_file(&stand, ".env", "KEY=1\n");
    let id = submit(
        &stand,
        "crash",
        &format!("{commit}; exit 3"),
        json!({"copyFiles": [".env"], "maxAttempts": 1}),
    )
    .await;
    stand.failed(&id, "crashed").await;
    let body = json!({"prompt": "echo now > now.txt", "options": {"copyFiles": []}});
    let next = stand.post(&format!("/jobs/{id}/follow-up"), &body).await["id"].as_str().unwrap().to_owned();
    stand.failed(&next, "secret_detected").await;
    assert_eq!(stand.tip("crash"), None);
    stand.finish().await;
}
