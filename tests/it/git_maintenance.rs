//! Packing an idle clone: what goes, what stays, and who is never in its way.

use std::future::ready;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use offshoot::clock::Clock;
use offshoot::git::{BranchStart, Gain, Git, GitError, GitSettings, Maintained, Repository};

use crate::git_fixture::{Rig, command, run, settings_at};
use crate::stand::{PATIENCE, install_program, poll};

fn count(dir: &Path, end: &str) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(end)).count()
}

fn loose(rig: &Rig) -> usize {
    let objects = rig.repository.path().join("objects");
    (0..256).map(|number| count(&objects.join(format!("{number:02x}")), "")).sum()
}

/// As if it had been there for years.
pub(crate) fn age(file: &Path) {
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
}

/// Writes objects that nothing points at.
fn unreachable(rig: &Rig, texts: &[&str], old: bool) -> Vec<String> {
    let written = texts.iter().map(|text| {
        let file = rig.dir.path().join("text");
        std::fs::write(&file, text).unwrap();
        let output = run(rig.repository.path(), &["hash-object", "-w", file.to_str().unwrap()]);
        let id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        if old {
            let object = rig.repository.path().join("objects").join(&id[..2]).join(&id[2..]);
            age(&object);
        }
        id
    });
    written.collect()
}

fn has(rig: &Rig, object: &str) -> bool {
    let mut asked = command(rig.repository.path(), &["cat-file", "-e", object]);
    asked.stderr(Stdio::null()).status().unwrap().success()
}

#[tokio::test]
async fn what_is_kept_or_young_stays_and_what_nobody_points_at_goes() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    std::fs::write(path.join("new.txt"), "new").unwrap();
    let snapshot = rig.snapshot().await.unwrap();
    // a worktree that is still there: committed by the agent on a HEAD of its own, and only added to its index
    std::fs::write(path.join("own.txt"), "own").unwrap();
    run(&path, &["checkout", "-q", "--detach"]);
    run(&path, &["add", "own.txt"]);
    run(&path, &["commit", "-q", "-m", "own"]);
    let own = String::from_utf8(run(&path, &["rev-parse", "HEAD"]).stdout).unwrap().trim().to_owned();
    std::fs::write(path.join("added.txt"), "added").unwrap();
    run(&path, &["add", "added.txt"]);
    let added = String::from_utf8(run(&path, &["rev-parse", ":added.txt"]).stdout).unwrap().trim().to_owned();
    let young = unreachable(&rig, &["young"], false);
    let old = unreachable(&rig, &["old"], true);
    let pack = |name: &str| rig.repository.path().join("objects/pack").join(name);
    let (half, being_written) = (pack(".tmp-1-pack-half.pack"), pack("tmp_pack_1"));
    for file in [&half, &being_written] {
        std::fs::write(file, "half").unwrap();
    }
    age(&half);

    let few = rig.repository.maintain(Gain::Seen, false, ready(true)).await.unwrap();
    assert_eq!(few, Maintained::NotNeeded);
    let before = loose(&rig);
    let told = rig.repository.maintain(Gain::Refs, true, ready(true)).await.unwrap();
    assert_eq!(
        (told, loose(&rig)),
        (Maintained::Packed { bytes_less: 0 }, before),
        "a dry run changes nothing"
    );
    let done = rig.repository.maintain(Gain::Refs, false, ready(true)).await.unwrap();
    assert!(matches!(done, Maintained::Packed { bytes_less } if bytes_less > 0), "{done:?}");
    assert!(loose(&rig) < before && !half.exists() && being_written.exists());
    assert_eq!(count(rig.repository.path(), "packed-refs"), 1);
    for kept in [snapshot.commit.as_str(), &own, &added, &young[0]] {
        assert!(has(&rig, kept), "{kept}");
    }
    assert!(!has(&rig, &old[0]));
    rig.fsck();
    rig.repository.verify_untampered().await.unwrap();
    // once a day for refs, at any time for room
    let again = rig.repository.maintain(Gain::Refs, false, ready(true)).await.unwrap();
    assert_eq!(again, Maintained::NotNeeded);
    let room = rig.repository.maintain(Gain::Room, false, ready(true)).await.unwrap();
    assert!(matches!(room, Maintained::Packed { .. }));
}

#[tokio::test]
async fn many_packs_are_reason_enough() {
    let rig = Rig::new().await;
    for number in 0..26 {
        let object = unreachable(&rig, &[&format!("{number}")], false);
        let name = format!("refs/offshoot/blob/{number}");
        run(rig.repository.path(), &["update-ref", &name, &object[0]]);
        run(rig.repository.path(), &["repack", "-d", "-q"]);
    }
    let packs = rig.repository.path().join("objects/pack");
    assert!(count(&packs, ".pack") > 25);
    let done = rig.repository.maintain(Gain::Seen, false, ready(true)).await.unwrap();
    assert!(matches!(done, Maintained::Packed { .. }));
    assert_eq!(count(&packs, ".pack"), 1);
    rig.fsck();
}

