//! Small file operations that follow no link and wait for no pipe.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub use super::clearing::remove_any;

/// Administration files are a few hundred bytes; more is not ours.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// The bytes of a small regular file; `None` when it is missing, large, or anything but a regular file.
pub(super) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > SMALL_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Missing, reached through something that is no directory, a link (ELOOP), a socket (ENXIO), or no permission.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO | libc::EACCES | libc::EISDIR)
    )
}

/// Whether `path` is a directory itself, not a link to one.
pub(super) fn is_real_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

/// Puts a new file in the place of whatever is there, durably. Fails when a directory is there.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".offshoot-new");
    let new = path.with_file_name(name);
    remove_any(&new)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Makes a directory in one that is there, durably; success when it is there.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        // also one that is there already: whoever made it may have been killed before the sync
        _ => {}
    }
    sync_parent(dir)
}

/// Makes a rename into the parent directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Makes everything that was written to the file system of `path` durable. Objects are many small files that the
/// library writes unsynced, and one call for all of them costs less than one for each.
pub(super) fn sync_file_system(path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::unistd::syncfs(&File::open(path)?)?;
    #[cfg(not(target_os = "linux"))]
    {
        File::open(path)?.sync_all()?;
        nix::unistd::sync();
    }
    Ok(())
}

/// The bytes that a tree occupies on disk, following nothing. What vanishes meanwhile is not counted.
pub(super) fn usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut open = vec![path.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            // st_blocks counts 512-byte units (inode(7)).
            bytes += meta.blocks() * 512;
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}
