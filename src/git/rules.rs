//! `.gitignore` and `.gitattributes` of a worktree, applied without libgit2 ever touching the worktree.
//!
//! The files are read through the walk's descriptors (regular ones only, bounded) and copied into a private
//! directory, which is then the library's working directory. A pipe, a link or an endless file in the place of a
//! rule file cannot stop or mislead the library this way.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::{AttrCheckFlags, AttrValue, Repository as Library};

use super::disk;
use super::error::GitError;
use super::tree_walk::read_file;

/// The rule files that are looked for in every directory.
const FILES: [&[u8]; 2] = [b".gitignore", b".gitattributes"];
/// Larger rule files are left out with a note; real ones have a few kilobytes.
pub(super) const RULE_BYTES_MAX: u64 = 1024 * 1024;

/// The rules that were met so far in a walk. Parents are met before their children.
pub(super) struct Rules {
    library: Library,
    copies: PathBuf,
}

/// What the attributes of a path say about its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ContentRules {
    pub(super) text: Text,
    pub(super) ident: bool,
    /// The commit has a pointer to the content (git-lfs).
    pub(super) is_lfs: bool,
    /// A filter or an encoding that the server does not apply.
    pub(super) unsupported: Option<String>,
}

/// Line ends of a path, as gitattributes(5) has them when no `core.autocrlf` is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Text {
    #[default]
    Untouched,
    Always,
    Auto,
}

impl Rules {
    /// `copies` is a path of its own for this walk; it is removed in the end.
    pub(super) fn new(clone: &Path, copies: PathBuf) -> Result<Self, GitError> {
        fs::create_dir_all(&copies).map_err(GitError::io("make a scratch directory"))?;
        let library = super::refs::open(clone)?;
        library.set_workdir(&copies, false).map_err(GitError::library("set up the rules"))?;
        Ok(Self { library, copies })
    }

    /// Takes over the rule files of one directory. True if one had to be left out.
    pub(super) fn take(&self, dir: &OwnedFd, path: &[u8], names: &[Vec<u8>]) -> Result<bool, GitError> {
        let mut left_out = false;
        for name in FILES.into_iter().filter(|file| names.iter().any(|name| name == file)) {
            match read_file(dir, name, RULE_BYTES_MAX) {
                Ok(Some(bytes)) => {
                    let copy = self.copies.join(OsStr::from_bytes(path));
                    // A path near the system's limit does not fit below another directory.
                    let written = fs::create_dir_all(&copy)
                        .and_then(|()| fs::write(copy.join(OsStr::from_bytes(name)), bytes));
                    left_out |= written.is_err();
                }
                Ok(None) | Err(_) => left_out = true,
            }
        }
        Ok(left_out)
    }

    /// Takes over one rule file by its path, from wherever it was read.
    pub(super) fn put(&self, path: &[u8], bytes: &[u8]) {
        let copy = self.copies.join(OsStr::from_bytes(path));
        // as in a worktree, a path near the system's limit has no rules
        if let Some(dir) = copy.parent()
            && fs::create_dir_all(dir).is_ok()
        {
            let _ = fs::write(copy, bytes);
        }
    }

    /// Whether `.gitignore` files exclude a path; a directory's path ends in `/`.
    pub(super) fn is_ignored(&self, path: &[u8]) -> bool {
        self.library.is_path_ignored(Path::new(OsStr::from_bytes(path))).unwrap_or(false)
    }

    pub(super) fn content(&self, path: &[u8]) -> ContentRules {
        let get = |name| self.attribute(path, name);
        let mut rules = ContentRules { ident: get("ident") == Setting::On, ..ContentRules::default() };
        let filter = get("filter");
        if filter == Setting::Is(String::from("lfs")) {
            // git applies a filter first, and what follows finds nothing to do in a pointer
            return ContentRules { is_lfs: true, ..ContentRules::default() };
        }
        if let Setting::Is(filter) = filter {
            rules.unsupported = Some(filter);
        } else if let Setting::Is(encoding) = get("working-tree-encoding")
            && !encoding.eq_ignore_ascii_case("utf-8")
        {
            rules.unsupported = Some(format!("working-tree-encoding={encoding}"));
        }
        rules.text = match get("text") {
            Setting::On => Text::Always,
            Setting::Is(value) if value == "auto" => Text::Auto,
            Setting::Is(value) if value == "input" => Text::Always,
            Setting::Off => Text::Untouched,
            // `eol` alone makes a text of it.
            _ if matches!(get("eol"), Setting::Is(_)) => Text::Always,
            _ => Text::Untouched,
        };
        rules
    }

    fn attribute(&self, path: &[u8], name: &str) -> Setting {
        let path = Path::new(OsStr::from_bytes(path));
        let Ok(value) = self.library.get_attr(path, name, AttrCheckFlags::FILE_THEN_INDEX) else {
            return Setting::Absent;
        };
        match AttrValue::from_string(value) {
            AttrValue::True => Setting::On,
            AttrValue::False => Setting::Off,
            AttrValue::String(value) => Setting::Is(value.to_owned()),
            AttrValue::Bytes(_) | AttrValue::Unspecified => Setting::Absent,
        }
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        // What cannot be removed now is swept at the next start.
        let _ = disk::remove_any(&self.copies);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Setting {
    Absent,
    On,
    Off,
    Is(String),
}
