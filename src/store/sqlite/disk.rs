//! Room on the disks that jobs need, looked at when something could start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::super::Limits;
use super::super::Store;
use super::super::error::StoreError;
use super::notices::Notices;

impl Store {
    /// Free bytes where there are the fewest: on the data directory's disk or one of [`Store::with_places`]; `None` where
    /// the system does not say.
    ///
    /// # Errors
    /// What the database said.
    pub async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        let bounds = self.bounds();
        self.database.read(move |connection| Ok(bounds.free_bytes(connection))).await
    }
}

/// What decides who may start, and who is told of what became of it. Cheap to clone.
#[derive(Clone, Debug)]
pub(in super::super) struct Bounds {
    pub(in super::super) limits: Limits,
    /// Directories that jobs need room in, besides the data directory.
    pub(in super::super) places: Arc<[PathBuf]>,
    pub(in super::super) notices: Notices,
}

impl Bounds {
    /// Whether nothing may start now. Where the system does not say, the disk is taken to have room.
    pub(super) fn is_low(&self, connection: &Connection) -> bool {
        self.free_bytes(connection).is_some_and(|free| free < self.limits.disk_free_bytes_min)
    }

    pub(super) fn free_bytes(&self, connection: &Connection) -> Option<u64> {
        let own = connection.path().map(Path::new);
        own.into_iter().chain(self.places.iter().map(PathBuf::as_path)).filter_map(free_bytes_at).min()
    }
}

pub(super) fn free_bytes_at(path: &Path) -> Option<u64> {
    let at = nix::sys::statvfs::statvfs(path).ok()?;
    // the widths differ between systems
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "u32 on some systems")]
    let bytes = u64::from(at.blocks_available()).saturating_mul(u64::from(at.fragment_size()));
    Some(bytes)
}
