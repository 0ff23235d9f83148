//! `offshoot doctor`: whole commands on machines that lack something, and the page of its codes.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use offshoot::doctor::{CHECKS, Fault};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::cli::{command, finish};
use crate::cli_fake::{Answer, Fake};
use crate::fake_github::{APP_ID, FakeGithub, INSTALLATION_ID, TOKEN};
use crate::openapi::assert_current;

const HEAD: &str = "\
# What the doctor looks at

`offshoot doctor` looks at this machine and at the running server, and says for each thing whether it is well, and if not, what to
type. It changes nothing, speaks to no other host unless told to (`--online`), and works without a server and with a configuration
that cannot be read. It exits with 0 when jobs can be done, also with warnings, and with 1 when something keeps them from it.
`--json` prints `{\"checks\": [{\"check\", \"subject\", \"verdict\", \"code\", \"detail\", \"mend\"}], \"problems\", \"warnings\"}`; a
verdict is `ok`, `skipped` (it could not be looked at, because of something else), `warn` or `fail`.
A server that `--url` or `OFFSHOOT_URL` names and that is not the one of this configuration is judged by what it says: what this machine
has is not compared with it.
The dashboard has a page of the same findings (System, Doctor) as the running server makes them in its own environment, without those about the
installed service.

This page is made from the tables in `src/doctor/` (`UPDATE_DOCS=1 cargo test --test it docs_`). A code never changes its name; a
word in capitals stands for what was found. On macOS the commands that install something are those of macOS.

";

#[test]
fn docs_doctor_is_current() {
    let mut page = HEAD.to_owned();
    for check in CHECKS {
        writeln!(page, "## {}\n\n{}\n", check.name, check.about).unwrap();
        let faults: Vec<_> = Fault::ALL.iter().filter(|fault| fault.check() == check.name).collect();
        assert!(!faults.is_empty(), "{} can find nothing", check.name);
        page.push_str("| code | verdict | what it means | what mends it |\n|---|---|---|---|\n");
        for fault in faults {
            let (code, verdict) = (fault.code(), fault.verdict().as_str());
            writeln!(page, "| `{code}` | {verdict} | {} | `{}` |", fault.means(), fault.mend()).unwrap();
        }
        page.push('\n');
    }
    let page = format!("{}\n", page.trim_end());
    assert_current("docs/doctor.md", &page);
    let known: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
    let lost: Vec<_> = Fault::ALL.iter().filter(|fault| !known.contains(&fault.check())).collect();
    assert!(lost.is_empty(), "nobody looks for {lost:?}");
}

/// A home directory, and programs that are the only ones in PATH.
struct Machine {
    home: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { home: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(machine.home.path().join("bin")).unwrap();
        machine
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let file = self.home.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"), 0o755);
    }

    fn configure(&self, text: &str) {
        self.write(".config/offshoot/config.toml", text, 0o600);
    }

    fn doctor(&self, arguments: &[&str]) -> Command {
        let mut doctor = command("", &[&["doctor"], arguments].concat());
        doctor.env_remove("OFFSHOOT_URL").env_remove("OFFSHOOT_TOKEN").env("HOME", self.home.path());
        doctor.env("PATH", self.path("bin")).env("USER", "ada");
        doctor
    }

    /// The exit code, and every finding.
    async fn examined(
        &self,
        change: impl for<'a> FnOnce(&'a mut Command) -> &'a mut Command,
    ) -> (i32, Vec<Value>) {
        let mut doctor = self.doctor(&["--json"]);
        change(&mut doctor);
        let ran = finish(doctor, "").await;
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        (ran.code, report["checks"].as_array().unwrap().clone())
    }
}

fn port_of(fake: &Fake) -> String {
    fake.url.rsplit(':').next().unwrap().to_owned()
}

/// Codes with the commands that mend them.
fn faults(findings: &[Value]) -> Vec<(&str, &str)> {
    let bad = findings.iter().filter(|finding| !finding["code"].is_null());
    bad.map(|finding| (finding["code"].as_str().unwrap(), finding["mend"].as_str().unwrap())).collect()
}

fn mend<'a>(findings: &'a [Value], code: &str) -> Option<&'a str> {
    faults(findings).into_iter().find(|(found, _)| *found == code).map(|(_, mend)| mend)
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const GIT: &str = "echo git version 2.47.3";
const CLAUDE: &str =
    "case $1 in --version) echo '2.9.9 (Claude Code)';; *) echo '{\"loggedIn\": true}';; esac";

