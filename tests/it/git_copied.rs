//! What an agent makes of the owner's files in a worktree: no name, link or copy of one gets out of it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use offshoot::git::{CopiedIn, GitError};

use crate::git_fixture::{BRANCH, Rig, Rules, WIDE, run};

fn all() -> Rules {
    Rules(vec![Box::new(|_| true)])
}

fn files(rig: &Rig) -> PathBuf {
    rig.dir.path().join("files")
}

/// Copies the owner's files, which are these.
async fn copy_in(rig: &Rig, owned: &[(&str, &str)]) -> CopiedIn {
    for (name, text) in owned {
        fs::create_dir_all(files(rig).join(name).parent().unwrap()).unwrap();
        fs::write(files(rig).join(name), text).unwrap();
    }
    rig.repository.copy_in(&rig.worktree_path(), &rig.base, &files(rig), all()).await.unwrap()
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// What an agent of any care does with files: names, links, copies, ends of lines.
fn spread(rig: &Rig, path: &Path) {
    fs::create_dir(path.join("rep")).unwrap();
    fs::rename(path.join("moved.env"), path.join("rep/moved.html")).unwrap();
    fs::rename(path.join("certs"), path.join("certs2")).unwrap();
    fs::hard_link(path.join("linked.env"), path.join("rep/linked.html")).unwrap();
    fs::hard_link(path.join("left.env"), path.join("rep/left.html")).unwrap();
    fs::remove_file(path.join("left.env")).unwrap();
    fs::copy(path.join("linked.env"), path.join("rep/copied.html")).unwrap();
    fs::hard_link(files(rig).join("linked.env"), path.join("rep/of-owner.html")).unwrap();
    append(&path.join("longer.env"), "MORE=1\n");
    fs::rename(path.join("longer.env"), path.join("rep/longer.html")).unwrap();
    // over what the repository has
    fs::rename(path.join("over.env"), path.join("dir/b.txt")).unwrap();
    fs::write(path.join(".gitattributes"), "*.html text\n").unwrap();
    fs::copy(path.join("dos.env"), path.join("rep/dos.html")).unwrap();
}

const OWNED: &[(&str, &str)] = &[
    ("moved.env", "KEY=moved\n"),
    ("certs/a/b.pem", "PEM of the owner\n"),
    ("linked.env", "KEY=linked\n"),
    ("left.env", "KEY=left\n"),
    ("longer.env", "KEY=longer\n"),
    ("over.env", "KEY=over\n"),
    ("dos.env", "KEY=dos\r\nTWO=2\r\n"),
    // of these nobody can tell, or need not
    ("empty.env", ""),
    ("short.env", "22\n"),
    ("public.env", "one\ntwo\n"),
];

#[tokio::test]
async fn no_other_name_link_or_copy_of_a_copied_file_is_in_a_result_or_kept() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    copy_in(&rig, OWNED).await;
    spread(&rig, &path);
    fs::create_dir(path.join("own")).unwrap();
    for (name, text) in [("empty", ""), ("version", "22\n"), ("a.txt", "one\ntwo\n"), ("new.txt", "new\n")] {
        fs::write(path.join("own").join(name), text).unwrap();
    }
    let kept = rig.dir.path().join("kept");
    let kept = rig.repository.copy_out(&path, &kept, all(), WIDE).await.unwrap();
    let mut kept: Vec<_> = kept.files.iter().map(|(path, _)| path.as_str()).collect();
    kept.sort_unstable();
    let own = ["own/a.txt", "own/empty", "own/new.txt", "own/version"];
    assert_eq!(kept, [&[".gitattributes", "a.txt"][..], &own, &["run.sh"]].concat());

    let snapshot = rig.snapshot().await.unwrap();
    let collected = rig.collect().await;
    for commit in [&snapshot.commit, &collected.head] {
        let listing: Vec<_> = rig.listing(commit).iter().map(|line| line[7..].to_owned()).collect();
        let base = [".gitattributes", "a.txt", "dir/b.txt"];
        assert_eq!(listing, [&base[..], &own, &["run.sh"]].concat());
        assert_eq!(rig.content(commit, "dir/b.txt"), b"b\n");
    }
    let notes: Vec<_> = collected.notes.iter().map(|note| format!("{}: {}", note.path, note.text)).collect();
    for left in ["certs2/a/b.pem", "dir/b.txt", "rep/copied.html", "rep/dos.html", "rep/longer.html"] {
        let said = format!("{left}: left out: a file of copyFiles, which may hold secrets");
        assert!(notes.contains(&said), "{said}: {notes:?}");
    }
}

