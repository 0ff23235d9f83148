//! `docs/troubleshooting.md` has every code and every reason to wait, in order, and types only commands that there are.
//! The commands of the guides are looked at in the same way.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use offshoot::config::{Config, Environment, Flags};
use offshoot::domain::job::WaitingFor;
use offshoot::domain::reason::ReasonCode;
use tokio::time::timeout;

use crate::tidy_source::{files_below, root};

/// For one `--help`, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn page() -> String {
    std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap()
}

#[test]
fn docs_troubleshooting_has_every_code_with_its_three_answers() {
    let page = page();
    let (_, by_code) = page.split_once("\n## By code\n").expect("the heading");
    let sections: Vec<(&str, &str)> =
        by_code.split("\n### `").skip(1).filter_map(|section| section.split_once("`\n")).collect();
    let found: Vec<&str> = sections.iter().map(|(code, _)| *code).collect();
    let all: Vec<&str> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(found, all);
    for (code, text) in sections {
        for answer in ["**You see**", "**Why:**", "**Type**"] {
            assert!(text.contains(answer), "{code} lacks {answer}");
        }
    }
}

#[test]
fn docs_troubleshooting_has_every_reason_to_wait() {
    let page = page();
    for reason in WaitingFor::ALL {
        let row = format!("| `{}` |", reason.as_str());
        assert!(page.contains(&row), "no row for {row}");
    }
}

/// Lines of `sh` blocks that begin with our program, and commands of it between backticks in other text.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_shell = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_shell = !is_shell && line.starts_with("```sh");
        } else if is_shell {
            found.push(line.split('#').next().unwrap_or(line).trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found.retain(|line| line.starts_with("offshoot ") && !line.contains(['…', '|', '$', '<', '>']));
    found
}

/// Every verb and flag is one of the program's: with `--help` at its end the command is read and not run.
#[tokio::test]
async fn docs_type_only_commands_that_there_are() {
    let root = root();
    let mut pages = files_below("docs/guides", "md");
    pages.extend(["troubleshooting.md", "callbacks.md"].map(|name| root.join("docs").join(name)));
    let programs = Path::new(env!("CARGO_BIN_EXE_offshoot")).parent().unwrap();
    let mut count = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for line in commands(&text) {
            let typed = format!("{line} --help");
            let mut shell = tokio::process::Command::new("/bin/sh");
            let help = shell.args(["-c", &typed]).env("PATH", programs).kill_on_drop(true).output();
            let help = timeout(DEADLINE, help).await.expect("help that hangs").unwrap();
            let told = String::from_utf8_lossy(&help.stderr);
            assert!(help.status.success(), "{}: {line}\n{told}", page.display());
            count += 1;
        }
    }
    assert!(count > 60, "only {count} commands were found");
}

/// The `toml` blocks of the guides: whoever pastes one has a server that starts, and no word is unknown to it.
#[test]
fn docs_guides_show_configuration_that_loads() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join(".config/offshoot");
    std::fs::create_dir_all(&config).unwrap();
    let value = "a-value-of-no-account";
    let pem = include_str!("forge_app_key_pkcs1.pem");
    for (name, content) in [("github-token", value), ("anthropic-key", value), ("app.pem", pem)] {
        let file = config.join(name);
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let secret = "a-secret-of-more-than-32-characters-as-said";
    let env =
        Environment::from_pairs([("HOME", home.path().to_str().unwrap()), ("AGENT_API_SECRET", secret)]);
    let mut count = 0;
    for page in files_below("docs/guides", "md") {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1) {
            // in a list a block is indented
            let block = block.split("```").next().unwrap();
            let file = home.path().join("config.toml");
            std::fs::write(&file, block).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
            let flags = Flags { serving: true, ..Flags::default() };
            let loaded = Config::load(&flags, &env, Some(&file));
            let config = loaded.unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.display()));
            // what an address of a tailnet is told is said in its guide
            let told = ["unsigned_callbacks", "exposed"];
            let odd = config.warnings().iter().find(|one| !told.contains(&one.code));
            assert!(odd.is_none(), "{}: {odd:?}\n{block}", page.display());
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} blocks were found");
}

#[test]
fn commands_are_found_in_blocks_and_in_sentences() {
    let text = "Say `offshoot ls` or `ls`:\n```sh\noffshoot show 1   # one\ngit status\n```\n`offshoot gc`";
    assert_eq!(commands(text), ["offshoot ls", "offshoot show 1", "offshoot gc"]);
}