#[tokio::test]
async fn an_empty_machine_is_told_what_it_lacks_and_how_to_get_it() {
    let machine = Machine::new();
    let (code, found) = machine.examined(|doctor| doctor.env("PORT", "0")).await;
    assert_eq!(code, 1);
    assert_eq!(mend(&found, "secret_missing"), Some("offshoot init"), "{found:#?}");
    assert_eq!(mend(&found, "agent_missing"), Some("npm install -g @anthropic-ai/claude-code"));
    assert!(mend(&found, "git_missing").is_some() && mend(&found, "git_lfs_missing").is_some());
    assert!(mend(&found, "sandbox_missing").is_some() && mend(&found, "token_missing").is_some());
    assert!(!Path::new(&machine.path(".local")).exists(), "looking makes nothing");
}

#[tokio::test]
async fn a_machine_that_has_all_is_well_and_says_what_it_found() {
    let machine = Machine::new();
    machine.program("git", GIT);
    machine.program("git-lfs", "echo git-lfs/3.6.0");
    machine.program("claude", CLAUDE);
    machine.program("gh", "echo gho_token");
    machine.configure(&format!("[server]\nsecret = \"{SECRET}\"\n[defaults]\nisolation = \"none\"\n[callbacks]\nsecret = \"{SECRET}\"\n"));
    let health = health(&json!({ "isolation": "none" }));
    let fake = Fake::start(move |seen, _| match seen.line.as_str() {
        "GET /health" => Answer::json(200, &health),
        _ => Answer::json(200, &json!({ "clients": [] })),
    })
    .await;
    let mut doctor = machine.doctor(&[]);
    doctor.env("PORT", port_of(&fake));
    let ran = finish(doctor, "").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, "All is well.\n"), "{ran:?}");
    let shown =
        ran.out.replace(&fake.url, "http://SERVER").replace(machine.home.path().to_str().unwrap(), "/HOME");
    let shown: Vec<_> = shown.lines().filter(|line| !line.contains(" disk ")).collect();
    insta::assert_snapshot!(shown.join("\n"));
    assert_eq!(fake.seen()[0].header("authorization"), format!("Bearer {SECRET}"));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_told_and_the_rest_is_looked_at() {
    let machine = Machine::new();
    machine.program("git", "echo git version 2.20.1");
    machine.configure("[server]\nport = \"many\"\n");
    let ran = finish(machine.doctor(&[]), "").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let shown = ran.out.replace(machine.home.path().to_str().unwrap(), "/HOME");
    insta::assert_snapshot!(shown);
    let (code, found) = machine.examined(|doctor| doctor).await;
    assert_eq!(code, 1);
    assert_eq!(
        mend(&found, "config_broken"),
        Some(&*format!("${{EDITOR:-vi}} {}", machine.path(".config/offshoot/config.toml")))
    );
    assert!(mend(&found, "git_old").is_some());
}

#[tokio::test]
async fn secrets_that_are_weak_or_open_to_others_are_told() {
    let machine = Machine::new();
    let text = "[server]\nport = 0\nsecret = \"short\"\n";
    machine.write(".config/offshoot/config.toml", text, 0o644);
    let (code, found) = machine.examined(|doctor| doctor).await;
    let file = machine.path(".config/offshoot/config.toml");
    assert_eq!((code, mend(&found, "config_broken")), (1, Some(&*format!("chmod 600 {file}"))));
    machine.configure(text);
    let (_, found) = machine.examined(|doctor| doctor).await;
    assert!(mend(&found, "secret_weak").is_some(), "{found:#?}");
    let warned: Vec<_> = found.iter().filter(|finding| finding["code"] == "config_warning").collect();
    assert!(
        warned.iter().all(|finding| !finding["detail"].as_str().unwrap().contains("32 char")),
        "it is told once"
    );
    assert_eq!(mend(&found, "user_unknown"), None);
    let (_, found) = machine.examined(|doctor| doctor.env_remove("USER")).await;
    assert_eq!(mend(&found, "user_unknown"), Some("export USER=$(id -un)"));
    // where others reach it, it is not accepted at all: on a machine that lacks nothing else
    machine.program("git", GIT);
    machine.program("claude", CLAUDE);
    let (code, found) = machine.examined(|doctor| doctor).await;
    assert_eq!((code, mend(&found, "secret_weak").is_some()), (0, true), "{found:#?}");
    let (code, found) = machine.examined(|doctor| doctor.env("OFFSHOOT_SERVER_BIND", "0.0.0.0")).await;
    let refused = found.iter().find(|finding| finding["code"] == "secret_refused").unwrap();
    assert!(refused["detail"].as_str().unwrap().contains("others can reach"), "{refused}");
    assert_eq!((code, &refused["verdict"]), (1, &"fail".into()), "{found:#?}");
    // and what a server would warn of is told here too
    let told = |found: &[Value], words: &str| {
        found.iter().any(|finding| {
            finding["code"] == "config_warning" && finding["detail"].as_str().unwrap().contains(words)
        })
    };
    machine.configure(&format!("[server]\nport = 0\nsecret = \"{SECRET}\"\nbind = \"0.0.0.0\"\n"));
    let (code, found) = machine.examined(|doctor| doctor).await;
    assert!(told(&found, "callbacks are not signed") && told(&found, "TLS proxy"), "{found:#?}");
    assert_eq!(code, 0, "{found:#?}");
}

