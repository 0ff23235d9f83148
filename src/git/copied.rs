//! What of a worktree is the owner's: the files that were copied in, and what an agent made of them.
//!
//! A path alone is soon another one, so three things are remembered of each: its *path* in the worktree, the *file* itself
//! (device, number and time of birth, of the owner's and of its copy), and the *content* as git would store it. A name, a link
//! or a byte-identical copy of one is left out of results, snapshots and kept files; a history that has one is not published.
//!
//! Content that says nothing is not compared: fewer than five bytes beside blanks are in many files by chance, and what the
//! base has anywhere is no secret. A copy that was changed, encoded or shortened cannot be told from other work.
//!
//! Kept work takes along what its history holds of them (in the message of the snapshot), and a worktree that goes on with
//! it has that in its record again, whatever the owner has copied, changed or taken away meanwhile.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use git2::{ObjectType, Oid, Repository as Library};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode};

use super::attributes::clean;
use super::disk;
use super::error::GitError;
use super::rules::{ContentRules, Text};
use super::stage::{is_below, shown};
use super::tree_walk::{DIR_FLAGS, open_below};
use super::worktree::Place;

/// Of the record: a thousand of the longest paths, in hexadecimal.
const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Content with fewer bytes beside blanks (`1`, `{}`, `true`) is in many files by chance.
const TELLING_BYTES_MIN: usize = 5;
/// Longer files are compared as they are, without regard to the ends of their lines: keys and settings are far shorter.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// What kept work takes along: as many as are copied at once.
const CARRIED_MAX: usize = 1_000;
/// Before what kept work takes along.
const CARRIED: &str = "Its history holds files of copyFiles:";

/// One file, whatever names it has: device and number.
type FileKey = (u64, u64);
/// When it was made, in nanoseconds since 1970: a number is given anew when a file is gone, but not with its time. `None` where
/// the file system does not tell it.
type Born = Option<u64>;

/// What was copied into a worktree, and what it is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Relative to the worktree. A directory stands for all below it.
    pub(super) paths: Vec<Vec<u8>>,
    /// Contents as git would store them, and their lengths.
    contents: HashMap<Oid, u64>,
    files: HashMap<FileKey, Born>,
    /// What lies at those paths now: an agent may have replaced the file.
    now: HashMap<FileKey, Born>,
}

impl Copied {
    /// By the record of a worktree.
    pub(super) fn load(place: &Place) -> Result<Self, GitError> {
        let mut copied = Self::recorded(place)?;
        if copied.paths.is_empty() {
            return Ok(copied);
        }
        let root = match nix::fcntl::open(&place.path, DIR_FLAGS, Mode::empty()) {
            // said by whoever walks it
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(copied),
            root => root.map_err(GitError::errno("open the worktree"))?,
        };
        for path in &copied.paths {
            let (parent, name) = split(path);
            let there = open_below(&root, parent).ok().and_then(|dir| look(&dir, name).ok());
            copied.now.extend(there);
        }
        Ok(copied)
    }

    /// The same without a look at the worktree.
    pub(super) fn recorded(place: &Place) -> Result<Self, GitError> {
        let failed = GitError::io("read which files were copied in");
        let mut copied = Self::default();
        let paths = read(&paths_record(place)).map_err(&failed)?;
        copied.paths =
            paths.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(<[u8]>::to_vec).collect();
        let signs = String::from_utf8(read(&signs_record(place)).map_err(&failed)?);
        let signs = signs.map_err(|_| failed(io::ErrorKind::InvalidData.into()))?;
        for line in signs.lines() {
            copied.read_sign(line).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        }
        Ok(copied)
    }

    pub(super) fn record(&self, place: &Place) -> Result<(), GitError> {
        let paths: Vec<u8> = self.paths.iter().flat_map(|path| [path.as_slice(), b"\0"].concat()).collect();
        let mut signs = String::new();
        for (id, bytes) in &self.contents {
            let _ = writeln!(signs, "content {id} {bytes}");
        }
        for ((device, number), born) in &self.files {
            let born = born.map_or_else(|| "-".to_owned(), |born| born.to_string());
            let _ = writeln!(signs, "file {device} {number} {born}");
        }
        disk::replace_file(&paths_record(place), &paths)
            .and_then(|()| disk::replace_file(&signs_record(place), signs.as_bytes()))
            .map_err(GitError::io("record which files are copied in"))
    }

