//! `offshoot attach` in a terminal of the test's own: what the program finds there, and what becomes of the job when it ends.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::left_out::{Need, leave_out};
use crate::stand::{PATIENCE, Plan, SECRET, Stand};

/// Runs its arguments in a terminal, and ends as they do.
pub(crate) const IN_A_TERMINAL: &str =
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])) % 256)";

/// What the user has, and what is none of the agent's business.
const MINE: &str = "of-the-user-alone";

pub(crate) fn has_python() -> bool {
    std::process::Command::new("python3").arg("--version").output().is_ok_and(|run| run.status.success())
}

fn attach(stand: &Stand, job: &Value, flags: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", IN_A_TERMINAL, env!("CARGO_BIN_EXE_offshoot"), "attach"]);
    command.arg(job["number"].to_string()).args(flags);
    command.env_clear().envs([
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("TERM", "xterm-test"),
        ("MINE", MINE),
    ]);
    command.envs([("OFFSHOOT_URL", stand.base_url()), ("OFFSHOOT_TOKEN", SECRET.to_owned())]);
    command.env("HOME", stand.path("home"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn ended(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.expect("it ends").unwrap()
}

/// An agent that works alone as the scripted one, and in a terminal runs this.
fn install(stand: &Stand, by_hand: &str) {
    let own = env!("CARGO_BIN_EXE_offshoot");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in --version|auth*|*stream-json*) exec {own} scripted-agent \"$@\";; esac\n\
         [ -t 0 ] && [ -t 1 ] || exit 9\necho \"$*\" > by-hand.txt\nenv > {env}\n{by_hand}\n",
        env = stand.path("env").display(),
    );
    stand.install("claude", &script);
}

async fn at_work(stand: &Stand, branch: &str) -> Value {
    let prompt = format!("[[scenario:write path=a.txt]]{}", stand.gate_mark("never"));
    let id = stand.submit(json!({"prompt": prompt, "branchName": branch})).await;
    stand.wait_for_tool(&id).await;
    stand.job(&id).await
}

#[tokio::test]
async fn the_agent_is_opened_in_its_conversation_and_its_work_published() {
    if !has_python() {
        return leave_out(Need::Python, "`offshoot attach` in a terminal");
    }
    let stand = Stand::new().await;
    install(&stand, "exit 0");
    let job = at_work(&stand, "a").await;
    let id = job["id"].as_str().unwrap();
    let run = ended(attach(&stand, &job, &[])).await;
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}");
    let number = &job["number"];
    for text in [format!("#{number} is yours"), format!("Handed back #{number}"), "offshoot logs".to_owned()]
    {
        assert!(said.contains(&text), "{text}: {said}");
    }
    stand.completed(id).await;
    let session = job["sessionId"].as_str().unwrap();
    assert_eq!(stand.git(&["show", "a:by-hand.txt"]), format!("--resume={session}"));
    let env = std::fs::read_to_string(stand.path("env")).unwrap();
    assert!(env.contains("TERM=xterm-test") && env.contains("OFFSHOOT_STEP="), "{env}");
    assert!(!env.contains(MINE) && !env.contains(SECRET), "{env}");
    stand.finish().await;
}

#[tokio::test]
async fn what_ends_badly_is_handed_to_the_agent_and_a_cancel_ends_it() {
    if !has_python() {
        return leave_out(Need::Python, "the ends of `offshoot attach`");
    }
    let stand = Stand::new().await;
    install(&stand, "exit 3");
    let job = at_work(&stand, "b").await;
    let run = ended(attach(&stand, &job, &[])).await;
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("the agent goes on") && said.contains("offshoot attach"), "{said}");
    let job = stand.completed(job["id"].as_str().unwrap()).await;
    assert_eq!(job["attempts"].as_array().unwrap().len(), 2, "{job:#}");
    install(&stand, "exec sleep 600");
    let job = at_work(&stand, "c").await;
    let mut visitor = attach(&stand, &job, &[]).spawn().unwrap();
    let is_there = async || {
        std::fs::read_to_string(stand.path("env"))
            .ok()
            .filter(|env| env.contains(&format!("-{}-", job["number"])))
    };
    stand.wait_until("the program runs", is_there).await;
    let (status, cancelled) = stand.cancel(job["id"].as_str().unwrap()).await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")), "{cancelled:#}");
    let ended = timeout(PATIENCE, visitor.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(6));
    stand.finish().await;
}

/// Runs its arguments in a terminal that goes away as soon as a file is there, with nobody who passes its signal on.
const UNTIL_IT_IS_GONE: &str = "import os, pty, sys, time\npid, terminal = pty.fork()\n\
    if pid == 0: os.execv('/bin/sh', ['/bin/sh', '-c', 'trap \"\" HUP; \"$@\"; exit $?', 'sh'] + sys.argv[2:])\n\
    while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n\
    os.close(terminal)\nsys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)";