#[tokio::test]
async fn agents_that_only_the_configuration_names_are_no_problem_but_a_warning() {
    let machine = Machine::new();
    machine.program("git", GIT);
    machine.program("claude", CLAUDE);
    machine.configure(&format!(
        "[server]\nport = 0\nsecret = \"{SECRET}\"\n[agents.mine]\nkind = \"command\"\ncommand = \"/nowhere/mine\"\n"
    ));
    let (code, found) = machine.examined(|doctor| doctor).await;
    assert_eq!(code, 0, "{found:#?}");
    let edit = format!("${{EDITOR:-vi}} {}", machine.path(".config/offshoot/config.toml"));
    assert_eq!(mend(&found, "other_agent_unusable"), Some(&*edit), "what is installed may lie elsewhere");
    let (code, found) = machine.examined(|doctor| doctor.env("OFFSHOOT_DEFAULTS_AGENT", "mine")).await;
    assert_eq!((code, mend(&found, "agent_missing")), (1, Some(&*edit)));
    let (_, found) =
        machine.examined(|doctor| doctor.env("OFFSHOOT_AGENTS_CLAUDE_COMMAND", "/nowhere/claude")).await;
    let export = "export OFFSHOOT_AGENTS_CLAUDE_COMMAND=/path/of/program";
    assert_eq!(mend(&found, "agent_missing"), Some(export));
    // one that is there and does not say who it is
    machine.program("claude", "exit 1");
    let (code, found) = machine.examined(|doctor| doctor).await;
    assert_eq!((code, mend(&found, "agent_missing")), (1, Some("claude --version")));
    machine.program(
        "claude",
        "case $1 in --version) echo 2.9.9;; *) echo '{\"loggedIn\": false}'; exit 1;; esac",
    );
    let (code, found) = machine.examined(|doctor| doctor).await;
    assert_eq!((code, mend(&found, "agent_not_logged_in")), (1, Some("claude auth login")));
    let (code, found) = machine.examined(|doctor| doctor.env("OFFSHOOT_DEFAULTS_ISOLATION", "sandbox")).await;
    assert_eq!((code, mend(&found, "sandbox_demanded")), (1, Some("sudo apt install bubblewrap")));
}

