//! Clones that are damaged: what counts as that, and what is saved of them.

use std::fs;
use std::path::{Path, PathBuf};

use offshoot::git::{BranchStart, GitError};

use crate::git_fixture::{Rig, run};

fn object(rig: &Rig, name: &str) -> PathBuf {
    let id = String::from_utf8(run(rig.repository.path(), &["rev-parse", name]).stdout).unwrap();
    let (dir, rest) = id.trim().split_at(2);
    rig.repository.path().join("objects").join(dir).join(rest)
}

/// Objects of the remote one by one, so that each can be damaged alone.
fn unpack(rig: &Rig) {
    let packs = rig.repository.path().join("objects/pack");
    let away = rig.dir.path().join("packs");
    if fs::rename(&packs, &away).is_err() {
        return;
    }
    fs::create_dir(&packs).unwrap();
    for pack in fs::read_dir(&away).unwrap().flatten().map(|entry| entry.path()) {
        if pack.extension().is_some_and(|end| end == "pack") {
            let mut unpack = crate::git_fixture::command(rig.repository.path(), &["unpack-objects", "-q"]);
            assert!(unpack.stdin(fs::File::open(pack).unwrap()).status().unwrap().success());
        }
    }
}

fn overwrite(file: &Path, text: &[u8]) {
    fs::remove_file(file).unwrap();
    fs::write(file, text).unwrap();
}

#[tokio::test]
async fn what_is_missing_empty_or_garbled_is_damage_and_what_was_changed_is_not() {
    type Damage = fn(&Rig);
    let table: [(&str, Damage); 8] = [
        ("HEAD", |rig| fs::remove_file(rig.repository.path().join("HEAD")).unwrap()),
        ("HEAD", |rig| fs::write(rig.repository.path().join("HEAD"), [0; 32]).unwrap()),
        ("config", |rig| fs::write(rig.repository.path().join("config"), "").unwrap()),
        ("objects", |rig| fs::remove_dir_all(rig.repository.path().join("objects")).unwrap()),
        ("1 refs", |rig| {
            fs::write(rig.repository.path().join("packed-refs"), "# pack-refs\nnonsense\n").unwrap();
        }),
        ("1 refs", |rig| fs::write(rig.repository.path().join("refs/remotes/origin/main"), "").unwrap()),
        ("object", |rig| fs::remove_file(object(rig, "refs/remotes/origin/main:dir")).unwrap()),
        ("object", |rig| overwrite(&object(rig, "refs/remotes/origin/main:a.txt"), b"\0\0\0")),
    ];
    for (at, (expected, damage)) in table.into_iter().enumerate() {
        let rig = Rig::new().await;
        unpack(&rig);
        assert_eq!(rig.repository.find_damage().await.unwrap(), None, "{at}");
        damage(&rig);
        let found = rig.repository.find_damage().await.unwrap().unwrap_or_default();
        assert!(found.starts_with(expected), "{at}: {found}");
        fs::create_dir_all(rig.repository.path().join("hooks")).unwrap();
        fs::write(rig.repository.path().join("hooks/x"), "").unwrap();
        let changed = rig.repository.find_damage().await;
        assert!(matches!(changed, Err(GitError::Tampered { .. })), "{at}: {changed:?}");
    }
}

/// The HEAD of a clone never moves: one that is whole and another was written by somebody, and is put right by the owner's word.
#[tokio::test]
async fn a_head_that_was_moved_is_no_damage_and_is_put_right_without_a_loss() {
    let nobody = "0123456789012345678901234567890123456789";
    for head in ["base", nobody, "ref: refs/heads/nowhere", "ref: refs/remotes/origin/main"] {
        let rig = Rig::new().await;
        let path = rig.worktree().await;
        fs::write(path.join("kept.txt"), "kept").unwrap();
        let kept = rig.snapshot().await.unwrap();
        let head = if head == "base" { rig.base.to_string() } else { head.to_owned() };
        fs::write(rig.repository.path().join("HEAD"), format!("{head}\n")).unwrap();
        let found = rig.repository.find_damage().await;
        assert!(matches!(&found, Err(GitError::Tampered { what }) if what == "HEAD"), "{head}: {found:?}");
        let refused = rig.repository.find_ref(&kept.name).await;
        assert!(matches!(refused, Err(GitError::Tampered { .. })), "{head}: {refused:?}");
        rig.repository.repair().await.unwrap();
        assert_eq!(rig.repository.find_damage().await.unwrap(), None, "{head}");
        assert_eq!(rig.content(&kept.commit, "kept.txt"), b"kept");
        assert!(rig.snapshot().await.is_ok(), "{head}");
    }
}

