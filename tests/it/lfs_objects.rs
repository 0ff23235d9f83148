//! Pointers of git-lfs and the objects that they point at, as any repository has them.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The object's name and the pointer to it.
pub(crate) fn pointer(content: &[u8]) -> (String, String) {
    let oid = hex::encode(Sha256::digest(content));
    let text =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", content.len());
    (oid, text)
}

pub(crate) fn object(repository: &Path, content: &[u8]) -> PathBuf {
    let (oid, _) = pointer(content);
    repository.join("lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(oid)
}

pub(crate) fn put_object(repository: &Path, content: &[u8]) {
    let path = object(repository, content);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
