//! Local branches that worktrees share: kept, dropped and moved without a commit lost.

use std::fs;

use offshoot::git::{BranchStart, CommitId, KeptBy};

use crate::git_fixture::{BRANCH, Rig, run};

const NAME: &str = "refs/offshoot/job1/1-branch";

fn commit(path: &std::path::Path, name: &str) -> CommitId {
    fs::write(path.join(name), name).unwrap();
    run(path, &["add", "-A"]);
    run(path, &["commit", "-q", "-m", name]);
    head(path)
}

fn head(path: &std::path::Path) -> CommitId {
    String::from_utf8(run(path, &["rev-parse", "HEAD"]).stdout).unwrap().trim().parse().unwrap()
}

fn only(commits: &[&CommitId]) -> KeptBy {
    KeptBy { commits: commits.iter().map(|one| (*one).clone()).collect(), ..KeptBy::default() }
}

fn refs_of(name: &str) -> KeptBy {
    KeptBy { names: std::iter::once(name.to_owned()).collect(), ..KeptBy::default() }
}

#[tokio::test]
async fn a_branch_is_kept_once_and_goes_only_when_all_of_it_is_kept() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let repository = &rig.repository;
    let keep = async |kept_by: KeptBy| repository.keep_branch(BRANCH, kept_by, NAME).await.unwrap();
    let drop = async |kept_by: KeptBy| repository.drop_branch(BRANCH, &path, kept_by).await.unwrap();
    assert_eq!(keep(only(&[&rig.base])).await, None, "nothing was made");
    let first = commit(&path, "first");
    let second = commit(&path, "second");
    for kept_by in [only(&[&rig.base]), only(&[&rig.base, &first]), refs_of("job1")] {
        assert!(!drop(kept_by).await);
    }
    assert_eq!(keep(only(&[&second])).await, None);
    for _ in 0..2 {
        assert_eq!(keep(only(&[&first])).await.as_deref(), Some(NAME), "repeated, it is the same");
    }
    assert_eq!(keep(refs_of("job1")).await, None, "it is kept");
    assert_eq!(keep(refs_of("job")).await.as_deref(), Some(NAME), "the name is compared as a whole");
    // another commit of the same name writes over none
    run(&path, &["reset", "-q", "--hard", "HEAD^"]);
    let other = commit(&path, "other");
    assert!(!drop(refs_of("job1")).await);
    assert_eq!(keep(refs_of("job1")).await, Some(format!("{NAME}-2")));
    assert_eq!(repository.find_ref(NAME).await.unwrap(), Some(second));
    assert_eq!(repository.find_ref(&format!("{NAME}-2")).await.unwrap(), Some(other));
    assert!(drop(refs_of("job1")).await && drop(KeptBy::default()).await, "absence is success");
    assert_eq!(repository.find_ref(&format!("refs/heads/{BRANCH}")).await.unwrap(), None);
    assert_eq!(keep(KeptBy::default()).await, None);
    rig.fsck();
}

#[tokio::test]
async fn a_worktree_stays_at_its_commit_when_another_takes_its_branch() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let mine = commit(&path, "mine");
    fs::write(path.join("left.txt"), "left").unwrap();
    let other = path.with_file_name("job2");
    assert!(!rig.repository.is_of_another(BRANCH, &path).await.unwrap());
    assert!(rig.repository.is_of_another(BRANCH, &other).await.unwrap());
    assert!(!rig.repository.drop_branch(BRANCH, &other, only(&[&mine])).await.unwrap(), "it is in use");
    rig.repository.ensure_worktree(&other, BRANCH, &rig.base, BranchStart::Reset).await.unwrap();
    let theirs = commit(&other, "theirs");
    assert_eq!((head(&path), head(&other)), (mine.clone(), theirs.clone()));
    assert_eq!(run(&path, &["status", "--porcelain"]).stdout, b"?? left.txt\n");
    let snapshot = rig.snapshot().await.unwrap();
    assert_eq!(rig.repository.parent_of(&snapshot.commit).await.unwrap(), Some(mine));
    assert!(rig.repository.is_of_another(BRANCH, &other).await.unwrap(), "it was made for it");
    assert!(rig.repository.drop_branch(BRANCH, &other, only(&[&theirs])).await.unwrap(), "nobody is on it");
    rig.fsck();
}

#[tokio::test]
async fn a_look_at_all_that_was_written_ends_when_nobody_waits_for_it() {
    use std::ops::ControlFlow;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let rig = Rig::new().await;
    let path = rig.worktree().await;
    commit(&path, "first");
    let head = commit(&path, "second");
    let bounds = offshoot::git::WrittenBounds {
        commits_max: 10,
        bytes_max: 1 << 20,
        file_bytes_max: 1 << 20,
        words_bytes_max: 1 << 20,
    };
    let looks = async |wanted: usize| {
        let count = Arc::new(AtomicUsize::new(0));
        let looked = Arc::clone(&count);
        let look = move |written: &offshoot::git::Written<'_>| {
            if looked.fetch_add(1, Ordering::Relaxed) == wanted {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(vec![written.path.to_vec()])
        };
        let looked = rig.repository.look_at_written(&rig.base, &head, &[], bounds, look).await;
        (looked.map(|looked| looked.found), count.load(Ordering::Relaxed))
    };
    let (all, count) = looks(100).await;
    assert_eq!((all.unwrap(), count), (vec![vec![], b"first".to_vec(), vec![], b"second".to_vec()], 4));
    let (given_up, count) = looks(1).await;
    assert!(matches!(given_up, Err(offshoot::git::GitError::GivenUp)), "{given_up:?}");
    assert_eq!(count, 2, "nothing was looked at behind it");
}