#[tokio::test]
async fn what_keeps_the_server_from_working_is_told_with_what_to_type() {
    let machine = Machine::new();
    machine.program("claude", CLAUDE);
    machine.program("bwrap", "echo bubblewrap 0.8.0");
    machine.configure(&format!("[server]\nsecret = \"{SECRET}\"\n"));
    let health = health(&json!({
        "version": "0.0.1", "paused": true, "isolation": "none", "isolationDetail": "it did not work",
        "database": "read_only", "databaseGuide": "the database is damaged\n  restore it",
        "callbacks": { "pending": 0, "dead": 3 },
        "newestBackup": { "name": "daily-1.db", "kind": "daily", "bytes": 1, "createdAt": "2026-11-21T12:00:00.000Z" },
        "holds": [{ "login": "claude", "code": "usage_limit", "message": "used up",
                    "since": "2026-11-21T12:00:00.000Z", "until": null, "probe": null }],
        "agents": [{ "name": "claude", "kind": "claude", "installed": false, "version": null, "authenticated": null,
                     "checkedAt": "2026-11-21T12:00:00.000Z" }],
    }));
    let client = json!({
        "id": "client-ab12", "osClientId": null, "name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets",
        "defaultBranch": "main", "repoExists": true, "cloneUrl": null, "paused": true, "pausedReason": "repo_tampered",
        "options": {}, "createdAt": "2026-11-21T12:00:00.000Z", "updatedAt": "2026-11-21T12:00:00.000Z", "deletedAt": null,
    });
    let fake = Fake::start(move |seen, _| match seen.line.as_str() {
        "GET /health" => Answer::json(200, &health),
        _ => Answer::json(200, &json!({ "clients": [client] })),
    })
    .await;
    let (code, found) = machine.examined(|doctor| doctor.env("PORT", port_of(&fake))).await;
    assert_eq!(code, 1);
    assert_eq!(mend(&found, "queue_paused"), Some("offshoot queue resume"), "{found:#?}");
    assert_eq!(mend(&found, "login_held"), Some("offshoot queue try-now claude"));
    assert_eq!(mend(&found, "client_paused"), Some("offshoot client set client-ab12 --unpause"));
    assert_eq!(mend(&found, "callbacks_dead"), Some("offshoot webhook ls --state dead"));
    assert!(mend(&found, "other_version").is_some());
    assert_eq!(mend(&found, "database_read_only"), Some("offshoot restore daily-1.db"));
    assert_eq!(mend(&found, "server_misses_agent"), Some("offshoot serve"), "it was started by hand");
    if cfg!(target_os = "linux") {
        assert!(mend(&found, "sandbox_not_in_force").is_some());
    }
    // the same one as somebody else's: what this machine has is not compared with it
    let (_, found) = machine.examined(|doctor| doctor.env("OFFSHOOT_URL", &fake.url)).await;
    assert!(mend(&found, "queue_paused").is_some(), "{found:#?}");
    assert_eq!(
        (mend(&found, "server_misses_agent"), mend(&found, "sandbox_not_in_force")),
        (None, None),
        "{found:#?}"
    );
}

