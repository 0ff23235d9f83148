//! Jobs from POST to their end: each outcome, each way an agent can end, on the real server.

use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

#[tokio::test]
async fn a_prompt_becomes_a_pull_request_and_a_callback() {
    let stand = Stand::new().await;
    let id = stand
        .submit(
            json!({"prompt": "Greet", "branchName": "greet/it", "title": "Greet people", "body": "As asked.",
            "osFeatureId": "F-7", "metadata": {"a": 1}, "labels": ["x"],
            "options": {"prLabels": ["agent"], "reviewers": ["ada"]}}),
        )
        .await;
    let job = stand.completed(&id).await;
    assert_eq!((&job["outcome"], &job["phase"]), (&json!("pull_request"), &json!("done")), "{job:#}");
    assert_eq!((&job["error"], &job["exitCode"]), (&Value::Null, &json!(0)));
    // where its credential comes from, as the agent says it
    let said = [&job["authentication"], &job["attempts"][0]["authentication"]];
    assert_eq!(said, [&json!("scripted"); 2], "{job:#}");

    let tip = stand.tip("greet/it").unwrap();
    assert_eq!(job["headSha"], tip);
    assert_eq!(job["baseSha"], stand.tip("main").unwrap());
    assert_eq!(stand.git(&["log", "--format=%s|%an", "main..greet/it"]), "Greet people|offshoot");
    let changed = stand.git(&["diff", "--name-only", "main", "greet/it"]);
    assert_eq!(job["filesChanged"], changed.lines().count());

    let pulls = stand.github.pulls();
    assert_eq!(pulls.len(), 1);
    let pull = &pulls[0];
    assert_eq!((pull.head.as_str(), pull.base.as_str()), ("greet/it", "main"));
    assert_eq!((pull.title.as_str(), pull.draft), ("Greet people", false));
    assert!(pull.body.starts_with("As asked.\n") && pull.body.contains("| Feature | F-7 |"), "{}", pull.body);
    assert!(pull.body.contains(&format!("<!-- offshoot:{id} -->")), "{}", pull.body);
    assert_eq!(job["prNumber"], pull.number);
    assert_eq!((&pull.labels, &pull.reviewers), (&vec!["agent".to_owned()], &vec!["ada".to_owned()]));

    let callback = stand.callback(&id).await.body;
    for field in ["prUrl", "prNumber", "filesChanged", "headSha", "completedAt", "osFeatureId", "metadata"] {
        assert_eq!(callback[field], job[field], "{field}");
    }
    assert_eq!((&callback["type"], &callback["status"]), (&json!("job.completed"), &json!("completed")));
    assert_eq!((stand.callbacks(&id).len(), stand.runs()), (1, 1));
    stand.finish().await;
}

#[tokio::test]
async fn without_a_title_the_branch_speaks_and_the_agents_own_commits_stay() {
    let stand = Stand::new().await;
    let plain = stand.submit_prompt("plain", "Greet").await;
    let own = stand.submit_prompt("own", "[[scenario:commit-itself]]").await;
    let (plain, own) = (stand.completed(&plain).await, stand.completed(&own).await);
    assert_eq!(plain["title"], Value::Null);
    assert_eq!(stand.git(&["log", "--format=%s", "main..plain"]), "feat: plain");
    assert_eq!(stand.git(&["log", "--format=%s|%an", "main..own"]), "Add a greeting|offshoot");
    assert_eq!(
        (&own["outcome"], &own["headSha"]),
        (&json!("pull_request"), &json!(stand.tip("own").unwrap()))
    );
    let titles: Vec<_> = stand.github.pulls().into_iter().map(|pull| (pull.title, pull.head)).collect();
    assert!(titles.iter().all(|(title, head)| title == head) && titles.len() == 2, "{titles:?}");
    stand.finish().await;
}

