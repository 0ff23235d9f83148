//! 2xx answers to requests with an idempotency key: kept for 24 hours in the transaction of their result.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::{AnswerKey, KeyedAnswer, StoredAnswer};
use crate::failpoint::Edge;

/// How long a key answers repeats, in steady milliseconds.
const KEPT_MS: i64 = 24 * 3_600_000;

impl Store {
    /// The answer that a request under this key got in the last 24 hours.
    ///
    /// # Errors
    /// What the database said.
    pub async fn find_answer(&self, key: &AnswerKey) -> Result<Option<StoredAnswer>, StoreError> {
        let (key, oldest) = (key.clone(), self.moment().steady_ms() - KEPT_MS);
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT status, location, body, body_hash FROM answers
                     WHERE token = ?1 AND method = ?2 AND path = ?3 AND key = ?4 AND created_at > ?5",
                )?;
                let found =
                    statement.query_row(params![key.token, key.method, key.path, key.key, oldest], |row| {
                        Ok(StoredAnswer {
                            status: row.get(0)?,
                            location: row.get(1)?,
                            body: row.get(2)?,
                            body_hash: row.get(3)?,
                        })
                    });
                Ok(found.optional()?)
            })
            .await
    }

    /// Keeps the answer of a request that can be repeated without harm anyway.
    ///
    /// # Errors
    /// What the database said.
    pub async fn keep_answer(&self, answer: KeyedAnswer<()>) -> Result<(), StoreError> {
        let now = self.moment();
        self.database
            .write(Edge::KeepAnswer, move |connection| keep(connection, now, Some(answer), &()))
            .await
    }

    /// Forgets answers older than 24 hours; gives their number.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forget_old_answers(&self) -> Result<usize, StoreError> {
        let oldest = self.moment().steady_ms() - KEPT_MS;
        self.database
            .write(Edge::ForgetAnswers, move |connection| {
                Ok(connection
                    .prepare_cached("DELETE FROM answers WHERE created_at <= ?1")?
                    .execute([oldest])?)
            })
            .await
    }
}

pub(super) fn keep<T: ?Sized>(
    connection: &Connection,
    now: Moment,
    answer: Option<KeyedAnswer<T>>,
    result: &T,
) -> Result<(), StoreError> {
    let Some(KeyedAnswer { key, render }) = answer else { return Ok(()) };
    let (status, location, body) = render(result);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO answers (token, method, path, key, body_hash, status, location, body, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            key.token,
            key.method,
            key.path,
            key.key,
            key.body_hash,
            status,
            location,
            body,
            now.steady_ms()
        ])?;
    Ok(())
}
