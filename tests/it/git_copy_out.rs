//! Files of a worktree that are kept: what is taken, what an agent can put in its place, and that bounds hold.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use nix::sys::stat::Mode;
use offshoot::domain::glob::Globs;
use offshoot::git::{CopiedOut, GitError, KeepCaps, Wishes};

use crate::git_fixture::{Rig, Rules, WIDE};

struct Wanted {
    globs: Globs,
    /// Names after which nobody waits any more.
    patience: usize,
}

fn wish(globs: &[&str]) -> Wanted {
    Wanted { globs: Globs::new(globs), patience: usize::MAX }
}

impl Wishes for Wanted {
    fn count(&self) -> usize {
        self.globs.count()
    }

    fn met_by(&mut self, path: &[u8]) -> Vec<usize> {
        self.patience -= 1;
        self.globs.fitting(path)
    }

    fn may_be_met_below(&mut self, dir: &[u8]) -> bool {
        self.globs.may_fit_below(dir)
    }

    fn are_given_up(&self) -> bool {
        self.patience == 0
    }
}

fn into(rig: &Rig) -> PathBuf {
    rig.dir.path().join("kept")
}

async fn keep(rig: &Rig, globs: &[&'static str], caps: KeepCaps) -> CopiedOut {
    rig.repository.copy_out(&rig.worktree_path(), &into(rig), wish(globs), caps).await.unwrap()
}

/// Path and content of what was kept, by path.
fn contents(rig: &Rig, kept: &CopiedOut) -> Vec<(String, String)> {
    let read = |place: usize| fs::read_to_string(into(rig).join(place.to_string())).unwrap();
    let mut all: Vec<_> =
        kept.files.iter().enumerate().map(|(place, (path, _))| (path.clone(), read(place))).collect();
    assert_eq!(fs::read_dir(into(rig)).unwrap().count(), all.len(), "nothing else is there");
    all.sort_unstable();
    all
}

fn notes(kept: &CopiedOut) -> Vec<String> {
    let mut notes: Vec<_> = kept.notes.iter().map(|note| format!("{}: {}", note.path, note.text)).collect();
    notes.sort_unstable();
    notes
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn files_are_kept_by_glob_ignored_or_not_and_the_copy_is_ours_alone() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::create_dir_all(path.join("out/deep")).unwrap();
    fs::write(path.join(".gitignore"), "out/\n").unwrap();
    for (name, text) in [("out/a.html", "a"), ("out/deep/b.html", "b"), ("out/c.txt", "c"), ("d.html", "d")] {
        fs::write(path.join(name), text).unwrap();
    }
    fs::set_permissions(path.join("out/a.html"), fs::Permissions::from_mode(0o755)).unwrap();
    // what an earlier try had half copied is not taken for anything
    fs::create_dir(into(&rig)).unwrap();
    fs::write(into(&rig).join("7"), "half").unwrap();
    let kept = keep(&rig, &["out/*.html", "./d.html", "none/*"], WIDE).await;
    assert_eq!(contents(&rig, &kept), pairs(&[("d.html", "d"), ("out/a.html", "a")]));
    assert_eq!(fs::metadata(into(&rig).join("0")).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = keep(&rig, &["out", "out/a.html"], WIDE).await;
    let all = [("out/a.html", "a"), ("out/c.txt", "c"), ("out/deep/b.html", "b")];
    assert_eq!((contents(&rig, &kept), notes(&kept)), (pairs(&all), vec![]));
}

#[tokio::test]
async fn what_is_no_file_of_the_worktree_is_not_kept_and_waited_for() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let outside = rig.dir.path().join("outside");
    for dir in [&outside, &path.join("out"), &path.join("out/.git"), &path.join("out/sub")] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::write(outside.join("key.html"), "secret").unwrap();
    fs::write(path.join("out/.git/config.html"), "git's").unwrap();
    fs::write(path.join("out/sub/.GIT"), "git's").unwrap();
    symlink(outside.join("key.html"), path.join("out/link.html")).unwrap();
    symlink(&outside, path.join("out/dir")).unwrap();
    nix::unistd::mkfifo(&path.join("out/pipe.html"), Mode::from_bits_truncate(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("out/s")).unwrap();
    // a terabyte of nothing
    fs::File::create(path.join("out/sparse.html")).unwrap().set_len(1 << 40).unwrap();
    fs::write(path.join("out/li\nne.html"), "x").unwrap();
    fs::write(path.join("out").join(OsStr::from_bytes(b"\xff.html")), "x").unwrap();
    fs::write(path.join("out/good.html"), "good").unwrap();
    let kept = keep(&rig, &["out/**", "**/.git"], WIDE).await;
    assert_eq!(contents(&rig, &kept), pairs(&[("out/good.html", "good")]));
    assert_eq!(
        notes(&kept),
        [
            "out/\\xff.html: not kept: its name is not UTF-8",
            "out/dir: not kept: a link, and links are not followed",
            "out/li\\nne.html: not kept: a control character in its name",
            "out/link.html: not kept: a link, and links are not followed",
            "out/pipe.html: not kept: no regular file",
            "out/s: not kept: no regular file",
            "out/sparse.html: not kept: larger than one file may be (limits.artifact_bytes_max)",
        ]
    );
    // a directory that became a link is told, and nothing behind it is read
    fs::rename(path.join("out"), path.join("moved")).unwrap();
    symlink(&outside, path.join("out")).unwrap();
    let kept = keep(&rig, &["out/*.html"], WIDE).await;
    assert_eq!(notes(&kept), ["out: not kept: a link, and links are not followed"]);
    assert_eq!(contents(&rig, &kept), []);
    fs::remove_file(path.join("out")).unwrap();
    fs::rename(path.join("moved"), path.join("out")).unwrap();
    fs::remove_dir_all(&path).unwrap();
    let gone = rig.repository.copy_out(&path, &into(&rig), wish(&["*"]), WIDE).await;
    assert!(matches!(gone, Err(GitError::WorktreeBroken(_))), "{gone:?}");
}

#[tokio::test]
async fn files_of_the_owner_are_not_kept_whatever_they_are_called() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    let from = rig.dir.path().join("files");
    fs::create_dir(&from).unwrap();
    fs::write(from.join(".env"), "KEY=1").unwrap();
    let rules = Rules(vec![Box::new(|path| path == b".env")]);
    rig.repository.copy_in(&path, &rig.base, &from, rules).await.unwrap();
    fs::hard_link(path.join(".env"), path.join("report.txt")).unwrap();
    fs::write(path.join("good.txt"), "good").unwrap();
    let kept = keep(&rig, &["**"], WIDE).await;
    let contents = contents(&rig, &kept);
    assert!(contents.iter().any(|(path, _)| path == "good.txt"), "{contents:?}");
    assert!(!contents.iter().any(|(_, text)| text.contains("KEY=1")), "{contents:?}");
    let secret = "not kept: a file of copyFiles, which may hold secrets";
    assert_eq!(notes(&kept), [format!(".env: {secret}"), format!("report.txt: {secret}")]);
}

#[tokio::test]
async fn more_than_may_be_kept_is_left_out_and_told_of_within_bounds() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::create_dir(path.join("o")).unwrap();
    for number in 10..40 {
        fs::write(path.join(format!("o/{number}")), "0123456789").unwrap();
    }
    // caps, files that fit, what is said of the first that does not
    let rows = [
        (KeepCaps { file_bytes_max: 9, ..WIDE }, 0, "limits.artifact_bytes_max"),
        (KeepCaps { file_bytes_max: 10, ..WIDE }, 30, ""),
        (KeepCaps { bytes_max: 39, ..WIDE }, 3, "limits.job_artifacts_bytes_max"),
        (KeepCaps { files_max: 4, ..WIDE }, 4, "limits.job_artifacts_max"),
        (KeepCaps { paths_bytes_max: 9, ..WIDE }, 2, "64 KiB"),
    ];
    for (caps, count, said) in rows {
        let kept = keep(&rig, &["o/*"], caps).await;
        assert_eq!(kept.files.len(), count, "{caps:?}");
        assert!(kept.files.iter().all(|(_, bytes)| *bytes == 10));
        let notes = notes(&kept);
        assert_eq!(notes.len(), if count == 30 { 0 } else { 21 }, "{notes:?}");
        assert!(notes.iter().skip(1).all(|note| note.contains(said)), "{notes:?}");
        assert_eq!(contents(&rig, &kept).len(), count);
    }
}

#[tokio::test]
async fn whoever_has_waited_long_enough_gets_what_there_is_and_who_gives_up_gets_nothing() {
    let rig = Rig::new().await;
    let path = rig.worktree().await;
    fs::create_dir(path.join("o")).unwrap();
    for number in 10..40 {
        fs::write(path.join(format!("o/{number}")), "0123456789").unwrap();
    }
    let kept = keep(&rig, &["o/*"], KeepCaps { looking_ms_max: 0, ..WIDE }).await;
    assert_eq!(
        (kept.files.len(), notes(&kept)),
        (0, vec![": not looked at: it had taken too long by then".to_owned()])
    );
    let impatient = Wanted { patience: 10, ..wish(&["o/*"]) };
    let given_up = rig.repository.copy_out(&path, &into(&rig), impatient, WIDE).await;
    assert!(matches!(given_up, Err(GitError::GivenUp)), "{given_up:?}");
    let kept = keep(&rig, &["o/*"], WIDE).await;
    assert_eq!(contents(&rig, &kept).len(), 30, "what was half done is in nobody's way");
}
