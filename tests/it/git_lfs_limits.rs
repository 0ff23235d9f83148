//! Bounds of what is done for large files, and what is told of them.

use std::fs;

use offshoot::git::{CommitId, CommitSpec, GitError, GiveUp, PushMode, PushOutcome};

use crate::git_fixture::{BRANCH, Rig, command, spec};
use crate::git_lfs::{ATTRIBUTES, begins, commit_in, fetched_worktree, left_out, rig, rig_with, served};
use crate::lfs_objects::{object, pointer, put_object};
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

/// By its own git-lfs, for its own commits: the push would be told that they point at nothing.
#[tokio::test]
async fn what_is_beyond_the_bounds_of_an_agents_own_objects_is_told() {
    let rig = rig_with(|settings| settings.large_bytes_max = 100).await;
    let path = rig.worktree().await;
    let shadow = rig.repository.lend(&path).await.unwrap().shadow;
    let content = [b'l'; 101];
    put_object(&shadow, &content);
    commit_in(&shadow, &path, "own.bin", &pointer(&content).1);
    // as it is done once the agent is gone: nothing has changed since when its work is collected
    rig.repository.absorb(&path).await.unwrap();
    for _ in 0..2 {
        let failed = rig.try_collect().await;
        assert!(matches!(&failed, Err(GitError::LargeFilesTooLarge { bytes_max: 100, .. })), "{failed:?}");
    }
    let notes = rig.snapshot().await.unwrap().notes;
    assert!(notes.len() == 1 && notes[0].text.contains("its own git-lfs"), "{notes:?}");
    // it thinks better of it
    fs::remove_file(object(&shadow, &content)).unwrap();
    commit_in(&shadow, &path, "small.bin", &pointer(b"small").1);
    rig.collect().await;
    assert!(rig.snapshot().await.unwrap().notes.is_empty());
}

/// A cancelled job does not come to the line that tidies up.
#[tokio::test]
async fn a_transfer_that_is_given_up_leaves_nothing() {
    let Some((rig, server, remote)) = served("a transfer that is given up", None).await else { return };
    server.world.lock().unwrap().stalls = true;
    let places = || {
        let entries = fs::read_dir(rig.repository.path().join("offshoot")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("large")).count()
    };
    let was_asked = || !server.world.lock().unwrap().authorizations.is_empty();
    tokio::select! {
        ended = rig.repository.fetch_large_files(&remote, &rig.base, begins()) => panic!("{ended:?}"),
        // before the other one is dropped
        count = async { eventually("the server is asked", was_asked).await; places() } => assert_eq!(count, 1),
    }
    eventually("the place of the transfer is gone", || places() == 0).await;
}

/// One that nobody can have is not asked for, and a remote's reason is told.
#[tokio::test]
async fn why_what_a_pointer_says_cannot_be_had_is_told() {
    let begun = served("what a server says of a fetch before a push", None).await;
    let Some((rig, server, remote)) = begun else { return };
    let path = fetched_worktree(&rig).await;
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

/// They are read whole, so longer ones say nothing.
#[tokio::test]
async fn rules_of_more_than_a_mebibyte_are_none() {
    let (_, text) = pointer(b"large content");
    let long = format!("{ATTRIBUTES}{}", "# filler of the rules\n".repeat((1 << 20) / 22 + 1));
    for (rules, expected) in [(ATTRIBUTES, "large content"), (&long, &text)] {
        let rig = Rig::without_clone(&[(".gitattributes", rules), ("a.bin", &text)]).await;
        rig.repository.ensure_clone(&rig.remote).await.unwrap();
        put_object(rig.repository.path(), b"large content");
        let path = rig.worktree().await;
        assert_eq!(fs::read_to_string(path.join("a.bin")).unwrap(), expected);
    }
}
