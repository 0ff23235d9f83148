//! What a job costs the database, as SQLite itself counts it: statements that were run, and steps of its virtual machine,
//! which say how much of a table was read. Both are the same on every machine, however busy that is.

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

use super::super::super::error::StoreError;
use super::super::super::{Limits, Store};
use super::{new_job, store_with};
use crate::domain::attempt::AttemptEnd;
use crate::domain::id::{ClientId, JobNumber, JobRef};
use crate::domain::job::Outcome;
use crate::failpoint::Edge;

const LIMITS: Limits =
    Limits { running_max: 8, running_per_client_max: None, queued_max: 100_000, disk_free_bytes_min: 0 };

/// Statements of the look at the counters itself: its savepoint.
const LOOK: i64 = 2;

/// Of all statements that a connection has prepared.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    runs: i64,
    steps: i64,
}

impl Counts {
    #[expect(unsafe_code, reason = "rusqlite does not list the statements of a connection")]
    fn read(connection: &Connection) -> Self {
        let mut counts = Self::default();
        // SAFETY: the connection is borrowed for the whole walk on this thread, so no statement is finalised under it;
        // reading a counter without resetting it changes nothing.
        unsafe {
            let mut statement = ffi::sqlite3_next_stmt(connection.handle(), std::ptr::null_mut());
            while !statement.is_null() {
                let counter = |which: c_int| i64::from(ffi::sqlite3_stmt_status(statement, which, 0));
                counts.runs += counter(ffi::SQLITE_STMTSTATUS_RUN);
                counts.steps += counter(ffi::SQLITE_STMTSTATUS_VM_STEP);
                statement = ffi::sqlite3_next_stmt(connection.handle(), statement);
            }
        }
        counts
    }

    fn since(self, before: Self) -> Self {
        Self { runs: self.runs - before.runs, steps: self.steps - before.steps }
    }
}

/// On the connection that writes.
async fn written(store: &Store) -> Counts {
    store.database.write(Edge::Claim, |connection| Ok(Counts::read(connection))).await.unwrap()
}

/// On a connection that reads: there is one as long as nobody reads beside.
async fn read(store: &Store) -> Counts {
    store.database.read(|connection| Ok(Counts::read(connection))).await.unwrap()
}

/// What each part of a job's life costs while `waiting` others are queued.
struct Life {
    submit: Counts,
    claim: Counts,
    finish: Counts,
    /// What the loop that starts jobs asks for besides.
    due: Counts,
    page: Counts,
}

async fn life(waiting: usize) -> Life {
    let (_dir, store, client) = store_with(LIMITS).await;
    // the statements are prepared, and the counters of each stand where they are
    one_life(&store, &client).await;
    store.database.write(Edge::Submit, move |connection| fill(connection, waiting)).await.unwrap();
    one_life(&store, &client).await
}

async fn one_life(store: &Store, client: &ClientId) -> Life {
    let start = written(store).await;
    let branch = format!("b/{}", start.runs);
    let number = store.submit_job(new_job(client, &branch), None, |_| None).await.unwrap().job.number;
    let submitted = written(store).await;
    let lease = store.claim().await.unwrap().unwrap().lease;
    let claimed = written(store).await;
    let end = AttemptEnd::Completed { outcome: Outcome::NoChanges };
    store.finish(lease, end, |_| None).await.unwrap();
    let finished = written(store).await;
    let looked = read(store).await;
    store.next_due_in().await.unwrap();
    let due = read(store).await;
    store.queue_page(None).await.unwrap();
    let page = read(store).await;
    store.get_job(&JobRef::Number(number)).await.unwrap();
    Life {
        submit: submitted.since(start),
        claim: claimed.since(submitted),
        finish: finished.since(claimed),
        due: due.since(looked),
        page: page.since(due),
    }
}

/// Copies of the first job, all queued behind each other.
fn fill(connection: &Connection, count: usize) -> Result<(), StoreError> {
    for copy in 0..count {
        let text = format!("copy{copy:08}");
        connection
            .prepare_cached(
                "INSERT INTO jobs (id, client, prompt, branch, branch_key, submitted_by, login, root_id, rank, turn,
                     status, phase, created_at, updated_at)
                 SELECT 'job-' || ?1, client, prompt, ?1, ?1, submitted_by, login, 'job-' || ?1, rank, ?2, 'queued',
                     'queued', created_at, updated_at FROM jobs WHERE number = ?3",
            )?
            .execute(rusqlite::params![text, copy + 10, JobNumber(1).0])?;
    }
    Ok(())
}

/// Of the writer alone, with the two that put each operation into a savepoint. A change that needs more says so here and in
/// `docs/performance.md`.
#[tokio::test]
async fn statements_of_a_job_are_as_many_as_they_were() {
    let life = life(0).await;
    let runs = [life.submit, life.claim, life.finish].map(|part| part.runs - LOOK);
    assert_eq!(runs, [24, 23, 26]);
}

#[tokio::test]
async fn a_longer_queue_makes_no_job_dearer() {
    let (few, many) = (life(300).await, life(3_000).await);
    let parts = [
        ("submit", few.submit, many.submit),
        ("claim", few.claim, many.claim),
        ("finish", few.finish, many.finish),
        ("due", few.due, many.due),
        ("page", few.page, many.page),
    ];
    let dearer: Vec<_> =
        parts.iter().filter(|(_, few, many)| many.steps > few.steps + few.steps / 4).collect();
    assert!(dearer.is_empty(), "{dearer:#?}");
}
