//! The outbox: callbacks on their way.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::error::StoreError;
use super::super::steady::Moment;
use super::super::view::{DeliveryDetail, Occupied};
use super::super::{Change, Store};
use super::{events, forget, jobs, rows};
use crate::domain::delivery::{Delivery, DeliveryState, DeliveryTry, RenderedCallback, TryRecord};
use crate::domain::event::EventKind;
use crate::domain::id::{DeliveryId, JobNumber};
use crate::domain::time::Timestamp;
use crate::domain::token::Reach;
use crate::failpoint::Edge;
use crate::wire::event::DeliveryMoved;

impl Store {
    /// At most `limit` deliveries that are due and not `occupied`, oldest first, and how long until the next one comes due.
    ///
    /// # Errors
    /// What the database said.
    pub async fn due_deliveries(
        &self,
        limit: u32,
        occupied: Occupied,
    ) -> Result<(Vec<Delivery>, Option<std::time::Duration>), StoreError> {
        let now = self.moment();
        self.database.read(move |connection| due(connection, now, limit, &occupied)).await
    }

    /// Records what a try came to.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn record_try(&self, id: &DeliveryId, record: TryRecord) -> Result<(), StoreError> {
        let (id, now) = (id.clone(), self.moment());
        self.database
            .write(Edge::RecordTry, move |connection| write_try(connection, now, &id, &record))
            .await?;
        self.tell(Change::Deliveries);
        Ok(())
    }

    /// All deliveries of a job with their tries, oldest first.
    ///
    /// # Errors
    /// What the database said.
    pub async fn list_deliveries(&self, job: JobNumber) -> Result<Vec<DeliveryDetail>, StoreError> {
        let now = self.moment();
        self.database
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT * FROM deliveries WHERE job = ?1 ORDER BY number")?;
                let deliveries = statement
                    .query_map([job.0], |row| rows::delivery(row, now))?
                    .collect::<Result<Vec<_>, _>>()?;
                deliveries
                    .into_iter()
                    .map(|delivery| Ok(DeliveryDetail { tries: tries(connection, &delivery.id)?, delivery }))
                    .collect()
            })
            .await
    }

    /// Makes a delivery due again, whatever its state; lifts the suspension of its URL, which `reach` must be wide enough for.
    /// A try that is under way does not stand for it: another one follows.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the job has no such delivery; [`StoreError::UrlSuspended`].
    pub async fn redeliver(
        &self,
        job: JobNumber,
        id: &DeliveryId,
        reach: &Reach,
    ) -> Result<DeliveryDetail, StoreError> {
        let lifts = reach.is_whole();
        let (id, now) = (id.clone(), self.moment());
        let detail = self
            .database
            .write(Edge::Redeliver, move |connection| {
                let delivery = get(connection, now, &id)?;
                if delivery.job != job {
                    return Err(StoreError::NotFound("delivery"));
                }
                forget::refuse_forgotten(connection, &jobs::get(connection, job)?.chain.root)?;
                if !lifts && is_suspended(connection, &delivery.url)? {
                    return Err(StoreError::UrlSuspended);
                }
                resume_url(connection, now, &delivery.url)?;
                connection
                    .prepare_cached(
                        "UPDATE deliveries SET state = 'pending', tries = 0, next_try_at = ?2 WHERE id = ?1",
                    )?
                    .execute(params![id.as_str(), other_order(&delivery, now)])?;
                Ok(DeliveryDetail { tries: tries(connection, &id)?, delivery: get(connection, now, &id)? })
            })
            .await?;
        self.tell(Change::Deliveries);
        Ok(detail)
    }
}

pub(super) fn due(
    connection: &Connection,
    now: Moment,
    limit: u32,
    occupied: &Occupied,
) -> Result<(Vec<Delivery>, Option<std::time::Duration>), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM deliveries INDEXED BY deliveries_due WHERE state = 'pending' AND next_try_at <= ?1
           AND id NOT IN (SELECT value FROM json_each(?3))
           AND NOT EXISTS (SELECT 1 FROM json_each(?4) AS o
                           WHERE substr(url, 1, length(o.value)) = o.value
                             AND substr(url, length(o.value) + 1, 1) IN ('', '/', '?', '#'))
         ORDER BY next_try_at, number LIMIT ?2",
    )?;
    let ids: Vec<_> = occupied.deliveries.iter().map(DeliveryId::as_str).collect();
    let list = |texts: &[&str]| serde_json::to_string(texts).unwrap_or_else(|_| "[]".to_owned());
    let origins: Vec<_> = occupied.origins.iter().map(String::as_str).collect();
    let due = statement
        .query_map(params![now.steady_ms(), limit, list(&ids), list(&origins)], |row| {
            rows::delivery(row, now)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let next: Option<u64> = connection
        .prepare_cached(
            "SELECT min(next_try_at) - ?1 FROM deliveries INDEXED BY deliveries_due
             WHERE state = 'pending' AND next_try_at > ?1",
        )?
        .query_row([now.steady_ms()], |row| row.get(0))?;
    Ok((due, next.map(std::time::Duration::from_millis)))
}

/// Now, or a millisecond before it where that is when the delivery came due: no two orders are the same.
fn other_order(delivery: &Delivery, now: Moment) -> i64 {
    let now = now.steady_ms();
    if delivery.order == now { now - 1 } else { now }
}

/// Puts a callback into the outbox, in the transaction that ends its job. A suspended URL gets it as suspended.
pub(super) fn insert(
    connection: &Connection,
    now: Moment,
    job: JobNumber,
    callback: &RenderedCallback,
) -> Result<(), StoreError> {
    let suspended = is_suspended(connection, &callback.url)?;
    let state = if suspended { DeliveryState::Suspended } else { DeliveryState::Pending };
    connection
        .prepare_cached(
            "INSERT INTO deliveries (id, job, event_id, kind, url, body, state, next_try_at, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            callback.delivery_id.as_str(),
            job.0,
            callback.event_id.as_str(),
            callback.kind,
            callback.url,
            callback.body,
            state.as_str(),
            (!suspended).then_some(now.steady_ms()),
            now.wall.as_ms(),
        ])?;
    Ok(())
}

