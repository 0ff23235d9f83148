//! What a job changed, on its page: every kind of change, and nothing that is too much for a page.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::ui_pages::{HOSTILE, assert_harmless, targets};
use super::{Bench, SECRET, git};
use crate::domain::attempt::Lease;
use crate::domain::job::Effects;
use crate::domain::token::Scope;

/// As `git fast-import` takes it: a path with its mode and what is in it; `None`: it is gone.
type File<'f> = (&'f str, &'f str, Option<Vec<u8>>);

fn file<'f>(path: &'f str, content: &str) -> File<'f> {
    (path, "100644", Some(content.as_bytes().to_vec()))
}

fn import(clone: &Path, commits: &[&[File<'_>]]) -> Vec<String> {
    let mut stream = Vec::new();
    for (number, files) in commits.iter().enumerate() {
        write!(stream, "commit refs/heads/made\nmark :{}\n", number + 1).unwrap();
        write!(stream, "committer t <t@example.org> {number} +0000\ndata 1\nx\n").unwrap();
        for (path, mode, content) in *files {
            match content {
                None => writeln!(stream, "D {path}").unwrap(),
                Some(content) => {
                    write!(stream, "M {mode} inline {path}\ndata {}\n", content.len()).unwrap();
                    stream.extend_from_slice(content);
                    stream.push(b'\n');
                }
            }
        }
    }
    let mut program = Command::new("git");
    program.current_dir(clone).args(["fast-import", "--quiet", "--force"]).stdin(Stdio::piped());
    let mut program = program.spawn().unwrap();
    program.stdin.take().unwrap().write_all(&stream).unwrap();
    assert!(program.wait().unwrap().success());
    let made = git(clone, &["rev-list", "--reverse", "refs/heads/made"]);
    git(clone, &["update-ref", "-d", "refs/heads/made"]);
    made.lines().map(str::to_owned).collect()
}

/// A running job whose result is the second of these commits, after the first.
async fn changed(bench: &Bench, before: &[File<'_>], after: &[File<'_>]) -> (PathBuf, Lease) {
    bench.publish("acme", "widgets");
    let client = json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"});
    let client = bench.post("/clients", &client).await.json();
    let body = json!({"clientId": client["id"], "prompt": "x", "branchName": "work"});
    assert_eq!(bench.post("/jobs", &body).await.status, 201);
    let lease = bench.store.claim().await.unwrap().unwrap().lease;
    let clone = PathBuf::from(client["bareRepoPath"].as_str().unwrap());
    let made = import(&clone, &[before, after]);
    let effects = Effects {
        base_sha: Some(made[0].clone()),
        head_sha: Some(made[1].clone()),
        files_changed: Some(1),
        insertions: Some(1),
        deletions: Some(0),
        ..Effects::default()
    };
    bench.store.record_effects(lease, effects).await.unwrap();
    (clone, lease)
}

fn numbered(lines: usize) -> String {
    (0..lines).map(|line| format!("line {line}\n")).collect()
}

#[tokio::test]
async fn every_kind_of_change_is_shown_and_does_nothing() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let before = [
        file("src/a.rs", "one\ntwo\nthree\n"),
        file("gone.txt", "bye\n"),
        file("old/name.txt", &numbered(30)),
        file("run.sh", "#!/bin/sh\n"),
        ("picture", "100644", Some(b"\0\x01".to_vec())),
    ];
    let after = [
        file("src/a.rs", "one\r\n2\nthree\nno end"),
        ("gone.txt", "", None),
        ("old/name.txt", "", None),
        file("new/name.txt", &numbered(30)),
        ("run.sh", "100755", Some(b"#!/bin/sh\n".to_vec())),
        ("picture", "100644", Some(b"\0\x02".to_vec())),
        file("<i>&\".txt", HOSTILE),
        file("Cargo.lock", "a lock\n"),
        ("latin", "100644", Some(b"caf\xe9\n".to_vec())),
    ];
    changed(&bench, &before, &after).await;
    let page = bench.page(&cookie, "/ui/jobs/1/changes").await;
    assert_eq!(page.status, 200);
    assert_harmless("changes", &page);
    let text = page.text();
    for words in [
        "8 files",
        "aria-label=\"added\"",
        "aria-label=\"deleted\"",
        "aria-label=\"renamed\"",
        "old/name.txt",
        "Moved, and not a line is different",
        "mode 100644 → 100755",
        "No text that could be compared",
        "the file does not end with a new line",
        "&lt;script&gt;alert(1)",
        "Written by a program: 1 line ",
        "caf\u{fffd}",
        "id=\"f7L2\"",
        "<td>2</td>",
        "<td>one␍</td>",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains("a lock"), "what is folded is not sent");
    // one file has an address, whatever it is called
    let addresses = targets(&text, "href");
    let alone: Vec<_> = addresses.iter().filter(|address| address.contains("?path=")).collect();
    assert_eq!(alone.len(), 8, "{alone:?}");
    for address in alone {
        let one = bench.page(&cookie, address).await;
        assert_eq!(one.status, 200, "{address}");
        assert_harmless(address, &one);
        assert_eq!(one.text().matches("<section class=\"file\"").count(), 1, "{address}");
    }
    let lock = bench.page(&cookie, "/ui/jobs/1/changes?path=Cargo.lock").await.text();
    assert!(lock.contains("a lock"), "{lock}");
    let odd = [
        ("?path=src", 404),
        ("?path=../x", 404),
        ("?path=a%00b", 404),
        ("?file=99", 404),
        ("?file=-1", 422),
        ("?line=x", 400),
    ];
    for (address, status) in odd {
        let page = bench.page(&cookie, &format!("/ui/jobs/1/changes{address}")).await;
        assert_eq!(page.status, status, "{address}");
    }
    assert!(bench.page(&cookie, "/ui/jobs/1").await.text().contains("/ui/jobs/1/changes"));
}

/// What is too much is folded, in pieces, and all of it can be reached.
#[tokio::test]
async fn a_large_lock_file_and_many_files_are_shown_a_page_at_a_time() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let lock: String = (0..100_000).map(|line| format!("  \"name-{line}\": \"{line:032}\",\n")).collect();
    assert!(lock.len() > 5_000_000);
    let names: Vec<_> = (0..120).map(|number| format!("many/{number:03}.txt")).collect();
    let mut after = vec![
        file("package-lock.json", &lock),
        file("long.txt", &numbered(401)),
        file("short.txt", &numbered(400)),
        ("wide.min.txt", "100644", Some(vec![b'x'; 3_000_000])),
    ];
    after.extend(names.iter().map(|name| file(name, &numbered(40))));
    changed(&bench, &[file("a", "b\n")], &after).await;
    let page = bench.page(&cookie, "/ui/jobs/1/changes").await.text();
    let size = |page: &str| page.len() / 1_024;
    assert!(size(&page) < 1_000, "{} KiB", size(&page));
    // the first fifty: among them the long one; what is beyond the bounds of a page has its address
    assert!(page.contains("Long: 401 lines") && page.contains("?file=50"), "{page}");
    let mut sections = 0;
    let mut address = Some("/ui/jobs/1/changes".to_owned());
    while let Some(here) = address {
        let page = bench.page(&cookie, &here).await.text();
        assert!(size(&page) < 1_000, "{here}: {} KiB", size(&page));
        sections += page.matches("<section class=\"file\"").count();
        assert!(page.matches("<tr class=\"added\"").count() <= 3_000);
        address = targets(&page, "href")
            .into_iter()
            .find(|href| href.contains("?file=") && page.contains("Next files"))
            .filter(|href| *href != here);
    }
    assert_eq!(sections, 124);
    let mut lines = 0;
    let mut pieces = 0;
    let mut address = Some("/ui/jobs/1/changes?path=package-lock.json".to_owned());
    while let Some(here) = address {
        // the first and the last few pieces say what all of them would
        if pieces == 3 {
            address = Some("/ui/jobs/1/changes?path=package-lock.json&line=96000".to_owned());
            (pieces, lines) = (pieces + 1, 96_000);
            continue;
        }
        let page = bench.page(&cookie, &here).await.text();
        assert!(size(&page) < 1_000, "{here}: {} KiB", size(&page));
        assert!(page.contains(&format!("name-{lines}&quot;")), "{here} begins with line {lines}");
        lines += page.matches("<tr class=\"added\"").count();
        pieces += 1;
        address = targets(&page, "href")
            .into_iter()
            .find(|href| href.ends_with(&format!("line={lines}")))
            .map(|href| href.replace("&amp;", "&"));
    }
    assert_eq!(lines, 100_000);
    let wide = bench.page(&cookie, "/ui/jobs/1/changes?path=wide.min.txt").await.text();
    assert!(wide.len() < 30_000 && wide.contains("2998000 bytes more"), "{}", wide.len());
}

