//! `docs/troubleshooting.md` has every code and every reason to wait, in order, and types only commands that there are.
//! The commands of the guides are looked at in the same way.

use std::path::Path;
use std::process::Command;

use offshoot::domain::job::WaitingFor;
use offshoot::domain::reason::ReasonCode;

use crate::tidy_source::{files_below, root};

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
#[test]
fn docs_type_only_commands_that_there_are() {
    let root = root();
    let mut pages = files_below("docs/guides", "md");
    pages.extend(["troubleshooting.md", "callbacks.md"].map(|name| root.join("docs").join(name)));
    let programs = Path::new(env!("CARGO_BIN_EXE_offshoot")).parent().unwrap();
    let mut count = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for line in commands(&text) {
            let typed = format!("{line} --help");
            let help = Command::new("/bin/sh").args(["-c", &typed]).env("PATH", programs).output().unwrap();
            let told = String::from_utf8_lossy(&help.stderr);
            assert!(help.status.success(), "{}: {line}\n{told}", page.display());
            count += 1;
        }
    }
    assert!(count > 60, "only {count} commands were found");
}

#[test]
fn commands_are_found_in_blocks_and_in_sentences() {
    let text = "Say `offshoot ls` or `ls`:\n```sh\noffshoot show 1   # one\ngit status\n```\n`offshoot gc`";
    assert_eq!(commands(text), ["offshoot ls", "offshoot show 1", "offshoot gc"]);
}
