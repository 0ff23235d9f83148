//! Large files that a repository keeps with git-lfs, with the real program and a local remote.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use offshoot::git::{
    BranchStart, CommitId, GitError, GitSettings, LfsLack, PushMode, PushOutcome, Remote, Written,
    WrittenBounds,
};

use crate::git_fixture::{BRANCH, Rig, command, run, settings_at};
use crate::left_out::{Need, has_program, leave_out};
use crate::lfs_objects::{object, pointer, put_object};
use crate::lfs_server::LfsServer;

pub(crate) const ATTRIBUTES: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n";

/// A remote with one large file, `a.bin`, and a clone of it; and a program that does transfers or is not there.
pub(crate) async fn rig(with_program: bool) -> Rig {
    rig_with(|settings| {
        if !with_program {
            settings.lfs_program = settings.scratch_dir.join("not-installed");
        }
    })
    .await
}

pub(crate) async fn rig_with(change: impl FnOnce(&mut GitSettings)) -> Rig {
    let (_, text) = pointer(b"large content");
    let files = [(".gitattributes", ATTRIBUTES), ("a.bin", &text), ("a.txt", "a\n")];
    let mut rig = Rig::without_clone(&files).await;
    put_object(&rig.remote_path(), b"large content");
    let mut settings = settings_at(rig.dir.path());
    change(&mut settings);
    rig.git = offshoot::git::Git::probe(settings, offshoot::clock::Clock::system()).await.unwrap();
    let path = rig.repository.path().to_owned();
    rig.repository = offshoot::git::Repository::new(rig.git.clone(), path, &rig.locks).unwrap();
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    rig
}

/// There is nothing to do before a transfer.
pub(crate) async fn begins() -> Result<(), GitError> {
    Ok(())
}

pub(crate) async fn fetched_worktree(rig: &Rig) -> PathBuf {
    let said = rig.repository.fetch_large_files(&rig.remote, &rig.base, begins()).await.unwrap();
    assert_eq!(said, Vec::<String>::new());
    rig.worktree().await
}

/// With a server of large files over HTTP, and the remote that is there. `None`: there is no git-lfs.
pub(crate) async fn served(what: &str, token: Option<&str>) -> Option<(Rig, LfsServer, Remote)> {
    if left_out(what) {
        return None;
    }
    let (rig, server) = (rig(true).await, LfsServer::start().await);
    let remote = Remote::new(server.url.clone(), token.map(secrecy::SecretString::from));
    Some((rig, server, remote))
}

pub(crate) fn left_out(what: &str) -> bool {
    if has_program("git-lfs") {
        return false;
    }
    leave_out(Need::GitLfs, what);
    true
}

#[tokio::test]
async fn large_files_come_as_content_and_go_as_pointers_and_objects() {
    if left_out("large files with the real git-lfs") {
        return;
    }
    let rig = rig(true).await;
    let path = fetched_worktree(&rig).await;
    assert_eq!(fs::read(path.join("a.bin")).unwrap(), b"large content");
    assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"", "git sees nothing changed");
    assert!(!rig.collect().await.changed);
    // touched and written again with the same content, it is still no change
    fs::write(path.join("a.bin"), b"large content").unwrap();
    assert!(!rig.collect().await.changed);

    let larger = vec![7_u8; 3 << 20];
    fs::write(path.join("a.bin"), &larger).unwrap();
    fs::write(path.join("new.bin"), b"new content").unwrap();
    fs::write(path.join("empty.bin"), b"").unwrap();
    let collected = rig.collect().await;
    assert_eq!(collected.notes, []);
    let head = collected.head;
    assert_eq!(rig.content(&head, "a.bin"), pointer(&larger).1.as_bytes(), "larger than other files may be");
    assert_eq!(rig.content(&head, "new.bin"), pointer(b"new content").1.as_bytes());
    assert_eq!(rig.content(&head, "empty.bin"), b"");
    assert_eq!(rig.collect().await.head, head, "again it gives the same");
    assert!(!object(&rig.remote_path(), b"new content").exists());

    assert_eq!(rig.push(&head, None).await.unwrap(), PushOutcome::Pushed);
    assert_eq!(fs::read(object(&rig.remote_path(), b"new content")).unwrap(), b"new content");
    assert_eq!(fs::read(object(&rig.remote_path(), &larger)).unwrap(), larger);
    assert_eq!(rig.push(&head, None).await.unwrap(), PushOutcome::AlreadyThere);
    rig.repository.verify_untampered().await.unwrap();
    let left: Vec<_> = fs::read_dir(rig.repository.path().join("offshoot")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only the record of the worktree: {left:?}");
    rig.fsck();
}

