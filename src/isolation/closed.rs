//! What root may read on this machine and others may not. A server that runs as root would show it to its agents: they have none of
//! root's privileges inside, but they are root to the modes of files. For any other server the kernel says no by itself.
//!
//! Found by its mode, when the walls are put up: no list of names knows what is installed here. Homes of others and logs are
//! closed whole, whatever their modes.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where files are looked at, and how far down: state of services lies near the top, and below it is what they keep in bulk.
const SEARCHED: &[(&str, usize)] = &[("/etc", 16), ("/usr/local/etc", 16), ("/srv", 3), ("/var/lib", 4)];
/// Whole: what is in there comes and goes while walls are put up.
const CLOSED: &[&str] = &["/root", "/var/log", "/var/spool", "/var/backups", "/var/crash"];
const HOMES: &str = "/home";
/// Others may look into it and go through it.
const DIR_OPEN: u32 = 0o005;
const FILE_OPEN: u32 = 0o004;

/// All of it, for a server that runs as root and has this home directory, which stays.
#[must_use]
pub fn to_others(home: Option<&Path>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = CLOSED.iter().map(PathBuf::from).collect();
    found.extend(entries(Path::new(HOMES)));
    found.retain(|path| !home.is_some_and(|home| home.starts_with(path)));
    for (root, depth) in SEARCHED {
        search(Path::new(root), *depth, home, &mut found);
    }
    found
}

/// Whatever cannot be looked at is none that others can.
fn search(dir: &Path, depth: usize, home: Option<&Path>, found: &mut Vec<PathBuf>) {
    for path in entries(dir) {
        let Ok(meta) = path.symlink_metadata() else { continue };
        if home == Some(&path) {
            continue;
        }
        // the way to the home directory stays open, and not what lies beside it
        let leads_home = home.is_some_and(|home| home.starts_with(&path));
        if is_closed(&meta) && !leads_home {
            found.push(path);
        } else if meta.is_dir() && depth > 1 {
            search(&path, depth - 1, home, found);
        }
    }
}

/// Links are followed by whoever opens them: what they lead to has its own mode. Nobody keeps a secret in an empty file, and locks
/// come and go.
fn is_closed(meta: &Metadata) -> bool {
    let mode = meta.permissions().mode();
    (meta.is_dir() && mode & DIR_OPEN != DIR_OPEN)
        || (meta.is_file() && meta.len() > 0 && mode & FILE_OPEN == 0)
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(dir).into_iter().flatten();
    read.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_not_read_is_closed_and_the_home_directory_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (name, mode) in [
            ("open/deep/deeper/key", 0o600),
            ("open/shown", 0o644),
            ("open/group", 0o640),
            ("shut/shown", 0o644),
            ("way/me/key", 0o600),
            ("way/beside", 0o600),
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::write(root.join("empty"), "").unwrap();
        fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(root.join("way/beside"), root.join("link")).unwrap();
        for (name, mode) in [("shut", 0o711), ("way", 0o700), ("way/me", 0o700), ("open", 0o755)] {
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let search = |depth| {
            let mut found = Vec::new();
            search(root, depth, Some(&root.join("way/me")), &mut found);
            found.sort();
            let names =
                found.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(search(9), ["open/deep/deeper/key", "open/group", "shut", "way/beside"]);
        assert_eq!(search(3), ["open/group", "shut", "way/beside"]);
    }

    #[test]
    fn homes_of_others_are_closed() {
        assert!(to_others(Some(Path::new("/home/me"))).contains(&PathBuf::from("/root")));
        let of_root = to_others(Some(Path::new("/root")));
        assert!(!of_root.contains(&PathBuf::from("/root")), "{of_root:?}");
        let homes: Vec<_> = entries(Path::new(HOMES));
        assert!(homes.iter().all(|home| of_root.contains(home)), "{of_root:?}");
    }
}