#[tokio::test]
async fn what_jobs_are_kept_in_is_said_by_the_server_and_without_one_as_it_will_be() {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let machine = Machine::new();
    machine.program("bwrap", "echo bubblewrap 0.8.0");
    machine.configure(&format!("[server]\nport = 0\nsecret = \"{SECRET}\"\n"));
    let health = health(&json!({ "isolation": "sandbox", "isolationDetail": "bubblewrap of the server" }));
    let fake = Fake::start(move |seen, _| match seen.line.as_str() {
        "GET /health" => Answer::json(200, &health),
        _ => Answer::json(200, &json!({ "clients": [] })),
    })
    .await;
    for (variable, value, expected) in [
        ("OFFSHOOT_URL", fake.url.as_str(), "sandbox, in force: bubblewrap of the server"),
        ("OFFSHOOT_DEFAULTS_ISOLATION", "auto", "sandbox, once the server runs: bubblewrap 0.8.0"),
        ("OFFSHOOT_DEFAULTS_ISOLATION", "none", "none, as defaults.isolation says"),
    ] {
        let (_, found) = machine.examined(|doctor| doctor.env(variable, value)).await;
        let one = found.iter().find(|finding| finding["check"] == "isolation").unwrap();
        let detail = one["detail"].as_str().unwrap();
        assert!(one["verdict"] == "ok" && detail.starts_with(expected), "{value}: {one:#}");
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_as_offshoot_is_told_apart() {
    let machine = Machine::new();
    machine.configure(&format!("[server]\nsecret = \"{SECRET}\"\n"));
    // somebody else's program, which answers nothing that we know
    let stranger = Fake::start(|_, _| Answer::text(200, "<html>")).await;
    let port = port_of(&stranger);
    let (code, found) = machine.examined(|doctor| doctor.env("PORT", &port)).await;
    let next = port.parse::<u16>().unwrap().saturating_add(1);
    assert_eq!((code, mend(&found, "port_taken")), (1, Some(&*format!("offshoot serve --port {next}"))));
    // named as a server elsewhere: what could be done here is not told
    let (code, found) = machine.examined(|doctor| doctor.env("OFFSHOOT_URL", &stranger.url)).await;
    let asked = format!("curl -sS {}/livez", stranger.url);
    assert_eq!((code, faults(&found).last()), (1, Some(&("named_server_away", &*asked))), "{found:#?}");
    // port 9 is the one where everything is discarded, and nobody does that any more
    let (code, found) = machine.examined(|doctor| doctor.env("OFFSHOOT_URL", "http://127.0.0.1:9")).await;
    let asked = "curl -sS http://127.0.0.1:9/livez";
    assert_eq!((code, faults(&found).last()), (1, Some(&("named_server_away", asked))), "{found:#?}");
    let refusing = Fake::start(|_, _| Answer::problem(401, "unauthorised", "no", json!({}))).await;
    let (code, found) = machine.examined(|doctor| doctor.env("OFFSHOOT_URL", &refusing.url)).await;
    assert_eq!((code, mend(&found, "server_refuses").is_some()), (1, true));
    let broken = Fake::start(|_, _| Answer::problem(500, "internal", "no", json!({}))).await;
    let (code, found) = machine.examined(|doctor| doctor.env("OFFSHOOT_URL", &broken.url)).await;
    assert_eq!((code, mend(&found, "server_silent").is_some()), (1, true));
}

/// Another command for a server that was started by hand, for a service that would find it, and for one that would not.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_the_server_lacks_is_mended_where_it_comes_from() {
    const UNIT: &str = ".config/systemd/user/offshoot.service";
    let machine = Machine::new();
    machine.program("claude", CLAUDE);
    machine.configure(&format!("[server]\nsecret = \"{SECRET}\"\n"));
    let (anew, login) = (
        "offshoot service stop && offshoot service start",
        "${EDITOR:-vi} ~/.config/offshoot/env && offshoot service stop && offshoot service start",
    );
    let rows = [
        (false, None, "server_misses_agent", "offshoot serve"),
        (false, Some("/nowhere"), "server_misses_agent", "offshoot service install"),
        (false, Some("%h/bin"), "server_misses_agent", anew),
        (true, None, "server_not_logged_in", "offshoot serve"),
        (true, Some("%h/bin"), "server_not_logged_in", login),
    ];
    for (installed, path, code, command) in rows {
        let health = health(&json!({ "agents": [{
            "name": "claude", "kind": "claude", "installed": installed, "version": null,
            "authenticated": installed.then_some(false), "checkedAt": "2026-11-21T12:00:00.000Z",
        }] }));
        let fake = Fake::start(move |seen, _| match seen.line.as_str() {
            "GET /health" => Answer::json(200, &health),
            _ => Answer::json(200, &json!({ "clients": [] })),
        })
        .await;
        let _ = std::fs::remove_file(machine.path(UNIT));
        if let Some(path) = path {
            let unit = format!("[Service]\nEnvironment=PATH={path}\nExecStart=/bin/true serve\n");
            machine.write(UNIT, &unit, 0o644);
        }
        let (_, found) = machine.examined(|doctor| doctor.env("PORT", port_of(&fake))).await;
        assert_eq!(mend(&found, code), Some(command), "{installed} {path:?}: {found:#?}");
    }
}

/// The unit as it stands on the disk decides, not what this shell finds.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_environment_of_the_installed_service_is_looked_at() {
    const UNIT: &str = ".config/systemd/user/offshoot.service";
    let machine = Machine::new();
    machine.program("git", GIT);
    machine.program("claude", CLAUDE);
    machine.program("loginctl", "[ \"$1 $3\" = 'show-user --property=Linger' ] && echo no");
    machine.configure(&format!(
        "[server]\nport = 0\nsecret = \"{SECRET}\"\n[agents.mine]\nkind = \"command\"\ncommand = \"my-agent\"\n"
    ));
    machine.program("my-agent", "true");
    let unit = |path: &str| {
        machine.write(
            UNIT,
            &format!("[Service]\nEnvironment=PATH={path}\nExecStart=/bin/true serve\n"),
            0o644,
        );
    };
    let (_, found) = machine.examined(|doctor| doctor).await;
    let service = |found: &[Value]| {
        let all = found.iter().filter(|finding| finding["check"] == "service");
        let codes = all.map(|one| json!([one["subject"], one["code"], one["mend"]]));
        codes.collect::<Vec<_>>()
    };
    assert_eq!(service(&found), [json!([null, null, null])], "none is installed");
    // this shell finds all three, and the service none
    unit("%h/elsewhere:/nowhere");
    let (code, found) = machine.examined(|doctor| doctor).await;
    let (again, linger) = ("offshoot service install", "loginctl enable-linger");
    let expected = [
        json!(["git", "service_lacks_program", again]),
        json!(["claude", "service_lacks_program", again]),
        json!(["mine", "service_lacks_other", again]),
        json!([null, "lingering_off", linger]),
    ];
    assert_eq!((code, service(&found)), (1, expected.to_vec()), "{found:#?}");
    unit("/nowhere:%h/bin");
    machine.program("loginctl", "echo yes");
    let (code, found) = machine.examined(|doctor| doctor).await;
    assert_eq!((code, service(&found)), (0, vec![json!([null, null, null])]), "{found:#?}");
}