#[tokio::test]
async fn without_the_program_files_stay_pointers_and_a_change_is_told_what_to_install() {
    let rig = rig(false).await;
    let said = rig.repository.fetch_large_files(&rig.remote, &rig.base, begins()).await.unwrap();
    assert!(
        said.len() == 1 && said[0].contains("a.bin") && said[0].contains("apt install git-lfs"),
        "{said:?}"
    );
    let path = rig.worktree().await;
    assert_eq!(fs::read(path.join("a.bin")).unwrap(), pointer(b"large content").1.as_bytes());
    fs::write(path.join("a.txt"), "b\n").unwrap();
    fs::rename(path.join("a.bin"), path.join("moved.bin")).unwrap();
    let head = rig.collect().await.head;
    assert_eq!(rig.push(&head, None).await.unwrap(), PushOutcome::Pushed, "what the remote has may be moved");
    fs::write(path.join("b.bin"), "other content").unwrap();
    let failed = rig.try_collect().await;
    assert!(
        matches!(&failed, Err(GitError::LfsUnusable { path, lack: LfsLack::Missing }) if path == "b.bin"),
        "{failed:?}"
    );
    assert!(rig.snapshot().await.unwrap().notes.is_empty(), "it is kept all the same");
}

/// What is there and does not work is told as that: nobody is told to install what he has.
#[tokio::test]
async fn a_program_that_fails_is_not_taken_for_one_that_is_not_there() {
    let rig = rig_with(|settings| {
        settings.lfs_program = settings.scratch_dir.with_file_name("broken");
        crate::stand::install_program(&settings.lfs_program, "#!/bin/sh\necho 'no library' >&2\nexit 127\n");
    })
    .await;
    let said = rig.repository.fetch_large_files(&rig.remote, &rig.base, begins()).await.unwrap();
    assert!(
        said.len() == 1 && said[0].starts_with("a.bin stay pointers") && said[0].ends_with(": no library"),
        "{said:?}"
    );
    let path = rig.worktree().await;
    fs::write(path.join("b.bin"), "content").unwrap();
    let failed = rig.try_collect().await.unwrap_err();
    assert!(matches!(&failed, GitError::LfsUnusable { lack: LfsLack::Broken(_), .. }), "{failed:?}");
    assert!(failed.to_string().contains("b.bin is kept by git-lfs, which does not work"), "{failed}");
}

/// The system refuses to run it, and would say the same of a directory of PATH that it may not search.
#[tokio::test]
async fn what_nobody_may_run_is_no_program() {
    let rig = rig_with(|settings| {
        let dir = settings.scratch_dir.with_file_name("programs");
        fs::create_dir(&dir).unwrap();
        settings.lfs_program = "large-files".into();
        fs::write(dir.join("large-files"), "#!/bin/sh\n").unwrap();
        let usual = settings.environment.get(OsStr::new("PATH")).unwrap();
        let path = std::env::join_paths([dir].into_iter().chain(std::env::split_paths(usual))).unwrap();
        settings.environment.insert("PATH".into(), path);
    })
    .await;
    let said = rig.repository.fetch_large_files(&rig.remote, &rig.base, begins()).await.unwrap();
    assert!(said.len() == 1 && said[0].contains("not installed"), "{said:?}");
}

/// Whoever cannot say that a transfer begins is told so, and none does.
#[tokio::test]
async fn no_transfer_begins_that_cannot_be_told() {
    if left_out("a transfer that cannot be told") {
        return;
    }
    let rig = rig(true).await;
    let begins = async { Err(GitError::Abandoned) };
    let failed = rig.repository.fetch_large_files(&rig.remote, &rig.base, begins).await;
    assert!(matches!(failed, Err(GitError::Abandoned)), "{failed:?}");
    assert!(!rig.repository.path().join("lfs").exists());
}

#[tokio::test]
async fn a_snapshot_keeps_large_files_and_they_come_back() {
    let rig = rig(false).await;
    put_object(rig.repository.path(), b"large content");
    let path = rig.worktree().await;
    let larger = vec![9_u8; 2 << 20];
    fs::write(path.join("b.bin"), &larger).unwrap();
    let kept = rig.snapshot().await.unwrap();
    assert_eq!(
        (kept.notes.as_slice(), rig.content(&kept.commit, "b.bin")),
        (&[][..], pointer(&larger).1.into())
    );
    rig.repository.restore_work(&kept.commit, &path, BRANCH).await.unwrap();
    assert_eq!(fs::read(path.join("b.bin")).unwrap(), larger);
    assert_eq!(fs::read(path.join("a.bin")).unwrap(), b"large content");
    assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"?? b.bin\n");
}

