//! The one thread that writes. It takes what is waiting, up to a bound, into one transaction, so that under load many
//! answers share one `fsync`, and an idle queue still answers after a single one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::super::error::StoreError;

/// Operations in one transaction. Beyond this the `fsync` is a small share already and answers would only wait longer.
const GROUP_MAX: usize = 256;
/// Operations that may wait. Callers beyond this wait before they queue, holding no memory of ours.
const WAITING_MAX: usize = 1_024;

/// Does its work, then says what to do once the outcome of the commit is known.
type Operation = Box<dyn FnOnce(&Connection) -> Completion + Send>;
type Completion = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Writer {
    operations: mpsc::Sender<Operation>,
    failure: watch::Receiver<bool>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (operations, waiting) = mpsc::channel(WAITING_MAX);
        let (failed, failure) = watch::channel(false);
        thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            write_loop(&connection, waiting, &failed);
        })?;
        Ok(Self { operations, failure })
    }

    pub(super) fn failure(&self) -> watch::Receiver<bool> {
        self.failure.clone()
    }

    pub(super) async fn run<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (operation, answer) = package(operation);
        self.operations.send(operation).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

fn package<T, F>(operation: F) -> (Operation, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    let (sender, answer) = oneshot::channel();
    let operation: Operation = Box::new(move |connection| {
        let result = in_savepoint(connection, operation);
        Box::new(move |committed: Result<(), StoreError>| {
            // a caller that went away does not undo what is durable
            let _ = sender.send(match (result, committed) {
                (Ok(value), Ok(())) => Ok(value),
                (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            });
        })
    });
    (operation, answer)
}

fn in_savepoint<T>(
    connection: &Connection,
    operation: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("SAVEPOINT operation")?.execute([])?;
    // a bug in one operation must not end the thread on which all others rest
    let result = catch_unwind(AssertUnwindSafe(|| operation(connection)))
        .unwrap_or_else(|_| Err(StoreError::Database("an operation of the store panicked".to_owned())));
    if result.is_err() {
        connection.prepare_cached("ROLLBACK TO operation")?.execute([])?;
    }
    connection.prepare_cached("RELEASE operation")?.execute([])?;
    result
}

fn write_loop(connection: &Connection, mut waiting: mpsc::Receiver<Operation>, failed: &watch::Sender<bool>) {
    while let Some(first) = waiting.blocking_recv() {
        let completions = match begin(connection) {
            Ok(()) => {
                let mut completions = vec![first(connection)];
                while completions.len() < GROUP_MAX {
                    let Ok(next) = waiting.try_recv() else { break };
                    completions.push(next(connection));
                }
                completions
            }
            Err(error) => {
                tracing::error!(%error, "the database cannot begin a transaction");
                // dropping the operation answers its caller
                continue;
            }
        };
        let committed = connection.execute_batch("COMMIT");
        let fatal = committed.as_ref().is_err_and(is_io_error);
        if let Err(error) = &committed {
            tracing::error!(%error, "a commit failed");
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
        }
        for completion in completions {
            completion(match &committed {
                Ok(()) => Ok(()),
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                    Err(StoreError::DiskFull)
                }
                Err(error) if fatal => {
                    let _ = error;
                    Err(StoreError::Stopped)
                }
                Err(error) => Err(StoreError::Database(error.to_string())),
            });
        }
        if fatal {
            let _ = failed.send(true);
            return;
        }
    }
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")
}

fn is_io_error(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> (tempfile::TempDir, Writer) {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join("w.db")).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER UNIQUE);").unwrap();
        (dir, Writer::start(connection).unwrap())
    }

    fn count(connection: &Connection) -> Result<i64, StoreError> {
        Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn a_failing_operation_takes_only_itself_back() {
        let (_dir, writer) = writer();
        let good = writer.run(|c| Ok(c.execute("INSERT INTO t VALUES (1)", [])?));
        let bad = writer.run(|c| {
            c.execute("INSERT INTO t VALUES (2)", [])?;
            Ok(c.execute("INSERT INTO t VALUES (2)", [])?)
        });
        let panicking = writer.run(|c| -> Result<(), StoreError> {
            c.execute("INSERT INTO t VALUES (3)", [])?;
            panic!("on purpose")
        });
        let (good, bad, panicking) = tokio::join!(good, bad, panicking);
        assert!(good.is_ok() && bad.is_err() && panicking.is_err());
        assert_eq!(writer.run(count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn many_writers_at_once_all_get_their_answer() {
        let (_dir, writer) = writer();
        let writes =
            (0..1_000).map(|n| writer.run(move |c| Ok(c.execute("INSERT INTO t VALUES (?1)", [n])?)));
        for result in futures_util::future::join_all(writes).await {
            assert_eq!(result.unwrap(), 1);
        }
        assert_eq!(writer.run(count).await.unwrap(), 1_000);
    }
}