#[tokio::test]
async fn a_clone_in_use_or_changed_is_left_alone() {
    let rig = Rig::new().await;
    let used = rig.repository.enter().await;
    assert_eq!(rig.repository.maintain(Gain::Room, false, ready(true)).await.unwrap(), Maintained::Busy);
    drop(used);
    assert_eq!(rig.repository.maintain(Gain::Room, false, ready(false)).await.unwrap(), Maintained::Busy);
    std::fs::write(rig.repository.path().join("config"), "[core]\n\tbare = true\n").unwrap();
    let refused = rig.repository.maintain(Gain::Room, false, ready(true)).await;
    assert!(matches!(refused, Err(GitError::Tampered { .. })), "{refused:?}");
}

#[tokio::test]
async fn whoever_comes_ends_it_and_finds_everything() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    std::fs::write(path.join("new.txt"), "new").unwrap();
    let snapshot = rig.snapshot().await.unwrap();
    for _ in 0..8 {
        let (asked, begins) = tokio::sync::oneshot::channel();
        let begun = async move { asked.send(()).is_ok() };
        let repository = rig.repository.clone();
        let maintained = repository.maintain(Gain::Room, false, begun);
        let comes = async {
            begins.await.unwrap();
            rig.repository.enter().await
        };
        let (maintained, _used) = tokio::join!(maintained, comes);
        assert_eq!(maintained.unwrap(), Maintained::Busy);
        assert!(has(&rig, snapshot.commit.as_str()));
    }
    rig.fsck();
}

/// A git program that hangs in `repack` with half a pack on the disk, once it has said so.
pub(crate) fn hanging_git(at: &Path, began: &Path) {
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = repack ] && [ ! -e {began} ]; then\n\
         touch \"$GIT_DIR/objects/pack/tmp_pack_half\" \"$GIT_DIR/packed-refs.lock\" \"$GIT_DIR/packed-refs.new\"; echo $$ > {began}.new; mv {began}.new {began}\n\
         exec sleep 600\nfi\nPATH=/usr/local/bin:/usr/bin:/bin exec git \"$@\"\n",
        began = began.display()
    );
    install_program(at, &script);
}

/// The program above, once it hangs.
pub(crate) async fn hangs(began: &Path) -> Pid {
    let number = async || std::fs::read_to_string(began).ok()?.trim().parse().ok();
    Pid::from_raw(poll(PATIENCE, number).await.expect("packing has begun"))
}

#[tokio::test]
async fn a_run_that_is_ended_leaves_no_process_and_no_half() {
    let rig = Rig::new().await;
    let (program, began) = (rig.dir.path().join("hanging-git"), rig.dir.path().join("began"));
    hanging_git(&program, &began);
    let mut settings = settings_at(rig.dir.path());
    settings.program = program;
    let scratch = settings.scratch_dir.clone();
    let git = Git::probe(settings, Clock::system()).await.unwrap();
    let slow = Repository::new(git, rig.repository.path(), &rig.locks).unwrap();
    let comes = async {
        let number = hangs(&began).await;
        assert_eq!(count(&scratch, ""), 1, "a killed server's successor would know");
        // one look, and the clone is free
        drop(rig.repository.enter().await);
        assert_eq!(kill(number, None), Err(Errno::ESRCH));
        assert_eq!(count(&rig.repository.path().join("objects/pack"), "tmp_pack_half"), 0);
        let is_there = |name: &&str| rig.repository.path().join(name).exists();
        let locks = ["packed-refs.lock", "packed-refs.new"];
        assert_eq!(locks.iter().find(|name| is_there(name)), None, "whoever comes can write refs");
    };
    let (maintained, ()) = tokio::join!(slow.maintain(Gain::Room, false, ready(true)), comes);
    assert_eq!(maintained.unwrap(), Maintained::Busy);
    assert_eq!(count(&scratch, ""), 0);
    // it was nobody's fault: the next look may begin at once
    assert!(matches!(
        slow.maintain(Gain::Refs, false, ready(true)).await.unwrap(),
        Maintained::Packed { .. }
    ));
}

/// The same clone, looked at so many hours later.
async fn hours_later(rig: &Rig, hours: i64) -> Repository {
    let clock = Clock::manual(Clock::system().now_ms() + hours * 3_600_000, 7);
    let git = Git::probe(settings_at(rig.dir.path()), clock).await.unwrap();
    Repository::new(git, rig.repository.path(), &rig.locks).unwrap()
}

