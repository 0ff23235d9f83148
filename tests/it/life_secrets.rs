//! Named secrets on a whole server: steps have them, nothing else does, and one that is gone is named.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rescue::offshoot;
use crate::stand::audit::{Seen, files_below};
use crate::stand::{Plan, Stand};

/// Letters only, so that a step can show that it has it without showing it.
const CANARY: &str = "canaryqzjxkvbwpyfgmucldrhsnioeatcanary";
/// Nobody sees this one either: it is set for the agent alone.
const OTHER: &str = "otherqzjxkvbwpyfgmucldrhsnioeatother";

const OF_FILE: &str = "[secrets]\ncanary = { file = \"~/canary\" }\nother = { file = \"~/other\" }\n\
    [agents.shy]\nkind = \"command\"\ncommand = \"/bin/sh\"\nset_env = { FROM_AGENT = { secret = \"other\" }, TOKEN = \"of-agent\" }\n";

async fn stand() -> Stand {
    let mut stand = Stand::built(Plan { config: OF_FILE.to_owned(), ..Plan::default() }).await;
    for (name, value) in [("home/canary", CANARY), ("home/other", OTHER)] {
        std::fs::write(stand.path(name), value).unwrap();
        std::fs::set_permissions(stand.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    stand.start().await;
    stand
}

/// Files of the installation, the owner's own apart, that have one of the secrets.
fn files_with(stand: &Stand) -> Vec<String> {
    let own = [stand.path("home/canary"), stand.path("home/other")];
    let has = |bytes: &[u8]| {
        [CANARY, OTHER].iter().any(|secret| memchr::memmem::find(bytes, secret.as_bytes()).is_some())
    };
    let files = files_below(stand.dir()).into_iter().filter(|file| !own.contains(file));
    let found = files.filter(|file| std::fs::read(file).is_ok_and(|bytes| has(&bytes)));
    found.map(|file| file.display().to_string()).collect()
}

fn rot13(text: &str) -> String {
    text.bytes().map(|byte| char::from((byte - b'a' + 13) % 26 + b'a')).collect()
}

const ROT13: &str = "tr a-z n-za-m";

#[tokio::test]
async fn steps_have_the_secrets_and_nothing_else_ever_does() {
    let stand = stand().await;
    let client = json!({"name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets",
        "options": {"setEnv": {"TOKEN": "other"}}});
    stand.post("/clients", &client).await;
    // a map is replaced as a whole, like a list
    let profile = json!({"name": "secret", "options": {"setEnv": {"CANARY": "canary", "TOKEN": "canary"}}});
    stand.post("/profiles", &profile).await;
    let shows = |file: &str| format!("printf %s \"$CANARY-$TOKEN\" | {ROT13} > {file}");
    let gate = stand.gate("canary");
    let prompt = format!(
        "echo at work; {}; printf %s \"$FROM_AGENT\" | {ROT13} > other.txt; while [ ! -e {} ]; do sleep 0.02; done",
        shows("agent.txt"),
        gate.display()
    );
    let verify = json!([shows("verify.txt"), "! printenv FROM_AGENT"]);
    let body = json!({"prompt": prompt, "branchName": "c", "profile": "secret", "labels": ["x"],
        "options": {"agent": "shy", "setup": [shows("setup.txt")], "verify": verify}});
    let id = stand.submit(body).await;
    stand.wait_for_phase(&id, "agent").await;
    let has = |pid: i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        memchr::memmem::find(&environ, CANARY.as_bytes()).is_some()
    };
    let waits = |seen: &Seen| seen.command.starts_with("sleep") && has(seen.pid);
    stand.wait_until("the agent has it", async || stand.processes().iter().any(waits).then_some(())).await;
    let with: Vec<_> = stand.processes().into_iter().filter(|seen| has(seen.pid)).collect();
    assert!(with.iter().all(|seen| seen.step.is_some() && !seen.command.contains("shim")), "{with:?}");
    assert_eq!(files_with(&stand), Vec::<String>::new(), "while it runs");
    stand.open_gate("canary");
    let job = stand.completed(&id).await;
    let expected = format!("{0}-{0}", rot13(CANARY));
    for file in ["setup.txt", "agent.txt", "verify.txt"] {
        assert_eq!(stand.git(&["show", &format!("c:{file}")]), expected, "{file}");
    }
    assert_eq!(stand.git(&["show", "c:other.txt"]), rot13(OTHER));
    stand.post("/backups", &json!({})).await;
    assert_eq!(files_with(&stand), Vec::<String>::new(), "after it");

    let mut told = format!("{job}{}", stand.callback(&id).await.body);
    told.push_str(&format!("{:?}", stand.github.pulls()));
    for path in ["clients", "profiles", "profiles/secret", "health", "usage?by=client,label", "metrics"] {
        told.push_str(&stand.get_text(&format!("/{path}")).await);
    }
    for path in ["?includeMessages=true", "/messages", "/log", "/diff", "/log?raw=true"] {
        told.push_str(&stand.get_text(&format!("/jobs/{id}{path}")).await);
    }
    told.push_str(&stand.get_text(&format!("/jobs/{id}/events")).await);
    let config = stand.path("config.toml").display().to_string();
    let home = stand.path("home").display().to_string();
    let mut show = tokio::process::Command::new(env!("CARGO_BIN_EXE_offshoot"));
    show.env_clear().env("HOME", &home).args(["config", "show", "--origin", "--config", &config]);
    let shown = show.output().await.unwrap();
    assert!(shown.status.success(), "{shown:?}");
    told.push_str(&String::from_utf8(shown.stdout).unwrap());
    assert!(told.contains("\"TOKEN\":\"canary\"") && told.contains("secrets.canary"), "names are told");
    for secret in [CANARY, OTHER] {
        assert!(!told.contains(secret), "{secret} is told");
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_refused_by_name_and_one_that_went_ends_the_job() {
    let mut stand = stand().await;
    let client = |secret: &str| {
        json!({"name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets",
            "options": {"setEnv": {"TOKEN": secret}}})
    };
    let refused = async |path: &str, body: Value, pointer: &str| {
        let (status, problem) = stand.call("POST", path, Some(&body)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
        problem["errors"][0]["detail"].as_str().unwrap().to_owned()
    };
    let told = refused("/clients", client("canray"), "/options/setEnv/TOKEN").await;
    assert!(told.ends_with("did you mean canary?"), "{told}");
    let profile = |secret: &str| json!({"name": "p", "options": {"setEnv": {"TOKEN": secret}}});
    refused("/profiles", profile("nobody"), "/options/setEnv/TOKEN").await;
    let job = json!({"githubOrg": "acme", "githubRepo": "widgets", "prompt": "true",
        "options": {"setEnv": {"TOKEN": "canary"}}});
    let told = refused("/jobs", job, "/options/setEnv").await;
    assert_eq!(told, "can be set for a client or a profile only");

    stand.post("/clients", &client("other")).await;
    stand.post("/profiles", &profile("canary")).await;
    stand.post("/queue/pause", &json!({})).await;
    let agent = json!({"agent": "sh", "publish": "branch"});
    let plain = json!({"prompt": "touch ran", "branchName": "a", "options": agent});
    let formed = json!({"prompt": "touch ran", "branchName": "b", "profile": "p", "options": agent});
    let by_client = stand.submit(plain).await;
    let by_profile = stand.submit(formed.clone()).await;
    assert_eq!(stand.terminate(Duration::from_secs(40)).await, Some(0));
    let file = stand.path("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let without = text.replace("canary = {", "renamed = {").replace("other = {", "elsewhere = {");
    let without = without.replace("{ secret = \"other\" }", "\"x\"");
    std::fs::write(&file, without).unwrap();
    stand.start_again().await;
    let (status, problem) = stand.try_submit(formed).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/profile")), "{problem}");
    stand.post("/queue/resume", &json!({})).await;
    for (id, secret) in [(&by_client, "other"), (&by_profile, "canary")] {
        let job = stand.failed(id, "secret_missing").await;
        let message = job["reason"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("no secret \"{secret}\" for the variable TOKEN")), "{message}");
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["counted"]), (1, &json!(false)), "{job:#}");
    }
    assert_eq!((stand.tip("a"), stand.tip("b")), (None, None), "no agent ran");
    // with the secret it goes
    assert_eq!(stand.terminate(Duration::from_secs(40)).await, Some(0));
    std::fs::write(&file, text).unwrap();
    stand.start_again().await;
    for (id, branch) in [(&by_client, "a"), (&by_profile, "b")] {
        let again = stand.retry(id, json!({})).await;
        stand.completed(&again).await;
        assert!(stand.tip(branch).is_some());
    }
    let (code, out, _) = offshoot(&stand, &["show", "2"]).await;
    assert!(code == 0 && out.contains("secret_missing") && out.contains("profile   p"), "{out}");
    stand.finish().await;
}
