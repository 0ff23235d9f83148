//! Makes a queue, or a history, as large as it would be after years: copies of a row that the server itself has written.

use std::path::Path;

use rusqlite::Connection;

/// What a copy has of its own.
const OWN: [&str; 6] = ["number", "id", "root_id", "branch", "branch_key", "turn"];

/// Adds so many copies of the job `number`. No server may run.
pub(crate) fn copies(database: &Path, number: i64, count: i64) {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info('jobs')").unwrap();
    let columns: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let same: Vec<_> = columns.iter().map(String::as_str).filter(|column| !OWN.contains(column)).collect();
    let same = same.join(", ");
    let last: i64 = connection.query_row("SELECT max(number) FROM jobs", [], |row| row.get(0)).unwrap();
    // as an id is made: the same beginning, and what looks like chance
    let id = "substr(jobs.id, 1, length(jobs.id) - 16) || printf('%08x%08x', n * 2654435761 % 4294967296, n)";
    let sql = format!(
        "WITH RECURSIVE n (n) AS (SELECT ?2 + 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?2 + ?3)
         INSERT INTO jobs ({}, {same})
         SELECT n, {id}, {id}, 'copy/' || n, 'copy/' || n, n, {same} FROM n, jobs WHERE jobs.number = ?1",
        OWN.join(", "),
    );
    assert_eq!(connection.execute(&sql, [number, last, count]).unwrap(), usize::try_from(count).unwrap());
}
