//! Where things lie on disk.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use directories::{BaseDirs, ProjectDirs};

use super::error::{ConfigError, Problem};
use super::values::Values;
use crate::domain::phrases::shell_word;

/// `sun_path` has 104 bytes on macOS and the BSDs, the closing NUL included (unix(4)); Linux has 108.
pub const SOCKET_PATH_BYTES_MAX: usize = 103;
/// `<instance>-<job number>-<attempt>-<step>.sock` at its longest: 8, 10, 3, 9 and 5 bytes with three hyphens, and two
/// bytes to spare.
pub const SOCKET_NAME_BYTES_MAX: usize = 40;

/// The directories that the platform means for programs of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformDirs {
    pub home: PathBuf,
    pub config_dir: PathBuf,
    pub data_dir: PathBuf,
}

impl PlatformDirs {
    /// By the XDG base directories on Linux, below `~/Library` on macOS; `None` without a home directory.
    pub(super) fn of_this_user() -> Option<Self> {
        let home = BaseDirs::new()?.home_dir().to_path_buf();
        let dirs = ProjectDirs::from("dev", "", "offshoot")?;
        let (config_dir, data_dir) = (dirs.config_dir().to_path_buf(), dirs.data_local_dir().to_path_buf());
        Some(Self { home, config_dir, data_dir })
    }

    /// The Linux layout below `home`, for environments that are not this process's own.
    #[must_use]
    pub fn below(home: &Path) -> Self {
        Self {
            home: home.to_path_buf(),
            config_dir: home.join(".config/offshoot"),
            data_dir: home.join(".local/share/offshoot"),
        }
    }

    /// Where the configuration file is looked for.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config_dir.join("config.toml")
    }
}

/// All absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Database, logs and sockets: what must survive a restart and is nobody else's business.
    pub data_dir: PathBuf,
    pub repos_dir: PathBuf,
    pub worktrees_dir: PathBuf,
    pub files_dir: PathBuf,
}

impl Paths {
    /// Sockets of running steps. On the data directory's own disk, so that the next server finds them; every path in
    /// it keeps within [`SOCKET_PATH_BYTES_MAX`].
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.data_dir.join("run")
    }

    /// Creates what is missing, for this user alone (0700), closes to others what was there, and proves that it can be written. Gives
    /// the directories that others could enter until now, each with its mode: what they have read they have read.
    ///
    /// # Errors
    /// Exit code 77: a directory belongs to somebody else, can be written by everybody, or cannot be written. Names the key, not only
    /// the path.
    pub fn ensure(&self) -> Result<Vec<(PathBuf, u32)>, ConfigError> {
        let run_dir = self.run_dir();
        let all = [
            ("paths.data_dir", &self.data_dir),
            ("paths.data_dir", &run_dir),
            ("paths.repos_dir", &self.repos_dir),
            ("paths.worktrees_dir", &self.worktrees_dir),
            ("paths.files_dir", &self.files_dir),
        ];
        let (mut problems, mut closed) = (Vec::new(), Vec::new());
        for (key, dir) in all {
            match ensure_one(dir) {
                Ok(Some(mode)) => closed.push((dir.clone(), mode)),
                Ok(None) => {}
                Err(fault) => problems.push(unusable(key, dir, &fault)),
            }
        }
        if problems.is_empty() { Ok(closed) } else { Err(ConfigError { problems, file: None }) }
    }
}

/// Bits of a mode by which others than the owner get in.
const OTHERS: u32 = 0o077;
/// The one by which everybody may put something there.
const EVERYBODY_WRITES: u32 = 0o002;

enum Fault {
    /// Not a directory of our own that can be written.
    Unfit(String),
    /// What lies in it may be anybody's: another database, with a token of his.
    Public(u32),
}

fn unusable(key: &str, dir: &Path, fault: &Fault) -> Problem {
    let shown = shell_word(&dir.display().to_string());
    let (rule, remedy) = match fault {
        Fault::Unfit(rule) => (
            rule.clone(),
            format!("make {shown} a directory of your own (ls -ld {shown}), or set {key} to another one"),
        ),
        Fault::Public(mode) => (
            format!(
                "can be written by every user of this machine (mode {mode:04o}): what lies in it may be anybody's"
            ),
            format!("look whose it is (ls -la {shown}), then: chmod 700 {shown}"),
        ),
    };
    Problem::new(key, rule).remedy(remedy).permission()
}

