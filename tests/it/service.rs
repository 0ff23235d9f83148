//! `offshoot service`: whole commands, with a stand-in for `systemctl` and `loginctl` that writes down
//! what it is asked.

#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::cli::{Ran, command, finish};
use crate::cli_attach::{IN_A_TERMINAL, has_python};
use crate::cli_fake::{Answer, Fake};
use crate::left_out::{Need, leave_out};

pub(crate) const UNIT: &str = ".config/systemd/user/offshoot.service";

/// A home directory with stand-ins for the programs of the system.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.program("loginctl", "[ \"$1\" = show-user ] && cat \"$HOME/linger\"; [ \"$1\" = enable-linger ] && echo yes > \"$HOME/linger\"; [ \"$1\" = disable-linger ] && echo no > \"$HOME/linger\"; true");
        home.program("systemctl", "[ \"$2\" = show ] && cat \"$HOME/state\"; true");
        home.program("journalctl", "echo the log");
        home.write("linger", "no\n");
        home.write("state", "ActiveState=active\nSubState=running\nMainPID=4121\nUnitFileState=enabled\n");
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// One that notes how it was called and does `script`.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let note = format!("#!/bin/sh\necho \"{name} $*\" >> \"$HOME/asked\"\n{script}\n");
        self.write(&format!("bin/{name}"), &note);
        std::fs::set_permissions(self.path(&format!("bin/{name}")), PermissionsExt::from_mode(0o755))
            .unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command("", arguments);
        command.env_remove("OFFSHOOT_URL").env_remove("OFFSHOOT_TOKEN").env("HOME", self.0.path());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments), "").await
    }

    /// What the programs were asked since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.read("asked");
        let _ = std::fs::remove_file(self.path("asked"));
        asked.lines().filter(|line| !line.contains(" show")).map(str::to_owned).collect()
    }

    /// All files, without the stand-ins.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut dirs = vec![self.0.path().to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    found.push(path.strip_prefix(self.0.path()).unwrap().display().to_string());
                }
            }
        }
        found.retain(|file| !file.starts_with("bin/"));
        found.sort();
        found
    }
}

