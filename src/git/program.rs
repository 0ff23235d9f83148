//! The one place where the git program is started.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::disk;
use super::error::{GitError, last_lines};
use super::give_up::GiveUp;
use super::leash::{self, Leash};
use super::lines::{each_block, split_lines};
use super::network;
use super::settings::GitSettings;
use crate::clock::Clock;

/// The least version: `fetch --no-write-fetch-head`, `push --force-with-lease` and worktrees behave as needed from
/// here on, and Debian 12 and macOS's command line tools have it.
const VERSION_FLOOR: (u32, u32) = (2, 39);
/// Error output beyond this is read and dropped: a reason is a few lines, a hook may print without end.
const STDERR_BYTES_MAX: usize = 64 * 1024;
/// Standard output beyond this fails the call. A remote with 100,000 branches answers `ls-remote` in about 10 MB.
const STDOUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A killed group is gone in milliseconds; only one that waits for a dead disk takes longer, and whoever holds its streams
/// open from outside of the group.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// How names in the scratch directory begin.
const SCRATCH_STEM: &str = "rules";

/// The git program of this machine, with the settings that it is run with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Git(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: GitSettings,
    version: String,
    /// The user's own settings of the network, as they were at start.
    network: Vec<(String, SecretString)>,
    clock: Clock,
}

/// One run of the program. Arguments are whole; operands come after `--` or joined with `=`.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) step: &'static str,
    pub(super) git_dir: Option<&'a Path>,
    pub(super) work_tree: Option<&'a Path>,
    pub(super) args: Vec<OsString>,
    pub(super) config: Vec<(String, SecretString)>,
    pub(super) deadline: Duration,
}

/// What a run gave back.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl Git {
    /// Checks that the program is there and new enough, cuts libgit2 off from configuration outside of clones, and
    /// remembers the user's own network settings (credentials, ssh, proxies, address rewriting).
    ///
    /// # Errors
    /// [`GitError::TooOld`], or [`GitError::Io`] when the program cannot be started.
    pub async fn probe(settings: GitSettings, clock: Clock) -> Result<Self, GitError> {
        cut_library_off()?;
        ready_scratch(&settings.scratch_dir).map_err(GitError::io("make the scratch directory"))?;
        let mut probed = Inner { settings, version: String::new(), network: Vec::new(), clock };
        let output = probed.run(version_call()).await?;
        probed.version = new_enough(&String::from_utf8_lossy(&output.stdout))?;
        probed.network = network::read_user_settings(&probed.settings).await?;
        Ok(Self(Arc::new(probed)))
    }

    /// The program's version, such as `2.47.3`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    pub(super) fn settings(&self) -> &GitSettings {
        &self.0.settings
    }

    /// Unix milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A name that is not in use yet.
    pub(super) fn unique(&self, stem: &str) -> String {
        format!("{stem}.{}", self.0.clock.random_text(12))
    }

    /// The user's settings for a run that may use the network. With a token of ours, nothing of the user's may
    /// answer for it or lead it elsewhere.
    pub(super) fn network_config(&self, has_auth: bool) -> Vec<(String, SecretString)> {
        let mut config = network::fixed_settings(&self.0.network, &self.0.settings);
        let taken = self.0.network.iter().filter(|(key, _)| !has_auth || !network::competes_with_token(key));
        config.extend(taken.cloned());
        config
    }

    /// A path in the scratch directory for one staging.
    pub(super) fn scratch_path(&self) -> PathBuf {
        self.0.settings.scratch_dir.join(self.unique(SCRATCH_STEM))
    }

    /// For long runs in `clone` (see [`Leash`]).
    pub(super) fn leash(&self, clone: &Path) -> Result<Leash, GitError> {
        let name = self.unique(leash::STEM);
        Leash::new(&self.settings().scratch_dir, &name, clone).map_err(GitError::io("begin a long step"))
    }

    pub(super) async fn run(&self, call: Call<'_>) -> Result<Output, GitError> {
        self.0.run(call).await
    }

    /// As [`Self::run`], with the program for large files.
    pub(super) async fn run_lfs(&self, call: Call<'_>) -> Result<Output, GitError> {
        let (step, deadline) = (call.step, call.deadline);
        finish(self.0.command_of(&self.0.settings.lfs_program, call), step, deadline).await
    }

    /// As [`Self::run`], for a step whose failure is none of a remote's.
    pub(super) async fn run_local(&self, call: Call<'_>) -> Result<(), GitError> {
        let step = call.step;
        let output = self.run(call).await?;
        if output.success {
            Ok(())
        } else {
            Err(GitError::Program { step, text: last_lines(&output.stderr) })
        }
    }

    /// As [`Self::run_local`], until nobody waits any more: [`GitError::GivenUp`] then, and no process is left. Each line of what it
    /// writes goes to `each`, however many there are; what is beyond 4 KiB of one is dropped.
    pub(super) async fn read_lines(
        &self,
        call: Call<'_>,
        give_up: &GiveUp,
        each: impl FnMut(&[u8]),
    ) -> Result<(), GitError> {
        self.read(call, Stdio::null(), give_up, async |stdout| split_lines(stdout, each).await).await
    }

    /// As [`Self::read_lines`], block by block, of a program that reads a file.
    pub(super) async fn read_blocks(
        &self,
        call: Call<'_>,
        asked: File,
        give_up: &GiveUp,
        each: impl FnMut(&[u8]),
    ) -> Result<(), GitError> {
        self.read(call, asked.into(), give_up, async |stdout| each_block(stdout, each).await).await
    }

    async fn read(
        &self,
        call: Call<'_>,
        stdin: Stdio,
        give_up: &GiveUp,
        read: impl AsyncFnOnce(ChildStdout) -> std::io::Result<()>,
    ) -> Result<(), GitError> {
        let (step, deadline) = (call.step, call.deadline);
        let child = self.0.command(call).stdin(stdin).spawn().map_err(GitError::io("start git"))?;
        let read = async |stdout: ChildStdout| read(stdout).await.map(|()| (Vec::new(), false));
        let ended = watch_with(child, step, deadline, give_up.given_up(), read).await?;
        let output = ended.ok_or(GitError::GivenUp)?;
        if output.success {
            return Ok(());
        }
        Err(GitError::Program { step, text: last_lines(&output.stderr) })
    }

    /// As [`Self::run`], for long work that gives way when `stop` is done: `None` then, and no process is left. If this
    /// server is killed, the next one ends the program.
    pub(super) async fn run_unless(
        &self,
        call: Call<'_>,
        leash: &mut Leash,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Output>, GitError> {
        let (step, deadline) = (call.step, call.deadline);
        let mut command = self.0.command(call);
        command.stdin(leash.stdin().map_err(GitError::io("start git"))?);
        let child = command.spawn().map_err(GitError::io("start git"))?;
        leash.hold(child.id()).map_err(GitError::io("start git"))?;
        watch(child, step, deadline, stop).await
    }
}