#[tokio::test]
async fn a_branch_only_no_change_and_a_dry_run_that_is_published_later() {
    let stand = Stand::new().await;
    let options = |publish: &str| json!({"publish": publish});
    let branch =
        stand.submit(json!({"prompt": "Greet", "branchName": "b", "options": options("branch")})).await;
    let nothing = stand.submit_prompt("n", "[[scenario:no-change]]").await;
    let dry = stand.submit(json!({"prompt": "Greet", "branchName": "d", "options": options("none")})).await;

    let branch = stand.completed(&branch).await;
    assert_eq!((&branch["outcome"], &branch["prUrl"]), (&json!("branch_pushed"), &Value::Null));
    assert_eq!(branch["headSha"], stand.tip("b").unwrap());

    let nothing_job = stand.completed(&nothing).await;
    assert_eq!((&nothing_job["outcome"], &nothing_job["filesChanged"]), (&json!("no_changes"), &json!(0)));
    assert_eq!(stand.tip("n"), None);
    assert_eq!(stand.callback(&nothing).await.body["outcome"], "no_changes");

    let dry_job = stand.completed(&dry).await;
    assert_eq!((&dry_job["outcome"], stand.tip("d")), (&json!("dry_run"), None));
    let (_, diff) = stand.call("GET", &format!("/jobs/{dry}/diff?format=json"), None).await;
    assert!(diff.to_string().contains("README.md"), "{diff}");
    assert_eq!(stand.github.pulls(), []);

    let runs = stand.runs();
    let published =
        stand.retry(&dry, json!({"mode": "publish", "options": {"publish": "pull_request"}})).await;
    let published = stand.completed(&published).await;
    assert_eq!(published["outcome"], "pull_request", "{published:#}");
    assert_eq!((&published["headSha"], stand.runs()), (&dry_job["headSha"], runs));
    assert_eq!(published["headSha"], stand.tip("d").unwrap());
    assert_eq!(published["rootJobId"], dry);
    stand.finish().await;
}

#[tokio::test]
async fn any_command_is_an_agent_and_its_exit_code_decides() {
    let stand = Stand::new().await;
    // the prompt comes on standard input, and this agent is a shell that runs it
    let submit = async |branch: &str, script: &str| {
        let options = json!({"agent": "sh", "maxAttempts": 1});
        stand.submit(json!({"prompt": script, "branchName": branch, "options": options})).await
    };
    let good = submit("good", "echo made > made.txt; echo said; echo complained >&2").await;
    let bad = submit("bad", "echo half > half.txt; echo no such luck >&2; exit 7").await;
    let shot = submit("shot", "kill -SEGV $$").await;

    let job = stand.completed(&good).await;
    assert_eq!((&job["outcome"], &job["agent"]), (&json!("pull_request"), &json!("sh")));
    assert_eq!(stand.git(&["show", "good:made.txt"]), "made");
    let messages = stand.messages(&good).await;
    let said = |kind: &str, text: &str| {
        messages.iter().filter(|m| m["type"] == kind && m["content"] == text).count()
    };
    assert_eq!((said("stdout", "said"), said("stderr", "complained")), (1, 1), "{messages:#?}");

    let job = stand.failed(&bad, "crashed").await;
    assert_eq!((&job["exitCode"], stand.tip("bad")), (&json!(7), None));
    assert!(job["error"].as_str().unwrap().contains("no such luck"), "{job:#}");
    let callback = stand.callback(&bad).await.body;
    assert_eq!((&callback["type"], &callback["error"]), (&json!("job.failed"), &job["error"]));
    assert_eq!(stand.failed(&shot, "crashed").await["exitCode"], Value::Null);
    // nothing is lost: what it did is in the clone
    let kept = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{bad}")]);
    assert_eq!(stand.git_clone(&["show", &format!("{}:half.txt", kept.lines().next().unwrap())]), "half");
    stand.finish().await;
}

#[tokio::test]
async fn a_crash_is_tried_again_until_the_attempts_are_used_up() {
    let stand = Stand::new().await;
    let always = stand
        .submit(json!({"prompt": "[[scenario:crash code=3]]", "branchName": "always", "options": {"maxAttempts": 2}}))
        .await;
    let mark = stand.path("gates/second");
    let once = format!(
        "if [ -e {mark} ]; then echo fine > ok.txt; else touch {mark}; echo half > half.txt; exit 9; fi",
        mark = mark.display()
    );
    let once = stand.submit(json!({"prompt": once, "branchName": "once", "options": {"agent": "sh"}})).await;

    let job = stand.failed(&always, "crashed").await;
    assert_eq!((&job["attempt"], &job["exitCode"]), (&json!(2), &json!(3)));
    let attempts = job["attempts"].as_array().unwrap();
    assert!(attempts.iter().all(|attempt| attempt["counted"] == true) && attempts.len() == 2, "{job:#}");
    assert_eq!(stand.runs(), 2);

    let job = stand.completed(&once).await;
    assert_eq!(job["attempt"], 2);
    let files = stand.git(&["diff", "--name-only", "main", "once"]);
    assert_eq!(files, "ok.txt", "the crashed attempt's half work is not published");
    stand.finish().await;
}

