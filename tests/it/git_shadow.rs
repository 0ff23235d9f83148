//! The repository that stands in the place of the clone inside of a sandbox: what git does in it, and what comes back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use offshoot::clock::Clock;
use offshoot::git::{CommitId, Git, GitError, GitSettings, GiveUp, Repository, Shadow};
use tokio_util::sync::CancellationToken;

use crate::git_fixture::{BRANCH, Rig, add_commit, command, run, settings_at, spec};

/// Git as whoever is in the sandbox has it: only the objects' path is another, as nothing is bound here.
pub(crate) fn inside(rig: &Rig, shadow: &Shadow, args: &[&str]) -> Command {
    let mut git = command(&rig.worktree_path(), args);
    git.env("GIT_DIR", shadow.shadow.join("worktrees/job1"))
        .env("GIT_WORK_TREE", rig.worktree_path())
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &shadow.objects);
    git
}

pub(crate) fn does(rig: &Rig, shadow: &Shadow, args: &[&str]) -> String {
    let output = inside(rig, shadow, args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

pub(crate) fn commits(rig: &Rig, shadow: &Shadow, name: &str) -> CommitId {
    fs::write(rig.worktree_path().join(name), name).unwrap();
    does(rig, shadow, &["add", name]);
    does(rig, shadow, &["commit", "-qm", name]);
    does(rig, shadow, &["rev-parse", "HEAD"]).parse().unwrap()
}

pub(crate) async fn lent(rig: &Rig) -> Shadow {
    let worktree = rig.worktree().await;
    rig.repository.lend(&worktree).await.unwrap()
}

fn refs(rig: &Rig) -> Vec<String> {
    let output = run(rig.repository.path(), &["for-each-ref", "--format=%(refname)"]).stdout;
    String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_shadow_shows_the_remote_and_its_own_branch_and_no_other() {
    let rig = Rig::new().await;
    run(rig.repository.path(), &["branch", "sibling", rig.base.as_str()]);
    run(rig.repository.path(), &["update-ref", "refs/offshoot/other/1", rig.base.as_str()]);
    let shadow = lent(&rig).await;
    assert_eq!(
        does(&rig, &shadow, &["for-each-ref", "--format=%(refname)"]),
        format!("refs/heads/{BRANCH}\nrefs/remotes/origin/main")
    );
    assert_eq!(does(&rig, &shadow, &["status", "--porcelain"]), "");
    assert_eq!(does(&rig, &shadow, &["log", "--format=%s", "origin/main"]), "seed");
    let admin = fs::read_dir(shadow.shadow.join("worktrees")).unwrap().count();
    assert_eq!(admin, 1, "only its own registration");
}

#[tokio::test]
async fn what_is_committed_inside_comes_back_with_head_and_branch_alone() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    commits(&rig, &shadow, "one");
    does(&rig, &shadow, &["branch", "extra"]);
    does(&rig, &shadow, &["pack-refs", "--all"]);
    let two = commits(&rig, &shadow, "two");
    does(&rig, &shadow, &["gc", "-q", "--prune=now"]);
    let collected = rig.collect().await;
    assert_eq!((&collected.head, collected.committed, collected.files_changed), (&two, false, 2));
    assert_eq!(run(&rig.worktree_path(), &["status", "--porcelain"]).stdout, b"", "outside as well");
    assert_eq!(refs(&rig), [format!("refs/heads/{BRANCH}"), "refs/remotes/origin/main".to_owned()]);
    rig.fsck();
    assert_eq!(rig.collect().await.head, two, "again");
    let left = fs::read_dir(rig.repository.path().join("offshoot")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["job1"], "no quarantine stays");
}

#[tokio::test]
async fn head_may_be_elsewhere_and_the_branch_is_kept_beside_it() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    let on_branch = commits(&rig, &shadow, "one");
    does(&rig, &shadow, &["switch", "-q", "-c", "other", rig.base.as_str()]);
    let on_other = commits(&rig, &shadow, "two");
    rig.repository.absorb(&rig.worktree_path()).await.unwrap();
    let branch = rig.repository.find_ref(&format!("refs/heads/{BRANCH}")).await.unwrap();
    assert_eq!(branch, Some(on_branch));
    assert_eq!(rig.repository.worktree_head(&rig.worktree_path()).await.unwrap(), Some(on_other.clone()));
    assert_eq!(fs::read_to_string(rig.admin().join("HEAD")).unwrap(), format!("{on_other}\n"));
    does(&rig, &shadow, &["switch", "-q", "--detach", rig.base.as_str()]);
    assert_eq!(rig.repository.worktree_head(&rig.worktree_path()).await.unwrap(), Some(rig.base.clone()));
}

/// Steps of one attempt share it, and with it what they stashed; what the server has moved is shown anew.
#[tokio::test]
async fn a_shadow_is_kept_until_the_server_moves_the_worktree() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    commits(&rig, &shadow, "one");
    does(&rig, &shadow, &["branch", "mine"]);
    assert_eq!(lent(&rig).await, shadow);
    assert!(does(&rig, &shadow, &["branch", "--list"]).contains("mine"));
    fs::write(rig.worktree_path().join("left"), "left").unwrap();
    let head = rig.collect().await.head;
    lent(&rig).await;
    assert_eq!(does(&rig, &shadow, &["rev-parse", "HEAD"]), head.to_string());
    assert_eq!(does(&rig, &shadow, &["status", "--porcelain"]), "");
    assert!(!does(&rig, &shadow, &["branch", "--list"]).contains("mine"));
    rig.repository.remove_worktree(&rig.worktree_path()).await.unwrap();
    assert!(!shadow.shadow.exists());
}

