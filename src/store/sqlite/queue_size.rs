//! How many jobs are queued, kept beside the rows by triggers: a submit asks, and must not become dearer with the queue.
//!
//! The number belongs to the connection that writes (a temporary table, in memory), is counted once when that is opened, and
//! is taken back with the transaction, or the savepoint, that changed it.

use rusqlite::{Connection, MAIN_DB};

use super::super::error::StoreError;

/// Counts, and has every later change counted. Before the first write.
pub(super) fn keep(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TEMP TABLE queue_size (jobs INTEGER NOT NULL);
         INSERT INTO queue_size SELECT count(*) FROM main.jobs WHERE status = 'queued';
         CREATE TEMP TRIGGER queued_anew AFTER INSERT ON main.jobs WHEN new.status = 'queued'
         BEGIN UPDATE queue_size SET jobs = jobs + 1; END;
         CREATE TEMP TRIGGER queued_again AFTER UPDATE OF status ON main.jobs
             WHEN new.status = 'queued' AND old.status <> 'queued'
         BEGIN UPDATE queue_size SET jobs = jobs + 1; END;
         CREATE TEMP TRIGGER queued_no_more AFTER UPDATE OF status ON main.jobs
             WHEN old.status = 'queued' AND new.status <> 'queued'
         BEGIN UPDATE queue_size SET jobs = jobs - 1; END;
         CREATE TEMP TRIGGER queued_and_gone AFTER DELETE ON main.jobs WHEN old.status = 'queued'
         BEGIN UPDATE queue_size SET jobs = jobs - 1; END;",
    )?;
    Ok(())
}

/// `None` on a connection that only reads, which would have to count.
pub(super) fn kept(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    if connection.is_readonly(MAIN_DB)? {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached("SELECT jobs FROM temp.queue_size")?;
    statement.query_row([], |row| row.get(0)).map(Some)
}
