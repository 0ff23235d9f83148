//! What root may read on this machine and others may not. A server that runs as root would show it to its agents: they have none of
//! root's privileges inside, but they are root to the modes of files. For any other server the kernel says no by itself.
//!
//! Found by its mode, when the walls are put up: no list of names knows what is installed here. Homes of others and logs are
//! closed whole, whatever their modes.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Where files are looked at, and how far down: state of services lies near the top, and below it is what they keep in bulk.
const SEARCHED: &[Searched] = &[
    Searched { root: "/etc", depth: 16, is_needed: true },
    Searched { root: "/usr/local/etc", depth: 16, is_needed: false },
    Searched { root: "/srv", depth: 3, is_needed: false },
    Searched { root: "/var/lib", depth: 4, is_needed: false },
];
/// Whole: what is in there comes and goes while walls are put up.
const CLOSED: &[&str] = &["/root", "/var/log", "/var/spool", "/var/backups", "/var/crash"];
const HOMES: &str = "/home";
/// Covers below one of the searched directories, and homes beside the server's own: bwrap 0.8 takes 9,000 words, and a cover is up to
/// four of them.
const COVERS_MAX: usize = 250;
const HOMES_MAX: usize = 500;
const _: () = assert!(4 * (SEARCHED.len() * COVERS_MAX + HOMES_MAX) < 8000, "room for all other words");
/// Entries of one directory that are closed one by one. With more it is kept for nothing else.
const IN_DIR_MAX: usize = 50;
/// Others may look into it and go through it.
const DIR_OPEN: u32 = 0o005;
const FILE_OPEN: u32 = 0o004;
/// Whoever connects writes.
const SOCKET_OPEN: u32 = 0o002;

struct Searched {
    root: &'static str,
    /// In levels.
    depth: usize,
    /// No program works without it: never closed whole.
    is_needed: bool,
}

/// There is too much to close it all. Where, is no secret: whoever runs an agent here could list it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} has more that others may not read than a sandbox can hide, or has it under a name that is not UTF-8. Move that into a \
     directory with mode 0700, or give the server a home directory that lies elsewhere", .0.display()
)]
pub struct Unclosable(PathBuf);

/// All of it, for a server that runs as root and has this home directory (without links on the way), which stays.
///
/// # Errors
/// [`Unclosable`].
pub fn to_others(home: Option<&Path>) -> Result<Vec<PathBuf>, Unclosable> {
    let keep = Keep { home };
    let mut found: Vec<PathBuf> = CLOSED.iter().filter_map(|path| real(Path::new(path))).collect();
    found.retain(|path| !keep.leads_home(path));
    if let Some(homes) = real(Path::new(HOMES)) {
        found.extend(keep.homes_of_others(&homes)?);
    }
    for Searched { root, depth, is_needed } in SEARCHED {
        if let Some(root) = real(Path::new(root)) {
            found.extend(keep.search_root(&root, *depth, *is_needed)?);
        }
    }
    Ok(found)
}

struct Keep<'a> {
    home: Option<&'a Path>,
}

