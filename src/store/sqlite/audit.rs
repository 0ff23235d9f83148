//! What was done and what was refused, as rows that are only added.

use std::cell::{Cell, RefCell};

use rusqlite::{Connection, Row, params};

use super::super::Store;
use super::super::audit::{Asked, AuditEntry, Call};
use super::super::error::StoreError;
use super::retention::ROWS_MAX;
use super::{meta, set_meta};
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;

/// Changes that are kept, however young the others are: with 200 bytes each some 20 MB.
const CHANGES_MAX: u64 = 100_000;
/// Refusals that are kept. By themselves, because any token may have as many as it likes: they must push no change out.
const REFUSALS_MAX: u64 = 10_000;
/// They are counted at the first and at each that has this number after it: a look at all rows takes some milliseconds.
const COUNTED_EVERY: u32 = 500;
/// The status of a refusal, and of no change.
const REFUSED: u16 = 403;
/// The trigger lets rows go up to this number. The name stands in the migration too.
const FORGOTTEN: &str = "audit_forgotten_to";

thread_local! {
    /// The path of what the operation under way has made. Operations run one after the other on one thread.
    static MADE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Refusals of the server's life. A database has one such thread.
    static REFUSALS: Cell<u32> = const { Cell::new(0) };
}

impl Store {
    /// Writes down a call that no write has written down: one that was refused, or has changed something elsewhere.
    ///
    /// # Errors
    /// What the database said.
    pub async fn write_down(&self, call: &Call, status: u16) -> Result<(), StoreError> {
        let (at, asked) = (call.at, call.asked.clone());
        self.database
            .write(Edge::WriteAudit, move |connection| insert(connection, at, &asked, status))
            .await?;
        call.is_written_as(status);
        Ok(())
    }

    /// What was written down, the newest first, with the number to go on behind.
    ///
    /// # Errors
    /// What the database said.
    pub async fn audit_page(
        &self,
        after: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<AuditEntry>, Option<i64>), StoreError> {
        self.database
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT * FROM audit WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")?;
                // one more than a page tells whether there is a next one
                let wanted = params![after.unwrap_or(i64::MAX), i64::from(limit) + 1];
                let mut found = statement.query_map(wanted, read)?.collect::<Result<Vec<_>, _>>()?;
                let more = found.len() > limit as usize;
                found.truncate(limit as usize);
                let next = found.last().filter(|_| more).map(|last| last.seq);
                Ok((found, next))
            })
            .await
    }

    /// How many rows [`Self::forget_audit`] would take until nothing is left to take, at most `max`.
    ///
    /// # Errors
    /// What the database said.
    pub async fn count_forgettable_audit(&self, before: Timestamp, max: u64) -> Result<u64, StoreError> {
        self.database.read(move |connection| Ok(count_forgettable(connection, before)?.min(max))).await
    }

    /// Forgets rows from before, and of too many changes or refusals the oldest of the tokens that have the most, at most 2,000 at
    /// once; gives how many went.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forget_audit(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.database.write(Edge::ForgetAudit, move |connection| forget(connection, before)).await
    }
}

/// Says what the operation under way has made, for whoever writes it down.
pub(super) fn made(path: String) {
    MADE.set(Some(path));
}

/// In the transaction of what the call has changed.
pub(super) fn append(connection: &Connection, call: &Call) -> Result<(), StoreError> {
    let made = MADE.take();
    let Some(status) = call.succeeds_with else { return Ok(()) };
    if made.is_none() && call.written().is_some() {
        return Ok(());
    }
    let mut asked = call.asked.clone();
    asked.target = made.unwrap_or(asked.target);
    insert(connection, call.at, &asked, status)
}

/// Before an operation begins: what an earlier one made is not its own.
pub(super) fn begin() {
    MADE.set(None);
}

fn insert(connection: &Connection, at: Timestamp, asked: &Asked, status: u16) -> Result<(), StoreError> {
    let Asked { token, name, call, target, request_id, peer } = asked;
    connection
        .prepare_cached(
            "INSERT INTO audit (at, token, name, call, target, request_id, peer, status)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![at.as_ms(), token, name, call, target, request_id, peer, status])?;
    if status == REFUSED && REFUSALS.replace(REFUSALS.get().wrapping_add(1)).is_multiple_of(COUNTED_EVERY) {
        thin(connection, Rows::Refusals)?;
    }
    Ok(())
}

/// Which rows are counted together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Changes,
    Refusals,
}

