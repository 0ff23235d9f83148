//! `offshoot init`: whole commands in a home directory of their own.

#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;

use crate::cli::finish;
use crate::service::Home;

const CONFIG: &str = ".config/offshoot/config.toml";

#[tokio::test]
async fn init_writes_a_configuration_that_serves_and_never_a_second_one() {
    let home = Home::new();
    let ran = home.run(&["init", "--token", "none", "--port", "4567"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let mode = |name: &str| home.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".config/offshoot/config.toml"), 0o600);
    assert_eq!(mode(".config/offshoot/secret"), 0o600);
    let secret = home.read(".config/offshoot/secret");
    assert!(secret.trim().len() >= 32);
    assert!(!ran.out.contains(secret.trim()) && !ran.err.contains(secret.trim()), "it is not shown");
    assert!(ran.err.ends_with("start the server:     offshoot serve\n"), "{ran:?}");
    let shown = home.run(&["config", "show"]).await;
    assert!(
        shown.out.lines().any(|line| line.starts_with("server.port ") && line.ends_with("4567")),
        "{shown:?}"
    );
    assert!(shown.out.lines().any(|line| line.starts_with("defaults.publish ") && line.contains("branch")));

    let config = home.read(".config/offshoot/config.toml");
    let again = home.run(&["init"]).await;
    assert_eq!(again.code, 6, "{again:?}");
    assert_eq!(home.read(".config/offshoot/config.toml"), config);
    assert_eq!(home.read(".config/offshoot/secret"), secret);
    // a secret that is there already is taken over
    std::fs::remove_file(home.path(".config/offshoot/config.toml")).unwrap();
    assert_eq!(home.run(&["init"]).await.code, 0);
    assert_eq!(home.read(".config/offshoot/secret"), secret);
}