/// Where git has it for whoever works inside, whether the server has looked since or not.
#[tokio::test]
async fn what_is_under_way_inside_is_seen() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    let unfinished = async |inside| rig.repository.unfinished(&rig.worktree_path(), inside).await.unwrap();
    assert_eq!(unfinished(true).await, None);
    let begin = does(&rig, &shadow, &["rev-parse", "HEAD"]);
    fs::write(rig.worktree_path().join("a.txt"), "mine\n").unwrap();
    does(&rig, &shadow, &["commit", "-qam", "mine"]);
    does(&rig, &shadow, &["switch", "-q", "-c", "other", &begin]);
    fs::write(rig.worktree_path().join("a.txt"), "theirs\n").unwrap();
    does(&rig, &shadow, &["commit", "-qam", "theirs"]);
    for (begins, ends, what) in [
        ("merge", "--abort", "a merge that is not finished: a.txt"),
        ("rebase", "--abort", "a rebase that is not finished"),
        ("cherry-pick", "--abort", "a merge that is not finished: a.txt"),
    ] {
        assert!(!inside(&rig, &shadow, &[begins, BRANCH]).output().unwrap().status.success());
        assert_eq!(unfinished(true).await.as_deref(), Some(what), "{begins}");
        rig.repository.absorb(&rig.worktree_path()).await.unwrap();
        assert_eq!(unfinished(true).await.as_deref(), Some(what), "{begins}, taken over");
        assert_eq!(unfinished(false).await, None, "{begins}: who works outside meets nothing of it");
        does(&rig, &shadow, &[begins, ends]);
        assert_eq!(unfinished(true).await, None, "{begins}");
    }
    assert!(!inside(&rig, &shadow, &["merge", BRANCH]).output().unwrap().status.success());
    rig.collect().await;
    assert_eq!(unfinished(true).await, None, "the server has moved the worktree since");
}

/// What git cannot do for want of memory says nothing of the commits: they come at the next try.
#[tokio::test]
async fn commits_are_not_given_up_for_a_machine_that_had_no_room() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    let one = commits(&rig, &shadow, "one");
    let (program, fails) = (rig.dir.path().join("git"), rig.dir.path().join("fails"));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *absorb*) [ ! -e {0} ] || {{ cat {0} >&2; exit 128; }};; esac\nexec git \"$@\"\n",
        fails.display()
    );
    crate::stand::install_program(&program, &script);
    let repository = other(&rig, |settings| settings.program = program).await;
    fs::write(&fails, "fatal: Out of memory, malloc failed\nfatal: index-pack failed\n").unwrap();
    for _ in 0..2 {
        let error = repository.absorb(&rig.worktree_path()).await.unwrap_err();
        assert!(error.to_string().contains("Out of memory"), "{error}");
        let error = repository.absorb_or_leave(&rig.worktree_path()).await.unwrap_err();
        assert!(error.to_string().contains("Out of memory"), "for the last time as well: {error}");
    }
    fs::remove_file(fails).unwrap();
    repository.absorb(&rig.worktree_path()).await.unwrap();
    let collected = rig.collect().await;
    assert_eq!((&collected.head, collected.notes.len()), (&one, 0), "{:?}", collected.notes);
}

