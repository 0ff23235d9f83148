//! A remote, a clone and a worktree in a directory of their own, and an agent that uses git freely.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "a rig offers more than one test binary uses")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use offshoot::clock::Clock;
use offshoot::git::{
    Author, BranchStart, Collected, CommitId, CommitSpec, Git, GitError, GitSettings, GiveUp, KeepCaps,
    PushMode, PushOutcome, Remote, Repository, RepositoryLocks, SizeCaps, Snapshot, SnapshotSpec, Wishes,
};
use tempfile::TempDir;

pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
pub(crate) const BRANCH: &str = "feat";

/// Bounds on kept files that no test meets by accident.
pub(crate) const WIDE: KeepCaps = KeepCaps {
    file_bytes_max: 1 << 20,
    bytes_max: 1 << 20,
    files_max: 100,
    paths_bytes_max: 1 << 16,
    looking_ms_max: 600_000,
};

pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) remote: Remote,
    pub(crate) git: Git,
    pub(crate) locks: RepositoryLocks,
    pub(crate) repository: Repository,
    pub(crate) base: CommitId,
}

impl Rig {
    /// A cloned remote whose `main` holds a few files.
    pub(crate) async fn new() -> Self {
        let rig =
            Self::without_clone(&[("a.txt", "one\ntwo\n"), ("dir/b.txt", "b\n"), ("run.sh", "#!/bin/sh\n")])
                .await;
        rig.repository.ensure_clone(&rig.remote).await.unwrap();
        rig
    }

    pub(crate) async fn without_clone(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        let base = seed_remote(&dir.path().join("remote.git"), files);
        let git = git_at(dir.path()).await;
        let locks = RepositoryLocks::default();
        let repository = Repository::new(git.clone(), dir.path().join("repos/o/r.git"), &locks).unwrap();
        let remote = Remote::new(format!("file://{}", dir.path().join("remote.git").display()), None);
        Self { dir, remote, git, locks, repository, base }
    }

    pub(crate) fn remote_path(&self) -> PathBuf {
        self.dir.path().join("remote.git")
    }

    pub(crate) fn worktree_path(&self) -> PathBuf {
        self.dir.path().join("worktrees/o/r/job1")
    }

    pub(crate) fn admin(&self) -> PathBuf {
        self.repository.path().join("worktrees/job1")
    }

    pub(crate) async fn worktree(&self) -> PathBuf {
        let path = self.worktree_path();
        self.repository.ensure_worktree(&path, BRANCH, &self.base, BranchStart::Reuse).await.unwrap();
        path
    }

    pub(crate) async fn try_collect(&self) -> Result<Collected, GitError> {
        self.repository.collect(&self.worktree_path(), &self.base, spec()).await
    }

    pub(crate) async fn collect(&self) -> Collected {
        self.try_collect().await.unwrap()
    }

    pub(crate) async fn push(
        &self,
        commit: &CommitId,
        expected: Option<&CommitId>,
    ) -> Result<PushOutcome, GitError> {
        self.repository.push(&self.remote, commit, BRANCH, expected, PushMode::FastForward).await
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot, GitError> {
        let spec = SnapshotSpec {
            name: String::from("refs/offshoot/job1/1"),
            taken_at: 1_700_000_000,
            file_bytes_max: 1 << 20,
            new: SizeCaps { bytes_max: 1 << 30, files_max: 1 << 20 },
        };
        self.repository.snapshot(&self.worktree_path(), &self.base, spec).await
    }

    /// `mode path` of everything in a commit, read by the git program.
    pub(crate) fn listing(&self, commit: &CommitId) -> Vec<String> {
        let output = run(self.repository.path(), &["ls-tree", "-r", "-z", commit.as_str()]);
        let entry = |entry: &[u8]| {
            let text = entry.escape_ascii().to_string();
            let (meta, path) = text.split_once("\\t").unwrap();
            format!("{} {path}", &meta[..6])
        };
        output.stdout.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(entry).collect()
    }

    pub(crate) fn content(&self, commit: &CommitId, path: &str) -> Vec<u8> {
        run(self.repository.path(), &["cat-file", "blob", &format!("{commit}:{path}")]).stdout
    }

    pub(crate) fn fsck(&self) {
        run(self.repository.path(), &["fsck", "--strict", "--no-dangling"]);
    }
}

pub(crate) type Rule = Box<dyn Fn(&[u8]) -> bool + Send>;

/// Wishes of a test: each by a function, in any directory.
pub(crate) struct Rules(pub(crate) Vec<Rule>);

impl Wishes for Rules {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn met_by(&mut self, path: &[u8]) -> Vec<usize> {
        (0..self.0.len()).filter(|rule| self.0[*rule](path)).collect()
    }

