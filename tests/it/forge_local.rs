//! The local forge beside real bare repositories.

use std::path::Path;
use std::process::Command;

use offshoot::forge::{
    EnsureWaits, Forge, ForgeError, LocalForge, NewPullRequest, Refusal, RepositoryName, ensure_pull_request,
};
use tempfile::TempDir;

struct Place {
    root: TempDir,
    forge: LocalForge,
}

fn widgets() -> RepositoryName {
    RepositoryName { org: "acme".to_owned(), repo: "widgets".to_owned() }
}

fn git(directory: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A bare repository with `main` and, one commit further, `job/1`; `job/empty` stands where `main` does.
fn place() -> Place {
    let root = TempDir::new().unwrap();
    let forge = LocalForge::new(root.path().to_owned(), "http://127.0.0.1:3456/demo/", true);
    let bare = forge.bare_path(&widgets());
    std::fs::create_dir_all(&bare).unwrap();
    git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main", "."]);
    let work = root.path().join("work");
    git(root.path(), &["clone", "--quiet", bare.to_str().unwrap(), "work"]);
    git(&work, &["checkout", "--quiet", "-B", "main"]);
    git(&work, &["commit", "--quiet", "--allow-empty", "-m", "one"]);
    git(&work, &["push", "--quiet", "origin", "main", "main:job/empty"]);
    git(&work, &["commit", "--quiet", "--allow-empty", "-m", "two"]);
    git(&work, &["push", "--quiet", "origin", "HEAD:job/1"]);
    Place { root, forge }
}

fn new_pull(head: &str, base: &str) -> NewPullRequest {
    NewPullRequest {
        repo: widgets(),
        head: head.to_owned(),
        base: base.to_owned(),
        title: "Add a thing".to_owned(),
        body: "What and \"why\"".to_owned(),
        draft: true,
    }
}

fn waits() -> EnsureWaits {
    EnsureWaits { head: vec![], unclear: vec![] }
}

#[tokio::test]
async fn a_pull_request_is_a_record_beside_the_repository() {
    let place = place();
    let facts = place.forge.repository(&widgets()).await.unwrap();
    assert_eq!((facts.full_name, facts.default_branch.as_str(), facts.renamed), (widgets(), "main", false));

    let opened = ensure_pull_request(&place.forge, &new_pull("job/1", "main"), &waits()).await.unwrap();
    assert!(opened.created && opened.draft);
    assert_eq!(opened.url, "http://127.0.0.1:3456/demo/acme/widgets/pull/1");
    let again = ensure_pull_request(&place.forge, &new_pull("job/1", "main"), &waits()).await.unwrap();
    assert_eq!((again.number, again.created), (1, false));

    let labels = ["agent".to_owned()];
    assert_eq!(place.forge.add_labels(&widgets(), 1, &labels).await, None);
    assert_eq!(place.forge.add_labels(&widgets(), 1, &labels).await, None);
    assert_eq!(place.forge.request_reviewers(&widgets(), 1, &["ann".to_owned()]).await, None);
    assert!(place.forge.add_labels(&widgets(), 9, &labels).await.is_some());

    let record = std::fs::read_to_string(place.root.path().join("acme/widgets.pulls/1.json")).unwrap();
    assert!(record.contains("\"body\": \"What and \\\"why\\\"\""), "{record}");
    let pulls = place.forge.pull_requests(&widgets()).unwrap();
    assert_eq!((pulls.len(), pulls[0].labels.len(), pulls[0].reviewers[0].as_str()), (1, 1, "ann"));
    assert_eq!(pulls[0].head_sha, opened.head_sha);
}

#[tokio::test]
async fn the_rules_of_the_real_forge_hold() {
    let place = place();
    let refusal = |error: ForgeError| match error {
        ForgeError::Refused { refusal, .. } => refusal,
        other => panic!("{other:?}"),
    };
    let open = |head: &'static str, base: &'static str| {
        let forge = place.forge.clone();
        async move { forge.open_pull_request(&new_pull(head, base)).await }
    };
    assert_eq!(refusal(open("job/none", "main").await.unwrap_err()), Refusal::HeadInvalid);
    assert_eq!(refusal(open("../../x", "main").await.unwrap_err()), Refusal::HeadInvalid);
    assert_eq!(refusal(open("job/1", "none").await.unwrap_err()), Refusal::Other);
    assert_eq!(refusal(open("job/empty", "main").await.unwrap_err()), Refusal::NoCommits);
    open("job/1", "main").await.unwrap();
    assert_eq!(refusal(open("job/1", "main").await.unwrap_err()), Refusal::AlreadyExists);
    assert_eq!(open("job/1", "job/empty").await.unwrap().number, 2);

    for (org, repo) in [("acme", "other"), ("..", "widgets"), ("acme", "../acme/widgets"), ("", "")] {
        let name = RepositoryName { org: org.to_owned(), repo: repo.to_owned() };
        assert_eq!(place.forge.repository(&name).await, Err(ForgeError::NotFound));
    }
}

#[tokio::test]
async fn twenty_at_once_make_one() {
    let place = place();
    let new = new_pull("job/1", "main");
    let waits = waits();
    let all = (0..20).map(|_| ensure_pull_request(&place.forge, &new, &waits));
    let created =
        futures_util::future::join_all(all).await.into_iter().filter(|pull| pull.as_ref().unwrap().created);
    assert_eq!((created.count(), place.forge.pull_requests(&widgets()).unwrap().len()), (1, 1));
}

#[tokio::test]
async fn packed_branches_are_known_and_a_pull_request_follows_its_branch() {
    let place = place();
    git(&place.forge.bare_path(&widgets()), &["pack-refs", "--all"]);
    let opened = place.forge.open_pull_request(&new_pull("job/1", "main")).await.unwrap();
    let work = place.root.path().join("work");
    git(&work, &["commit", "--quiet", "--allow-empty", "-m", "three"]);
    git(&work, &["push", "--quiet", "origin", "HEAD:job/1"]);
    let found = place.forge.find_pull_request(&widgets(), "job/1", "main").await.unwrap().unwrap();
    assert_ne!(found.head_sha, opened.head_sha);
}
