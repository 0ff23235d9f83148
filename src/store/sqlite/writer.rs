//! The one thread that writes. It takes what is waiting, up to a bound, into one transaction, so that under load many
//! answers share one `fsync`, and an idle queue still answers after a single one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rusqlite::Connection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::super::error::StoreError;
use super::checkpoint;
use super::wal::{WAL_BYTES_MAX, WalBound};
use crate::domain::limit::Limit;
use crate::failpoint::{self, Edge, Side};
use crate::metrics;

/// Operations in one transaction. Beyond this the `fsync` is a small share already and answers would only wait longer.
const GROUP_MAX: usize = 256;
/// Operations that may wait. Callers beyond this wait before they queue, holding no memory of ours.
const WAITING_MAX: usize = 1_024;

/// Does its work in the open transaction, or hears that there is none; then says what to do once the outcome is known.
type Work = Box<dyn FnOnce(Result<&Connection, Lost>) -> Ran + Send>;
type Completion = Box<dyn FnOnce(Result<(), Lost>) + Send>;

/// A write that waits for its turn.
struct Operation {
    edge: Edge,
    work: Work,
}

/// An operation that has had its turn.
struct Ran {
    completion: Completion,
    /// Of an operation that failed: what its whole group hears should the transaction be gone with it.
    fault: Option<Lost>,
}

/// Why a whole group is not durable.
#[derive(Clone, Debug)]
enum Lost {
    DiskFull,
    Stopped,
    /// The file is damaged.
    Damaged(String),
    Failed(String),
}

impl From<Lost> for StoreError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::DiskFull => Self::DiskFull,
            Lost::Stopped => Self::Stopped,
            Lost::Damaged(text) => Self::Corrupt(text),
            Lost::Failed(text) => Self::Database(text),
        }
    }
}

pub(super) struct Writer {
    operations: mpsc::Sender<Operation>,
}

