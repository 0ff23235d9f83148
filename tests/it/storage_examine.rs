//! What a start looks for: after an orderly stop the structure, after any other end everything.

use std::time::Duration;

use offshoot::store::StoreError;
use rusqlite::Connection;

use crate::stand::poll;
use crate::store_fixture::{Bench, job};

/// A database with a few jobs whose server has left, in order or not.
async fn left(orderly: bool) -> Bench {
    let bench = Bench::new(1);
    let client = bench.client("widgets").await;
    for n in 0..20 {
        let mut new = job(&client.id, &format!("b/{n}"));
        new.request.prompt = "x".repeat(5_000);
        bench.try_submit(new).await.unwrap();
    }
    if orderly {
        bench.store.note_orderly_stop().await.unwrap();
    }
    bench
}

/// Changes the file of a store that has been closed, and opens it again.
async fn reopened(bench: Bench, damage: impl FnOnce(&std::path::Path)) -> Result<(), StoreError> {
    let (dir, clock, limits) = bench.close();
    let log = dir.path().join("offshoot.db-wal");
    let closed = async || (!log.exists()).then_some(());
    poll(Duration::from_secs(20), closed).await.expect("the writer leaves the file");
    damage(&dir.path().join("offshoot.db"));
    offshoot::store::Store::open(dir.path(), clock, limits).map(drop)
}

/// A row that its index does not know, which no look at the structure finds.
fn lose_an_index_entry(file: &std::path::Path) {
    const INDEX: &str = "type = 'index' AND tbl_name = 'jobs' AND sql LIKE '%branch_key%'";
    let open = || {
        let connection = Connection::open(file).unwrap();
        connection.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA writable_schema = ON").unwrap();
        connection
    };
    let connection = open();
    let keep = format!("CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE {INDEX}");
    connection.execute_batch(&keep).unwrap();
    assert!(connection.execute(&format!("DELETE FROM sqlite_schema WHERE {INDEX}"), []).unwrap() > 0);
    drop(connection);
    let connection = open();
    assert_eq!(
        connection.execute("UPDATE jobs SET branch_key = 'elsewhere' WHERE number = 7", []).unwrap(),
        1
    );
    connection.execute_batch("INSERT INTO sqlite_schema SELECT * FROM kept").unwrap();
    drop(connection);
    open().execute_batch("DROP TABLE kept").unwrap();
}

fn refer_to_nobody(file: &std::path::Path) {
    let connection = Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM clients").unwrap();
}

fn flip_a_byte(file: &std::path::Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let last = bytes.len() - 4_096;
    bytes[last] ^= 0x20;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn after_an_unclean_stop_indexes_and_references_are_looked_at_too() {
    type Damage = fn(&std::path::Path);
    for (what, damage) in [("index", lose_an_index_entry as Damage), ("reference", refer_to_nobody)] {
        let found = reopened(left(false).await, damage).await;
        assert!(matches!(found, Err(StoreError::Corrupt(_))), "{what}: {found:?}");
    }
    reopened(left(false).await, |_| {}).await.unwrap();
}

#[tokio::test]
async fn after_an_orderly_stop_the_structure_is_looked_at() {
    let found = reopened(left(true).await, flip_a_byte).await;
    assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
    reopened(left(true).await, |_| {}).await.unwrap();
}
