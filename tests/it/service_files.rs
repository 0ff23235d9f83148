//! The service files: accepted by the real tools, and right for agents that outlive a restart.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use plist::Value;

use crate::left_out::{Need, leave_out};

const UNIT: &str = include_str!("../../systemd/offshoot.service");
const HARDENED: &str = include_str!("../../systemd/offshoot.service.d/hardened.conf");
const PLIST: &str = include_str!("../../launchd/dev.offshoot.plist");

/// `drain_seconds` by default, and the time for writing down what was reached.
const STOP_SECONDS_MIN: u64 = 30 + 15;

/// The values of `key`, comments and sections aside.
fn settings<'text>(unit: &'text str, key: &str) -> Vec<&'text str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

#[test]
fn the_unit_lets_agents_outlive_it() {
    assert_eq!(settings(UNIT, "Type"), ["notify"]);
    assert_eq!(settings(UNIT, "KillMode"), ["mixed"]);
    assert_eq!(settings(UNIT, "OOMPolicy"), ["continue"]);
    assert_eq!(settings(UNIT, "WatchdogSec"), ["30"]);
    assert_eq!(settings(UNIT, "Restart"), ["on-failure"]);
    assert_eq!(settings(UNIT, "RestartPreventExitStatus"), ["75 77 78"]);
    assert!(settings(UNIT, "TimeoutStopSec")[0].parse::<u64>().unwrap() >= STOP_SECONDS_MIN);
    // Each of these reaches the agents, and breaks them or their sandbox.
    let breaking = [
        "Delegate",
        "PrivateTmp",
        "ProtectHome",
        "MemoryDenyWriteExecute",
        "ProcSubset",
        "ProtectProc",
        "ProtectKernelTunables",
        "ProtectKernelLogs",
        "PrivateDevices",
        // A user manager may not drop capabilities: the service would end with 218.
        "CapabilityBoundingSet",
        "AmbientCapabilities",
        "ProtectClock",
        "ProtectKernelModules",
    ];
    for key in breaking {
        assert!(settings(UNIT, key).is_empty() && settings(HARDENED, key).is_empty(), "{key}");
    }
    // These need a user namespace, in which ssh refuses its own configuration.
    for key in ["PrivateUsers", "PrivateMounts", "ProtectSystem", "ProtectControlGroups"] {
        assert!(settings(UNIT, key).is_empty(), "{key}");
    }
    let filter = settings(UNIT, "SystemCallFilter")[0];
    for word in ["@system-service", "@mount", "seccomp", "landlock_restrict_self"] {
        assert!(filter.split(' ').any(|known| known == word), "{word}");
    }
    assert_ne!(settings(UNIT, "RestrictNamespaces"), ["yes"]);
}

/// The unit as installed for a user: paths filled in, the drop-in merged when asked for. The analyser knows no user
/// manager and would take the service for one of root's, so what holds there by itself is written out: it runs as its
/// user, who has no capabilities and with them neither the clock nor kernel modules, and `NoNewPrivileges` keeps it from
/// gaining any. The unit must not say so itself, since a user manager fails on the attempt.
fn rendered(dir: &Path, hardened: bool) -> PathBuf {
    let mut text = UNIT
        .replace("%h/.local/bin/offshoot", env!("CARGO_BIN_EXE_offshoot"))
        .replace("%h", dir.to_str().unwrap());
    assert!(!text.contains('%'), "every specifier is filled in");
    let mut extra =
        String::from("User=somebody\nCapabilityBoundingSet=\nProtectClock=yes\nProtectKernelModules=yes\n");
    if hardened {
        let (_, section) = HARDENED.split_once("[Service]\n").unwrap();
        extra.push_str(section);
    }
    text = text.replace("[Install]", &format!("{extra}\n[Install]"));
    let file = dir.join("offshoot.service");
    std::fs::write(&file, text).unwrap();
    file
}