#[tokio::test]
async fn github_is_asked_only_when_somebody_says_so() {
    let machine = Machine::new();
    let github = FakeGithub::start().await;
    let configure = |token: &str, api_url: &str| {
        machine.configure(&format!(
            "[server]\nport = 0\nsecret = \"{SECRET}\"\n[github]\ntoken = \"{token}\"\napi_url = \"{api_url}\"\n"
        ));
    };
    configure(TOKEN, &github.api_url);
    let found = |findings: &[Value]| {
        let github = findings.iter().find(|finding| finding["check"] == "github").unwrap();
        (github["code"].as_str().map(str::to_owned), github["detail"].as_str().unwrap().to_owned())
    };
    let (_, quiet) = machine.examined(|doctor| doctor).await;
    assert!(found(&quiet).1.contains("not tried"), "{quiet:#?}");
    let (_, asked) = machine.examined(|doctor| doctor.arg("--online")).await;
    assert!(found(&asked).0.is_none() && found(&asked).1.contains("is accepted"), "{asked:#?}");
    configure("ghp_wrong", &github.api_url);
    let (_, asked) = machine.examined(|doctor| doctor.arg("--online")).await;
    assert_eq!(found(&asked).0.as_deref(), Some("token_refused"));
    let file = machine.home.path().join("app.pem");
    let app = |key: &str, installation: u64| {
        std::fs::write(&file, key).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        machine.configure(&format!(
            "[server]\nport = 0\nsecret = \"{SECRET}\"\n[github]\napp_id = {APP_ID}\napp_key_file = \"{}\"\n\
             app_installation_id = {installation}\napi_url = \"{}\"\n",
            file.display(),
            github.api_url
        ));
    };
    let key = include_str!("forge_app_key_pkcs8.pem");
    app(key, INSTALLATION_ID);
    let (_, quiet) = machine.examined(|doctor| doctor).await;
    assert!(found(&quiet).1.contains("not tried"), "{quiet:#?}");
    let (_, asked) = machine.examined(|doctor| doctor.arg("--online")).await;
    assert!(found(&asked).0.is_none() && found(&asked).1.contains("is accepted"), "{asked:#?}");
    for (key, installation) in [(key, INSTALLATION_ID + 1), (&key.replace("MII", "AAA"), INSTALLATION_ID)] {
        app(key, installation);
        let (_, asked) = machine.examined(|doctor| doctor.arg("--online")).await;
        assert_eq!(found(&asked).0.as_deref(), Some("app_refused"), "{asked:#?}");
    }
    configure(TOKEN, "http://127.0.0.1:9");
    let (_, asked) = machine.examined(|doctor| doctor.arg("--online")).await;
    assert_eq!(found(&asked).0.as_deref(), Some("forge_unreachable"));
}

/// The answer of a server that is well, some members changed.
fn health(changes: &Value) -> Value {
    let mut health = json!({
        "status": "ok", "version": env!("CARGO_PKG_VERSION"), "uptimeSeconds": 5,
        "queue": { "running": 1, "queued": 2, "maxConcurrent": 2 }, "paused": false,
        "claude": { "authenticated": true, "version": "2.9.9" }, "agents": [], "holds": [],
        "disk": { "freeBytes": 1_000_000_000_000_u64, "floorBytes": 1 }, "callbacks": { "pending": 0, "dead": 0 },
        "isolation": "sandbox", "isolationDetail": "bubblewrap", "database": "ok", "databaseGuide": null, "newestBackup": null,
    });
    health.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    health
}