#[tokio::test]
async fn stale_locks_and_registrations_without_a_worktree_go() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let other = path.with_file_name("job2");
    rig.repository.ensure_worktree(&other, "other", &rig.base, BranchStart::Reuse).await.unwrap();
    run(&other, &["commit", "-q", "--allow-empty", "-m", "own"]);
    run(&other, &["checkout", "-q", "--detach"]);
    run(&other, &["commit", "-q", "--allow-empty", "-m", "lost"]);
    let lost = String::from_utf8(run(&other, &["rev-parse", "HEAD"]).stdout).unwrap().trim().to_owned();
    std::fs::remove_dir_all(&other).unwrap();
    let clone = rig.repository.path().to_owned();
    let locks = ["packed-refs.lock", "refs/heads/feat.lock", "worktrees/job1/index.lock", "offshoot/x.y"];
    locks.iter().for_each(|name| std::fs::write(clone.join(name), "").unwrap());
    let worktrees = path.parent().unwrap();
    let sweep = async |repository: &Repository, dry_run, worktrees: &Path| {
        let swept = repository.sweep_leftovers(worktrees, dry_run, ready(true)).await.unwrap();
        let mut names: Vec<_> = swept.into_iter().map(|one| one.name).collect();
        names.sort();
        names
    };
    assert_eq!(sweep(&rig.repository, false, worktrees).await, [""; 0], "somebody may be at it");
    let later = hours_later(&rig, 2).await;
    let used = rig.repository.enter().await;
    assert_eq!(sweep(&later, false, worktrees).await, [""; 0], "the clone is used");
    drop(used);
    let elsewhere = rig.dir.path().join("not-mounted");
    let expected = ["offshoot/x.y", "packed-refs.lock", "refs/heads/feat.lock"];
    assert_eq!(sweep(&later, true, &elsewhere).await, expected, "nobody knows where worktrees are");
    let expected = ["offshoot/x.y", "packed-refs.lock", "refs/heads/feat.lock", "worktrees/job2"];
    assert_eq!(sweep(&later, true, worktrees).await, expected);
    assert_eq!(sweep(&later, false, worktrees).await, expected, "a dry run changed nothing");
    assert!(!clone.join("offshoot/job2").exists() && rig.admin().join("index.lock").exists());
    assert_eq!(sweep(&hours_later(&rig, 25).await, false, worktrees).await, ["worktrees/job1/index.lock"]);
    let kept = rig.repository.find_ref("refs/offshoot/job2/0-found").await.unwrap().unwrap();
    assert_eq!(kept.as_str(), lost, "no branch had it");
    assert!(rig.admin().join("HEAD").exists(), "its worktree is there");
    run(&path, &["add", "-A"]);
    rig.fsck();
}

#[tokio::test]
async fn a_lock_of_the_packed_refs_stops_no_fetch() {
    let rig = Rig::new().await;
    let settings = GitSettings { stale_lock_after: Duration::from_secs(1), ..settings_at(rig.dir.path()) };
    let git = Git::probe(settings, Clock::system()).await.unwrap();
    let repository = Repository::new(git, rig.repository.path(), &rig.locks).unwrap();
    run(&rig.remote_path(), &["branch", "gone", "main"]);
    repository.fetch(&rig.remote, Duration::ZERO).await.unwrap();
    run(repository.path(), &["pack-refs", "--all"]);
    run(&rig.remote_path(), &["branch", "-D", "gone"]);
    let lock = repository.path().join("packed-refs.lock");
    std::fs::write(&lock, "").unwrap();
    repository.fetch(&rig.remote, Duration::ZERO).await.unwrap();
    assert_eq!(repository.resolve_base("gone").await.unwrap(), None);
    assert!(!lock.exists());
}

/// A deletion that is about to take the clone, and a job of whoever has registered the repository again.
#[tokio::test]
async fn whoever_looks_for_a_clone_that_may_go_waits_until_that_is_settled() {
    for goes in [true, false] {
        let rig = Rig::new().await;
        let (say, said) = tokio::sync::oneshot::channel();
        let may_go = async { Ok::<_, GitError>(said.await.unwrap()) };
        let mut removal = Box::pin(rig.repository.remove_if(may_go));
        assert!(futures_util::poll!(&mut removal).is_pending());
        let mut look = Box::pin(rig.repository.is_there_to_stay());
        assert!(futures_util::poll!(&mut look).is_pending(), "nobody knows yet whether it goes");
        say.send(goes).unwrap();
        assert_eq!(removal.await.unwrap(), goes);
        assert_eq!((look.await, rig.repository.exists()), (!goes, !goes));
    }
}
