//! That the statements which run all day are answered from their indexes.
//!
//! Every statement that a connection has prepared is looked at, so that a new one in these paths cannot hide.

#[path = "counts_tests.rs"]
mod counts;

use rusqlite::{Connection, ffi};

use super::super::view::JobFilter;
use super::super::{Limits, Store};
use crate::clock::Clock;
use crate::domain::attempt::AttemptEnd;
use crate::domain::branch::BranchName;
use crate::domain::client::{NewClient, RepositoryName};
use crate::domain::id::{ClientId, JobNumber, JobRef};
use crate::domain::job::{NewJob, NewJobRequest, Outcome, Start, Status};
use crate::domain::options::RunOptions;
use crate::domain::time::Timestamp;
use crate::domain::token::Reach;
use crate::failpoint::Edge;

const LIMITS: Limits =
    Limits { running_max: 2, running_per_client_max: Some(1), queued_max: 1_000, disk_free_bytes_min: 0 };

/// The text of every statement that is prepared on the connection, cached ones too.
#[expect(unsafe_code, reason = "rusqlite does not list the statements of a connection")]
fn prepared(connection: &Connection) -> Vec<String> {
    let mut texts = Vec::new();
    // SAFETY: the connection is borrowed for the whole walk on this thread, so no statement is finalised under it;
    // sqlite3_sql gives a text that lives as long as its statement, and it is copied at once.
    unsafe {
        let mut statement = ffi::sqlite3_next_stmt(connection.handle(), std::ptr::null_mut());
        while !statement.is_null() {
            let text = std::ffi::CStr::from_ptr(ffi::sqlite3_sql(statement));
            texts.push(text.to_string_lossy().into_owned());
            statement = ffi::sqlite3_next_stmt(connection.handle(), statement);
        }
    }
    texts
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        lines.push(row.get("detail").unwrap());
    }
    lines
}

/// Lines of plans that read a table which grows from one end to the other, or sort what an index should have sorted.
fn faults(connection: &Connection) -> Vec<String> {
    const GROWING: [&str; 13] = [
        "jobs",
        "j",
        "r",
        "e",
        "m",
        "waits",
        "w",
        "attempts",
        "events",
        "messages",
        "deliveries",
        "delivery_tries",
        "answers",
    ];
    let mut faults = Vec::new();
    let texts = prepared(connection);
    assert!(texts.len() > 2, "the statements are there to be looked at");
    for sql in texts {
        let word = sql.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
        if !matches!(word.as_str(), "SELECT" | "UPDATE" | "INSERT" | "DELETE") {
            continue;
        }
        for line in plan(connection, &sql) {
            let scans = line.strip_prefix("SCAN ").is_some_and(|rest| {
                let table = rest.split(' ').next().unwrap_or("");
                // a partial index holds only the rows in question
                let bounded = ["jobs_queued", "jobs_running", "jobs_live_branch", "deliveries_due"]
                    .iter()
                    .any(|index| rest.contains(&format!("INDEX {index}")));
                GROWING.contains(&table) && !bounded
            });
            if scans || line.contains("USE TEMP B-TREE FOR ORDER BY") {
                faults.push(format!("{line}: {}", sql.split_whitespace().collect::<Vec<_>>().join(" ")));
            }
        }
    }
    faults
}

fn uses(connection: &Connection, part_of_sql: &str, index: &str) -> bool {
    let sql = prepared(connection).into_iter().find(|sql| sql.contains(part_of_sql)).expect(part_of_sql);
    plan(connection, &sql).iter().any(|line| line.contains(index))
}

async fn store() -> (tempfile::TempDir, Store, ClientId) {
    store_with(LIMITS).await
}

pub(super) async fn store_with(limits: Limits) -> (tempfile::TempDir, Store, ClientId) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Clock::manual(1_000_000, 3), limits).unwrap();
    let new = NewClient {
        os_client_id: None,
        name: "widgets".to_owned(),
        repository: RepositoryName::parse("acme", "widgets").unwrap(),
        default_branch: None,
        clone_url: None,
        options: RunOptions::default(),
    };
    let client = store.create_client(new, None).await.unwrap().id;
    (dir, store, client)
}

pub(super) fn new_job(client: &ClientId, branch: &str) -> NewJob {
    NewJob {
        client_id: client.clone(),
        request: NewJobRequest {
            prompt: "p".to_owned(),
            branch: Some(BranchName::parse(branch).unwrap()),
            title: None,
            body: None,
            os_feature_id: None,
            callback_url: None,
            metadata: None,
            labels: Vec::new(),
            base_branch: None,
            priority: 0,
            run_at: None,
            depends_on: Vec::new(),
            attachments: Vec::new(),
            options: RunOptions::default(),
            profile: None,
            submitted_by: "admin".to_owned(),
        },
        chain: None,
        start: Start::Agent,
        done_by_hand: false,
        login: "claude".to_owned(),
        files: Vec::new(),
    }
}

