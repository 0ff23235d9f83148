//! The ordinary flow with git: clone, worktree, edit, collect, push, snapshot, diff, remove.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use offshoot::git::{
    BranchStart, ChangeKind, CommitId, DiffRequest, GitError, PushMode, PushOutcome, Remote, RemoteFailure,
    sweep_trash,
};

use crate::git_fixture::{BRANCH, Rig, add_commit, run, spec};

#[tokio::test]
async fn work_goes_from_the_remote_to_the_remote() {
    let rig = Rig::new().await;
    assert_eq!(rig.git.default_branch(&rig.remote).await.unwrap().as_deref(), Some("main"));
    assert_eq!(rig.repository.resolve_base("main").await.unwrap(), Some(rig.base.clone()));
    let path = rig.worktree().await;
    assert_eq!(fs::read_to_string(path.join("a.txt")).unwrap(), "one\ntwo\n");
    assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"");

    fs::write(path.join("a.txt"), "one\n2\n").unwrap();
    fs::write(path.join("new.txt"), "new\n").unwrap();
    let collected = rig.collect().await;
    assert!(collected.committed && collected.changed);
    assert_eq!((collected.files_changed, collected.insertions, collected.deletions), (2, 2, 1));
    assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"", "the worktree shows the result as clean");
    assert_eq!(
        run(&path, &["log", "-1", "--format=%an %ae %at %B"]).stdout,
        b"Somebody s@example.com 1700000000 feat: a change\n\n"
    );

    let again = rig.collect().await;
    assert_eq!((again.head.clone(), again.committed, again.changed), (collected.head.clone(), false, true));

    let head = collected.head;
    assert!(!rig.repository.is_on_remote(&rig.remote, BRANCH, &head).await.unwrap());
    assert_eq!(rig.push(&head, None).await.unwrap(), PushOutcome::Pushed);
    assert_eq!(rig.push(&head, None).await.unwrap(), PushOutcome::AlreadyThere);
    assert!(rig.repository.is_on_remote(&rig.remote, BRANCH, &head).await.unwrap());
    assert_eq!(rig.git.remote_tip(&rig.remote, BRANCH).await.unwrap(), Some(head));
    rig.fsck();
}

#[tokio::test]
async fn a_push_never_overwrites_what_it_did_not_expect() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::write(path.join("a.txt"), "mine\n").unwrap();
    let mine = rig.collect().await.head;
    assert_eq!(rig.push(&mine, None).await.unwrap(), PushOutcome::Pushed);
    let theirs = add_commit(&rig.remote_path(), BRANCH, &[("their.txt", "x\n")]);

    fs::write(path.join("a.txt"), "more\n").unwrap();
    let more = rig.collect().await.head;
    let outcome = rig.push(&more, None).await.unwrap();
    assert_eq!(outcome, PushOutcome::Moved { found: Some(theirs.clone()) });
    let outcome = rig.push(&more, Some(&mine)).await.unwrap();
    assert_eq!(outcome, PushOutcome::Moved { found: Some(theirs.clone()) });
    assert_eq!(rig.git.remote_tip(&rig.remote, BRANCH).await.unwrap(), Some(theirs.clone()));

    rig.repository.fetch(&rig.remote, Duration::ZERO).await.unwrap();
    let refused = rig.push(&more, Some(&theirs)).await;
    assert!(matches!(refused, Err(GitError::NotFastForward { .. })), "{refused:?}");
    let reset =
        rig.repository.push(&rig.remote, &more, BRANCH, Some(&theirs), PushMode::Reset).await.unwrap();
    assert_eq!(reset, PushOutcome::Pushed);
    assert_eq!(rig.git.remote_tip(&rig.remote, BRANCH).await.unwrap(), Some(more));
}