impl Writer {
    /// `failed` turns to `true` when durability can no longer be promised; nothing is written from then on.
    pub(super) fn start(connection: Connection, failed: watch::Sender<bool>) -> Result<Self, StoreError> {
        let (operations, waiting) = mpsc::channel(WAITING_MAX);
        thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            write_loop(&connection, waiting, &failed);
        })?;
        Ok(Self { operations })
    }

    /// Operations that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.operations.max_capacity() - self.operations.capacity()
    }

    pub(super) async fn run<T, F>(&self, edge: Edge, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (work, answer) = package(operation);
        match self.operations.try_send(Operation { edge, work }) {
            Ok(()) => {}
            Err(TrySendError::Full(operation)) => {
                metrics::LIMITS.increment([Limit::WritesWaiting.as_str()]);
                self.operations.send(operation).await.map_err(|_| StoreError::Stopped)?;
            }
            Err(TrySendError::Closed(_)) => return Err(StoreError::Stopped),
        }
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

fn package<T, F>(operation: F) -> (Work, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    let (sender, answer) = oneshot::channel();
    let work: Work = Box::new(move |transaction| {
        let result = match transaction {
            Ok(connection) => in_savepoint(connection, operation),
            Err(lost) => Err(lost.into()),
        };
        let fault = result.as_ref().err().map(|error| match error {
            StoreError::DiskFull => Lost::DiskFull,
            StoreError::Corrupt(text) => Lost::Damaged(text.clone()),
            other => Lost::Failed(format!("a write beside this one failed: {other}")),
        });
        let completion: Completion = Box::new(move |committed| {
            // a caller that went away does not undo what is durable
            let _ = sender.send(match (result, committed) {
                (Ok(value), Ok(())) => Ok(value),
                (Err(error), _) => Err(error),
                (Ok(_), Err(lost)) => Err(lost.into()),
            });
        });
        Ran { completion, fault }
    });
    (work, answer)
}

fn in_savepoint<T>(
    connection: &Connection,
    operation: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("SAVEPOINT operation")?.execute([])?;
    // a bug in one operation must not end the thread on which all others rest
    let result = catch_unwind(AssertUnwindSafe(|| operation(connection)))
        .unwrap_or_else(|_| Err(StoreError::Database("an operation of the store panicked".to_owned())));
    // after a full disk or an I/O error SQLite has taken the whole transaction back, this savepoint with it
    if connection.is_autocommit() {
        return result;
    }
    if result.is_err() {
        connection.prepare_cached("ROLLBACK TO operation")?.execute([])?;
    }
    connection.prepare_cached("RELEASE operation")?.execute([])?;
    result
}

fn write_loop(connection: &Connection, mut waiting: mpsc::Receiver<Operation>, failed: &watch::Sender<bool>) {
    let mut wal = WalBound::of(connection, WAL_BYTES_MAX);
    while let Some(first) = waiting.blocking_recv() {
        let (completions, outcome, damage) = write_group(connection, first, &mut waiting);
        let mut stopped = damage || matches!(outcome, Err(Lost::Stopped | Lost::Damaged(_)));
        if let Err(lost) = &outcome {
            metrics::COMMITS_LOST.increment([]);
            tracing::error!(?lost, writes = completions.len(), "a transaction was lost");
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
        }
        for completion in completions {
            completion(outcome.clone());
        }
        if outcome.is_ok() && !stopped {
            stopped = !keep_log_short(connection, &mut wal);
        }
        if stopped {
            tracing::error!("the store has stopped: the next start looks at the whole database");
            failed.send_replace(true);
            return;
        }
    }
}

/// False: go no further.
fn keep_log_short(connection: &Connection, wal: &mut WalBound) -> bool {
    let done = checkpoint::fold_in(connection).and_then(|()| wal.after_commit(connection));
    let Err(error) = done else { return true };
    match commit_lost(&error) {
        lost @ (Lost::Stopped | Lost::Damaged(_)) => {
            tracing::error!(?lost, "the log could not be folded into the database");
            false
        }
        lost => {
            tracing::warn!(?lost, "the log is folded into the database later");
            true
        }
    }
}

/// Runs what waits in one transaction and commits it. The last value: an operation met damage, whatever the rest came to.
fn write_group(
    connection: &Connection,
    first: Operation,
    waiting: &mut mpsc::Receiver<Operation>,
) -> (Vec<Completion>, Result<(), Lost>, bool) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        // nothing was written, so nothing is in doubt: the next one may have more luck
        let lost = match commit_lost(&error) {
            Lost::Stopped => Lost::Failed(error.to_string()),
            lost => lost,
        };
        return (vec![(first.work)(Err(lost.clone())).completion], Err(lost), false);
    }
    let (mut completions, mut edges) = (Vec::new(), Vec::new());
    let (mut next, mut damage) = (Some(first), false);
    while let Some(operation) = next {
        let ran = (operation.work)(Ok(connection));
        edges.push(operation.edge);
        completions.push(ran.completion);
        damage |= matches!(ran.fault, Some(Lost::Damaged(_)));
        if connection.is_autocommit() {
            // going on would write, and commit, outside of any transaction that is answered for
            let gone = || Lost::Failed("the transaction ended early".to_owned());
            return (completions, Err(ran.fault.unwrap_or_else(gone)), damage);
        }
        next = if completions.len() < GROUP_MAX { waiting.try_recv().ok() } else { None };
    }
    edges.iter().for_each(|edge| failpoint::pass(*edge, Side::Before));
    let began_at = Instant::now();
    let committed = connection.execute_batch("COMMIT").map_err(|error| commit_lost(&error));
    metrics::COMMIT_SECONDS.observe(began_at.elapsed(), []);
    edges.iter().for_each(|edge| failpoint::pass(*edge, Side::After));
    metrics::COMMIT_WRITES.observe_f64(f64::from(u32::try_from(completions.len()).unwrap_or(u32::MAX)), []);
    (completions, committed, damage)
}

