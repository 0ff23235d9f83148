//! What must be true at the end of every test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{PATIENCE, Stand, poll};
use crate::git_fixture::{command, run};

/// One process of an installation.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) command: String,
    /// The step it is marked with.
    pub(crate) step: Option<String>,
}

/// The living processes that belong to an installation: its directory is in their environment, arguments or working
/// directory. Zombies have none of these.
pub(crate) fn processes_of(dir: &Path) -> Vec<Seen> {
    let own = std::process::id().cast_signed();
    let mark = dir.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut seen = Vec::new();
    for pid in pids.filter(|pid| *pid != own) {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (environ, cmdline) = (text(&read("environ")), text(&read("cmdline")));
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        if environ.contains(&mark) || cmdline.contains(&mark) || cwd.starts_with(dir) {
            let step = environ.split('\0').find_map(|pair| pair.strip_prefix("OFFSHOOT_STEP="));
            let step = step.map(str::to_owned);
            seen.push(Seen { pid, command: cmdline.replace('\0', " "), step });
        }
    }
    seen
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Stand {
    /// Its processes without the server itself.
    pub(crate) fn processes(&self) -> Vec<Seen> {
        let server = self.server.as_ref().map_or(0, |server| server.pid().cast_signed());
        processes_of(self.dir()).into_iter().filter(|seen| seen.pid != server).collect()
    }

    /// Processes of agents' steps.
    pub(crate) fn step_processes(&self) -> Vec<Seen> {
        self.processes().into_iter().filter(|seen| seen.step.is_some()).collect()
    }

    /// The worktrees that are there, and what was not removed from the trash.
    pub(crate) fn worktrees(&self) -> Vec<PathBuf> {
        let children = |dir: PathBuf| -> Vec<PathBuf> {
            let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
            entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
        };
        let repos = children(self.path("worktrees")).into_iter().flat_map(children);
        let trees = repos.flat_map(children);
        trees.flat_map(|path| if path.ends_with(".trash") { children(path) } else { vec![path] }).collect()
    }

    /// Ends the server in order and looks at everything that is left.
    pub(crate) async fn finish(self) {
        self.finish_leaving(&[]).await;
    }

    /// As [`Self::finish`], with the worktrees of these chains left on purpose.
    pub(crate) async fn finish_leaving(mut self, roots: &[&str]) {
        self.all_over().await;
        self.no_process().await;
        self.delivered().await;
        let code = self.terminate(Duration::from_secs(15)).await;
        assert_eq!(code, Some(0), "the server's end: {}", self.log_tail(30));
        // what it has killed as it left needs its moment on a busy machine
        let gone =
            poll(Duration::from_secs(5), async || processes_of(self.dir()).is_empty().then_some(())).await;
        assert!(gone.is_some(), "after the server's end: {:?}", processes_of(self.dir()));
        let strays: Vec<_> = self
            .worktrees()
            .into_iter()
            .filter(|path| !roots.iter().any(|root| path.ends_with(root)))
            .collect();
        assert!(strays.is_empty(), "worktrees are left: {strays:?}\n{}", self.log_tail(40));
        self.clones_are_whole(roots.len());
        self.nothing_complained();
        let unwanted = self.receiver.unwanted();
        assert!(unwanted.is_empty(), "wrongly signed or strayed requests: {unwanted:?}");
    }

    async fn all_over(&self) {
        let live = async || {
            let page = self.get("/jobs?status=queued,running&limit=1").await;
            (page["total"] == 0).then_some(())
        };
        self.wait_until("all jobs are over", live).await;
    }

    async fn no_process(&self) {
        let gone = poll(Duration::from_secs(20), async || self.processes().is_empty().then_some(())).await;
        assert!(gone.is_some(), "processes are left: {:#?}", self.processes());
    }

    async fn delivered(&self) {
        if self.undelivered {
            return;
        }
        let delivered = poll(PATIENCE, async || {
            let callbacks = self.get("/health").await["callbacks"].clone();
            (callbacks["pending"] == 0 && callbacks["dead"] == 0).then_some(())
        });
        assert!(delivered.await.is_some(), "callbacks are pending: {}", self.log_tail(20));
    }

    fn clones_are_whole(&self, worktrees: usize) {
        let repos = self.path("repos");
        let Ok(orgs) = std::fs::read_dir(&repos) else { return };
        for org in orgs.filter_map(Result::ok) {
            for clone in std::fs::read_dir(org.path()).unwrap().filter_map(Result::ok) {
                let path = clone.path();
                assert!(path.join("HEAD").is_file(), "a half clone or a leftover: {path:?}");
                let checked = command(&path, &["fsck", "--strict", "--no-dangling"]).output().unwrap();
                assert!(checked.status.success(), "{path:?}: {checked:?}");
                let listed = run(&path, &["worktree", "list", "--porcelain"]).stdout;
                let count = text(&listed).lines().filter(|line| line.starts_with("worktree ")).count();
                assert!(count <= 1 + worktrees, "{}", text(&listed));
                let locks =
                    files_below(&path).into_iter().filter(|file| file.extension() == Some("lock".as_ref()));
                assert_eq!(locks.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "locks are left");
            }
        }
    }

    fn nothing_complained(&self) {
        let log = self.log_text();
        let complaint = |line: &&str| {
            let parsed: Value = serde_json::from_str(line).unwrap_or(Value::Null);
            let bad = parsed["level"] == "ERROR" || line.contains("panicked at");
            bad && !self.expected_errors.iter().any(|expected| line.contains(expected))
        };
        let complaints: Vec<_> = log.lines().filter(complaint).collect();
        assert!(complaints.is_empty(), "the server complained:\n{}", complaints.join("\n"));
        for secret in [super::SECRET, super::WEBHOOK_SECRET, crate::fake_github::TOKEN] {
            assert!(!log.contains(secret), "a secret is in the log");
        }
    }
}

/// All files, however deep; links are not followed.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}

impl Drop for Stand {
    /// A test that failed leaves nothing running; its log is shown.
    #[expect(clippy::print_stderr, reason = "what a failed test says")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the server's log\n{}\n---", self.log_tail(60));
        }
        drop(self.server.take());
        for _ in 0..50 {
            let left = processes_of(self.dir());
            if left.is_empty() {
                break;
            }
            for seen in left {
                let _ = kill(Pid::from_raw(seen.pid), Signal::SIGKILL);
            }
            std::thread::yield_now();
        }
    }
}
