//! Files, links, names and refs that an agent can leave behind: what is published is what it wrote, no more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknod};
use nix::unistd::mkfifo;
use offshoot::git::{BranchStart, CommitId};

use crate::git_fixture::{BRANCH, Rig, run};

#[tokio::test]
async fn strange_names_are_kept_byte_for_byte() {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    let long = "x".repeat(255);
    let names: [&[u8]; 10] = [
        b"new\nline",
        b"quo\"te'`$(id)",
        b":(glob)**",
        b"-rf",
        b"--",
        b"back\\slash",
        b"\xff\xfe not utf-8",
        "e\u{301} and \u{e9}".as_bytes(),
        b" spaces ",
        long.as_bytes(),
    ];
    for name in names {
        fs::write(worktree.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mut deep = worktree.clone();
    for _ in 0..300 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "deep").unwrap();
    let head = rig.collect().await.head;
    let listing = rig.listing(&head);
    for name in names {
        let expected = format!("100644 {}", name.escape_ascii());
        assert!(listing.contains(&expected), "{expected}: {listing:?}");
    }
    assert!(listing.contains(&format!("100644 {}file", "d/".repeat(300))));
    assert_eq!(run(&worktree, &["status", "--porcelain"]).stdout, b"");
    rig.fsck();
}

#[tokio::test]
async fn links_are_links_and_other_things_are_left_out() {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    symlink("/etc/passwd", worktree.join("passwd")).unwrap();
    symlink("../../clone/config", worktree.join("dangling")).unwrap();
    fs::remove_dir_all(worktree.join("dir")).unwrap();
    symlink("/etc", worktree.join("dir")).unwrap();
    fs::remove_file(worktree.join("a.txt")).unwrap();
    symlink("/etc/hostname", worktree.join("a.txt")).unwrap();
    mkfifo(&worktree.join("pipe"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(worktree.join("socket")).unwrap();
    fs::remove_file(worktree.join("run.sh")).unwrap();
    mkfifo(&worktree.join("run.sh"), Mode::S_IRWXU).unwrap();
    // not everybody may make one: /dev/zero, which never ends
    let device = mknod(&worktree.join("device"), SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)).is_ok();
    let collected = rig.collect().await;
    assert_eq!(
        rig.listing(&collected.head),
        ["120000 a.txt", "120000 dangling", "120000 dir", "120000 passwd"]
    );
    assert_eq!(rig.content(&collected.head, "passwd"), b"/etc/passwd");
    assert_eq!(rig.content(&collected.head, "dir"), b"/etc");
    let noted: Vec<_> = collected.notes.iter().map(|note| note.path.as_str()).collect();
    let expected = ["device", "pipe", "run.sh", "socket"];
    assert_eq!(noted, expected[usize::from(!device)..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_swapped_for_a_link_is_never_read_through() {
    swapped_under_snapshots(200).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: just long-links"]
async fn long_links_a_directory_swapped_for_a_link_is_never_read_through() {
    swapped_under_snapshots(10_000).await;
}

async fn swapped_under_snapshots(snapshots: usize) {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    let secret = rig.dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("file"), "the secret").unwrap();
    let (real, link) = (worktree.join("swap"), rig.dir.path().join("link"));
    fs::create_dir(&real).unwrap();
    fs::write(real.join("file"), "harmless").unwrap();
    symlink(&secret, &link).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (stop, aside) = (Arc::clone(&stop), rig.dir.path().join("aside"));
        move || {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&real, &aside).unwrap();
                fs::rename(&link, &real).unwrap();
                fs::rename(&real, &link).unwrap();
                fs::rename(&aside, &real).unwrap();
            }
        }
    });
    let mut heads: Vec<CommitId> = Vec::new();
    for _ in 0..snapshots {
        heads.push(rig.snapshot().await.unwrap().commit);
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    heads.sort_unstable();
    heads.dedup();
    for head in heads {
        for line in rig.listing(&head) {
            let content = rig.content(&head, &line[7..]);
            assert_ne!(content, b"the secret", "{line}");
        }
    }
}

#[tokio::test]
async fn a_nested_repository_never_becomes_a_pointer_and_is_named() {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    let nested = worktree.join("vendor/lib");
    fs::create_dir_all(&nested).unwrap();
    run(&nested, &["init", "-q"]);
    fs::write(nested.join("x"), "x").unwrap();
    run(&nested, &["add", "x"]);
    run(&nested, &["commit", "-qm", "x"]);
    let collected = rig.collect().await;
    assert!(!collected.changed);
    assert_eq!(collected.notes[0].path, "vendor/lib");

    // An agent that commits the pointer itself is not silent either.
    run(&worktree, &["-c", "advice.addEmbeddedRepo=false", "add", "-A"]);
    run(&worktree, &["commit", "-qm", "with a pointer"]);
    let collected = rig.collect().await;
    assert!(
        collected.notes.iter().any(|note| note.path == "vendor/lib" && note.text.contains("submodule")),
        "{collected:?}"
    );
}

#[tokio::test]
async fn a_head_on_a_foreign_branch_moves_nothing_of_others() {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    let sibling = worktree.with_file_name("job2");
    rig.repository.ensure_worktree(&sibling, "sibling", &rig.base, BranchStart::Reuse).await.unwrap();
    for target in ["refs/heads/sibling", "refs/remotes/origin/main"] {
        fs::write(rig.admin().join("HEAD"), format!("ref: {target}\n")).unwrap();
        fs::write(worktree.join("a.txt"), target).unwrap();
        let collected = rig.collect().await;
        assert!(collected.committed);
        assert_eq!(rig.repository.find_ref(target).await.unwrap(), Some(rig.base.clone()), "{target}");
        assert_eq!(rig.collect().await.head, collected.head);
    }
}

#[tokio::test]
async fn a_sibling_that_is_removed_by_an_agent_loses_nothing() {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    fs::write(worktree.join("a.txt"), "the work\n").unwrap();
    let sibling = worktree.with_file_name("job2");
    rig.repository.ensure_worktree(&sibling, "sibling", &rig.base, BranchStart::Reuse).await.unwrap();
    // What `worktree prune` and `branch -D` in the sibling can do to the others.
    fs::remove_dir_all(rig.admin()).unwrap();
    run(&sibling, &["update-ref", "-d", "refs/heads/feat"]);
    run(&sibling, &["gc", "-q", "--prune=now"]);
    let made =
        rig.repository.ensure_worktree(&worktree, BRANCH, &rig.base, BranchStart::Reuse).await.unwrap();
    assert!(!made.created);
    let collected = rig.collect().await;
    assert_eq!(rig.content(&collected.head, "a.txt"), b"the work\n");
    rig.fsck();
}

#[tokio::test]
async fn a_change_that_keeps_size_and_time_is_seen() {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    let file = worktree.join("a.txt");
    let before = file.metadata().unwrap().modified().unwrap();
    fs::write(&file, "ONE\nTWO\n").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
    // Flags that make git itself look away.
    run(&worktree, &["update-index", "--assume-unchanged", "run.sh"]);
    run(&worktree, &["update-index", "--skip-worktree", "dir/b.txt"]);
    fs::write(worktree.join("run.sh"), "#!/bin/zz\n").unwrap();
    fs::write(worktree.join("dir/b.txt"), "B\n").unwrap();
    let head = rig.collect().await.head;
    assert_eq!(rig.content(&head, "a.txt"), b"ONE\nTWO\n");
    assert_eq!(rig.content(&head, "run.sh"), b"#!/bin/zz\n");
    assert_eq!(rig.content(&head, "dir/b.txt"), b"B\n");
}

#[tokio::test]
async fn names_that_stand_for_the_repository_elsewhere_are_left_out() {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    fs::write(worktree.join("git~1"), "x").unwrap();
    fs::write(worktree.join(".git "), "x").unwrap();
    fs::create_dir(worktree.join(".GIT")).unwrap();
    fs::write(worktree.join(".GIT/config"), "x").unwrap();
    fs::write(worktree.join("dir/.Git"), "x").unwrap();
    fs::write(worktree.join("good"), "x").unwrap();
    let collected = rig.collect().await;
    assert_eq!(
        rig.listing(&collected.head),
        ["100644 a.txt", "100644 dir/b.txt", "100644 good", "100755 run.sh"]
    );
    let mut noted: Vec<_> = collected.notes.iter().map(|note| note.path.as_str()).collect();
    noted.sort_unstable();
    assert_eq!(noted, [".GIT", ".git ", "dir", "dir/.Git", "git~1"]);
    assert_eq!(rig.collect().await.head, collected.head);
}

/// A FIFO would stop a reader for ever, and a link leads out of the clone.
#[tokio::test]
async fn what_an_agent_has_put_in_the_place_of_a_ref_stops_no_deletion() {
    let rig = Rig::new().await;
    let heads = rig.repository.path().join("refs/heads");
    mkfifo(&heads.join("pipe"), Mode::S_IRUSR).unwrap();
    let outside = rig.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("y.lock"), "somebody's").unwrap();
    symlink(&outside, heads.join("linked")).unwrap();
    for name in ["pipe", "linked/y"] {
        let name = format!("refs/heads/{name}");
        let deleted = rig.repository.delete_ref(&name);
        tokio::time::timeout(std::time::Duration::from_secs(30), deleted).await.expect("it ends").unwrap();
    }
    assert!(outside.join("y.lock").exists() && !heads.join("pipe").exists());
}

/// Deeper than the stack of a thread and the descriptors of most servers: the place is free afterwards all the same.
#[tokio::test]
async fn directories_in_directories_without_end_are_removed() {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
    let mut dir = open(&worktree, flags, Mode::empty()).unwrap();
    for _ in 0..16_000 {
        mkdirat(&dir, "d", Mode::S_IRWXU).unwrap();
        dir = openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
    drop(dir);
    rig.repository.remove_worktree(&worktree).await.unwrap();
    assert!(!worktree.exists());
    assert!(rig.worktree().await.join(".git").exists());
    rig.fsck();
}
