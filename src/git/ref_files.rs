//! Refs read from their files, for a clone that is not sound: what can be read is, whatever stands beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use git2::Oid;

use super::commit_id::CommitId;
use super::disk;
use super::refs::is_safe_name;

/// As git writes it: 60 bytes a ref, some hundred thousand of them.
const PACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The refs below `prefix` but not below those in `but` (all without a slash at their end), and how many cannot be read. Links
/// between refs are left out.
pub(super) fn read(clone: &Path, prefix: &str, but: &[&str]) -> (BTreeMap<String, Oid>, usize) {
    let mut found = BTreeMap::new();
    let is_below = |name: &str, dir: &str| name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    let is_wanted = |name: &str| is_below(name, prefix) && !but.iter().any(|dir| is_below(name, dir));
    let mut unreadable = read_packed(&clone.join("packed-refs"), is_wanted, &mut found);
    let mut open = vec![prefix.to_owned()];
    while let Some(name) = open.pop() {
        let entries = fs::read_dir(clone.join(&name));
        unreadable += usize::from(entries.as_ref().is_err_and(|error| error.kind() != ErrorKind::NotFound));
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(last) = entry.file_name().into_string() else { continue };
            let name = format!("{name}/{last}");
            if disk::is_real_dir(&entry.path()) {
                open.extend((!but.contains(&name.as_str())).then_some(name));
            } else if is_safe_name(&name) {
                match disk::read_small(&entry.path()).ok().flatten().as_deref().map(read_loose) {
                    Some(Some(Loose::Points(oid))) => drop(found.insert(name, oid)),
                    Some(Some(Loose::Links)) => {}
                    _ => unreadable += 1,
                }
            }
        }
    }
    (found, unreadable)
}

enum Loose {
    Points(Oid),
    Links,
}

fn read_loose(bytes: &[u8]) -> Option<Loose> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    if text.starts_with("ref: ") {
        return Some(Loose::Links);
    }
    text.parse::<CommitId>().ok()?.oid().ok().map(Loose::Points)
}

/// Gives the number of lines that are none.
fn read_packed(file: &Path, is_wanted: impl Fn(&str) -> bool, found: &mut BTreeMap<String, Oid>) -> usize {
    let Ok(meta) = file.symlink_metadata() else { return 0 };
    if !meta.is_file() || meta.len() > PACKED_BYTES_MAX {
        return 1;
    }
    let Ok(bytes) = fs::read(file) else { return 1 };
    let mut unreadable = 0;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if matches!(line[0], b'#' | b'^') {
            continue;
        }
        let parts = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
        let parsed = parts.and_then(|(id, name)| {
            let oid = id.parse::<CommitId>().ok()?.oid().ok()?;
            is_safe_name(name).then(|| (name.to_owned(), oid))
        });
        match parsed {
            Some((name, oid)) if is_wanted(&name) => drop(found.insert(name, oid)),
            Some(_) => {}
            None => unreadable += 1,
        }
    }
    unreadable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_read_beside_what_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let id = |digit: &str| digit.repeat(40);
        let packed = format!(
            "# pack-refs with: peeled\n{} refs/offshoot/a/1\n^{}\n{} refs/offshoot/b/1\n\0\0\0\n{} refs/heads/x\n{} refs/../y\n",
            id("1"),
            id("9"),
            id("2"),
            id("3"),
            id("4"),
        );
        fs::write(dir.path().join("packed-refs"), packed).unwrap();
        fs::create_dir_all(dir.path().join("refs/offshoot/b")).unwrap();
        for (name, text) in [("1", id("5")), ("2", String::new()), ("3", "ref: refs/heads/x".to_owned())] {
            fs::write(dir.path().join("refs/offshoot/b").join(name), text).unwrap();
        }
        let (all, _) = read(dir.path(), "refs", &["refs/offshoot"]);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["refs/heads/x"]);
        let (found, unreadable) = read(dir.path(), "refs/offshoot", &[]);
        let found: Vec<_> = found.iter().map(|(name, oid)| (name.as_str(), oid.to_string())).collect();
        assert_eq!(found, [("refs/offshoot/a/1", id("1")), ("refs/offshoot/b/1", id("5"))]);
        assert_eq!(unreadable, 3);
    }
}