/// Runs the analyser with a runtime directory of its own; `None`, and a loud line, where there is none.
fn analyse(dir: &Path, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).env("XDG_RUNTIME_DIR", dir).env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            leave_out(Need::SystemdAnalyze, &format!("judging the unit ({error})"));
            None
        }
    }
}

#[test]
fn systemd_accepts_the_unit() {
    for hardened in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let file = rendered(dir.path(), hardened);
        let arguments = ["--user", "verify", file.to_str().unwrap()];
        let Some(output) = analyse(dir.path(), &arguments) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        // The analyser also reads the units that are installed here; only what it says about ours counts.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("offshoot")).collect();
        assert!(output.status.success() && ours.is_empty(), "{said}");
    }
}

#[test]
fn the_unit_is_as_closed_as_agents_allow() {
    // The first is as far as a user manager goes without a user namespace; the second is the aim for those who can.
    for (hardened, exposure_max) in [(false, 4.3), (true, 3.5)] {
        let dir = tempfile::tempdir().unwrap();
        let file = rendered(dir.path(), hardened);
        let Some(output) = analyse(dir.path(), &["security", "--offline=true", file.to_str().unwrap()])
        else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let Some((_, overall)) = said.split_once("Overall exposure level for offshoot.service: ") else {
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(why.contains("offline"), "no figure from the analyser: {said}{why}");
            leave_out(
                Need::SystemdAnalyze,
                &format!("judging the unit offline, which this one cannot: {why}"),
            );
            return;
        };
        let exposure: f64 = overall.split(' ').next().unwrap().parse().unwrap();
        println!("exposure of offshoot.service (hardened: {hardened}): {exposure}");
        assert!(exposure <= exposure_max, "{said}");
    }
}

#[test]
fn the_agent_plist_is_well_formed_and_lets_agents_outlive_it() {
    let text = PLIST.replace("@HOME@", "/Users/ada");
    let value: Value = plist::from_bytes(text.as_bytes()).unwrap();
    let plist = value.as_dictionary().unwrap();
    let integer = |key: &str| plist[key].as_unsigned_integer().unwrap();
    assert_eq!(plist["Label"].as_string(), Some("dev.offshoot"));
    let arguments: Vec<_> =
        plist["ProgramArguments"].as_array().unwrap().iter().map(|item| item.as_string().unwrap()).collect();
    assert_eq!(arguments, ["/Users/ada/.local/bin/offshoot", "serve"]);
    assert!(integer("ExitTimeOut") >= STOP_SECONDS_MIN);
    assert_eq!(plist["RunAtLoad"].as_boolean(), Some(true));
    let keep_alive = plist["KeepAlive"].as_dictionary().unwrap();
    assert_eq!(keep_alive["SuccessfulExit"].as_boolean(), Some(false));
    assert_eq!(plist["ProcessType"].as_string(), Some("Standard"));
    assert!(!plist.contains_key("AbandonProcessGroup"));
    let path = plist["EnvironmentVariables"].as_dictionary().unwrap()["PATH"].as_string().unwrap();
    assert!(path.split(':').all(|part| part.starts_with('/')), "{path}");
    assert!(path.contains("/opt/homebrew/bin") && path.ends_with("/usr/bin:/bin:/usr/sbin:/sbin"), "{path}");
    for key in ["StandardOutPath", "StandardErrorPath", "WorkingDirectory"] {
        assert!(plist[key].as_string().unwrap().starts_with("/Users/ada"), "{key}");
    }
    // launchd turns no file: the growing one is the server's own
    let own =
        plist["EnvironmentVariables"].as_dictionary().unwrap()["OFFSHOOT_LOG_FILE"].as_string().unwrap();
    assert!(own.starts_with("/Users/ada/") && own != plist["StandardErrorPath"].as_string().unwrap());
    for (key, _) in plist["EnvironmentVariables"].as_dictionary().unwrap() {
        assert!(!key.contains("SECRET") && !key.contains("TOKEN"), "anybody can read this file");
    }
}