#[tokio::test]
async fn a_terminal_that_goes_away_has_not_called_the_work_done() {
    if !has_python() {
        return leave_out(Need::Python, "`offshoot attach` in a terminal that goes away");
    }
    let stand = Stand::new().await;
    let there = stand.path("there");
    // it ends with 0, as who reads an end of input does
    install(&stand, &format!("touch {}; cat; exit 0", there.display()));
    let job = at_work(&stand, "h").await;
    let mut command = Command::new("python3");
    command.args(["-c", UNTIL_IT_IS_GONE]).arg(&there).arg(env!("CARGO_BIN_EXE_offshoot")).arg("attach");
    command.arg(job["number"].to_string()).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.envs([("OFFSHOOT_URL", stand.base_url()), ("OFFSHOOT_TOKEN", SECRET.to_owned())]);
    command.env("HOME", stand.path("home"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let run = ended(command).await;
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let id = job["id"].as_str().unwrap();
    let job = stand.completed(id).await;
    let said = json!(stand.messages(id).await).to_string();
    assert!(said.contains("handed back by admin: the agent goes on"), "{said}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 2, "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn without_a_terminal_nothing_is_taken_over() {
    let stand = Stand::new().await;
    let job = at_work(&stand, "d").await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    command.args(["attach", &job["number"].to_string()]).stdin(Stdio::null());
    command.envs([("OFFSHOOT_URL", stand.base_url()), ("OFFSHOOT_TOKEN", SECRET.to_owned())]);
    let run = ended(command).await;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.code() == Some(2) && said.contains("terminal"), "{said}");
    assert_eq!(stand.job(job["id"].as_str().unwrap()).await["status"], "running");
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    elsewhere.args(["attach", "1", "--url", "http://offshoot.example"]).env("OFFSHOOT_TOKEN", SECRET);
    let run = ended(elsewhere).await;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.code() == Some(2) && said.contains("another machine"), "{said}");
    assert_eq!(stand.cancel(job["id"].as_str().unwrap()).await.0, 200);
    stand.finish().await;
}

/// What the agent would have had, with its values as this machine and the configuration have them, and nothing of it in an answer.
#[tokio::test]
async fn the_program_has_what_the_owner_lets_through_and_sets() {
    if !has_python() {
        return leave_out(Need::Python, "the variables of `offshoot attach`");
    }
    let mut stand = Stand::built(Plan::default()).await;
    install(&stand, "exit 0");
    let secrets =
        "[secrets]\nof-agent = \"value-of-the-agents-secret\"\nof-work = \"value-of-the-works-secret\"\n";
    let agent = format!(
        "[agents.two]\nkind = \"claude\"\ncommand = \"{}\"\nenv = [\"BY_AGENT\", \"NOT_THERE\"]\n\
         set_env = {{ PLAIN = \"as-it-stands\", FROM_AGENT = {{ secret = \"of-agent\" }} }}\n",
        stand.path("agents/claude").display()
    );
    stand.add_config(&format!("{secrets}{agent}"));
    stand.set_env("BY_AGENT", "of-the-server");
    stand.start().await;
    let options = json!({"agent": "two", "env": ["BY_OWNER"], "setEnv": {"TOKEN": "of-work"}});
    let client = json!({"name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets", "options": options});
    stand.post("/clients", &client).await;
    let at_work = async |branch: &str| {
        let job = at_work(&stand, branch).await;
        assert_eq!(job["agent"], "two");
        job
    };
    let visit = async |job: &Value, config: bool| {
        let mut command = attach(&stand, job, &[]);
        command.envs([("BY_AGENT", "of-my-shell"), ("BY_OWNER", "of-my-shell-too")]);
        if config {
            command.env("OFFSHOOT_CONFIG", stand.path("config.toml"));
        }
        let run = ended(command).await;
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.success(), "{said}");
        stand.completed(job["id"].as_str().unwrap()).await;
        (said, std::fs::read_to_string(stand.path("env")).unwrap())
    };
    let job = at_work("a").await;
    let (said, env) = visit(&job, true).await;
    for line in [
        "BY_AGENT=of-my-shell",
        "BY_OWNER=of-my-shell-too",
        "PLAIN=as-it-stands",
        "FROM_AGENT=value-of-the-agents-secret",
        "TOKEN=value-of-the-works-secret",
    ] {
        assert!(env.lines().any(|one| one == line), "{line}: {env}");
    }
    assert!(!env.contains(MINE) && !env.contains("NOT_THERE"), "{env}");
    assert!(!said.contains("value-of-the") && !stand.log_text().contains("value-of-the"), "{said}");
    // where the configuration is not at hand its values are not, and that is said
    let job = at_work("b").await;
    let (said, env) = visit(&job, false).await;
    assert!(said.contains("TOKEN is not set: there is no secret \"of-work\" here"), "{said}");
    assert!(env.contains("BY_AGENT=of-my-shell") && !env.contains("value-of-the"), "{env}");
    // a program that asks is told names
    let job = at_work("c").await;
    let path = format!("/jobs/{}/attach", job["id"].as_str().unwrap());
    let answer = stand.post(&path, &json!({"key": "key-0123456789abcdef"})).await;
    assert_eq!(answer["setEnv"], json!({"TOKEN": "of-work"}));
    assert_eq!(answer["passEnv"], json!(["BY_AGENT", "BY_OWNER", "NOT_THERE"]), "{answer:#}");
    let text = answer.to_string();
    for value in ["value-of-the", "as-it-stands", "of-the-server"] {
        assert!(!text.contains(value), "{value}: {answer:#}");
    }
    let id = job["id"].as_str().unwrap();
    assert_eq!(stand.cancel(id).await.0, 200);
    stand.finish().await;
}
