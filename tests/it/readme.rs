//! What the README tells people to type works as it is printed.
//!
//! Its marked blocks run in one shell, in order, against a real server with a stand-in for GitHub, a bare repository
//! and the scripted agent. Only the server's address is replaced. Without curl it says that
//! it was left out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use offshoot::config::{Config, Environment, Flags, Origin};
use offshoot::demo::sample;
use offshoot::git::{Author, seed_bare};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::fake_github::{FakeGithub, TOKEN};
use crate::left_out::{Need, has_program, leave_out};
use crate::tidy_source::root;

const PROGRAM: &str = env!("CARGO_BIN_EXE_offshoot");
/// As printed in the README.
const ADDRESS: &str = "127.0.0.1:3456";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The blocks whose opening fence says `mark` behind the language.
pub(crate) fn blocks(mark: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let opening = line.strip_prefix("```").and_then(|info| info.split_once(' '));
        if opening.is_some_and(|(_, rest)| rest == mark) {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(format!("{}\n", block.join("\n")));
        }
    }
    assert!(!found.is_empty(), "the README has no block marked {mark}");
    found
}

/// A home directory of its own, a server in it, and where its repositories come from.
struct Stage {
    dir: TempDir,
    github: FakeGithub,
    address: String,
    server: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Stage {
    async fn set() -> Self {
        // control sockets have short paths
        let dir = tempfile::Builder::new().prefix("oreadme").tempdir_in("/tmp").unwrap();
        let bare = dir.path().join("remotes/acme/widgets.git");
        let author = Author { name: "Ada".to_owned(), email: "ada@example.org".to_owned() };
        seed_bare(&bare, sample::FILES, &author, 1_790_000_000).unwrap();
        let github = FakeGithub::start().await;
        github.link_git("acme/widgets", bare);
        // the README's own way to a secret
        run(dir.path(), &blocks("setup").concat(), ADDRESS).await;
        let secret = fs::read_to_string(dir.path().join(".config/offshoot/secret")).unwrap();
        assert!(secret.len() >= 32 && secret.trim() == secret, "not a good secret");
        let config = dir.path().join("config.toml");
        fs::write(&config, configuration(dir.path(), &github.api_url)).unwrap();
        let mut server = command(PROGRAM, dir.path())
            .args(["serve", "--config"])
            .arg(&config)
            .env("AGENT_API_SECRET", secret)
            .env("GITHUB_TOKEN", TOKEN)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
        let ready = async {
            loop {
                let line = log.next_line().await.unwrap().expect("the server ended before it was ready");
                if line.contains("ready")
                    && let Some((_, rest)) = line.split_once("127.0.0.1:")
                {
                    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    return format!("127.0.0.1:{port}");
                }
            }
        };
        let address = timeout(Duration::from_secs(30), ready).await.expect("the server is not ready");
        Self { dir, github, address, server, log }
    }

    fn bare(&self) -> PathBuf {
        self.dir.path().join("remotes/acme/widgets.git")
    }

    /// Ends the server as a service manager does.
    async fn strike(mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.server.id().unwrap()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let ended = async {
            while let Ok(Some(_)) = self.log.next_line().await {}
            self.server.wait().await.unwrap()
        };
        let ended = timeout(Duration::from_secs(60), ended).await.expect("the server does not end");
        assert!(ended.success(), "{ended}");
    }
}

fn configuration(dir: &Path, api_url: &str) -> String {
    let dir = dir.display();
    format!(
        "[server]\nport = 0\n[paths]\ndata_dir = \"{dir}/data\"\n\
         [github]\napi_url = \"{api_url}\"\nclone_url = \"{dir}/remotes/{{org}}/{{repo}}.git\"\n\
         [agents.claude]\ncommand = \"{PROGRAM}\"\nargs = [\"scripted-agent\"]\n"
    )
}

fn command(program: &str, home: &Path) -> Command {
    let programs = Path::new(PROGRAM).parent().unwrap().display();
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", format!("{programs}:{PATH}")).kill_on_drop(true);
    command
}

/// Runs a script as somebody would who pastes it, and gives what it printed.
async fn run(home: &Path, script: &str, address: &str) -> String {
    let script = script.replace(ADDRESS, address);
    let mut shell = command("/bin/sh", home);
    shell.args(["-eu", "-c", &script]).env("OFFSHOOT_URL", format!("http://{address}"));
    let output = timeout(Duration::from_secs(120), shell.output()).await.expect("the commands hang").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{complaints}\n{script}", output.status);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_through_works_as_printed() {
    if !has_program("curl") {
        return leave_out(Need::Curl, "the README's walk-through");
    }
    let mut stage = Stage::set().await;
    let script = format!("{}\n{}", blocks("setup").concat(), blocks("walk-through").concat());
    let walked = {
        let running = run(stage.dir.path(), &script, &stage.address);
        tokio::pin!(running);
        loop {
            tokio::select! {
                text = &mut running => break text,
                line = stage.log.next_line() => assert!(line.unwrap().is_some(), "the server ended"),
            }
        }
    };
    for expected in [
        "\"repoCloned\":true",
        "\"status\":\"queued\"",
        "\"status\":\"completed\"",
        "\"outcome\":\"pull_request\"",
        "\"for\":\"paused\"",
        "\"wasRunning\":false",
        "diff --git a/greeting.py b/greeting.py",
        "\"claude\":{",
    ] {
        assert!(walked.contains(expected), "{expected} is missing in\n{walked}");
    }
    let pulls = stage.github.pulls();
    let heads: Vec<_> = pulls.iter().map(|pull| pull.head.as_str()).collect();
    assert_eq!(heads, ["feature/goodbye", "feature/second", "docs/readme", "feature/third"], "{pulls:?}");
    assert!(pulls.iter().all(|pull| pull.base == "main"));
    let branches = command("git", stage.dir.path())
        .args(["--git-dir", stage.bare().to_str().unwrap(), "for-each-ref", "--format=%(refname)"])
        .output()
        .await
        .unwrap();
    let branches = String::from_utf8(branches.stdout).unwrap();
    assert!(heads.iter().all(|head| branches.contains(&format!("refs/heads/{head}\n"))), "{branches}");
    stage.strike().await;
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The rows of the short table of configuration: variables, keys and the default, as they are printed.
#[test]
fn the_table_of_configuration_is_true() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let env = Environment::from_pairs([("HOME", home.path())]);
    let config = Config::load(&Flags::default(), &env, None).unwrap();
    let shown = config.rows();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("| environment | key |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 10, "the table was not found");
    for row in rows {
        let keys: Vec<_> =
            quoted(row[1]).filter(|key| !key.starts_with('.') && !key.ends_with('*')).collect();
        for key in &keys {
            let found = shown.iter().find(|one| one.key == *key);
            let found = found.unwrap_or_else(|| panic!("there is no key {key}"));
            let is_plain = !found.value.contains('/') && !row[2].contains("none") && keys.len() == 1;
            if let (Some(default), true) = (quoted(row[2]).next(), is_plain && !row[2].contains("below")) {
                assert!(found.value.contains(default), "{key}: {} is not {default}", found.value);
            }
        }
        for variable in quoted(row[0]).filter(|name| *name != "HOME") {
            let Some(key) = keys.first() else { continue };
            // a value that fits no key: the complaint names the key
            let env = Environment::from_pairs([("HOME", home.path().to_str().unwrap()), (variable, "\u{7}")]);
            let told = match Config::load(&Flags::default(), &env, None) {
                Ok(config) => {
                    config.rows().iter().any(|row| row.key == *key && row.origin != Origin::Default)
                }
                Err(error) => error.to_string().contains(key),
            };
            assert!(told, "{variable} does not set {key}");
        }
    }
}