#[tokio::test]
async fn a_refusing_hook_is_told_in_its_own_words() {
    let rig = Rig::new().await;
    let hook = rig.remote_path().join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\necho this branch is protected >&2\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let path = rig.worktree().await;
    fs::write(path.join("a.txt"), "x\n").unwrap();
    let head = rig.collect().await.head;
    let outcome = rig.push(&head, None).await.unwrap();
    assert!(
        matches!(&outcome, PushOutcome::Rejected { text } if text.contains("this branch is protected")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn failures_of_the_remote_are_classified_and_leave_nothing() {
    let rig = Rig::without_clone(&[("a", "a")]).await;
    let missing = Remote::new(rig.dir.path().join("missing.git").to_str().unwrap(), None);
    let failed = rig.repository.ensure_clone(&missing).await;
    assert!(matches!(failed, Err(GitError::Remote(RemoteFailure::NotFound))), "{failed:?}");
    let unreachable = Remote::new("http://127.0.0.1:1/o/r.git", None);
    let failed = rig.repository.ensure_clone(&unreachable).await.unwrap_err();
    assert!(failed.is_retryable(), "{failed:?}");
    assert!(!rig.repository.exists());
    // not even the folder of the organisation
    assert!(!rig.repository.path().parent().unwrap().exists());
}

#[tokio::test]
async fn a_half_clone_is_swept_and_a_clone_is_made_once() {
    let rig = Rig::without_clone(&[("a", "a")]).await;
    let parent = rig.repository.path().parent().unwrap().to_owned();
    let half = parent.join(".r.git.abc.offshoot-half");
    fs::create_dir_all(half.join("objects")).unwrap();
    let other = parent.join(".other.git.abc.offshoot-half");
    fs::create_dir_all(&other).unwrap();
    assert!(rig.repository.ensure_clone(&rig.remote).await.unwrap());
    assert!(!rig.repository.ensure_clone(&rig.remote).await.unwrap());
    assert!(!half.exists() && other.exists());
    rig.repository.verify_untampered().await.unwrap();
    rig.repository.remove().await.unwrap();
    assert!(!rig.repository.exists());
    rig.repository.remove().await.unwrap();
}

#[tokio::test]
async fn a_fetch_follows_the_remote_and_spares_local_branches() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let gone = add_commit(&rig.remote_path(), "gone", &[("x", "x")]);
    rig.repository.fetch(&rig.remote, Duration::ZERO).await.unwrap();
    assert_eq!(rig.repository.resolve_base("gone").await.unwrap(), Some(gone));
    run(&rig.remote_path(), &["branch", "-D", "gone"]);
    let moved = add_commit(&rig.remote_path(), "main", &[("y", "y")]);
    let shared = rig.repository.fetch(&rig.remote, Duration::from_secs(3600)).await.unwrap();
    assert!(shared.shared, "a fresh fetch is reused");
    assert!(!rig.repository.fetch(&rig.remote, Duration::ZERO).await.unwrap().shared);
    assert_eq!(rig.repository.resolve_base("gone").await.unwrap(), None);
    assert_eq!(rig.repository.resolve_base("main").await.unwrap(), Some(moved));
    assert_eq!(rig.repository.find_ref("refs/heads/feat").await.unwrap(), Some(rig.base.clone()));
    assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"");
}

#[tokio::test]
async fn commits_of_the_agent_are_kept_wherever_it_moved_head() {
    for moves in [&[][..], &["checkout", "-q", "-b", "elsewhere"], &["checkout", "-q", "--detach"]] {
        let rig = Rig::new().await;
        let path = rig.worktree().await;
        if !moves.is_empty() {
            run(&path, moves);
        }
        fs::write(path.join("a.txt"), "committed\n").unwrap();
        run(&path, &["commit", "-qam", "by the agent"]);
        let own: CommitId =
            String::from_utf8(run(&path, &["rev-parse", "HEAD"]).stdout).unwrap().trim().parse().unwrap();
        let collected = rig.collect().await;
        assert_eq!((collected.head, collected.committed, collected.changed), (own.clone(), false, true));
        fs::write(path.join("left.txt"), "uncommitted\n").unwrap();
        let collected = rig.collect().await;
        assert!(collected.committed);
        assert!(rig.repository.descends_from(&collected.head, &own).await.unwrap());
        assert_eq!(rig.collect().await.head, collected.head);
        assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"", "{moves:?}");
    }
}

