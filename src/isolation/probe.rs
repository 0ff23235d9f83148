//! Whether the sandbox works on this machine: it is tried.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::bubblewrap::{SYSTEM, WALLS};
use super::{calls, line};

/// A sandbox stands within some hundredths of a second; a machine that swaps may need longer.
const TRY_MAX: Duration = Duration::from_secs(10);
/// After this time it is looked again where it did not work: somebody may have installed it. A look costs one process.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Of what a failing try says.
const WORDS_CHARS_MAX: usize = 300;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It works: the program, its name with the version, whether Landlock draws a line around it, and whether system calls are
    /// filtered.
    Works { program: PathBuf, version: String, line: bool, filter: bool },
    /// It does not, and why.
    Fails { why: String },
}

impl Found {
    #[must_use]
    pub fn works(&self) -> bool {
        matches!(self, Self::Works { .. })
    }

    /// In a sentence, for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Works { version, .. } => version,
            Self::Fails { why } => why,
        }
    }
}

/// The sandbox of this machine. Tried at the first question; what works is not tried again.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// Where programs are looked for.
    path: OsString,
    looked: Mutex<Option<(Instant, Found)>>,
    /// Held while somebody looks.
    looking: tokio::sync::Mutex<()>,
}

impl Sandbox {
    /// `path` is the value of PATH. Starts nothing yet.
    #[must_use]
    pub fn new(path: OsString) -> Self {
        Self { path, ..Self::default() }
    }

    /// Whether it works. Starts one process at the first question, and at most one a minute while it does not.
    pub async fn find(&self) -> Found {
        let _one_looks = self.looking.lock().await;
        match self.last() {
            Some((_, works @ Found::Works { .. })) => return works,
            Some((at, fails)) if at.elapsed() < LOOK_AGAIN => return fails,
            _ => {}
        }
        let found = look(&self.path).await;
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), found.clone()));
        found
    }

    /// What was found last; starts nothing.
    #[must_use]
    pub fn known(&self) -> Option<Found> {
        self.last().map(|(_, found)| found)
    }

    fn last(&self) -> Option<(Instant, Found)> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn look(path: &OsString) -> Found {
    let fails = |why: String| Found::Fails { why };
    if !cfg!(target_os = "linux") {
        return fails("there is no sandbox for this system yet".to_owned());
    }
    let Some(program) =
        std::env::split_paths(path).map(|dir| dir.join("bwrap")).find(|file| is_program(file))
    else {
        return fails(
            "bwrap was not found: install bubblewrap (Debian, Ubuntu: apt install bubblewrap)".to_owned(),
        );
    };
    match try_out(&program).await {
        Ok(version) => {
            // one that gains its rights by its file gets none behind the line or the filter
            let gains = has_mode(&program, 0o6000);
            let filter = calls::works() && !gains;
            let line = filter && line::works();
            let with = match (line, filter) {
                (true, _) => " and Landlock",
                (false, true) => ", without Landlock (which needs Linux 6.12)",
                (false, false) => {
                    ", without Landlock (which needs Linux 6.12), the kernel's keyrings within reach"
                }
            };
            Found::Works { program, version: format!("{version}{with}"), line, filter }
        }
        Err(why) => fails(why),
    }
}

fn is_program(file: &Path) -> bool {
    has_mode(file, 0o111)
}

/// A file with one of these bits.
fn has_mode(file: &Path, bits: u32) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & bits != 0)
}

/// Puts up the walls that every sandbox has and runs bubblewrap itself inside of them.
async fn try_out(program: &Path) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .args(WALLS)
        .args(SYSTEM)
        .args(["--tmpfs", "/tmp", "--ro-bind"])
        .args([program, program])
        .arg("--")
        .arg(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match timeout(TRY_MAX, command.output()).await {
        Err(_) => return Err(format!("bwrap did not answer within {} s", TRY_MAX.as_secs())),
        Ok(Err(error)) => return Err(format!("bwrap cannot be started: {error}")),
        Ok(Ok(output)) => output,
    };
    let words = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect::<String>()
    };
    if output.status.success() {
        return Ok(words(&output.stdout));
    }
    Err(format!(
        "bwrap does not work here ({}): it needs user namespaces, which the kernel, a container or AppArmor may refuse",
        words(&output.stderr)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_there_or_does_not_work_says_so_and_is_looked_for_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::new(dir.path().into());
        let Found::Fails { why } = sandbox.find().await else { panic!("there is none") };
        if !cfg!(target_os = "linux") {
            return;
        }
        assert!(why.contains("apt install bubblewrap"), "{why}");
        std::fs::write(dir.path().join("bwrap"), "not to be run").unwrap();
        let Found::Fails { why } = Sandbox::new(dir.path().into()).find().await else { panic!("no program") };
        assert!(why.contains("apt install bubblewrap"), "{why}");
        let install = |script: &str| {
            let file = dir.path().join("bwrap");
            std::fs::write(&file, script).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        install("#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n");
        assert_eq!(sandbox.find().await, Found::Fails { why }, "not within the minute");
        let Found::Fails { why } = Sandbox::new(dir.path().into()).find().await else { panic!("it fails") };
        assert!(why.contains("No permissions") && why.contains("user namespaces"), "{why}");
        install("#!/bin/sh\necho bubblewrap 9\n");
        let sandbox = Sandbox::new(dir.path().into());
        let works = sandbox.find().await;
        assert!(works.detail().starts_with("bubblewrap 9"), "{works:?}");
        install("#!/bin/sh\nexit 1\n");
        assert_eq!(sandbox.find().await, works, "what works is not tried again");
    }
}
