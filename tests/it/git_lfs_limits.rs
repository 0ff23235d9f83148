//! Bounds of what is done for large files, and what is told of them.

use std::fs;

use offshoot::git::{CommitId, CommitSpec, GitError, GiveUp, PushMode, PushOutcome, Remote};

use crate::git_fixture::{BRANCH, Rig, command, spec};
use crate::git_lfs::{fetched_worktree, left_out, rig, rig_with};
use crate::lfs_objects::pointer;
use crate::lfs_server::LfsServer;
use crate::process_rig::eventually;

#[tokio::test]
async fn holes_count_in_large_files_and_whoever_gives_up_is_obeyed() {
    let rig = rig_with(|settings| settings.large_bytes_max = 100_000).await;
    let path = rig.worktree().await;
    for name in ["c.bin", "d.bin"] {
        fs::File::create(path.join(name)).unwrap().set_len(60_000).unwrap();
    }
    let failed = rig.try_collect().await;
    assert!(matches!(&failed, Err(GitError::LargeFilesTooLarge { bytes_max: 100_000, .. })), "{failed:?}");
    let kept = rig.snapshot().await.unwrap();
    assert_eq!(kept.notes.len(), 1, "one of them fits: {:?}", kept.notes);
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    let spec = CommitSpec { give_up: GiveUp::new(vec![stop]), ..spec() };
    let failed = rig.repository.collect(&path, &rig.base, spec).await;
    assert!(matches!(failed, Err(GitError::GivenUp)), "{failed:?}");
}

/// A cancelled job does not come to the line that tidies up.
#[tokio::test]
async fn a_transfer_that_is_given_up_leaves_nothing() {
    if left_out("a transfer that is given up") {
        return;
    }
    let rig = rig(true).await;
    let server = LfsServer::start().await;
    server.world.lock().unwrap().stalls = true;
    let remote = Remote::new(server.url.clone(), None);
    let places = || {
        let entries = fs::read_dir(rig.repository.path().join("offshoot")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("large")).count()
    };
    let was_asked = || !server.world.lock().unwrap().authorizations.is_empty();
    tokio::select! {
        ended = rig.repository.fetch_large_files(&remote, &rig.base, async {}) => panic!("{ended:?}"),
        () = eventually("the server is asked", was_asked) => assert_eq!(places(), 1),
    }
    eventually("the place of the transfer is gone", || places() == 0).await;
}

/// One that nobody can have is not asked for, and a remote's reason is told.
#[tokio::test]
async fn why_what_a_pointer_says_cannot_be_had_is_told() {
    if left_out("what a server says of a fetch before a push") {
        return;
    }
    let rig = rig(true).await;
    let path = fetched_worktree(&rig).await;
    let server = LfsServer::start().await;
    let remote = Remote::new(server.url.clone(), None);
    fs::write(path.join("lost.bin"), pointer(b"of nobody").1).unwrap();
    let head = rig.collect().await.head;
    let push = |head: CommitId| {
        let (rig, remote) = (&rig, &remote);
        async move { rig.repository.push(remote, &head, BRANCH, None, PushMode::FastForward).await.unwrap() }
    };
    let text = |outcome: &PushOutcome| match outcome {
        PushOutcome::Rejected { text } => text.clone(),
        other => panic!("{other:?}"),
    };
    server.world.lock().unwrap().refusal = Some((403, "This repository is over its data quota."));
    let told = text(&push(head.clone()).await);
    assert!(told.contains("lost.bin") && told.contains("over its data quota"), "{told}");
    let asked = server.world.lock().unwrap().authorizations.len();
    let giant = pointer(b"x").1.replace("size 1", "size 5368709121");
    fs::write(path.join("lost.bin"), "content").unwrap();
    fs::write(path.join("giant.bin"), giant).unwrap();
    let told = text(&push(rig.collect().await.head).await);
    assert!(told.contains("giant.bin: more than 5 GiB"), "{told}");
    assert_eq!(server.world.lock().unwrap().authorizations.len(), asked, "the remote was not asked");
}

/// So many that they are not looked through: none may be taken for the remote's.
#[tokio::test]
async fn more_commits_than_are_looked_through_are_refused_where_there_are_large_files() {
    if left_out("a push of many commits") {
        return;
    }
    for (has_large_files, pushed) in [(true, false), (false, true)] {
        let rig = if has_large_files { rig(true).await } else { Rig::new().await };
        let mut text = String::new();
        for number in 0..10_001 {
            let from = if number == 0 { format!("from {}\n", rig.base) } else { String::new() };
            text.push_str(&format!(
                "commit refs/heads/many\ncommitter A <a@localhost> {number} +0000\ndata 0\n{from}M 644 inline n.txt\ndata <<E\n{number}\nE\n\n"
            ));
        }
        let mut import = command(rig.repository.path(), &["fast-import", "--quiet"]);
        let mut child = import.stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let head = rig.repository.find_ref("refs/heads/many").await.unwrap().unwrap();
        let outcome = rig.push(&head, None).await.unwrap();
        let is_told =
            matches!(&outcome, PushOutcome::Rejected { text } if text.contains("more than 10000 commits"));
        assert_eq!((outcome == PushOutcome::Pushed, is_told), (pushed, !pushed), "{outcome:?}");
    }
}
