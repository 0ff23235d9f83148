//! `offshoot open`: a link, and who is given it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::cli::{command, finish, run};
use crate::cli_fake::{Answer, Fake, job};

async fn fake() -> Fake {
    Fake::start(|seen, _| match seen.line.as_str() {
        "POST /passes" => {
            Answer::json(201, &json!({"path": "/ui/enter/abc", "expiresAt": "2026-11-21T12:01:00.000Z"}))
        }
        _ => Answer::json(200, &job(&json!({}))),
    })
    .await
}

#[tokio::test]
async fn without_a_desktop_the_link_is_printed_and_nothing_else() {
    let fake = fake().await;
    for arguments in [&["open"][..], &["open", "--print"]] {
        let ran = run(&fake, arguments).await;
        assert_eq!((ran.code, ran.out), (0, format!("{}/ui/enter/abc\n", fake.url)), "{arguments:?}");
        assert_eq!(ran.err, "  it works once, within a minute\n");
    }
    let ran = run(&fake, &["open", "142"]).await;
    assert_eq!(ran.out, format!("{}/ui/enter/abc?next=/ui/jobs/142\n", fake.url));
    let ran = run(&fake, &["open", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown["path"], format!("{}/ui/enter/abc", fake.url));
}

/// A stand-in for the opener writes down what it was given.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn on_a_desktop_the_browser_is_given_the_link_and_the_terminal_is_not() {
    let (fake, dir) = (fake().await, tempfile::tempdir().unwrap());
    let (opener, note) = (dir.path().join("xdg-open"), dir.path().join("note"));
    let open = async |ends_with: u8| {
        let script = format!("#!/bin/sh\necho \"$#\" \"$1\" > {}\nexit {ends_with}\n", note.display());
        std::fs::write(&opener, script).unwrap();
        std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = command(&fake.url, &["open"]);
        command.env("PATH", dir.path()).env("DISPLAY", ":0");
        finish(command, "").await
    };
    let link = format!("{}/ui/enter/abc\n", fake.url);
    let ran = open(0).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert!(ran.err.starts_with("Opened the dashboard of ") && !ran.err.contains("abc"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&note).unwrap(), format!("1 {link}"));
    let ran = open(3).await;
    assert_eq!((ran.code, ran.out), (0, link), "there is no browser after all");
}