pub(super) fn detail(
    connection: &Connection,
    now: Moment,
    id: &DeliveryId,
) -> Result<DeliveryDetail, StoreError> {
    Ok(DeliveryDetail { tries: tries(connection, id)?, delivery: get(connection, now, id)? })
}

fn get(connection: &Connection, now: Moment, id: &DeliveryId) -> Result<Delivery, StoreError> {
    connection
        .prepare_cached("SELECT * FROM deliveries WHERE id = ?1")?
        .query_row([id.as_str()], |row| rows::delivery(row, now))
        .optional()?
        .ok_or(StoreError::NotFound("delivery"))
}

fn write_try(
    connection: &Connection,
    now: Moment,
    id: &DeliveryId,
    record: &TryRecord,
) -> Result<(), StoreError> {
    let delivery = get(connection, now, id)?;
    note_try(connection, id, record)?;
    // somebody made it due again while this try was under way: what that one asked for is still to be done
    if delivery.state == DeliveryState::Pending && delivery.order != record.order {
        connection
            .prepare_cached("UPDATE deliveries SET last_status = ?2, last_error = ?3 WHERE id = ?1")?
            .execute(params![id.as_str(), record.status, record.error])?;
        return Ok(());
    }
    // another delivery's 410 came while this try was under way: its failure must not wake the URL up again
    let overtaken = delivery.state == DeliveryState::Suspended && record.state == DeliveryState::Pending;
    let (state, next_try_at) =
        if overtaken { (DeliveryState::Suspended, None) } else { (record.state, record.next_try_at) };
    let delivered_at = (record.state == DeliveryState::Delivered).then_some(record.at.as_ms());
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = ?2, tries = tries + 1, next_try_at = ?3, last_status = ?4,
                 last_error = ?5, delivered_at = coalesce(?6, delivered_at) WHERE id = ?1",
        )?
        .execute(params![
            id.as_str(),
            state.as_str(),
            next_try_at.map(|at| now.to_steady(at)),
            record.status,
            record.error,
            delivered_at,
        ])?;
    let kind = match record.state {
        DeliveryState::Delivered => EventKind::DeliveryDelivered,
        DeliveryState::Dead => EventKind::DeliveryDead,
        DeliveryState::Suspended => {
            suspend_url(connection, record.at, &delivery.url)?;
            EventKind::DeliveryDead
        }
        DeliveryState::Pending => return Ok(()),
    };
    // the history tells of what callers were told
    if delivery.target().is_some() {
        return Ok(());
    }
    let payload = DeliveryMoved {
        delivery: id.as_str().to_owned(),
        state: record.state.into(),
        tries: delivery.tries + 1,
        last_status: record.status,
    };
    events::append(connection, record.at, delivery.job, None, kind, &payload.to_text())
}

fn note_try(connection: &Connection, id: &DeliveryId, record: &TryRecord) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO delivery_tries (delivery, number, at, status, error, duration_ms)
             SELECT d.number, 1 + (SELECT count(*) FROM delivery_tries t WHERE t.delivery = d.number), ?2, ?3, ?4, ?5
             FROM deliveries d WHERE d.id = ?1",
        )?
        .execute(params![
            id.as_str(),
            record.at.as_ms(),
            record.status,
            record.error,
            i64::try_from(record.duration_ms).unwrap_or(i64::MAX)
        ])?;
    Ok(())
}

/// 410 means "never again": everything for that URL is left alone until somebody lifts it.
fn suspend_url(connection: &Connection, now: Timestamp, url: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO suspended_urls (url, since) VALUES (?1, ?2)")?
        .execute(params![url, now.as_ms()])?;
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'suspended', next_try_at = NULL WHERE url = ?1 AND state = 'pending'",
        )?
        .execute([url])?;
    Ok(())
}

fn is_suspended(connection: &Connection, url: &str) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM suspended_urls WHERE url = ?1)")?
        .query_row([url], |row| row.get(0))?)
}

/// How many became due; `None`: the URL was not suspended.
pub(super) fn resume_url(connection: &Connection, now: Moment, url: &str) -> Result<Option<u64>, StoreError> {
    let lifted = connection.prepare_cached("DELETE FROM suspended_urls WHERE url = ?1")?.execute([url])?;
    if lifted == 0 {
        return Ok(None);
    }
    let due = connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'pending', next_try_at = ?2 WHERE url = ?1 AND state = 'suspended'",
        )?
        .execute(params![url, now.steady_ms()])?;
    Ok(Some(u64::try_from(due).unwrap_or(u64::MAX)))
}

fn tries(connection: &Connection, id: &DeliveryId) -> Result<Vec<DeliveryTry>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT t.number, t.at, t.status, t.error, t.duration_ms FROM delivery_tries t
         JOIN deliveries d ON d.number = t.delivery WHERE d.id = ?1 ORDER BY t.number",
    )?;
    let tries = statement
        .query_map([id.as_str()], |row| {
            Ok(DeliveryTry {
                number: row.get(0)?,
                at: Timestamp::from_ms(row.get(1)?),
                status: row.get(2)?,
                error: row.get(3)?,
                duration_ms: row.get(4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(tries)
}
