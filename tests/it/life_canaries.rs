//! The agent has no keys: every secret of a whole server is a canary of its own, an agent looks for them wherever it can, and
//! afterwards none is where it must not be.

use serde_json::{Value, json};

use crate::fake_github::TOKEN;
use crate::rescue::offshoot;
use crate::stand::audit::files_below;
use crate::stand::{Plan, SECRET, Stand, WEBHOOK_SECRET};

/// Secrets of the server, by what they are for, and where the agent of the test may have them.
const PREVIOUS: &str = "canary-previous-q3Xw7rTnLp5zV2kd";
const OF_OTHERS: &str = "canary-of-others-q3Xw7rTnLp5zV2kd";
const OF_AGENT: &str = "canary-of-agent-q3Xw7rTnLp5zV2kd";
const TOPIC: &str = "https://ntfy.invalid/canary-topic-q3Xw7rTnLp5zV2kd";
const METERED: &str = "canary-metered-q3Xw7rTnLp5zV2kd";
const OPENAI: &str = "canary-openai-q3Xw7rTnLp5zV2kd";
const SYSTEM: &str = "canary-of-the-machine-q3Xw7rTnLp5z";
/// This one the client gives to its agent.
const GIVEN: &str = "canary-given-q3Xw7rTnLp5zV2kd";

const NEVER_GIVEN: [&str; 10] =
    [SECRET, WEBHOOK_SECRET, TOKEN, PREVIOUS, OF_OTHERS, OF_AGENT, TOPIC, METERED, OPENAI, SYSTEM];