#[tokio::test]
async fn an_init_that_fails_leaves_nothing_and_the_next_one_goes_on() {
    let home = Home::new();
    let before = home.files();
    // a name that is not absolute is one of the directory that the command runs in
    let mut named = home.command(&["init", "--config", "my.toml"]);
    named.current_dir(home.path(""));
    let ran = finish(named, "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(home.read("my.toml").contains(&format!("secret_file = \"{}\"", home.path("secret").display())));
    std::fs::remove_file(home.path("my.toml")).unwrap();
    std::fs::remove_file(home.path("secret")).unwrap();

    let mut typo = home.command(&["init"]);
    typo.env("OFFSHOOT_SERVER_PROT", "1");
    let ran = finish(typo, "").await;
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.err.contains("nothing was written") && ran.err.contains("OFFSHOOT_SERVER_PROT"), "{ran:?}");
    // directories neither
    assert_eq!((home.files(), home.path(".config").exists()), (before.clone(), false));
    let mut typo = home.command(&["init", "--config", home.path("a/b/c/my.toml").to_str().unwrap()]);
    std::fs::create_dir(home.path("a")).unwrap();
    typo.env("OFFSHOOT_SERVER_PROT", "1");
    assert_eq!(finish(typo, "").await.code, 78);
    assert_eq!(home.path("a").read_dir().unwrap().count(), 0, "what was there before stays");

    // what somebody has made stays, whatever is wrong with it
    home.write(".config/offshoot/secret", "0123456789abcdef0123456789abcdef\n");
    std::fs::set_permissions(home.path(".config/offshoot/secret"), PermissionsExt::from_mode(0o644)).unwrap();
    let ran = finish(home.command(&["init"]), "").await;
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(ran.err.contains("chmod 600"), "{ran:?}");
    assert_eq!(home.files().len(), before.len() + 1, "{:?}", home.files());
    std::fs::set_permissions(home.path(".config/offshoot/secret"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(home.run(&["init", "--port", "0"]).await.code, 2);
    assert_eq!(home.run(&["init"]).await.code, 0);
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_not_taken_for_a_configuration_that_was_written() {
    let home = Home::new();
    home.write(".config/offshoot/other", "");
    std::os::unix::fs::symlink(home.path("nowhere"), home.path(CONFIG)).unwrap();
    let ran = home.run(&["init"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("ls -l "), "{ran:?}");
    assert!(!home.path(".config/offshoot/secret").exists());
}

#[tokio::test]
async fn a_place_with_a_blank_is_one_word_of_what_is_to_be_typed() {
    let home = Home::new();
    let place = |name: &str| home.path("my files").join(name).display().to_string();
    let config = place("my.toml");
    let edit = |name: &str| format!("${{EDITOR:-vi}} '{}'", place(name));
    let ran = home.run(&["init", "--token", "file", "--config", &config]).await;
    assert!(ran.code == 0 && ran.err.contains(&edit("github_token")), "{ran:?}");
    let ran = home.run(&["serve", "--port", "0", "--config", &config]).await;
    assert!(ran.code == 78 && ran.err.contains(&edit("github_token")), "{ran:?}");
    std::fs::set_permissions(place("secret"), PermissionsExt::from_mode(0o644)).unwrap();
    let ran = home.run(&["ls", "--config", &config]).await;
    assert!(ran.code == 77 && ran.err.contains(&format!("chmod 600 '{}'", place("secret"))), "{ran:?}");
    home.write("my files/my.toml", "[server]\nprot = 1\n");
    for verb in [&["ls"][..], &["service", "install"]] {
        let ran = home.run(&[verb, &["--config", &config]].concat()).await;
        assert!(ran.code == 78 && ran.err.contains(&edit("my.toml")), "{ran:?}");
    }
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(home.path("nowhere"), &config).unwrap();
    let ran = home.run(&["init", "--config", &config]).await;
    assert!(ran.code == 6 && ran.err.contains(&format!("ls -l '{config}'")), "{ran:?}");
}

#[tokio::test]
async fn a_token_that_is_still_to_come_is_none() {
    let home = Home::new();
    let ran = home.run(&["init", "--token", "file"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let token = home.path(".config/offshoot/github_token");
    assert_eq!(token.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let ran = home.run(&["serve", "--port", "0"]).await;
    assert_eq!(ran.code, 78, "{ran:?}");
    let mend = format!("${{EDITOR:-vi}} {}", token.display());
    assert!(ran.err.contains("github.token") && ran.err.contains(&mend), "{ran:?}");
    assert_eq!(home.run(&["service", "install"]).await.code, 78);
    let ran = home.run(&["doctor", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let found = report["checks"].as_array().unwrap().iter().find(|found| found["check"] == "github").unwrap();
    assert_eq!((ran.code, &found["code"], &found["mend"]), (1, &"token_placeholder".into(), &mend.into()));
    // once it is there all is well with it
    std::fs::write(&token, "ghp_0123456789\n").unwrap();
    assert_eq!(home.run(&["service", "install", "--print"]).await.code, 0);
}

#[tokio::test]
async fn a_configuration_without_a_secret_is_added_to_with_the_commands_that_are_told() {
    for (text, has_server) in
        [("[github]\nclone_url = \"/srv/{org}/{repo}\"\n", false), ("[server]\nport = 4567\n", true)]
    {
        let home = Home::new();
        home.write(CONFIG, text);
        let doctor = home.run(&["doctor", "--json"]).await;
        let report: serde_json::Value = serde_json::from_str(&doctor.out).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let found = checks.iter().find(|found| found["code"] == "secret_missing").unwrap();
        let mend = found["mend"].as_str().unwrap();
        let secret = home.path(".config/offshoot/secret");
        let commands: Vec<&str> =
            mend.split(" && ").filter(|part| part.contains(">>") || part.contains("EDITOR")).collect();
        for verb in [&["init"][..], &["service", "install"]] {
            let ran = home.run(verb).await;
            assert!(ran.code == 6 || ran.code == 78, "{ran:?}");
            assert!(ran.err.contains(commands[0]), "{verb:?} says the same: {ran:?}, {mend}");
            assert!(!ran.err.contains("write a configuration"), "{ran:?}");
        }
        if has_server {
            let line = format!("secret_file = \"{}\"", secret.display());
            assert!(found["detail"].as_str().unwrap().contains(&line), "{found}");
            continue;
        }
        // what is told does it, as it stands
        let mut shell = std::process::Command::new("/bin/sh");
        assert!(shell.arg("-c").arg(mend).status().unwrap().success(), "{mend}");
        let ran = home.run(&["service", "install", "--print"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(home.read(CONFIG), format!("{text}\n[server]\nsecret_file = \"{}\"\n", secret.display()));
    }
}