/// By an agent whose git has no filter, which is what every git without `git lfs install` is.
#[tokio::test]
async fn content_that_an_agent_committed_becomes_a_pointer_on_top_and_that_of_others_stays() {
    if left_out("content that was committed although git-lfs has it") {
        return;
    }
    let (_, text) = pointer(b"large content");
    let files = [(".gitattributes", ATTRIBUTES), ("a.bin", &text), ("raw.bin", "committed by others")];
    let rig = Rig::without_clone(&files).await;
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    let path = rig.worktree().await;
    fs::write(path.join("raw.bin"), "committed by others").unwrap();
    assert!(!rig.collect().await.changed, "theirs stays what it is");
    fs::write(path.join("own.bin"), "committed by the agent").unwrap();
    run(&path, &["add", "own.bin"]);
    run(&path, &["commit", "-qm", "by the agent"]);
    let collected = rig.collect().await;
    assert_eq!(rig.content(&collected.head, "own.bin"), pointer(b"committed by the agent").1.as_bytes());
    assert_eq!(rig.content(&collected.head, "raw.bin"), b"committed by others");
    let notes: Vec<_> = collected.notes.iter().map(|note| note.path.as_str()).collect();
    assert_eq!(notes, ["own.bin"], "it is told that the content stays in the history");
    assert_eq!(rig.push(&collected.head, None).await.unwrap(), PushOutcome::Pushed);
    assert!(object(&rig.remote_path(), b"committed by the agent").exists());
}

#[tokio::test]
async fn a_pointer_to_nothing_is_not_pushed() {
    if left_out("pointers to nothing") {
        return;
    }
    let rig = rig(true).await;
    let path = fetched_worktree(&rig).await;
    // of the remote by another name, and of nobody
    put_object(&rig.remote_path(), b"elsewhere at the remote");
    fs::write(path.join("there.bin"), pointer(b"elsewhere at the remote").1).unwrap();
    let head = rig.collect().await.head;
    assert_eq!(rig.push(&head, None).await.unwrap(), PushOutcome::Pushed);
    fs::write(path.join("lost.bin"), pointer(b"of nobody").1).unwrap();
    let next = rig.collect().await.head;
    let outcome = rig.push(&next, Some(&head)).await.unwrap();
    assert!(
        matches!(&outcome, PushOutcome::Rejected { text } if text.contains("lost.bin") && !text.contains("there.bin")),
        "{outcome:?}"
    );
    assert_eq!(rig.git.remote_tip(&rig.remote, BRANCH).await.unwrap(), Some(head));
}

/// Files are staged by the rules of the worktree, which git need not have in a commit.
#[tokio::test]
async fn what_became_a_pointer_by_rules_that_are_in_no_commit_goes_with_its_object() {
    if left_out("rules that are in no commit") {
        return;
    }
    let rig = Rig::without_clone(&[(".gitignore", ".gitattributes\n"), ("a.txt", "a\n")]).await;
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    let path = rig.worktree().await;
    fs::write(path.join(".gitattributes"), ATTRIBUTES).unwrap();
    fs::write(path.join("a.bin"), "by the worktree's rules").unwrap();
    // text that nobody calls a pointer is text
    fs::write(path.join("sample.txt"), pointer(b"of nobody").1).unwrap();
    let head = rig.collect().await.head;
    assert_eq!(rig.content(&head, "a.bin"), pointer(b"by the worktree's rules").1.as_bytes());
    assert_eq!(rig.push(&head, None).await.unwrap(), PushOutcome::Pushed);
    let there = object(&rig.remote_path(), b"by the worktree's rules");
    assert_eq!(fs::read(there).unwrap(), b"by the worktree's rules");
}

/// For who compares what is new with what was there: a key that was in a large file before is not a new one.
#[tokio::test]
async fn a_large_file_is_looked_at_as_content_beside_the_content_that_it_had() {
    let rig = rig(false).await;
    put_object(rig.repository.path(), b"large content");
    let path = rig.worktree().await;
    fs::write(path.join("a.bin"), "large content, and more").unwrap();
    let head = rig.snapshot().await.unwrap().commit;
    let look = async |bytes_max: u64| {
        let bounds =
            WrittenBounds { commits_max: 9, bytes_max, file_bytes_max: 1 << 20, words_bytes_max: 1 << 20 };
        let look = |written: &Written<'_>| {
            let before: Vec<_> = written.before.iter().map(|before| before.to_vec()).collect();
            let found = (written.path == b"a.bin").then(|| (written.now.to_vec(), before));
            std::ops::ControlFlow::Continue(found.into_iter().collect())
        };
        let looked = rig.repository.look_at_written(&rig.base, &head, &[], bounds, look).await.unwrap();
        (looked.found, looked.is_whole)
    };
    let expected = (b"large content, and more".to_vec(), vec![b"large content".to_vec()]);
    assert_eq!(look(1 << 20).await, (vec![expected], true));
    let pointer_bytes = pointer(b"large content, and more").1.len() as u64;
    assert_eq!(look(pointer_bytes + 10).await, (Vec::new(), false), "not read beyond the bound");
}

