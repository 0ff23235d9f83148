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
use crate::stand::{PATIENCE, Plan, SECRET, Stand};

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
    bash_with("", url, line, comp_type).await
}

/// As [`bash`] says it once it is `wanted`: on a busy machine a server may well answer too late for a shell that waits for the next
/// key, and then nothing of the server's is offered.
async fn bash_until(url: &str, line: &str, comp_type: u32, wanted: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let said = bash(url, line, comp_type).await;
        if wanted(&said) || began.elapsed() > PATIENCE {
            return said;
        }
    }
}

/// As [`bash_until`], for a shell whose answer begins so.
async fn shell_until(url: &str, program: &str, flags: &[&str], script: &str, begins: &str) -> Ran {
    let began = Instant::now();
    loop {
        let ran = shell(url, program, flags, script).await;
        if ran.code != 0 || ran.out.starts_with(begins) || began.elapsed() > PATIENCE {
            return ran;
        }
    }
}

/// That this is what bash gets, sooner or later.
async fn offers(url: &str, line: &str, comp_type: u32, expected: &str) {
    let said = bash_until(url, line, comp_type, |said| said == expected).await;
    assert_eq!(said, expected, "{line}");
}

/// As [`bash`], behind `first` in the same shell.
async fn bash_with(first: &str, url: &str, line: &str, comp_type: u32) -> String {
    let words: Vec<_> = line.split(' ').map(|word| format!("'{word}'")).collect();
    let script = format!("{first}\n{BASH}")
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

    // newest first, and no flags between
    offers(&url, "offshoot logs ", TAB, "3\n2\n1\n").await;
    let listed = bash_until(&url, "offshoot logs ", TABS, |said| said.starts_with("3  (")).await;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    // what bash would take for a pattern of file names is none
    assert_eq!(lines[2], "1  (failed: exit 3 # Mend  (31mthis (widgets))", "{listed}");
    assert!(
        lines[0].starts_with("3  (queued: true (") && lines[1].starts_with("2  (running: while"),
        "{listed}"
    );
    for verb in ["cancel", "wait", "submit --after"] {
        offers(&url, &format!("offshoot {verb} "), TAB, "3\n2\n").await;
    }
    offers(&url, "offshoot retry ", TAB, "1\n").await;
    // what was named is not offered again
    offers(&url, "offshoot cancel 3 ", TAB, "2\n").await;
    offers(&url, &format!("offshoot show {}", &failed[..8]), TAB, &format!("{failed}\n")).await;
    offers(&url, "offshoot logs 1 --raw --attempt ", TAB, "3\n2\n1\n").await;
    offers(&url, "offshoot submit -r ac", TAB, "acme/widgets\n").await;
    offers(&url, "offshoot client show ", TABS, "acme/widgets\n").await;
    // as bash takes an address apart, for another server than that of the environment
    let address = format!("offshoot --url {} retry ", url.replace(':', " : "));
    offers(NOWHERE, &address, TAB, "1\n").await;

    if has_program("zsh") {
        let script = ZSH.replace("LINE", "offshoot cancel ''");
        let ran = shell_until(&url, "zsh", &["-f"], &script, "3:").await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        let lines: Vec<_> = ran.out.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "3:queued: true (widgets)"), "{ran:?}");
    } else {
        leave_out(Need::Zsh, "what zsh offers");
    }
    if has_program("fish") {
        let script = FISH.replace("LINE", "offshoot cancel ");
        let ran = shell_until(&url, "fish", &["-N"], &script, "3\t").await;
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
    // one request a Tab, and one of them comes before it is given up
    let mut tabs = 0;
    let began = Instant::now();
    while refuses.lines().is_empty() && began.elapsed() < PATIENCE {
        assert_eq!(bash(&refuses.url, "offshoot logs 1", TAB).await, "\n");
        tabs += 1;
    }
    let lines = refuses.lines();
    assert!((1..=tabs).contains(&lines.len()), "{tabs}: {lines:?}");
    assert!(lines.iter().all(|line| line == "GET /jobs?limit=200"), "{lines:?}");
}

/// What a job is called comes from elsewhere: it is shown to nobody as something else than text.
#[tokio::test]
async fn what_is_said_of_a_job_is_one_line_that_steers_nothing() {
    let title = "a\u{7}\u{202e}b $(x) `x` [c]* ? \\ !(d)\nsecond";
    let fake = Fake::start(move |_, _| {
        let one = |number: i64| job(&json!({"number": number, "title": title}));
        Answer::json(200, &json!({"jobs": [one(142), one(141)], "total": 2, "limit": 40, "offset": 0}))
    })
    .await;
    let comes = |said: &str| said.starts_with("142");
    let listed = bash_until(&fake.url, "offshoot logs 14", TABS, comes).await;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed:?}");
    assert!(
        lines[0].starts_with("142  (") && lines[0].contains("a  b $(x) `x` (c)      ! (d) ("),
        "{listed:?}"
    );
    // and is no pattern of file names, which bash would make nothing of
    for options in ["nullglob extglob", "failglob extglob"] {
        let began = Instant::now();
        let globbed = loop {
            let said = bash_with(&format!("shopt -s {options}"), &fake.url, "offshoot logs 14", TABS).await;
            if comes(&said) || began.elapsed() > PATIENCE {
                break said;
            }
        };
        assert_eq!(globbed, listed, "{options}");
    }
}
