//! The arguments of bubblewrap (bwrap(1)): the walls of the sandbox, in the order in which they are put up.
//!
//! Later mounts lie over earlier ones. First the system, read-only, and fresh temporary directories; then what the owner
//! lends; then covers over all that is hidden; at last, above the covers, what belongs to the step.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::line::{DRAW, FILTER};
use super::pins::{Held, pins};

/// Temporary files are in memory, and are the step's own. So much in bytes where programs expect much room.
const LARGE_BYTES_MAX: u64 = 4 << 30;
const SMALL_BYTES_MAX: u64 = 1 << 30;
/// Sockets, and numbers of processes.
const RUN_BYTES_MAX: u64 = 64 << 20;

/// Fresh in every sandbox, with their bytes. `/run` holds the sockets of whoever serves this machine: containers, services, keys.
const FRESH: &[(&str, u64)] =
    &[("/tmp", LARGE_BYTES_MAX), ("/var/tmp", SMALL_BYTES_MAX), ("/run", RUN_BYTES_MAX)];
/// In the `/dev` of a sandbox, which has no bound of its own and is not written otherwise.
const SHARED_MEMORY: &str = "/dev/shm";

/// What every sandbox begins with: processes, messages and control groups of its own, and no privileges.
pub(super) const WALLS: &[&str] = &[
    "--die-with-parent",
    "--new-session",
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-cgroup-try",
    "--cap-drop",
    "ALL",
];

/// The system as it is, to be read. The kernel's settings too: root inside is root of the machine to them, with or without
/// privileges, and one of them names a program that the kernel itself runs (`core_pattern`, core(5)).
#[rustfmt::skip]
pub(super) const SYSTEM: &[&str] = &[
    "--ro-bind", "/", "/",
    "--dev", "/dev",
    "--proc", "/proc",
    "--ro-bind", "/proc/sys", "/proc/sys",
];

/// Written by many tools whatever they do, and of no worth to anybody else; below the home directory.
const CACHES: &[(&str, u64)] = &[(".cache", LARGE_BYTES_MAX), (".npm", SMALL_BYTES_MAX)];

/// Something that is shown inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub from: PathBuf,
    /// Where, inside.
    pub to: PathBuf,
    pub writable: bool,
}

impl Bind {
    /// At its own place, to be written.
    #[must_use]
    pub fn writable(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { from: path.clone(), to: path, writable: true }
    }

    /// At its own place, to be read.
    #[must_use]
    pub fn readable(path: impl Into<PathBuf>) -> Self {
        Self { writable: false, ..Self::writable(path) }
    }
}

/// What a sandbox is made of. All paths are absolute; those of binds have to be there.
#[derive(Clone, Debug)]
pub struct Inside<'a> {
    /// `bwrap` itself.
    pub program: &'a Path,
    pub working_dir: &'a Path,
    /// Read-only, wherever it lies.
    pub home: Option<&'a Path>,
    /// What must not be there: of these, what exists when the walls are put up is covered.
    pub hidden: &'a [PathBuf],
    /// What the owner lends. What is hidden stays hidden in it, unless it is named itself, or something in it.
    pub lent: &'a [Bind],
    /// What the step has, in this order.
    pub own: &'a [Bind],
    /// What stays as it is wherever it lies: where it can be written otherwise, it can only be read.
    pub held: &'a [Held],
    /// Directories of what the step has, which are there, and empty in memory for the step.
    pub fresh: &'a [PathBuf],
    /// Files and directories in what the step has that must not be there either.
    pub shut: &'a [PathBuf],
    /// The network of the machine, or none at all.
    pub network: bool,
    /// Landlock draws a line around the walls, and system calls are filtered: [`Found::Works`](super::Found::Works) says whether it
    /// can.
    pub line: bool,
    /// System calls are filtered, also without that line.
    pub filter: bool,
}

/// A path that is no UTF-8 cannot be an argument of a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path of the sandbox is not UTF-8")]
pub struct Unnameable;

/// A cover over something that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cover {
    path: PathBuf,
    is_dir: bool,
}