/// Otherwise the worktree and its shadow would stay for ever, and with them the clone of a client that is to be removed.
#[tokio::test]
async fn what_cannot_be_taken_over_by_any_try_is_given_up_at_last() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    let one = commits(&rig, &shadow, "one");
    let program = rig.dir.path().join("git");
    let script = "#!/bin/sh\ncase \"$1\" in fetch) echo 'fatal: of no kind that is known' >&2; exit 128;; esac\nexec git \"$@\"\n";
    crate::stand::install_program(&program, script);
    let repository = other(&rig, |settings| settings.program = program).await;
    let worktree = rig.worktree_path();
    assert!(repository.absorb(&worktree).await.is_err());
    repository.absorb_or_leave(&worktree).await.unwrap();
    repository.absorb(&worktree).await.unwrap();
    let collected = repository.collect(&worktree, &rig.base, spec()).await.unwrap();
    assert_ne!(collected.head, one);
    assert_eq!(rig.content(&collected.head, "one"), b"one", "the files are kept");
    let told: Vec<_> = collected.notes.iter().map(|note| note.text).collect();
    assert!(told.len() == 1 && told[0].contains("could not be taken over"), "{told:?}");
}

/// Neither a git that is away for a moment, as while it is renewed, nor a machine that is busy is a fault of the commits.
#[tokio::test]
async fn a_program_that_is_away_or_late_gives_nothing_up() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    let one = commits(&rig, &shadow, "one");
    let (worktree, program) = (rig.worktree_path(), rig.dir.path().join("git"));
    let late = "#!/bin/sh\ncase \"$1\" in fetch) exec sleep 600;; esac\nexec git \"$@\"\n";
    crate::stand::install_program(&program, late);
    let change = |settings: &mut GitSettings| {
        (settings.program, settings.checkout_deadline) = (program.clone(), Duration::from_secs(2));
    };
    let repository = other(&rig, change).await;
    let error = repository.absorb_or_leave(&worktree).await.unwrap_err();
    assert!(matches!(error, GitError::Deadline { .. }), "{error}");
    fs::remove_file(&program).unwrap();
    for _ in 0..2 {
        let error = repository.absorb_or_leave(&worktree).await.unwrap_err();
        assert!(matches!(error, GitError::Io { .. }), "{error}");
    }
    rig.repository.absorb_or_leave(&worktree).await.unwrap();
    assert_eq!(rig.repository.worktree_head(&worktree).await.unwrap(), Some(one));
    let two = commits(&rig, &shadow, "two");
    crate::stand::install_program(&program, late);
    let error = repository.absorb_or_leave(&worktree).await.unwrap_err();
    assert!(matches!(error, GitError::Deadline { .. }), "the first time for these: {error}");
    repository.absorb_or_leave(&worktree).await.unwrap();
    let collected = rig.collect().await;
    assert_ne!(collected.head, two, "it was late twice");
    assert_eq!(rig.content(&collected.head, "two"), b"two", "the files are kept");
}

/// A repository whose git does what it does, with other bounds or by another program.
pub(crate) async fn other(rig: &Rig, change: impl FnOnce(&mut GitSettings)) -> Repository {
    let mut settings = settings_at(rig.dir.path());
    change(&mut settings);
    let git = Git::probe(settings, Clock::system()).await.unwrap();
    Repository::new(git, rig.repository.path().to_owned(), &rig.locks).unwrap()
}