#[tokio::test]
async fn what_is_whole_is_brought_over_and_what_is_not_is_named() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::write(path.join("kept.txt"), "kept").unwrap();
    let kept = rig.snapshot().await.unwrap();
    fs::write(path.join("broken.txt"), "broken").unwrap();
    let broken = rig.snapshot().await.unwrap();
    run(&path, &["add", "kept.txt"]);
    run(&path, &["commit", "-q", "-m", "own"]);
    run(&path, &["tag", "-a", "-m", "marked", "marked"]);
    for text in ["older", "newer"] {
        fs::write(path.join("a.txt"), text).unwrap();
        run(&path, &["stash", "push", "-q"]);
    }
    let stashes = ["stash@{1}", "stash@{0}"].map(|one| run(&path, &["rev-parse", one]).stdout);
    let stashes = stashes.map(|id| String::from_utf8(id).unwrap().trim().to_owned());
    overwrite(&object(&rig, &format!("{}:broken.txt", broken.commit)), b"");
    fs::remove_file(rig.repository.path().join("HEAD")).unwrap();

    let used = rig.repository.enter().await;
    assert_eq!(rig.repository.set_aside(async { true }).await.unwrap(), None, "somebody uses it");
    drop(used);
    assert!(!rig.repository.was_set_aside_lately().await.unwrap());
    let aside = rig.repository.set_aside(async { true }).await.unwrap().unwrap();
    assert!(aside.path.exists() && !rig.repository.exists());
    assert!(rig.repository.was_set_aside_lately().await.unwrap(), "a second one would not help");
    assert!(rig.repository.ensure_clone(&rig.remote).await.unwrap());
    assert_eq!(rig.repository.set_aside_clones().await.unwrap(), std::slice::from_ref(&aside));
    let carried = rig.repository.carry_over(&aside).await.unwrap();
    assert_eq!(carried.lost, Some(vec![broken.name.clone()]));
    assert_eq!(rig.repository.set_aside_clones().await.unwrap(), std::slice::from_ref(&carried));
    assert!(aside.path.exists(), "it is never removed by itself");

    assert_eq!(rig.content(&kept.commit, "kept.txt"), b"kept");
    assert_eq!(rig.repository.find_ref(&broken.name).await.unwrap(), None);
    let stashed = [format!("refs/offshoot/stash/{}", stashes[0]), "refs/stash".to_owned()];
    for (name, file) in [(&stashed[0], "older"), (&stashed[1], "newer")] {
        let commit = rig.repository.find_ref(name).await.unwrap().unwrap();
        assert_eq!(rig.content(&commit, "a.txt"), file.as_bytes());
    }
    assert!(rig.repository.find_ref("refs/tags/marked").await.unwrap().is_some());
    rig.fsck();
    // the worktree is as it was: its branch with the commit of the agent, and what is not committed
    let status = String::from_utf8(run(&path, &["status", "--porcelain", "--branch"]).stdout).unwrap();
    assert_eq!(status, "## feat\n?? broken.txt\n");
    assert!(String::from_utf8(run(&path, &["log", "--format=%s"]).stdout).unwrap().starts_with("own\n"));
    let again = rig.snapshot().await.unwrap();
    assert_eq!(rig.content(&again.commit, "broken.txt"), b"broken");
    // what was lost is in the new one by now: repeated, nothing is missing any more
    assert_eq!(rig.repository.carry_over(&aside).await.unwrap().lost, Some(Vec::new()));
    let reused = rig.repository.ensure_worktree(&path, "feat", &rig.base, BranchStart::Reuse).await;
    assert!(reused.is_ok(), "{reused:?}");
}