#[tokio::test]
async fn rewritten_history_and_no_change_are_told_apart() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let nothing = rig.collect().await;
    assert_eq!((nothing.head, nothing.changed, nothing.files_changed), (rig.base.clone(), false, 0));
    run(&path, &["commit", "-q", "--amend", "-m", "rewritten"]);
    let failed = rig.try_collect().await;
    assert!(matches!(failed, Err(GitError::HistoryRewritten { .. })), "{failed:?}");
}

#[tokio::test]
async fn deletions_renames_modes_and_ignored_files() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::remove_file(path.join("a.txt")).unwrap();
    fs::rename(path.join("dir/b.txt"), path.join("c.txt")).unwrap();
    fs::set_permissions(path.join("run.sh"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir_all(path.join("node_modules/x")).unwrap();
    fs::write(path.join("node_modules/x/y"), "ignored").unwrap();
    fs::create_dir(path.join("sub")).unwrap();
    fs::write(path.join("sub/.gitignore"), "*.o\n!keep.o\n").unwrap();
    fs::write(path.join("sub/x.o"), "ignored").unwrap();
    fs::write(path.join("sub/keep.o"), "kept").unwrap();
    fs::write(path.join(".gitignore"), "node_modules/\nrun.sh\n").unwrap();
    let collected = rig.repository.collect(&path, &rig.base, spec()).await.unwrap();
    assert_eq!(
        rig.listing(&collected.head),
        ["100644 .gitignore", "100644 c.txt", "100644 run.sh", "100644 sub/.gitignore", "100644 sub/keep.o"]
    );
    assert!(collected.notes.is_empty(), "{:?}", collected.notes);
}

#[tokio::test]
async fn a_tracked_file_stays_tracked_although_it_is_ignored() {
    let rig = Rig::without_clone(&[(".gitignore", "*.log\nout/\n"), ("x.log", "1"), ("out/y", "1")]).await;
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    let path = rig.worktree().await;
    fs::write(path.join("x.log"), "22").unwrap();
    fs::write(path.join("out/y"), "22").unwrap();
    fs::write(path.join("other.log"), "no").unwrap();
    fs::write(path.join("out/z"), "no").unwrap();
    let head = rig.collect().await.head;
    assert_eq!(rig.listing(&head), ["100644 .gitignore", "100644 out/y", "100644 x.log"]);
    assert_eq!(rig.content(&head, "out/y"), b"22");
    assert_eq!(rig.content(&head, "x.log"), b"22");
}

#[tokio::test]
async fn line_ends_follow_attributes_and_filters_are_refused_only_where_they_matter() {
    let attributes =
        "*.txt text\n*.bat text eol=crlf\n*.bin filter=crypt -text\n*.u16 working-tree-encoding=UTF-16LE\n";
    let files = [
        (".gitattributes", attributes),
        ("a.txt", "a\n"),
        ("b.bat", "b\n"),
        ("c.bin", "pointer\n"),
        ("d.u16", "d\n"),
    ];
    let rig = Rig::without_clone(&files).await;
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    let path = rig.worktree().await;
    assert_eq!(fs::read(path.join("b.bat")).unwrap(), b"b\r\n");
    assert_eq!(fs::read(path.join("d.u16")).unwrap(), b"d\0\n\0");
    assert!(!rig.collect().await.changed, "a fresh checkout is unchanged");

    fs::write(path.join("a.txt"), "a\r\nb\r\n").unwrap();
    fs::write(path.join("b.bat"), "b\r\nc\r\n").unwrap();
    let head = rig.collect().await.head;
    assert_eq!(rig.content(&head, "a.txt"), b"a\nb\n");
    assert_eq!(rig.content(&head, "b.bat"), b"b\nc\n");
    assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"");

    fs::write(path.join("c.bin"), "big content").unwrap();
    let failed = rig.try_collect().await;
    assert!(
        matches!(&failed, Err(GitError::UnsupportedFilter { path, filter }) if path == "c.bin" && filter == "crypt"),
        "{failed:?}"
    );
    assert_eq!(rig.snapshot().await.unwrap().notes.len(), 1, "a snapshot takes it as it is");
}