    fn may_be_met_below(&mut self, _: &[u8]) -> bool {
        true
    }

    fn are_given_up(&self) -> bool {
        false
    }
}

pub(crate) async fn git_at(dir: &Path) -> Git {
    Git::probe(settings_at(dir), Clock::system()).await.unwrap()
}

pub(crate) fn settings_at(dir: &Path) -> GitSettings {
    let environment = [("PATH", OsString::from(PATH)), ("HOME", dir.join("home").into_os_string())];
    let environment: BTreeMap<_, _> =
        environment.into_iter().map(|(name, value)| (name.into(), value)).collect();
    let mut settings = GitSettings::new(environment, dir.join("scratch"));
    settings.query_deadline = Duration::from_secs(20);
    settings
}

pub(crate) fn spec() -> CommitSpec {
    CommitSpec {
        message: String::from("feat: a change"),
        author: Author { name: String::from("Somebody"), email: String::from("s@example.com") },
        committed_at: 1_700_000_000,
        file_bytes_max: 1 << 20,
        give_up: GiveUp::default(),
    }
}

fn seed_remote(path: &Path, files: &[(&str, &str)]) -> CommitId {
    let repository = git2::Repository::init_bare(path).unwrap();
    repository.set_head("refs/heads/main").unwrap();
    add_commit(path, "main", files)
}

/// Adds a commit with these files to a branch of a bare repository.
pub(crate) fn add_commit(path: &Path, branch: &str, files: &[(&str, &str)]) -> CommitId {
    let repository = git2::Repository::open_bare(path).unwrap();
    let name = format!("refs/heads/{branch}");
    let parent = repository.find_reference(&name).ok().map(|found| found.peel_to_commit().unwrap());
    let mut index = git2::Index::new().unwrap();
    if let Some(parent) = &parent {
        index.read_tree(&parent.tree().unwrap()).unwrap();
    }
    for (file, text) in files {
        let zero = git2::IndexTime::new(0, 0);
        let mode = if file.ends_with(".sh") { 0o100_755 } else { 0o100_644 };
        let entry = git2::IndexEntry {
            ctime: zero,
            mtime: zero,
            dev: 0,
            ino: 0,
            mode,
            uid: 0,
            gid: 0,
            file_size: 0,
            id: repository.blob(text.as_bytes()).unwrap(),
            flags: 0,
            flags_extended: 0,
            path: file.as_bytes().to_vec(),
        };
        index.add(&entry).unwrap();
    }
    let tree = repository.find_tree(index.write_tree_to(&repository).unwrap()).unwrap();
    let who = git2::Signature::new("Up", "up@example.com", &git2::Time::new(1_600_000_000, 0)).unwrap();
    let parents: Vec<_> = parent.iter().collect();
    repository.commit(Some(&name), &who, &who, "seed", &tree, &parents).unwrap().to_string().parse().unwrap()
}

/// Makes a clone look as if it had thousands of loose objects: a branch with some of the kind that is counted.
pub(crate) fn litter(clone: &Path) -> CommitId {
    let counted = |text: &String| {
        git2::Oid::hash_object(git2::ObjectType::Blob, text.as_bytes()).unwrap().as_bytes()[0] == 0x17
    };
    let texts: Vec<_> = (0..).map(|number| format!("text {number}")).filter(counted).take(12).collect();
    let names: Vec<_> = (0..texts.len()).map(|number| format!("f{number}")).collect();
    let files: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    add_commit(clone, "litter", &files)
}

/// Git as an agent has it: its own identity, whatever configuration it finds.
pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    let output = command(dir, args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env_clear().env("PATH", PATH).env("HOME", "/nonexistent");
    for (name, value) in [("NAME", "Agent"), ("EMAIL", "agent@example.com"), ("DATE", "1650000000 +0000")] {
        command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    command
}
