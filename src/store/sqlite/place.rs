//! Where the database lies, and how connections to it are made.

use std::fs::File;
use std::io;
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

    /// Makes the file when there is none.
    pub(super) fn open(&self) -> Result<Connection, StoreError> {
        Ok(Connection::open(self.name())?)
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