#[tokio::test]
async fn objects_are_what_their_name_says_before_they_leave_and_when_they_come() {
    if left_out("damaged objects") {
        return;
    }
    let rig = rig(true).await;
    let path = fetched_worktree(&rig).await;
    fs::write(path.join("b.bin"), "good content").unwrap();
    let head = rig.collect().await.head;
    let stored = object(rig.repository.path(), b"good content");
    fs::remove_file(&stored).unwrap();
    fs::write(&stored, "evil content").unwrap();
    let outcome = rig.push(&head, None).await.unwrap();
    assert!(matches!(&outcome, PushOutcome::Rejected { text } if text.contains("b.bin")), "{outcome:?}");
    // collected again from the worktree it is mended
    fs::remove_file(&stored).unwrap();
    put_object(rig.repository.path(), b"good content");
    assert_eq!(rig.push(&head, None).await.unwrap(), PushOutcome::Pushed);

    // one of the clone that is damaged is fetched again, and no content comes from it
    let stored = object(rig.repository.path(), b"large content");
    fs::remove_file(&stored).unwrap();
    fs::write(&stored, "largE content").unwrap();
    rig.repository.fetch_large_files(&rig.remote, &rig.base, begins()).await.unwrap();
    assert_eq!(fs::read(&stored).unwrap(), b"large content");
}

#[tokio::test]
async fn a_server_that_is_down_is_tried_again() {
    if left_out("an unreachable server of large files") {
        return;
    }
    let rig = rig(true).await;
    let path = fetched_worktree(&rig).await;
    fs::write(path.join("b.bin"), "content").unwrap();
    let head = rig.collect().await.head;
    let gone = Remote::new("http://127.0.0.1:1/o/r.git", None);
    let outcome = rig.repository.push(&gone, &head, BRANCH, None, PushMode::FastForward).await;
    assert!(matches!(outcome.unwrap(), PushOutcome::Unavailable { .. }));
    fs::remove_dir_all(rig.repository.path().join("lfs")).unwrap();
    let failed = rig.repository.fetch_large_files(&gone, &rig.base, begins()).await.unwrap_err();
    assert!(failed.is_retryable(), "{failed:?}");
}