    fn read_sign(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "content" => {
                let id = Oid::from_str(words.next()?).ok()?;
                self.contents.insert(id, words.next()?.parse().ok()?);
            }
            "file" => {
                let key = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                let born = words.next()?;
                let born = if born == "-" { None } else { Some(born.parse().ok()?) };
                self.files.insert(key, born);
            }
            "path" => {
                let path = hex::decode(words.next()?).ok()?;
                if !self.paths.contains(&path) {
                    self.paths.push(path);
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Remembers a file by what it is.
    pub(super) fn add_file(&mut self, file: &File) -> io::Result<()> {
        let (key, born) = identity(file)?;
        self.files.insert(key, born);
        Ok(())
    }

    /// Remembers what is in a regular file.
    pub(super) fn add_content(&mut self, file: &File) -> io::Result<()> {
        let bytes = file.metadata()?.len();
        if bytes > TEXT_BYTES_MAX {
            self.contents.insert(hash_open(file)?, bytes);
            return Ok(());
        }
        let mut content = vec![0; usize::try_from(bytes).unwrap_or_default()];
        file.read_exact_at(&mut content, 0)?;
        if is_telling(&content) {
            // git changes the ends of lines where a repository asks for it
            let text = ContentRules { text: Text::Always, ..ContentRules::default() };
            for form in [&content, &*clean(&content, &text, || false)] {
                let id = Oid::hash_object(ObjectType::Blob, form).map_err(io::Error::other)?;
                self.contents.insert(id, form.len() as u64);
            }
        }
        Ok(())
    }

    /// Forgets contents that `base` has under any name: they are no secret.
    pub(super) fn forget_contents_of(&mut self, library: &Library, base: Oid) -> Result<(), GitError> {
        if self.contents.is_empty() {
            return Ok(());
        }
        let mut known = HashSet::new();
        each_blob(library, base, &mut HashSet::new(), &mut |_, id| {
            known.extend(self.has_content(id).then_some(id));
        })
        .map_err(GitError::library("look up which files the base has"))?;
        self.contents.retain(|id, _| !known.contains(id));
        Ok(())
    }

    pub(super) fn is_at(&self, path: &[u8]) -> bool {
        is_below(path, &self.paths)
    }

    /// Whether the file at this name is one of them, by whatever name.
    pub(super) fn has(&self, dir: &OwnedFd, name: &[u8], stat: &FileStat) -> bool {
        let key = key_of(stat);
        (self.files.contains_key(&key) || self.now.contains_key(&key))
            && look(dir, name).is_ok_and(|found| is_in(&self.files, found) || is_in(&self.now, found))
    }

    /// Whether it is one that was copied, rather than what an agent put in its place.
    pub(super) fn has_as_copied(&self, dir: &OwnedFd, name: &[u8]) -> bool {
        look(dir, name).is_ok_and(|found| is_in(&self.files, found))
    }

    /// Whether an open file is one of them.
    pub(super) fn has_file(&self, file: &File) -> io::Result<bool> {
        let found = identity(file)?;
        Ok(is_in(&self.files, found) || is_in(&self.now, found))
    }

    /// Whether git stores the content of one of them under this id.
    pub(super) fn has_content(&self, id: Oid) -> bool {
        self.contents.contains_key(&id)
    }

    /// Whether a file of ours holds exactly what is in one of them.
    pub(super) fn has_content_of(&self, path: &Path, bytes: u64) -> io::Result<bool> {
        if !self.contents.values().any(|length| *length == bytes) {
            return Ok(false);
        }
        Ok(self.has_content(Oid::hash_file(ObjectType::Blob, path).map_err(io::Error::other)?))
    }

    /// What a history from `base` to `head` holds of them: pushed once, it is public. Of many, the first thousand.
    pub(super) fn committed(
        &self,
        library: &Library,
        base: Oid,
        head: Oid,
    ) -> Result<Vec<(Vec<u8>, Oid)>, GitError> {
        if (self.paths.is_empty() && self.contents.is_empty()) || base == head {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        self.find_committed(library, base, head, &mut found)
            .map_err(GitError::library("look for copied files in the history"))?;
        found.sort_unstable();
        found.dedup();
        found.truncate(CARRIED_MAX);
        Ok(found)
    }

    fn find_committed(
        &self,
        library: &Library,
        base: Oid,
        head: Oid,
        found: &mut Vec<(Vec<u8>, Oid)>,
    ) -> Result<(), git2::Error> {
        let mut looked_at = HashSet::new();
        if !self.contents.is_empty() {
            each_blob(library, base, &mut looked_at, &mut |_, _| {})?;
        }
        let mut walk = library.revwalk()?;
        walk.push(head)?;
        walk.hide(base)?;
        for commit in walk {
            let commit = commit?;
            let tree = library.find_commit(commit)?.tree()?;
            for path in &self.paths {
                if let Ok(entry) = tree.get_path(Path::new(OsStr::from_bytes(path))) {
                    found.push((path.clone(), entry.id()));
                }
            }
            if !self.contents.is_empty() {
                each_blob(library, commit, &mut looked_at, &mut |path, id| {
                    if self.has_content(id) {
                        found.push((path.to_vec(), id));
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Refuses a history that holds one.
    pub(super) fn refuse_committed(&self, library: &Library, base: Oid, head: Oid) -> Result<(), GitError> {
        match self.committed(library, base, head)?.first() {
            Some((path, _)) => Err(GitError::CopyCommitted { path: shown(path) }),
            None => Ok(()),
        }
    }
}

/// What a snapshot takes along of the files that its history holds; nothing that is not in that history anyway.
pub(super) fn carried(library: &Library, base: Oid, found: &[(Vec<u8>, Oid)]) -> Result<String, GitError> {
    let mut signs = Copied::default();
    for (_, id) in found {
        if let Ok(blob) = library.find_blob(*id)
            && is_telling(blob.content())
        {
            signs.contents.insert(*id, blob.size() as u64);
        }
    }
    signs.forget_contents_of(library, base)?;
    let mut text = String::new();
    if !found.is_empty() {
        let _ = write!(text, "\n\n{CARRIED}\n");
    }
    for (path, _) in found {
        let _ = writeln!(text, "path {}", hex::encode(path));
    }
    for (id, bytes) in signs.contents {
        let _ = writeln!(text, "content {id} {bytes}");
    }
    Ok(text)
}

/// Records in a worktree that was just made what the work in it has taken along.
pub(super) fn take_over(place: &Place, library: &Library, snapshot: Oid) -> Result<(), GitError> {
    let commit = library.find_commit(snapshot).map_err(GitError::library("read a snapshot"))?;
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let Some((_, signs)) = message.split_once(CARRIED) else { return Ok(()) };
    let mut copied = Copied::recorded(place)?;
    // who wrote more than we would takes nothing away by it
    for line in signs.lines().take(2 * CARRIED_MAX + 1) {
        copied.read_sign(line);
    }
    copied.record(place)
}

/// Every file below a commit's tree, but for what is in trees that were looked at.
fn each_blob(
    library: &Library,
    commit: Oid,
    looked_at: &mut HashSet<Oid>,
    visit: &mut impl FnMut(&[u8], Oid),
) -> Result<(), git2::Error> {
    let mut pending = vec![(Vec::new(), library.find_commit(commit)?.tree_id())];
    while let Some((dir, tree)) = pending.pop() {
        if !looked_at.insert(tree) {
            continue;
        }
        for entry in &library.find_tree(tree)? {
            let path = if dir.is_empty() {
                entry.name_bytes().to_vec()
            } else {
                [dir.as_slice(), b"/", entry.name_bytes()].concat()
            };
            match entry.kind() {
                Some(ObjectType::Tree) => pending.push((path, entry.id())),
                Some(ObjectType::Blob) => visit(&path, entry.id()),
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_telling(content: &[u8]) -> bool {
    content.iter().filter(|byte| !byte.is_ascii_whitespace()).take(TELLING_BYTES_MIN).count()
        == TELLING_BYTES_MIN
}

fn identity(file: &File) -> io::Result<(FileKey, Born)> {
    let meta = file.metadata()?;
    let born = meta.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok());
    Ok(((meta.dev(), meta.ino()), born))
}

fn is_in(files: &HashMap<FileKey, Born>, (key, born): (FileKey, Born)) -> bool {
    files.get(&key).is_some_and(|known| known.is_none() || born.is_none() || *known == born)
}

/// The same as [`identity`] has it. Where `st_dev` has another type, the standard library widens it in the same way.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, clippy::useless_conversion)]
fn key_of(stat: &FileStat) -> FileKey {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// The id of what an open file holds, which stays where it is for whoever reads it: Linux opens it anew by this name, other
/// systems give the same open file once more.
fn hash_open(file: &File) -> io::Result<Oid> {
    let dir = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let mut position = file;
    let at = position.stream_position()?;
    position.rewind()?;
    let id = Oid::hash_file(ObjectType::Blob, format!("{dir}/{}", file.as_raw_fd()));
    position.seek(SeekFrom::Start(at))?;
    id.map_err(io::Error::other)
}

/// A name that is opened and not read. Elsewhere a file that may not be read cannot be looked at: it cannot be taken either.
#[cfg(target_os = "linux")]
const LOOK_FLAGS: OFlag = OFlag::O_PATH;
#[cfg(not(target_os = "linux"))]
const LOOK_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK);

/// What has this name, opened without reading or following it.
fn look(dir: &impl AsFd, name: &[u8]) -> io::Result<(FileKey, Born)> {
    let flags = LOOK_FLAGS | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    identity(&File::from(openat(dir, OsStr::from_bytes(name), flags, Mode::empty())?))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(bytes)
}

fn paths_record(place: &Place) -> PathBuf {
    place.record.join("copied")
}

fn signs_record(place: &Place) -> PathBuf {
    place.record.join("copied-signs")
}

/// Directory and name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    memchr::memrchr(b'/', path).map_or((&[][..], path), |at| (&path[..at], &path[at + 1..]))
}