impl Inner {
    async fn run(&self, call: Call<'_>) -> Result<Output, GitError> {
        let (step, deadline) = (call.step, call.deadline);
        finish(self.command(call), step, deadline).await
    }

    fn command(&self, call: Call<'_>) -> Command {
        self.command_of(&self.settings.program, call)
    }

    fn command_of(&self, program: &Path, call: Call<'_>) -> Command {
        let mut command = command_with(program, &self.settings);
        command.args(&call.args);
        if let Some(git_dir) = call.git_dir {
            command.env("GIT_DIR", git_dir);
        }
        if let Some(work_tree) = call.work_tree {
            command.env("GIT_WORK_TREE", work_tree).current_dir(work_tree);
        }
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", &self.settings.allowed_protocols)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0");
        let fixed = LOCAL_CONFIG.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value)));
        let config: Vec<_> = fixed.chain(call.config).collect();
        command.env("GIT_CONFIG_COUNT", config.len().to_string());
        for (at, (key, value)) in config.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{at}"), value.expose_secret());
        }
        command
    }
}

/// Settings of every run. They outrank the clone's own configuration.
const LOCAL_CONFIG: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.alternateRefsCommand", ""),
    ("core.commitGraph", "false"),
    ("core.fsync", "committed"),
    ("core.editor", "false"),
    ("core.pager", "cat"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    ("push.gpgSign", "false"),
    ("push.followTags", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
];

/// The program with an emptied environment, no input, and a process group of its own.
pub(super) fn base_command(settings: &GitSettings) -> Command {
    command_with(&settings.program, settings)
}

fn command_with(program: &Path, settings: &GitSettings) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(settings.environment.iter().filter(|(name, _)| is_inherited(name)))
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .current_dir(&settings.scratch_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

fn is_inherited(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !name.starts_with(b"GIT_") || matches!(name, b"GIT_SSH" | b"GIT_SSH_COMMAND" | b"GIT_SSH_VARIANT")
}

/// Runs to the end or to the deadline. On the deadline, and when the caller gives up, the whole process group is
/// killed.
pub(super) async fn finish(
    mut command: Command,
    step: &'static str,
    deadline: Duration,
) -> Result<Output, GitError> {
    let child = command.spawn().map_err(GitError::io("start git"))?;
    watch(child, step, deadline, std::future::pending()).await?.ok_or(GitError::Abandoned)
}

/// As [`watch_with`], keeping the beginning of what is written.
async fn watch(
    child: Child,
    step: &'static str,
    deadline: Duration,
    stop: impl Future<Output = ()>,
) -> Result<Option<Output>, GitError> {
    watch_with(child, step, deadline, stop, async |stdout| read_bounded(stdout, STDOUT_BYTES_MAX).await).await
}

/// `None`: it was told to stop. Once killed, its end is waited for: whoever goes on meets nobody of the group. `read` gives what is
/// kept of the output, and whether there was more.
async fn watch_with(
    mut child: Child,
    step: &'static str,
    deadline: Duration,
    stop: impl Future<Output = ()>,
    read: impl AsyncFnOnce(ChildStdout) -> std::io::Result<(Vec<u8>, bool)>,
) -> Result<Option<Output>, GitError> {
    let group = ProcessGroup::of(child.id());
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(GitError::Abandoned);
    };
    // The program is reaped only after its output has ended, so its group's id cannot belong to anybody else while
    // the group may still be killed.
    let mut all = pin!(async {
        let (stdout, stderr) = tokio::join!(read(stdout), read_bounded(stderr, STDERR_BYTES_MAX));
        (stdout, stderr, child.wait().await)
    });
    let ended = tokio::select! {
        ended = timeout(deadline, &mut all) => ended.ok(),
        () = stop => {
            drop(group);
            let _ = timeout(KILLED_WITHIN, all).await;
            return Ok(None);
        }
    };
    let Some((stdout, stderr, status)) = ended else {
        drop(group);
        let _ = timeout(KILLED_WITHIN, all).await;
        return Err(GitError::Deadline { step, seconds: deadline.as_secs() });
    };
    group.disarm();
    let (stdout, cut) = stdout.map_err(GitError::io("read git's output"))?;
    if cut {
        return Err(GitError::Program { step, text: format!("it wrote more than {STDOUT_BYTES_MAX} bytes") });
    }
    let (stderr, _) = stderr.map_err(GitError::io("read git's error output"))?;
    Ok(Some(Output {
        success: status.map_err(GitError::io("wait for git"))?.success(),
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }))
}

/// Reads to the end, keeps the first `bytes_max` bytes, tells whether something was dropped.
async fn read_bounded(
    mut from: impl AsyncRead + Unpin,
    bytes_max: usize,
) -> std::io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    let mut cut = false;
    let mut block = vec![0_u8; 16 * 1024];
    loop {
        let count = from.read(&mut block).await?;
        if count == 0 {
            return Ok((kept, cut));
        }
        let room = bytes_max - kept.len();
        cut |= count > room;
        kept.extend_from_slice(&block[..count.min(room)]);
    }
}

