//! What a server finds of itself, in bounded time.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;

use super::{Patient, ServerLook, examine, examine_server};
use crate::clock::Clock;
use crate::config::{Config, Environment, Flags};
use crate::wire::doctor::{Finding, Report, Verdict};
use crate::wire::health::Health;

const DEADLINE: Duration = Duration::from_secs(5);

/// A home directory in which `program` is what claude is, and a second agent is another.
struct Machine {
    home: tempfile::TempDir,
    env: Environment,
}

impl Machine {
    fn new(claude: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let place = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        for (name, script) in [("claude", claude), ("mine", "exit 0")] {
            std::fs::write(place(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(place(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let config = format!("[agents.mine]\nkind = \"command\"\ncommand = \"{}\"\n", place("mine"));
        std::fs::write(place("config.toml"), config).unwrap();
        let env = Environment::from_pairs([
            ("HOME", place("")),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("AGENT_API_SECRET", "0123456789abcdef0123456789abcdef".to_owned()),
            ("OFFSHOOT_AGENTS_CLAUDE_COMMAND", place("claude")),
        ]);
        Self { home, env }
    }

    fn patient(&self, server: ServerLook) -> Patient<'_> {
        let file = self.home.path().join("config.toml");
        Patient {
            env: &self.env,
            config: Config::load(&Flags::default(), &self.env, Some(&file)),
            config_file: Some(file),
            server,
            within: Some(DEADLINE),
            service: None,
            clock: Clock::system(),
            online: false,
        }
    }
}

fn of<'r>(report: &'r Report, check: &str) -> Vec<&'r Finding> {
    report.checks.iter().filter(|one| one.check == check).collect()
}

#[tokio::test]
async fn what_hangs_is_said_and_the_rest_goes_on() {
    let machine = Machine::new("sleep 600");
    let patient = machine.patient(ServerLook::NotAsked { why: "nobody is asked here".to_owned() });
    let report = examine_server(&patient).await;
    let agents = of(&report, "agents");
    let verdicts: Vec<_> = agents.iter().map(|one| (one.subject.as_deref(), one.verdict)).collect();
    assert_eq!(verdicts, [(Some("claude"), Verdict::Skipped), (Some("mine"), Verdict::Ok)], "{report:#?}");
    assert!(agents[0].detail.contains("not over within 5 s"), "{report:#?}");
    // nothing else, before it or behind it, has to be waited for
    for check in ["secret", "git", "isolation", "disk"] {
        let found = of(&report, check);
        assert!(!found.is_empty() && !found[0].detail.contains("not over"), "{check}: {report:#?}");
    }
    assert!(of(&report, "service").is_empty(), "a server is not told of that");
}

/// What the running server says of its agents is an older look of its own; with that only a shell compares.
#[tokio::test]
async fn a_server_that_looks_is_not_compared_with_itself() {
    let machine = Machine::new("exit 1");
    let before = json!({
        "status": "ok", "version": env!("CARGO_PKG_VERSION"), "uptimeSeconds": 1, "paused": false,
        "queue": {"running": 0, "queued": 0, "maxConcurrent": 1},
        "claude": {"authenticated": false, "version": null},
        "agents": [{"name": "mine", "kind": "command", "installed": false, "version": null,
            "authenticated": null, "checkedAt": "2026-01-01T00:00:00Z"}],
        "holds": [], "disk": {"freeBytes": 1, "floorBytes": 1},
        "callbacks": {"pending": 0, "dead": 0}, "isolation": "none", "database": "ok"
    });
    let health: Box<Health> = Box::new(serde_json::from_value(before).unwrap());
    let server =
        ServerLook::Answers { url: "http://here".to_owned(), own: true, health, clients: Vec::new() };
    let mut patient = machine.patient(server);
    let mine = |report: &Report| of(report, "agents")[1].clone();
    let seen = mine(&examine_server(&patient).await);
    assert_eq!((seen.verdict, seen.code), (Verdict::Ok, None), "{seen:?}");
    patient.within = None;
    let seen = mine(&examine(&patient, |_| ()).await);
    assert!(seen.code == Some("other_agent_unusable") && seen.detail.contains("by hand"), "{seen:?}");
}