#[tokio::test]
async fn a_too_large_file_fails_a_commit_and_is_left_out_of_a_snapshot() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let sparse = fs::File::create(path.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let failed = rig.try_collect().await;
    assert!(matches!(failed, Err(GitError::FileTooLarge { bytes, .. }) if bytes == 1 << 40));
    let snapshot = rig.snapshot().await.unwrap();
    assert_eq!(snapshot.notes[0].path, "sparse");
}

#[tokio::test]
async fn a_worktree_is_made_once_kept_and_reset() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::write(path.join("a.txt"), "work\n").unwrap();
    let reuse = |mode| rig.repository.ensure_worktree(&path, BRANCH, &rig.base, mode);
    assert!(!reuse(BranchStart::Reuse).await.unwrap().created);
    assert_eq!(fs::read_to_string(path.join("a.txt")).unwrap(), "work\n");
    assert!(reuse(BranchStart::Reset).await.unwrap().created);
    assert_eq!(fs::read_to_string(path.join("a.txt")).unwrap(), "one\ntwo\n");

    // A checkout that was cut short has no record and is made anew.
    fs::remove_file(rig.repository.path().join("offshoot/job1/index")).unwrap();
    fs::remove_file(path.join("a.txt")).unwrap();
    assert!(reuse(BranchStart::Reuse).await.unwrap().created);
    assert_eq!(fs::read_to_string(path.join("a.txt")).unwrap(), "one\ntwo\n");

    // The branch of a registration whose worktree is gone does not stand in the way of another path.
    fs::remove_dir_all(&path).unwrap();
    let other = path.with_file_name("job2");
    assert!(
        rig.repository.ensure_worktree(&other, BRANCH, &rig.base, BranchStart::Reuse).await.unwrap().created
    );
    let missing: CommitId = "1".repeat(40).parse().unwrap();
    let failed = rig.repository.ensure_worktree(&path, BRANCH, &missing, BranchStart::Reuse).await;
    assert!(matches!(failed, Err(GitError::CommitMissing(_))));
    rig.fsck();
}