/// Kills the program's whole group (ssh, remote helpers, credential helpers) when dropped armed.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(pid: Option<u32>) -> Self {
        Self(pid.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // ESRCH: everything has ended by itself.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Makes the directory, and removes what a killed server left there.
fn ready_scratch(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(SCRATCH_STEM.as_bytes()) {
            disk::remove_any(&entry.path())?;
        }
    }
    Ok(())
}

/// The version in what `git version` has printed, such as `2.47.3`.
///
/// # Errors
/// [`GitError::TooOld`], also when it is no version.
pub fn new_enough(printed: &str) -> Result<String, GitError> {
    let version = printed.trim().strip_prefix("git version ").unwrap_or(printed.trim()).to_owned();
    if parse_version(&version).is_none_or(|found| found < VERSION_FLOOR) {
        return Err(GitError::TooOld { found: version, floor: "2.39" });
    }
    Ok(version)
}

fn version_call() -> Call<'static> {
    Call {
        step: "tell its version",
        git_dir: None,
        work_tree: None,
        args: vec![OsString::from("version")],
        config: Vec::new(),
        deadline: Duration::from_secs(30),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// libgit2 would read the user's and the system's configuration into every repository that it opens.
fn cut_library_off() -> Result<(), GitError> {
    use git2::ConfigLevel::{Global, ProgramData, System, XDG};
    static ONCE: std::sync::Once = std::sync::Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = [Global, ProgramData, System, XDG].into_iter().try_for_each(forget_search_path);
    });
    result.map_err(GitError::library("set up libgit2"))
}

#[expect(unsafe_code, reason = "libgit2's search paths are process-wide variables")]
fn forget_search_path(level: git2::ConfigLevel) -> Result<(), git2::Error> {
    // SAFETY: called once, before this crate opens its first repository, so nobody reads the paths meanwhile.
    unsafe { git2::opts::set_search_path(level, "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_vendors_are_read() {
        for (text, expected) in [
            ("2.47.3", Some((2, 47))),
            ("2.39.5 (Apple Git-154)", Some((2, 39))),
            ("2.45.0.windows.1", Some((2, 45))),
            ("", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn gits_own_variables_are_not_inherited() {
        for (name, inherited) in
            [("PATH", true), ("GIT_DIR", false), ("GIT_SSH_COMMAND", true), ("GIT_CONFIG_COUNT", false)]
        {
            assert_eq!(is_inherited(OsStr::new(name)), inherited, "{name}");
        }
    }

    #[tokio::test]
    async fn output_is_bounded_while_all_of_it_is_read() {
        let (kept, cut) = read_bounded(&[7_u8; 100_000][..], 1_000).await.unwrap();
        assert_eq!((kept.len(), cut), (1_000, true));
    }
}
