//! The files of the backups: their names, how many are kept, and how one comes to be.
//!
//! A backup is written under a temporary name, looked through, synced, and only then named: a file with the name of a
//! backup is one. Mode 0600, for it holds every prompt.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::error::StoreError;
use super::sqlite::{self, Place, Verified};
use super::{BackupFile, BackupKind, Store};
use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::failpoint::{self, Edge};

/// One is made by itself when the newest is older.
const AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The end of a name while its backup is being written.
const UNFINISHED: &str = ".part";
/// Characters that keep the unfinished copy apart from any other file: 40 bits.
const MARK_LENGTH: usize = 8;
/// How times stand in names: they sort, and need no quoting.
const TIME: &str = "%Y%m%dT%H%M%S";

impl BackupKind {
    const ALL: [Self; 3] = [Self::Daily, Self::Manual, Self::BeforeMigration];

    /// How a name begins.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Manual => "manual",
            Self::BeforeMigration => "before-migration",
        }
    }

    /// How many are kept: a week, as many by hand, and the last three upgrades. Each is about as large as the database.
    fn kept(self) -> usize {
        match self {
            Self::Daily | Self::Manual => 7,
            Self::BeforeMigration => 3,
        }
    }
}

/// A backup that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub path: PathBuf,
    pub taken_at: Timestamp,
    pub bytes: u64,
    pub took: Duration,
    pub verified: Verified,
}

/// Where backups of the database below `data_dir` lie.
#[must_use]
pub fn dir(data_dir: &Path) -> PathBuf {
    data_dir.join("backups")
}

/// All of them, the newest first.
#[must_use]
pub fn list(data_dir: &Path) -> Vec<BackupFile> {
    let entries = fs::read_dir(dir(data_dir)).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (kind, taken_at) = read_name(&name)?;
            Some(BackupFile { kind, taken_at, bytes: entry.metadata().ok()?.len(), name })
        })
        .collect();
    found.sort_by(|one, other| (other.taken_at, &other.name).cmp(&(one.taken_at, &one.name)));
    found
}

impl Store {
    /// Copies the database as it is now, while writes go on; into the backups' own directory, or as the new file
    /// `elsewhere`. One at a time: a second one waits.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] also when it would leave less room than jobs need; [`StoreError::Exists`] for a file
    /// that is there; [`StoreError::Io`] where it cannot be written.
    pub async fn back_up(&self, kind: BackupKind, elsewhere: Option<PathBuf>) -> Result<Backup, StoreError> {
        if let Some(damage) = &self.damage {
            return Err(StoreError::ReadOnly(damage.guide.clone()));
        }
        let _alone = self.backing_up.lock().await;
        let (place, clock) = (self.database.place().clone(), self.clock.clone());
        let room_left = self.bounds.limits.disk_free_bytes_min;
        let made = tokio::task::spawn_blocking(move || make(&place, &clock, kind, elsewhere, room_left));
        made.await.map_err(|error| StoreError::Database(error.to_string()))?
    }

    /// Backups beside the database, the newest first.
    #[must_use]
    pub fn backups(&self) -> Vec<BackupFile> {
        list(self.database.place().dir())
    }

    /// Whether a day has passed since the last backup, whoever asked for it. One from the future says nothing: the clock
    /// was wrong then, or is now.
    #[must_use]
    pub fn is_backup_due(&self) -> bool {
        let now = self.now();
        let recent = |backup: &BackupFile| backup.taken_at <= now && now.since(backup.taken_at) < AGE_MAX;
        self.damage.is_none() && !self.backups().iter().any(recent)
    }
}

/// Before anything of the data is changed for a new version. Without it there is no migration.
pub(super) fn before_migration(place: &Place, clock: &Clock) -> Result<(), StoreError> {
    let made = make(place, clock, BackupKind::BeforeMigration, None, 0)?;
    let name = made.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tracing::info!(name, schema = made.verified.schema, "backup made before the migration");
    Ok(())
}

