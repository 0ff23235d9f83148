//! Secrets in what would be pushed, on a whole server: by their shape as the policy says, those of the server in any case.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::fake_github::TOKEN;
use crate::rescue::offshoot;
use crate::stand::{Plan, SECRET, Stand, WEBHOOK_SECRET};

/// Made up, and in two halves, so that nobody takes this file for one that holds a key.
fn key() -> String {
    ["AKIAQ3XW7RTN", "LP5ZV2KD"].concat()
}

fn other_key() -> String {
    ["glpat-", "k3Xv9QpLmZ7rT2wYb8Nc"].concat()
}

async fn stand(policy: &str) -> Stand {
    let config = format!("[policy]\nsecrets = \"{policy}\"\n");
    Stand::with(Plan { config, ..Plan::default() }).await
}

async fn submit(stand: &Stand, branch: &str, script: &str, more: Value) -> String {
    let mut options = json!({"agent": "sh", "publish": "pull_request"});
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stand.submit(json!({"prompt": script, "branchName": branch, "options": options})).await
}

fn message(job: &Value) -> &str {
    job["reason"]["message"].as_str().unwrap()
}

/// What stands in the brackets behind the place.
fn fingerprint(job: &Value) -> String {
    let (_, rest) = message(job).split_once(", and there is ").unwrap();
    let (_, rest) = rest.split_once(" (").unwrap();
    let (found, _) = rest.split_once(')').unwrap();
    found.rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_looks_like_a_key_is_pushed_by_no_way_until_somebody_allows_it() {
    let stand = Stand::new().await;
    let script = format!("mkdir conf; printf 'a\\nb\\nid = {}\\n' > conf/prod.ini; echo work > a.txt", key());
    let id = submit(&stand, "denied", &script, json!({})).await;
    let job = stand.failed(&id, "secret_detected").await;
    let expected = "policy.secrets is \"deny\", and there is conf/prod.ini:3 (aws-access-key-id, ";
    assert!(message(&job).contains(expected), "{job:#}");
    assert_eq!((&job["attempts"][0]["counted"], &job["prUrl"]), (&json!(false), &Value::Null));
    let allowed = fingerprint(&job);
    // the work is kept
    let file = format!("{}:a.txt", job["headSha"].as_str().unwrap());
    assert_eq!(stand.git_clone(&["show", &file]), "work");
    // neither a dry run nor publishing what is there is a way around it, nor a fingerprint of something else
    let dry = submit(&stand, "dry", &script, json!({"publish": "none"})).await;
    stand.failed(&dry, "secret_detected").await;
    for body in [json!({"mode": "publish"}), json!({"allowSecrets": ["0123456789abcdef"]})] {
        let again = stand.retry(&id, body).await;
        let job = stand.failed(&again, "secret_detected").await;
        assert_eq!(fingerprint(&job), allowed, "the same for the same value");
    }
    let refs = stand.git(&["for-each-ref", "--format=%(refname)"]);
    assert!(!refs.contains("denied") && !refs.contains("dry"), "{refs}");
    // neither in an answer nor in an event, a callback or the log of the server
    let mut told = format!("{job}{}{}", stand.callback(&id).await.body, stand.log_text());
    for path in ["?includeMessages=true", "/events"] {
        told.push_str(&stand.get_text(&format!("/jobs/{id}{path}")).await);
    }
    let told = told.replace(&json!(script).to_string(), "");
    assert!(told.contains(&allowed) && !told.contains(&key()), "{told}");

    // by the command line, as the hint says it; the agent does not run again
    let number = job["number"].to_string();
    let hint = job["reason"]["hint"].as_str().unwrap();
    assert!(hint.contains("--allow-secret FINGERPRINT"), "{hint}");
    let (code, out, err) =
        offshoot(&stand, &["retry", &number, "--allow-secret", &allowed, "--wait", "--json"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let listed = stand.get("/jobs?status=completed").await;
    let id = listed["jobs"][0]["id"].as_str().unwrap();
    let job = stand.completed(id).await;
    assert_eq!(
        (&job["outcome"], &job["options"]["allowSecrets"]),
        (&json!("pull_request"), &json!([allowed]))
    );
    let recorded = format!(
        "Allowed by admin, though it looks like a secret: conf/prod.ini:3 (aws-access-key-id, {allowed})."
    );
    assert_eq!(job["warnings"], json!([recorded]));
    let events = stand.get_text(&format!("/jobs/{id}/events")).await;
    assert!(events.contains("Allowed by admin") && events.contains("job.note"), "{events}");
    assert!(stand.git(&["show", "denied:conf/prod.ini"]).contains(&key()));
    stand.finish().await;
}

/// A push takes the whole history.
#[tokio::test]
async fn a_key_that_one_commit_adds_and_the_next_takes_out_is_found() {
    let stand = Stand::new().await;
    let commit = |what: &str| format!("git add -A; git commit -qm '{what}'");
    let script = format!(
        "echo x > keep.txt; echo {} > k.txt; {}; git rm -q k.txt; {}",
        key(),
        commit("one"),
        commit("two")
    );
    let id = submit(&stand, "history", &script, json!({})).await;
    let job = stand.failed(&id, "secret_detected").await;
    let first = stand.git_clone(&["rev-parse", &format!("{}~1", job["headSha"].as_str().unwrap())]);
    assert!(message(&job).contains(&format!("k.txt:1 of commit {} (", &first[..12])), "{job:#}");
    // also where nothing of it is left
    let script = format!("echo {} > k.txt; {}; git rm -q k.txt; {}", key(), commit("one"), commit("two"));
    let id = submit(&stand, "nothing", &script, json!({})).await;
    let job = stand.failed(&id, "secret_detected").await;
    assert_eq!(job["filesChanged"], 0);
    // in what is said about a commit, and in the name of a file, which is not shown then
    let script = format!("echo x > y.txt; {}", commit(&format!("use {}", other_key())));
    let id = submit(&stand, "message", &script, json!({})).await;
    let job = stand.failed(&id, "secret_detected").await;
    assert!(
        message(&job).contains("the message or the author of the last commit (gitlab-token, "),
        "{job:#}"
    );
    let id = submit(&stand, "name", &format!("echo x > {}.txt", key()), json!({})).await;
    let job = stand.failed(&id, "secret_detected").await;
    assert!(message(&job).contains("a file by its name (aws-access-key-id, "), "{job:#}");
    assert!(!message(&job).contains(&key()));
    assert_eq!(stand.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    stand.finish().await;
}

/// A file of the last tree would be refused for its size; one of the history goes out with the push just the same.
#[tokio::test]
async fn what_is_too_large_to_be_searched_is_not_pushed() {
    let stand = Stand::new().await;
    let script =
        "head -c 104857601 /dev/zero > big; git add -A; git commit -qm one; git rm -q big; echo x > y.txt";
    let id = submit(&stand, "large", script, json!({"publish": "branch"})).await;
    let job = stand.failed(&id, "secret_detected").await;
    assert!(message(&job).contains("big is too large to be searched for secrets"), "{job:#}");
    assert_eq!(stand.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    stand.finish().await;
}

#[tokio::test]
async fn what_others_have_published_is_not_this_jobs() {
    let stand = Stand::new().await;
    stand.foreign_commit("dev", "dev.txt", "dev");
    stand.foreign_commit("main", "old.txt", &format!("it is there already: {}\n", other_key()));
    // joined in, moved, and changed beside it
    let script =
        "git merge -q origin/main -m merged; git mv old.txt new.txt; echo more >> new.txt; echo x > x.txt";
    let body =
        json!({"prompt": script, "branchName": "joined", "baseBranch": "dev", "options": {"agent": "sh"}});
    let id = stand.submit(body).await;
    assert_eq!(stand.completed(&id).await["outcome"], "pull_request");
    // of a merge by the agent what neither side had is looked at
    let script = format!(
        "git merge -q --no-commit origin/main; echo {} > evil.txt; git add -A; git commit -qm m",
        key()
    );
    let body =
        json!({"prompt": script, "branchName": "evil", "baseBranch": "dev", "options": {"agent": "sh"}});
    let id = stand.submit(body).await;
    let job = stand.failed(&id, "secret_detected").await;
    assert!(
        message(&job).contains("evil.txt:1 (aws-access-key-id, ") && !message(&job).contains("gitlab"),
        "{job:#}"
    );
    // a follow-up of work that is fine is looked at as well
    let id = submit(&stand, "fine", "echo fine > f.txt", json!({})).await;
    stand.completed(&id).await;
    let prompt = json!({"prompt": format!("echo {} > g.txt", key())});
    let next = stand.post(&format!("/jobs/{id}/follow-up"), &prompt).await;
    stand.failed(next["id"].as_str().unwrap(), "secret_detected").await;
    assert_eq!(stand.git(&["ls-tree", "--name-only", "fine"]), "README.md\nf.txt\nold.txt\nsrc");
    stand.finish().await;
}

#[tokio::test]
async fn what_is_flagged_is_seen_on_the_job_and_on_its_pull_request() {
    let stand = stand("flag").await;
    let id = submit(&stand, "flagged", &format!("echo {} > k.txt", key()), json!({})).await;
    let job = stand.completed(&id).await;
    let warning = job["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("The change touches what policy.secrets flags: k.txt:1 (aws-access-key-id, "),
        "{job:#}"
    );
    let pulls = stand.github.pulls();
    assert_eq!(pulls[0].labels, ["possible secret"]);
    assert!(
        pulls[0].body.contains("| To be looked at | secrets: k.txt:1 (aws-access-key-id, "),
        "{}",
        pulls[0].body
    );
    assert!(!pulls[0].body.contains(&key()));
    stand.finish().await;
}

/// Whatever the policy says, and whoever would allow it.
#[tokio::test]
async fn a_secret_of_the_server_itself_is_never_pushed() {
    let mut stand = Stand::built(Plan::default()).await;
    let named = "named!value/with+signs";
    let (topic, access) = ("https://ntfy.invalid/k3Xv9QpLmZ7rT2wY", "tk_q3Xw7rTnLp5zV2kd");
    stand.add_config(&format!(
        "[policy]\nsecrets = \"allow\"\n[secrets]\nnpm = \"{named}\"\n\
         [notify.phone]\nkind = \"ntfy\"\nurl = \"{topic}\"\ntoken = \"{access}\"\non = [\"held\"]\n"
    ));
    stand.start().await;
    let base64 = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{TOKEN}"));
    let rows = [
        ("github", TOKEN.to_owned(), "github.token"),
        ("encoded", format!("Authorization: Basic {base64}"), "github.token"),
        ("api", SECRET.to_owned(), "server.secret"),
        ("hook", format!("a{WEBHOOK_SECRET}b"), "callbacks.secret"),
        ("named", named.to_owned(), "secrets.npm"),
        ("topic", topic.to_owned(), "notify.phone.url"),
        ("access", access.to_owned(), "notify.phone.token"),
    ];
    for (branch, text, name) in &rows {
        let script = format!("printf 'one\\n%s\\n' '{text}' > config.txt");
        let id = submit(&stand, branch, &script, json!({})).await;
        let job = stand.failed(&id, "secret_detected").await;
        let expected =
            format!("A value of the server's own configuration is in config.txt:2 (the value of {name}).");
        assert!(message(&job).contains(&expected), "{job:#}");
        assert!(!message(&job).contains(text));
    }
    // what only looks like one goes
    let id = submit(&stand, "open", &format!("echo {} > k.txt", key()), json!({})).await;
    let job = stand.completed(&id).await;
    assert_eq!((&job["outcome"], &job["warnings"]), (&json!("pull_request"), &json!([])));
    assert_eq!(stand.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads"]), "main\nopen");
    // a client cannot allow anything for good
    let client = format!("/clients/{}", job["clientId"].as_str().unwrap());
    let patch = json!({"options": {"allowSecrets": ["0123456789abcdef"]}});
    let (status, problem) = stand.call("PATCH", &client, Some(&patch)).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (422, &json!("/options/allowSecrets")),
        "{problem}"
    );
    stand.finish().await;
}