/// A number of the file system is given anew at once: the file that has it next is the agent's.
#[tokio::test]
async fn a_new_file_with_the_number_of_a_removed_one_is_work() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    copy_in(&rig, &[("a.env", "KEY=a\n"), ("b.env", "KEY=b\n")]).await;
    for name in ["a.env", "b.env"] {
        fs::remove_file(path.join(name)).unwrap();
    }
    for number in 0..20 {
        fs::write(path.join(format!("new-{number}.txt")), format!("work {number}")).unwrap();
    }
    let listing = rig.listing(&rig.collect().await.head);
    assert_eq!(listing.iter().filter(|line| line.contains("new-")).count(), 20, "{listing:?}");
}

#[tokio::test]
async fn a_copied_file_that_an_agent_commits_under_another_name_is_refused() {
    type Act = fn(&Path);
    let acts: [(&str, Act); 4] = [
        ("rep.html", |path| fs::rename(path.join(".env"), path.join("rep.html")).unwrap()),
        ("deep/er/x", |path| {
            fs::create_dir_all(path.join("deep/er")).unwrap();
            fs::copy(path.join(".env"), path.join("deep/er/x")).map(|_| ()).unwrap();
        }),
        ("a.txt", |path| fs::copy(path.join(".env"), path.join("a.txt")).map(|_| ()).unwrap()),
        // changed, it is the same file
        ("notes.txt", |path| {
            append(&path.join(".env"), "MORE=1\n");
            fs::rename(path.join(".env"), path.join("notes.txt")).unwrap();
        }),
    ];
    for (name, act) in acts {
        let rig = Rig::new().await;
        let path = rig.worktree().await;
        copy_in(&rig, &[(".env", "KEY=1\n")]).await;
        act(&path);
        run(&path, &["add", name]);
        run(&path, &["commit", "-q", "-m", "a report"]);
        let refused = rig.try_collect().await;
        assert!(matches!(&refused, Err(GitError::CopyCommitted { path }) if path == name), "{refused:?}");
        if name == "notes.txt" {
            continue;
        }
        run(&path, &["rm", "-q", "--cached", name]);
        run(&path, &["commit", "-q", "-m", "not that"]);
        let refused = rig.try_collect().await;
        assert!(matches!(refused, Err(GitError::CopyCommitted { .. })), "{name} is in the history");
    }
}

/// The owner has given the key another value, or taken the file away, before somebody goes on with the work.
#[tokio::test]
async fn kept_work_with_a_committed_copy_is_refused_whatever_became_of_the_file() {
    for (name, rewritten) in [(".env", false), ("rep.html", false), (".env", true), ("rep.html", true)] {
        for rotated in [false, true] {
            let rig = Rig::new().await;
            let path = rig.worktree().await;
            copy_in(&rig, &[(".env", "KEY=first\n"), ("short", "1")]).await;
            fs::copy(path.join(".env"), path.join(name)).unwrap();
            fs::write(path.join("new.txt"), "new").unwrap();
            run(&path, &["add", "-f", name, "short"]);
            run(&path, &["commit", "-q", "-m", "everything"]);
            let snapshot = rig.snapshot().await.unwrap();
            fs::remove_dir_all(files(&rig)).unwrap();
            rig.repository.restore_work(&snapshot.commit, &path, BRANCH).await.unwrap();
            if rotated {
                copy_in(&rig, &[("other", "OTHER=1\n")]).await;
            }
            // the record is handed on by as many as go on with it
            let snapshot = rig.snapshot().await.unwrap();
            rig.repository.restore_work(&snapshot.commit, &path, BRANCH).await.unwrap();
            if rewritten {
                run(&path, &["commit", "-q", "--amend", "-m", "other words"]);
            }
            let refused = rig.try_collect().await;
            assert!(matches!(refused, Err(GitError::CopyCommitted { .. })), "{name} {rotated}: {refused:?}");
            // without it the work is as good as any, and a file with a single digit is anybody's
            run(&path, &["reset", "-q", "--soft", rig.base.as_str()]);
            run(&path, &["rm", "-q", "-f", "--cached", name, "short"]);
            for name in [name, "short"] {
                fs::remove_file(path.join(name)).unwrap();
            }
            fs::write(path.join("one"), "1").unwrap();
            let listing = rig.listing(&rig.collect().await.head);
            assert!(listing.iter().any(|line| line.ends_with(" new.txt")), "{listing:?}");
            assert!(listing.iter().any(|line| line.ends_with(" one")), "{listing:?}");
        }
    }
}
