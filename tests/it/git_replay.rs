//! Commits brought onto where their branch is now.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use offshoot::git::{CommitId, Replayed};

use crate::git_fixture::{Rig, add_commit, run};

/// A clone whose worktree has two commits, and what somebody else did to `main` meanwhile.
async fn diverged(theirs: &[(&str, &str)]) -> (Rig, CommitId, CommitId) {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    for (file, text) in [("a.txt", "one\ntwo\nours\n"), ("new.txt", "new\n")] {
        fs::write(path.join(file), text).unwrap();
        run(&path, &["add", "-A"]);
        run(&path, &["commit", "-q", "-m", &format!("Change {file}")]);
    }
    let head = rig.collect().await.head;
    let onto = add_commit(&rig.remote_path(), "main", theirs);
    rig.repository.fetch(&rig.remote, std::time::Duration::ZERO).await.unwrap();
    (rig, head, onto)
}

fn log(rig: &Rig, head: &CommitId) -> String {
    let shown = run(rig.repository.path(), &["log", "--format=%an %at %s", "-3", head.as_str()]).stdout;
    String::from_utf8(shown).unwrap()
}

#[tokio::test]
async fn commits_keep_their_author_time_and_message_on_new_ground() {
    let (rig, head, onto) = diverged(&[("dir/b.txt", "theirs\n")]).await;
    let replayed = rig.repository.replay(&rig.base, &head, &onto).await.unwrap();
    let Replayed::Onto { head: new, commits, files_changed, insertions, deletions } = replayed.clone() else {
        panic!("{replayed:?}")
    };
    assert_eq!((commits, files_changed, insertions, deletions), (2, 2, 2, 0));
    assert!(rig.repository.descends_from(&new, &onto).await.unwrap());
    assert_eq!(
        log(&rig, &new),
        "Agent 1650000000 Change new.txt\nAgent 1650000000 Change a.txt\nUp 1600000000 seed\n"
    );
    assert_eq!(rig.content(&new, "a.txt"), b"one\ntwo\nours\n");
    assert_eq!(rig.content(&new, "dir/b.txt"), b"theirs\n");
    assert_eq!(
        rig.repository.replay(&rig.base, &head, &onto).await.unwrap(),
        replayed,
        "repeated after a crash"
    );
    rig.fsck();
}

#[tokio::test]
async fn the_same_line_changed_twice_is_a_conflict() {
    let (rig, head, onto) = diverged(&[("a.txt", "one\ntwo\ntheirs\n")]).await;
    let replayed = rig.repository.replay(&rig.base, &head, &onto).await.unwrap();
    assert_eq!(replayed, Replayed::Conflict { path: "a.txt".to_owned() });
}

#[tokio::test]
async fn what_the_ground_has_already_is_not_repeated() {
    let (rig, head, onto) = diverged(&[("a.txt", "one\ntwo\nours\n"), ("new.txt", "new\n")]).await;
    let replayed = rig.repository.replay(&rig.base, &head, &onto).await.unwrap();
    let nothing = Replayed::Onto { head: onto, commits: 0, files_changed: 0, insertions: 0, deletions: 0 };
    assert_eq!(replayed, nothing);
}

#[tokio::test]
async fn merges_among_them_become_one_commit() {
    let (rig, _, onto) = diverged(&[("dir/b.txt", "theirs\n")]).await;
    let path = rig.worktree_path();
    run(&path, &["checkout", "-q", "-b", "side", "HEAD~1"]);
    fs::write(path.join("side.txt"), "side\n").unwrap();
    run(&path, &["add", "-A"]);
    run(&path, &["commit", "-q", "-m", "Side"]);
    run(&path, &["checkout", "-q", "feat"]);
    run(&path, &["merge", "-q", "--no-ff", "-m", "Both together", "side"]);
    let head = rig.collect().await.head;
    let replayed = rig.repository.replay(&rig.base, &head, &onto).await.unwrap();
    let Replayed::Onto { head: new, commits: 1, files_changed: 3, .. } = replayed else {
        panic!("{replayed:?}")
    };
    assert_eq!(log(&rig, &new).lines().next(), Some("Agent 1650000000 Both together"));
    assert_eq!(rig.content(&new, "side.txt"), b"side\n");
    assert_eq!(rig.content(&new, "dir/b.txt"), b"theirs\n");
}

/// Neither an attribute of the tree nor the clone's configuration may name a program that merges.
#[tokio::test]
async fn no_merge_driver_runs() {
    let (rig, head, onto) =
        diverged(&[(".gitattributes", "* merge=evil filter=evil\n"), ("dir/b.txt", "theirs\n")]).await;
    let mark = rig.dir.path().join("ran");
    let config = rig.dir.path().join("home/.gitconfig");
    let evil = format!("touch {}", mark.display());
    fs::write(config, format!("[merge \"evil\"]\n\tdriver = {evil}\n[filter \"evil\"]\n\tclean = {evil}\n"))
        .unwrap();
    let replayed = rig.repository.replay(&rig.base, &head, &onto).await.unwrap();
    assert!(matches!(replayed, Replayed::Onto { commits: 2, .. }), "{replayed:?}");
    assert!(!mark.exists());
}