#[tokio::test]
async fn removal_is_a_rename_and_the_trash_is_swept() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    rig.repository.remove_worktree(&path).await.unwrap();
    rig.repository.remove_worktree(&path).await.unwrap();
    assert!(!path.exists() && !rig.admin().exists());
    let worktrees = path.parent().unwrap();
    assert_eq!(fs::read_dir(worktrees.join(".trash")).unwrap().count(), 0);
    fs::create_dir_all(worktrees.join(".trash/left/behind")).unwrap();
    fs::write(worktrees.join(".trash/left/behind/file"), "x").unwrap();
    assert_eq!(sweep_trash(worktrees, Some(0), false).await.unwrap(), 0, "it is not that old");
    assert!(sweep_trash(worktrees, None, true).await.unwrap() > 0);
    assert!(worktrees.join(".trash/left").exists(), "only counted");
    assert!(sweep_trash(worktrees, None, false).await.unwrap() > 0);
    assert!(!worktrees.join(".trash/left").exists());
    assert_eq!(sweep_trash(Path::new("/nonexistent"), None, false).await.unwrap(), 0);
    assert!(run(rig.repository.path(), &["worktree", "list"]).stdout.ends_with(b"(bare)\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_worktrees_come_and_go_at_once() {
    let rig = Rig::new().await;
    for round in 0..5 {
        let mut all = tokio::task::JoinSet::new();
        for at in 0..8 {
            let (repository, base, remote) = (rig.repository.clone(), rig.base.clone(), rig.remote.clone());
            let path = rig.worktree_path().with_file_name(format!("job{at}"));
            all.spawn(async move {
                let branch = format!("b{round}/{at}");
                repository.ensure_worktree(&path, &branch, &base, BranchStart::Reset).await?;
                fs::write(path.join("a.txt"), format!("{round} {at}\n")).unwrap();
                repository.fetch(&remote, Duration::ZERO).await?;
                let collected = repository.collect(&path, &base, spec()).await?;
                assert!(collected.committed);
                repository.remove_worktree(&path).await?;
                repository.delete_ref(&format!("refs/heads/{branch}")).await
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap().unwrap();
        }
    }
    rig.fsck();
}

#[tokio::test]
async fn a_snapshot_writes_over_no_other_files() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::write(path.join("a.txt"), "work\n").unwrap();
    let first = rig.snapshot().await.unwrap();
    fs::write(path.join("a.txt"), "other\n").unwrap();
    let second = rig.snapshot().await.unwrap();
    assert_eq!(
        (first.name.as_str(), second.name.as_str()),
        ("refs/offshoot/job1/1", "refs/offshoot/job1/1-2")
    );
    assert_eq!(rig.snapshot().await.unwrap().name, second.name, "these are there");
    let found = rig.repository.find_snapshots("refs/offshoot/job1/").await.unwrap();
    assert_eq!(found.iter().map(|one| &one.commit).collect::<Vec<_>>(), [&first.commit, &second.commit]);
}

#[tokio::test]
async fn a_snapshot_brings_everything_back() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::write(path.join("a.txt"), "work\n").unwrap();
    fs::write(path.join(".gitignore"), "*.log\n").unwrap();
    fs::write(path.join("x.log"), "ignored").unwrap();
    let snapshot = rig.snapshot().await.unwrap();
    assert_eq!(
        rig.snapshot().await.unwrap().commit,
        snapshot.commit,
        "the same files give the same snapshot"
    );
    assert_eq!(
        rig.repository.find_snapshots("refs/offshoot/job1/").await.unwrap()[0].commit,
        snapshot.commit
    );
    assert_eq!(rig.repository.find_snapshots("refs/offshoot/job2/").await.unwrap(), []);
    assert!(rig.collect().await.committed, "a snapshot leaves the worktree as it was");

    let bundle = rig.dir.path().join("x.bundle");
    rig.repository.bundle(std::slice::from_ref(&snapshot.name), &bundle).await.unwrap();
    assert!(bundle.metadata().unwrap().len() > 0);

    rig.repository.remove_worktree(&path).await.unwrap();
    let other = path.with_file_name("rescued");
    let head = rig.repository.restore_work(&snapshot.commit, &other, "rescue").await.unwrap();
    assert_eq!(head, rig.base, "what was not committed is not committed now");
    assert_eq!(fs::read_to_string(other.join("a.txt")).unwrap(), "work\n");
    let status = run(&other, &["status", "--porcelain"]).stdout;
    assert_eq!(String::from_utf8(status).unwrap(), " M a.txt\n?? .gitignore\n");
    let missing: CommitId = "1".repeat(40).parse().unwrap();
    let gone = rig.repository.restore_work(&missing, &other, "rescue").await;
    assert!(matches!(gone, Err(GitError::CommitMissing(_))), "{gone:?}");
}

#[tokio::test]
async fn a_diff_is_complete_or_says_that_it_is_cut() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::write(path.join("a.txt"), "one\n2\n").unwrap();
    fs::remove_file(path.join("run.sh")).unwrap();
    fs::write(path.join("bin"), b"\0\x01").unwrap();
    let head = rig.collect().await.head;
    let mut request =
        DiffRequest { paths: Vec::new(), context_lines: 3, patch_bytes_max: 1 << 20, files_max: 100 };
    let diff = rig.repository.diff(&rig.base, &head, request.clone()).await.unwrap();
    let kinds: Vec<_> =
        diff.files.iter().map(|file| (file.path.as_str(), file.kind, file.is_binary)).collect();
    assert_eq!(
        kinds,
        [
            ("a.txt", ChangeKind::Modified, false),
            ("bin", ChangeKind::Added, true),
            ("run.sh", ChangeKind::Deleted, false)
        ]
    );
    let text = String::from_utf8(diff.patch.clone()).unwrap();
    assert!(text.contains("\n-two\n+2\n") && !diff.is_truncated, "{text}");
    request.patch_bytes_max = 100;
    let cut = rig.repository.diff(&rig.base, &head, request.clone()).await.unwrap();
    assert!(
        cut.is_truncated && cut.is_patch_cut && cut.patch.len() <= 100 && diff.patch.starts_with(&cut.patch)
    );
    let few = DiffRequest { files_max: 1, patch_bytes_max: 1 << 20, ..request.clone() };
    let few = rig.repository.diff(&rig.base, &head, few).await.unwrap();
    assert!(
        few.is_truncated && !few.is_patch_cut && few.patch == diff.patch,
        "the list is cut, the patch is not"
    );
    request.paths = vec![String::from("a.*")];
    assert_eq!(
        rig.repository.diff(&rig.base, &head, request).await.unwrap().files_changed,
        0,
        "paths are literal"
    );
}

