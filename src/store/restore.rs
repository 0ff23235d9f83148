//! Putting a backup in the place of the database. Nothing is deleted: what was there is set aside under its own names.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::sqlite::{self, Counters, Place, Verified};
use super::{DATABASE, backup};
use crate::clock::Clock;
use crate::domain::time::Timestamp;

/// Where that is, one directory for each restore.
const SET_ASIDE: &str = "set-aside";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub verified: Verified,
    /// Where the files are that were there before; `None`: there were none.
    pub set_aside: Option<PathBuf>,
}

/// What the queue is paused with: what has ended since the backup would run, be paid and call back a second time.
fn pause_reason(file: &Path) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str()).display();
    format!("restored from backup {name}; `offshoot queue resume` when you have looked")
}

/// Replaces the database below `data_dir` by `file`, with the queue paused. The caller holds the lock of the data directory. Cut short anywhere,
/// it leaves either the old database, or none, which the next start refuses; then it is repeated.
///
/// # Errors
/// [`StoreError::Corrupt`] and [`StoreError::NewerSchema`] for a backup that is of no use: nothing was touched then.
pub fn restore(data_dir: &Path, file: &Path, clock: &Clock) -> Result<Restored, StoreError> {
    let place = Place::new(data_dir.join(DATABASE), None);
    let source = Place::new(file.to_owned(), None);
    file.metadata()?;
    let verified = sqlite::verify(&source)?;
    let copy = place.other(data_dir.join("offshoot.db.restoring"));
    let counters = counters_before(&place, &copy);
    for ending in ["", "-journal", "-wal", "-shm"] {
        backup::remove(&copy.beside(ending))?;
    }
    sqlite::copy_verified(&source, copy.file(), 0)?;
    let now = Timestamp::from_ms(clock.now_ms());
    sqlite::succeed(&copy, counters, now, &pause_reason(file))?;
    fs::File::open(copy.file())?.sync_all()?;
    let set_aside = set_aside(&place, clock)?;
    fs::rename(copy.file(), place.file())?;
    place.sync_dir()?;
    Ok(Restored { verified, set_aside })
}

/// How far the numbers have come. Where an earlier restore was cut short there is no database: then what that one set aside
/// and the copy that it had prepared tell it.
fn counters_before(place: &Place, copy: &Place) -> Counters {
    let mut counters = Counters::of(place);
    if place.file().exists() {
        return counters;
    }
    counters.raise(Counters::of(copy));
    let entries = fs::read_dir(place.dir().join(SET_ASIDE)).into_iter().flatten().filter_map(Result::ok);
    // by their names in the order of their times
    if let Some(newest) = entries.map(|entry| entry.path().join(DATABASE)).filter(|path| path.exists()).max()
    {
        counters.raise(Counters::of(&place.other(newest)));
    }
    counters
}

/// The database first: one without its log would pass for a whole one, a log without its database is refused.
fn set_aside(place: &Place, clock: &Clock) -> Result<Option<PathBuf>, StoreError> {
    let endings = ["", "-wal", "-shm", "-journal"];
    let there: Vec<_> =
        endings.into_iter().map(|ending| place.beside(ending)).filter(|path| path.exists()).collect();
    if there.is_empty() {
        return Ok(None);
    }
    let name = backup::time_in_name(Timestamp::from_ms(clock.now_ms()));
    let parent = place.dir().join(SET_ASIDE);
    let dir = parent.join(name);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    for path in there {
        fs::rename(&path, dir.join(path.file_name().unwrap_or_default()))?;
        place.sync_dir()?;
    }
    fs::File::open(&dir)?.sync_all()?;
    fs::File::open(&parent)?.sync_all()?;
    Ok(Some(dir))
}