fn hashed(rig: &Rig, shadow: &Shadow, kind: &str, content: &[u8]) -> String {
    let file = rig.dir.path().join("object");
    fs::write(&file, content).unwrap();
    does(rig, shadow, &["hash-object", "-t", kind, "--literally", "-w", &file.display().to_string()])
}

/// A directory of ten names for one of ten names, so often, for that of HEAD.
fn fan(rig: &Rig, shadow: &Shadow, levels: u32) -> String {
    let mut tree = does(rig, shadow, &["rev-parse", "HEAD^{tree}"]);
    for _ in 0..levels {
        let id: Vec<u8> =
            (0..20).map(|at| u8::from_str_radix(&tree[2 * at..2 * at + 2], 16).unwrap()).collect();
        let entries: Vec<u8> =
            (0..10).flat_map(|name| [format!("40000 {name}\0").as_bytes(), &id].concat()).collect();
        tree = hashed(rig, shadow, "tree", &entries);
    }
    tree
}

/// A directory in which this one lies so deep.
pub(crate) fn above(shadow: &Shadow, tree: &str, levels: u32) -> String {
    let library = git2::Repository::open_bare(&shadow.shadow).unwrap();
    let odb = library.odb().unwrap();
    (0..levels).fold(tree.to_owned(), |tree, _| {
        let entry = [b"40000 d\0", &hex::decode(tree).unwrap()[..]].concat();
        odb.write(git2::ObjectType::Tree, &entry).unwrap().to_string()
    })
}

/// A commit on the tree and the base of the worktree, with this message.
pub(crate) fn said(rig: &Rig, shadow: &Shadow, tree: &str, message: &str) -> CommitId {
    let by = "A <a@example.com> 1700000000 +0000";
    let text = format!("tree {tree}\nparent {}\nauthor {by}\ncommitter {by}\n\n{message}", rig.base);
    hashed(rig, shadow, "commit", text.as_bytes()).parse().unwrap()
}

/// Packed they are small, and whoever parses one has all of it in memory.
#[tokio::test]
async fn what_is_too_large_to_be_read_stays_inside_and_the_files_come() {
    type Deed = fn(&Rig, &Shadow);
    let deeds: [(&str, &str, Deed); 9] = [
        ("a long message", "more than 1 MiB", |rig, shadow| {
            let tree = does(rig, shadow, &["rev-parse", "HEAD^{tree}"]);
            point(rig, shadow, &said(rig, shadow, &tree, &"a\n".repeat(600_000)));
        }),
        ("a message of some length", "", |rig, shadow| {
            let tree = does(rig, shadow, &["rev-parse", "HEAD^{tree}"]);
            point(rig, shadow, &said(rig, shadow, &tree, &"a\n".repeat(500_000)));
        }),
        ("a large directory", "more than 64 MiB", |rig, shadow| {
            let tree = hashed(rig, shadow, "tree", &vec![b'a'; (64 << 20) + 1]);
            point(rig, shadow, &said(rig, shadow, &tree, "x"));
        }),
        ("directories in directories without end", "more than 2,048 deep", |rig, shadow| {
            let file = does(rig, shadow, &["rev-parse", "HEAD^{tree}"]);
            point(rig, shadow, &said(rig, shadow, &above(shadow, &file, 5_000), "x"));
        }),
        ("a few directories that name each other", "more than a million paths", |rig, shadow| {
            let commit = said(rig, shadow, &fan(rig, shadow, 8), "x");
            point(rig, shadow, &commit);
            // one in between is read too
            does(rig, shadow, &["commit", "-q", "--allow-empty", "-m", "two"]);
        }),
        ("a directory that is there ten thousand times", "", |rig, shadow| {
            point(rig, shadow, &said(rig, shadow, &fan(rig, shadow, 4), "x"));
        }),
        ("a large file in the history", "at most 100 MiB", |rig, shadow| {
            let file = "new dir/big file";
            fs::create_dir(rig.worktree_path().join("new dir")).unwrap();
            fs::write(rig.worktree_path().join(file), vec![b'a'; 20_001]).unwrap();
            does(rig, shadow, &["add", file]);
            does(rig, shadow, &["commit", "-qm", "big"]);
            does(rig, shadow, &["rm", "-q", file]);
            does(rig, shadow, &["commit", "-qm", "gone"]);
            does(rig, shadow, &["repack", "-adq"]);
        }),
        ("a large file that was never committed", "", |rig, shadow| {
            fs::write(rig.worktree_path().join("big"), vec![b'a'; 20_001]).unwrap();
            does(rig, shadow, &["add", "big"]);
            does(rig, shadow, &["rm", "-q", "-f", "big"]);
            commits(rig, shadow, "two");
        }),
        ("a file of some size", "", |rig, shadow| {
            fs::write(rig.worktree_path().join("big"), vec![b'a'; 20_000]).unwrap();
            does(rig, shadow, &["add", "big"]);
            does(rig, shadow, &["commit", "-qm", "big"]);
        }),
    ];
    for (what, expected, deed) in deeds {
        let rig = Rig::new().await;
        let shadow = lent(&rig).await;
        commits(&rig, &shadow, "one");
        deed(&rig, &shadow);
        let repository = other(&rig, |settings| settings.file_bytes_max = 20_000).await;
        let collected = repository.collect(&rig.worktree_path(), &rig.base, spec()).await.unwrap();
        assert_eq!(rig.content(&collected.head, "one"), b"one", "{what}: the files are there");
        let told: Vec<_> = collected.notes.iter().map(|note| note.text).collect();
        assert_eq!(told.len(), usize::from(!expected.is_empty()), "{what}: {told:?}");
        assert!(told.iter().all(|text| text.contains(expected)), "{what}: {told:?}");
        let named = collected.notes.iter().map(|note| note.path.as_str());
        let file = if what == "a large file in the history" { "new dir/big file" } else { "" };
        assert!({ named }.all(|path| path == file), "{what}: {:?}", collected.notes);
        rig.fsck();
    }
}

