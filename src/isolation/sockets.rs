//! Sockets of the machine that have a name in the file system. A place that can only be read does not keep a program from connecting to
//! one in it, nor does a network of its own (unix(7)): each has to be covered. Those of today are in a list of the kernel's.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::bubblewrap::is_fresh;

/// All that are there, for those who have the network of this machine (proc_net(5)).
const LIST: &str = "/proc/net/unix";
/// Columns before the name.
const COLUMNS: usize = 7;
/// Covers for sockets; machines have a few outside of `/run` and `/tmp`.
const SOCKETS_MAX: usize = 250;

/// There are too many to cover them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are more than {SOCKETS_MAX} sockets of others outside of /run and /tmp, and a sandbox cannot cover them all: hide the \
     directories that they lie in by [sandbox] hide"
)]
pub struct TooManySockets;

/// Where sockets are bound now that a sandbox would show: not in its fresh directories, but for what of them is in or below `shown`,
/// nor in or below `gone`, which is not there or is the step's own. Nothing where the kernel has no such list.
///
/// # Errors
/// [`TooManySockets`].
pub fn of_others(shown: &[PathBuf], gone: &[PathBuf]) -> Result<Vec<PathBuf>, TooManySockets> {
    let list = fs::read(LIST).unwrap_or_default();
    let real =
        |paths: &[PathBuf]| paths.iter().filter_map(|path| path.canonicalize().ok()).collect::<Vec<_>>();
    let (shown, gone) = (real(shown), real(gone));
    let is_in = |path: &Path, places: &[PathBuf]| places.iter().any(|place| path.starts_with(place));
    let is_shown = |path: &PathBuf| (!is_fresh(path) || is_in(path, &shown)) && !is_in(path, &gone);
    let mut found: Vec<PathBuf> = names(&list).filter_map(socket).filter(is_shown).collect();
    found.sort();
    found.dedup();
    if found.len() > SOCKETS_MAX { Err(TooManySockets) } else { Ok(found) }
}

/// The names in such a list that begin at the root.
fn names(list: &[u8]) -> impl Iterator<Item = &Path> {
    list.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut rest = line.trim_ascii_start();
        for _ in 0..COLUMNS {
            let end = rest.iter().position(|byte| *byte == b' ')?;
            rest = rest[end..].trim_ascii_start();
        }
        rest.starts_with(b"/").then(|| Path::new(OsStr::from_bytes(rest)))
    })
}

/// Where it really is, if it is one.
fn socket(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket()).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn names_are_read_with_their_spaces_and_no_others() {
        let list = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12345 /home/me/an agent.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01   123 @/abstract\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 12346\n\
            0000000000000000: 00000002 00000000 00000000 0002 01 12347 relative\n";
        assert_eq!(names(list).collect::<Vec<_>>(), [Path::new("/home/me/an agent.sock")]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_listens_now_is_found_where_a_sandbox_would_show_it() {
        let here = std::env::current_dir().unwrap();
        let dir = tempfile::Builder::new().prefix(".s").tempdir_in(&here).unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("own")).unwrap();
        let _listening = ["a.sock", "own/b.sock"].map(|name| UnixListener::bind(root.join(name)).unwrap());
        drop(UnixListener::bind(root.join("nobody.sock")).unwrap());
        let _replaced = UnixListener::bind(root.join("replaced")).unwrap();
        fs::remove_file(root.join("replaced")).unwrap();
        fs::write(root.join("replaced"), "").unwrap();
        let found = |shown: &[PathBuf]| {
            let mut found = of_others(shown, &[root.join("own")]).unwrap();
            found.retain(|path| path.starts_with(&root));
            found
        };
        assert_eq!(found(std::slice::from_ref(&root)), [root.join("a.sock")]);
        // a checkout may lie in a directory that is fresh
        assert_eq!(found(&[]).is_empty(), is_fresh(&root));
    }
}