#[tokio::test]
async fn a_page_of_changes_says_why_it_has_none() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    for repo in ["gears", "other"] {
        let body = json!({"githubOrg": "acme", "githubRepo": repo, "prompt": "x", "branchName": "b"});
        assert_eq!(bench.post("/jobs", &body).await.status, 201);
    }
    let page = bench.page(&cookie, "/ui/jobs/1/changes").await;
    assert!(page.text().contains("Nothing is committed yet") && page.status == 200, "{}", page.text());
    let client = bench.get("/jobs/2").await.json()["clientId"].as_str().unwrap().to_owned();
    let other = bench.signed_in(&bench.token(Scope::Operate, Some(&[&client])).await).await;
    assert_eq!(bench.page(&other, "/ui/jobs/1/changes").await.status, 404, "a job of others");
    assert_eq!(bench.post("/jobs/1/cancel", &json!({})).await.status, 200);
    assert!(
        bench
            .page(&cookie, "/ui/jobs/1/changes")
            .await
            .text()
            .contains("ended before anything was committed")
    );
}

#[tokio::test]
async fn a_result_whose_clone_is_gone_is_said_to_be_gone() {
    let bench = Bench::new().await;
    let cookie = bench.signed_in(SECRET).await;
    let (clone, _) = changed(&bench, &[file("a", "b\n")], &[file("a", "c\n")]).await;
    assert!(bench.page(&cookie, "/ui/jobs/1/changes").await.text().contains("<td>c</td>"));
    std::fs::remove_dir_all(&clone).unwrap();
    let page = bench.page(&cookie, "/ui/jobs/1/changes").await;
    assert!(page.status == 200 && page.text().contains("not here any more"), "{}", page.text());
}
