//! Unpacks a snapshot into a new directory. What is in it was written by an agent, so nothing of it is trusted: it cannot
//! name a place outside, follow a link out, overwrite anything, or leave something behind that git would run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, EntryType};

/// What became of an archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) files: u64,
    /// Paths that were left out: they would lead outside, or into a `.git`.
    pub(super) left_out: Vec<String>,
}

/// Unpacks below `into`, which exists and is empty.
pub(super) fn unpack(archive: impl Read, into: &Path) -> io::Result<Unpacked> {
    let mut unpacked = Unpacked::default();
    let mut links = Vec::new();
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(place) = place(into, &path) else {
            unpacked.left_out.push(path.display().to_string());
            continue;
        };
        match entry.header().entry_type() {
            EntryType::Regular => {
                let executable = entry.header().mode()? & 0o100 != 0;
                let mut file = create(&place, if executable { 0o755 } else { 0o644 })?;
                io::copy(&mut entry, &mut file)?;
                unpacked.files += 1;
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                links.push((place, target));
            }
            _ => unpacked.left_out.push(path.display().to_string()),
        }
    }
    // last: as long as files are written there is no link that one could be written through
    for (place, target) in links {
        make_parent(&place)?;
        symlink(target, place)?;
        unpacked.files += 1;
    }
    Ok(unpacked)
}

/// Where an entry belongs; `None` for one that does not.
pub(super) fn place(into: &Path, path: &Path) -> Option<PathBuf> {
    let mut place = into.to_owned();
    for component in path.components() {
        match component {
            // git would run hooks and filters that stand there
            Component::Normal(name) if !name.eq_ignore_ascii_case(".git") => place.push(name),
            _ => return None,
        }
    }
    (place != into).then_some(place)
}

fn create(place: &Path, mode: u32) -> io::Result<File> {
    make_parent(place)?;
    OpenOptions::new().write(true).create_new(true).mode(mode).open(place)
}

fn make_parent(place: &Path) -> io::Result<()> {
    place.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, path, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // as bytes: the crate's own setters refuse what a hostile archive holds
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            if *kind == EntryType::Symlink {
                header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            let content = if *kind == EntryType::Regular { text.as_bytes() } else { &[] };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn nothing_leads_outside_and_links_are_links() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, into) = (dir.path().join("outside"), dir.path().join("into"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&into).unwrap();
        let out = outside.to_str().unwrap();
        let unpacked = unpack(
            &archive(&[
                (EntryType::Symlink, "door", out),
                (EntryType::Regular, "../above", "x"),
                (EntryType::Regular, "/absolute", "x"),
                (EntryType::Regular, "a/.git/hooks/post-checkout", "x"),
                (EntryType::Regular, ".GIT/config", "x"),
                (EntryType::Regular, "a/b/c.txt", "deep"),
                (EntryType::Link, "hard", "a/b/c.txt"),
            ])[..],
            &into,
        )
        .unwrap();
        assert_eq!((unpacked.files, unpacked.left_out.len()), (2, 5), "{unpacked:?}");
        assert_eq!(fs::read_to_string(into.join("a/b/c.txt")).unwrap(), "deep");
        assert_eq!(fs::read_link(into.join("door")).unwrap(), outside);
        assert!(!dir.path().join("above").exists() && !into.join("a/.git").exists());
    }

    #[test]
    fn a_file_is_not_written_through_a_link_of_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, into) = (dir.path().join("outside"), dir.path().join("into"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&into).unwrap();
        let bytes = archive(&[
            (EntryType::Symlink, "door", outside.to_str().unwrap()),
            (EntryType::Regular, "door/stolen", "x"),
        ]);
        unpack(&bytes[..], &into).unwrap_err();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn half_an_archive_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(&[(EntryType::Regular, "a", &"x".repeat(2_000))]);
        assert!(unpack(&bytes[..1_000], dir.path()).is_err());
    }
}
