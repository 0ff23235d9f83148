//! What shells offer after Tab, asked by the shells themselves: with a whole server, with one that does not answer, and with none.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::Instant;

use crate::cli::{Ran, command, finish};
use crate::cli_fake::{Answer, Fake, job};
use crate::left_out::{Need, has_program, leave_out};
use crate::stand::{Plan, SECRET, Stand};

const NOWHERE: &str = "http://127.0.0.1:9";
/// What follows the words in each shell; `LINE` and `LAST` are put in.
const BASH: &str = "eval \"$(offshoot completions bash)\"; COMP_WORDS=(LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
    COMP_TYPE=KIND; _clap_complete_offshoot offshoot LAST x; printf '%s\\n' \"${COMPREPLY[@]}\"";
/// Without its own completion system, which wants a terminal: what would be given to it is printed.
const ZSH: &str = "compdef() { :; }; _describe() { print -l -- ${(P)3}; }; eval \"$(offshoot completions zsh)\"; \
    words=(LINE); CURRENT=${#words}; _clap_dynamic_completer_offshoot";
const FISH: &str = "offshoot completions fish | source; complete --do-complete \"LINE\"";

/// One of the shells, with the program in its PATH and this server.
async fn shell(url: &str, program: &str, flags: &[&str], script: &str) -> Ran {
    let dir = std::path::Path::new(env!("CARGO_BIN_EXE_offshoot")).parent().unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(flags).args(["-c", script]).env_clear().env("HOME", home.path());
    command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", dir.display()));
    command.env("OFFSHOOT_URL", url).env("OFFSHOOT_TOKEN", SECRET).env("LC_ALL", "C.UTF-8");
    command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, "").await
}

/// What bash gets for this line when it asks as `comp_type`; silent but for that.
async fn bash(url: &str, line: &str, comp_type: u32) -> String {
    let words: Vec<_> = line.split(' ').map(|word| format!("'{word}'")).collect();
    let script = BASH
        .replace("LINE", &words.join(" "))
        .replace("KIND", &comp_type.to_string())
        .replace("LAST", words.last().unwrap());
    let ran = shell(url, "bash", &["--noprofile", "--norc"], &script).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    ran.out
}

const TAB: u32 = 9;
/// A second one: it lists.
const TABS: u32 = 63;

#[tokio::test]
async fn commands_and_flags_need_no_server() {
    let script = finish(command(NOWHERE, &["completions", "bash"]), "").await;
    assert_eq!((script.code, script.err.as_str()), (0, ""), "it needs no server");
    assert_eq!(finish(command(NOWHERE, &["completions", "dos"]), "").await.code, 2);
    assert_eq!(bash(NOWHERE, "offshoot foll", TAB).await, "follow-up\n");
    assert_eq!(bash(NOWHERE, "offshoot submit --bud", TAB).await, "--budget\n");
    assert_eq!(bash(NOWHERE, "offshoot service unin", TAB).await, "uninstall\n");
    // and where a job would be offered, what can be typed besides
    assert!(bash(NOWHERE, "offshoot logs ", TAB).await.contains("--follow\n"));
    assert_eq!(bash(NOWHERE, "offshoot logs 14", TAB).await, "\n");
}