/// The server has moved the worktree since: whoever works there next has committed nothing that was refused.
#[tokio::test]
async fn a_refusal_is_told_once_and_not_of_the_next_shadow() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    commits(&rig, &shadow, "one");
    let tree = does(&rig, &shadow, &["rev-parse", "HEAD^{tree}"]);
    point(&rig, &shadow, &said(&rig, &shadow, &tree, &"a\n".repeat(600_000)));
    assert_eq!(rig.collect().await.notes.len(), 1);
    assert_eq!(rig.collect().await.notes.len(), 1, "of the same shadow it stays true");
    lent(&rig).await;
    assert_eq!(rig.collect().await.notes, []);
}

/// However long git has to do with them.
#[tokio::test]
async fn a_cancel_is_heard_while_commits_are_taken_over() {
    for step in ["cat-file", "fetch"] {
        let rig = Rig::new().await;
        let shadow = lent(&rig).await;
        commits(&rig, &shadow, "one");
        let (program, at_it) = (rig.dir.path().join("git"), rig.dir.path().join("at-it"));
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in {step}) touch {}; exec sleep 600;; esac\nexec git \"$@\"\n",
            at_it.display()
        );
        crate::stand::install_program(&program, &script);
        let repository = other(&rig, |settings| settings.program = program).await;
        let cancel = CancellationToken::new();
        let mut spec = spec();
        spec.give_up = GiveUp::new(vec![cancel.clone()]);
        let worktree = rig.worktree_path();
        let canceller = async {
            while !at_it.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cancel.cancel();
        };
        let both = async { tokio::join!(repository.collect(&worktree, &rig.base, spec), canceller) };
        let (collected, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect(step);
        assert!(matches!(collected, Err(GitError::GivenUp)), "{step}: {collected:?}");
        let left = fs::read_dir(rig.repository.path().join("offshoot")).unwrap().count();
        assert_eq!(left, 1, "{step}: no quarantine stays");
    }
}