async fn stand() -> Stand {
    let config = format!(
        "[secrets]\nothers = \"{OF_OTHERS}\"\ngiven = \"{GIVEN}\"\nagent = \"{OF_AGENT}\"\n\
         [notify.phone]\nkind = \"ntfy\"\nurl = \"{TOPIC}\"\non = [\"held\"]\n\
         [agents.other]\nkind = \"command\"\ncommand = \"/bin/sh\"\nset_env = {{ KEY = {{ secret = \"agent\" }} }}\n"
    );
    let callbacks = format!("previous_secret = \"{PREVIOUS}\"");
    let env = [
        ("ANTHROPIC_API_KEY", METERED),
        ("OPENAI_API_KEY", OPENAI),
        ("SOME_PASSWORD", SYSTEM),
        ("LOG_LEVEL", "trace"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Stand::with(Plan { config, callbacks, env, ..Plan::default() }).await
}

fn rot13(text: &str) -> String {
    let turn = |c: char, first: u8| char::from((c as u8 - first + 13) % 26 + first);
    text.chars()
        .map(|c| match c {
            'a'..='z' => turn(c, b'a'),
            'A'..='Z' => turn(c, b'A'),
            c => c,
        })
        .collect()
}

/// Files of the installation, the owner's configuration apart, that hold one of the canaries.
fn files_with(stand: &Stand, canaries: &[&str]) -> Vec<String> {
    let own = stand.path("config.toml");
    let has = |bytes: &[u8]| {
        canaries
            .iter()
            .filter(|one| memchr::memmem::find(bytes, one.as_bytes()).is_some())
            .copied()
            .collect::<Vec<_>>()
    };
    files_below(stand.dir())
        .into_iter()
        .filter(|file| *file != own)
        .filter_map(|file| {
            let found = has(&std::fs::read(&file).ok()?);
            (!found.is_empty()).then(|| format!("{}: {found:?}", file.display()))
        })
        .collect()
}

/// Everything that the server answers about a job, and what it told others.
async fn told(stand: &Stand, id: &str) -> String {
    let job = stand.job(id).await;
    let mut told = format!("{job}{}{:?}", stand.callback(id).await.body, stand.github.pulls());
    for path in [
        "clients",
        "tokens",
        "profiles",
        "health",
        "queue",
        "usage?by=client,label",
        "metrics",
        "deliveries",
        "openapi.json",
    ] {
        told.push_str(&stand.get_text(&format!("/{path}")).await);
    }
    for path in ["?includeMessages=true", "/messages", "/log", "/log?raw=true", "/diff", "/events"] {
        told.push_str(&stand.get_text(&format!("/jobs/{id}{path}")).await);
    }
    told
}

/// What an agent finds that looks: its environment, the arguments and environments of all processes that it may look at, every file
/// of its worktree and of the clone. Turned, so that nothing of it is redacted; then once more as it is.
const LOOKS: &str = "looked() { env; for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done; \
    find . \"$(git rev-parse --git-common-dir)\" -type f -size -1000k -exec cat {} +; } 2>/dev/null; \
    looked | tr 'a-zA-Z' 'n-za-mN-ZA-M' > \"$FOUND\"; looked; looked >&2";

#[tokio::test]
async fn no_secret_of_the_server_is_where_an_agent_or_a_reader_is() {
    let stand = stand().await;
    let client = json!({"name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets",
        "options": {"setEnv": {"GIVEN": "given"}}});
    stand.post("/clients", &client).await;
    let token = stand.post("/tokens", &json!({"name": "reader", "scope": "read"})).await["token"].clone();
    let never_given = [&NEVER_GIVEN[..], &[token.as_str().expect("it is shown once")]].concat();
    let script = format!(
        "FOUND={}; {LOOKS}; echo x > x.txt; printf 'not %s\\n' \"$GIVEN\"; while [ ! -e {} ]; do sleep 0.02; done",
        stand.path("found").display(),
        stand.gate("look").display()
    );
    let verify = "printf 'checked %s\\n' \"$GIVEN\"; printf '%s\\n' \"$GIVEN\" >&2";
    let body =
        json!({"prompt": script, "branchName": "look", "options": {"agent": "sh", "verify": [verify]}});
    let id = stand.submit(body).await;
    stand
        .wait_until("it has looked", async || {
            let path = format!("/jobs/{id}?includeMessages=true");
            stand.get(&path).await["messages"].to_string().contains("not [redacted]").then_some(())
        })
        .await;
    // from outside: no process of a step has one in its arguments, and none but the given one in its environment
    for seen in stand.processes().into_iter().filter(|seen| seen.step.is_some()) {
        let read = |what: &str| std::fs::read(format!("/proc/{}/{what}", seen.pid)).unwrap_or_default();
        for canary in &never_given {
            for what in ["environ", "cmdline"] {
                assert!(
                    memchr::memmem::find(&read(what), canary.as_bytes()).is_none(),
                    "{canary} in {what}: {seen:?}"
                );
            }
        }
        assert!(memchr::memmem::find(&read("cmdline"), GIVEN.as_bytes()).is_none(), "{seen:?}");
    }
    stand.open_gate("look");
    let job = stand.completed(&id).await;
    // what it found, with nothing redacted
    let found = rot13(&String::from_utf8_lossy(&std::fs::read(stand.path("found")).unwrap()));
    assert!(
        found.contains(&format!("GIVEN={GIVEN}")) && found.contains("# Widgets") && found.contains("[remote"),
        "it looked"
    );
    for canary in &never_given {
        assert!(!found.contains(canary), "an agent finds {canary}");
    }
    assert!(!found.contains("ANTHROPIC_API_KEY=") && !found.contains("OPENAI_API_KEY="));

    let mut told = told(&stand, &id).await;
    assert!(told.contains("GIVEN=[redacted]") && told.contains("checked [redacted]"), "as it was written");
    let (code, shown, _) = offshoot(&stand, &["show", &job["number"].to_string()]).await;
    assert_eq!(code, 0);
    told.push_str(&shown);
    stand.post("/backups", &json!({})).await;
    let all = [&never_given[..], &[GIVEN]].concat();
    for canary in &all {
        assert!(!told.contains(canary), "{canary} is told");
    }
    assert!(stand.log_text().contains("\"TRACE\""), "the log at its most talkative");
    assert_eq!(files_with(&stand, &all), Vec::<String>::new());
    stand.finish().await;
}

/// A key that is billed by use reaches an agent where its client, or its entry, says so by name.
#[tokio::test]
async fn metered_keys_are_given_where_they_are_asked_for() {
    let stand = stand().await;
    let shows = "test \"$ANTHROPIC_API_KEY$OPENAI_API_KEY\" = \"$1\" || exit 3; echo ok > ok.txt";
    let script = |expected: &str| {
        format!(
            "set -- '{}'; set -- \"$(printf %s \"$1\" | tr a-zA-Z n-za-mN-ZA-M)\"; {}",
            rot13(expected),
            shows
        )
    };
    let submit = async |branch: &str, expected: &str, env: Value| {
        let options = json!({"agent": "sh", "publish": "branch", "env": env});
        let id =
            stand.submit(json!({"prompt": script(expected), "branchName": branch, "options": options})).await;
        stand.completed(&id).await;
    };
    submit("none", "", json!([])).await;
    submit("one", METERED, json!(["ANTHROPIC_API_KEY"])).await;
    submit("both", &format!("{METERED}{OPENAI}"), json!(["ANTHROPIC_API_KEY", "OPENAI_API_KEY"])).await;
    assert_eq!(files_with(&stand, &[METERED, OPENAI]), Vec::<String>::new());
    stand.finish().await;
}