/// The program and its arguments up to and with `--`: the command follows. Looks at which of the hidden paths exist, and
/// follows links: what they lead to is hidden.
///
/// # Errors
/// [`Unnameable`].
pub fn wrapper(inside: &Inside<'_>) -> Result<Vec<String>, Unnameable> {
    let mut to = Arguments(Vec::new());
    match (inside.line, inside.filter) {
        (true, _) => to.words(&DRAW),
        (false, true) => to.words(&FILTER),
        (false, false) => {}
    }
    to.path(inside.program)?;
    to.words(WALLS);
    if !inside.network {
        to.words(&["--unshare-net"]);
    }
    to.words(SYSTEM);
    to.fresh(Path::new(SHARED_MEMORY), SMALL_BYTES_MAX)?;
    to.words(&["--remount-ro", "/dev"]);
    for (place, bytes_max) in FRESH.iter().filter(|(place, _)| is_real_dir(Path::new(place))) {
        to.fresh(Path::new(place), *bytes_max)?;
    }
    // names are looked up by a file that often lies in /run
    if let Some(file) = real(Path::new("/etc/resolv.conf")).filter(|file| is_fresh(file)) {
        to.bind(&Bind::readable(file))?;
    }
    if let Some(home) = inside.home.and_then(real) {
        if is_fresh(&home) {
            to.bind(&Bind::readable(&home))?;
        }
        for (name, bytes_max) in CACHES.iter().filter(|(name, _)| is_real_dir(&home.join(name))) {
            to.fresh(&home.join(name), *bytes_max)?;
        }
    }
    let covers = covers(inside.hidden);
    let is_under_cover = |bind: &&Bind| {
        real(&bind.to).is_some_and(|path| covers.iter().any(|cover| path.starts_with(&cover.path)))
    };
    let (above, open): (Vec<_>, Vec<_>) = inside.lent.iter().cloned().partition(|bind| is_under_cover(&bind));
    to.binds(&open)?;
    to.binds(&pins(&open, inside.held))?;
    for cover in &covers {
        to.cover(cover)?;
    }
    let above: Vec<Bind> = above.iter().chain(inside.own).cloned().collect();
    to.binds(&above)?;
    to.binds(&pins(&above, inside.held))?;
    for place in inside.fresh.iter().filter_map(|path| real(path)) {
        to.fresh(&place, SMALL_BYTES_MAX)?;
    }
    for cover in self::covers(inside.shut) {
        to.cover(&cover)?;
    }
    for cover in covers.iter().filter(|cover| {
        cover.is_dir && !inside.own.iter().any(|bind| real(&bind.to).as_ref() == Some(&cover.path))
    }) {
        to.words(&["--remount-ro"]);
        to.path(&cover.path)?;
    }
    to.words(&["--chdir"]);
    to.path(inside.working_dir)?;
    to.words(&["--"]);
    Ok(to.0)
}

/// Of what exists, the outermost: what lies in a covered directory is gone with it.
fn covers(hidden: &[PathBuf]) -> Vec<Cover> {
    let mut found: Vec<Cover> = hidden
        .iter()
        .filter_map(|path| {
            let path = real(path)?;
            let meta = path.symlink_metadata().ok()?;
            Some(Cover { path, is_dir: meta.is_dir() })
        })
        .filter(|cover| cover.path != Path::new("/"))
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let mut kept: Vec<Cover> = Vec::new();
    for cover in found {
        // what lies below a directory comes right behind it in this order
        if !kept.last().is_some_and(|outer| cover.path.starts_with(&outer.path)) {
            kept.push(cover);
        }
    }
    kept
}

/// Where it really is. What this user cannot reach, nobody inside can.
fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

fn is_real_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Whether it lies where a sandbox has fresh directories, so that it has to be shown again.
#[must_use]
pub fn is_fresh(path: &Path) -> bool {
    FRESH.iter().any(|(place, _)| path.starts_with(place))
}

struct Arguments(Vec<String>);