/// Three jobs on a whole server: one that waits, one that runs, one that has failed.
#[tokio::test]
async fn every_verb_offers_the_jobs_that_it_can_do_something_with() {
    let stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    let sh = |branch: &str, prompt: &str| json!({"prompt": prompt, "branchName": branch, "options": {"agent": "sh", "publish": "branch"}});
    let failed = stand.submit(sh("one", "exit 3 # Mend \u{1b}[31mthis")).await;
    stand.wait_for_status(&failed, "failed").await;
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", stand.gate("g").display());
    let running = stand.submit(sh("two", &script)).await;
    stand.wait_for_status(&running, "running").await;
    let queued = stand.submit(sh("three", "true")).await;
    let url = stand.base_url();

    assert_eq!(bash(&url, "offshoot logs ", TAB).await, "3\n2\n1\n", "newest first, and no flags between");
    let listed = bash(&url, "offshoot logs ", TABS).await;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines[2], "1  (failed: exit 3 # Mend  [31mthis (widgets))", "{listed}");
    assert!(
        lines[0].starts_with("3  (queued: true (") && lines[1].starts_with("2  (running: while"),
        "{listed}"
    );
    for verb in ["cancel", "wait", "submit --after"] {
        assert_eq!(bash(&url, &format!("offshoot {verb} "), TAB).await, "3\n2\n", "{verb}");
    }
    assert_eq!(bash(&url, "offshoot retry ", TAB).await, "1\n");
    assert_eq!(bash(&url, "offshoot cancel 3 ", TAB).await, "2\n", "what was named is not offered again");
    assert_eq!(bash(&url, &format!("offshoot show {}", &failed[..8]), TAB).await, format!("{failed}\n"));
    assert_eq!(bash(&url, "offshoot logs 1 --raw --attempt ", TAB).await, "3\n2\n1\n");
    assert_eq!(bash(&url, "offshoot submit -r ac", TAB).await, "acme/widgets\n");
    assert_eq!(bash(&url, "offshoot client show ", TABS).await, "acme/widgets\n");
    // as bash takes an address apart, for another server than that of the environment
    let address = format!("offshoot --url {} retry ", url.replace(':', " : "));
    assert_eq!(bash(NOWHERE, &address, TAB).await, "1\n", "{address}");

    if has_program("zsh") {
        let script = ZSH.replace("LINE", "offshoot cancel ''");
        let ran = shell(&url, "zsh", &["-f"], &script).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        let lines: Vec<_> = ran.out.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "3:queued: true (widgets)"), "{ran:?}");
    } else {
        leave_out(Need::Zsh, "what zsh offers");
    }
    if has_program("fish") {
        let ran = shell(&url, "fish", &["-N"], &FISH.replace("LINE", "offshoot cancel ")).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        let lines: Vec<_> = ran.out.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "3\tqueued: true (widgets)"), "{ran:?}");
    } else {
        leave_out(Need::Fish, "what fish offers");
    }
    stand.cancel(&queued).await;
    stand.open_gate("g");
    stand.wait_for(&running, "over", |job| job["completedAt"].is_string()).await;
    stand.finish().await;
}

/// Who sits at the terminal waits for the next key, and reads no complaint.
#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    // the system accepts, nobody answers
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut shortest = Duration::MAX;
    // the machine may be busy with other things, so the shortest of some tries counts
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(bash(&url, "offshoot logs 1", TAB).await, "\n");
        shortest = shortest.min(began.elapsed());
    }
    assert!(shortest < Duration::from_secs(3), "{shortest:?}");
    let refuses = Fake::start(|_, _| Answer::problem(401, "unauthorized", "no", json!({}))).await;
    assert_eq!(bash(&refuses.url, "offshoot logs 1", TAB).await, "\n");
    assert_eq!(refuses.lines(), ["GET /jobs?limit=200"]);
}

/// What a job is called comes from elsewhere: it is shown to nobody as something else than text.
#[tokio::test]
async fn what_is_said_of_a_job_is_one_line_that_steers_nothing() {
    let title = "first\u{7}\u{202e}line $(touch x) `x`\nsecond";
    let fake = Fake::start(move |_, _| {
        let one = |number: i64| job(&json!({"number": number, "title": title}));
        Answer::json(200, &json!({"jobs": [one(142), one(141)], "total": 2, "limit": 40, "offset": 0}))
    })
    .await;
    let listed = bash(&fake.url, "offshoot logs 14", TABS).await;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed:?}");
    assert!(
        lines[0].starts_with("142  (") && lines[0].contains("first  line $(touch x) `x` ("),
        "{listed:?}"
    );
}