/// What a failed commit, or a failed checkpoint, leaves behind.
fn commit_lost(error: &rusqlite::Error) -> Lost {
    let is_io = error.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure);
    match StoreError::from_sqlite(error) {
        StoreError::DiskFull => Lost::DiskFull,
        StoreError::Corrupt(text) => Lost::Damaged(text),
        _ if is_io => Lost::Stopped,
        other => Lost::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: Edge = Edge::Claim;

    struct Bench {
        dir: tempfile::TempDir,
        writer: Writer,
        failed: watch::Sender<bool>,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join("w.db")).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER UNIQUE);").unwrap();
        let (failed, _) = watch::channel(false);
        let writer = Writer::start(connection, failed.clone()).unwrap();
        Bench { dir, writer, failed }
    }

    fn count(connection: &Connection) -> Result<i64, StoreError> {
        Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn a_failing_operation_takes_only_itself_back() {
        let bench = bench();
        let writer = &bench.writer;
        let good = writer.run(EDGE, |c| Ok(c.execute("INSERT INTO t VALUES (1)", [])?));
        let bad = writer.run(EDGE, |c| {
            c.execute("INSERT INTO t VALUES (2)", [])?;
            Ok(c.execute("INSERT INTO t VALUES (2)", [])?)
        });
        let panicking = writer.run(EDGE, |c| -> Result<(), StoreError> {
            c.execute("INSERT INTO t VALUES (3)", [])?;
            panic!("on purpose")
        });
        let (good, bad, panicking) = tokio::join!(good, bad, panicking);
        assert!(good.is_ok() && bad.is_err() && panicking.is_err());
        assert_eq!(writer.run(EDGE, count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn many_writers_at_once_all_get_their_answer() {
        let bench = bench();
        let writer = &bench.writer;
        let writes =
            (0..1_000).map(|n| writer.run(EDGE, move |c| Ok(c.execute("INSERT INTO t VALUES (?1)", [n])?)));
        for result in futures_util::future::join_all(writes).await {
            assert_eq!(result.unwrap(), 1);
        }
        assert_eq!(writer.run(EDGE, count).await.unwrap(), 1_000);
    }

    /// A full disk (here: a page limit) makes SQLite give the whole transaction up in the middle.
    #[tokio::test]
    async fn a_full_disk_costs_its_group_and_nothing_else() {
        let bench = bench();
        let writer = &bench.writer;
        writer.run(EDGE, |c| Ok(c.execute_batch("CREATE TABLE big (text BLOB)")?)).await.unwrap();
        let limit = |c: &Connection, pages: &str| -> Result<(), StoreError> {
            Ok(c.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
        };
        writer.run(EDGE, move |c| limit(c, "8")).await.unwrap();
        let before = writer.run(EDGE, |c| Ok(c.execute("INSERT INTO t VALUES (1)", [])?));
        let full = writer.run(EDGE, |c| Ok(c.execute("INSERT INTO big VALUES (zeroblob(100000))", [])?));
        let after = writer.run(EDGE, |c| Ok(c.execute("INSERT INTO t VALUES (2)", [])?));
        let (before, full, after) = tokio::join!(before, full, after);
        assert!(matches!(full, Err(StoreError::DiskFull)), "{full:?}");
        // whoever shared its transaction hears of it; nobody hears the wrong thing
        let stored = writer.run(EDGE, count).await.unwrap();
        let answered = i64::from(before.is_ok()) + i64::from(after.is_ok());
        assert_eq!(stored, answered, "{before:?} {after:?}");
        assert!(before.is_ok() || matches!(before, Err(StoreError::DiskFull)));
        assert!(!*bench.failed.borrow());
        writer.run(EDGE, move |c| limit(c, "1000000")).await.unwrap();
        writer.run(EDGE, |c| Ok(c.execute("INSERT INTO big VALUES (zeroblob(100000))", [])?)).await.unwrap();
    }

    /// Holds the writer until all three wait, so that they surely share one transaction.
    #[tokio::test]
    async fn what_shares_a_lost_transaction_is_lost_and_says_so() {
        let bench = bench();
        let writer = &bench.writer;
        let (go, held) = std::sync::mpsc::channel::<()>();
        let gate = writer.run(EDGE, move |_| {
            let _ = held.recv_timeout(std::time::Duration::from_secs(10));
            Ok(())
        });
        let good = writer.run(EDGE, |c| Ok(c.execute("INSERT INTO t VALUES (1)", [])?));
        // what SQLite does by itself on a full disk
        let fatal = writer.run(EDGE, |c| -> Result<(), StoreError> {
            c.execute_batch("ROLLBACK")?;
            Err(StoreError::DiskFull)
        });
        let later = writer.run(EDGE, |c| Ok(c.execute("INSERT INTO t VALUES (2)", [])?));
        let release = async move {
            tokio::task::yield_now().await;
            let _ = go.send(());
        };
        let (gate, good, fatal, later, ()) = tokio::join!(gate, good, fatal, later, release);
        assert!(matches!(gate, Err(StoreError::DiskFull)) && matches!(good, Err(StoreError::DiskFull)));
        assert!(matches!(fatal, Err(StoreError::DiskFull)));
        assert!(later.is_ok(), "the next transaction is a new one");
        assert_eq!(writer.run(EDGE, count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_database_that_is_locked_from_outside_refuses_and_goes_on() {
        let bench = bench();
        let writer = &bench.writer;
        writer.run(EDGE, |c| Ok(c.execute_batch("PRAGMA busy_timeout = 10")?)).await.unwrap();
        let outside = Connection::open(bench.dir.path().join("w.db")).unwrap();
        outside.execute_batch("BEGIN IMMEDIATE").unwrap();
        let refused = writer.run(EDGE, |c| Ok(c.execute("INSERT INTO t VALUES (1)", [])?)).await;
        assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
        outside.execute_batch("ROLLBACK").unwrap();
        writer.run(EDGE, |c| Ok(c.execute("INSERT INTO t VALUES (1)", [])?)).await.unwrap();
        assert!(!*bench.failed.borrow());
    }
}
