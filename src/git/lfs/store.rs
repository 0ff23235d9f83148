//! Objects in a clone, where git-lfs keeps its own: `lfs/objects/aa/bb/<oid>`.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use sha2::{Digest as _, Sha256};

use super::FILE_BYTES_MAX;
use super::pointer::Pointer;
use crate::git::disk;
use crate::git::error::GitError;
use crate::git::give_up::GiveUp;
use crate::git::tree_walk::DIR_FLAGS;

/// Names below a root, those of git-lfs.
const OBJECTS: [&str; 2] = ["lfs", "objects"];
/// Directories between those and an object, each with two digits of its name.
const DIRS_DEEP: usize = 2;
/// What is held in memory of a file.
const BLOCK_BYTES: usize = 256 * 1024;
/// Objects that are taken over of one shadow: a sandboxed agent's own git-lfs has made them.
pub(in crate::git) const ABSORBED_MAX: usize = 10_000;

/// Of what an agent has stored by itself, what was met first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::git) enum Beyond {
    /// They have more bytes together than the caller allows.
    Bytes,
    /// They are more than [`ABSORBED_MAX`].
    Files,
}

/// Hashes what it reads, which is never more than one byte beyond the bound; gives the pointer, or `None` for a longer file.
fn hash(from: impl Read, mut to: impl Write) -> io::Result<Option<Pointer>> {
    let mut from = from.take(FILE_BYTES_MAX + 1);
    let (mut hasher, mut bytes, mut block) = (Sha256::new(), 0_u64, vec![0_u8; BLOCK_BYTES]);
    loop {
        let count = match from.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&block[..count]);
        to.write_all(&block[..count])?;
        bytes += count as u64;
    }
    Ok((bytes <= FILE_BYTES_MAX).then(|| Pointer::new(&hasher.finalize().into(), bytes)))
}