impl Arguments {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| (*word).to_owned()));
    }

    fn path(&mut self, path: &Path) -> Result<(), Unnameable> {
        let text = OsStr::new(path).to_str().ok_or(Unnameable)?;
        self.0.push(text.to_owned());
        Ok(())
    }

    fn fresh(&mut self, path: &Path, bytes_max: u64) -> Result<(), Unnameable> {
        self.words(&["--size", &bytes_max.to_string(), "--tmpfs"]);
        self.path(path)
    }

    fn binds(&mut self, binds: &[Bind]) -> Result<(), Unnameable> {
        binds.iter().try_for_each(|bind| self.bind(bind))
    }

    fn bind(&mut self, bind: &Bind) -> Result<(), Unnameable> {
        self.words(&[if bind.writable { "--bind" } else { "--ro-bind" }]);
        self.path(&bind.from)?;
        // a link on the way would lead somewhere else while the walls are put up
        let to = real(&bind.to).or_else(|| Some(real(bind.to.parent()?)?.join(bind.to.file_name()?)));
        self.path(to.as_deref().unwrap_or(&bind.to))
    }

    /// An empty directory, or a file that nobody can open: a bound device is none.
    fn cover(&mut self, cover: &Cover) -> Result<(), Unnameable> {
        self.words(if cover.is_dir { &["--tmpfs"] } else { &["--ro-bind", "/dev/null"] });
        self.path(&cover.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(arguments: &[String], words: &[&str]) -> usize {
        let found = arguments.windows(words.len()).position(|window| window == words);
        found.unwrap_or_else(|| panic!("{words:?} in {arguments:?}"))
    }

    #[test]
    fn walls_stand_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["home/.ssh", "home/.cache", "data/worktrees/1", "data/shadow", "lent/secret", "agents"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::write(root.join("home/.netrc"), "").unwrap();
        let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let hidden = ["home/.ssh", "home/.netrc", "home/.none", "data", "data/worktrees", "lent/secret"]
            .map(|name| root.join(name));
        let lent = [Bind::readable(root.join("lent")), Bind::readable(root.join("home/.ssh"))];
        let own = [
            Bind { from: root.join("data/shadow"), to: root.join("data/clone"), writable: true },
            Bind::writable(root.join("data/worktrees/1")),
        ];
        let inside = Inside {
            program: Path::new("/usr/bin/bwrap"),
            working_dir: &root.join("data/worktrees/1"),
            home: Some(&root.join("home")),
            hidden: &hidden,
            lent: &lent,
            own: &own,
            held: &[],
            fresh: &[],
            shut: &[],
            network: false,
            line: true,
            filter: true,
        };
        let all = wrapper(&inside).unwrap();
        let order = [
            position(&all, &["--ro-bind", "/", "/"]),
            position(&all, &["--tmpfs", "/tmp"]),
            position(&all, &["--ro-bind", &at("lent"), &at("lent")]),
            position(&all, &["--tmpfs", &at("data")]),
            position(&all, &["--tmpfs", &at("lent/secret")]),
            position(&all, &["--ro-bind", &at("home/.ssh"), &at("home/.ssh")]),
            position(&all, &["--bind", &at("data/shadow"), &at("data/clone")]),
            position(&all, &["--bind", &at("data/worktrees/1"), &at("data/worktrees/1")]),
            position(&all, &["--remount-ro", &at("data")]),
            position(&all, &["--chdir", &at("data/worktrees/1"), "--"]),
        ];
        assert!(order.is_sorted(), "{order:?} {all:?}");
        position(&all, &["--ro-bind", "/dev/null", &at("home/.netrc")]);
        position(&all, &["--unshare-net"]);
        position(&all, &["--tmpfs", &at("home/.cache")]);
        assert_eq!(all[..3], ["/proc/self/exe", "walls", "/usr/bin/bwrap"]);
        assert_eq!(all.last().map(String::as_str), Some("--"));
        assert!(!all.contains(&at("home/.none")), "what is not there needs no cover");
        assert!(
            !all.windows(2).any(|two| two == ["--tmpfs", &at("data/worktrees")]),
            "it is covered already"
        );
        let online = wrapper(&Inside { network: true, line: false, ..inside.clone() }).unwrap();
        assert_eq!(online[..4], ["/proc/self/exe", "walls", "--without-landlock", "/usr/bin/bwrap"]);
        let bare = wrapper(&Inside { line: false, filter: false, ..inside }).unwrap();
        assert_eq!(bare[0], "/usr/bin/bwrap");
        assert!(!online.contains(&"--unshare-net".to_owned()));
    }

    #[test]
    fn what_a_hidden_link_leads_to_is_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("vault")).unwrap();
        std::os::unix::fs::symlink(root.join("vault"), root.join(".ssh")).unwrap();
        let found = covers(&[root.join(".ssh"), root.join("gone"), PathBuf::from("/")]);
        assert_eq!(found, [Cover { path: root.join("vault"), is_dir: true }]);
    }
}
