//! Room on the disk that the database lies on, looked at when something could start.

use std::path::Path;

use rusqlite::Connection;

use super::super::Limits;
use super::super::Store;
use super::super::error::StoreError;

impl Store {
    /// Free bytes on the data directory's disk; `None` where the system does not say.
    ///
    /// # Errors
    /// What the database said.
    pub async fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.database.read(|connection| Ok(free_bytes(connection))).await
    }
}

/// Whether nothing may start now. Where the system does not say, the disk is taken to have room.
pub(super) fn is_low(connection: &Connection, limits: Limits) -> bool {
    free_bytes(connection).is_some_and(|free| free < limits.disk_free_bytes_min)
}

pub(super) fn free_bytes(connection: &Connection) -> Option<u64> {
    free_bytes_at(Path::new(connection.path()?))
}

pub(super) fn free_bytes_at(path: &Path) -> Option<u64> {
    let at = nix::sys::statvfs::statvfs(path).ok()?;
    // the widths differ between systems
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "u32 on some systems")]
    let bytes = u64::from(at.blocks_available()).saturating_mul(u64::from(at.fragment_size()));
    Some(bytes)
}