#[tokio::test]
async fn a_service_is_installed_once_and_leaves_nothing_when_it_is_removed() {
    let home = Home::new();
    assert_eq!(home.run(&["init"]).await.code, 0);
    home.program("claude", "true");
    let before = home.files();
    let planned = home.run(&["service", "install", "--print"]).await;
    assert_eq!(planned.code, 0, "{planned:?}");
    assert!(planned.out.contains("\nsystemctl --user daemon-reload\n"), "{planned:?}");
    assert_eq!((home.asked(), home.files()), (vec![], before.clone()), "printing does nothing");
    let ran = home.run(&["service", "install"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let calls = ["systemctl --user daemon-reload", "systemctl --user enable --now offshoot.service"];
    assert_eq!(home.asked(), ["loginctl enable-linger", calls[0], calls[1]]);
    let unit = home.read(UNIT);
    let program = env!("CARGO_BIN_EXE_offshoot");
    assert!(unit.contains(&format!("\nExecStart={program} serve\n")), "{unit}");
    // agents are found where this shell finds them
    let dir = home.path("bin").display().to_string();
    assert!(unit.contains(&format!("\nEnvironment=PATH={dir}:%h/.local/bin:")), "{unit}");
    assert!(!unit.contains("SECRET="), "anybody can read this file");

    let again = home.run(&["service", "install"]).await;
    assert_eq!((again.code, home.asked()), (0, calls.map(str::to_owned).to_vec()), "{again:?}");
    assert_eq!(home.read(UNIT), unit, "a second time changes nothing");

    let ran = home.run(&["service", "uninstall"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = home.asked();
    assert_eq!(asked[0], "systemctl --user disable --now offshoot.service");
    assert_eq!(asked.last().unwrap(), "loginctl disable-linger", "it was turned on with the service");
    assert_eq!(home.files(), before, "nothing is left");
    let ran = home.run(&["service", "uninstall"]).await;
    assert_eq!((ran.code, home.asked()), (0, vec![]), "{ran:?}");
}

/// The file that `install` has made of ours, by the judge of the system.
#[tokio::test]
async fn systemd_accepts_the_unit_that_is_installed() {
    let home = Home::new();
    home.program("claude", "true");
    assert_eq!(home.run(&["init"]).await.code, 0);
    assert_eq!(home.run(&["service", "install"]).await.code, 0);
    let mut analyse = Command::new("systemd-analyze");
    analyse.args(["--user", "verify"]).arg(home.path(UNIT)).kill_on_drop(true);
    // `%h` is the home of whoever asks, which is here the one of the test
    analyse.env("HOME", home.0.path()).env("XDG_RUNTIME_DIR", home.0.path()).env("SYSTEMD_COLORS", "0");
    let Ok(output) = analyse.output().await else {
        return leave_out(Need::SystemdAnalyze, "judging the unit that is installed");
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // the analyser also reads the units that are installed here; only what it says about ours counts
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("offshoot")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[tokio::test]
async fn lingering_that_was_on_before_stays_on() {
    let home = Home::new();
    home.write("linger", "yes\n");
    assert_eq!(home.run(&["init"]).await.code, 0);
    assert_eq!(home.run(&["service", "install"]).await.code, 0);
    assert_eq!(home.run(&["service", "uninstall"]).await.code, 0);
    assert!(home.asked().iter().all(|call| !call.contains("linger")));
}

#[tokio::test]
async fn a_unit_of_somebody_else_is_spared_until_it_is_said() {
    let home = Home::new();
    assert_eq!(home.run(&["init"]).await.code, 0);
    home.write(UNIT, "[Service]\nExecStart=/bin/true\n");
    for verb in ["install", "uninstall"] {
        let ran = home.run(&["service", verb]).await;
        assert_eq!(ran.code, 6, "{ran:?}");
        assert!(ran.err.contains("--force"), "{ran:?}");
    }
    assert!(home.read(UNIT).contains("/bin/true") && home.asked().is_empty());
    assert_eq!(home.run(&["service", "install", "--force"]).await.code, 0);
    let asked = home.asked();
    let after = asked.iter().skip_while(|call| !call.contains("daemon-reload")).skip(1);
    let calls = ["systemctl --user enable offshoot.service", "systemctl --user restart offshoot.service"];
    assert_eq!(after.collect::<Vec<_>>(), calls, "it is started once: {asked:?}");
}

#[tokio::test]
async fn a_service_that_would_not_start_is_not_installed() {
    let home = Home::new();
    let mut install = home.command(&["service", "install"]);
    // a variable of this shell, which the service does not see
    install.env("AGENT_API_SECRET", "0123456789abcdef0123456789abcdef");
    let ran = finish(install, "").await;
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(
        ran.err.contains("sees no variable of this shell") && ran.err.contains("offshoot init"),
        "{ran:?}"
    );
    assert!(!home.path(UNIT).exists() && home.asked().is_empty());
    home.write(".config/offshoot/env", "AGENT_API_SECRET=0123456789abcdef0123456789abcdef\n");
    let ran = home.run(&["service", "install"]).await;
    assert_eq!(ran.code, 0, "the unit reads that file: {ran:?}");
}

#[tokio::test]
async fn the_service_is_started_stopped_and_looked_at() {
    let home = Home::new();
    for verb in [&["service", "start"][..], &["service", "stop"], &["service", "logs"]] {
        let ran = home.run(verb).await;
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.err.contains("offshoot service install"), "{ran:?}");
    }
    let ran = home.run(&["service", "status"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, "offshoot  not installed\n"), "{ran:?}");
    assert_eq!(home.run(&["init"]).await.code, 0);
    assert_eq!(home.run(&["service", "install"]).await.code, 0);
    home.asked();
    assert_eq!(home.run(&["service", "stop"]).await.code, 0);
    assert_eq!(home.run(&["service", "start"]).await.code, 0);
    assert_eq!(
        home.asked(),
        ["systemctl --user stop offshoot.service", "systemctl --user start offshoot.service"]
    );
    let ran = home.run(&["service", "status"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("offshoot  active (running), pid 4121, enabled, lingering on\n"), "{ran:?}");
    home.write("state", "ActiveState=failed\nSubState=failed\nMainPID=0\nUnitFileState=enabled\n");
    let ran = home.run(&["service", "status", "--json"]).await;
    let state: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &state["running"], &state["pid"]), (1, &false.into(), &Value::Null), "{ran:?}");
    let ran = home.run(&["service", "logs", "-n", "7"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "the log\n"));
    assert!(
        home.asked()
            .iter()
            .any(|call| call.contains("--unit offshoot.service") && call.contains("--lines 7"))
    );
    home.program("systemctl", "echo 'Failed to connect to bus: No medium found' >&2; exit 1");
    let ran = home.run(&["service", "start"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("export XDG_RUNTIME_DIR=/run/user/$(id -u)"), "{ran:?}");
}

#[tokio::test]
async fn lingering_that_is_refused_leaves_nothing_and_a_start_that_fails_says_what_is_there() {
    let home = Home::new();
    assert_eq!(home.run(&["init"]).await.code, 0);
    let before = home.files();
    home.program("loginctl", "[ \"$1\" = show-user ] && echo no && exit; echo 'Access denied' >&2; exit 1");
    let ran = home.run(&["service", "install"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("sudo loginctl enable-linger") && !ran.err.contains("uninstall"), "{ran:?}");
    home.asked();
    assert_eq!(home.files(), before);
    home.program("loginctl", "[ \"$1\" = show-user ] && echo yes; true");
    home.program("systemctl", "[ \"$2\" != enable ]");
    let ran = home.run(&["service", "install"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(home.path(UNIT).exists() && ran.err.contains("offshoot service uninstall"), "{ran:?}");
    assert!(!home.read(UNIT).contains("Lingering was turned on"), "somebody else has turned it on");
    let ran = home.run(&["service", "install"]).await;
    assert!(ran.code == 1 && !ran.err.contains("uninstall"), "this time it was there before: {ran:?}");
    home.asked();
    assert_eq!(home.run(&["service", "uninstall"]).await.code, 0);
    assert!(home.asked().iter().all(|call| !call.contains("linger")));
}

#[tokio::test]
async fn a_service_reads_the_configuration_that_was_looked_at_and_no_other() {
    let home = Home::new();
    let told =
        |ran: &Ran| ran.out.lines().find(|line| line.trim().starts_with("ExecStart=")).map(str::to_owned);
    let elsewhere = home.path("elsewhere/my.toml");
    let mut init = home.command(&["init"]);
    init.env("OFFSHOOT_CONFIG", &elsewhere);
    assert_eq!(finish(init, "").await.code, 0);
    let mut install = home.command(&["service", "install", "--print"]);
    install.env("OFFSHOOT_CONFIG", &elsewhere);
    let ran = finish(install, "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = told(&ran).unwrap();
    assert!(line.ends_with(&format!(" serve --config {}", elsewhere.display())), "{line}");
    // without that variable there is nothing that it could start with
    assert_eq!(home.run(&["service", "install", "--print"]).await.code, 78);

    // once it is installed, the next shell goes on with what that one has named
    let mut install = home.command(&["service", "install"]);
    install.env("OFFSHOOT_CONFIG", &elsewhere);
    assert_eq!(finish(install, "").await.code, 0);
    let unit = home.read(UNIT);
    let ran = home.run(&["service", "install"]).await;
    assert_eq!((ran.code, home.read(UNIT)), (0, unit), "{ran:?}");
    assert!(
        ran.err.contains(&format!("as it was installed: serve --config {}\n", elsewhere.display())),
        "{ran:?}"
    );
    let text = std::fs::read_to_string(&elsewhere).unwrap();
    std::fs::write(&elsewhere, text.replace("port = 3456", "port = 9")).unwrap();
    let ran = home.run(&["service", "status"]).await;
    assert!(
        ran.code == 0 && ran.out.contains("\n  cannot reach offshoot at http://127.0.0.1:9 ("),
        "{ran:?}"
    );
    // and with the usual one when that is named
    assert_eq!(home.run(&["init"]).await.code, 0);
    let usual = home.path(".config/offshoot/config.toml").display().to_string();
    assert_eq!(home.run(&["service", "install", "--config", &usual]).await.code, 0);
    assert!(home.read(UNIT).contains(" serve\n"), "{}", home.read(UNIT));
    assert_eq!(home.run(&["service", "uninstall"]).await.code, 0);
    std::fs::remove_dir_all(home.path(".config")).unwrap();

    // the places of this shell are not those of the service, which knows its home directory alone
    let mut init = home.command(&["init"]);
    init.env("XDG_CONFIG_HOME", home.path("xdg"));
    assert_eq!(finish(init, "").await.code, 0);
    let mut install = home.command(&["service", "install"]);
    install.env("XDG_CONFIG_HOME", home.path("xdg")).env("XDG_DATA_HOME", home.path("data"));
    let ran = finish(install, "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let file = home.path("xdg/offshoot/config.toml");
    let line = format!(" serve --config {}\n", file.display());
    assert!(
        home.read(UNIT).contains(&line),
        "below the home directory, and with the file: {}",
        home.read(UNIT)
    );
    assert!(!home.path("xdg/systemd").exists());
}

#[tokio::test]
async fn a_directory_that_a_unit_cannot_name_is_left_out_of_its_path() {
    let home = Home::new();
    assert_eq!(home.run(&["init"]).await.code, 0);
    home.program("codex", "true");
    home.write("my programs/claude", "#!/bin/sh\n");
    std::fs::set_permissions(home.path("my programs/claude"), PermissionsExt::from_mode(0o755)).unwrap();
    let mut install = home.command(&["service", "install"]);
    let path = format!("{}:{}:/usr/bin:/bin", home.path("my programs").display(), home.path("bin").display());
    install.env("PATH", path);
    let ran = finish(install, "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.err.contains("warning: PATH of the service cannot name") && ran.err.contains("my programs"),
        "{ran:?}"
    );
    let dir = home.path("bin").display().to_string();
    assert!(
        home.read(UNIT).contains(&format!("\nEnvironment=PATH={dir}:%h/.local/bin:")),
        "{}",
        home.read(UNIT)
    );
}

#[tokio::test]
async fn what_is_told_to_programs_is_one_value_each_time() {
    let home = Home::new();
    let value = |ran: &Ran| -> Value {
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    };
    let ran = home.run(&["init", "--service", "--json"]).await;
    let told = value(&ran);
    assert_eq!((ran.code, &told["installed"], &told["port"]), (0, &true.into(), &3456.into()), "{ran:?}");
    assert!(
        told["written"].as_array().unwrap().len() == 2 && told["file"].as_str().unwrap().ends_with(UNIT),
        "{told}"
    );
    let ran = home.run(&["service", "stop", "--json"]).await;
    assert_eq!((ran.code, value(&ran)), (0, serde_json::json!({ "running": false })));
    let ran = home.run(&["service", "start", "--json"]).await;
    assert_eq!((ran.code, value(&ran)), (0, serde_json::json!({ "running": true })));
    let ran = home.run(&["service", "logs", "--json"]).await;
    assert_eq!((ran.code, value(&ran)["code"].as_str()), (2, Some("usage")));
}

#[tokio::test]
async fn an_init_whose_service_fails_says_that_the_configuration_is_there() {
    for json in [&["--json"][..], &[]] {
        let home = Home::new();
        home.program("systemctl", "[ \"$2\" != enable ]");
        let ran = home.run(&[&["init", "--service"], json].concat()).await;
        let config = home.path(".config/offshoot/config.toml");
        let written = format!("is written, and stays: {}", home.path(".config/offshoot/secret").display());
        let told = match json.is_empty() {
            true => ran.err.clone(),
            false => serde_json::from_str::<Value>(&ran.out).unwrap()["detail"].as_str().unwrap().to_owned(),
        };
        assert!(ran.code == 1 && config.exists(), "{ran:?}");
        assert!(told.contains(&written) && told.contains(&config.display().to_string()), "{ran:?}");
        assert!(!json.is_empty() || ran.err.contains("once that is mended:"), "{ran:?}");
    }
}

/// What is told to be typed is about the configuration that was written, and not about the one that is in the usual place.
#[tokio::test]
async fn an_init_for_another_configuration_names_it_in_what_is_to_be_typed() {
    let home = Home::new();
    assert_eq!(home.run(&["init"]).await.code, 0);
    let config = home.path("elsewhere/my.toml").display().to_string();
    home.program("loginctl", "[ \"$1\" = show-user ] && echo no && exit; exit 1");
    let ran = home.run(&["init", "--service", "--config", &config]).await;
    assert!(ran.code == 1 && !home.path(UNIT).exists(), "{ran:?}");
    let told = ran.err.lines().find_map(|line| line.split_once("once that is mended:")).unwrap().1;
    home.program("loginctl", "[ \"$1\" = show-user ] && echo yes; true");
    let path = format!("PATH={}:$PATH", home.path("bin").display());
    let offshoot = told.trim().replacen("offshoot", env!("CARGO_BIN_EXE_offshoot"), 1);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{path} {offshoot}")]).env_clear().env("HOME", home.path(""));
    shell.env("PATH", "/usr/bin:/bin").env("USER", "u").kill_on_drop(true);
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let ran = finish(shell, "").await;
    let unit = home.read(UNIT);
    let starts = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap_or_default();
    assert!(ran.code == 0 && starts.contains(&config), "{told}: {ran:?} {unit}");

    let again = home.run(&["init", "--config", &config]).await;
    let ran = home.run(&["init", "--config", home.path("a.toml").to_str().unwrap()]).await;
    assert!(again.err.contains(&format!("offshoot config show --origin --config {config}")), "{again:?}");
    let serve = format!("offshoot serve --config {}\n", home.path("a.toml").display());
    assert!(ran.code == 0 && ran.err.ends_with(&serve), "{ran:?}");
}

#[tokio::test]
async fn the_status_is_of_the_service_and_says_why_nobody_answers() {
    let home = Home::new();
    // a port that nobody listens at
    assert_eq!(home.run(&["init", "--port", "9"]).await.code, 0);
    assert_eq!(home.run(&["service", "install"]).await.code, 0);
    let other = Fake::start(|_, _| Answer::text(200, "nothing")).await;
    let mut status = home.command(&["service", "status"]);
    status.env("OFFSHOOT_URL", &other.url);
    let ran = finish(status, "").await;
    assert_eq!(ran.code, 0, "systemd says that it runs: {ran:?}");
    assert!(ran.out.contains("\n  cannot reach offshoot at http://127.0.0.1:9 ("), "{ran:?}");
    assert_eq!(other.seen().len(), 0, "what the shell names is another server");
    let ran = home.run(&["service", "status", "--json"]).await;
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(told["silence"].as_str().unwrap().contains("127.0.0.1:9") && told["url"].is_null(), "{told}");
}

/// What is not said by flags is asked for, three questions at most, and a wrong answer is asked for again.
#[tokio::test]
async fn init_asks_on_a_terminal_and_not_for_what_is_said() {
    if !has_python() {
        return leave_out(Need::Python, "the questions of `offshoot init`");
    }
    let asked = async |flags: &[&str], answers: &str| {
        let home = Home::new();
        let mut terminal = Command::new("python3");
        terminal.args(["-c", IN_A_TERMINAL, env!("CARGO_BIN_EXE_offshoot"), "init"]).args(flags);
        terminal.env_clear().env("HOME", home.0.path()).env("TERM", "dumb").kill_on_drop(true);
        terminal.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", home.path("bin").display()));
        terminal.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let ran = finish(terminal, answers).await;
        let config = home.read(".config/offshoot/config.toml");
        (home, ran, config)
    };
    let (home, ran, config) = asked(&[], "nowhere\nnone\nmany\n4711\n\n").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let count = |ran: &Ran, question: &str| ran.out.matches(question).count();
    let questions = ["Where does the GitHub token come from", "On which port", "as a service of yours?"];
    assert_eq!(questions.map(|question| count(&ran, question)), [2, 2, 1], "{ran:?}");
    assert!(config.contains("port = 4711") && config.contains("publish = \"branch\""), "{config}");
    assert!(!home.path(UNIT).exists() && home.asked().is_empty(), "the usual answer is no");

    let (home, ran, config) = asked(&["--token", "gh", "--port", "4712"], "y\n").await;
    assert_eq!(questions.map(|question| count(&ran, question)), [0, 0, 1], "{ran:?}");
    assert!(config.contains("port = 4712"), "{config}");
    assert!(home.path(UNIT).exists(), "{ran:?}");

    // whoever says yes to all is not asked
    let (_, ran, config) = asked(&["--yes"], "").await;
    assert_eq!((ran.code, questions.map(|question| count(&ran, question))), (0, [0; 3]), "{ran:?}");
    assert!(config.contains("port = 3456"), "{config}");
}
