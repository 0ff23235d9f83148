//! A bare repository made of a few files: what a demonstration or a test works on.

use std::path::Path;

use git2::{IndexEntry, IndexTime, Repository as Library, RepositoryInitOptions, Signature, Time};

use super::collect::Author;
use super::commit_id::CommitId;
use super::error::GitError;

const FILE: u32 = 0o100_644;

/// Makes a bare repository at `path` whose branch `main` has one commit with `files`.
///
/// # Errors
/// [`GitError::Library`], for instance when something is there already that is no repository.
pub fn seed_bare(
    path: &Path,
    files: &[(&str, &str)],
    author: &Author,
    committed_at: i64,
) -> Result<CommitId, GitError> {
    let failed = GitError::library("make the repository");
    let mut options = RepositoryInitOptions::new();
    options.bare(true).mkpath(true).initial_head("main").external_template(false);
    let library = Library::init_opts(path, &options).map_err(&failed)?;
    let mut index = git2::Index::new().map_err(&failed)?;
    for (name, content) in files {
        let id = library.blob(content.as_bytes()).map_err(&failed)?;
        index.add(&entry(name, id)).map_err(&failed)?;
    }
    let tree = index.write_tree_to(&library).and_then(|id| library.find_tree(id)).map_err(&failed)?;
    let signature =
        Signature::new(&author.name, &author.email, &Time::new(committed_at, 0)).map_err(&failed)?;
    let commit = library
        .commit(Some("refs/heads/main"), &signature, &signature, "Begin\n", &tree, &[])
        .map_err(&failed)?;
    Ok(commit.into())
}

fn entry(name: &str, id: git2::Oid) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: FILE,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: name.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let author = Author { name: "A".to_owned(), email: "a@example.org".to_owned() };
        let files = [("README.md", "# x\n"), ("src/a.txt", "a\n")];
        seed_bare(&dir.path().join("x.git"), &files, &author, 1_700_000_000).unwrap();
        let library = Library::open_bare(dir.path().join("x.git")).unwrap();
        let tree = library.head().unwrap().peel_to_tree().unwrap();
        assert!(tree.get_path(Path::new("src/a.txt")).is_ok());
        assert_eq!(library.head().unwrap().name(), Ok("refs/heads/main"));
    }
}