impl Rows {
    fn most(self) -> u64 {
        match self {
            Self::Changes => CHANGES_MAX,
            Self::Refusals => REFUSALS_MAX,
        }
    }
}

/// Of more rows than are kept, forgets the oldest of the tokens that have the most, at most [`ROWS_MAX`]: no token can push out what
/// another one has done. Gives how many went.
fn thin(connection: &Connection, rows: Rows) -> Result<u64, StoreError> {
    let are_refusals = rows == Rows::Refusals;
    let mut counts = connection
        .prepare_cached("SELECT token, count(*) FROM audit WHERE (status = ?1) = ?2 GROUP BY token")?
        .query_map(params![REFUSED, are_refusals], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, u64)>, _>>()?;
    counts.sort_by_key(|(_, count)| *count);
    let share = share(counts.iter().map(|(_, count)| *count), rows.most());
    let mut left = u64::from(ROWS_MAX);
    let over = counts.iter().rev().filter(|(_, count)| *count > share);
    let mut gone = 0;
    for (token, count) in over {
        let many = left.min(count - share);
        left -= many;
        gone += take_out(connection, token, are_refusals, many)?;
    }
    Ok(gone)
}

/// How many each may have so that all together have at most `most`. The counts come in order.
fn share(counts: impl ExactSizeIterator<Item = u64>, most: u64) -> u64 {
    let (mut room, mut left) = (most, counts.len() as u64);
    for count in counts {
        if count > room / left {
            return room / left;
        }
        (room, left) = (room - count, left - 1);
    }
    u64::MAX
}

/// The oldest rows of one token. They do not lie together, so the trigger lets all go for the time of this one statement; it is in the
/// transaction of both.
fn take_out(connection: &Connection, token: &str, are_refusals: bool, many: u64) -> Result<u64, StoreError> {
    let forgotten = meta(connection, FORGOTTEN)?;
    set_meta(connection, FORGOTTEN, &i64::MAX.to_string())?;
    let gone = connection
        .prepare_cached(
            "DELETE FROM audit WHERE seq IN
                (SELECT seq FROM audit WHERE token = ?1 AND (status = ?2) = ?3 ORDER BY seq LIMIT ?4)",
        )?
        .execute(params![token, REFUSED, are_refusals, many])?;
    set_meta(connection, FORGOTTEN, forgotten.as_deref().unwrap_or("0"))?;
    Ok(gone as u64)
}

fn forget(connection: &Connection, before: Timestamp) -> Result<u64, StoreError> {
    let old = forget_old(connection, before)?;
    if old > 0 {
        return Ok(old);
    }
    match thin(connection, Rows::Refusals)? {
        0 => thin(connection, Rows::Changes),
        gone => Ok(gone),
    }
}

fn count_forgettable(connection: &Connection, before: Timestamp) -> Result<u64, StoreError> {
    let (old, changes, refusals): (u64, u64, u64) = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE at < ?1), count(*) FILTER (WHERE at >= ?1 AND status <> ?2),
                 count(*) FILTER (WHERE at >= ?1 AND status = ?2) FROM audit",
        )?
        .query_row(params![before.as_ms(), REFUSED], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let over = |rows: Rows, count: u64| count.saturating_sub(rows.most());
    Ok(old + over(Rows::Changes, changes) + over(Rows::Refusals, refusals))
}

fn forget_old(connection: &Connection, before: Timestamp) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT seq, at FROM audit ORDER BY seq LIMIT ?1")?;
    let oldest: Vec<(i64, i64)> =
        statement.query_map([ROWS_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let goes = |(_, at): &&(i64, i64)| *at < before.as_ms();
    let Some((last, _)) = oldest.iter().take_while(goes).last() else { return Ok(0) };
    set_meta(connection, FORGOTTEN, &last.to_string())?;
    let gone = connection.prepare_cached("DELETE FROM audit WHERE seq <= ?1")?.execute([last])?;
    Ok(gone as u64)
}

fn read(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let asked = Asked {
        token: row.get("token")?,
        name: row.get("name")?,
        call: row.get("call")?,
        target: row.get("target")?,
        request_id: row.get("request_id")?,
        peer: row.get("peer")?,
    };
    let at = Timestamp::from_ms(row.get("at")?);
    Ok(AuditEntry { seq: row.get("seq")?, at, asked, status: row.get("status")? })
}
