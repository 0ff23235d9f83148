//! Where the database lies, and how connections to it are made.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};

use super::super::error::StoreError;

/// A database file and SQLite's file system layer below it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: PathBuf,
    /// The name under which a layer is registered with SQLite; `None`: the operating system's.
    vfs: Option<String>,
}

const READING: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_URI);

impl Place {
    pub(crate) fn new(file: PathBuf, vfs: Option<&str>) -> Self {
        Self { file, vfs: vfs.map(str::to_owned) }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn dir(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// The log beside it.
    pub(crate) fn log(&self) -> PathBuf {
        self.beside("-wal")
    }

    pub(crate) fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    /// Another database on the same layer.
    pub(crate) fn other(&self, file: PathBuf) -> Self {
        Self { file, vfs: self.vfs.clone() }
    }

    /// Makes the file when there is none. It is its owner's alone, and so is what SQLite makes beside it, in the mode of the database.
    pub(super) fn open(&self) -> Result<Connection, StoreError> {
        let connection = Connection::open(self.name())?;
        for file in [self.file.clone(), self.beside("-wal"), self.beside("-shm")] {
            close_to_others(&file);
        }
        Ok(connection)
    }

    /// Changes nothing: with this connection SQLite neither makes the file nor folds its log in.
    pub(super) fn open_to_read(&self) -> Result<Connection, StoreError> {
        let connection = Connection::open_with_flags(self.name(), READING)?;
        connection.execute_batch("PRAGMA busy_timeout = 5000;")?;
        Ok(connection)
    }

    pub(super) fn readers(&self) -> SqliteConnectionManager {
        SqliteConnectionManager::file(self.name()).with_flags(READING).with_init(|reader| {
            reader.execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000;")?;
            reader.set_prepared_statement_cache_capacity(64);
            Ok(())
        })
    }

    /// Makes names in the directory durable.
    pub(crate) fn sync_dir(&self) -> io::Result<()> {
        File::open(self.dir())?.sync_all()
    }

    /// A file name, or the form in which SQLite takes the name of a layer.
    fn name(&self) -> PathBuf {
        match (&self.vfs, url::Url::from_file_path(&self.file)) {
            (Some(vfs), Ok(mut url)) => {
                url.set_query(Some(&format!("vfs={vfs}")));
                PathBuf::from(String::from(url))
            }
            _ => self.file.clone(),
        }
    }
}

/// One that is there. That its directory is closed too is the server's business; whoever cannot change this can still read.
fn close_to_others(file: &Path) {
    let is_open = file.metadata().is_ok_and(|found| found.permissions().mode() & 0o077 != 0);
    if is_open && let Err(error) = std::fs::set_permissions(file, Permissions::from_mode(0o600)) {
        tracing::warn!(%error, file = %file.display(), "others may be able to read a file of the database");
    }
}