#[tokio::test]
async fn submitting_claiming_and_finishing_read_no_table_from_end_to_end() {
    let (_dir, store, client) = store().await;
    for branch in ["a", "b", "c"] {
        store.submit_job(new_job(&client, branch), None, |_| None).await.unwrap();
    }
    let first = store.get_job(&JobRef::Number(JobNumber(1))).await.unwrap().job.id;
    let mut waiting = new_job(&client, "a/b");
    waiting.request.depends_on = vec![first];
    waiting.request.run_at = Some(Timestamp::from_ms(2_000_000));
    store.submit_job(waiting, None, |_| None).await.unwrap();
    let lease = store.claim().await.unwrap().unwrap().lease;
    assert!(store.claim().await.unwrap().is_none());
    store.begin_step(lease, "agent-1").await.unwrap();
    store.add_system_message(lease, "hello").await.unwrap();
    store.ingest(lease, "agent-1", crate::store::Ingest::default()).await.unwrap();
    store.record_usage(lease, "agent-1", None, crate::domain::job::Usage::default()).await.unwrap();
    store.finish(lease, AttemptEnd::Completed { outcome: Outcome::NoChanges }, |_| None).await.unwrap();
    store.forget_old_answers().await.unwrap();
    let look = |connection: &Connection| {
        let order = "SELECT rank, client FROM jobs INDEXED BY jobs_queued";
        assert!(uses(connection, order, "jobs_queued"), "the claim follows the queue's own order");
        let first = "SELECT number FROM jobs j";
        assert!(uses(connection, first, "jobs_queued_by_client"), "and the client's own");
        assert!(uses(connection, first, "jobs_running"), "and counts what runs by client");
        assert!(
            uses(connection, "(rank, turn, number) >", "INDEX jobs_queued"),
            "a position is counted there"
        );
        assert!(uses(
            connection,
            "SELECT id, number, branch FROM jobs",
            "INDEX jobs_live_branch (client=? AND branch_key=?)"
        ));
        assert!(uses(connection, "SELECT max(turn) FROM (", "INDEX jobs_queued_by_client"));
        assert!(uses(connection, "SELECT job, any_end FROM waits", "INDEX waits_by_dependency"));
        assert!(uses(connection, "SELECT state, tries, last_status", "INDEX deliveries_by_job"));
        // the few branches in the way are sorted
        let few = |line: &String| line.contains("SELECT id, number, branch FROM jobs");
        Ok(faults(connection).into_iter().filter(|line| !few(line)).collect::<Vec<_>>())
    };
    assert_eq!(store.database.write(Edge::Claim, look).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn pages_and_what_the_loops_ask_for_come_from_indexes() {
    let (_dir, store, client) = store().await;
    let number = store.submit_job(new_job(&client, "a"), None, |_| None).await.unwrap().job.number;
    let (now, bounds, logs) = (store.moment(), store.bounds(), store.logs().clone());
    let look = move |connection: &Connection| {
        let plain = || JobFilter { limit: 50, ..JobFilter::default() };
        let filters = [
            plain(),
            JobFilter { after: Some(number), ..plain() },
            JobFilter { client: Some(client.clone()), ..plain() },
            JobFilter { statuses: vec![Status::Failed], ..plain() },
        ];
        for filter in filters {
            super::listing::list(connection, now, &bounds, &filter)?;
        }
        super::queue::page(connection, now, &bounds, &Reach::WHOLE, None, 200)?;
        super::deliveries::due(connection, now, 64, &super::super::view::Occupied::default())?;
        super::events::list(connection, Some(number), 0, 10)?;
        super::events::list(connection, None, 0, 10)?;
        super::events::page(connection, &logs, Some(number), &Reach::WHOLE, 0)?;
        super::events::page(connection, &logs, None, &Reach::WHOLE, 0)?;
        assert!(uses(connection, "ORDER BY j.rank, j.turn, j.number", "INDEX jobs_queued"));
        assert!(uses(connection, "SELECT * FROM deliveries", "INDEX deliveries_due"));
        for joined in ["FROM events e WHERE e.job", "m.seq = e.message WHERE e.job"] {
            assert!(uses(connection, joined, "INDEX events_by_job"), "{joined}");
        }
        Ok(faults(connection))
    };
    let found = store.database.read(look).await.unwrap();
    // newest first is the table backwards, all of it on an index when it is counted; the few that run are sorted
    let backwards =
        |line: &str| line.starts_with("SCAN j: ") && line.contains("ORDER BY j.number DESC LIMIT");
    let counted = |line: &str| line.starts_with("SCAN jobs USING COVERING INDEX");
    let few = |line: &str| line.contains("WHERE j.status = 'running'");
    let rest: Vec<_> =
        found.into_iter().filter(|line| !backwards(line) && !counted(line) && !few(line)).collect();
    assert_eq!(rest, Vec::<String>::new());
}
