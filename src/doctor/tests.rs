//! What a server finds of itself, in bounded time.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::{Patient, ServerLook, examine_server};
use crate::clock::Clock;
use crate::config::{Config, Environment, Flags};
use crate::wire::doctor::Verdict;

#[tokio::test]
async fn what_hangs_is_said_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("agent");
    std::fs::write(&program, "#!/bin/sh\nsleep 600\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let env = Environment::from_pairs([
        ("HOME", text(dir.path())),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("AGENT_API_SECRET", "0123456789abcdef0123456789abcdef".to_owned()),
        ("OFFSHOOT_AGENTS_CLAUDE_COMMAND", text(&program)),
    ]);
    let patient = Patient {
        env: &env,
        config: Config::load(&Flags::default(), &env, None),
        config_file: None,
        server: ServerLook::NotAsked { why: "nobody is asked here".to_owned() },
        service: None,
        clock: Clock::system(),
        online: false,
    };
    let report = examine_server(&patient, Duration::from_secs(5)).await;
    let of = |name: &str| report.checks.iter().filter(|one| one.check == name).collect::<Vec<_>>();
    let agents = of("agents");
    assert_eq!((agents.len(), agents[0].verdict), (1, Verdict::Skipped), "{report:#?}");
    assert!(agents[0].detail.contains("not over within 5 s"), "{report:#?}");
    // before it, and behind it where nothing has to be waited for
    assert_eq!(of("secret")[0].verdict, Verdict::Ok, "{report:#?}");
    assert!(!of("disk").is_empty() && !of("disk")[0].detail.contains("not over"), "{report:#?}");
    assert!(of("service").is_empty(), "a server is not told of that");
}
