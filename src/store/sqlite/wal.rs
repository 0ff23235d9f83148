//! Keeps the write-ahead log small.
//!
//! It is folded into the database after every 1,000 pages (`checkpoint.rs`), but begun anew only when no reader needs it. Readers
//! that follow each other without a gap, or one that stays, let it grow without end; and a file that has grown stays as
//! large as it was.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

use crate::domain::limit::Limit;
use crate::metrics;

/// Four times what SQLite lets it grow to by itself; above it the log is cut, and waits for readers if need be.
pub(super) const WAL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Commits between two looks at its size: a look is one `stat`, and so many commits are far below the bound.
const COMMITS_BETWEEN: u32 = 64;
/// How long writes may stand for the readers that are in the way. Reads take milliseconds; whoever reads longer is met
/// again at the next look.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// The bound of one log. Asked by the writer between its transactions.
pub(super) struct WalBound {
    path: PathBuf,
    bytes_max: u64,
    commits: u32,
}

impl WalBound {
    pub(super) fn of(connection: &Connection, bytes_max: u64) -> Self {
        let mut path = PathBuf::from(connection.path().unwrap_or_default()).into_os_string();
        path.push("-wal");
        Self { path: path.into(), bytes_max, commits: 0 }
    }

    /// # Errors
    /// What the disk said; the log keeps everything.
    pub(super) fn after_commit(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.commits += 1;
        if self.commits < COMMITS_BETWEEN {
            return Ok(());
        }
        self.commits = 0;
        let bytes = self.path.metadata().map_or(0, |found| found.len());
        if bytes <= self.bytes_max {
            return Ok(());
        }
        metrics::LIMITS.increment([Limit::WalBytes.as_str()]);
        cut(connection)
    }
}

fn cut(connection: &Connection) -> rusqlite::Result<()> {
    let usual_ms: u64 = connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0))?;
    connection.busy_timeout(WAIT_MAX)?;
    let cut = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    connection.busy_timeout(Duration::from_millis(usual_ms))?;
    if cut? {
        tracing::debug!("a reader keeps the write-ahead log; it is cut later");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stayed_leaves_no_large_log_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("w.db");
        let writer = Connection::open(&file).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (b BLOB);").unwrap();
        let mut bound = WalBound::of(&writer, 1 << 20);
        let wal_bytes = || dir.path().join("w.db-wal").metadata().unwrap().len();
        let mut commit = |count: u32| {
            for _ in 0..count {
                writer.execute("INSERT INTO t VALUES (randomblob(20000))", []).unwrap();
                bound.after_commit(&writer).unwrap();
            }
        };
        let reader = Connection::open(&file).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t;").unwrap();
        commit(300);
        assert!(wal_bytes() > 5 << 20, "the reader keeps it");
        reader.execute_batch("COMMIT").unwrap();
        commit(COMMITS_BETWEEN);
        assert!(wal_bytes() <= 2 << 20, "{}", wal_bytes());
        let kept: u32 = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 300 + COMMITS_BETWEEN);
    }

    /// Two readers, of which one is always there: by itself the log would never begin anew.
    #[test]
    fn readers_without_a_gap_do_not_let_it_grow() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("w.db");
        let writer = Connection::open(&file).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (b BLOB);").unwrap();
        let mut bound = WalBound::of(&writer, 1 << 20);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let readers = std::thread::spawn(move || {
            let both = [Connection::open(&file).unwrap(), Connection::open(&file).unwrap()];
            let begin = |of: &Connection| {
                of.execute_batch("BEGIN").unwrap();
                of.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u32>(0)).unwrap()
            };
            begin(&both[0]);
            let mut turn = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                begin(&both[1 - turn]);
                both[turn].execute_batch("COMMIT").unwrap();
                turn = 1 - turn;
            }
        });
        let mut largest = 0;
        for _ in 0..1_500 {
            writer.execute("INSERT INTO t VALUES (randomblob(8000))", []).unwrap();
            bound.after_commit(&writer).unwrap();
            largest = largest.max(dir.path().join("w.db-wal").metadata().unwrap().len());
        }
        stop.send(()).unwrap();
        readers.join().unwrap();
        // what is written between two looks comes on top; all of it together would be 12 MB and more
        assert!(largest <= 8 << 20, "{largest}");
    }
}
