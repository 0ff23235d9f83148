//! Profiles and templates on a whole server: which of four places decides, what a job keeps of its profile, and the command
//! line.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rescue::offshoot;
use crate::stand::{Plan, Stand};

/// Each place has a command that leaves its name; a list is replaced as a whole, so one name is all that may be there.
fn leaves(name: &str) -> Value {
    json!([format!("echo {name} >> who.txt")])
}

const OF_FILE: &str = "[defaults]\nagent = \"sh\"\npublish = \"branch\"\nsetup = [\"echo defaults >> who.txt\"]\n\
    [profiles.file]\nprompt = \"echo {{word}} > word.txt; {{prompt}}\"\nsetup = [\"echo file >> who.txt\"]\n\
    [profiles.plain]\nmax_attempts = 2\n";

async fn stand() -> Stand {
    Stand::with(Plan { config: OF_FILE.to_owned(), workers: 4, ..Plan::default() }).await
}

async fn client(stand: &Stand) -> String {
    let body = json!({"name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets"});
    stand.post("/clients", &body).await["id"].as_str().unwrap().to_owned()
}

async fn patch(stand: &Stand, path: &str, body: Value) -> Value {
    let (status, answer) = stand.call("PATCH", path, Some(&body)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn each_option_is_decided_by_job_then_profile_then_client_then_configuration() {
    let stand = stand().await;
    let client = format!("/clients/{}", client(&stand).await);
    stand.post("/profiles", &json!({"name": "api", "options": {"setup": leaves("api")}})).await;
    for of_client in [true, false] {
        let setup = if of_client { leaves("client") } else { Value::Null };
        patch(&stand, &client, json!({"options": {"setup": setup}})).await;
        let mut jobs = Vec::new();
        for profile in [None, Some("plain"), Some("api"), Some("file")] {
            for of_job in [true, false] {
                let name = format!("{of_client}-{}-{of_job}", profile.unwrap_or("none"));
                let mut body = json!({"prompt": "true", "branchName": name});
                if of_job {
                    body["options"] = json!({"setup": leaves("job")});
                }
                if let Some(profile) = profile {
                    body["profile"] = json!(profile);
                }
                if profile == Some("file") {
                    body["variables"] = json!({"word": "w"});
                }
                let expected = match (of_job, profile) {
                    (true, _) => "job",
                    (false, Some(profile)) if profile != "plain" => profile,
                    (false, _) if of_client => "client",
                    (false, _) => "defaults",
                };
                jobs.push((stand.submit(body).await, name, expected));
            }
        }
        for (id, name, expected) in jobs {
            stand.completed(&id).await;
            assert_eq!(stand.git(&["show", &format!("{name}:who.txt")]), expected, "{name}");
        }
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_job_keeps_what_its_profile_was_whatever_becomes_of_that() {
    let mut stand = stand().await;
    stand.post("/queue/pause", &json!({})).await;
    let profile = json!({"name": "night", "prompt": "cat who.txt > seen.txt; echo '{{word}}' >> seen.txt",
        "options": {"setup": leaves("first")}});
    stand.post("/profiles", &profile).await;
    let form =
        |branch: &str| json!({"profile": "night", "variables": {"word": "{{x}}"}, "branchName": branch});
    let first = stand.submit(form("first")).await;
    let changed = json!({"prompt": "echo other > seen.txt", "options": {"setup": leaves("second")}});
    patch(&stand, "/profiles/night", changed).await;
    let second = stand.submit(json!({"profile": "night", "branchName": "second"})).await;
    let third = stand.submit(json!({"profile": "night", "branchName": "third"})).await;
    let (status, answer) = stand.call("DELETE", "/profiles/night", None).await;
    assert_eq!((status, answer), (200, json!({"deleted": true})));
    assert_eq!(stand.call("GET", "/profiles/night", None).await.0, 404);
    let (status, problem) = stand.try_submit(form("fourth")).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/profile")), "{problem}");
    assert_eq!(stand.cancel(&third).await.0, 200);
    stand.kill9().await;
    stand.start_again().await;
    let again = stand.retry(&third, json!({})).await;
    stand.post("/queue/resume", &json!({})).await;

    let job = stand.completed(&first).await;
    assert_eq!((&job["profile"], &job["options"]["setup"]), (&json!("night"), &Value::Null), "{job:#}");
    assert_eq!(job["prompt"], "cat who.txt > seen.txt; echo '{{x}}' >> seen.txt");
    assert_eq!(stand.git(&["show", "first:seen.txt"]), "first\n{{x}}");
    for (id, branch) in [(&second, "second"), (&again, "third")] {
        let job = stand.completed(id).await;
        assert_eq!((&job["profile"], &job["prompt"]), (&json!("night"), &json!("echo other > seen.txt")));
        assert_eq!(stand.git(&["show", &format!("{branch}:seen.txt")]), "other");
        assert_eq!(stand.git(&["show", &format!("{branch}:who.txt")]), "second");
    }
    // a follow-up has it too, unless it names another
    let path = format!("/jobs/{first}/follow-up");
    let next = stand.post(&path, &json!({"prompt": "true"})).await;
    let job = stand.completed(next["id"].as_str().unwrap()).await;
    assert_eq!((&job["profile"], &job["prompt"]), (&json!("night"), &json!("true")));
    assert_eq!(stand.git(&["show", "first:who.txt"]), "first\nfirst");
    let body = json!({"profile": "file", "variables": {"word": "w"}, "prompt": "true"});
    let next = stand.post(&path, &body).await;
    let job = stand.completed(next["id"].as_str().unwrap()).await;
    assert_eq!((&job["profile"], &job["prompt"]), (&json!("file"), &json!("echo w > word.txt; true")));
    assert_eq!(stand.git(&["show", "first:who.txt"]), "first\nfirst\nfile");
    stand.finish().await;
}

/// Whose limit a waiting job waits for.
#[tokio::test]
async fn the_agent_of_a_profile_goes_before_that_of_a_client_whatever_it_changes_to() {
    let stand = stand().await;
    let client = format!("/clients/{}", client(&stand).await);
    stand.post("/queue/pause", &json!({})).await;
    stand.post("/profiles", &json!({"name": "shell", "options": {"agent": "sh"}})).await;
    let id = stand.submit(json!({"profile": "shell", "prompt": "true", "branchName": "a"})).await;
    let plain = stand.submit(json!({"prompt": "true", "branchName": "b"})).await;
    patch(&stand, &client, json!({"options": {"agent": "claude"}})).await;
    assert_eq!(stand.job(&id).await["agent"], "sh");
    assert_eq!(stand.job(&plain).await["agent"], "claude");
    stand.post("/queue/resume", &json!({})).await;
    assert_eq!(stand.completed(&id).await["agent"], "sh");
    stand.completed(&plain).await;
    stand.finish().await;
}

/// The file of the configuration, with this in the place of that.
fn rewrite(stand: &Stand, from: &str, to: &str) {
    let file = stand.path("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

#[tokio::test]
async fn one_name_in_both_places_is_nobodys_until_one_is_gone() {
    let mut stand = stand().await;
    let (status, problem) = stand.call("POST", "/profiles", Some(&json!({"name": "file"}))).await;
    assert_eq!((status, &problem["code"]), (409, &json!("duplicate_profile")), "{problem}");
    for (method, body) in [("PATCH", Some(json!({"submit": true}))), ("DELETE", None)] {
        let (status, problem) = stand.call(method, "/profiles/file", body.as_ref()).await;
        assert_eq!((status, &problem["code"]), (409, &json!("profile_of_configuration")), "{problem}");
    }
    // the configuration comes later
    stand.post("/profiles", &json!({"name": "night", "options": {"setup": leaves("api")}})).await;
    assert_eq!(stand.terminate(Duration::from_secs(40)).await, Some(0));
    rewrite(&stand, "[profiles.plain]", "[profiles.night]");
    stand.start_again().await;
    let listed = stand.get("/profiles").await;
    let both: Vec<_> = listed["profiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["source"].as_str().unwrap()))
        .collect();
    assert_eq!(both, [("file", "configuration"), ("night", "configuration"), ("night", "api")]);
    let job = || json!({"profile": "night", "prompt": "true", "branchName": "n"});
    let (status, problem) = stand.try_submit(job()).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/profile")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("offshoot profile rm night"), "{problem}");
    for (method, body) in [("GET", None), ("PATCH", Some(json!({"submit": true})))] {
        let (status, problem) = stand.call(method, "/profiles/night", body.as_ref()).await;
        assert_eq!((status, &problem["code"]), (409, &json!("duplicate_profile")), "{problem}");
    }
    assert_eq!(stand.call("DELETE", "/profiles/night", None).await.0, 200);
    let id = stand.submit(job()).await;
    stand.completed(&id).await;
    assert_eq!(stand.git(&["show", "n:who.txt"]), "defaults");
    stand.finish().await;
}

#[tokio::test]
async fn the_command_line_makes_fills_in_changes_and_deletes() {
    let stand = stand().await;
    client(&stand).await;
    std::fs::write(stand.path("form.txt"), "echo '{{word}}' > word.txt\n").unwrap();
    let form = stand.path("form.txt").display().to_string();
    let options = r#"{"setup": ["echo cli >> who.txt"], "draft": true}"#;
    let add = ["profile", "add", "cli", "--file", &form, "--options", options, "--submit"];
    let (code, out, err) = offshoot(&stand, &add).await;
    assert_eq!((code, out.trim()), (0, "Made the profile cli"), "{err}");
    assert!(err.contains("offshoot submit --profile cli --var word=VALUE"), "{err}");
    let (code, _, err) = offshoot(&stand, &add).await;
    assert!(code == 6 && err.contains("there is a profile \"cli\" already"), "{code} {err}");
    let (code, out, _) = offshoot(&stand, &["profile", "ls"]).await;
    assert!(code == 0 && out.contains("cli") && out.contains("draft, setup"), "{out}");
    assert!(
        out.contains("configuration") && out.contains("word, prompt") || out.contains("prompt, word"),
        "{out}"
    );

    let submit = ["submit", "--profile", "cli", "--var", "word=a b", "-b", "c", "--wait", "--quiet"];
    let (code, out, err) = offshoot(&stand, &submit).await;
    assert_eq!((code, out.trim()), (0, "1"), "{err}");
    assert_eq!(stand.git(&["show", "c:word.txt"]), "a b");
    assert_eq!(stand.git(&["show", "c:who.txt"]), "cli");
    let (code, _, err) = offshoot(&stand, &["submit", "--profile", "plian", "--var", "word=x"]).await;
    assert!(code == 2 && err.contains("did you mean plain?"), "{code} {err}");
    let (code, _, err) = offshoot(&stand, &["submit", "--profile", "cli", "--var", "wrod=x"]).await;
    assert!(code == 2 && err.contains("did you mean word?"), "{code} {err}");
    let follow_up = ["follow-up", "1", "true", "--profile", "plain", "--wait", "--quiet"];
    assert_eq!(offshoot(&stand, &follow_up).await.0, 0);

    let set =
        ["profile", "set", "cli", "--no-prompt", "--options", r#"{"draft": null}"#, "--submit", "false"];
    let (code, _, err) = offshoot(&stand, &set).await;
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = offshoot(&stand, &["profile", "show", "cli", "--json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&shown["prompt"], &shown["options"]["draft"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&shown["submit"], &shown["options"]["setup"][0]),
        (&json!(false), &json!("echo cli >> who.txt"))
    );
    assert_eq!(offshoot(&stand, &["profile", "set", "cli"]).await.0, 2);
    assert_eq!(offshoot(&stand, &["profile", "rm", "cli"]).await.0, 0);
    let (code, _, err) = offshoot(&stand, &["profile", "show", "cli"]).await;
    assert!(code == 5 && err.contains("offshoot profile ls"), "{code} {err}");
    stand.finish().await;
}
