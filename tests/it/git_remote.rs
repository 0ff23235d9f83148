//! The network side of git: the user's settings, tokens, and remotes that refuse, fail or hang.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use offshoot::git::{GitError, PushMode, PushOutcome, Remote, RemoteFailure, Repository};

use crate::git_fixture::{BRANCH, Rig, git_at, settings_at};

#[tokio::test]
async fn the_users_own_address_rules_apply_and_its_hooks_do_not() {
    let rig = Rig::without_clone(&[("a", "a")]).await;
    let marker = rig.dir.path().join("marker");
    let hooks = rig.dir.path().join("hooks");
    fs::create_dir(&hooks).unwrap();
    for hook in ["pre-push", "post-checkout", "reference-transaction"] {
        fs::write(hooks.join(hook), format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
        fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let config = format!(
        "[core]\nhooksPath = {}\n[url \"{}/\"]\ninsteadOf = https://forge.invalid/\n",
        hooks.display(),
        rig.dir.path().display()
    );
    fs::write(rig.dir.path().join("home/.gitconfig"), config).unwrap();
    let git = git_at(rig.dir.path()).await;
    let repository = Repository::new(git, rig.repository.path(), &rig.locks).unwrap();
    let remote = Remote::new("https://forge.invalid/remote.git", None);
    repository.ensure_clone(&remote).await.unwrap();
    let path = rig.worktree().await;
    fs::write(path.join("a"), "b").unwrap();
    let head = rig.collect().await.head;
    let outcome = repository.push(&remote, &head, BRANCH, None, PushMode::FastForward).await.unwrap();
    assert_eq!(outcome, PushOutcome::Pushed);
    assert!(!marker.exists());
}

#[tokio::test]
async fn a_token_travels_in_the_environment_only_and_a_hanging_remote_is_left() {
    let rig = Rig::without_clone(&[("a", "a")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let token = "tok-4711-secret";
    let remote = Remote::new(format!("http://127.0.0.1:{port}/o/r.git"), Some(token.into()));
    let mut settings = settings_at(rig.dir.path());
    settings.query_deadline = Duration::from_secs(3);
    let git = offshoot::git::Git::probe(settings, offshoot::clock::Clock::system()).await.unwrap();
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let request = read_request(&mut peer);
        let mut arguments = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            arguments.extend(fs::read(entry.path().join("cmdline")).unwrap_or_default());
        }
        // Never answers: waits until the other side gives up.
        let _ = peer.read_to_end(&mut Vec::new());
        (String::from_utf8_lossy(&request).into_owned(), String::from_utf8_lossy(&arguments).into_owned())
    });
    let failed = git.remote_tip(&remote, "main").await.unwrap_err();
    assert!(failed.is_retryable(), "{failed:?}");
    let (request, arguments) = server.join().unwrap();
    let encoded = "eC1hY2Nlc3MtdG9rZW46dG9rLTQ3MTEtc2VjcmV0";
    assert!(request.contains(&format!("Authorization: Basic {encoded}")), "{request}");
    assert!(arguments.contains(&format!("127.0.0.1:{port}")), "git's helper is among the processes");
    assert!(!arguments.contains(token) && !arguments.contains(encoded));
}

/// Reads one request's head.
fn read_request(peer: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut block = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        let count = peer.read(&mut block).unwrap();
        if count == 0 {
            break;
        }
        request.extend_from_slice(&block[..count]);
    }
    request
}

#[tokio::test]
async fn answers_of_a_server_are_told_apart() {
    let rig = Rig::new().await;
    for (status, retryable, expected) in [
        ("401 Unauthorized", false, Some(RemoteFailure::AuthFailed)),
        ("403 Forbidden", false, Some(RemoteFailure::AuthFailed)),
        ("404 Not Found", false, Some(RemoteFailure::NotFound)),
        (
            "301 Moved Permanently\r\nLocation: http://127.0.0.1:1/elsewhere",
            false,
            Some(RemoteFailure::NotFound),
        ),
        ("503 Service Unavailable", true, None),
        ("429 Too Many Requests", true, None),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            // Until the test itself connects without asking anything.
            for peer in listener.incoming() {
                let mut peer = peer.unwrap();
                if read_request(&mut peer).is_empty() {
                    return;
                }
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = peer.write_all(answer.as_bytes());
            }
        });
        let remote = Remote::new(format!("http://127.0.0.1:{port}/o/r.git"), Some("secret".into()));
        let failed = rig.repository.fetch(&remote, Duration::ZERO).await.unwrap_err();
        assert_eq!(failed.is_retryable(), retryable, "{status}: {failed:?}");
        if let Some(expected) = expected {
            assert!(matches!(&failed, GitError::Remote(found) if *found == expected), "{status}: {failed:?}");
        }
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        server.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_at_once_share_their_answer() {
    let rig = Rig::new().await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (repository, remote) = (rig.repository.clone(), rig.remote.clone());
        all.spawn(async move { repository.fetch(&remote, Duration::ZERO).await.unwrap().shared });
    }
    let shared = all.join_all().await.into_iter().filter(|shared| *shared).count();
    // The first may have begun before the others asked; the second began after all of them.
    assert!(shared >= 6, "{shared}");
}
