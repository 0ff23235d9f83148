//! The program itself, `offshoot serve`, in a directory of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, Connection, asking, request};

/// The program that is measured.
pub(crate) static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
pub(crate) const SECRET: &str = "bench-secret-0123456789abcdef-0123456789";
const READY_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(60);

pub(crate) fn program() -> &'static Path {
    PROGRAM.get_or_init(|| PathBuf::from(env!("CARGO_BIN_EXE_offshoot")))
}

/// Where a server lives, while none runs too.
pub(crate) struct Home {
    dir: TempDir,
    /// Repositories and worktrees.
    git_dir: TempDir,
}

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process to the line that says so.
    pub(crate) ready_after: Duration,
}

impl Home {
    /// For a server that runs so many jobs at once, each by the shell, and publishes to bare repositories in [`Self::remote`].
    pub(crate) fn new(dir: &Path, git_dir: &Path, jobs: u32) -> Self {
        let make = |dir| tempfile::Builder::new().prefix("ob-").tempdir_in(dir).unwrap();
        let home = Self { dir: make(dir), git_dir: make(git_dir) };
        fs::create_dir(home.path().join("home")).unwrap();
        let (own, git) = (home.path().display(), home.git_dir.path().display());
        let text = format!(
            "[server]\nport = 0\nmax_concurrent_jobs = {jobs}\nqueue_max = 100000\n\
             [paths]\ndata_dir = \"{own}/data\"\nrepos_dir = \"{git}/repos\"\nworktrees_dir = \"{git}/worktrees\"\n\
             [github]\napi_url = \"http://127.0.0.1:9\"\nclone_url = \"{git}/{{org}}/{{repo}}.git\"\n\
             [log]\nformat = \"json\"\n[agents.sh]\nkind = \"command\"\ncommand = \"/bin/sh\"\n"
        );
        let file = home.path().join("config.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("data/offshoot.db")
    }

    pub(crate) fn git_dir(&self) -> &Path {
        self.git_dir.path()
    }

    /// Where jobs of `org` for `repo` clone from and push to.
    pub(crate) fn remote(&self, repo: &str) -> PathBuf {
        self.git_dir().join(format!("org/{repo}.git"))
    }

    pub(crate) fn start(&self) -> Server {
        let log = self.path().join("server.log");
        let file = File::create(&log).unwrap();
        let began = Instant::now();
        let child = Command::new(program())
            .arg("serve")
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path().join("home"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("OFFSHOOT_CONFIG", self.path().join("config.toml"))
            .env("AGENT_API_SECRET", SECRET)
            .env("GITHUB_TOKEN", "nobody-asks")
            // the baseline has no walls around what it runs
            .env("OFFSHOOT_DEFAULTS_ISOLATION", "none")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut server = Server { child, address: ([127, 0, 0, 1], 0).into(), ready_after: Duration::ZERO };
        loop {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(address) = text.lines().find_map(ready_address) {
                server.address = address;
                server.ready_after = began.elapsed();
                return server;
            }
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended:\n{text}");
            assert!(began.elapsed() < READY_MAX, "the server never became ready:\n{text}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn ready_address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "ready").then(|| line["address"].as_str()?.parse().ok())?
}

/// A prompt of 500 bytes whose job the shell runs: nothing, or `script`.
pub(crate) fn job(repo: &str, script: &str, publish: &str) -> String {
    let prompt = format!("{script} #{}", "x".repeat(498_usize.saturating_sub(script.len())));
    serde_json::json!({"githubOrg": "org", "githubRepo": repo, "prompt": prompt, "baseBranch": "main",
        "options": {"agent": "sh", "publish": publish}})
    .to_string()
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One request over a connection of its own.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = request(self.address, method, path, body);
        asking(async { Connection::open(self.address).await.unwrap().call(&request).await.unwrap() })
    }

    /// As [`Self::call`], of one that must go well.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.call(method, path, body);
        assert!(answer.status < 300, "{method} {path}: {}", answer.json());
        answer.json()
    }

    pub(crate) fn pause(&self) {
        self.ask("POST", "/queue/pause", r#"{"reason":"bench"}"#);
    }

    /// Waits until nothing is queued or runs.
    pub(crate) fn wait_until_idle(&self, limit: Duration) {
        let began = Instant::now();
        loop {
            let queue = self.ask("GET", "/health", "")["queue"].clone();
            if queue["queued"] == 0 && queue["running"] == 0 {
                return;
            }
            assert!(began.elapsed() < limit, "jobs are left: {queue}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A figure of `/metrics`; all that begins with these words, together.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let answer = self.call("GET", "/metrics", "");
        let text = String::from_utf8(answer.body).unwrap();
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// In order, so that the next start need not look at every row.
    pub(crate) fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < STOP_MAX, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
