//! What killed programs leave in a clone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::disk;

/// Removes objects and packs that were being written; with `before` (Unix milliseconds) only those that were last touched
/// before it. Without it the caller knows that nobody else writes. `git prune` knows only some of their names.
pub(super) fn drop_halves(clone: &Path, before: Option<i64>) -> io::Result<usize> {
    let objects = clone.join("objects");
    let mut dropped = drop_named(&objects.join("pack"), &[".tmp-", "tmp_"], before)?;
    for number in 0..=u8::MAX {
        dropped += drop_named(&objects.join(format!("{number:02x}")), &["tmp_obj_"], before)?;
    }
    Ok(dropped)
}

fn drop_named(dir: &Path, stems: &[&str], before: Option<i64>) -> io::Result<usize> {
    let mut dropped = 0;
    if !disk::is_real_dir(dir) {
        return Ok(0);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if stems.iter().any(|stem| name.as_encoded_bytes().starts_with(stem.as_bytes()))
            && is_older(&entry, before)
        {
            disk::remove_any(&entry.path())?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

/// What vanishes meanwhile is somebody's.
fn is_older(entry: &fs::DirEntry, before: Option<i64>) -> bool {
    before.is_none_or(|before| entry.metadata().is_ok_and(|meta| meta.mtime().saturating_mul(1_000) < before))
}