fn make(
    place: &Place,
    clock: &Clock,
    kind: BackupKind,
    elsewhere: Option<PathBuf>,
    room_left: u64,
) -> Result<Backup, StoreError> {
    let (began, taken_at) = (Instant::now(), Timestamp::from_ms(clock.now_ms()));
    let own = dir(place.dir());
    let rotates = elsewhere.is_none();
    let (path, mark) = match elsewhere {
        // whatever lies beside it is somebody's
        Some(path) => (path, format!(".{}{UNFINISHED}", clock.random_text(MARK_LENGTH))),
        None => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&own)?;
            (own.join(name(kind, taken_at)), UNFINISHED.to_owned())
        }
    };
    if path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists);
    }
    let mut unfinished = path.clone().into_os_string();
    unfinished.push(mark);
    let unfinished = PathBuf::from(unfinished);
    remove(&unfinished)?;
    let written = sqlite::copy_verified(place, &unfinished, room_left);
    let named = written.and_then(|verified| {
        // the link fails where a rename would silently replace
        failpoint::at(Edge::BackUp, || fs::hard_link(&unfinished, &path)).map_err(|error| {
            match error.kind() {
                io::ErrorKind::AlreadyExists => StoreError::Exists,
                _ => error.into(),
            }
        })?;
        remove(&unfinished)?;
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        Ok(verified)
    });
    let verified = named.inspect_err(|_| {
        let _ = remove(&unfinished);
    })?;
    let bytes = path.metadata()?.len();
    if rotates {
        rotate(place.dir(), &path, taken_at);
    }
    Ok(Backup { path, taken_at, bytes, took: began.elapsed(), verified })
}

/// Removes what is beyond its number, and what an interrupted backup left; never what was `just_made`. One from the future
/// goes first: a clock that was wrong says nothing of its age, and it would outlive all others. A file that stays does no
/// harm.
fn rotate(data_dir: &Path, just_made: &Path, now: Timestamp) {
    let mut all = list(data_dir);
    all.sort_by_key(|backup| backup.taken_at > now);
    let old = BackupKind::ALL.into_iter().flat_map(|kind| {
        let of_kind = all.iter().filter(move |backup| backup.kind == kind);
        of_kind.skip(kind.kept()).map(|backup| dir(data_dir).join(&backup.name))
    });
    let old = old.filter(|path| path != just_made);
    let entries = fs::read_dir(dir(data_dir)).into_iter().flatten().filter_map(Result::ok);
    let unfinished = entries.map(|entry| entry.path()).filter(|path| {
        path.file_name()
            .and_then(|name| name.to_str()?.strip_suffix(UNFINISHED))
            .is_some_and(|name| read_name(name).is_some())
    });
    for path in old.chain(unfinished).collect::<Vec<_>>() {
        if let Err(error) = remove(&path) {
            tracing::warn!(%error, "an old backup stays");
        }
    }
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `daily-20261126T031500.123Z.db`
fn name(kind: BackupKind, at: Timestamp) -> String {
    format!("{}-{}.db", kind.as_str(), time_in_name(at))
}

/// `20261126T031500.123Z`
pub(super) fn time_in_name(at: Timestamp) -> String {
    let whole = jiff::Timestamp::from_millisecond(at.as_ms()).unwrap_or_default();
    format!("{}.{:03}Z", whole.strftime(TIME), at.as_ms().rem_euclid(1_000))
}

fn read_name(name: &str) -> Option<(BackupKind, Timestamp)> {
    let (kind, time) = name.strip_suffix("Z.db")?.rsplit_once('-')?;
    let kind = BackupKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    let (seconds, ms) = time.split_once('.')?;
    let at = jiff::civil::DateTime::strptime(TIME, seconds).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some((kind, Timestamp::from_ms(at.timestamp().as_millisecond() + ms.parse::<i64>().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_and_when() {
        for kind in BackupKind::ALL {
            let at = Timestamp::from_ms(1_795_254_420_007);
            let name = name(kind, at);
            assert_eq!(name, format!("{}-20261121T094700.007Z.db", kind.as_str()));
            assert_eq!(read_name(&name), Some((kind, at)));
        }
        for other in [
            "offshoot.db",
            "daily-.db",
            "daily-20261121T094700Z.db.part",
            "weekly-20261121T094700.007Z.db",
            "daily-20261321T094700.007Z.db",
        ] {
            assert_eq!(read_name(other), None, "{other}");
        }
    }
}