#[tokio::test]
async fn a_collection_that_was_cut_short_ends_in_the_same_commit() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let index = fs::read(rig.admin().join("index")).unwrap();
    fs::write(path.join("a.txt"), "work\n").unwrap();
    let head = rig.collect().await.head;
    // As if the server had died with the commit written and nothing pointing at it, or only the index moved.
    for cut in 0..2 {
        run(&path, &["update-ref", "refs/heads/feat", rig.base.as_str()]);
        if cut == 0 {
            fs::write(rig.admin().join("index"), &index).unwrap();
            fs::remove_file(rig.repository.path().join("offshoot/job1/index")).unwrap();
        }
        let again = rig.collect().await;
        assert_eq!(again.head, head);
        assert_eq!(rig.repository.find_ref("refs/heads/feat").await.unwrap(), Some(head.clone()));
        assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"");
    }
}

/// Each is what a server leaves that is killed in the middle of the write.
#[tokio::test]
async fn locks_of_a_killed_server_are_in_nobodys_way() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let clone = rig.repository.path();
    fs::write(path.join("a.txt"), "work\n").unwrap();
    for lock in ["offshoot/job1/index.new.lock", "worktrees/job1/index.lock", "refs/heads/feat.lock"] {
        fs::write(clone.join(lock), "").unwrap();
    }
    let head = rig.collect().await.head;
    assert_eq!(rig.repository.find_ref("refs/heads/feat").await.unwrap(), Some(head));
    rig.repository.remove_worktree(&path).await.unwrap();
    for is_there in [true, false] {
        fs::write(clone.join("refs/heads/feat.lock"), "").unwrap();
        assert_eq!(rig.repository.find_ref("refs/heads/feat").await.unwrap().is_some(), is_there);
        rig.repository.delete_ref("refs/heads/feat").await.unwrap();
        assert!(!clone.join("refs/heads/feat.lock").exists());
    }
}

#[tokio::test]
async fn a_lock_of_a_killed_fetch_stops_no_later_one() {
    let rig = Rig::new().await;
    run(&rig.remote_path(), &["branch", "new/one", "main"]);
    let refs = rig.repository.path().join("refs/remotes/origin");
    fs::create_dir_all(refs.join("new")).unwrap();
    for lock in ["new/one.lock", "main.lock"] {
        fs::write(refs.join(lock), "").unwrap();
    }
    rig.repository.fetch(&rig.remote, Duration::ZERO).await.unwrap();
    assert_eq!(rig.repository.resolve_base("new/one").await.unwrap(), Some(rig.base.clone()));
    assert!(!refs.join("new/one.lock").exists());
}

#[tokio::test]
async fn a_known_submodule_stays_where_it_points() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let pointer = format!("160000,{},sub", "1".repeat(40));
    run(&path, &["update-index", "--add", "--cacheinfo", &pointer]);
    run(&path, &["commit", "-qm", "a submodule"]);
    fs::create_dir(path.join("sub")).unwrap();
    fs::write(path.join("sub/inside"), "not ours").unwrap();
    fs::write(path.join("a.txt"), "work\n").unwrap();
    let head = rig.collect().await.head;
    assert_eq!(rig.listing(&head), ["100644 a.txt", "100644 dir/b.txt", "100755 run.sh", "160000 sub"]);
}