#[tokio::test]
async fn denied_and_failing_agents_say_why() {
    let stand = Stand::new().await;
    let denied = stand.submit_prompt("denied", "[[scenario:denied]]").await;
    let broken = stand.submit_prompt("broken", "[[scenario:api-error status=500]]").await;
    let job = stand.failed(&denied, "permission_denied").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("Write"), "{job:#}");
    assert!(job["reason"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    // what could look around, and was denied a command, may be right that there is nothing to do
    let looked = stand.submit_prompt("looked", "[[scenario:look]] [[scenario:denied tool=Bash]]").await;
    let alone = stand.submit_prompt("alone", "[[scenario:denied tool=Bash]]").await;
    let edits = stand.submit_prompt("edits", "[[scenario:look]] [[scenario:denied tool=Edit]]").await;
    let job = stand.completed(&looked).await;
    assert_eq!(job["outcome"], "no_changes");
    assert!(job["warnings"][0].as_str().is_some_and(|text| text.contains("the first of Bash")), "{job:#}");
    stand.failed(&alone, "permission_denied").await;
    stand.failed(&edits, "permission_denied").await;
    let job = stand.failed(&broken, "api_error").await;
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    assert_eq!((stand.tip("denied"), stand.tip("broken")), (None, None));
    assert_eq!(stand.github.pulls(), []);
    stand.finish().await;
}

#[tokio::test]
async fn what_the_forge_refuses_of_labels_is_a_warning() {
    let stand = Stand::new().await;
    let answer = crate::fake_github::Effect::Status(422, json!({"message": "Validation Failed"}), vec![]);
    let fault = crate::fake_github::Fault::new(answer).on(axum::http::Method::POST, "/labels").times(9);
    stand.github.fault(fault);
    let id =
        stand.submit(json!({"prompt": "Greet", "branchName": "l", "options": {"prLabels": ["nope"]}})).await;
    let job = stand.completed(&id).await;
    assert_eq!(job["outcome"], "pull_request");
    assert_eq!(job["warnings"].as_array().unwrap().len(), 1, "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn the_agent_gets_an_environment_without_secrets_and_its_prompt_on_standard_input_only() {
    let allowed = "[agents.curious]\nkind = \"command\"\ncommand = \"/bin/sh\"\nenv = [\"WANTED\"]\n\
                   set_env = { GIVEN = \"by-owner\" }\n";
    let env = [("WANTED", "yes"), ("UNWANTED", "no"), ("SSH_AUTH_SOCK", "/tmp/agent"), ("OFFSHOOT_RIG", "x")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let stand = Stand::with(Plan { config: allowed.to_owned(), env, ..Plan::default() }).await;
    let gate = stand.gate("g");
    let prompt = format!(
        "# prompt-mark-4711\nenv | sort > env.txt\nfor p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; \
         done > cmdlines.txt 2>/dev/null\npwd > pwd.txt\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
        gate.display()
    );
    let id =
        stand.submit(json!({"prompt": prompt, "branchName": "e", "options": {"agent": "curious"}})).await;
    stand.wait_until("the agent runs", async || (!stand.step_processes().is_empty()).then_some(())).await;
    let with_prompt: Vec<_> =
        stand.processes().into_iter().filter(|seen| seen.command.contains("prompt-mark")).collect();
    assert!(with_prompt.is_empty(), "{with_prompt:?}");
    stand.open_gate("g");
    let job = stand.completed(&id).await;
    let env = stand.git(&["show", "e:env.txt"]);
    for name in [
        "AGENT_API_SECRET",
        "WEBHOOK_SECRET",
        "GITHUB_TOKEN",
        "UNWANTED",
        "OFFSHOOT_CONFIG",
        "OFFSHOOT_RIG",
        "SSH_AUTH_SOCK",
    ] {
        assert!(!env.contains(name), "{name} reached the agent:\n{env}");
    }
    assert_eq!(job["worktreePath"], json!(null), "it is gone");
    let worktree = stand.path("worktrees/acme/widgets").join(&id).display().to_string();
    for line in ["WANTED=yes", "GIVEN=by-owner", &format!("PWD={worktree}"), "GIT_AUTHOR_NAME=offshoot"] {
        assert!(env.lines().any(|have| have == line), "{line} is missing:\n{env}");
    }
    assert_eq!(stand.git(&["show", "e:pwd.txt"]), worktree);
    assert!(!stand.git(&["show", "e:cmdlines.txt"]).contains("prompt-mark"));
    stand.finish().await;
}