/// Each is done to a shadow that has a commit of its own; none brings anything into the clone but the files.
#[tokio::test]
async fn nothing_in_a_shadow_runs_leads_elsewhere_or_passes_as_an_object() {
    type Deed = fn(&Rig, &Shadow, &Path);
    let deeds: [(&str, Deed); 7] = [
        ("configuration", |_, shadow, marker| {
            let text = format!(
                "[core]\n\tbare = true\n\tfsmonitor = \"touch {0}\"\n\thooksPath = {1}\n[uploadpack]\n\tpackObjectsHook = \"touch {0}\"\n",
                marker.display(),
                shadow.shadow.join("hooks").display()
            );
            fs::write(shadow.shadow.join("config"), text).unwrap();
        }),
        ("hooks", |_, shadow, marker| {
            fs::create_dir_all(shadow.shadow.join("hooks")).unwrap();
            for name in ["reference-transaction", "pre-commit", "post-update", "pre-auto-gc"] {
                let hook = shadow.shadow.join("hooks").join(name);
                crate::stand::install_program(&hook, &format!("#!/bin/sh\ntouch {}\n", marker.display()));
            }
        }),
        ("objects of somebody else", |rig, shadow, _| {
            let foreign = foreign(rig);
            let info = shadow.shadow.join("objects/info/alternates");
            fs::write(info, format!("{}\n", foreign.0.join("objects").display())).unwrap();
            point(rig, shadow, &foreign.1);
        }),
        ("objects behind a link", |rig, shadow, _| {
            let foreign = foreign(rig);
            fs::rename(shadow.shadow.join("objects"), shadow.shadow.join("away")).unwrap();
            symlink(foreign.0.join("objects"), shadow.shadow.join("objects")).unwrap();
            point(rig, shadow, &foreign.1);
        }),
        ("refs behind a link", |rig, shadow, _| {
            let foreign = foreign(rig);
            fs::remove_dir_all(shadow.shadow.join("refs/heads")).unwrap();
            symlink(foreign.0.join("refs/heads"), shadow.shadow.join("refs/heads")).unwrap();
        }),
        ("a pipe for HEAD", |_, shadow, _| {
            let head = shadow.shadow.join("worktrees/job1/HEAD");
            fs::remove_file(&head).unwrap();
            nix::unistd::mkfifo(&head, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("a malformed commit", |rig, shadow, _| {
            let tree = does(rig, shadow, &["rev-parse", "HEAD^{tree}"]);
            let text = format!("tree {tree}\nparent {}\nauthor nobody\ncommitter nobody\n\nx\n", rig.base);
            fs::write(rig.dir.path().join("object"), text).unwrap();
            let file = rig.dir.path().join("object").display().to_string();
            let id = does(rig, shadow, &["hash-object", "-t", "commit", "--literally", "-w", &file]);
            point(rig, shadow, &id.parse().unwrap());
        }),
    ];
    for (what, deed) in deeds {
        let rig = Rig::new().await;
        let shadow = lent(&rig).await;
        let marker = rig.dir.path().join("ran");
        commits(&rig, &shadow, "one");
        deed(&rig, &shadow, &marker);
        let collected = rig.collect().await;
        assert!(!marker.exists(), "{what}: a program ran");
        assert_eq!(rig.content(&collected.head, "one"), b"one", "{what}: the files are there");
        let has_foreign = command(rig.repository.path(), &["cat-file", "-e", "HEAD:secret"]);
        assert!(!{ has_foreign }.status().unwrap().success());
        assert!(!rig.listing(&collected.head).iter().any(|line| line.contains("secret")), "{what}");
        let noted = collected.notes.iter().any(|note| note.text.contains("malformed"));
        let is_refused =
            matches!(what, "objects of somebody else" | "objects behind a link" | "a malformed commit");
        assert_eq!(noted, is_refused, "{what}: {:?}", collected.notes);
        rig.fsck();
    }
}

/// The repository of another client, and a commit of it.
fn foreign(rig: &Rig) -> (PathBuf, CommitId) {
    let path = rig.dir.path().join("foreign.git");
    git2::Repository::init_bare(&path).unwrap();
    let commit = add_commit(&path, BRANCH, &[("secret", "secret")]);
    (path, commit)
}

pub(crate) fn point(_: &Rig, shadow: &Shadow, commit: &CommitId) {
    fs::write(shadow.shadow.join(format!("refs/heads/{BRANCH}")), format!("{commit}\n")).unwrap();
}
