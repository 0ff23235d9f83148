//! What the doctor tells people to type about the installed service mends it.

#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::cli::{Ran, finish};
use crate::service::{Home, UNIT};

const VARIABLES: &str = ".config/offshoot/env";

/// Runs in a shell that finds `tools` too.
async fn run(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.command(arguments);
    let (bin, tools) = (home.path("bin"), home.path("tools"));
    command.env("PATH", format!("{}:{}:/usr/bin:/bin", bin.display(), tools.display()));
    finish(command, "").await
}

/// What is wrong with the service: subjects, details and what to type.
async fn faults(home: &Home) -> Vec<(String, String, String)> {
    let ran = run(home, &["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let lacking = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["code"].as_str().is_some_and(|code| code.starts_with("service_lacks")));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lacking.map(|one| (text(&one["subject"]), text(&one["detail"]), text(&one["mend"]))).collect()
}

fn subjects(faults: &[(String, String, String)]) -> Vec<&str> {
    faults.iter().map(|(subject, ..)| subject.as_str()).collect()
}

#[tokio::test]
async fn programs_that_only_this_shell_finds_are_found_by_the_service_afterwards() {
    let home = Home::new();
    home.program("claude", "true");
    for (name, says) in [("git", "git version 2.47.0"), ("git-lfs", "git-lfs/3.0.0 (x)"), ("gh", "ghp_x")] {
        home.write(&format!("tools/{name}"), &format!("#!/bin/sh\necho '{says}'\n"));
        let file = home.path("tools").join(name);
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    assert_eq!(run(&home, &["init"]).await.code, 0);
    assert_eq!(run(&home, &["service", "install"]).await.code, 0);
    let installed = home.read(UNIT);
    let usual = installed.lines().find(|line| line.starts_with("Environment=PATH=")).unwrap();
    let tools = home.path("tools").display().to_string();
    assert!(usual.contains(&tools), "{usual}");
    assert_eq!(subjects(&faults(&home).await), [""; 0]);
    // as on a machine where nothing usual has them
    home.write(UNIT, &installed.replace(usual, "Environment=PATH=/nowhere"));
    let found = faults(&home).await;
    assert_eq!(subjects(&found), ["git", "git-lfs", "gh", "claude"], "{found:?}");
    assert!(found.iter().all(|(.., mend)| mend == "offshoot service install"), "{found:?}");
    assert_eq!(run(&home, &["service", "install"]).await.code, 0);
    assert_eq!((subjects(&faults(&home).await), home.read(UNIT)), (vec![], installed));
}

/// What stands in the file of variables wins over the unit, and `install` does not write that file.
#[tokio::test]
async fn a_path_among_the_variables_is_the_one_that_counts() {
    let home = Home::new();
    home.program("claude", "true");
    assert_eq!(run(&home, &["init"]).await.code, 0);
    assert_eq!(run(&home, &["service", "install"]).await.code, 0);
    home.write(VARIABLES, "# of mine\nPATH=/nowhere\n");
    let file = home.path(VARIABLES).display().to_string();
    let found = faults(&home).await;
    assert!(subjects(&found).contains(&"claude"), "{found:?}");
    let mend = format!("${{EDITOR:-vi}} {file} && offshoot service stop && offshoot service start");
    assert!(found.iter().all(|(_, detail, told)| detail.ends_with(&file) && *told == mend), "{found:?}");
    // the last of several counts, and quotes are none of it
    home.write(VARIABLES, &format!("PATH=/nowhere\nPATH=\"{}:/usr/bin:/bin\"\n", home.path("bin").display()));
    assert_eq!(subjects(&faults(&home).await), [""; 0]);
}

#[tokio::test]
async fn a_configuration_among_the_variables_is_the_one_that_is_read() {
    let home = Home::new();
    let other = home.path("other/my.toml").display().to_string();
    assert_eq!(run(&home, &["init", "--port", "9", "--config", &other]).await.code, 0);
    assert_eq!(run(&home, &["init"]).await.code, 0);
    home.write(VARIABLES, &format!("OFFSHOOT_CONFIG={other}\n"));
    assert_eq!(run(&home, &["service", "install"]).await.code, 0);
    let ran = run(&home, &["service", "status"]).await;
    assert!(ran.code == 0 && ran.out.contains("at http://127.0.0.1:9 ("), "{ran:?}");
}