#[tokio::test]
async fn no_file_of_a_repository_is_in_the_way_of_a_large_one() {
    let (_, text) = pointer(b"large content");
    let files = [(".gitattributes", ATTRIBUTES), ("a.bin", &text), (".offshoot-large-file", "committed")];
    let rig = Rig::without_clone(&files).await;
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    put_object(rig.repository.path(), b"large content");
    let path = rig.worktree().await;
    assert_eq!(fs::read(path.join("a.bin")).unwrap(), b"large content");
    assert_eq!(fs::read(path.join(".offshoot-large-file")).unwrap(), b"committed");
    let names: Vec<_> = fs::read_dir(&path).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

/// What the base has of giants and of names that lead elsewhere is text.
#[tokio::test]
async fn pointers_that_lie_are_left_alone() {
    let giant = pointer(b"x").1.replace("size 1", "size 9223372036854775807");
    let oid = pointer(b"x").0;
    let climbing = pointer(b"x").1.replace(&oid, &format!("../../../{}", &oid[9..]));
    let files = [(".gitattributes", ATTRIBUTES), ("giant.bin", &giant), ("climbing.bin", &climbing)];
    let rig = Rig::without_clone(&files).await;
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    let said = rig.repository.fetch_large_files(&rig.remote, &rig.base, begins()).await.unwrap();
    assert!(said.len() == 1 && said[0].contains("more than 5 GiB stay pointers: giant.bin"), "{said:?}");
    let path = rig.worktree().await;
    assert_eq!(fs::read(path.join("climbing.bin")).unwrap(), climbing.as_bytes());
    assert!(!rig.collect().await.changed);
    // and a file that is one is refused before it is read
    fs::File::create(path.join("sparse.bin")).unwrap().set_len(1 << 40).unwrap();
    let failed = rig.try_collect().await;
    assert!(
        matches!(failed, Err(GitError::FileTooLarge { bytes_max, .. }) if bytes_max == 5 << 30),
        "{failed:?}"
    );
}

/// As an agent in the sandbox has it whose own git-lfs is set up: its objects are in its shadow.
#[tokio::test]
async fn what_an_agents_own_git_lfs_stored_in_its_shadow_is_taken_over() {
    if left_out("an agent's own git-lfs") {
        return;
    }
    let rig = rig(true).await;
    let path = fetched_worktree(&rig).await;
    let shadow = rig.repository.lend(&path).await.unwrap();
    let content = b"stored by the agent's own";
    put_object(&shadow.shadow, content);
    put_object(&shadow.shadow, b"another");
    fs::write(object(&shadow.shadow, b"another"), b"changed").unwrap();
    put_object(&shadow.shadow, b"of no commit");
    let id = commit_in(&shadow.shadow, &path, "own.bin", &pointer(content).1);
    let collected = rig.collect().await;
    assert!(rig.repository.descends_from(&collected.head, &id).await.unwrap());
    assert_eq!(fs::read(object(rig.repository.path(), content)).unwrap(), content);
    assert!(!object(rig.repository.path(), b"of no commit").exists(), "nothing points at it");
    assert!(
        !object(rig.repository.path(), b"another").exists(),
        "what is not what its name says stays there"
    );
    let remade = rig.repository.ensure_worktree(&path, BRANCH, &id, BranchStart::Reset).await.unwrap();
    assert!(remade.created);
    assert_eq!(fs::read(path.join("own.bin")).unwrap(), content);
}

/// A commit in the shadow on its branch, by plain git with the clone's objects lent.
pub(crate) fn commit_in(shadow: &Path, worktree: &Path, file: &str, text: &str) -> CommitId {
    let objects = worktree.parent().unwrap().parent().unwrap().parent().unwrap().parent().unwrap();
    let clone = objects.join("repos/o/r.git");
    let git = |args: &[&str], input: &str| {
        use std::io::Write as _;
        let mut command = command(shadow, args);
        command
            .env("GIT_DIR", shadow)
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", clone.join("objects"))
            .env("GIT_INDEX_FILE", worktree.with_file_name("index-of-the-agent"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let blob = git(&["hash-object", "-w", "--stdin"], text);
    git(&["read-tree", BRANCH], "");
    git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{file}")], "");
    let tree = git(&["write-tree"], "");
    let commit = git(&["commit-tree", &tree, "-p", BRANCH, "-m", "by the agent"], "");
    git(&["update-ref", &format!("refs/heads/{BRANCH}"), &commit], "");
    commit.parse().unwrap()
}

#[tokio::test]
async fn a_server_over_http_gets_them_with_our_token_before_git_is_asked() {
    let begun = served("a server of large files over HTTP", Some("s3cret-token")).await;
    let Some((rig, server, remote)) = begun else { return };
    let (oid, _) = pointer(b"large content");
    server.world.lock().unwrap().objects.insert(oid, b"large content".to_vec());
    assert_eq!(
        rig.repository.fetch_large_files(&remote, &rig.base, begins()).await.unwrap(),
        Vec::<String>::new()
    );
    let path = rig.worktree().await;
    assert_eq!(fs::read(path.join("a.bin")).unwrap(), b"large content");
    fs::write(path.join("b.bin"), "new content").unwrap();
    let head = rig.collect().await.head;
    let push = || rig.repository.push(&remote, &head, BRANCH, None, PushMode::FastForward);
    for (status, message, expected) in [
        (503, "away", "Unavailable"),
        (429, "You have exceeded a rate limit.", "Unavailable"),
        (403, "This repository is over its data quota.", "Rejected"),
        (507, "no room", "Rejected"),
        (401, "who?", "AuthFailed"),
    ] {
        server.world.lock().unwrap().refusal = Some((status, message));
        let outcome = format!("{:?}", push().await.unwrap());
        assert!(outcome.starts_with(expected), "{status}: {outcome}");
        assert!(!outcome.contains("s3cret"), "{outcome}");
    }
    server.world.lock().unwrap().refusal = None;
    // this server knows nothing of git, whose push follows
    assert_eq!(push().await.unwrap(), PushOutcome::NoRepository);
    let world = server.world.lock().unwrap();
    assert_eq!(world.objects.get(&pointer(b"new content").0).map(Vec::as_slice), Some(&b"new content"[..]));
    let basic =
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("x-access-token:s3cret-token"));
    assert!(world.authorizations.iter().all(|seen| *seen == basic), "{:?}", world.authorizations);
}