/// The directory of an object. `Ok(None)`: it is not there, and was not to be made. A link on the way is an error.
fn dir_of(clone: &Path, oid: &str, make: bool) -> io::Result<Option<OwnedFd>> {
    let mut dir = nix::fcntl::open(clone, DIR_FLAGS, Mode::empty())?;
    for name in [OBJECTS[0], OBJECTS[1], &oid[..2], &oid[2..4]] {
        if make {
            match mkdirat(dir.as_fd(), name, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        dir = match openat(dir.as_fd(), name, DIR_FLAGS, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) if !make => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
    }
    Ok(Some(dir))
}

/// The object below `root` (a clone, a shadow, or the place of a transfer), if a regular file of its size is there whose content
/// has its hash; at the beginning. What lies there instead is not touched.
pub(in crate::git) fn open_object(root: &Path, pointer: &Pointer) -> io::Result<Option<File>> {
    let Ok(Some(dir)) = dir_of(root, pointer.oid(), false) else { return Ok(None) };
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = match openat(&dir, pointer.oid(), flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::EACCES) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() != pointer.size() || pointer.size() > FILE_BYTES_MAX {
        return Ok(None);
    }
    if hash(&mut file, io::sink())?.as_ref() != Some(pointer) {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(Some(file))
}

/// Takes content into a clone. `new` is where it is written first: a path of its own in the clone, on the same file system.
pub(in crate::git) struct Ingest<'a> {
    pub(in crate::git) clone: &'a Path,
    pub(in crate::git) new: PathBuf,
}

impl Ingest<'_> {
    /// The pointer of a file without storing anything; `None`: it is longer than the bound.
    pub(in crate::git) fn look(file: &mut File) -> io::Result<Option<Pointer>> {
        let pointer = hash(&mut *file, io::sink())?;
        file.seek(SeekFrom::Start(0))?;
        Ok(pointer)
    }

    /// Stores what can be read from `file`; `None`: it is longer than the bound. What was hashed is what is stored, however
    /// the file changes meanwhile.
    pub(in crate::git) fn put(&self, file: impl Read) -> io::Result<Option<Pointer>> {
        disk::remove_any(&self.new)?;
        if let Some(dir) = self.new.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut options = OpenOptions::new();
        let mut copy = options
            .write(true)
            .create_new(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.new)?;
        let stored = hash(file, &mut copy).and_then(|pointer| {
            let Some(pointer) = pointer else { return Ok(None) };
            self.place(&self.new, &pointer)?;
            Ok(Some(pointer))
        });
        if !matches!(stored, Ok(Some(_))) {
            disk::remove_any(&self.new)?;
        }
        stored
    }

    /// Puts a file that was checked in the place of an object.
    fn place(&self, from: &Path, pointer: &Pointer) -> io::Result<()> {
        let dir = dir_of(self.clone, pointer.oid(), true)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(renameat(AT_FDCWD, from, dir.as_fd(), OsStr::new(pointer.oid()))?)
    }

    /// Takes over an object from another root, unless the clone has it. Whether the clone has it now.
    pub(in crate::git) fn take_over(&self, root: &Path, pointer: &Pointer) -> io::Result<bool> {
        if open_object(self.clone, pointer)?.is_some() {
            return Ok(true);
        }
        let Some(file) = open_object(root, pointer)? else { return Ok(false) };
        Ok(self.put(file)?.as_ref() == Some(pointer))
    }
}

/// Takes over what somebody's own git-lfs has stored in a shadow and `is_wanted`. What is not an object by its name, size and hash stays
/// there, and so does all beyond a bound, which is given then.
pub(in crate::git) fn absorb(
    shadow: &Path,
    into: &Ingest<'_>,
    is_wanted: impl Fn(&Pointer) -> bool,
    bytes_max: u64,
    give_up: &GiveUp,
) -> Result<Option<Beyond>, GitError> {
    let (mut bytes, mut wanted, mut beyond) = (0_u64, Vec::new(), None);
    each_named(shadow, |pointer| {
        let pointer = pointer?;
        // names that nobody wants are looked at as well, however many there are
        if give_up.check().is_err() {
            return Ok(ControlFlow::Break(()));
        }
        if is_wanted(&pointer) {
            bytes = bytes.saturating_add(pointer.size());
            beyond = match (bytes > bytes_max, wanted.len() >= ABSORBED_MAX) {
                (true, _) => Some(Beyond::Bytes),
                (false, true) => Some(Beyond::Files),
                (false, false) => None,
            };
            wanted.push(pointer);
        }
        Ok(if beyond.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .map_err(GitError::io("list an agent's large files"))?;
    give_up.check()?;
    if beyond.is_some() {
        wanted.pop();
    }
    for pointer in wanted {
        give_up.check()?;
        into.take_over(shadow, &pointer).map_err(GitError::io("take over an agent's large files"))?;
    }
    Ok(beyond)
}

/// Lends every object of one root to another, see [`lend`]; gives how many. Those that are not whole stay behind, as does one that
/// fails with an error that `may_lack` says yes to, and what lies in a directory that does.
pub(in crate::git) fn lend_all(
    from: &Path,
    to: &Path,
    may_lack: impl Fn(&io::Error) -> bool,
) -> io::Result<usize> {
    let mut lent = 0;
    each_named(from, |pointer| {
        match pointer.and_then(|pointer| lend(from, to, &pointer)) {
            Ok(is_whole) => lent += usize::from(is_whole),
            Err(error) if may_lack(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(lent)
}

/// An object in another root as well: another name of it, or a copy where there can be none. False: it is not whole here.
pub(in crate::git) fn lend(from: &Path, to: &Path, pointer: &Pointer) -> io::Result<bool> {
    if open_object(to, pointer)?.is_some() {
        return Ok(true);
    }
    let Some(mut object) = open_object(from, pointer)? else { return Ok(false) };
    let below = below(pointer.oid());
    let name = to.join(&below);
    // half a copy, of who was killed over it
    disk::remove_any(&name)?;
    fs::create_dir_all(name.parent().unwrap_or(to))?;
    if fs::hard_link(from.join(&below), &name).is_err() {
        io::copy(&mut object, &mut File::create_new(&name)?)?;
    }
    Ok(true)
}

/// Where an object is below a root.
fn below(oid: &str) -> PathBuf {
    [OBJECTS[0], OBJECTS[1], &oid[..2], &oid[2..4], oid].iter().collect()
}

/// What lies below a root under the name of an object, in no order; what it is was not looked at. What cannot be read is given as its
/// error, and what lies beside it comes all the same.
fn each_named(
    root: &Path,
    mut with: impl FnMut(io::Result<Pointer>) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let objects = root.join(OBJECTS[0]).join(OBJECTS[1]);
    if ![&root.join(OBJECTS[0]), &objects].into_iter().all(|dir| disk::is_real_dir(dir)) {
        return Ok(());
    }
    let mut dirs = vec![(objects, 0)];
    while let Some((dir, depth)) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) => match with(Err(error))? {
                ControlFlow::Continue(()) => continue,
                ControlFlow::Break(()) => return Ok(()),
            },
        };
        for entry in entries {
            let found = if depth < DIRS_DEEP {
                dir_of_objects(entry).map(|below| {
                    dirs.extend(below.map(|below| (below, depth + 1)));
                    None
                })
            } else {
                named(entry)
            };
            if let Some(pointer) = found.transpose()
                && with(pointer)?.is_break()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn dir_of_objects(entry: io::Result<DirEntry>) -> io::Result<Option<PathBuf>> {
    let entry = entry?;
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let is_named = matches!(entry.file_name().as_bytes(), [a, b] if is_hex(a) && is_hex(b));
    Ok((is_named && entry.file_type()?.is_dir()).then(|| entry.path()))
}

fn named(entry: io::Result<DirEntry>) -> io::Result<Option<Pointer>> {
    let entry = entry?;
    let meta = entry.metadata()?;
    let name = entry.file_name();
    let name = name.to_str().filter(|_| meta.is_file());
    Ok(name.and_then(|oid| Pointer::named(oid, meta.len())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn ingest(clone: &Path) -> Ingest<'_> {
        Ingest { clone, new: clone.join("offshoot/lfs.new") }
    }

    #[test]
    fn an_object_is_what_its_name_says_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let clone = dir.path();
        let pointer = ingest(clone).put(&b"content"[..]).unwrap().unwrap();
        let place = clone
            .join("lfs/objects")
            .join(&pointer.oid()[..2])
            .join(&pointer.oid()[2..4])
            .join(pointer.oid());
        assert_eq!(fs::read(&place).unwrap(), b"content");
        assert!(!clone.join("offshoot/lfs.new").exists());
        assert!(open_object(clone, &pointer).unwrap().is_some());
        fs::write(&place, b"c0ntent").unwrap();
        assert!(open_object(clone, &pointer).unwrap().is_none(), "another content of the same length");
        fs::remove_file(&place).unwrap();
        fs::write(clone.join("elsewhere"), b"content").unwrap();
        symlink(clone.join("elsewhere"), &place).unwrap();
        assert!(open_object(clone, &pointer).unwrap().is_none(), "a link");
        // put again, it is a file in the place of the link, and what the link named is as it was
        ingest(clone).put(&b"content"[..]).unwrap();
        assert!(place.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn of_a_shadow_only_what_is_wanted_is_taken_and_no_more_than_fits() {
        let (shadow, clone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |content: &'static [u8]| ingest(shadow.path()).put(content).unwrap().unwrap();
        let (wanted, other) = (put(b"wanted"), put(b"nobody points at it"));
        // a hole has a size, and takes no room
        let sparse = Pointer::new(&[7; 32], 1 << 40);
        let place = shadow.path().join(below(sparse.oid()));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        File::create(place).unwrap().set_len(1 << 40).unwrap();
        let absorb = |is_wanted: &dyn Fn(&Pointer) -> bool, give_up: &GiveUp| {
            absorb(shadow.path(), &ingest(clone.path()), is_wanted, 100, give_up)
        };
        let token = tokio_util::sync::CancellationToken::new();
        token.cancel();
        let given_up = absorb(&|pointer| *pointer == wanted, &GiveUp::new(vec![token]));
        assert!(matches!(given_up, Err(GitError::GivenUp)), "{given_up:?}");
        assert!(open_object(clone.path(), &wanted).unwrap().is_none());
        assert_eq!(absorb(&|pointer| *pointer == wanted, &GiveUp::default()).unwrap(), None);
        assert!(open_object(clone.path(), &wanted).unwrap().is_some());
        assert!(open_object(clone.path(), &other).unwrap().is_none());
        assert_eq!(absorb(&|pointer| *pointer == sparse, &GiveUp::default()).unwrap(), Some(Beyond::Bytes));
    }

    /// Empty files are enough: what they are is looked at only when they are taken.
    #[test]
    fn of_a_shadow_only_so_many_are_taken_and_those_that_nobody_wants_do_not_count() {
        let (shadow, clone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = shadow.path().join("lfs/objects/aa/bb");
        fs::create_dir_all(&dir).unwrap();
        for number in 0..=ABSORBED_MAX {
            File::create(dir.join(format!("aabb{number:060x}"))).unwrap();
        }
        let absorb = |is_wanted: &dyn Fn(&Pointer) -> bool| {
            absorb(shadow.path(), &ingest(clone.path()), is_wanted, 100, &GiveUp::default()).unwrap()
        };
        assert_eq!(absorb(&|pointer| !pointer.oid().ends_with("00")), None);
        assert_eq!(absorb(&|_| true), Some(Beyond::Files));
    }

    /// By nobody in particular, for to root all can be read.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_can_be_read_is_lent_beside_what_cannot() {
        use std::os::unix::fs::PermissionsExt as _;
        let lent = || {
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
            let from = tempfile::tempdir().unwrap();
            let chmod =
                |dir: &Path, mode| fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
            let mut dirs = Vec::new();
            for number in 0..9_u8 {
                let pointer = ingest(from.path()).put(&[number][..]).unwrap().unwrap();
                dirs.push(from.path().join("lfs/objects").join(&pointer.oid()[..2]));
            }
            // wherever it comes in their order
            for closed in &dirs {
                let to = tempfile::tempdir().unwrap();
                chmod(closed, 0o000);
                let some = lend_all(from.path(), to.path(), |_| true);
                let none = lend_all(from.path(), to.path(), |_| false);
                chmod(closed, 0o755);
                let beside = dirs.iter().filter(|dir| *dir != closed).count();
                assert_eq!((some.unwrap(), none.is_err()), (beside, true));
            }
        };
        // whose files a thread sees is its own
        std::thread::spawn(lent).join().unwrap();
    }

    #[test]
    fn a_link_on_the_way_to_the_objects_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("lfs")).unwrap();
        assert!(ingest(dir.path()).put(&b"content"[..]).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dir.path().join("offshoot")).unwrap().count(), 0, "nothing is left behind");
    }
}
