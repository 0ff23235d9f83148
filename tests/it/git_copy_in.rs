//! Files of the owner in a worktree: what is copied, what never is, and that nobody commits them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use offshoot::git::{BranchStart, CopiedIn, GitError};

use crate::git_fixture::{BRANCH, Rig, Rule, Rules, run, spec};

fn rule(suffix: &'static str) -> Rule {
    Box::new(move |path| path.ends_with(suffix.as_bytes()))
}

async fn copy_in(rig: &Rig, rules: Vec<Rule>) -> CopiedIn {
    let from = rig.dir.path().join("files");
    rig.repository.copy_in(&rig.worktree_path(), &rig.base, &from, Rules(rules)).await.unwrap()
}

fn notes(copied: &CopiedIn) -> Vec<String> {
    let mut notes: Vec<_> = copied.notes.iter().map(|note| format!("{}: {}", note.path, note.text)).collect();
    notes.sort_unstable();
    notes
}

#[tokio::test]
async fn what_is_wanted_is_copied_and_nothing_is_overwritten_or_followed() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let (from, outside) = (rig.dir.path().join("files"), rig.dir.path().join("outside"));
    for dir in [from.join("deep/er"), from.join("away"), outside.clone()] {
        fs::create_dir_all(dir).unwrap();
    }
    for (name, text) in
        [(".env", "KEY=1"), ("deep/er/x.env", "KEY=2"), ("a.txt", "mine"), ("away/y.env", "3"), ("no", "")]
    {
        fs::write(from.join(name), text).unwrap();
    }
    fs::set_permissions(from.join(".env"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(outside.join("z.env"), "secret").unwrap();
    symlink(outside.join("z.env"), from.join("link.env")).unwrap();
    symlink(&outside, from.join("linked")).unwrap();
    // the repository has a link where the copy would have a directory
    symlink(&outside, path.join("away")).unwrap();
    let copied = copy_in(&rig, vec![rule(".env"), rule("a.txt"), rule("missing")]).await;
    assert_eq!(copied.copied, [".env", "deep/er/x.env"]);
    assert_eq!(copied.unmatched, [2]);
    assert_eq!(
        notes(&copied),
        [
            "a.txt: not copied: it is in the repository",
            "away/y.env: not copied: a link or a file is where its directory would be",
            "link.env: not copied: a link, and links are not followed",
        ]
    );
    assert_eq!(fs::read_to_string(path.join(".env")).unwrap(), "KEY=1");
    assert_eq!(fs::metadata(path.join(".env")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(path.join("deep/er/x.env")).unwrap(), "KEY=2");
    assert_eq!(fs::read_to_string(path.join("a.txt")).unwrap(), "one\ntwo\n");
    assert!(!outside.join("y.env").exists() && !path.join("linked").exists() && !path.join("no").exists());
}

#[tokio::test]
async fn no_result_and_no_snapshot_has_a_copied_file() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::create_dir(rig.dir.path().join("files")).unwrap();
    fs::write(rig.dir.path().join("files/.env"), "KEY=1").unwrap();
    copy_in(&rig, vec![rule(".env")]).await;
    // changed by the agent it is the owner's all the same
    fs::write(path.join(".env"), "KEY=2").unwrap();
    fs::write(path.join("new.txt"), "new").unwrap();
    let snapshot = rig.snapshot().await.unwrap();
    let head = rig.collect().await.head;
    for commit in [&snapshot.commit, &head] {
        let listing = rig.listing(commit);
        assert!(listing.iter().any(|line| line.ends_with(" new.txt")), "{listing:?}");
        assert!(!listing.iter().any(|line| line.contains(".env")), "{listing:?}");
    }
    // a worktree that is made anew has none, and its .env is the repository's
    let mode = BranchStart::Reset;
    rig.repository.ensure_worktree(&path, BRANCH, &rig.base, mode).await.unwrap();
    fs::write(path.join(".env"), "A=1").unwrap();
    assert!(rig.listing(&rig.collect().await.head).iter().any(|line| line.ends_with(" .env")));
}

#[tokio::test]
async fn a_copied_file_that_an_agent_commits_is_refused_also_when_it_is_removed_again() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::create_dir(rig.dir.path().join("files")).unwrap();
    fs::write(rig.dir.path().join("files/.env"), "KEY=1").unwrap();
    copy_in(&rig, vec![rule(".env")]).await;
    run(&path, &["add", "-A"]);
    run(&path, &["commit", "-q", "-m", "everything"]);
    let refused = rig.try_collect().await;
    assert!(matches!(&refused, Err(GitError::CopyCommitted { path }) if path == ".env"), "{refused:?}");
    run(&path, &["rm", "-q", "--cached", ".env"]);
    run(&path, &["commit", "-q", "-m", "not that"]);
    let refused = rig.repository.collect(&path, &rig.base, spec()).await;
    assert!(matches!(refused, Err(GitError::CopyCommitted { .. })), "it is in the history");
}

#[tokio::test]
async fn what_kept_work_brings_along_is_the_owners_all_the_same() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::create_dir(rig.dir.path().join("files")).unwrap();
    for name in [".env", "a.txt"] {
        fs::write(rig.dir.path().join("files").join(name), "KEY=1").unwrap();
    }
    // an attempt before has committed the one and removed the other, which is the repository's
    fs::write(path.join(".env"), "KEY=1").unwrap();
    run(&path, &["rm", "-q", "a.txt"]);
    run(&path, &["add", "-A"]);
    run(&path, &["commit", "-q", "-m", "everything"]);
    let copied = copy_in(&rig, vec![rule(".env"), rule("a.txt")]).await;
    assert_eq!((copied.copied.len(), path.join("a.txt").exists()), (0, false));
    let refused = rig.try_collect().await;
    assert!(matches!(&refused, Err(GitError::CopyCommitted { path }) if path == ".env"), "{refused:?}");
}

/// Each note becomes a warning, which every list of jobs carries.
#[tokio::test]
async fn what_is_not_copied_is_told_of_within_bounds() {
    let rig = Rig::new().await;
    rig.worktree().await;
    let from = rig.dir.path().join("files");
    fs::create_dir(&from).unwrap();
    for number in 0..300 {
        symlink("elsewhere", from.join(format!("{number}.env"))).unwrap();
    }
    let notes = notes(&copy_in(&rig, vec![rule(".env")]).await);
    assert_eq!(notes.len(), 51, "{notes:?}");
    assert!(notes.contains(&"*: not copied: many more, see the rules".to_owned()), "{notes:?}");
}

#[tokio::test]
async fn an_owner_without_files_is_no_fault() {
    let rig = Rig::new().await;
    rig.worktree().await;
    let copied = copy_in(&rig, vec![rule(".env")]).await;
    assert_eq!((copied.copied.len(), copied.notes.len(), copied.unmatched), (0, 0, vec![0]));
}
