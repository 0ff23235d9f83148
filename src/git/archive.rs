//! The files of a commit as one stream, without a worktree.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use git2::{ObjectType, Oid, Repository as Library, Tree};
use tar::{Builder, EntryType, Header};

use super::commit_id::CommitId;
use super::error::GitError;
use super::lfs::{Pointer, open_object};
use super::refs;
use super::repository::Repository;

impl Repository {
    /// Writes the files of `commit` to `into` as tar(5): regular files, executable ones, and links as links. All of them
    /// have the time of the commit. Contents are those that git has, no filter runs; only in the place of a pointer of git-lfs
    /// is what it points at, where the clone has that.
    ///
    /// # Errors
    /// [`GitError::CommitMissing`], [`GitError::Tampered`], [`GitError::Library`]; [`GitError::Io`] when `into` takes no more.
    pub async fn write_tar(
        &self,
        commit: &CommitId,
        into: impl Write + Send + 'static,
    ) -> Result<(), GitError> {
        let commit = commit.clone();
        self.verified(move |clone| write(&refs::open(&clone)?, &commit, into)).await
    }
}

fn write(library: &Library, commit: &CommitId, into: impl Write) -> Result<(), GitError> {
    let failed = GitError::library("read the snapshot");
    let found = library.find_commit(commit.oid()?).map_err(|_| GitError::CommitMissing(commit.clone()))?;
    let taken_at = u64::try_from(found.time().seconds()).unwrap_or(0);
    let mut archive = Builder::new(into);
    // directories are walked from a list, not by recursion: a tree can be as deep as a path is long
    let mut pending = vec![(Vec::new(), found.tree_id())];
    while let Some((above, id)) = pending.pop() {
        let tree = library.find_tree(id).map_err(&failed)?;
        write_level(library, &tree, &above, taken_at, &mut archive, &mut pending)?;
    }
    archive.into_inner().and_then(|mut into| into.flush()).map_err(GitError::io("hand out the snapshot"))
}

fn write_level(
    library: &Library,
    tree: &Tree<'_>,
    above: &[u8],
    taken_at: u64,
    archive: &mut Builder<impl Write>,
    pending: &mut Vec<(Vec<u8>, Oid)>,
) -> Result<(), GitError> {
    for entry in tree {
        let path = if above.is_empty() {
            entry.name_bytes().to_vec()
        } else {
            [above, b"/", entry.name_bytes()].concat()
        };
        match entry.kind() {
            Some(ObjectType::Tree) => pending.push((path, entry.id())),
            Some(ObjectType::Blob) => {
                let blob = library.find_blob(entry.id()).map_err(GitError::library("read the snapshot"))?;
                let file = File { path: &path, mode: entry.filemode(), taken_at };
                file.append(archive, &blob, library.path()).map_err(GitError::io("hand out the snapshot"))?;
            }
            // a submodule is a pointer to another repository: there is nothing of it here
            _ => {}
        }
    }
    Ok(())
}

struct File<'a> {
    path: &'a [u8],
    mode: i32,
    taken_at: u64,
}

impl File<'_> {
    fn append(
        &self,
        archive: &mut Builder<impl Write>,
        blob: &git2::Blob<'_>,
        clone: &Path,
    ) -> io::Result<()> {
        let content = blob.content();
        let path = Path::new(OsStr::from_bytes(self.path));
        let mut header = Header::new_gnu();
        header.set_mtime(self.taken_at);
        if self.mode == 0o120_000 {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            return archive.append_link(&mut header, path, OsStr::from_bytes(content));
        }
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if self.mode & 0o100 == 0 { 0o644 } else { 0o755 });
        let pointer = Pointer::parse(content);
        if let Some(pointer) = pointer
            && let Some(object) = open_object(clone, &pointer)?
        {
            header.set_size(pointer.size());
            return archive.append_data(&mut header, path, object.take(pointer.size()));
        }
        header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
        archive.append_data(&mut header, path, content)
    }
}
