//! What an agent's objects come to, from the lists that git gives of their heads: of every copy of every object, as it does not matter
//! which of them whoever parses it meets.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use git2::Oid;

use super::refusal::Refusal;

/// What [`Measured::object`] reads of each.
pub(super) const FORMAT: &str = "--batch-check=%(objecttype) %(objectsize) %(objectname) %(deltabase)";

/// Of a commit or a tag. The longest messages that people write have some ten KiB, and several signatures fit as well.
const WORDS_BYTES_MAX: u64 = 1 << 20;

/// Of one directory: a million names of some thirty characters, as many as a worktree may usually have files.
const TREE_BYTES_MAX: u64 = 64 << 20;

/// Objects that are too large and are remembered, to see whether a commit leads to them: with more the commits are refused.
const LARGE_MAX: usize = 1_000;

/// Directories of one list. In memory they take twenty bytes each.
pub(super) const TREES_MAX: usize = 1_000_000;

/// Objects without a size that are remembered.
const UNMEASURED_MAX: usize = 1_000;

/// What the lists came to so far.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) file_bytes_max: u64,
    pub(super) refusal: Option<Refusal>,
    /// What brings more than a file may have into the memory of its reader. By their names, in hexadecimal digits.
    pub(super) large_files: HashSet<Vec<u8>>,
    /// Lines of the last list.
    pub(super) lines: u64,
    /// Of the last list; by name.
    pub(super) unmeasured: Vec<Vec<u8>>,
    pub(super) has_more_large: bool,
    /// Those of the last list.
    pub(super) trees: Vec<Oid>,
}

impl Measured {
    pub(super) fn begin_list(&mut self) {
        (self.lines, self.has_more_large) = (0, false);
        self.unmeasured.clear();
        self.trees.clear();
    }

    /// A line in [`FORMAT`]; `name missing` where git could not find it out.
    pub(super) fn object(&mut self, line: &[u8]) {
        self.lines += 1;
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let [kind, bytes, name, base] = words[..] else {
            match words[..] {
                [name, _] if self.unmeasured.len() < UNMEASURED_MAX => self.unmeasured.push(name.to_vec()),
                _ => self.refuse(Refusal::Malformed),
            }
            return;
        };
        // what is no number we can read is more than any bound
        let bytes = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
        if self.large_files.contains(base) && kind != b"blob" {
            // git makes no such deltas
            return self.refuse(Refusal::Malformed);
        }
        match kind {
            b"commit" | b"tag" if bytes > WORDS_BYTES_MAX => self.refuse(Refusal::LargeCommit),
            b"tree" if bytes > TREE_BYTES_MAX => self.refuse(Refusal::LargeTree),
            b"tree" => match std::str::from_utf8(name).ok().and_then(|name| Oid::from_str(name).ok()) {
                Some(_) if self.trees.len() == TREES_MAX => self.refuse(Refusal::Many),
                Some(tree) => self.trees.push(tree),
                None => self.refuse(Refusal::Malformed),
            },
            // whoever reads a delta reads what it is one of
            b"blob" if bytes > self.file_bytes_max || self.large_files.contains(base) => {
                if self.large_files.len() == LARGE_MAX && !self.large_files.contains(name) {
                    return self.refuse(Refusal::LargeFile);
                }
                self.has_more_large |= self.large_files.insert(name.to_vec());
            }
            _ => {}
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }
}

/// How many objects the index of a pack names: a list with fewer has not told of one that is named twice. `None`: it is no index that
/// git writes (gitformat-pack(5), version 2).
pub(super) fn count_named(index: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(index)?;
    let (mut head, mut count) = ([0_u8; 8], [0_u8; 4]);
    let read = file
        .read_exact(&mut head)
        .and_then(|()| file.seek(SeekFrom::Current(255 * 4)))
        .and_then(|_| file.read_exact(&mut count));
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok((head == *b"\xfftOc\0\0\0\x02").then(|| u32::from_be_bytes(count).into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(lines: &[&str]) -> Measured {
        let mut measured = Measured { file_bytes_max: 100, ..Measured::default() };
        lines.iter().for_each(|line| measured.object(line.as_bytes()));
        measured
    }

    #[test]
    fn objects_are_judged_by_what_they_are_and_how_large() {
        let judge = |lines: &[&str]| {
            let measured = measure(lines);
            (measured.refusal, measured.large_files.len())
        };
        let fits = ["commit 1048576 a 0", "tag 1048576 a 0", "tree 67108864 b 0", "blob 100 c 0"];
        assert_eq!(judge(&fits), (None, 0));
        assert_eq!(judge(&["commit 1048577 a 0", "tree 67108865 b 0"]), (Some(Refusal::LargeCommit), 0));
        assert_eq!(judge(&["tag 1048577 a 0"]).0, Some(Refusal::LargeCommit));
        assert_eq!(judge(&["tree 67108865 b 0"]).0, Some(Refusal::LargeTree));
        assert_eq!(judge(&["tree 99999999999999999999 b 0"]).0, Some(Refusal::LargeTree));
        assert_eq!(judge(&["blob 101 c 0"]), (None, 1));
        assert_eq!(judge(&["blob 101 c 0", "blob 7 d c", "blob 7 f b"]), (None, 2));
        assert_eq!(judge(&["blob 101 c 0", "tree 7 e c"]).0, Some(Refusal::Malformed));
        let many: Vec<_> = (0..=LARGE_MAX).map(|number| format!("blob 101 {number} 0")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(judge(&many).0, Some(Refusal::LargeFile));
    }

    #[test]
    fn what_has_no_size_is_remembered_and_never_passed_over() {
        let measured = measure(&["blob 7 a 0", "d missing"]);
        assert_eq!((measured.refusal, measured.lines), (None, 2));
        assert_eq!(measured.unmeasured, [b"d"]);
        for line in ["", "blob", "blob 7 a", "blob 7 a 0 more"] {
            assert_eq!(measure(&[line]).refusal, Some(Refusal::Malformed), "{line}");
        }
        let many = vec!["d missing"; UNMEASURED_MAX + 1];
        assert_eq!(measure(&many).refusal, Some(Refusal::Malformed));
    }
}