/// The mode that it had, where others could get in.
fn ensure_one(dir: &Path) -> Result<Option<u32>, Fault> {
    let cannot = |what: &str, error: &io::Error| Fault::Unfit(format!("cannot be {what}: {}", error.kind()));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| cannot("created", &error))?;
    let found = fs::metadata(dir).map_err(|error| cannot("read", &error))?;
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Fault::Unfit("belongs to another user".to_owned()));
    }
    let mode = found.mode() & 0o7777;
    if mode & EVERYBODY_WRITES != 0 {
        return Err(Fault::Public(mode));
    }
    let others = mode & OTHERS != 0;
    if others {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .map_err(|error| cannot("closed to others", &error))?;
    }
    // Asking the kernel also covers file systems that are mounted read-only.
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .map_err(|error| cannot("written", &error.into()))?;
    Ok(others.then_some(mode))
}

/// Takes the paths out of `values`; `None` when a problem was noted.
pub(super) fn build(values: &mut Values, dirs: Option<&PlatformDirs>) -> Option<Paths> {
    let given = |values: &mut Values, key: &str| absolute(values, key, dirs);
    let data_dir = match values.entry("paths.data_dir") {
        Some(_) => given(values, "paths.data_dir")?,
        None => match dirs {
            Some(dirs) => dirs.data_dir.clone(),
            None => {
                let problem = Problem::new("paths.data_dir", "must be set: there is no home directory");
                values.problems.push(problem.remedy("export HOME=/your/home, or set paths.data_dir"));
                return None;
            }
        },
    };
    let mut below = |key: &str, name: &str| match values.entry(key) {
        Some(_) => given(values, key),
        None => Some(data_dir.join(name)),
    };
    let repos_dir = below("paths.repos_dir", "repos");
    let worktrees_dir = below("paths.worktrees_dir", "worktrees");
    let files_dir = below("paths.files_dir", "files");
    let paths =
        Paths { data_dir, repos_dir: repos_dir?, worktrees_dir: worktrees_dir?, files_dir: files_dir? };
    check(&paths, values);
    Some(paths)
}

fn check(paths: &Paths, values: &mut Values) {
    let longest_socket = paths.run_dir().as_os_str().as_bytes().len() + 1 + SOCKET_NAME_BYTES_MAX;
    if longest_socket > SOCKET_PATH_BYTES_MAX {
        let room = SOCKET_PATH_BYTES_MAX - 1 - SOCKET_NAME_BYTES_MAX - "/run".len();
        values.problem("paths.data_dir", format!("must be at most {room} bytes long: sockets lie in it"));
    }
    let named = [
        ("paths.repos_dir", &paths.repos_dir),
        ("paths.worktrees_dir", &paths.worktrees_dir),
        ("paths.files_dir", &paths.files_dir),
    ];
    for (at, (key, dir)) in named.iter().enumerate() {
        if paths.data_dir.starts_with(dir) {
            values.problem(key, "must not be paths.data_dir or a directory above it");
        }
        let others = named.iter().enumerate().filter(|&(other, _)| other != at);
        for (_, (other, _)) in others.filter(|(_, (_, other_dir))| other_dir.starts_with(dir)) {
            values.problem(key, format!("must not be {other} or a directory above it"));
        }
    }
}

/// The path at `key` with `~/` filled in; a relative one is a problem.
pub(super) fn absolute(values: &mut Values, key: &str, dirs: Option<&PlatformDirs>) -> Option<PathBuf> {
    let text = values.text(key)?;
    match resolve(&text, dirs) {
        Some(path) => Some(path),
        None => {
            values.problem(key, "must be an absolute path, or one that starts with ~/");
            None
        }
    }
}

/// `text` as an absolute path without `..`; a leading `~/` is the home directory.
pub(super) fn resolve(text: &str, dirs: Option<&PlatformDirs>) -> Option<PathBuf> {
    let path = match text.strip_prefix("~/") {
        Some(rest) => dirs?.home.join(rest),
        None => PathBuf::from(text),
    };
    let plain = !path.components().any(|part| part == std::path::Component::ParentDir);
    (path.is_absolute() && plain).then_some(path)
}