impl Keep<'_> {
    fn leads_home(&self, path: &Path) -> bool {
        self.home.is_some_and(|home| home.starts_with(path))
    }

    /// One cover where the server's own is not among them. A link out of there leads to a home when it belongs to somebody: what
    /// is root's is the system's.
    fn homes_of_others(&self, homes: &Path) -> Result<Vec<PathBuf>, Unclosable> {
        let is_home = |path: &PathBuf| {
            path.starts_with(homes) || path.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() != 0)
        };
        let entries = entries(homes);
        let mut found: Vec<PathBuf> = entries.iter().filter_map(|path| real(path)).filter(is_home).collect();
        found.retain(|path| !self.leads_home(path));
        if !self.leads_home(homes) {
            found.retain(|path| !path.starts_with(homes));
            found.push(homes.to_owned());
        }
        let can_be_closed = found.len() <= HOMES_MAX && found.iter().all(|path| path.to_str().is_some());
        if can_be_closed { Ok(found) } else { Err(Unclosable(homes.to_owned())) }
    }

    fn search_root(&self, root: &Path, depth: usize, is_needed: bool) -> Result<Vec<PathBuf>, Unclosable> {
        let below = self.search(root, depth)?;
        match self.fitting(below, usize::MAX) {
            Some(found) => Ok(found),
            None if is_needed || self.leads_home(root) => Err(Unclosable(root.to_owned())),
            None => Ok(vec![root.to_owned()]),
        }
    }

    /// What is to be closed by or below each entry. Whatever cannot be looked at is none that others can.
    fn search(&self, dir: &Path, depth: usize) -> Result<Vec<Part>, Unclosable> {
        let mut parts = Vec::new();
        for path in entries(dir) {
            let Ok(meta) = path.symlink_metadata() else { continue };
            if self.home == Some(&path) {
                continue;
            }
            // the way to the home directory stays open, and not what lies beside it
            let leads_home = self.leads_home(&path);
            if is_closed(&meta) && !leads_home {
                parts.push(Part { closed: vec![path.clone()], entry: path });
            } else if meta.is_dir() && depth > 1 {
                let below = self.search(&path, depth - 1)?;
                let in_dir_max = if leads_home { usize::MAX } else { IN_DIR_MAX };
                match self.fitting(below, in_dir_max) {
                    Some(closed) if closed.is_empty() => {}
                    Some(closed) => parts.push(Part { entry: path, closed }),
                    None if leads_home => return Err(Unclosable(path)),
                    None => parts.push(Part { closed: vec![path.clone()], entry: path }),
                }
            }
        }
        Ok(parts)
    }

    /// Not more than may be, by closing whole the entries with most in them. `None`: the directory itself has to be closed, if it can be.
    fn fitting(&self, mut parts: Vec<Part>, in_dir_max: usize) -> Option<Vec<PathBuf>> {
        let is_one = |part: &&Part| part.closed.first() == Some(&part.entry);
        // what is left of each would be one at least
        if parts.len() > COVERS_MAX || parts.iter().filter(is_one).count() > in_dir_max {
            return None;
        }
        while parts.iter().map(|part| part.closed.len()).sum::<usize>() > COVERS_MAX {
            let others = parts.iter_mut().filter(|part| !self.leads_home(&part.entry));
            let most = others.max_by_key(|part| part.closed.len()).filter(|part| part.closed.len() > 1)?;
            most.closed = vec![most.entry.clone()];
        }
        let found: Vec<PathBuf> = parts.into_iter().flat_map(|part| part.closed).collect();
        found.iter().all(|path| path.to_str().is_some()).then_some(found)
    }
}

/// An entry of a directory that is closed, or has something in it that is.
struct Part {
    entry: PathBuf,
    closed: Vec<PathBuf>,
}

/// Links are followed by whoever opens them: what they lead to has its own mode. Nobody keeps a secret in an empty file, and locks
/// come and go.
fn is_closed(meta: &Metadata) -> bool {
    let mode = meta.permissions().mode();
    (meta.is_dir() && mode & DIR_OPEN != DIR_OPEN)
        || (meta.is_file() && meta.len() > 0 && mode & FILE_OPEN == 0)
        || (meta.file_type().is_socket() && mode & SOCKET_OPEN == 0)
}

fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(dir).into_iter().flatten();
    read.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn put(path: impl AsRef<Path>, mode: u32) {
        let path = path.as_ref();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        chmod(path, mode);
    }

    /// Without the root, in order.
    fn below(root: &Path, found: Result<Vec<PathBuf>, Unclosable>) -> Vec<String> {
        let mut names: Vec<_> = found
            .unwrap()
            .iter()
            .map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    fn temporary() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        (dir, root)
    }

    #[test]
    fn what_others_may_not_read_is_closed_and_the_home_directory_is_not() {
        let (_dir, root) = temporary();
        for (name, mode) in [
            ("open/deep/deeper/key", 0o600),
            ("open/shown", 0o644),
            ("open/group", 0o640),
            ("shut/shown", 0o644),
            ("way/me/key", 0o600),
            ("way/beside", 0o600),
        ] {
            put(root.join(name), mode);
        }
        let _sockets = [("open/group.sock", 0o660), ("open/all.sock", 0o666)].map(|(name, mode)| {
            let listener = UnixListener::bind(root.join(name)).unwrap();
            chmod(&root.join(name), mode);
            listener
        });
        fs::write(root.join("empty"), "").unwrap();
        chmod(&root.join("empty"), 0o600);
        symlink(root.join("way/beside"), root.join("link")).unwrap();
        for (name, mode) in [("shut", 0o711), ("way", 0o700), ("way/me", 0o700), ("open", 0o755)] {
            chmod(&root.join(name), mode);
        }
        let search = |depth| {
            let home = root.join("way/me");
            below(&root, Keep { home: Some(&home) }.search_root(&root, depth, false))
        };
        let near = ["open/group", "open/group.sock", "shut", "way/beside"];
        assert_eq!(search(9), [&["open/deep/deeper/key"][..], &near].concat());
        assert_eq!(search(3), near);
    }

    #[test]
    fn a_directory_with_much_to_close_or_a_name_that_no_argument_can_have_is_closed_whole() {
        let (_dir, root) = temporary();
        let latin = OsStr::from_bytes(b"caf\xe9");
        for number in 0..=IN_DIR_MAX {
            put(root.join(format!("backup/{number}")), 0o600);
            put(root.join(format!("way/{number}")), 0o600);
        }
        put(root.join("few/1"), 0o600);
        put(root.join("few/shown"), 0o644);
        put(root.join("named").join(latin), 0o600);
        put(root.join("above").join(latin).join("key"), 0o600);
        put(root.join("harmless").join(latin), 0o644);
        let home = root.join("way/me");
        let keep = Keep { home: Some(&home) };
        let mut beside: Vec<_> = (0..=IN_DIR_MAX).map(|number| format!("way/{number}")).collect();
        beside.sort();
        let whole = ["above", "backup", "few/1", "named"].map(str::to_owned);
        assert_eq!(below(&root, keep.search_root(&root, 3, false)), [&whole[..], &beside].concat());
        // the way home cannot be, and that is said
        put(root.join("way").join(latin), 0o600);
        let failed = keep.search_root(&root, 3, false).unwrap_err();
        assert_eq!(failed, Unclosable(root.join("way")));
        assert!(
            failed
                .to_string()
                .ends_with("mode 0700, or give the server a home directory that lies elsewhere")
        );
        assert_eq!(
            below(&root, Keep { home: None }.search_root(&root, 3, false)),
            ["above", "backup", "few/1", "named", "way"]
        );
    }

    #[test]
    fn never_more_is_closed_one_by_one_than_a_sandbox_can_be_told() {
        let (_dir, root) = temporary();
        for (dir, count) in [("a", 40), ("b", 50), ("c", 30)] {
            for (sub, number) in (0..3).flat_map(|sub| (0..count).map(move |number| (sub, number))) {
                put(root.join(format!("{dir}/{sub}/{number}")), 0o600);
            }
        }
        let keep = Keep { home: None };
        let found = below(&root, keep.search_root(&root, 4, true));
        assert_eq!(found.len(), 1 + 120 + 90, "the largest of them is closed whole");
        assert_eq!(found.iter().filter(|name| name.starts_with('b')).collect::<Vec<_>>(), ["b"]);
        for number in 0..=COVERS_MAX {
            put(root.join(format!("{number}")), 0o600);
        }
        assert_eq!(keep.search_root(&root, 4, true), Err(Unclosable(root.clone())));
        assert_eq!(keep.search_root(&root, 4, false), Ok(vec![root]));
    }

    #[test]
    fn homes_of_others_are_closed_and_the_servers_own_is_not_by_whatever_name() {
        let (_dir, root) = temporary();
        for name in ["homes/ci", "homes/bob", "disk/far", "disk/mine"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        symlink(root.join("disk/far"), root.join("homes/far")).unwrap();
        symlink(root.join("disk/mine"), root.join("homes/mine")).unwrap();
        symlink("/usr", root.join("homes/system")).unwrap();
        if nix::unistd::geteuid().is_root() {
            for name in ["disk/far", "disk/mine"] {
                std::os::unix::fs::chown(root.join(name), Some(1000), None).unwrap();
            }
        }
        symlink(root.join("homes"), root.join("home")).unwrap();
        let homes = |home: &str| {
            let home = root.join(home).canonicalize().unwrap();
            let homes = root.join("home").canonicalize().unwrap();
            below(&root, Keep { home: Some(&home) }.homes_of_others(&homes))
        };
        assert_eq!(homes("home/ci"), ["disk/far", "disk/mine", "homes/bob"]);
        assert_eq!(homes("home/mine"), ["disk/far", "homes"]);
    }

    #[test]
    fn the_home_of_root_is_closed_to_whoever_has_another() {
        let is_closed = |home: &str| {
            let found = to_others(Some(Path::new(home))).unwrap();
            real(Path::new("/root")).is_none_or(|path| found.contains(&path))
        };
        assert!(is_closed("/home/me"));
        let of_root = real(Path::new("/root"));
        assert!(of_root.is_none_or(|root| !is_closed(root.to_str().unwrap())));
    }
}
